//! The ledger: the durable record of what was observed, recorded, signed and refused.
//!
//! Proxies append reservations, observations and intents; the signer turns observations into targets and reserves
//! versions. A write has reached the disk when its future resolves; one whose future is dropped on the way may still be
//! made. Times are kept to the microsecond. The ledger never opens a key and never touches the depot.

pub mod memory;
pub mod rule;
pub mod sqlite;

mod drift;
mod lease;
mod publication;
mod range;
mod role;
mod submission;
mod survey;

#[cfg(test)]
mod conformance;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, target::TargetPath};

pub(crate) use self::publication::ACTION as PUBLISH;
pub use self::{
    submission::QUEUED,
    survey::{Damage, Row, Survey},
};

/// The action of a line of the audit log that tells what was not published since it would break clients.
pub(crate) const GUARD: &str = "guard";

/// How the gate learned a digest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// First whole neutral read.
    Fetched,
    /// Stated by the upstream, then re-read.
    Reported,
    /// Stated by an authenticated caller or an import file.
    Declared,
    /// Streamed through an upload the upstream accepted.
    Published,
    /// Signed by a role that others sign, which lists it; the gate's own bins do not.
    Delegated,
}

/// A position in the sequence of observations; 0 is before the first.
pub type Seq = u64;

/// What an observation says happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "act")]
pub enum Act {
    /// These bytes were seen at the path.
    Record {
        /// Their digest.
        digest: Digest,
        /// Their length in bytes.
        length: u64,
        /// How they were seen.
        provenance: Provenance,
    },
    /// An operator takes these bytes in place of what is recorded, whatever the policy (`drift accept`).
    Replace {
        /// Their digest.
        digest: Digest,
        /// Their length in bytes.
        length: u64,
    },
    /// The upstream accepted a DELETE: leaves a tombstone.
    Delete,
    /// An operator withdraws the target: 410 in every form.
    Retract {
        /// Shown in the audit log.
        reason: String,
    },
    /// An operator drops record, history and tombstone: the path may be learned anew.
    Forget,
}

/// Something a proxy or an operator saw; the signer decides what becomes of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Observation {
    /// Assigned by the ledger, strictly increasing.
    pub seq: Seq,
    /// The target path.
    pub path: TargetPath,
    /// What happened.
    #[serde(flatten)]
    pub act: Act,
    /// Who: `client 127.0.0.1`, `operator`, `gate`. Never a credential.
    pub who: String,
    /// When.
    pub at: Timestamp,
}

/// What stands behind a recorded path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Listed in the metadata.
    Live,
    /// Deleted: not listed; other bytes are refused.
    Deleted,
    /// Retracted by an operator: not listed, 410.
    Retracted,
}

/// A recorded target.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Target {
    /// The target path.
    pub path: TargetPath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
    /// How the gate learned them.
    pub provenance: Provenance,
    /// Live, deleted or retracted.
    pub state: State,
    /// The observation that made it so; signed once a publication covers this number.
    pub seq: Seq,
    /// Who made that observation.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// Digests that were recorded here before, newest first, each with its length and when it was superseded.
    pub superseded: Vec<Superseded>,
}

/// A digest that was recorded before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Superseded {
    /// The digest.
    pub digest: Digest,
    /// Its bytes' number.
    pub length: u64,
    /// When another took its place.
    pub at: Timestamp,
}

/// Upstream bytes, confirmed by a neutral read, that differ from the record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Drift {
    /// The target path.
    pub path: TargetPath,
    /// What is recorded.
    pub recorded: Digest,
    /// What the upstream has.
    pub observed: Digest,
    /// Its length in bytes.
    pub observed_length: u64,
    /// When it was confirmed.
    pub at: Timestamp,
}

/// Identifies a reservation.
pub type ReservationId = u64;

/// An upload in flight: its digest is known, the upstream's answer is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reservation {
    /// Assigned by the ledger.
    pub id: ReservationId,
    /// The target path.
    pub path: TargetPath,
    /// SHA-256 of the body.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Who uploads.
    pub who: String,
    /// When it was reserved.
    pub at: Timestamp,
    /// The upstream's answer was lost: a neutral read must settle it.
    pub doubtful: bool,
}

