//! Intake: what a proxy asks of the ledger and writes into it. Reserve, confirm, observe; dedupe; the conflict rule asked
//! early, so that a publisher hears 409 before the upstream hears the last byte. The signer decides again, with the last
//! word. Intake never signs and never answers a client.

mod admit;
mod delegate;
mod queue;
mod refused;
mod settle;
mod upload;
mod watch;

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::{Notify, mpsc};

use crate::{
    catalog::Catalog,
    clock::Clock,
    config::Config,
    digest::Digest,
    ledger::{Act, Drift, Ledger, LedgerError, Observation, Provenance, ReservationId, Seq, State, Target, rule},
    policy::{Learn, Policy, Rule},
    target::TargetPath,
    telemetry::Metrics,
    upstream::{Upstream, neutral::Reader},
};

pub use admit::{Admitted, Refusal};
pub use delegate::{claims, stands};
pub use upload::{Upload, UploadRefused};
pub use watch::TRUST;

/// Longest a reader's last chunk waits for a change of the same path; then the fetch teaches nothing.
const LEARN_TURN: Duration = Duration::from_secs(2);

/// What an intake is made of.
pub struct Parts {
    /// Limits, layout and rules.
    pub config: Arc<Config>,
    /// The durable record.
    pub ledger: Arc<dyn Ledger>,
    /// Tells what is signed.
    pub catalog: Arc<Catalog>,
    /// For the wildcard probe.
    pub upstream: Arc<dyn Upstream>,
    /// Neutral reads.
    pub reader: Arc<Reader>,
    /// Counters.
    pub metrics: Metrics,
    /// Dates of observations.
    pub clock: Arc<dyn Clock>,
    /// Wakes the signer after a commit.
    pub wake: Arc<Notify>,
}

/// What is known of a path at this moment, all pending observations applied.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The record, live or not.
    pub target: Option<Target>,
    /// A current publication covers it.
    pub signed: bool,
    /// Version of the snapshot that lists the target, where it is signed and live.
    pub snapshot: u64,
    /// Confirmed drift.
    pub drift: Option<Drift>,
    /// Digests of uploads whose outcome is open: bytes that match one are never drift.
    pub uploading: Vec<Digest>,
}

impl Standing {
    /// The record, if it is live.
    pub fn live(&self) -> Option<&Target> {
        self.target.as_ref().filter(|target| target.state == State::Live)
    }
}

/// What became of bytes that a reader's fetch showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Learned {
    /// Recorded now, at this position.
    Recorded(Seq),
    /// Recorded before with the same digest.
    Known,
    /// Other bytes were recorded meanwhile.
    Conflict,
    /// Not recorded, and why.
    Refused(Refusal),
}

/// See the module's first paragraph.
pub struct Intake {
    parts: Parts,
    locks: upload::Locks,
    admission: admit::Admission,
    learns: mpsc::Sender<queue::Task>,
    suspects: mpsc::Sender<queue::Task>,
    queues: tokio::sync::Mutex<[mpsc::Receiver<queue::Task>; 2]>,
    queued: Arc<std::sync::Mutex<HashSet<TargetPath>>>,
    rechecked: Cache<TargetPath, ()>,
    doubts: Arc<Notify>,
    unmarked: Arc<std::sync::Mutex<Vec<ReservationId>>>,
    learning: AtomicBool,
    refused: AtomicBool,
    epoch: watch::Epoch,
}

impl Intake {
    /// An intake over these parts. Learning by fetch starts once the first wildcard probe has passed ([`Intake::probe`]).
    pub fn new(parts: Parts) -> Arc<Self> {
        // Apart, so that names anybody may ask for never keep a path that differs from being looked at.
        let (learns, to_learn) = mpsc::channel(1024);
        let (suspects, suspected) = mpsc::channel(1024);
        Arc::new(Self {
            locks: upload::Locks::default(),
            admission: admit::Admission::new(&parts.config),
            learns,
            suspects,
            queues: tokio::sync::Mutex::new([to_learn, suspected]),
            queued: Arc::default(),
            rechecked: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(Duration::from_secs(2))
                .build(),
            doubts: Arc::default(),
            unmarked: Arc::default(),
            learning: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            epoch: watch::Epoch::default(),
            parts,
        })
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.parts.config.policy
    }

