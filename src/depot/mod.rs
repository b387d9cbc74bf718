//! The depot: where signed metadata files lie. It stores bytes under names and never looks into them.

pub mod fs;
pub mod memory;
mod network;

#[cfg(test)]
mod conformance;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

/// The name of the only file that changes.
pub const TIMESTAMP: &str = "timestamp.json";

/// A file in the depot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Name relative to the depot, such as `7.snapshot.json` or `succinct/1.bins.json`.
    pub name: String,
    /// Size in bytes.
    pub length: u64,
    /// When it was written.
    pub modified: Timestamp,
}

/// A failed depot operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepotError {
    /// A versioned file stands there with other bytes.
    #[error("`{name}` exists in the depot with other bytes; a version is write-once")]
    Exists {
        /// The file.
        name: String,
    },
    /// The disk is full.
    #[error("no space left for `{name}` in the depot")]
    Full {
        /// The file.
        name: String,
    },
    /// Not `[A-Za-z0-9._-]+`, optionally below one folder.
    #[error("`{name}` is not a name for a depot file")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// The timestamp is not the one expected: another signer published.
    #[error("the depot's timestamp is not the one expected")]
    Swapped,
    /// A folder that cannot keep the promises.
    #[error("the depot `{place}` cannot be used: {detail}")]
    Unusable {
        /// The folder.
        place: String,
        /// Why: network file system, permissions, damaged.
        detail: String,
    },
    /// Any other failure.
    #[error("`{name}` in the depot: {source}")]
    Io {
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Write-once files and one pointer. One conformance suite holds for every implementation.
#[async_trait]
pub trait Depot: Send + Sync {
    /// Writes versioned files, all durable on return. A file that exists with the same bytes is fine, with other bytes
    /// [`DepotError::Exists`]; no file is ever seen half-written. Refuses [`TIMESTAMP`].
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError>;

    /// A file's bytes.
    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError>;

    /// Replaces [`TIMESTAMP`] if its bytes are `expected` (`None`: absent); durable on return.
    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError>;

    /// All files.
    async fn list(&self) -> Result<Vec<Stored>, DepotError>;

    /// Deletes a file; a missing one is fine. Refuses [`TIMESTAMP`] and every `N.root.json`.
    async fn delete(&self, name: &str) -> Result<(), DepotError>;
}

/// Whether `name` may be asked of a depot: `[A-Za-z0-9._-]+`, optionally below one such folder, no part starting with a
/// dot (those are the depot's own: lock and temporary files).
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.starts_with('.')
            && (1..=200).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match name.split_once('/') {
        Some((folder, file)) => part(folder) && part(file),
        None => part(name),
    }
}

/// Refuses what is no name.
fn check_name(name: &str) -> Result<(), DepotError> {
    match is_name(name) {
        true => Ok(()),
        false => Err(DepotError::Name { name: name.to_owned() }),
    }
}

/// Refuses names that [`Depot::put_all`] may not write.
fn check_put(name: &str) -> Result<(), DepotError> {
    match is_name(name) && name != TIMESTAMP {
        true => Ok(()),
        false => Err(DepotError::Name { name: name.to_owned() }),
    }
}

/// Refuses names that [`Depot::delete`] may not take: clients walk the chain of roots from the first one on.
fn check_delete(name: &str) -> Result<(), DepotError> {
    let root = name
        .strip_suffix(".root.json")
        .is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit()));
    match is_name(name) && name != TIMESTAMP && !root {
        true => Ok(()),
        false => Err(DepotError::Name { name: name.to_owned() }),
    }
}
