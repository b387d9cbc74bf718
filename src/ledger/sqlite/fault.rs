//! What goes wrong inside the store, before it knows the file's name.

use rusqlite::{ErrorCode, ffi};

use crate::ledger::LedgerError;

/// A failed statement or a row that cannot be.
#[derive(Debug)]
pub(super) enum Fault {
    /// A row or the file's structure is wrong.
    Damaged(String),
    /// What was asked for cannot be done.
    Refused(String),
    /// A refusal that every ledger words alike.
    Ledger(LedgerError),
    /// SQLite's own words.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Fault {
    /// The error as callers see it; `place` is the file.
    pub(super) fn at(self, place: &str) -> LedgerError {
        let place = place.to_owned();
        let error = match self {
            Self::Ledger(error) => return error,
            Self::Damaged(detail) => return LedgerError::Damaged { place, detail },
            Self::Refused(detail) => return LedgerError::Store { place, detail },
            Self::Sql(error) => error,
        };
        let detail = error.to_string();
        let Some(sqlite) = error.sqlite_error() else {
            // The rest is about types: a column holds what this schema never wrote there.
            return LedgerError::Damaged { place, detail };
        };
        match sqlite.code {
            ErrorCode::DiskFull => LedgerError::Full { place },
            // The shared index of the write-ahead log could not grow, which is how a full disk shows there.
            _ if sqlite.extended_code == ffi::SQLITE_IOERR_SHMSIZE => LedgerError::Full { place },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => LedgerError::Damaged { place, detail },
            _ => LedgerError::Store { place, detail },
        }
    }
}
