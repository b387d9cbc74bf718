//! Who may read the metadata (DESIGN 4, "the gate never widens access"). Where the configuration does not say, the
//! upstream is asked whether it lets anybody read: at the start, and for as long as it does not answer. Until then, and
//! where it asks anonymous readers for credentials, nobody reads the metadata.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use tokio::time::{sleep, timeout};

use super::{StartError, error::ACCESS_HINT, roles::Keeper, supervise::Ready};
use crate::{
    config::{Access, Config},
    upstream::{
        Ask, Upstream, UpstreamError,
        anybody::{Anybody, Challenged, Unanswered, challenged},
    },
};

/// Longest wait for the upstream's word.
const PATIENCE: Duration = Duration::from_secs(5);

/// First and longest pause before it is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

impl Keeper {
    /// Whether the metadata is everybody's.
    pub(super) async fn access(&mut self, upstream: &Arc<dyn Upstream>) -> Result<Arc<Anybody>, StartError> {
        let anybody = Arc::new(Anybody::default());
        match &self.config.gate.metadata_access {
            Some(Access::Public) => {}
            Some(Access::Probe(path)) => guarded(&self.config, &**upstream, path).await,
            None => match asked(&self.config, &**upstream).await {
                Ok(None) => anybody.settle(true),
                Ok(Some(challenged)) => return Err(StartError::Challenged(challenged)),
                Err(error) => {
                    tracing::warn!(
                        %error, hint = ACCESS_HINT,
                        "the upstream does not say whether it asks anonymous readers for credentials: nobody reads the \
                         metadata until it does"
                    );
                    self.ask_on(Arc::clone(upstream), Arc::clone(&anybody));
                }
            },
        }
        Ok(anybody)
    }

    /// Asks until there is an answer; not ready before, nor after one that closes the metadata.
    fn ask_on(&mut self, upstream: Arc<dyn Upstream>, anybody: Arc<Anybody>) {
        let (config, shutdown) = (Arc::clone(&self.config), self.stops.intake.clone());
        self.keep("metadata", shutdown.clone(), move |ready| {
            let (config, upstream, anybody) = (Arc::clone(&config), Arc::clone(&upstream), Arc::clone(&anybody));
            let shutdown = shutdown.clone();
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = ask_until(&config, &*upstream, &anybody, ready) => shutdown.cancelled().await,
                }
                Ok(())
            }
        });
    }
}

async fn ask_until(config: &Config, upstream: &dyn Upstream, anybody: &Anybody, ready: Ready) {
    let mut pause = AGAIN.0;
    loop {
        ready.down("the upstream has not said yet whether it asks anonymous readers for credentials");
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
        match asked(config, upstream).await {
            Ok(None) => {
                tracing::info!("the upstream asks anonymous readers for nothing: the metadata is everybody's");
                anybody.settle(true);
                return ready.up();
            }
            Ok(Some(refused)) => {
                let error = StartError::Challenged(refused);
                tracing::error!(%error, hint = ACCESS_HINT, "the metadata stays closed");
                anybody.settle(false);
                return ready.down(&format!("{error}; see `metadata.access`"));
            }
            Err(error) => tracing::debug!(%error, "the upstream still does not say who may read"),
        }
    }
}

/// Below every rule that records, since the metadata will name what is there.
async fn asked(config: &Config, upstream: &dyn Upstream) -> Result<Option<Challenged>, Unanswered> {
    let folders = config.policy.folders(|_| true);
    match timeout(PATIENCE, challenged(upstream, &folders)).await {
        Ok(said) => said,
        Err(_) => Err(UpstreamError::Timeout("who may read").into()),
    }
}

/// Warns of a path to probe that anybody may read, or that is not there: the metadata would be everybody's or nobody's.
async fn guarded(config: &Config, upstream: &dyn Upstream, path: &str) {
    // An upstream that is away or slow says nothing about the path; its clients will be told.
    let Some(status) = status(upstream, path, false).await else {
        return;
    };
    if status.is_success() {
        tracing::warn!(
            http.path = path,
            "anybody may read `{path}`, and so the metadata: see `metadata.probe`"
        );
    } else if status == StatusCode::NOT_FOUND {
        tracing::warn!(
            http.path = path,
            "the upstream has no `{path}` for anonymous readers; if it has none at all, nobody can read the metadata: \
             see `metadata.probe`"
        );
    } else if config.upstream.identity.is_some()
        && let Some(status) = self::status(upstream, path, true).await
        && !status.is_success()
    {
        tracing::warn!(
            http.path = path,
            http.status = status.as_u16(),
            "the upstream answers {status} for `{path}` to the gate's own `[upstream.identity]`: if it is not there, \
             nobody can read the metadata: see `metadata.probe`"
        );
    }
}

async fn status(upstream: &dyn Upstream, path: &str, identity: bool) -> Option<StatusCode> {
    let ask = Ask {
        method: Method::GET,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        identity,
    };
    let answer = timeout(PATIENCE, upstream.ask_itself(ask)).await;
    answer.ok()?.ok().map(|answer| answer.status)
}
