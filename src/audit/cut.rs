//! Ledger and depot at one moment.

use std::{collections::BTreeMap, fmt::Display};

use bytes::Bytes;

use crate::{
    depot::{DepotError, Stored, TIMESTAMP},
    ledger::{LedgerError, Survey},
    tuf::layout,
};

use super::{Code, Report, Subject};

/// Tries to find the timestamp standing still while a transaction begins, which takes less than a millisecond; a
/// publication takes several.
const TRIES: usize = 1_000;

/// What was seen at that moment.
#[derive(Default)]
pub(super) struct Cut {
    /// Every file of the depot, listed before the ledger was read: whatever stands here had its version reserved.
    pub(super) stored: Vec<Stored>,
    /// Versions by role, in the depot's folder or in that of the succinct view.
    pub(super) files: BTreeMap<String, Vec<u64>>,
    /// The timestamp's bytes, while the ledger was as the survey shows it.
    pub(super) timestamp: Option<Bytes>,
    /// The ledger.
    pub(super) survey: Option<Survey>,
}

impl Cut {
    pub(super) async fn make(subject: Subject<'_>, report: &mut Report) -> Self {
        let mut cut = Self::default();
        let place = subject.config.depot.display();
        match subject.depot.list().await {
            Ok(stored) => cut.stored = stored,
            // `modes` says that it is gone.
            Err(_) if !subject.config.depot.exists() => {}
            Err(error) => report.error(Code::Unreadable, place, error),
        }
        for (version, role) in cut.stored.iter().filter_map(|file| layout::versioned(&file.name)) {
            cut.files.entry(role.to_owned()).or_default().push(version);
        }
        for versions in cut.files.values_mut() {
            versions.sort_unstable();
            versions.dedup();
        }
        if let Err(error) = cut.still(subject, report).await {
            report.error(Code::Unreadable, subject.config.depot.join(TIMESTAMP).display(), error);
        }
        cut
    }

    async fn still(&mut self, subject: Subject<'_>, report: &mut Report) -> Result<(), DepotError> {
        let place = subject.config.ledger.display();
        self.timestamp = subject.depot.read(TIMESTAMP).await?;
        let ledger = match subject.ledger {
            Ok(ledger) => ledger,
            Err(error) => {
                unreadable(report, place, error);
                return Ok(());
            }
        };
        for _ in 0..TRIES {
            let survey = match ledger.survey().await {
                Ok(survey) => survey,
                Err(error) => {
                    unreadable(report, place, &error);
                    return Ok(());
                }
            };
            let timestamp = subject.depot.read(TIMESTAMP).await?;
            if timestamp == self.timestamp {
                self.survey = Some(survey);
                return Ok(());
            }
            self.timestamp = timestamp;
        }
        report.warning(
            Code::Busy,
            place,
            "publications followed each other too fast; the ledger was not checked",
        );
        Ok(())
    }
}

/// Damage is one thing, a file that this user may not open another.
pub(super) fn unreadable(report: &mut Report, place: impl Display, error: &LedgerError) {
    match error {
        LedgerError::Damaged { .. } | LedgerError::Newer { .. } => report.error(Code::Ledger, place, error),
        _ => report.warning(Code::Unreadable, place, error),
    }
}