    /// Whether fetches under this rule teach at this moment.
    pub fn learns_fetch(&self, rule: &Rule) -> bool {
        rule.learn == Learn::Fetch && self.learning.load(Ordering::Relaxed)
    }

    /// What stands at a path.
    pub async fn look(&self, path: &TargetPath, rule: &Rule) -> Result<Standing, LedgerError> {
        // Read before the ledger: a publication in between makes `signed` late, never early, and what is live afterwards was
        // not yet withdrawn in this snapshot.
        let published = self.parts.catalog.published();
        let entry = self.parts.ledger.lookup(path).await?;
        let target = rule::fold(&entry, rule.superseding());
        Ok(Standing {
            signed: target.as_ref().is_some_and(|target| target.seq <= published.upto),
            snapshot: published.snapshot,
            uploading: entry.reservations.iter().map(|open| open.digest).collect(),
            drift: entry.drift,
            target,
        })
    }

    /// Records what a whole, neutral, provably complete fetch showed.
    pub async fn learn(
        &self,
        path: &TargetPath,
        rule: &Rule,
        (digest, length): (Digest, u64),
        client: Option<IpAddr>,
    ) -> Result<Learned, LedgerError> {
        // Under the path's turn: an upload that is confirmed between look and record must not be succeeded by older bytes.
        let Some(_turn) = self.turn_within(LEARN_TURN, path).await else {
            return Ok(Learned::Refused(Refusal::Busy));
        };
        let standing = self.look(path, rule).await?;
        if let Some(target) = &standing.target {
            return Ok(match target.digest == digest && target.state == State::Live {
                true => Learned::Known,
                false => Learned::Conflict,
            });
        }
        let admitted = match self.admit(path, rule, client).await? {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(Learned::Refused(refusal)),
        };
        let act = Act::Record {
            digest,
            length,
            provenance: Provenance::Fetched,
        };
        let seq = self.observe(path, act, &who(client)).await?;
        admitted.keep();
        Ok(Learned::Recorded(seq))
    }

    /// Records that the upstream accepted a DELETE, if the path was recorded.
    pub async fn deleted(&self, path: &TargetPath, rule: &Rule, client: Option<IpAddr>) -> Result<(), LedgerError> {
        if self.look(path, rule).await?.live().is_some() {
            self.observe(path, Act::Delete, &who(client)).await?;
        }
        Ok(())
    }

    /// Appends an observation and wakes the signer.
    async fn observe(&self, path: &TargetPath, act: Act, who: &str) -> Result<Seq, LedgerError> {
        let kind = match &act {
            Act::Record { provenance, .. } => match provenance {
                Provenance::Published => "published",
                Provenance::Fetched => "fetched",
                Provenance::Reported => "reported",
                Provenance::Declared => "declared",
                Provenance::Delegated => "delegated",
            },
            Act::Replace { .. } => "replace",
            Act::Delete => "delete",
            Act::Retract { .. } => "retract",
            Act::Forget => "forget",
        };
        let seq = self
            .parts
            .ledger
            .observe(Observation {
                seq: 0,
                path: path.clone(),
                act,
                who: who.to_owned(),
                at: self.now(),
            })
            .await?;
        self.parts.metrics.observations_total.with_label_values(&[kind]).inc();
        self.parts.wake.notify_one();
        Ok(seq)
    }

    /// The time that observations are dated by.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}

/// How the ledger names a client: its address, never a credential.
fn who(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "gate".to_owned(), |ip| format!("client {ip}"))
}
