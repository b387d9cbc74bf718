//! What can go wrong with the cache. None of it ever fails a reader: the upstream still has the bytes.

use std::{io, path::PathBuf};

use crate::digest::Mismatch;

/// The cache cannot be opened, or cannot keep an artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder cannot be made, read or locked.
    #[error("the cache folder `{}` cannot be used: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the gate's user may write to the folder or read it.
    #[error("the cache folder `{}` is not this user's alone: {detail}", folder.display())]
    NotPrivate {
        /// The folder.
        folder: PathBuf,
        /// Whose it is, or its mode.
        detail: String,
    },
    /// Another gate holds the folder's lock.
    #[error("the cache folder `{}` is in use by another gate", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk, a quota or a limit on file sizes leaves no space.
    #[error("no space left for the cache in `{}`", folder.display())]
    NoSpace {
        /// The folder.
        folder: PathBuf,
    },
    /// What could make room is being read.
    #[error("the cache has no room for {length} bytes: all of it is in use")]
    NoRoom {
        /// Bytes asked for.
        length: u64,
    },
    /// The artifact is not one that the cache takes.
    #[error("the cache does not take {length} bytes")]
    NotTaken {
        /// Its length.
        length: u64,
    },
    /// [`Cache::forget`](super::Cache::forget) was called while the artifact was on its way in.
    #[error("the artifact was dropped from the cache while it was fetched")]
    Forgotten,
    /// A file cannot be written, read back, renamed or mapped.
    #[error("a file of the cache `{}` cannot be {act}: {source}", folder.display())]
    File {
        /// The folder.
        folder: PathBuf,
        /// `written`, `mapped` …
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime is shutting down, or the writer died of a bug.
    #[error("the cache's writer is gone")]
    WriterGone,
}

impl CacheError {
    /// What to do about an error of [`Cache::open`](super::Cache::open).
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { .. } => {
                Some("`cache.path` names the folder; `disk = 0` under `[cache]` does without".into())
            }
            Self::NotPrivate { folder, .. } => Some(format!(
                "`chmod 700 '{}'` as the user that the gate runs as, or name a folder of its own in `cache.path`",
                folder.display()
            )),
            Self::InUse { .. } => Some(
                "is this gate running already? stop it first; gates over ledgers of their own need a `cache.path` each"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// How a fill ended when it did not end in the cache.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The body is not what was expected: it must not be served.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The body **is** what was expected, all of it, but was not kept.
    #[error(transparent)]
    NotKept(#[from] CacheError),
}
