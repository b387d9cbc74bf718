//! The end, in order: not ready, no new connections, requests in flight, intake, signer, and the admin listener last.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{admin::health::Health, telemetry::Metrics};

/// What the signer has to end in order, at least.
const OWN: Duration = Duration::from_secs(5);

/// A role's supervisor; an error is how the role ended when it was stopped.
pub(super) type Kept = JoinHandle<Result<(), String>>;

/// What stops what.
#[derive(Default)]
pub(super) struct Stops {
    pub(super) proxy: CancellationToken,
    pub(super) intake: CancellationToken,
    pub(super) signer: CancellationToken,
    pub(super) catalog: CancellationToken,
    pub(super) admin: CancellationToken,
    /// When a signer that has not ended is killed; set as it is told to end.
    pub(super) deadline: Arc<OnceLock<Instant>>,
}

impl Stops {
    /// Stops everything at once, for a start that failed.
    pub(super) fn abandon(&self) {
        for role in [&self.proxy, &self.intake, &self.signer, &self.catalog, &self.admin] {
            role.cancel();
        }
    }
}

/// A gate at work. Dropping it stops nothing: [`Running::stop`] does.
pub struct Running {
    pub(super) addr: Option<SocketAddr>,
    pub(super) admin_addr: Option<SocketAddr>,
    pub(super) health: Arc<Health>,
    pub(crate) metrics: Metrics,
    /// Version of the last snapshot that a signer in this process published.
    pub(crate) published: watch::Receiver<u64>,
    pub(super) reload: Arc<Notify>,
    pub(super) grace: Duration,
    pub(super) open: TaskTracker,
    pub(super) stops: Stops,
    pub(super) kept: Vec<(&'static str, Kept)>,
}

/// How a gate ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stopped {
    /// Everything was done.
    Whole,
    /// The grace ended first; this was cut.
    Cut(String),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("all done"),
            Self::Cut(what) => write!(f, "cut {what}"),
        }
    }
}

impl Running {
    /// Where the gate listens for clients; `None` when the listener is another program's.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Where it answers operators (`/livez`, `/readyz`, `/metrics`, `/status`), if `[admin]` is configured.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Why it is not ready to serve, one line a reason; empty when it is. What `/readyz` says.
    pub fn unready(&self) -> Vec<String> {
        self.health.reasons()
    }

    /// Has the signer read `[keys]` again.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
    }

    /// Its metrics in Prometheus' text format, for a program that answers `/metrics` itself.
    pub fn metrics(&self) -> String {
        self.metrics.text()
    }

    /// Ends all roles; an idle gate ends at once. Waits for requests in flight for the configured grace, then for what
    /// they recorded to be signed, for as long as is left of it and at least five seconds. A program that has the gate inside stops accepting requests first.
    pub async fn stop(mut self) -> Stopped {
        let deadline = Instant::now() + self.grace;
        let mut cut = Vec::new();
        self.health.drain();
        self.stops.proxy.cancel();
        cut.extend(self.ended("proxy", deadline).await);
        self.open.close();
        if timeout_at(deadline, self.open.wait()).await.is_err() {
            cut.push(match self.open.len() {
                1 => "a request in flight".to_owned(),
                many => format!("{many} requests in flight"),
            });
        }
        // Only now: requests in flight committed through the intake and woke the signer. It ends in order, however long
        // they took.
        let deadline = deadline.max(Instant::now() + OWN);
        let _ = self.stops.deadline.set(deadline);
        self.stops.intake.cancel();
        cut.extend(self.ended("intake", deadline).await);
        self.stops.signer.cancel();
        cut.extend(self.ended("signer", deadline).await);
        self.stops.catalog.cancel();
        cut.extend(self.ended("catalog", deadline).await);
        self.stops.admin.cancel();
        // An operator's open connection is no reason for exit code 1.
        self.ended("admin", deadline).await;
        match cut.is_empty() {
            true => Stopped::Whole,
            false => Stopped::Cut(cut.join(", ")),
        }
    }

    /// Waits for a role's end; says what was cut.
    async fn ended(&mut self, role: &'static str, deadline: Instant) -> Option<String> {
        let at = self.kept.iter().position(|(name, _)| *name == role)?;
        let (_, kept) = self.kept.swap_remove(at);
        let abort = kept.abort_handle();
        // A moment more than the role itself has, so that its own words are heard.
        match timeout_at(deadline + Duration::from_millis(200), kept).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!("{role} ({error})")),
            Ok(Err(error)) => Some(format!("{role} ({error})")),
            Err(_) => {
                abort.abort();
                Some(role.to_owned())
            }
        }
    }
}
