//! Fills in progress by digest, so that what is forgotten meanwhile is not kept at their end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::lock;
use crate::digest::Digest;

/// All fills in progress.
#[derive(Default)]
pub(super) struct Underway(Mutex<HashMap<Digest, Fills>>);

/// Fills of one digest: two paths may have the same bytes.
#[derive(Default)]
struct Fills {
    count: usize,
    forgotten: bool,
}

impl Underway {
    /// Notes a fill until what is given back is dropped.
    pub(super) fn begin(self: &Arc<Self>, digest: Digest) -> Passage {
        lock(&self.0).entry(digest).or_default().count += 1;
        Passage {
            underway: Arc::clone(self),
            digest,
        }
    }

    /// Marks the fills of a digest, and drops what is kept of it, with no fill ending in between.
    pub(super) fn forget<T>(&self, digest: &Digest, drop_kept: impl FnOnce() -> T) -> T {
        let mut fills = lock(&self.0);
        if let Some(fills) = fills.get_mut(digest) {
            fills.forgotten = true;
        }
        drop_kept()
    }

    /// Keeps something quick to keep, unless its digest was forgotten since the fill began.
    pub(super) fn unless_forgotten<T>(&self, digest: &Digest, keep: impl FnOnce() -> T) -> Option<T> {
        let fills = lock(&self.0);
        let forgotten = fills.get(digest).is_some_and(|fills| fills.forgotten);
        (!forgotten).then(keep)
    }
}

/// One fill in progress.
pub(super) struct Passage {
    underway: Arc<Underway>,
    digest: Digest,
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut all = lock(&self.underway.0);
        if let Some(fills) = all.get_mut(&self.digest) {
            fills.count -= 1;
            if fills.count == 0 {
                all.remove(&self.digest);
            }
        }
    }
}
