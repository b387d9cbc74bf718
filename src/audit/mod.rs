//! The inside view of a gate's own data: depot and ledger against each other and against themselves, and who may touch
//! their files.
//!
//! It reads and nothing else: it never writes, repairs, publishes, asks for a passphrase or speaks to a running gate,
//! and it is safe beside one. Ledger and depot are seen at one moment: the ledger in one transaction that begins while
//! the timestamp stands still. What a publication in flight explains is no finding; what else looks wrong is looked at
//! twice before it is reported. `inspect` is the outside view, a client's.

mod bins;
mod cut;
mod envelope;
mod expiry;
mod finding;
mod kept;
mod keys;
mod modes;
mod record;
mod signers;
mod tombstones;
mod walk;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    config::Config,
    depot::Depot,
    ledger::{Ledger, LedgerError},
};

pub(crate) use self::finding::counted;
pub use self::finding::{Code, Finding, Report, Severity};
use self::{cut::Cut, walk::Walk};

/// What is audited.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Says where files lie, who may sign what, and how long things last.
    pub config: &'a Config,
    /// The record, or why it does not open: the depot is looked at all the same.
    pub ledger: Result<&'a dyn Ledger, &'a LedgerError>,
    /// The signed files.
    pub depot: &'a dyn Depot,
    /// The time that expiries and ages are held against.
    pub now: Timestamp,
}

/// Audits. Whatever is found, and nothing else, is in the report; it cannot fail.
pub async fn audit(subject: Subject<'_>) -> Report {
    let first = pass(subject).await;
    if first.worst().is_none_or(|worst| worst == Severity::Note) {
        return first;
    }
    // A file that was collected, a row that was settled while we looked: whatever is wrong is still wrong now.
    let seen: BTreeSet<_> = first.findings().map(Finding::identity).collect();
    let mut second = pass(subject).await;
    second.keep(|finding| finding.severity == Severity::Note || seen.contains(&finding.identity()));
    second
}

async fn pass(subject: Subject<'_>) -> Report {
    let mut report = Report::default();
    let cut = Cut::make(subject, &mut report).await;
    let walked = Walk::new(subject, &mut report, &cut.files).run(cut.timestamp).await;
    if let Some(survey) = cut.survey {
        record::compare(subject, survey, walked.listed.as_ref(), &mut report).await;
    }
    kept::check(subject, &cut.stored, &walked, &mut report);
    expiry::check(subject, &walked, &mut report);
    let (config, now) = (subject.config.clone(), subject.now);
    let places = tokio::task::spawn_blocking(move || {
        let mut report = Report::default();
        modes::check(&config, now, &mut report);
        keys::check(&config, walked.root.as_ref(), &mut report);
        report
    });
    if let Ok(places) = places.await {
        report.join(places);
    }
    report
}

#[cfg(test)]
mod tests;