/// The ledger's answer to [`Ledger::reserve`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reserved {
    /// Go on; confirm, release or doubt it.
    Granted(ReservationId),
    /// Other bytes are recorded, deleted or retracted here.
    Conflict(rule::Conflict),
    /// Another reservation for other bytes stands: settle it first if doubtful, else wait.
    Held(Reservation),
}

/// A path whose bytes the gate must read itself: something changed it without passing through whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Intent {
    /// Assigned by the ledger.
    pub id: u64,
    /// The target path.
    pub path: TargetPath,
    /// What a successful read counts as.
    pub provenance: Provenance,
    /// On whose behalf.
    pub who: String,
    /// Since when.
    pub at: Timestamp,
}

/// All the ledger knows of one path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// What the signer made of it.
    pub target: Option<Target>,
    /// Observations the signer has not applied yet, oldest first.
    pub pending: Vec<Observation>,
    /// Uploads in flight or in doubt.
    pub reservations: Vec<Reservation>,
    /// What submissions that wait list here anew, oldest first.
    pub claims: Vec<Claim>,
    /// Confirmed drift.
    pub drift: Option<Drift>,
}

/// A role's version counters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleRow {
    /// The role: `targets`, `bins`, `bins4-0`, `snapshot`, `timestamp`.
    pub name: String,
    /// Highest version ever handed out; files up to it may exist.
    pub reserved: u64,
    /// Version that the last publication listed; 0 when none did.
    pub published: u64,
    /// When that version expires.
    pub expires: Option<Timestamp>,
}

/// A publication, recorded after its timestamp was swapped in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// Version of its snapshot.
    pub snapshot: u64,
    /// Version of its timestamp.
    pub timestamp: u64,
    /// All observations up to and with this one are in it.
    pub upto: Seq,
    /// When.
    pub at: Timestamp,
    /// The roles it listed anew: name, version, expiry.
    pub roles: Vec<(String, u64, Timestamp)>,
}

/// Proof of holding the signer's lease; every signer write carries it and fails once a newer one was handed out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fence(pub u64);

/// Files of roles that others sign, checked by a proxy and not yet by the signer; taken up together or not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Submission {
    /// Assigned by the ledger, strictly increasing.
    pub id: u64,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// The submission as JSON, `{"roles": {…}}`.
    pub body: String,
    /// Who handed it in.
    pub who: String,
    /// When.
    pub at: Timestamp,
}

/// A target that a submission lists anew. It stands from the answer to [`Ledger::submit`] until the submission ends, so that
/// an upload of other bytes hears of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The submission; assigned by the ledger.
    pub submission: u64,
    /// The target path.
    pub path: TargetPath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
    /// Other bytes may come to stand here (policy `track`).
    pub superseding: bool,
}

/// Files that the signer has signed for a role, and that wait for those who countersign them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The role.
    pub role: String,
    /// As it is to be submitted, `{"roles": {…}}`.
    pub body: String,
}

/// The ledger's answer to [`Ledger::submit`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Submitted {
    /// It waits for the signer, under this number; one with the same body may have waited before.
    Waits(u64),
    /// A role's version is not the next one any more.
    Taken {
        /// The role.
        role: String,
        /// The version that is.
        wanted: u64,
    },
    /// A path that it lists anew has other bytes, or is about to.
    Conflict {
        /// The path.
        path: TargetPath,
        /// What stands in the way.
        conflict: rule::Conflict,
    },
    /// Too much waits already.
    Full,
}

/// What the signer writes before it publishes, in one commit.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Targets as they now are, in the order decided; the last one of a path stands.
    pub targets: Vec<Target>,
    /// Paths to drop whole (`forget`), before `targets` are written: a path in both was learned anew.
    pub forgotten: Vec<TargetPath>,
    /// Lines for the audit chain.
    pub audit: Vec<AuditLine>,
    /// Roles that need a new version, in the order of the answer.
    pub versions: Vec<String>,
}

