//! A depot in a folder of a local file system.
//!
//! Versioned files are written beside their place under a temporary name, synced, and renamed without replacing; the
//! timestamp is read, compared and renamed under a lock file, so that two signers on one machine cannot both win.
//! Network file systems are refused: their locks and renames do not keep that promise (DESIGN 7.5).

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::{Depot, DepotError, Stored, TIMESTAMP, check_delete, check_name, check_put, network::network_file_system};

/// Held shared while temporary files may stand, exclusively over a swap.
const LOCK: &str = ".lock";
/// What a file is called until it is whole.
const TEMPORARY: &str = ".tmp-";
/// Files of one batch are synced by at most this many threads: a sync waits for the disk, not for a core.
const SYNC_THREADS: usize = 16;

/// A folder that holds signed metadata.
#[derive(Clone, Debug)]
pub struct FsDepot {
    folder: Arc<Folder>,
}

impl FsDepot {
    /// Opens a depot, making the folder when it is missing, and removes what a crashed writer left half-written.
    ///
    /// # Errors
    /// [`DepotError::Unusable`] for a folder that cannot be made, read, or lies on a network file system.
    pub fn open(dir: &Path) -> Result<Self, DepotError> {
        let unusable = |detail: String| DepotError::Unusable {
            place: dir.display().to_string(),
            detail,
        };
        fs::create_dir_all(dir).map_err(|error| unusable(format!("the folder cannot be made: {error}")))?;
        fs::read_dir(dir).map_err(|error| unusable(format!("the folder cannot be read: {error}")))?;
        if let Some(kind) = network_file_system(dir).map_err(|error| unusable(error.to_string()))? {
            return Err(unusable(format!(
                "it lies on {kind}, whose locks and renames are not reliable; use a local file system"
            )));
        }
        let folder = Arc::new(Folder { path: dir.to_owned() });
        folder.remove_leftovers();
        Ok(Self { folder })
    }

    /// Takes a folder as it is, to read it: nothing is made, removed or checked.
    pub fn look(dir: &Path) -> Self {
        Self {
            folder: Arc::new(Folder { path: dir.to_owned() }),
        }
    }

    /// Runs disk work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Folder) -> Result<T, DepotError> + Send + 'static,
    ) -> Result<T, DepotError> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .unwrap_or_else(|join| Err(failed(name, io::Error::other(join))))
    }
}

#[async_trait]
impl Depot for FsDepot {
    async fn put_all(&self, files: Vec<(String, Bytes)>) -> Result<(), DepotError> {
        for (name, _) in &files {
            check_put(name)?;
        }
        let Some((first, _)) = files.first() else { return Ok(()) };
        let first = first.clone();
        self.blocking(&first, move |folder| folder.put_all(&files)).await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        check_name(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |folder| folder.read(&owned)).await
    }

    async fn swap_timestamp(&self, expected: Option<Bytes>, new: Bytes) -> Result<(), DepotError> {
        self.blocking(TIMESTAMP, move |folder| folder.swap_timestamp(expected.as_ref(), &new))
            .await
    }

    async fn list(&self) -> Result<Vec<Stored>, DepotError> {
        self.blocking(".", Folder::list).await
    }

    async fn delete(&self, name: &str) -> Result<(), DepotError> {
        check_delete(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |folder| match fs::remove_file(folder.path.join(&owned)) {
            Err(error) if !absent(&error) => Err(failed(&owned, error)),
            _ => Ok(()),
        })
        .await
    }
}

