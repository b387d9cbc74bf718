//! The ledger in one SQLite file, shared by the processes of one machine (gate, signer, command line).
//!
//! One thread writes, in groups that share a flush of the disk (`writer.rs`); a few connections read (`readers.rs`).
//! What is written is in `write.rs` and `publish.rs`, what is asked in `read.rs`; both are plain functions over a
//! connection inside a transaction. This module never decides what may follow what: that is `rule.rs`.

mod audit;
mod changes;
mod check;
mod fault;
mod publish;
mod read;
mod readers;
mod row;
mod schema;
mod stored;
mod survey;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::target::TargetPath;

use self::{changes::Changes, fault::Fault, readers::Readers, writer::Writer};
use super::{
    AuditLine, Batch, Claim, Drift, Entry, Fence, Intent, Ledger, LedgerError, Observation, Offer, Publication,
    Reservation, ReservationId, Reserved, RoleRow, Seq, Submission, Submitted, Survey, Target,
};

/// Targets read at once by [`Ledger::each_target`]. Between two reads the write-ahead log may be folded back, which a
/// single long read would hold up.
const CHUNK: usize = 4096;

/// The ledger in one SQLite file (write-ahead log, flushed at every commit).
pub struct SqliteLedger {
    // Before the writer, so that they are dropped first: the last to close the file folds the log back, and cannot
    // when it only reads.
    changes: Changes,
    readers: Readers,
    writer: Writer,
}

