//! The signer in this process: its socket, its keys, its loop.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    server::{StartError, parts::Shared},
    signer::{self, OnlineKeys, Parts, Signer},
    wake::{WakeError, WakeListener},
};

/// Between looks at a socket that another signer still holds: one that was just told to end, most likely.
const AGAIN: Duration = Duration::from_millis(100);

/// A signer whose keys are open and whose socket listens.
pub(super) struct Opened {
    parts: Parts,
    wire: WakeListener,
    published: watch::Receiver<u64>,
}

impl Opened {
    /// Opens keys and socket and looks once at ledger and depot, so that what trying again cannot mend is an error now.
    /// Waits for a signer that still listens on the socket; `None` when `shutdown` comes first.
    pub(super) async fn new(
        config: Arc<Config>,
        shared: Shared,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, StartError> {
        config.check_files()?;
        let keys = OnlineKeys::open(&config).await?;
        let mut waiting = false;
        // The socket comes before the lease: the lease goes by a name, the socket makes sure that one process has it.
        let wire = loop {
            match WakeListener::bind(&config.signer.socket).await {
                Ok(wire) => break wire,
                Err(error @ WakeError::Taken(_)) => {
                    if !waiting {
                        waiting = true;
                        tracing::warn!(%error, "waiting for it to end");
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = sleep(AGAIN) => {}
            }
        };
        let parts = Parts {
            holder: format!("signer on {}", config.signer.socket.display()),
            ledger: shared.ledger,
            depot: shared.depot,
            keys,
            clock: shared.clock,
            metrics: shared.metrics,
            wake: shared.wake,
            published: shared.published.clone(),
            config,
        };
        match Signer::new(parts.clone()).recover().await {
            Err(error) if error.fatal() => return Err(error.into()),
            // The loop tries again and says so.
            Err(_) | Ok(()) => {}
        }
        let published = shared.published.subscribe();
        Ok(Some(Self { parts, wire, published }))
    }

    /// Signs until `shutdown`, then publishes what is pending.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Result<(), String> {
        // The socket outlives the loop: its last publication is told too.
        let silence = CancellationToken::new();
        let _silenced = silence.clone().drop_guard();
        let wake = Arc::clone(&self.parts.wake);
        let wire = tokio::spawn(self.wire.serve(wake, self.published, silence.clone()));
        let done = signer::run(self.parts, shutdown)
            .await
            .map_err(|error| error.to_string());
        silence.cancel();
        wire.await.map_err(|error| error.to_string())?;
        done
    }
}
