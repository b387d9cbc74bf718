//! What lies on disk, in the order of its last use, and how many bytes that is. Pure bookkeeping, nothing blocks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    counts::{Counts, signed},
    folder::Identity,
    mapping::Mapping,
};
use crate::digest::Digest;

/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// What a file of this length takes on disk.
pub(super) fn footprint(length: u64) -> u64 {
    length.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Bytes on disk, kept and on their way in.
pub(super) struct Usage {
    used: AtomicU64,
    counts: Arc<Counts>,
}

impl Usage {
    pub(super) fn new(counts: &Arc<Counts>) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            counts: Arc::clone(counts),
        })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

/// The room of one file; given back when the last who reads it is gone, for only then does the disk give it back.
pub(super) struct Space {
    bytes: u64,
    usage: Arc<Usage>,
    pub counts: Arc<Counts>,
}

impl Space {
    /// Counts a file of `length` bytes, whatever the bound.
    pub(super) fn take(usage: &Arc<Usage>, length: u64) -> Arc<Self> {
        let bytes = footprint(length);
        usage.used.fetch_add(bytes, Ordering::AcqRel);
        usage.counts.bytes_disk.add(signed(bytes));
        Arc::new(Self {
            bytes,
            usage: Arc::clone(usage),
            counts: Arc::clone(&usage.counts),
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.usage.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.counts.bytes_disk.sub(signed(self.bytes));
    }
}

/// One file.
pub(super) struct Entry {
    pub length: u64,
    /// What the file was when its bytes were last known to be right; none before its first use after a restart.
    pub verified: Option<Identity>,
    pub space: Arc<Space>,
    /// Held while the file is read back, so that it is read once for all who ask.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// Tells this entry from a later one of the same digest.
    pub serial: u64,
    /// Place in the order of use.
    tick: u64,
    /// Its mapping, as long as the budget for mappings allows.
    kept: Option<Arc<Mapping>>,
    /// Its mapping, as long as somebody reads it.
    shared: Weak<Mapping>,
}

impl Entry {
    pub(super) fn new(length: u64, verified: Option<Identity>, space: Arc<Space>) -> Self {
        Self {
            length,
            verified,
            space,
            turn: Arc::default(),
            serial: 0,
            tick: 0,
            kept: None,
            shared: Weak::new(),
        }
    }

    /// Whether removing the file would free nothing yet.
    fn in_use(&self) -> bool {
        self.shared.strong_count() > usize::from(self.kept.is_some()) || self.turn.try_lock().is_err()
    }

    /// Unmaps it here and now, where blocking is allowed.
    pub(super) fn discard(self) {
        if let Some(mapping) = self.kept {
            Mapping::unmap(mapping);
        }
    }
}

/// Every file that can be found.
pub(super) struct Index {
    entries: HashMap<Digest, Entry>,
    order: BTreeMap<u64, Digest>,
    /// Those of `order` whose mapping is kept.
    mapped: BTreeMap<u64, Digest>,
    mapped_bytes: u64,
    mapped_max: u64,
    clock: u64,
    /// Room promised to fills in progress.
    pub filling: u64,
}

impl Index {
    /// An empty index that keeps mappings of up to `mapped_max` bytes.
    pub(super) fn new(mapped_max: u64) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            mapped: BTreeMap::new(),
            mapped_bytes: 0,
            mapped_max,
            clock: 0,
            filling: 0,
        }
    }

    pub(super) fn entry(&self, digest: &Digest) -> Option<&Entry> {
        self.entries.get(digest)
    }

    /// Adds a file as the last used; gives back its serial, and the entry it replaces.
    pub(super) fn insert(&mut self, digest: Digest, mut entry: Entry) -> (u64, Option<Entry>) {
        let replaced = self.remove(&digest);
        self.clock += 1;
        (entry.serial, entry.tick) = (self.clock, self.clock);
        self.order.insert(entry.tick, digest);
        let serial = entry.serial;
        self.entries.insert(digest, entry);
        (serial, replaced)
    }

    /// The mapping of a file that has one, which is a use of it.
    pub(super) fn mapping(&mut self, digest: &Digest) -> Option<Arc<Mapping>> {
        let entry = self.entries.get(digest)?;
        let mapping = entry.kept.clone().or_else(|| entry.shared.upgrade())?;
        self.touch(digest);
        Some(mapping)
    }

    /// Keeps the mapping of a verified file, unless the file is not there any more. Gives back the mappings that had to
    /// go for it; its own may be among them.
    pub(super) fn keep(&mut self, digest: &Digest, serial: u64, mapping: &Arc<Mapping>) -> Option<Vec<Arc<Mapping>>> {
        let entry = self.entries.get_mut(digest).filter(|entry| entry.serial == serial)?;
        entry.verified = Some(*mapping.identity());
        entry.shared = Arc::downgrade(mapping);
        let mut gone = Vec::from_iter(entry.kept.replace(Arc::clone(mapping)));
        if gone.is_empty() {
            self.mapped_bytes += entry.length;
        }
        self.mapped.insert(entry.tick, *digest);
        self.touch(digest);
        while self.mapped_bytes > self.mapped_max
            && let Some((_, oldest)) = self.mapped.pop_first()
        {
            gone.extend(self.unmap(&oldest));
        }
        Some(gone)
    }

    /// Notes that a file is not what it was: its mapping goes, and it is hashed before its next use.
    pub(super) fn doubt(&mut self, digest: &Digest, identity: &Identity) -> Option<Arc<Mapping>> {
        let entry = self.entries.get_mut(digest)?;
        if entry.verified.as_ref() != Some(identity) {
            return None;
        }
        entry.verified = None;
        entry.shared = Weak::new();
        self.unmap(digest)
    }

    pub(super) fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let kept = self.unmap(digest);
        let mut entry = self.entries.remove(digest)?;
        self.order.remove(&entry.tick);
        entry.kept = kept;
        Some(entry)
    }

    /// Takes out the file whose last use is longest ago among those that nobody reads.
    pub(super) fn evict(&mut self) -> Option<(Digest, Entry)> {
        let idle = |digest: &&Digest| self.entries.get(*digest).is_some_and(|entry| !entry.in_use());
        let digest = *self.order.values().find(idle)?;
        Some((digest, self.remove(&digest)?))
    }

    fn touch(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.get_mut(digest) {
            self.clock += 1;
            self.order.remove(&entry.tick);
            if self.mapped.remove(&entry.tick).is_some() {
                self.mapped.insert(self.clock, *digest);
            }
            entry.tick = self.clock;
            self.order.insert(entry.tick, *digest);
        }
    }

    fn unmap(&mut self, digest: &Digest) -> Option<Arc<Mapping>> {
        let entry = self.entries.get_mut(digest)?;
        let kept = entry.kept.take()?;
        self.mapped.remove(&entry.tick);
        self.mapped_bytes -= entry.length;
        Some(kept)
    }
}
