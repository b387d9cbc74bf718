//! A large body on its way: hashed, and written to a file, beside the event loop. When the disk is full the file is given
//! up and the hashing goes on: the verdict does not depend on it.

use std::{io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;

use super::{
    disk::{Disk, Promise},
    error::CacheError,
    temporary::{Reader, Temporary},
};
use crate::{
    beside::{Beside, Work},
    digest::{Digest, Hasher},
};

/// One body being hashed and, while that goes well, written.
pub(super) struct Writer {
    writing: Beside<Writing>,
    reader: Reader,
}

struct Writing {
    hasher: Hasher,
    sink: Sink,
    reader: Reader,
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
        let reader = Reader::default();
        let writing = Writing {
            hasher: Hasher::default(),
            sink: promise.map_or(Sink::Nowhere, Sink::Planned),
            reader: reader.clone(),
        };
        Self {
            writing: Beside::new(writing),
            reader,
        }
    }

    /// Takes the next chunk, as soon as there is room for it.
    pub(super) async fn push(&mut self, chunk: Bytes) {
        self.writing.push(chunk).await;
    }

    /// The body ended: waits for the rest of the work.
    pub(super) async fn finish(self) -> Result<Written, CacheError> {
        let written = self.writing.finish().await.map_err(|_| CacheError::WriterGone)?;
        Ok(written.finish())
    }

    /// For reading back what was written; nothing of a body that is hashed alone.
    pub(super) fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Work for Writing {
    fn take(&mut self, chunk: &Bytes) {
        let at = self.hasher.length();
        self.hasher.update(chunk);
        let sink = match std::mem::replace(&mut self.sink, Sink::Nowhere) {
            Sink::Planned(promise) => open(promise, &self.reader),
            sink => sink,
        };
        self.sink = match sink {
            Sink::Open(promise, file) => match file.file.write_all_at(chunk, at) {
                Ok(()) => {
                    self.reader.wrote(at + chunk.len() as u64);
                    Sink::Open(promise, file)
                }
                Err(error) => Sink::GivenUp(failed(&promise.disk, error)),
            },
            sink => sink,
        };
        if matches!(self.sink, Sink::GivenUp(_)) {
            self.reader.give_up();
        }
    }
}

impl Writing {
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
fn open(promise: Promise, reader: &Reader) -> Sink {
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
            let file = reader.begin(Temporary::new(file, path, space));
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