/// A line for the audit chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What: `record`, `supersede`, `refuse`, `guard`, `delete`, `retract`, `forget`, `drift`, `drift-end`, `publish`, `delegate` …
    pub action: String,
    /// The path, or empty.
    pub path: String,
    /// Digests and reasons, for people.
    pub detail: String,
}

impl AuditLine {
    /// Actions that leave every recorded path as it reads.
    pub(crate) const QUIET: [&str; 5] = ["delegate", "publish", "record", "refuse", GUARD];
}

/// A failed ledger operation.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A row's checksum or the file's structure is wrong.
    #[error("the ledger `{place}` is damaged: {detail}")]
    Damaged {
        /// File or table.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The lease was taken by another signer.
    #[error("another signer holds the lease (fence {newest}, ours {ours})")]
    Fenced {
        /// The number we hold.
        ours: u64,
        /// The newest handed out.
        newest: u64,
    },
    /// The disk is full.
    #[error("the ledger `{place}` has no space left")]
    Full {
        /// The file.
        place: String,
    },
    /// Written by a newer tufgate.
    #[error("the ledger `{place}` has schema {found}, this tufgate knows up to {known}")]
    Newer {
        /// The file.
        place: String,
        /// Its schema number.
        found: i64,
        /// The newest this binary knows.
        known: i64,
    },
    /// Anything else the store said.
    #[error("the ledger `{place}` failed: {detail}")]
    Store {
        /// The file.
        place: String,
        /// The store's words.
        detail: String,
    },
}

