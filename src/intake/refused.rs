//! The upstream refuses the gate's own reads: counted each time, and said once.

use std::sync::atomic::Ordering;

use http::StatusCode;

use super::Intake;
use crate::{
    config::Access,
    target::TargetPath,
    upstream::{UpstreamError, neutral::Neutral},
};

impl Intake {
    /// A neutral read.
    pub(super) async fn read(&self, path: &TargetPath) -> Result<Neutral, UpstreamError> {
        let seen = self.parts.reader.read(path).await;
        if let Ok(Neutral::Refused(status)) = &seen {
            self.note_refusal(&path.encoded(), *status);
        }
        seen
    }

    /// What 401 and 403 say: who asks may not read.
    pub(super) fn note_refusal(&self, path: &str, status: StatusCode) {
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return;
        }
        self.parts.metrics.neutral_refusals_total.inc();
        if self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        let config = &self.parts.config;
        let (told, hint) = match (&config.upstream.identity, &config.gate.metadata_access) {
            (Some(_), _) => (
                "in spite of `[upstream.identity]`: what is there is not learned by fetch, nor are doubtful uploads settled",
                "give the gate's own credential the right to read there",
            ),
            (None, None) => (
                "although the metadata, which names its paths, is everybody's; and what is there is not learned by fetch",
                "set `access` under `[metadata]`, and a credential that may read under `[upstream.identity]`",
            ),
            (None, Some(Access::Public | Access::Probe(_))) => (
                "and it has no `[upstream.identity]`: what is there is not learned by fetch, nor are doubtful uploads settled",
                "set a credential that may read under `[upstream.identity]`",
            ),
        };
        tracing::warn!(
            upstream.path = path,
            upstream.status = status.as_u16(),
            hint,
            "the upstream answers {status} to the gate's own read of `{path}`, {told}"
        );
    }
}
