//! The writer: one thread owns the one connection that writes, and commits what is queued in groups.
//!
//! A commit costs a flush of the disk however much is in it, so 64 uploads that end at once share one. Each operation
//! runs in a savepoint of its own: one that fails takes nothing with it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::ledger::LedgerError;

use super::fault::Fault;

/// Most operations in one commit, so that the first of a flood does not wait for the last.
const GROUP: usize = 1024;

/// Hands operations to the writer thread. Dropping it waits until all queued ones are done and the file is closed.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
    place: Arc<str>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(conn: Connection, place: Arc<str>) -> io::Result<Self> {
        let (queue, operations) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let group = Group {
            conn,
            commits: commits.clone(),
            place: place.clone(),
        };
        let thread = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || group.serve(&operations))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            commits,
            place,
        })
    }

    /// A writer that refuses everything.
    pub(super) fn none(place: Arc<str>) -> Self {
        Self {
            queue: None,
            thread: None,
            commits: Arc::default(),
            place,
        }
    }

    /// Runs `work` in a transaction and answers once that is on the disk. `work` may run twice: a group that fails as
    /// a whole is taken apart.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Work {
            work,
            done: None,
            reply,
        });
        let ended = || LedgerError::Store {
            place: self.place.to_string(),
            detail: "its writer thread has ended".to_owned(),
        };
        let reading = || LedgerError::Store {
            place: self.place.to_string(),
            detail: "it was opened for reading only".to_owned(),
        };
        let queue = self.queue.as_ref().ok_or_else(reading)?;
        queue.send(operation).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Commits so far with at least one operation that succeeded.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// A queued operation.
trait Operation: Send {
    /// Does it; whether it succeeded.
    fn run(&mut self, conn: &Connection, place: &str) -> bool;

    /// Answers the caller: with `failed`, or with what [`run`](Self::run) last came to.
    fn answer(self: Box<Self>, failed: Option<&LedgerError>);
}

struct Work<T, F> {
    work: F,
    done: Option<Result<T, LedgerError>>,
    reply: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Operation for Work<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, conn: &Connection, place: &str) -> bool {
        let done = (self.work)(conn).map_err(|fault| fault.at(place));
        self.done.insert(done).is_ok()
    }

    fn answer(self: Box<Self>, failed: Option<&LedgerError>) {
        let answer = match (self.done, failed) {
            // What went wrong with the operation itself says more than that its commit failed too.
            (Some(Err(own)), _) => Err(own),
            (_, Some(failed)) => Err(failed.clone()),
            (Some(done), None) => done,
            // Never: what was committed was run. The caller would hear that the writer has ended.
            (None, None) => return,
        };
        // The caller may have gone; the write stands all the same.
        let _ = self.reply.send(answer);
    }
}

/// Why a group was not committed.
enum Broken {
    /// No transaction could be begun.
    Shut(LedgerError),
    /// SQLite rolled all of it back, or its commit failed.
    Lost(LedgerError),
}

/// The thread's side.
struct Group {
    conn: Connection,
    commits: Arc<AtomicU64>,
    place: Arc<str>,
}

impl Group {
    fn serve(&self, operations: &mpsc::Receiver<Box<dyn Operation>>) {
        while let Ok(first) = operations.recv() {
            let mut group = vec![first];
            group.extend(operations.try_iter().take(GROUP - 1));
            self.settle(group);
        }
    }

    /// Commits a group and answers it. What cannot be committed together is tried one by one, so that an operation too
    /// large for the disk does not fail the small ones beside it.
    fn settle(&self, mut group: Vec<Box<dyn Operation>>) {
        match self.commit(&mut group) {
            Err(Broken::Lost(_)) if group.len() > 1 => {
                for operation in group {
                    self.settle(vec![operation]);
                }
            }
            Err(Broken::Lost(error) | Broken::Shut(error)) => {
                group.into_iter().for_each(|operation| operation.answer(Some(&error)));
            }
            Ok(()) => group.into_iter().for_each(|operation| operation.answer(None)),
        }
    }

    fn commit(&self, group: &mut [Box<dyn Operation>]) -> Result<(), Broken> {
        self.say("BEGIN IMMEDIATE").map_err(Broken::Shut)?;
        let written = self.run(group).and_then(|written| {
            self.say("COMMIT")?;
            Ok(written)
        });
        let written = written.map_err(|error| {
            // Fails when SQLite rolled back by itself, which is as well.
            let _ = self.say("ROLLBACK");
            Broken::Lost(error)
        })?;
        self.commits.fetch_add(written.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Runs each operation; whether one of them succeeded.
    fn run(&self, group: &mut [Box<dyn Operation>]) -> Result<bool, LedgerError> {
        let mut written = false;
        for operation in group {
            self.say("SAVEPOINT operation")?;
            if operation.run(&self.conn, &self.place) {
                written = true;
            } else {
                // An error here means that a full or failing disk made SQLite roll back the whole transaction.
                self.say("ROLLBACK TO operation")?;
            }
            self.say("RELEASE operation")?;
        }
        Ok(written)
    }

    fn say(&self, sql: &str) -> Result<(), LedgerError> {
        let said = self.conn.prepare_cached(sql).and_then(|mut sql| sql.execute([]));
        said.map(|_| ()).map_err(|error| Fault::from(error).at(&self.place))
    }
}
