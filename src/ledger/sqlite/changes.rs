//! Whether anybody wrote: SQLite's own counter, which moves with each commit of another connection.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::task;

use super::{fault::Fault, schema};
use crate::ledger::LedgerError;

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
    /// Moves with `version`, and when the connection had to be made anew.
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
            self.version = version;
            self.count += 1;
        }
        self.conn = Some(conn);
        Ok(self.count)
    }
}