/// The durable record. One conformance suite (`conformance.rs`) holds for every implementation.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// A number that differs from an earlier answer's once anybody, in this process or another, committed what may make
    /// a recorded path read otherwise: other bytes, a deletion, a retraction, drift. It may differ without. New records,
    /// leases and publications do not move it.
    async fn changes(&self) -> Result<u64, LedgerError>;

    /// All that is known of a path.
    async fn lookup(&self, path: &TargetPath) -> Result<Entry, LedgerError>;

    /// Reserves a path for an upload whose body has this digest. `superseding`: other bytes are allowed (policy
    /// `track`). Decides by [`rule::admit`] in one transaction with the write. A reservation for the same path and
    /// digest is granted beside an existing one; `reservation.id` and `doubtful` are ignored.
    async fn reserve(&self, reservation: Reservation, superseding: bool) -> Result<Reserved, LedgerError>;

    /// The upstream accepted: the reservation becomes an observation, in one commit. An error when it is not open.
    async fn confirm(&self, id: ReservationId, at: Timestamp) -> Result<Seq, LedgerError>;

    /// The upstream refused: nothing was stored. Fine when it is not open any more.
    async fn release(&self, id: ReservationId) -> Result<(), LedgerError>;

    /// The upstream's answer was lost. Fine when it is not open any more.
    async fn doubt(&self, id: ReservationId) -> Result<(), LedgerError>;

    /// Open reservations, oldest first; all of them, as recovery needs them after a crash.
    async fn reservations(&self) -> Result<Vec<Reservation>, LedgerError>;

    /// Appends an observation (its `seq` is ignored).
    async fn observe(&self, observation: Observation) -> Result<Seq, LedgerError>;

    /// Commits that a path must be re-read.
    async fn intend(&self, intent: Intent) -> Result<u64, LedgerError>;

    /// Open intents, oldest first.
    async fn intents(&self) -> Result<Vec<Intent>, LedgerError>;

    /// Ends an intent. Fine when it ended before.
    async fn settle_intent(&self, id: u64) -> Result<(), LedgerError>;

    /// Marks a path drifted, or (with `None`) whole again. Audited in the same commit when that changes what is known;
    /// seeing the same drift again is no news.
    async fn set_drift(
        &self,
        path: &TargetPath,
        drift: Option<Drift>,
        who: &str,
        at: Timestamp,
    ) -> Result<(), LedgerError>;

    /// All drifted paths, sorted.
    async fn drifts(&self) -> Result<Vec<Drift>, LedgerError>;

    /// Queues a submission (its `id` is ignored) if each of its versions is the one after all that were handed out, listed
    /// or are queued for that role, and nothing stands in the way of a claim ([`rule::claim`]); at most [`QUEUED`] wait.
    /// Decides in one transaction with the write. One that waits already keeps its claims.
    async fn submit(&self, submission: Submission, claims: Vec<Claim>) -> Result<Submitted, LedgerError>;

    /// What waits for the signer, oldest first.
    async fn submissions(&self) -> Result<Vec<Submission>, LedgerError>;

    /// Ends submissions, listed or refused, and writes audit lines, in one commit.
    async fn end_submissions(&self, fence: Fence, ids: &[u64], audit: Vec<AuditLine>) -> Result<(), LedgerError>;

    /// Puts an offer in place of the role's last one; an empty body takes that away.
    async fn offer(&self, fence: Fence, offer: Offer) -> Result<(), LedgerError>;

    /// What is offered for a role.
    async fn offered(&self, role: &str) -> Result<Option<Offer>, LedgerError>;

    /// What is offered, sorted by role.
    async fn offers(&self) -> Result<Vec<Offer>, LedgerError>;

    /// Takes or renews the signer's lease for `ttl_secs`: the same fence for the same holder while it lasts, `None`
    /// while another holds it, else (lapsed, given up, never taken) the next fence.
    async fn lease(&self, holder: &str, ttl_secs: u32, now: Timestamp) -> Result<Option<Fence>, LedgerError>;

    /// Gives the lease up.
    async fn end_lease(&self, fence: Fence) -> Result<(), LedgerError>;

    /// Observations after the last publication's `upto`, oldest first, at most `limit`.
    async fn pending(&self, limit: usize) -> Result<Vec<Observation>, LedgerError>;

    /// What is recorded at these paths; paths without a record are left out.
    async fn targets(&self, paths: &[TargetPath]) -> Result<Vec<Target>, LedgerError>;

    /// Writes a batch and hands out its versions, in one commit; the answer is in the order of `batch.versions`.
    async fn apply(&self, fence: Fence, batch: Batch) -> Result<Vec<u64>, LedgerError>;

    /// Raises a role's reserved (and, when `published`, published) counter to at least `version`, never lowers it.
    async fn raise_version(&self, fence: Fence, role: &str, version: u64, published: bool) -> Result<(), LedgerError>;

    /// Records a publication, drops the observations it covers, in one commit with the role rows and, when it lists
    /// anything anew, a line of the audit chain. A version it lists that is older than one already published changes
    /// nothing.
    async fn publish(&self, fence: Fence, publication: Publication) -> Result<(), LedgerError>;

    /// The last publication recorded.
    async fn publication(&self) -> Result<Option<Publication>, LedgerError>;

    /// All role rows, by name.
    async fn roles(&self) -> Result<Vec<RoleRow>, LedgerError>;

    /// Live targets of one bin among `2^bits`, sorted by path text; none where there is no such bin.
    async fn bin(&self, bits: u8, bin: u32) -> Result<Vec<Target>, LedgerError>;

    /// Paths of the live targets in that bin, in any order; cheaper than [`Ledger::bin`], rows are not checked.
    async fn bin_names(&self, bits: u8, bin: u32) -> Result<Vec<String>, LedgerError>;

    /// Calls `each` for every live target, in id order.
    async fn each_target(&self, each: &mut (dyn for<'a> FnMut(&'a Target) + Send)) -> Result<(), LedgerError>;

    /// Number of live targets and of pending observations.
    async fn counts(&self) -> Result<(u64, u64), LedgerError>;

    /// Appends a line to the audit chain.
    async fn audit(&self, line: AuditLine) -> Result<(), LedgerError>;

    /// The newest `limit` audit lines, newest first.
    async fn audit_lines(&self, limit: usize) -> Result<Vec<AuditLine>, LedgerError>;

    /// Walks everything and checks structure, row checksums and the audit chain.
    async fn check(&self) -> Result<(), LedgerError>;

    /// Hands out everything as it stands at one moment, before this resolves and not before it was called; what is
    /// damaged included. It holds no lock that writers would wait for.
    async fn survey(&self) -> Result<Survey, LedgerError>;
}
