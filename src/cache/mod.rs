//! Verified artifacts, content-addressed: small ones in memory, larger ones as files that are mapped.
//!
//! A look-up names digest and length and gets exactly these bytes or nothing: what was fetched is hashed before it can be
//! found, what an earlier run left is hashed before its first use, and a file that somebody touched is hashed again. The
//! cache never knows a path, a header or who asks; who may read what is its callers' to decide. Losing it costs requests
//! to the upstream and nothing else, so nothing here is synced.
//!
//! - `memory.rs`: small artifacts. `disk.rs`: the larger ones, over `folder.rs` (names, modes, the lock), `index.rs` (what
//!   is there, what goes first) and `mapping.rs` (the one file with unsafe code).
//! - `fill.rs`: an artifact on its way in; `writer.rs` hashes and writes it beside the event loop, into a
//!   `temporary.rs`.
//! - `herd/`: many readers of one artifact that is still arriving.

mod complaints;
mod counts;
mod disk;
mod error;
mod fill;
mod folder;
mod herd;
mod index;
mod mapping;
mod memory;
mod temporary;
#[cfg(test)]
mod tests;
mod underway;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    config,
    digest::{Digest, Expected},
    telemetry::Metrics,
};

use complaints::Complaints;
use counts::Counts;
use disk::Disk;
use memory::Memory;
use underway::Underway;

pub use error::{CacheError, FillError};
pub use fill::Fill;
pub use herd::{Broken, Follower, Herd, Joined, Leader, Opening, Relay, Stop};

/// The cache. Clones share it; the folder is let go with the last of them and of the fills.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    max_object: u64,
    memory: Option<Memory>,
    disk: Option<Arc<Disk>>,
    underway: Arc<Underway>,
    counts: Arc<Counts>,
    complaints: Complaints,
}

/// Where an artifact of some length belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Memory,
    Disk,
}

impl Cache {
    /// Opens the cache: makes the folder (mode 700) where it is missing, takes its lock, removes what a crash left and
    /// what is not the gate's own, and indexes what an earlier run kept. Nothing is read but names and sizes; blocks for
    /// as long as that takes.
    ///
    /// # Errors
    /// [`CacheError::Folder`], [`CacheError::NotPrivate`] and [`CacheError::InUse`]; none with `disk = 0`, which touches
    /// no folder.
    pub fn open(config: &config::Cache, metrics: &Metrics) -> Result<Self, CacheError> {
        let counts = Arc::new(Counts::new(metrics));
        let underway = Arc::new(Underway::default());
        let memory = (config.memory > 0).then(|| Memory::new(config.memory, config.memory_max_object, &counts));
        let disk = match config.disk {
            0 => None,
            _ => Some(Arc::new(Disk::open(config, &counts, &underway)?)),
        };
        Ok(Self(Arc::new(Shared {
            max_object: config.max_object,
            memory,
            disk,
            underway,
            counts,
            complaints: Complaints::default(),
        })))
    }

    /// Whether [`Cache::open`] would find its folder fit for use; the same errors, but nothing is made and nothing locked.
    pub fn check(config: &config::Cache) -> Result<(), CacheError> {
        match config.disk {
            0 => Ok(()),
            _ => folder::check(&config.path),
        }
    }

    /// The artifact, where it is in memory or in a file that is mapped already: for the hot path. One look-up; for a mapped
    /// file also one `stat` of an inode that is in memory, which tells whether somebody touched the file. Counts hits
    /// alone: [`Cache::find`] follows and counts the miss.
    pub fn ready(&self, expected: &Expected) -> Option<Bytes> {
        let bytes = self.peek(expected)?;
        match self.in_memory(expected.length) {
            true => self.0.counts.hits_memory.inc(),
            false => self.0.counts.hits_disk.inc(),
        }
        Some(bytes)
    }

    /// The same for nobody yet: it counts nothing.
    pub fn peek(&self, expected: &Expected) -> Option<Bytes> {
        match &self.0.memory {
            Some(memory) if memory.takes(expected.length) => memory.find(expected),
            _ => self.0.disk.as_ref()?.ready(expected),
        }
    }

    /// The same, or from disk: opened, hashed where it must be, mapped and populated beside the event loop. A file that is
    /// not what the gate wrote is removed and counted, with one warning; then there is nothing.
    ///
    /// Must be called on a tokio runtime.
    pub async fn find(&self, expected: &Expected) -> Option<Bytes> {
        if let Some(bytes) = self.ready(expected) {
            return Some(bytes);
        }
        let found = match &self.0.disk {
            Some(disk) => disk.find(expected).await,
            None => None,
        };
        match &found {
            Some(bytes) => {
                self.0.counts.hits_disk.inc();
                // A file from a time when `memory_max_object` was less.
                if let Some(memory) = self.0.memory.as_ref().filter(|memory| memory.takes(expected.length)) {
                    let insert = || memory.insert(expected.digest, Bytes::copy_from_slice(bytes));
                    self.0.underway.unless_forgotten(&expected.digest, insert);
                }
            }
            None => self.0.counts.misses.inc(),
        }
        found
    }

    /// Whether an artifact of this length can be kept at all.
    pub fn takes(&self, length: u64) -> bool {
        self.place(length).is_some()
    }

    /// Whether artifacts of this length are kept in memory rather than in files that are mapped.
    pub fn in_memory(&self, length: u64) -> bool {
        self.place(length) == Some(Place::Memory)
    }

    /// Starts keeping a body: its bytes are pushed as they arrive, free of any transfer and content coding. `None` where it
    /// cannot be kept, or other fills in progress take all the room.
    ///
    /// Must be called on a tokio runtime.
    pub fn fill(&self, expected: Expected) -> Option<Fill> {
        Fill::begin(self, expected)
    }

    /// Drops an artifact from memory and disk at once, and whatever of it is on its way in at its end. Who holds its bytes
    /// already keeps them.
    pub fn forget(&self, digest: &Digest) {
        let memory = self.0.memory.as_ref();
        self.0
            .underway
            .forget(digest, || memory.map(|memory| memory.forget(digest)));
        if let Some(disk) = &self.0.disk {
            disk.forget(digest);
        }
    }

    fn place(&self, length: u64) -> Option<Place> {
        if length > self.0.max_object {
            return None;
        }
        match (&self.0.memory, &self.0.disk) {
            (Some(memory), _) if memory.takes(length) => Some(Place::Memory),
            (_, Some(disk)) if disk.takes(length) => Some(Place::Disk),
            _ => None,
        }
    }
}

/// The lock of a mutex whose data is whole between any two statements, so that a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
