//! Whether the upstream answers at all, as the last requests told: one line when it ceases to, one when it is back.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use prometheus::IntGauge;

use super::{Answer, Ask, Upstream, UpstreamError};
use crate::telemetry::Metrics;

/// What is known; clones share it.
#[derive(Clone)]
pub struct Reach {
    down: Arc<AtomicBool>,
    gauge: IntGauge,
}

impl Reach {
    /// It answers, as long as nothing else is known.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            down: Arc::default(),
            gauge: metrics.upstream_down.clone(),
        }
    }

    /// It answered, whatever it said.
    pub fn answered(&self) {
        if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::AcqRel) {
            self.gauge.set(0);
            tracing::info!("the upstream answers again");
        }
    }

    /// It could not be reached, or said nothing in time.
    pub fn failed(&self, why: impl Display) {
        if !self.down.swap(true, Ordering::AcqRel) {
            self.gauge.set(1);
            tracing::warn!(error = %why, "the upstream does not answer; another line will say when it does again");
        }
    }
}

/// An upstream whose answers are noted.
pub struct Noted {
    inner: Arc<dyn Upstream>,
    reach: Reach,
}

impl Noted {
    /// Over another.
    pub fn new(inner: Arc<dyn Upstream>, reach: Reach) -> Self {
        Self { inner, reach }
    }

    fn note(&self, answer: Result<Answer, UpstreamError>) -> Result<Answer, UpstreamError> {
        match &answer {
            Ok(_) | Err(UpstreamError::Redirect { .. }) => self.reach.answered(),
            Err(error @ (UpstreamError::Connect(_) | UpstreamError::Timeout(_))) => self.reach.failed(error),
            Err(_) => {}
        }
        answer
    }
}

#[async_trait]
impl Upstream for Noted {
    async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        self.note(self.inner.ask(ask).await)
    }

    async fn ask_itself(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        self.note(self.inner.ask_itself(ask).await)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::upstream::{
        memory::{MemoryUpstream, Script},
        neutral::neutral_ask,
    };

    #[tokio::test]
    async fn it_is_down_from_the_first_failure_to_the_next_answer() {
        let (memory, metrics) = (Arc::new(MemoryUpstream::default()), Metrics::new().unwrap());
        let upstream = Noted::new(memory.clone(), Reach::new(&metrics));
        let ask = async |path: &str| drop(upstream.ask(neutral_ask(path.to_owned())).await);
        memory.serve("/there", Script::file("x"));
        memory.fail("/away", UpstreamError::Timeout("header"));
        memory.fail("/broken", UpstreamError::Broken("x".to_owned()));
        for (path, down) in [
            ("/there", 0),
            ("/away", 1),
            ("/broken", 1),
            ("/none", 0),
            ("/broken", 0),
        ] {
            ask(path).await;
            assert_eq!(metrics.upstream_down.get(), down, "{path}");
        }
    }
}
