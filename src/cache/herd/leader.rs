//! The one request upstream, as its followers see it.

use std::{hash::Hash, sync::Arc};

use bytes::Bytes;

use super::{
    Broken, Herd, Stop,
    flight::{Flight, Source},
};
use crate::{
    cache::{Fill, FillError},
    digest::{Expected, Mismatch},
};

/// Has not answered yet. Dropped, its followers get [`Broken::Lost`].
pub struct Leader<K: Eq + Hash, H, E>(Lead<K, H, E>);

/// Passes a body on. Dropped before its end, its followers get [`Broken::Lost`].
pub struct Relay<K: Eq + Hash, H, E> {
    lead: Lead<K, H, E>,
    fill: Fill,
}

struct Lead<K: Eq + Hash, H, E> {
    herd: Herd<K, H, E>,
    key: K,
    flight: Arc<Flight<H, E>>,
}

impl<K: Eq + Hash, H: Clone, E: Clone> Leader<K, H, E> {
    pub(super) fn new(herd: Herd<K, H, E>, key: K, flight: Arc<Flight<H, E>>) -> Self {
        Self(Lead { herd, key, flight })
    }

    /// The answer is one that may be shared: a head, and a body of which this is known. Keeps the body where the cache
    /// takes it and has room.
    ///
    /// Must be called on a tokio runtime.
    pub fn open(self, head: H, expected: Expected) -> Relay<K, H, E> {
        let cache = &self.0.herd.0.cache;
        let (fill, source) = match cache.fill(expected) {
            Some(fill) => {
                let source = fill.reader().map_or(Source::Memory, Source::File);
                (fill, source)
            }
            None => {
                let fill = Fill::passing(cache, expected);
                let source = match fill.in_memory() {
                    true => Source::Memory,
                    false => Source::Direct(None),
                };
                (fill, source)
            }
        };
        self.0.flight.tell(|state| state.open(head, expected.length, source));
        Relay { lead: self.0, fill }
    }

    /// The answer is for its first follower alone, and not to be kept; it is verified as it passes.
    ///
    /// Must be called on a tokio runtime.
    pub fn pass(self, head: H, expected: Expected) -> Relay<K, H, E> {
        let fill = Fill::passing(&self.0.herd.0.cache, expected);
        self.0
            .flight
            .tell(|state| state.open(head, expected.length, Source::Direct(None)));
        Relay { lead: self.0, fill }
    }

    /// The answer is not one to share: every follower must ask on its own.
    pub fn each_for_itself(self) {
        self.0.flight.tell(|state| state.each_for_itself());
    }

    /// There is no answer.
    pub fn fail(self, why: E) {
        self.0.flight.tell(|state| state.fail(Broken::Failed(why)));
    }
}

impl<K: Eq + Hash, H: Clone, E: Clone> Relay<K, H, E> {
    /// Passes the next chunk on, and with it the one before it to the followers. Waits for the disk where that is slower
    /// than the upstream, and for followers only where there is no room to keep the body.
    ///
    /// # Errors
    /// [`Stop`]; the relay is then of no further use.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), Stop> {
        let flight = &self.lead.flight;
        if !chunk.is_empty() {
            if let Err(mismatch) = self.fill.push(chunk.clone()).await {
                flight.tell(|state| state.fail(Broken::Mismatch(mismatch)));
                return Err(Stop::Mismatch(mismatch));
            }
            flight.tell(|state| state.push(chunk));
        }
        loop {
            {
                let mut state = flight.state();
                if state.abandoned() {
                    return Err(Stop::Abandoned);
                }
                if !state.crowded() {
                    return Ok(());
                }
            }
            flight.moved.notified().await;
        }
    }

    /// The body ended: verifies it, keeps it (see [`Fill::finish`]), and only then lets the last chunk go. The artifact, where
    /// it was kept.
    ///
    /// # Errors
    /// The body is not what it must be; the followers know.
    pub async fn finish(self, once_verified: impl FnOnce()) -> Result<Option<Bytes>, Mismatch> {
        let Self { lead, fill } = self;
        let kept = match fill.finish(once_verified).await {
            Ok(bytes) => Some(bytes),
            Err(FillError::NotKept(_)) => None,
            Err(FillError::Mismatch(mismatch)) => {
                lead.flight.tell(|state| state.fail(Broken::Mismatch(mismatch)));
                return Err(mismatch);
            }
        };
        lead.flight.tell(|state| state.whole(kept.clone()));
        Ok(kept)
    }

    /// The body broke off.
    pub fn fail(self, why: E) {
        self.lead.flight.tell(|state| state.fail(Broken::Failed(why)));
    }

    /// Waits until nobody follows and much is missing; then nobody can join any more, and the relay should be dropped. For
    /// `select!`, beside the next chunk.
    pub async fn abandoned(&self) {
        self.lead.abandoned().await;
    }
}

#[cfg(test)]
impl<K: Eq + Hash, H: Clone, E: Clone> Relay<K, H, E> {
    /// Bytes in memory for followers.
    pub(in crate::cache) fn held(&self) -> u64 {
        self.lead.flight.state().held()
    }

    /// Bytes passed on.
    pub(in crate::cache) fn end(&self) -> u64 {
        self.lead.flight.state().end()
    }
}

impl<K: Eq + Hash, H: Clone, E: Clone> Lead<K, H, E> {
    async fn abandoned(&self) {
        while !self.flight.state().abandoned() {
            self.flight.moved.notified().await;
        }
    }
}

impl<K: Eq + Hash, H, E> Drop for Lead<K, H, E> {
    fn drop(&mut self) {
        self.flight.lost();
        self.herd.land(&self.key, &self.flight);
    }
}
