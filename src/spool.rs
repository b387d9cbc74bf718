//! A bounded spool: whole artifacts in nameless files, so that ranges are cut from verified bytes only.
//!
//! The caller verifies what it writes before it calls [`SpoolFile::finish`]; the spool counts bytes and nothing else.

use std::{
    fs::{self, DirBuilder, File},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::task::spawn_blocking;

/// Bytes read at a time.
const CHUNK: u64 = 128 * 1024;

/// A failed spool operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// More than `max_total` would be spooled.
    #[error("the spool is full: {used} of {max} bytes are in use, {length} more were asked for")]
    Full {
        /// Bytes asked for.
        length: u64,
        /// Bytes in use.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// The disk, or the quota, is full.
    #[error("no space left in the spool `{}`", dir.display())]
    NoSpace {
        /// The folder.
        dir: PathBuf,
    },
    /// Larger than `max_object`.
    #[error("{length} bytes are more than the spool takes of one artifact ({max})")]
    TooLarge {
        /// Bytes asked for.
        length: u64,
        /// The bound.
        max: u64,
    },
    /// More or fewer bytes were written than reserved, or read beyond them.
    #[error("{length} bytes were reserved in the spool, not {actual}")]
    Length {
        /// Bytes reserved.
        length: u64,
        /// Bytes written, or the end of the range read.
        actual: u64,
    },
    /// Any other failure.
    #[error("the spool `{}`: {source}", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The spool. Clones share it.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    max_object: u64,
    max_total: u64,
    used: AtomicU64,
}

impl Spool {
    /// Opens the spool in `dir`, which is created for its owner alone; what a crash may have left there is removed.
    pub fn new(dir: &Path, max_object: u64, max_total: u64) -> Result<Self, SpoolError> {
        let shared = Shared {
            dir: dir.to_owned(),
            max_object,
            max_total,
            used: AtomicU64::new(0),
        };
        let prepare = || {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            clear(dir)
        };
        prepare().map_err(|error| shared.failed(error))?;
        Ok(Self(Arc::new(shared)))
    }

    /// Bytes reserved at this moment.
    #[cfg(test)]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Reserves `length` bytes and opens a file for them. They are given back when it, and all that was made of it, is
    /// dropped.
    pub async fn reserve(&self, length: u64) -> Result<SpoolFile, SpoolError> {
        let shared = &self.0;
        if length > shared.max_object {
            return Err(SpoolError::TooLarge {
                length,
                max: shared.max_object,
            });
        }
        let add = |used: u64| used.checked_add(length).filter(|sum| *sum <= shared.max_total);
        if let Err(used) = shared.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            return Err(SpoolError::Full {
                length,
                used,
                max: shared.max_total,
            });
        }
        let space = Space {
            shared: Arc::clone(shared),
            length,
        };
        let dir = shared.dir.clone();
        // The file has no name (O_TMPFILE) or loses it at once: it is gone when the process is.
        let file = blocking(shared, move || tempfile::tempfile_in(dir)).await?;
        Ok(SpoolFile {
            file: Arc::new(file),
            space,
            written: 0,
        })
    }
}

impl Shared {
    fn failed(&self, error: io::Error) -> SpoolError {
        let dir = self.dir.clone();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::NoSpace { dir },
            _ => SpoolError::Io { dir, source: error },
        }
    }
}

/// Reserved bytes.
struct Space {
    shared: Arc<Shared>,
    length: u64,
}

impl Drop for Space {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// A file being written, front to back.
pub struct SpoolFile {
    file: Arc<File>,
    space: Space,
    written: u64,
}

impl SpoolFile {
    /// Appends a chunk. After an error the file is of no use.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        let (at, end) = (self.written, self.written + chunk.len() as u64);
        if end > self.space.length {
            return Err(SpoolError::Length {
                length: self.space.length,
                actual: end,
            });
        }
        let file = Arc::clone(&self.file);
        blocking(&self.space.shared, move || file.write_all_at(&chunk, at)).await?;
        self.written = end;
        Ok(())
    }

    /// Ends the writing; the reserved length must be there.
    pub fn finish(self) -> Result<Spooled, SpoolError> {
        if self.written != self.space.length {
            return Err(SpoolError::Length {
                length: self.space.length,
                actual: self.written,
            });
        }
        Ok(Spooled {
            file: self.file,
            space: Arc::new(self.space),
        })
    }
}

/// A whole file. Clones share it.
#[derive(Clone)]
pub struct Spooled {
    file: Arc<File>,
    space: Arc<Space>,
}

impl Spooled {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.space.length
    }

    /// The bytes of `range`, in chunks of at most 128 KiB; the stream keeps the file.
    pub fn read(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, SpoolError>> + Send + use<> {
        stream::try_unfold((self.clone(), range), |(this, Range { start, end })| async move {
            if start >= end {
                return Ok(None);
            }
            if end > this.length() {
                return Err(SpoolError::Length {
                    length: this.length(),
                    actual: end,
                });
            }
            let next = end.min(start + CHUNK);
            let file = Arc::clone(&this.file);
            let chunk = blocking(&this.space.shared, move || {
                // At most CHUNK, which fits.
                let mut chunk = vec![0; usize::try_from(next - start).unwrap_or_default()];
                file.read_exact_at(&mut chunk, start)?;
                Ok(Bytes::from(chunk))
            })
            .await?;
            Ok(Some((chunk, (this, next..end))))
        })
    }
}

async fn blocking<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SpoolError> {
    let done = spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| shared.failed(error))
}

/// Removes what a crash between creating and unlinking can leave where O_TMPFILE is missing. Nothing else, lest a wrong
/// path in the configuration cost somebody a folder.
fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".tmp") && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
