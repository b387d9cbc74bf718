//! The larger artifacts: files in a folder, mapped while they are used, bounded by what they take on disk.
//!
//! Two locks. `index` is held for moments and never over a system call, also on the event loop. `files` is held while
//! names come and go, so that no file is removed that was just put under the same name; whoever takes it may block.

use std::{
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex},
    thread::available_parallelism,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    counts::Counts,
    error::CacheError,
    folder::{Folder, Identity, Looked},
    index::{Entry, Index, Space, Usage, footprint},
    lock,
    mapping::Mapping,
    temporary::Temporary,
    underway::Underway,
};
use crate::{
    config,
    digest::{Digest, Expected, Hasher},
};

/// Bytes hashed at a time when a file is read back.
const PIECE: usize = 256 << 10;

/// The disk's part of the cache.
pub(super) struct Disk {
    pub folder: Folder,
    pub usage: Arc<Usage>,
    index: Mutex<Index>,
    files: Mutex<()>,
    max: u64,
    /// Files read back at once: hashing takes a core each.
    reads: Arc<Semaphore>,
    counts: Arc<Counts>,
    underway: Arc<Underway>,
}

impl Disk {
    /// Opens the folder and indexes what an earlier run left, as far as there is room for it.
    pub(super) fn open(
        config: &config::Cache,
        counts: &Arc<Counts>,
        underway: &Arc<Underway>,
    ) -> Result<Self, CacheError> {
        let folder = Folder::open(&config.path)?;
        let found = folder.scan().map_err(|source| CacheError::Folder {
            folder: config.path.clone(),
            source,
        })?;
        let disk = Self {
            folder,
            usage: Usage::new(counts),
            index: Mutex::new(Index::new(config.memory)),
            files: Mutex::default(),
            max: config.disk,
            reads: Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))),
            counts: Arc::clone(counts),
            underway: Arc::clone(underway),
        };
        for file in found {
            match file.length {
                Ok(length) if length <= config.max_object && footprint(length) <= disk.max => {
                    let entry = Entry::new(length, None, Space::take(&disk.usage, length));
                    lock(&disk.index).insert(file.digest, entry);
                }
                // Lawful under an earlier configuration.
                Ok(_) => disk.folder.remove(&file.digest),
                Err(why) => disk.damaged(&file.digest, None, why),
            }
        }
        disk.make_room(0);
        Ok(disk)
    }

    pub(super) fn takes(&self, length: u64) -> bool {
        length > 0 && footprint(length) <= self.max
    }

    /// See [`Cache::ready`](super::Cache::ready).
    pub(super) fn ready(&self, expected: &Expected) -> Option<Bytes> {
        let digest = &expected.digest;
        let mapping = lock(&self.index).mapping(digest)?;
        let identity = *mapping.identity();
        if identity.length() != expected.length {
            return None;
        }
        if !self.folder.unchanged(digest, &identity) {
            // Bound, so that the lock is let go before the mapping is dropped.
            let gone = lock(&self.index).doubt(digest, &identity);
            drop(gone);
            return None;
        }
        Some(mapping.bytes())
    }

    /// See [`Cache::find`](super::Cache::find).
    pub(super) async fn find(self: &Arc<Self>, expected: &Expected) -> Option<Bytes> {
        let turn = Arc::clone(&lock(&self.index).entry(&expected.digest)?.turn);
        let turn = turn.lock_owned().await;
        // Another reader's turn may have brought it.
        if let Some(bytes) = self.ready(expected) {
            return Some(bytes);
        }
        let reading = Arc::clone(&self.reads).acquire_owned().await.ok()?;
        let (disk, expected) = (Arc::clone(self), *expected);
        let read = spawn_blocking(move || {
            let bytes = disk.read_back(&expected);
            // Here, not in the future: when the reader gives up, the next one must not start over beside it.
            drop((turn, reading));
            bytes
        });
        read.await.ok()?
    }

    /// Opens, verifies and maps a file. Blocks.
    fn read_back(&self, expected: &Expected) -> Option<Bytes> {
        let digest = &expected.digest;
        let (serial, length, verified, space) = {
            let index = lock(&self.index);
            let entry = index.entry(digest)?;
            (entry.serial, entry.length, entry.verified, Arc::clone(&entry.space))
        };
        let mapping = match self.verify(expected, length, verified, space) {
            Ok(Ok(mapping)) => mapping,
            Ok(Err(why)) => {
                self.damaged(digest, Some(serial), why);
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.drop_entry(digest, serial);
                return None;
            }
            Err(source) => {
                let folder = self.folder.path().to_owned();
                let act = "read back";
                tracing::warn!(error = %CacheError::File { folder, act, source }, cache.digest = %digest, "not cached");
                return None;
            }
        };
        // It may have been forgotten in the meantime; then nobody gets it.
        let gone = lock(&self.index).keep(digest, serial, &mapping)?;
        gone.into_iter().for_each(Mapping::unmap);
        Some(mapping.bytes())
    }

    /// `Ok(Err(why))`: what stands there is not the artifact.
    fn verify(
        &self,
        expected: &Expected,
        length: u64,
        verified: Option<Identity>,
        space: Arc<Space>,
    ) -> io::Result<Result<Arc<Mapping>, &'static str>> {
        let (file, identity) = match self.folder.look(&expected.digest)? {
            Looked::File(file, identity) => (file, identity),
            Looked::Gone => return Err(io::ErrorKind::NotFound.into()),
            Looked::Foreign(why) => return Ok(Err(why)),
        };
        if identity.length() != expected.length || identity.length() != length {
            return Ok(Err("of another length"));
        }
        // Hashed by reading: under a mapping, a file that shrinks would be the end of this process.
        if verified != Some(identity) && hash(&file)? != (expected.digest, expected.length) {
            return Ok(Err("of other bytes"));
        }
        Mapping::new(&file, identity, space).map(Ok)
    }

    /// Promises room to a fill; `None` where fills in progress need all of it.
    pub(super) fn promise(self: &Arc<Self>, length: u64) -> Option<Promise> {
        let mut index = lock(&self.index);
        let sum = index.filling.saturating_add(footprint(length));
        if sum > self.max {
            return None;
        }
        index.filling = sum;
        Some(Promise {
            disk: Arc::clone(self),
            length,
        })
    }

    /// Takes room for a file, evicting others for it; `None` where readers prevent that. Blocks.
    pub(super) fn make_room(&self, length: u64) -> Option<Arc<Space>> {
        let _files = lock(&self.files);
        while self.usage.used().saturating_add(footprint(length)) > self.max {
            let (digest, entry) = lock(&self.index).evict()?;
            self.folder.remove(&digest);
            self.counts.evicted_disk.inc();
            entry.discard();
        }
        Some(Space::take(&self.usage, length))
    }

    /// Makes a whole and verified file findable. Blocks.
    pub(super) fn keep(&self, file: &Arc<Temporary>, digest: &Digest) -> Result<Bytes, CacheError> {
        let failed = |act| {
            move |source| CacheError::File {
                folder: self.folder.path().to_owned(),
                act,
                source,
            }
        };
        let (identity, serial) = {
            let _files = lock(&self.files);
            self.underway
                .unless_forgotten(digest, || ())
                .ok_or(CacheError::Forgotten)?;
            let identity = file.place(&self.folder, digest).map_err(failed("renamed"))?;
            let entry = Entry::new(identity.length(), Some(identity), Arc::clone(&file.space));
            let (serial, replaced) = lock(&self.index).insert(*digest, entry);
            if let Some(replaced) = replaced {
                replaced.discard();
            }
            (identity, serial)
        };
        // Outside the lock: this takes a moment for each gigabyte.
        let mapping = Mapping::new(&file.file, identity, Arc::clone(&file.space)).map_err(failed("mapped"))?;
        let gone = lock(&self.index).keep(digest, serial, &mapping);
        gone.into_iter().flatten().for_each(Mapping::unmap);
        Ok(mapping.bytes())
    }

    /// See [`Cache::forget`](super::Cache::forget); the fills in progress know already.
    pub(super) fn forget(&self, digest: &Digest) {
        // Not to be found from here on, whatever holds up the file's end.
        let entry = lock(&self.index).remove(digest);
        drop(entry);
        let _files = lock(&self.files);
        // A fill may have ended in between.
        let entry = lock(&self.index).remove(digest);
        drop(entry);
        self.folder.remove(digest);
    }

    /// What stands under a name is not what the gate wrote: removed, counted, told of. A folder is only told of.
    fn damaged(&self, digest: &Digest, serial: Option<u64>, why: &str) {
        let _files = lock(&self.files);
        let known = lock(&self.index).entry(digest).map(|entry| entry.serial);
        if known != serial {
            return;
        }
        let entry = lock(&self.index).remove(digest);
        drop(entry);
        self.folder.remove(digest);
        self.counts.damaged.inc();
        let file = self.folder.path().join(digest.to_string());
        tracing::warn!(cache.file = %file.display(), "a file of the cache is {why}: not used");
    }

    /// The file is not there any more.
    fn drop_entry(&self, digest: &Digest, serial: u64) {
        let mut index = lock(&self.index);
        let same = index.entry(digest).is_some_and(|entry| entry.serial == serial);
        let entry = same.then(|| index.remove(digest));
        drop(index);
        drop(entry);
    }
}

/// Room for a fill in progress.
pub(super) struct Promise {
    pub disk: Arc<Disk>,
    /// Of the artifact.
    pub length: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut index = lock(&self.disk.index);
        index.filling = index.filling.saturating_sub(footprint(self.length));
    }
}

fn hash(mut file: &File) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
