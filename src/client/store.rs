//! Trusted metadata in a local folder: `root.json`, `roots/N.root.json`, `timestamp.json`, `snapshot.json`,
//! `targets.json` and delegated roles. Only what passed its checks is written, each file whole or not at all.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::error::ClientError;

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder, making it when it is missing.
    pub fn open(folder: PathBuf) -> Result<Self, ClientError> {
        let roots = folder.join("roots");
        match fs::create_dir_all(&roots) {
            Ok(()) => Ok(Self { folder }),
            Err(source) => Err(ClientError::Local { path: roots, source }),
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file's bytes, if it stands there. They are checked anew each time: a folder is not a signature.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClientError::Local { path, source }),
        }
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".tmp-")
                .tempfile_in(path.parent().unwrap_or(&self.folder))?;
            file.write_all(bytes)?;
            // A root that is half-written after a power cut would lock the user out.
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|refused| refused.error)
        };
        match write() {
            Ok(_) => Ok(()),
            Err(source) => Err(ClientError::Local { path, source }),
        }
    }

    /// Removes a file; a missing one is fine.
    pub fn remove(&self, name: &str) -> Result<(), ClientError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClientError::Local { path, source: error }),
            _ => Ok(()),
        }
    }
}
