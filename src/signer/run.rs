//! The loop around turns: waking, waiting, backing off, leaving.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Parts, Signer, SignerError, Turn};
use crate::telemetry::Metrics;

/// Longest sleep: a wake-up that was lost delays a publication no longer than this.
const POLL: Duration = Duration::from_secs(1);
/// Between looks at a lease that another holds.
const STANDBY: Duration = Duration::from_secs(2);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Until the log warns that signing still fails, and between further warnings.
const FIRST_WARNING: Duration = Duration::from_secs(300);
const WARNINGS: Duration = Duration::from_secs(3_600);
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
    let clock = parts.clock.clone();
    let mut signer = Signer::new(parts);
    let mut failures = Failures::new(metrics.clone());
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
                failures.another(&error, signer.steady.elapsed(), clock.now())
            }
        };
        if healthy && signer.steady.elapsed().saturating_sub(collected) >= COLLECT {
            collected = signer.steady.elapsed();
            signer.warn_of_expiry();
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

/// Failures in a row: pauses that grow, metrics, and warnings before clients notice.
pub struct Failures {
    metrics: Metrics,
    count: u32,
    /// Steady time of the first, and of the last warning.
    since: Duration,
    warned: Duration,
}

impl Failures {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            count: 0,
            since: Duration::ZERO,
            warned: Duration::ZERO,
        }
    }

    /// Notes one at a steady time and a time of the clock; the answer is how long to wait.
    pub fn another(&mut self, error: &dyn std::error::Error, steady: Duration, now: Timestamp) -> Duration {
        self.metrics.signing_failures_total.inc();
        if self.count == 0 {
            (self.since, self.warned) = (steady, steady);
            self.metrics.signing_failing_since_seconds.set(now.as_second().max(1));
            tracing::error!(%error, "signing stopped; reads go on, and it is tried again");
        } else if self.lasts(steady) {
            self.warned = steady;
            let failing = Duration::from_secs(steady.saturating_sub(self.since).as_secs());
            let left = self.left(now);
            tracing::warn!(%error, signer.failures = self.count, "signing has failed for {failing:?}; {left}");
        } else {
            tracing::debug!(%error, signer.failures = self.count, "signing failed again");
        }
        let wait = BACKOFF.0.saturating_mul(1 << self.count.min(16)).min(BACKOFF.1);
        self.count = self.count.saturating_add(1);
        wait
    }

    /// Whether it is time for a warning: after five minutes, then every hour.
    fn lasts(&self, steady: Duration) -> bool {
        let pause = if self.warned == self.since {
            FIRST_WARNING
        } else {
            WARNINGS
        };
        steady.saturating_sub(self.warned) >= pause
    }

    /// What is left to clients.
    fn left(&self, now: Timestamp) -> String {
        let expires = self.metrics.timestamp_expires.get();
        match expires - now.as_second() {
            _ if expires == 0 => "`tufgate status` says until when clients accept what was published".to_owned(),
            left @ 1.. => {
                let left = Duration::from_secs(left.unsigned_abs());
                format!("timestamp.json expires in {left:?}, and then clients refuse it")
            }
            _ => "timestamp.json has expired, and clients refuse it".to_owned(),
        }
    }

    /// It works.
    pub fn over(&mut self) {
        if std::mem::take(&mut self.count) > 0 {
            self.metrics.signing_failing_since_seconds.set(0);
            tracing::info!("signing again");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn pauses_grow_to_a_bound_and_start_over() {
        let mut failures = Failures::new(Metrics::new().unwrap());
        let error = SignerError::NoRoot;
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let another = |failures: &mut Failures| failures.another(&error, minutes(1), now);
        let waits: Vec<_> = (0..12).map(|_| another(&mut failures)).collect();
        assert!(waits.is_sorted());
        assert_eq!((waits[0], waits[11]), BACKOFF);
        let metrics = failures.metrics.clone();
        assert_eq!(metrics.signing_failing_since_seconds.get(), 1_900_000_000);
        assert_eq!(metrics.signing_failures_total.get(), 12);
        failures.over();
        assert_eq!(metrics.signing_failing_since_seconds.get(), 0);
        assert_eq!(another(&mut failures), BACKOFF.0);
    }

    #[test]
    fn who_watches_the_log_is_warned_before_clients_notice() {
        let mut failures = Failures::new(Metrics::new().unwrap());
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        assert_eq!(
            failures.left(now),
            "`tufgate status` says until when clients accept what was published"
        );
        failures.metrics.timestamp_expires.set(1_900_000_000 + 7_200);
        assert_eq!(
            failures.left(now),
            "timestamp.json expires in 7200s, and then clients refuse it"
        );
        failures.metrics.timestamp_expires.set(1_900_000_000);
        assert!(failures.left(now).contains("has expired"));
        let mut warned = Vec::new();
        for minute in 0..200 {
            if failures.count > 0 && failures.lasts(minutes(minute)) {
                warned.push(minute);
            }
            failures.another(&SignerError::NoRoot, minutes(minute), now);
        }
        assert_eq!(warned, [5, 65, 125, 185]);
    }
}
