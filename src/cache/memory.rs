//! Small artifacts, in memory.

use std::sync::Arc;

use bytes::Bytes;
use moka::{notification::RemovalCause, sync};

use super::counts::{Counts, signed};
use crate::digest::{Digest, Expected};

/// What an entry costs beside its bytes: key, table slot, queue nodes of the eviction policy.
const OVERHEAD: u64 = 256;

/// A bounded store; what is asked for often stays.
pub(super) struct Memory {
    store: sync::Cache<Digest, Bytes>,
    max: u64,
    max_object: u64,
    counts: Arc<Counts>,
}

impl Memory {
    pub(super) fn new(max: u64, max_object: u64, counts: &Arc<Counts>) -> Self {
        let gone = Arc::clone(counts);
        let store = sync::Cache::builder()
            .max_capacity(max)
            .weigher(|_: &Digest, bytes: &Bytes| u32::try_from(cost(bytes.len() as u64)).unwrap_or(u32::MAX))
            .eviction_listener(move |_, bytes: Bytes, cause| {
                gone.bytes_memory.sub(signed(cost(bytes.len() as u64)));
                if cause == RemovalCause::Size {
                    gone.evicted_memory.inc();
                }
            })
            .build();
        Self {
            store,
            max,
            max_object,
            counts: Arc::clone(counts),
        }
    }

    /// Whether artifacts of this length are kept here, and nowhere else.
    pub(super) fn takes(&self, length: u64) -> bool {
        length <= self.max_object && cost(length) <= self.max
    }

    pub(super) fn find(&self, expected: &Expected) -> Option<Bytes> {
        let bytes = self.store.get(&expected.digest)?;
        (bytes.len() as u64 == expected.length).then_some(bytes)
    }

    /// Keeps verified bytes.
    pub(super) fn insert(&self, digest: Digest, bytes: Bytes) {
        self.counts.bytes_memory.add(signed(cost(bytes.len() as u64)));
        self.store.insert(digest, bytes);
    }

    pub(super) fn forget(&self, digest: &Digest) {
        self.store.invalidate(digest);
    }

    /// Does at once what the store otherwise does as it goes: evictions and their counting.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.store.run_pending_tasks();
    }
}

fn cost(length: u64) -> u64 {
    length + OVERHEAD
}
