//! Supervision: a role that panics or ends by itself is an error line, a metric, `/readyz` 503, and a new start after a
//! pause.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::health::{Health, Role},
    telemetry::Metrics,
};

/// First and longest pause before a role is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A role that ran this long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// Starts roles and keeps them running.
#[derive(Clone)]
pub struct Supervisor {
    /// Where states are noted.
    pub health: Arc<Health>,
    /// Where failures are counted.
    pub metrics: Metrics,
}

impl Supervisor {
    /// Keeps the role `name` running until `shutdown`. `start` makes its future anew each time; the future ends with
    /// `Ok` only once `shutdown` is cancelled, and notes [`Role::Up`] through the [`Ready`] it is given. The answer says
    /// how it ended after `shutdown`.
    pub fn keep<F>(
        &self,
        name: &'static str,
        shutdown: CancellationToken,
        mut start: impl FnMut(Ready) -> F + Send + 'static,
    ) -> JoinHandle<Result<(), String>>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let this = self.clone();
        this.health.set(name, Role::Starting);
        tokio::spawn(async move {
            let mut pause = PAUSE.0;
            while !shutdown.is_cancelled() {
                let ready = Ready {
                    name,
                    health: Arc::clone(&this.health),
                };
                let begun = Instant::now();
                // A task of its own, so that a panic ends the role and not its supervisor.
                let ended = tokio::spawn(start(ready)).await;
                if shutdown.is_cancelled() {
                    let ended = flat(ended);
                    if let Err(error) = &ended {
                        tracing::error!(role = name, error, "role {name} failed while it was stopped");
                    }
                    return ended;
                }
                let error = flat(ended).err().unwrap_or_else(|| "ended by itself".to_owned());
                if begun.elapsed() >= STEADY {
                    pause = PAUSE.0;
                }
                this.metrics.role_failures_total.with_label_values(&[name]).inc();
                tracing::error!(role = name, error, "role {name} failed; starting it again in {pause:?}");
                this.health.set(name, Role::Down { error });
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
            Ok(())
        })
    }
}

/// Says that a role is at work.
pub struct Ready {
    name: &'static str,
    health: Arc<Health>,
}

impl Ready {
    /// It is.
    pub fn up(self) {
        self.health.set(self.name, Role::Up);
    }

    /// It cannot do its work yet, and why.
    pub fn down(&self, why: &str) {
        let error = why.to_owned();
        self.health.set(self.name, Role::Down { error });
    }
}

fn flat(ended: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_that_panics_or_ends_is_noted_and_started_again() {
        let supervisor = Supervisor {
            health: Arc::default(),
            metrics: Metrics::new().unwrap(),
        };
        let shutdown = CancellationToken::new();
        let (starts, mut started) = tokio::sync::watch::channel(0);
        let (health, stopped) = (Arc::clone(&supervisor.health), shutdown.clone());
        let seen = Arc::clone(&supervisor.health);
        let task = supervisor.keep("test", shutdown.clone(), move |ready| {
            starts.send_modify(|n| *n += 1);
            let (nth, stopped, seen) = (*starts.borrow(), stopped.clone(), Arc::clone(&seen));
            async move {
                match nth {
                    1 => panic!("first"),
                    2 => {
                        assert_eq!(seen.reasons(), ["test is down: panicked: first"]);
                        Ok(())
                    }
                    _ => {
                        assert_eq!(seen.reasons(), ["test is down: ended by itself"]);
                        ready.up();
                        stopped.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        started.wait_for(|n| *n == 3).await.unwrap();
        shutdown.cancel();
        task.await.unwrap().unwrap();
        assert_eq!(
            supervisor
                .metrics
                .role_failures_total
                .with_label_values(&["test"])
                .get(),
            2
        );
        assert_eq!(health.roles()["test"], Role::Up);
    }
}
