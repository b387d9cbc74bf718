//! The signer: turns observations into signed metadata, keeps it fresh, and clears away what is superseded.
//!
//! It is the only one that opens online keys. One turn takes or renews the lease, decides on what is pending, commits
//! the decision with the versions it will use, writes and signs what that touches, and swaps the timestamp: the commit
//! point. It never serves anything, never asks the upstream, and never writes a version twice.

mod batch;
mod collect;
mod delegated;
mod error;
mod grow;
mod guard;
mod kept;
mod observed;
mod publish;
mod recover;
mod refresh;
mod restore;
mod rotation;
mod run;
mod seal;
mod shape;
mod state;
mod steady;

#[cfg(test)]
#[expect(clippy::expect_used, clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::{
    clock::Clock,
    config::{Config, KeySource, Keys},
    depot::Depot,
    keys::{self, KeyError, SigningKey},
    ledger::{Fence, Ledger, Observation, Seq},
    telemetry::Metrics,
    tuf::layout::Generation,
};

pub(crate) use self::steady::TOLERANCE as CLOCK_TOLERANCE;
use self::{
    error::SINCE_LAST,
    state::{State, until},
    steady::Steady,
};
pub use self::{
    error::SignerError,
    grow::grown,
    recover::check_layout,
    restore::{Restored, Shown, is_ours},
    run::{Failures, run},
    steady::{Monotonic, uptime},
};

/// Seconds a lease lasts. A signer that was killed is followed after at most this long, unless its successor carries
/// its name.
pub(crate) const LEASE_SECS: u32 = 15;
/// Looks that find depot and ledger apart before they are believed to be.
const LOOKS: usize = 20;

/// The keys a signer holds.
#[derive(Clone)]
pub struct OnlineKeys {
    /// Signs timestamp.json.
    pub timestamp: Arc<dyn SigningKey>,
    /// Signs snapshot.
    pub snapshot: Arc<dyn SigningKey>,
    /// Signs the bins and their delegator; the snapshot key, unless they have one of their own.
    pub bins: Arc<dyn SigningKey>,
    /// Signs targets.json; absent where that is signed offline.
    pub targets: Option<Arc<dyn SigningKey>>,
    /// Keys on their way out.
    pub old: OldKeys,
}

/// Keys that sign beside the new ones while a rotation lasts: clients that have not seen the new root yet, a cache may
/// have told them that there is none, know only these.
#[derive(Clone, Default)]
pub struct OldKeys {
    /// Signs timestamp.json, too.
    pub timestamp: Option<Arc<dyn SigningKey>>,
    /// Signs snapshot, too; never bins, whose keys no root lists.
    pub snapshot: Option<Arc<dyn SigningKey>>,
    /// Signs targets.json, too.
    pub targets: Option<Arc<dyn SigningKey>>,
}

/// The name by which a gate's signer takes the lease. That one process bears it, the signer's socket makes sure.
pub fn holder(config: &Config) -> String {
    // However the configuration was named.
    let socket = std::path::absolute(&config.signer.socket).unwrap_or_else(|_| config.signer.socket.clone());
    format!("signer on {}", socket.display())
}

/// A key and, while it is rotated, its forerunner.
fn both(key: &Arc<dyn SigningKey>, old: &Option<Arc<dyn SigningKey>>) -> Vec<Arc<dyn SigningKey>> {
    let other = old.iter().filter(|old| old.key_id() != key.key_id());
    std::iter::once(key).chain(other).cloned().collect()
}

async fn opened(source: &Option<KeySource>) -> Result<Option<Arc<dyn SigningKey>>, KeyError> {
    match source {
        Some(source) => keys::open(source).await.map(Some),
        None => Ok(None),
    }
}

impl OnlineKeys {
    /// Opens the keys a configuration names.
    pub async fn open(config: &Config) -> Result<Self, KeyError> {
        let Keys {
            timestamp,
            snapshot,
            bins,
            targets,
            old,
        } = &config.keys;
        let snapshot = keys::open(snapshot).await?;
        Ok(Self {
            timestamp: keys::open(timestamp).await?,
            bins: opened(bins).await?.unwrap_or_else(|| snapshot.clone()),
            snapshot,
            targets: opened(targets).await?,
            old: OldKeys {
                timestamp: opened(&old.timestamp).await?,
                snapshot: opened(&old.snapshot).await?,
                targets: opened(&old.targets).await?,
            },
        })
    }

