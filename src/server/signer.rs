//! The signer in this process: its socket, its keys, its loop.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    server::{StartError, newer, parts::Shared},
    signer::{self, Failures, OnlineKeys, Parts, Signer},
    wake::{WakeError, WakeListener},
};

/// Between looks at a socket that another signer still holds: one that was just told to end, most likely.
const AGAIN: Duration = Duration::from_millis(100);

/// A signer whose socket listens, and whose keys are open or may still be.
pub(super) struct Opened {
    config: Arc<Config>,
    shared: Shared,
    keys: Option<OnlineKeys>,
    wire: WakeListener,
}

impl Opened {
    /// Opens keys and socket and looks once at ledger and depot, so that what trying again cannot mend is an error now. A
    /// token that is not there and a service that does not answer are no such thing: reads need no key. Waits for a signer
    /// that still listens on the socket; `None` when `shutdown` comes first.
    pub(super) async fn new(
        config: Arc<Config>,
        shared: Shared,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, StartError> {
        let config = config.keys_now()?.map_or(config, Arc::new);
        config.check_files()?;
        let keys = match OnlineKeys::open(&config).await {
            Ok(keys) => Some(keys),
            // `run` says so.
            Err(error) if error.transient() => None,
            Err(error) => return Err(error.into()),
        };
        let mut waiting = false;
        // The socket comes before the lease: the lease goes by a name, the socket makes sure that one process has it.
        let wire = loop {
            match WakeListener::bind(&config.signer.socket).await {
                Ok(wire) => break wire,
                Err(error @ WakeError::Taken(_)) => {
                    if !waiting {
                        waiting = true;
                        tracing::warn!(
                            %error,
                            "another gate runs over this ledger, or its signer is still ending: waiting for that"
                        );
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = sleep(AGAIN) => {}
            }
        };
        newer::check(&config, &shared).await?;
        if let Some(keys) = &keys {
            match Signer::new(parts(&config, &shared, keys.clone())).recover().await {
                Err(error) if error.fatal() => return Err(error.into()),
                // The loop tries again and says so.
                Err(_) | Ok(()) => {}
            }
        }
        Ok(Some(Self {
            config,
            shared,
            keys,
            wire,
        }))
    }

    /// Signs until `shutdown`, then publishes what is pending.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Result<(), String> {
        let Self {
            config,
            shared,
            keys,
            wire,
        } = self;
        // The socket outlives the loop: its last publication is told too.
        let silence = CancellationToken::new();
        let _silenced = silence.clone().drop_guard();
        let (wake, published) = (Arc::clone(&shared.wake), shared.published.subscribe());
        let wire = tokio::spawn(wire.serve(wake, published, silence.clone()));
        let opened = match keys {
            Some(keys) => Some((config, keys)),
            None => awaited(config, &shared, &shutdown).await?,
        };
        let done = match opened {
            Some((config, keys)) => signer::run(parts(&config, &shared, keys), shutdown).await,
            None => Ok(()),
        };
        silence.cancel();
        wire.await.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    }
}

fn parts(config: &Arc<Config>, shared: &Shared, keys: OnlineKeys) -> Parts {
    Parts {
        holder: signer::holder(config),
        ledger: Arc::clone(&shared.ledger),
        depot: Arc::clone(&shared.depot),
        keys,
        clock: Arc::clone(&shared.clock),
        metrics: shared.metrics.clone(),
        wake: Arc::clone(&shared.wake),
        reload: Arc::clone(&shared.reload),
        published: shared.published.clone(),
        config: Arc::clone(config),
    }
}

/// The keys that the configuration names then, once they can be opened; `None` when `shutdown` comes first.
async fn awaited(
    mut config: Arc<Config>,
    shared: &Shared,
    shutdown: &CancellationToken,
) -> Result<Option<(Arc<Config>, OnlineKeys)>, String> {
    let mut failures = Failures::new(shared.metrics.clone());
    let begun = Instant::now();
    loop {
        if let Ok(Some(changed)) = config.keys_now() {
            config = Arc::new(changed);
        }
        let error = match OnlineKeys::open(&config).await {
            Ok(keys) => {
                failures.over();
                return Ok(Some((config, keys)));
            }
            Err(error) if error.transient() => error,
            Err(error) => return Err(error.to_string()),
        };
        let wait = failures.another(&error, begun.elapsed(), shared.clock.now());
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = sleep(wait) => {}
        }
    }
}
