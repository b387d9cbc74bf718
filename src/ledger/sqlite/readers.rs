//! The readers: a few connections that only read, each used by one blocking task at a time.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task};

use crate::ledger::LedgerError;

use super::{fault::Fault, schema};

/// Most reads at once. They come from the page cache, so more would only take turns on the processors.
const READERS: usize = 4;

/// Runs reads, each in one transaction: what one read sees fits together. Clones share the connections.
#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    place: Arc<str>,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Readers of this file; they open it when they are needed.
    pub(super) fn new(path: PathBuf, place: Arc<str>) -> Self {
        Self {
            path,
            place,
            turns: Arc::new(Semaphore::new(READERS)),
            idle: Arc::default(),
        }
    }

    /// The file, as errors name it.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let stopped = |error: &dyn std::fmt::Display| LedgerError::Store {
            place: self.place.to_string(),
            detail: error.to_string(),
        };
        let turn = self.turns.clone().acquire_owned().await.map_err(|e| stopped(&e))?;
        let (idle, path) = (self.idle.clone(), self.path.clone());
        let reading = task::spawn_blocking(move || {
            let _turn = turn;
            let conn = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = conn.map_or_else(|| schema::reader(&path), Ok)?;
            let answer = transaction(&conn, work);
            // One that failed may be left in any state: it is closed.
            if answer.is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            }
            answer
        });
        let answer = reading.await.map_err(|error| stopped(&error))?;
        answer.map_err(|fault: Fault| fault.at(&self.place))
    }
}

/// What one look sees fits together.
pub(super) fn transaction<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let answer = work(conn)?;
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(answer)
}
