//! A depot in memory, for tests and for embedding.

use std::{
    collections::{BTreeMap, btree_map},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{Depot, DepotError, Stored, TIMESTAMP, check_delete, check_name, check_put};

/// Files by name, each with the time it was written.
#[derive(Debug, Default)]
pub struct MemoryDepot(Mutex<BTreeMap<String, (Bytes, Timestamp)>>);

impl MemoryDepot {
    /// An empty depot.
    pub fn new() -> Self {
        Self::default()
    }

    /// No operation panics between its first and last change, so what a poisoned lock guards is whole.
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Depot for MemoryDepot {
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError> {
        for (name, _) in &files {
            check_put(name)?;
        }
        let mut stored = self.files();
        for (name, bytes) in files {
            match stored.entry(name) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert((bytes, Timestamp::now()));
                }
                btree_map::Entry::Occupied(old) if old.get().0 == bytes => {}
                btree_map::Entry::Occupied(old) => {
                    return Err(DepotError::Exists {
                        name: old.key().clone(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        check_name(name)?;
        Ok(self.files().get(name).map(|(bytes, _)| bytes.clone()))
    }

    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError> {
        let mut stored = self.files();
        if stored.get(TIMESTAMP).map(|(bytes, _)| bytes) != expected.as_ref() {
            return Err(DepotError::Swapped);
        }
        stored.insert(TIMESTAMP.to_owned(), (new, Timestamp::now()));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        let stored = |(name, (bytes, at)): (&String, &(Bytes, Timestamp))| Stored {
            name: name.clone(),
            length: bytes.len() as u64,
            modified: *at,
        };
        Ok(self.files().iter().map(stored).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), DepotError> {
        check_delete(name)?;
        self.files().remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::depot::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn conforms() {
        let depot = Arc::new(MemoryDepot::new());
        conformance::suite(depot.clone(), depot).await;
    }
}
