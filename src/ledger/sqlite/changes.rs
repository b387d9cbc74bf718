//! Whether anybody overturned what was recorded. SQLite's own counter moves with each commit of another connection; only
//! then what was written is looked at.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, params};
use tokio::task;

use super::{fault::Fault, readers::transaction, row, schema};
use crate::ledger::{AuditLine, LedgerError};

/// One connection that does nothing else: `PRAGMA data_version` compares with what the same connection saw before.
#[derive(Clone)]
pub(super) struct Changes {
    path: PathBuf,
    place: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    conn: Option<Connection>,
    version: i64,
    /// The next audit line and the next observation.
    next: (u64, u64),
    /// What is answered.
    count: u64,
}

impl Changes {
    pub(super) fn new(path: PathBuf, place: Arc<str>) -> Self {
        Self {
            path,
            place,
            seen: Arc::default(),
        }
    }

    pub(super) async fn count(&self) -> Result<u64, LedgerError> {
        let this = self.clone();
        let counting = task::spawn_blocking(move || {
            let mut seen = this.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.look(&this.path)
        });
        let stopped = |error: task::JoinError| LedgerError::Store {
            place: self.place.to_string(),
            detail: error.to_string(),
        };
        let counted = counting.await.map_err(stopped)?;
        counted.map_err(|fault| fault.at(&self.place))
    }
}

impl Seen {
    fn look(&mut self, path: &std::path::Path) -> Result<u64, Fault> {
        let (conn, fresh) = match self.conn.take() {
            Some(conn) => (conn, false),
            None => (schema::reader(path)?, true),
        };
        // Taken out and put back: one that fails is closed, and the next look starts anew.
        let version = conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if fresh || version != self.version {
            let (next, turned) = transaction(&conn, |conn| {
                let next = (row::next(conn, "audit")?, row::next(conn, "observation")?);
                Ok((next, turned(conn, self.next)?))
            })?;
            // Numbers that went back are those of another record.
            let back = next.0 < self.next.0 || next.1 < self.next.1;
            self.count += u64::from(fresh || turned || back);
            (self.version, self.next) = (version, next);
        }
        self.conn = Some(conn);
        Ok(self.count)
    }
}

/// Whether what was written since may make a recorded path read otherwise. Observations are dropped once they are
/// published; their audit lines stay.
fn turned(conn: &Connection, (line, seq): (u64, u64)) -> Result<bool, Fault> {
    let [a, b, c, d] = AuditLine::QUIET;
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM audit WHERE number >= ? AND action NOT IN (?, ?, ?, ?))
             OR EXISTS (SELECT 1 FROM observation WHERE seq >= ? AND act ->> 'act' <> 'record')",
    )?;
    let positions = params![line.cast_signed(), a, b, c, d, seq.cast_signed()];
    Ok(statement.query_row(positions, |row| row.get(0))?)
}