    /// Each key once.
    fn each(&self) -> impl Iterator<Item = &Arc<dyn SigningKey>> {
        let own = (!Arc::ptr_eq(&self.bins, &self.snapshot)).then_some(&self.bins);
        let old = [&self.old.timestamp, &self.old.snapshot, &self.old.targets];
        [&self.timestamp, &self.snapshot]
            .into_iter()
            .chain(own)
            .chain(&self.targets)
            .chain(old.into_iter().flatten())
    }

    /// Those that sign timestamp.json.
    fn of_timestamp(&self) -> Vec<Arc<dyn SigningKey>> {
        both(&self.timestamp, &self.old.timestamp)
    }

    /// Those that sign snapshot.
    fn of_snapshot(&self) -> Vec<Arc<dyn SigningKey>> {
        both(&self.snapshot, &self.old.snapshot)
    }

    /// Those that sign targets.json; none where that is signed offline.
    fn of_targets(&self) -> Vec<Arc<dyn SigningKey>> {
        let keys = self.targets.iter();
        keys.flat_map(|key| both(key, &self.old.targets)).collect()
    }
}

/// What a signer works with.
#[derive(Clone)]
pub struct Parts {
    /// The configuration: layout, expiries, policy, pace.
    pub config: Arc<Config>,
    /// Where observations come from and versions are reserved.
    pub ledger: Arc<dyn Ledger>,
    /// Where files go.
    pub depot: Arc<dyn Depot>,
    /// The online keys.
    pub keys: OnlineKeys,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where the signer counts.
    pub metrics: Metrics,
    /// Told that something is pending.
    pub wake: Arc<Notify>,
    /// Told that `[keys]` are to be read again.
    pub reload: Arc<Notify>,
    /// Told the version of the snapshot after every publication.
    pub published: watch::Sender<u64>,
    /// Who takes the lease: one name for one signer at a time.
    pub holder: String,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// The lease is another's.
    Standby,
    /// Nothing to do, or not yet.
    Idle {
        /// Until something is.
        wait: Duration,
    },
    /// Observations were settled or roles refreshed.
    Published {
        /// The snapshot that timestamp now names.
        snapshot: u64,
    },
}

/// A signer between turns.
pub struct Signer {
    parts: Parts,
    steady: Steady,
    /// The lease, and the steady time of its last renewal.
    lease: Option<(Fence, Duration)>,
    state: Option<State>,
    /// Steady time of the last publication.
    last: Option<Duration>,
    /// Observations whose audit lines are written.
    audited: Seq,
    /// A key failed: it is tried alone before versions are spent on it.
    doubtful: bool,
    /// Bins do not grow to these: clients would break.
    stopped: Option<Generation>,
}

impl Signer {
    /// A signer that has not looked at anything yet.
    pub fn new(parts: Parts) -> Self {
        Self::with_monotonic(parts, uptime())
    }

    /// A signer with steady time of the caller's.
    pub fn with_monotonic(parts: Parts, monotonic: Monotonic) -> Self {
        Self {
            parts,
            steady: Steady::new(monotonic),
            lease: None,
            state: None,
            last: None,
            audited: 0,
            doubtful: false,
            stopped: None,
        }
    }

    /// Reads depot and ledger and sets right what a crash left between them. [`Self::turn`] does it when needed.
    pub async fn recover(&mut self) -> Result<(), SignerError> {
        let now = self.now()?;
        if let Some(fence) = self.leased(now).await? {
            self.state = None;
            self.state = Some(self.read_state(Some(fence), now).await?);
        }
        Ok(())
    }

    /// Reads all that [`Self::recover`] reads and refuses all that it refuses, but takes no lease and changes nothing.
    pub async fn look(&mut self) -> Result<(), SignerError> {
        let now = self.now()?;
        let mut again = LOOKS;
        loop {
            match self.read_state(None, now).await {
                // Beside a running signer, depot and ledger may have been read before and after a publication.
                Err(SignerError::Restored { .. }) if again > 0 => again -= 1,
                looked => return looked.map(drop),
            }
        }
    }

    /// One pass: publishes what is pending, refreshes what is due. After a failure nothing is believed: the next turn
    /// takes the lease and reads everything anew.
    pub async fn turn(&mut self) -> Result<Turn, SignerError> {
        let turn = self.attempt().await;
        if let Err(error) = &turn {
            self.lease = None;
            self.state = None;
            self.doubtful = matches!(error, SignerError::Key(_));
            if matches!(error, SignerError::Clock { than: SINCE_LAST, .. }) {
                // What both agreed on since the start is wrong.
                self.steady.forget();
            }
        }
        turn
    }

