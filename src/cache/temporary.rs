//! A file of the cache that is still being written, and reading from it meanwhile.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    folder::{Folder, Identity},
    index::Space,
};
use crate::digest::Digest;

/// A file that is not whole yet. Loses its name with the last who has it, unless it was put into its place.
pub(super) struct Temporary {
    pub file: File,
    pub space: Arc<Space>,
    path: PathBuf,
    placed: AtomicBool,
}

impl Temporary {
    pub(super) fn new(file: File, path: PathBuf, space: Arc<Space>) -> Self {
        Self {
            file,
            space,
            path,
            placed: AtomicBool::new(false),
        }
    }

    /// Puts it into its place.
    pub(super) fn place(&self, folder: &Folder, digest: &Digest) -> io::Result<Identity> {
        let identity = folder.place(&self.file, &self.path, digest)?;
        self.placed.store(true, Ordering::Release);
        Ok(identity)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.placed.load(Ordering::Acquire) {
            return;
        }
        let path = std::mem::take(&mut self.path);
        let space = Arc::clone(&self.space);
        // Its blocks are freed by the last close, which may be that of a clone.
        let file = self.file.try_clone();
        let remove = move || {
            let _ = fs::remove_file(path);
            drop((file, space));
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Reads what of a body is in its file, while it is written and after. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Reader(Arc<Progress>);

#[derive(Default)]
struct Progress {
    /// The file, from its first byte on; it stays for those who read from it, also when it was given up.
    file: OnceLock<Arc<Temporary>>,
    /// Bytes in it, from its beginning.
    written: AtomicU64,
    given_up: AtomicBool,
}

impl Reader {
    /// How much from its beginning can be read.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    /// No more will be written than there is.
    pub(super) fn given_up(&self) -> bool {
        self.0.given_up.load(Ordering::Acquire)
    }

    /// Bytes below [`Reader::written`].
    pub(super) async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let file = self.0.file.get().map(Arc::clone);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let read = spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.file.read_exact_at(&mut bytes, range.start)?;
            Ok(Bytes::from(bytes))
        });
        read.await.map_err(io::Error::other)?
    }

    /// The writer's side: here is the file.
    pub(super) fn begin(&self, file: Temporary) -> Arc<Temporary> {
        Arc::clone(self.0.file.get_or_init(|| Arc::new(file)))
    }

    /// The writer's side: this much is in it.
    pub(super) fn wrote(&self, end: u64) {
        self.0.written.store(end, Ordering::Release);
    }

    /// The writer's side: that was all.
    pub(super) fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Release);
    }
}
