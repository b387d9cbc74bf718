//! An artifact on its way into the cache.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{Cache, CacheError, Place, error::FillError, temporary::Reader, underway::Passage, writer::Writer};
use crate::{
    beside::INLINE,
    digest::{Digest, Expected, Mismatch},
};

/// A body that is being kept. Dropped before its end, it leaves nothing behind.
pub struct Fill {
    cache: Cache,
    expected: Expected,
    received: u64,
    sink: Sink,
    /// None for a body that is only verified.
    keeping: Option<Arc<Passage>>,
    ended: bool,
}

enum Sink {
    Memory(Vec<u8>),
    File(Writer),
}

impl Fill {
    pub(super) fn begin(cache: &Cache, expected: Expected) -> Option<Self> {
        let sink = match cache.place(expected.length)? {
            Place::Memory => Sink::Memory(buffer(expected.length)),
            Place::Disk => Sink::File(Writer::new(Some(cache.0.disk.as_ref()?.promise(expected.length)?))),
        };
        let keeping = Arc::new(cache.0.underway.begin(expected.digest));
        Some(Self::new(cache, expected, sink, Some(keeping)))
    }

    /// A body that is verified as it passes, and not kept.
    pub(super) fn passing(cache: &Cache, expected: Expected) -> Self {
        let sink = match expected.length <= INLINE {
            true => Sink::Memory(buffer(expected.length)),
            false => Sink::File(Writer::new(None)),
        };
        Self::new(cache, expected, sink, None)
    }

    fn new(cache: &Cache, expected: Expected, sink: Sink, keeping: Option<Arc<Passage>>) -> Self {
        Self {
            cache: cache.clone(),
            expected,
            received: 0,
            sink,
            keeping,
            ended: false,
        }
    }

    /// Takes the next chunk; waits where the disk is slower than whoever pushes.
    ///
    /// # Errors
    /// More bytes than are expected.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), Mismatch> {
        self.received += chunk.len() as u64;
        if self.received > self.expected.length {
            return Err(Mismatch::Length {
                found: self.received,
                expected: self.expected.length,
            });
        }
        match &mut self.sink {
            Sink::Memory(buffer) => buffer.extend_from_slice(&chunk),
            Sink::File(writer) => writer.push(chunk).await,
        }
        Ok(())
    }

    /// The body ended: verifies it, and only then makes it findable. What its finders need, too, is done `once_verified`.
    ///
    /// # Errors
    /// [`FillError::Mismatch`]: the body is not what it must be. [`FillError::NotKept`]: it is, but was not kept; a full
    /// disk was told of already.
    pub async fn finish(mut self, once_verified: impl FnOnce()) -> Result<Bytes, FillError> {
        self.ended = true;
        let kept = self.verified(once_verified).await;
        let counts = &self.cache.0.counts;
        if self.keeping.is_some() {
            match &kept {
                Ok(_) => counts.kept.inc(),
                Err(FillError::Mismatch(_)) => counts.refused.inc(),
                Err(FillError::NotKept(error)) => {
                    counts.dropped.inc();
                    self.cache.0.complaints.make(error);
                }
            }
        }
        kept
    }

    async fn verified(&mut self, once_verified: impl FnOnce()) -> Result<Bytes, FillError> {
        let expected = self.expected;
        if self.received != expected.length {
            return Err(FillError::Mismatch(Mismatch::Length {
                found: self.received,
                expected: expected.length,
            }));
        }
        match std::mem::replace(&mut self.sink, Sink::Memory(Vec::new())) {
            Sink::Memory(buffer) => {
                let (bytes, digest) = hash(buffer.into()).await?;
                expected.check(digest, bytes.len() as u64)?;
                once_verified();
                let Some(memory) = self.cache.0.memory.as_ref().filter(|_| self.keeping.is_some()) else {
                    // Verified all the same, and whole.
                    return Ok(bytes);
                };
                let insert = || memory.insert(expected.digest, bytes.clone());
                let inserted = self.cache.0.underway.unless_forgotten(&expected.digest, insert);
                inserted.ok_or(CacheError::Forgotten)?;
                Ok(bytes)
            }
            Sink::File(writer) => {
                let written = writer.finish().await?;
                expected.check(written.digest, written.length)?;
                once_verified();
                let (promise, file) = written.kept?;
                // Its own share: it is on its way until this is done, also when nobody waits for the outcome.
                let keeping = self.keeping.clone();
                let kept = spawn_blocking(move || {
                    let kept = promise.disk.keep(&file, &expected.digest);
                    drop((promise, file, keeping));
                    kept
                });
                Ok(kept.await.map_err(|_| CacheError::WriterGone)??)
            }
        }
    }

    /// For reading back a large body that is being written.
    pub(super) fn reader(&self) -> Option<Reader> {
        match &self.sink {
            Sink::File(writer) if self.keeping.is_some() => Some(writer.reader()),
            _ => None,
        }
    }

    /// Whether the body lies in memory, whole, until its end.
    pub(super) fn in_memory(&self) -> bool {
        matches!(self.sink, Sink::Memory(_))
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.ended && self.keeping.is_some() {
            self.cache.0.counts.aborted.inc();
        }
    }
}

/// Room for a body whose length somebody recorded; what is larger than usual grows as it comes.
fn buffer(length: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(length.min(INLINE)).unwrap_or_default())
}

async fn hash(bytes: Bytes) -> Result<(Bytes, Digest), CacheError> {
    if bytes.len() as u64 <= INLINE {
        let digest = Digest::of(&bytes);
        return Ok((bytes, digest));
    }
    let hashed = spawn_blocking(move || {
        let digest = Digest::of(&bytes);
        (bytes, digest)
    });
    hashed.await.map_err(|_| CacheError::WriterGone)
}