/// The blocking side.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn put_all(&self, files: &[(String, Bytes)]) -> Result<(), DepotError> {
        let _writing = self.lock(false)?;
        let mut missing = Vec::new();
        for file in files {
            match self.read(&file.0)? {
                None => missing.push(file),
                Some(old) if old == file.1 => {}
                Some(_) => return Err(DepotError::Exists { name: file.0.clone() }),
            }
        }
        self.make_subfolders(files)?;
        for (name, whole) in self.write_synced(&missing)? {
            if let Err(refused) = whole.persist_noclobber(self.path.join(name)) {
                let same = refused.error.kind() == io::ErrorKind::AlreadyExists
                    && fs::read(self.path.join(name)).ok() == fs::read(refused.file.path()).ok();
                match (same, refused.error.kind()) {
                    (true, _) => {}
                    (false, io::ErrorKind::AlreadyExists) => return Err(DepotError::Exists { name: name.clone() }),
                    (false, _) => return Err(failed(name, refused.error)),
                }
            }
        }
        // Also when every file stood there already: whoever wrote it may have crashed before this line.
        self.sync_folders(files)
    }

    /// Writes and syncs temporary files on a few threads; all are removed again when one fails.
    fn write_synced<'a>(&self, files: &[&'a (String, Bytes)]) -> Result<Vec<(&'a String, NamedTempFile)>, DepotError> {
        let write = |files: &[&'a (String, Bytes)]| -> Result<Vec<_>, DepotError> {
            let one = |(name, bytes): &'a (String, Bytes)| {
                let whole = self.write_temporary(name, bytes).map_err(|error| failed(name, error));
                whole.map(|whole| (name, whole))
            };
            files.iter().map(|file| one(file)).collect()
        };
        let threads = (files.len() / 2).min(SYNC_THREADS);
        if threads < 2 {
            return write(files);
        }
        let parts = std::thread::scope(|scope| {
            let writing: Vec<_> = files
                .chunks(files.len().div_ceil(threads))
                .map(|part| scope.spawn(move || write(part)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(failed("a batch", io::Error::other("a writing thread panicked"))))
            };
            writing.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn write_temporary(&self, name: &str, bytes: &[u8]) -> io::Result<NamedTempFile> {
        let place = self.path.join(name);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            // Metadata is public, and the gate that serves it may run as another user than the signer.
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(place.parent().unwrap_or(&self.path))?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        Ok(file)
    }

    fn make_subfolders(&self, files: &[(String, Bytes)]) -> Result<(), DepotError> {
        for (name, folder) in subfolders(files) {
            match fs::create_dir(self.path.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(name, error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn sync_folders(&self, files: &[(String, Bytes)]) -> Result<(), DepotError> {
        for (name, folder) in subfolders(files) {
            sync_folder(&self.path.join(folder)).map_err(|error| failed(name, error))?;
        }
        sync_folder(&self.path).map_err(|error| failed(".", error))
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>, DepotError> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(failed(name, error)),
        }
    }

    fn swap_timestamp(&self, expected: Option<&Bytes>, new: &Bytes) -> Result<(), DepotError> {
        let _swapping = self.lock(true)?;
        if self.read(TIMESTAMP)?.as_ref() != expected {
            return Err(DepotError::Swapped);
        }
        let whole = self
            .write_temporary(TIMESTAMP, new)
            .map_err(|error| failed(TIMESTAMP, error))?;
        whole
            .persist(self.path.join(TIMESTAMP))
            .map_err(|refused| failed(TIMESTAMP, refused.error))?;
        sync_folder(&self.path).map_err(|error| failed(TIMESTAMP, error))
    }

    fn list(&self) -> Result<Vec<Stored>, DepotError> {
        let mut found = Vec::new();
        for name in names_in(&self.path)? {
            let path = self.path.join(&name);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    for inner in names_in(&path)? {
                        let file = path.join(&inner);
                        found.extend(stored(format!("{name}/{inner}"), fs::metadata(file))?);
                    }
                }
                metadata => found.extend(stored(name, metadata)?),
            }
        }
        Ok(found)
    }

    /// Locks until the answer is dropped. Every call opens the file anew, so that threads contend like processes.
    fn lock(&self, exclusively: bool) -> Result<File, DepotError> {
        let lock = || {
            let file = self.lock_file()?;
            match exclusively {
                true => file.lock()?,
                false => file.lock_shared()?,
            }
            Ok(file)
        };
        lock().map_err(|error| failed(LOCK, error))
    }

    fn lock_file(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join(LOCK))
    }

    /// Removes temporary files, unless a writer is at work or this process may not write here (a gate that only reads).
    fn remove_leftovers(&self) {
        let Ok(lock) = self.lock_file() else { return };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return,
        }
        let mut folders = vec![self.path.clone()];
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
        for entry in folders.iter().flat_map(fs::read_dir).flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(depot.file = %entry.path().display(), %error, "a leftover could not be removed");
            }
        }
    }
}

/// The folders below the depot that a batch touches, each with a file in it.
fn subfolders(files: &[(String, Bytes)]) -> impl Iterator<Item = (&str, &str)> {
    let mut last = "";
    files.iter().filter_map(move |(name, _)| {
        let (folder, _) = name.split_once('/')?;
        (std::mem::replace(&mut last, folder) != folder).then_some((name.as_str(), folder))
    })
}

/// Names of a folder that do not start with a dot.
fn names_in(folder: &Path) -> Result<Vec<String>, DepotError> {
    let failed = |error| failed(&folder.display().to_string(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    Ok(names)
}

/// A line of the listing; `None` when the file went away meanwhile or is none.
fn stored(name: String, metadata: io::Result<fs::Metadata>) -> Result<Option<Stored>, DepotError> {
    match metadata {
        Ok(metadata) if metadata.is_file() => {
            let modified = metadata.modified().map_err(|error| failed(&name, error))?;
            Ok(Some(Stored {
                length: metadata.len(),
                modified: Timestamp::try_from(modified).unwrap_or(Timestamp::MAX),
                name,
            }))
        }
        Ok(_) => Ok(None),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(failed(&name, error)),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn failed(name: &str, source: io::Error) -> DepotError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DepotError::Full { name },
        _ => DepotError::Io { name, source },
    }
}

#[cfg(test)]
#[path = "fs_tests.rs"]
mod tests;
