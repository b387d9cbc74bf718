//! The loop around turns: waking, waiting, backing off, leaving.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Parts, Signer, SignerError, Turn};

/// Longest sleep: a wake-up that was lost delays a publication no longer than this.
const POLL: Duration = Duration::from_secs(1);
/// Between looks at a lease that another holds.
const STANDBY: Duration = Duration::from_secs(2);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Between collections.
const COLLECT: Duration = Duration::from_secs(600);

/// Runs a signer until `shutdown`: then publishes what is still pending and gives the lease up.
///
/// # Errors
/// Only what trying again cannot mend ([`SignerError::fatal`]). Everything else is logged once, counted, and tried
/// again with growing pauses; nothing pending is lost meanwhile.
pub async fn run(parts: Parts, shutdown: CancellationToken) -> Result<(), SignerError> {
    let metrics = parts.metrics.clone();
    let wake = parts.wake.clone();
    let mut signer = Signer::new(parts);
    let mut failures = Failures::default();
    let mut collected = signer.steady.elapsed();
    while !shutdown.is_cancelled() {
        let turn = signer.turn().await;
        let healthy = turn.is_ok();
        let wait = match turn {
            Ok(Turn::Published { .. }) => {
                failures.over();
                continue;
            }
            Ok(Turn::Idle { wait }) => {
                failures.over();
                wait.min(POLL)
            }
            Ok(Turn::Standby) => STANDBY,
            Err(error) if error.fatal() => return Err(error),
            Err(error) => {
                let label = if matches!(error, SignerError::Clock { .. }) {
                    "signer-clock"
                } else {
                    "signer"
                };
                metrics.role_failures_total.with_label_values(&[label]).inc();
                failures.another(&error)
            }
        };
        if healthy && signer.steady.elapsed().saturating_sub(collected) >= COLLECT {
            collected = signer.steady.elapsed();
            if let Err(error) = signer.collect().await {
                tracing::warn!(%error, "superseded metadata could not be deleted");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(wait) => {}
            // A wake-up does not shorten a pause after a failure: what is pending waits in the ledger.
            () = wake.notified(), if healthy => {}
        }
    }
    while let Ok(Turn::Published { .. }) = signer.turn().await {}
    signer.leave().await
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures(u32);

impl Failures {
    /// Notes one; the answer is how long to wait.
    fn another(&mut self, error: &SignerError) -> Duration {
        match self.0 {
            0 => tracing::error!(%error, "signing stopped; reads go on, and it is tried again"),
            _ => tracing::debug!(%error, signer.failures = self.0, "signing failed again"),
        }
        let wait = BACKOFF.0.saturating_mul(1 << self.0.min(16)).min(BACKOFF.1);
        self.0 = self.0.saturating_add(1);
        wait
    }

    fn over(&mut self) {
        if std::mem::take(&mut self.0) > 0 {
            tracing::info!("signing again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_over() {
        let mut failures = Failures::default();
        let error = SignerError::NoRoot;
        let waits: Vec<_> = (0..12).map(|_| failures.another(&error)).collect();
        assert!(waits.is_sorted());
        assert_eq!((waits[0], waits[11]), BACKOFF);
        failures.over();
        assert_eq!(failures.another(&error), BACKOFF.0);
    }
}
