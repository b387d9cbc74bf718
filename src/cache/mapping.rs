//! A file of the cache mapped into memory. The only unsafe code of the gate.
#![expect(
    unsafe_code,
    reason = "mapping a file: hits of large artifacts are sent without copying, 1.9 to 2.6 times as fast as reading"
)]

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use tokio::runtime::Handle;

use super::{counts::signed, folder::Identity, index::Space};

/// From here on unmapping takes long enough (page tables, and the blocks of a file that has no name any more) to be done
/// beside the event loop.
const LARGE: usize = 4 << 20;

/// A verified file, mapped whole and populated.
pub(super) struct Mapping {
    /// Taken out to be unmapped.
    map: Option<Mmap>,
    identity: Identity,
    space: Arc<Space>,
}

impl Mapping {
    /// Maps a file and reads all of it into memory, so that no page fault waits for the disk on the event loop. Blocks.
    pub(super) fn new(file: &File, identity: Identity, space: Arc<Space>) -> io::Result<Arc<Self>> {
        let length = usize::try_from(identity.length()).map_err(io::Error::other)?;
        // SAFETY: the bytes of a mapping must not change, and its file must not shrink, while it is used. The file lies in
        // a folder that only this user may enter (0700, checked when it is opened) under a lock that keeps other gates
        // out. This program writes a file once, under another name, makes it read-only (0400) and renames it into place;
        // it then at most unlinks or replaces the name, which leaves mapped pages alone, and never opens it for writing or
        // truncates it. That nobody else did is checked when it is opened (owner, mode, one name, no symbolic link), below
        // once it is mapped, and by its change time before each use. What remains is another process of this user or of
        // root that rewrites the file between such a check and the use of the bytes: it may as well write to this
        // process's memory. The mapping is read-only, so nothing is written through it.
        let map = unsafe { MmapOptions::new().len(length).populate().map(file)? };
        if Identity::of(&file.metadata()?) != identity {
            return Err(io::Error::other("it changed while it was mapped"));
        }
        space.counts.bytes_mapped.add(signed(identity.length()));
        Ok(Arc::new(Self {
            map: Some(map),
            identity,
            space,
        }))
    }

    /// What the file was when its bytes were verified.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// All its bytes; they keep the mapping.
    pub(super) fn bytes(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(View(Arc::clone(self)))
    }

    /// Unmaps here and now, where blocking is allowed, unless somebody still reads.
    pub(super) fn unmap(this: Arc<Self>) {
        if let Some(mut this) = Arc::into_inner(this) {
            drop(this.map.take());
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.space.counts.bytes_mapped.sub(signed(self.identity.length()));
        let space = Arc::clone(&self.space);
        if let Some(map) = self.map.take().filter(|map| map.len() >= LARGE)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop((map, space)));
        }
    }
}

/// A reader's share of a mapping.
struct View(Arc<Mapping>);

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.0.map.as_deref().unwrap_or_default()
    }
}
