//! One request upstream for a herd: the first who asks for an artifact leads, the others follow, and all stream.
//!
//! The leader is a task of its own, so that no client's leaving cuts the others. It says what the head is, or that each
//! has to ask for itself; then it passes on chunks, and at the end a verdict. A follower gets every byte from the first,
//! whenever it joined, but **never the last chunk before the verdict is good**.
//!
//! Where followers read from: those that keep up, from a window of the last bytes in memory; those behind it, from the
//! file of the fill; all of them, once the verdict is good, from the kept artifact itself. Small bodies lie in the window
//! whole. So nobody waits for a slow follower, and none costs memory. Without room on disk there is no file: then the
//! first follower alone streams, at its own pace, and who comes later asks for itself; when the disk is full halfway,
//! those that are there already share the pace of the slowest.

mod flight;
mod follower;
mod leader;
mod window;

use std::{
    collections::{HashMap, hash_map},
    hash::Hash,
    sync::{Arc, Mutex},
};

use super::{Cache, lock};
use crate::digest::Mismatch;
use flight::Flight;

pub use follower::Follower;
pub use leader::{Leader, Relay};

/// Artifacts on their way, by key. `K` must tell apart whatever may get different answers; `H` is the head of an answer,
/// `E` why there is none. Clones share it.
pub struct Herd<K, H, E>(Arc<Shared<K, H, E>>);

struct Shared<K, H, E> {
    cache: Cache,
    flights: Mutex<HashMap<K, Arc<Flight<H, E>>>>,
}

/// What [`Herd::join`] makes of a reader.
pub enum Joined<K: Eq + Hash, H, E> {
    /// The first: the leader is for a task that asks upstream, the follower for the reader itself.
    Lead(Leader<K, H, E>, Follower<H, E>),
    /// Not the first.
    Follow(Follower<H, E>),
}

/// How an answer begins for a follower.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opening<H> {
    /// With this head; the body follows.
    Shared(H),
    /// It cannot be shared with this reader, who must ask on its own.
    EachForItself,
}

/// Why a follower does not get the rest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Broken<E> {
    /// What the leader said.
    #[error("{0}")]
    Failed(E),
    /// The body is not what it must be.
    #[error(transparent)]
    Mismatch(Mismatch),
    /// The leader's task ended without a verdict.
    #[error("the request that this answer was waiting for was given up")]
    Lost,
    /// What was received cannot be read back.
    #[error("the part of the artifact that arrived cannot be read back: {0}")]
    Unreadable(String),
}

/// Why a leader should stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Stop {
    /// Nobody follows any more, and much is missing.
    #[error("nobody waits for this answer any more")]
    Abandoned,
    /// More bytes came than are expected. The followers know.
    #[error(transparent)]
    Mismatch(Mismatch),
}

impl<K, H, E> Clone for Herd<K, H, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash, H: Clone, E: Clone> Herd<K, H, E> {
    /// A herd whose bodies go into `cache`.
    pub fn new(cache: Cache) -> Self {
        Self(Arc::new(Shared {
            cache,
            flights: Mutex::default(),
        }))
    }

    /// Joins those who wait for `key`.
    ///
    /// Who becomes the leader should look into the cache once more: another leader may have ended since the last look.
    pub fn join(&self, key: K) -> Joined<K, H, E> {
        let mut flights = lock(&self.0.flights);
        let entry = match flights.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => match Flight::follow(entry.get()) {
                Some(follower) => return Joined::Follow(follower),
                // Told to stop, or at its end, and about to go.
                None => hash_map::Entry::Occupied(entry),
            },
            vacant => vacant,
        };
        let flight = Flight::new();
        let follower = Follower::first(&flight);
        match entry {
            hash_map::Entry::Occupied(mut entry) => drop(entry.insert(Arc::clone(&flight))),
            hash_map::Entry::Vacant(entry) => drop(entry.insert(Arc::clone(&flight))),
        }
        Joined::Lead(Leader::new(self.clone(), key, flight), follower)
    }

    /// How many keys are on their way.
    #[cfg(test)]
    pub fn flights(&self) -> usize {
        lock(&self.0.flights).len()
    }
}

impl<K: Eq + Hash, H, E> Herd<K, H, E> {
    fn land(&self, key: &K, flight: &Arc<Flight<H, E>>) {
        let mut flights = lock(&self.0.flights);
        if flights.get(key).is_some_and(|other| Arc::ptr_eq(other, flight)) {
            flights.remove(key);
        }
    }
}