impl SqliteLedger {
    /// Opens the file; creates it in its existing folder, readable by its owner alone, when it is missing. Blocks.
    ///
    /// Errors: [`LedgerError::Newer`] for a newer tufgate's file, [`LedgerError::Damaged`] for one that is no ledger or
    /// whose structure is broken, [`LedgerError::Full`] and [`LedgerError::Store`] for what the system says.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let place: Arc<str> = path.display().to_string().into();
        let conn = schema::writer(path)?;
        let writer = Writer::start(conn, place.clone());
        let writer = writer.map_err(|error| Fault::Refused(error.to_string()).at(&place))?;
        Ok(Self {
            changes: Changes::new(path.to_owned(), place.clone()),
            readers: Readers::new(path.to_owned(), place),
            writer,
        })
    }

    /// Opens an existing file to read it and nothing else: it is neither made, nor brought to a newer schema, nor
    /// checked, and every write is refused. Blocks.
    ///
    /// Errors: as [`Self::open`], but for a broken structure, which shows where it is read.
    pub fn look(path: &Path) -> Result<Self, LedgerError> {
        let place: Arc<str> = path.display().to_string().into();
        schema::look(path, &place)?;
        Ok(Self {
            changes: Changes::new(path.to_owned(), place.clone()),
            readers: Readers::new(path.to_owned(), place.clone()),
            writer: Writer::none(place),
        })
    }

    /// Commits that this handle made so far; far fewer than its writes when many come at once.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn changes(&self) -> Result<u64, LedgerError> {
        self.changes.count().await
    }

    async fn lookup(&self, path: &TargetPath) -> Result<Entry, LedgerError> {
        let path = path.clone();
        self.readers.read(move |conn| read::entry(conn, &path)).await
    }

    async fn reserve(&self, reservation: Reservation, superseding: bool) -> Result<Reserved, LedgerError> {
        let work = move |conn: &_| write::reserve(conn, &reservation, superseding);
        self.writer.write(work).await
    }

    async fn confirm(&self, id: ReservationId, at: Timestamp) -> Result<Seq, LedgerError> {
        self.writer.write(move |conn| write::confirm(conn, id, at)).await
    }

    async fn release(&self, id: ReservationId) -> Result<(), LedgerError> {
        self.writer.write(move |conn| write::release(conn, id)).await
    }

    async fn doubt(&self, id: ReservationId) -> Result<(), LedgerError> {
        self.writer.write(move |conn| write::doubt(conn, id)).await
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY id", [])).await
    }

    async fn observe(&self, observation: Observation) -> Result<Seq, LedgerError> {
        let work = move |conn: &_| write::observe(conn, &observation);
        self.writer.write(work).await
    }

    async fn intend(&self, intent: Intent) -> Result<u64, LedgerError> {
        self.writer.write(move |conn| write::intend(conn, &intent)).await
    }

    async fn intents(&self) -> Result<Vec<Intent>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY id", [])).await
    }

    async fn settle_intent(&self, id: u64) -> Result<(), LedgerError> {
        self.writer.write(move |conn| write::settle_intent(conn, id)).await
    }

    async fn set_drift(
        &self,
        path: &TargetPath,
        drift: Option<Drift>,
        who: &str,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let (path, who) = (path.clone(), who.to_owned());
        let work = move |conn: &_| write::set_drift(conn, &path, drift.as_ref(), &who, at);
        self.writer.write(work).await
    }

    async fn drifts(&self) -> Result<Vec<Drift>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY path", [])).await
    }

    async fn submit(&self, submission: Submission, claims: Vec<Claim>) -> Result<Submitted, LedgerError> {
        let work = move |conn: &_| write::submit(conn, &submission, &claims);
        self.writer.write(work).await
    }

    async fn submissions(&self) -> Result<Vec<Submission>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY id", [])).await
    }

    async fn end_submissions(&self, fence: Fence, ids: &[u64], audit: Vec<AuditLine>) -> Result<(), LedgerError> {
        let ids = ids.to_vec();
        let work = move |conn: &_| publish::end_submissions(conn, fence, &ids, &audit);
        self.writer.write(work).await
    }

    async fn offer(&self, fence: Fence, offer: Offer) -> Result<(), LedgerError> {
        self.writer.write(move |conn| publish::offer(conn, fence, &offer)).await
    }

    async fn offered(&self, role: &str) -> Result<Option<Offer>, LedgerError> {
        let role = role.to_owned();
        self.readers
            .read(move |conn| row::one(conn, "WHERE role = ?", [&role]))
            .await
    }

    async fn offers(&self) -> Result<Vec<Offer>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY role", [])).await
    }

    async fn lease(&self, holder: &str, ttl_secs: u32, now: Timestamp) -> Result<Option<Fence>, LedgerError> {
        let holder = holder.to_owned();
        let work = move |conn: &_| write::lease(conn, &holder, ttl_secs, now);
        self.writer.write(work).await
    }

    async fn end_lease(&self, fence: Fence) -> Result<(), LedgerError> {
        self.writer.write(move |conn| write::end_lease(conn, fence)).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<Observation>, LedgerError> {
        self.readers.read(move |conn| read::pending(conn, limit)).await
    }

    async fn targets(&self, paths: &[TargetPath]) -> Result<Vec<Target>, LedgerError> {
        let paths = paths.to_vec();
        self.readers.read(move |conn| read::targets(conn, &paths)).await
    }

    async fn apply(&self, fence: Fence, batch: Batch) -> Result<Vec<u64>, LedgerError> {
        let work = move |conn: &_| publish::apply(conn, fence, &batch);
        self.writer.write(work).await
    }

    async fn raise_version(&self, fence: Fence, role: &str, version: u64, published: bool) -> Result<(), LedgerError> {
        let role = role.to_owned();
        let work = move |conn: &_| publish::raise_version(conn, fence, &role, version, published);
        self.writer.write(work).await
    }

    async fn publish(&self, fence: Fence, publication: Publication) -> Result<(), LedgerError> {
        let work = move |conn: &_| publish::publish(conn, fence, &publication);
        self.writer.write(work).await
    }

    async fn publication(&self) -> Result<Option<Publication>, LedgerError> {
        self.readers.read(read::publication).await
    }

    async fn roles(&self) -> Result<Vec<RoleRow>, LedgerError> {
        self.readers.read(|conn| row::all(conn, "ORDER BY name", [])).await
    }

    async fn bin(&self, bits: u8, bin: u32) -> Result<Vec<Target>, LedgerError> {
        self.readers.read(move |conn| read::bin(conn, bits, bin)).await
    }

    async fn bin_names(&self, bits: u8, bin: u32) -> Result<Vec<String>, LedgerError> {
        self.readers.read(move |conn| read::bin_names(conn, bits, bin)).await
    }

    async fn each_target(&self, each: &mut (dyn for<'a> FnMut(&'a Target) + Send)) -> Result<(), LedgerError> {
        let mut last = None;
        loop {
            let targets = self.readers.read(move |conn| read::after(conn, last, CHUNK)).await?;
            targets.iter().for_each(&mut *each);
            match targets.last() {
                Some(target) if targets.len() == CHUNK => last = Some(target.path.id()),
                _ => return Ok(()),
            }
        }
    }

    async fn counts(&self) -> Result<(u64, u64), LedgerError> {
        self.readers.read(read::counts).await
    }

    async fn audit(&self, line: AuditLine) -> Result<(), LedgerError> {
        self.writer
            .write(move |conn| audit::append(conn, std::slice::from_ref(&line)))
            .await
    }

    async fn audit_lines(&self, limit: usize) -> Result<Vec<AuditLine>, LedgerError> {
        self.readers.read(move |conn| audit::newest(conn, limit)).await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.readers.read(check::everything).await
    }

    async fn survey(&self) -> Result<Survey, LedgerError> {
        let (survey, mut walker) = Survey::channel(self.readers.place());
        let (readers, failing) = (self.readers.clone(), walker.failing());
        tokio::spawn(async move {
            let walked = readers.read(move |conn| survey::walk(conn, &mut walker)).await;
            // The survey ends with its last sender, `failing`: nothing of the walk holds the file after that.
            drop(readers);
            if let Err(error) = walked {
                failing.fail(error).await;
            }
        });
        survey.begun().await
    }
}
