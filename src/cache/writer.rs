//! A large body on its way: hashed, and written to a file, by the blocking threads beside the event loop.
//!
//! Chunks wait in a short queue. Work starts when enough of them wait to be worth a thread, and ends when none do, so that
//! a thousand slow bodies hold no thread. Who pushes faster than the disk writes waits, without blocking. When the disk is
//! full the file is given up and the hashing goes on: the verdict does not depend on it.

use std::{
    collections::VecDeque,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{sync::Notify, task::spawn_blocking};

use super::{
    disk::{Disk, Promise},
    error::CacheError,
    lock,
    temporary::{Reader, Temporary},
};
use crate::digest::{Digest, Hasher};

/// Bytes waiting from which on a thread is set to work.
const START: usize = 128 << 10;
/// Bytes waiting from which on the pusher waits too.
const FULL: usize = 512 << 10;

/// One body being hashed and, while that goes well, written.
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The queue shrank, or the work stopped. Only the writer's owner waits.
    moved: Notify,
    reader: Reader,
}

struct State {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Here while nobody works.
    work: Option<Work>,
    /// A thread died at work.
    lost: bool,
}

/// What the thread at work has to itself.
struct Work {
    hasher: Hasher,
    sink: Sink,
}

enum Sink {
    /// Hashed alone.
    Nowhere,
    /// No byte has come yet.
    Planned(Promise),
    Open(Promise, Arc<Temporary>),
    GivenUp(CacheError),
}

/// How a body ended.
pub(super) struct Written {
    pub digest: Digest,
    pub length: u64,
    /// The file with all of it.
    pub kept: Result<(Promise, Arc<Temporary>), CacheError>,
}

impl Writer {
    /// A writer into the promised room, or one that hashes alone.
    pub(super) fn new(promise: Option<Promise>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued: 0,
                work: Some(Work {
                    hasher: Hasher::default(),
                    sink: promise.map_or(Sink::Nowhere, Sink::Planned),
                }),
                lost: false,
            }),
            moved: Notify::new(),
            reader: Reader::default(),
        }))
    }

    /// Takes the next chunk, as soon as there is room for it.
    pub(super) async fn push(&mut self, chunk: Bytes) {
        while lock(&self.0.state).full() {
            self.0.moved.notified().await;
        }
        let mut state = lock(&self.0.state);
        if state.lost {
            return;
        }
        state.queued += chunk.len();
        state.queue.push_back(chunk);
        if state.queued >= START
            && let Some(work) = state.work.take()
        {
            self.0.set_to_work(work);
        }
    }

    /// The body ended: waits for the rest of the work.
    pub(super) async fn finish(self) -> Result<Written, CacheError> {
        loop {
            let rest = {
                let mut state = lock(&self.0.state);
                if state.lost {
                    return Err(CacheError::WriterGone);
                }
                state.work.take().map(|work| (work, state.take()))
            };
            if let Some((mut work, rest)) = rest {
                let shared = Arc::clone(&self.0);
                let ending = spawn_blocking(move || {
                    for chunk in rest {
                        work.take(&shared, &chunk);
                    }
                    work.finish()
                });
                return ending.await.map_err(|_| CacheError::WriterGone);
            }
            self.0.moved.notified().await;
        }
    }

    /// For reading back what was written; nothing of a body that is hashed alone.
    pub(super) fn reader(&self) -> Reader {
        self.0.reader.clone()
    }
}

impl State {
    fn full(&self) -> bool {
        self.queued >= FULL && !self.lost
    }

    fn take(&mut self) -> VecDeque<Bytes> {
        self.queued = 0;
        std::mem::take(&mut self.queue)
    }
}

impl Shared {
    fn set_to_work(self: &Arc<Self>, mut work: Work) {
        let shared = Arc::clone(self);
        spawn_blocking(move || {
            let alarm = Alarm(&shared);
            loop {
                let mut state = lock(&shared.state);
                let Some(chunk) = state.queue.pop_front() else {
                    // Under the lock that found the queue empty: whoever pushes next sees that nobody works.
                    state.work = Some(work);
                    break;
                };
                drop(state);
                work.take(&shared, &chunk);
                lock(&shared.state).queued -= chunk.len();
                shared.moved.notify_one();
            }
            std::mem::forget(alarm);
            shared.moved.notify_one();
        });
    }
}

/// Goes off when a thread dies at work, so that nobody waits for it.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).lost = true;
        self.0.moved.notify_one();
    }
}

impl Work {
    fn take(&mut self, shared: &Shared, chunk: &Bytes) {
        let at = self.hasher.length();
        self.hasher.update(chunk);
        let sink = match std::mem::replace(&mut self.sink, Sink::Nowhere) {
            Sink::Planned(promise) => open(promise, shared),
            sink => sink,
        };
        self.sink = match sink {
            Sink::Open(promise, file) => match file.file.write_all_at(chunk, at) {
                Ok(()) => {
                    shared.reader.wrote(at + chunk.len() as u64);
                    Sink::Open(promise, file)
                }
                Err(error) => Sink::GivenUp(failed(&promise.disk, error)),
            },
            sink => sink,
        };
        if matches!(self.sink, Sink::GivenUp(_)) {
            shared.reader.give_up();
        }
    }

    fn finish(self) -> Written {
        let (digest, length) = self.hasher.finish();
        Written {
            digest,
            length,
            kept: match self.sink {
                Sink::Open(promise, file) => Ok((promise, file)),
                Sink::GivenUp(error) => Err(error),
                Sink::Nowhere | Sink::Planned(_) => Err(CacheError::NotTaken { length }),
            },
        }
    }
}

/// Makes room and opens the file, at the first chunk.
fn open(promise: Promise, shared: &Shared) -> Sink {
    let disk = &promise.disk;
    let length = promise.length;
    let Some(space) = disk.make_room(length) else {
        return Sink::GivenUp(CacheError::NoRoom { length });
    };
    // Asked first, lest a disk that is nearly full be filled to its end for nothing. What cannot be told is tried.
    if disk.folder.free().is_ok_and(|free| free < length) {
        return Sink::GivenUp(failed(disk, io::ErrorKind::StorageFull.into()));
    }
    match disk.folder.temporary() {
        Ok((file, path)) => {
            let file = shared.reader.begin(Temporary::new(file, path, space));
            Sink::Open(promise, file)
        }
        Err(error) => Sink::GivenUp(failed(disk, error)),
    }
}

fn failed(disk: &Disk, source: io::Error) -> CacheError {
    let folder = disk.folder.path().to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            CacheError::NoSpace { folder }
        }
        _ => CacheError::File {
            folder,
            act: "written",
            source,
        },
    }
}