    /// Signs a test message with every key, if one failed before: while it still does, nothing is written.
    async fn trust_keys(&mut self) -> Result<(), SignerError> {
        if self.doubtful {
            self.renew_keys().await?;
            for key in self.parts.keys.each() {
                keys::check(&**key).await?;
            }
            self.doubtful = false;
        }
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Turn, SignerError> {
        self.trust_keys().await?;
        let now = self.now()?;
        let Some(fence) = self.leased(now).await? else {
            self.state = None;
            return Ok(Turn::Standby);
        };
        let known = self.state.take().filter(|state| state.fence == fence);
        let mut state = match known {
            Some(state) if !self.superseded(&state).await? => state,
            known => {
                self.renew_keys().await?;
                let mut state = self.read_state(Some(fence), now).await?;
                if known.is_some_and(|known| known.root < state.root) {
                    tracing::info!(root.version = state.root, "a new root is taken up");
                    // Gates look at the depot when a timestamp is published.
                    state.expires.remove(shape::TIMESTAMP);
                }
                state
            }
        };
        let turn = self.work(&mut state, now).await?;
        let turn = self.grow(&mut state, turn, now).await?;
        self.offer(&mut state, now).await?;
        self.state = Some(state);
        Ok(turn)
    }

    async fn work(&mut self, state: &mut State, now: Timestamp) -> Result<Turn, SignerError> {
        let config = self.parts.config.clone();
        let pending = self.parts.ledger.pending(config.signer.batch).await?;
        let upto = pending.last().map_or(state.upto, |last| last.seq);
        // With all observations at hand, so that what a file says of a path is held against what stands there.
        let taken = match pending.len() < config.signer.batch {
            true => self.take_up(state, upto, now).await?,
            false => None,
        };
        self.parts.metrics.pending.set(pending.len() as i64);
        let mut due = refresh::Due::default();
        if now >= state.next_due {
            (due, state.next_due) = refresh::due(state, &config.tuf, self.parts.keys.targets.is_some(), now);
        }
        if pending.is_empty() && due.nothing() && taken.is_none() {
            return Ok(Turn::Idle {
                wait: until(now, state.next_due),
            });
        }
        let since = self.last.map(|last| self.steady.elapsed().saturating_sub(last));
        if let Some(wait) = since.and_then(|since| config.signer.min_interval.checked_sub(since))
            && !wait.is_zero()
        {
            // What is due is found again: it was not signed.
            state.next_due = if due.nothing() { state.next_due } else { now };
            return Ok(Turn::Idle { wait });
        }
        let snapshot = self.publish_timed(state, pending, due, taken, now).await?;
        Ok(Turn::Published { snapshot })
    }

    /// Publishes, measured and made known.
    async fn publish_timed(
        &mut self,
        state: &mut State,
        pending: Vec<Observation>,
        due: refresh::Due,
        taken: Option<delegated::Taken>,
        now: Timestamp,
    ) -> Result<u64, SignerError> {
        let timer = self.parts.metrics.publication_seconds.start_timer();
        let snapshot = self
            .publish(state, pending, due, taken.unwrap_or_default(), now)
            .await?;
        timer.observe_duration();
        self.last = Some(self.steady.elapsed());
        self.parts.metrics.publications_total.inc();
        self.parts.published.send_replace(snapshot);
        Ok(snapshot)
    }

    /// Now, if the clock can be trusted.
    fn now(&mut self) -> Result<Timestamp, SignerError> {
        let now = self.parts.clock.now();
        match self.steady.jump(now) {
            None => Ok(now),
            Some(seconds) => Err(SignerError::Clock {
                seconds,
                than: "compared with steady time",
            }),
        }
    }

    /// The lease, taken or renewed when a third of it has gone. Fences, not its end, keep a slow signer from writing.
    async fn leased(&mut self, now: Timestamp) -> Result<Option<Fence>, SignerError> {
        let elapsed = self.steady.elapsed();
        let third = Duration::from_secs(u64::from(LEASE_SECS) / 3);
        if let Some((fence, renewed)) = self.lease
            && elapsed.saturating_sub(renewed) < third
        {
            return Ok(Some(fence));
        }
        let fence = self.parts.ledger.lease(&self.parts.holder, LEASE_SECS, now).await?;
        self.lease = fence.map(|fence| (fence, elapsed));
        Ok(fence)
    }

    /// Gives the lease up, so that a successor need not wait for its end.
    pub async fn leave(&mut self) -> Result<(), SignerError> {
        self.state = None;
        match self.lease.take() {
            Some((fence, _)) => Ok(self.parts.ledger.end_lease(fence).await?),
            None => Ok(()),
        }
    }
}
