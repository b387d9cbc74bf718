//! Trusted metadata in a local folder: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, delegated roles,
//! and the chain of roots in `root_history/`. Only what passed its checks is written, each file whole or not at all.
//!
//! What is read is verified anew, but for `root.json` where that is all the trust there is. Hence the folder must be the
//! user's own, and its files too.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::error::ClientError;

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Keeps every other process and client off the folder until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Opens the folder, making it when it is missing.
    ///
    /// # Errors
    /// It cannot be made, or somebody but the user and root may change what lies in it.
    pub fn open(folder: PathBuf) -> Result<Self, ClientError> {
        let local = |source| ClientError::Local {
            path: folder.clone(),
            source,
        };
        let metadata = match fs::metadata(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&folder).map_err(local)?;
                fs::metadata(&folder).map_err(local)?
            }
            other => other.map_err(local)?,
        };
        check_owner(&folder, &metadata)?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the lock; `None` while somebody else has it.
    pub fn try_lock(&self) -> Result<Option<Lock>, ClientError> {
        let path = self.folder.join("lock");
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let locked = open.map_err(TryLockError::Error).and_then(|file| {
            file.try_lock()?;
            Ok(Lock { _file: file })
        });
        match locked {
            Ok(lock) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(ClientError::Local { path, source }),
        }
    }

    /// A file's bytes, if it stands there and has at most `limit` of them.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ClientError> {
        let path = self.folder.join(name);
        let read = || {
            let file = File::open(&path)?;
            Ok::<_, io::Error>((file.metadata()?, bounded(file, limit)?))
        };
        match read() {
            Ok((metadata, bytes)) => {
                check_owner(&path, &metadata)?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClientError::Local { path, source }),
        }
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let path = self.folder.join(name);
        let parent = path.parent().unwrap_or(&self.folder);
        let write = || {
            make_folder(parent)?;
            let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(parent)?;
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

/// All bytes of a file; `None` where there are more than `limit`.
pub fn bounded(file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Refuses what others may have changed.
fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), ClientError> {
    let user = rustix::process::geteuid().as_raw();
    match distrusted(metadata.uid(), metadata.gid(), metadata.mode(), user) {
        None => Ok(()),
        Some(why) => Err(ClientError::Unsafe {
            path: path.to_owned(),
            why,
        }),
    }
}

/// Why `user` should not believe a file or folder. What root owns is believed by everybody, since root can change
/// everything anyhow; root itself believes nobody else, or a user's cache would become the system's trust under `sudo`.
/// A group may write if it has its owner's number: Debian, Fedora and others give each user a group of their own, and let
/// new folders be writable by it.
fn distrusted(owner: u32, group: u32, mode: u32, user: u32) -> Option<String> {
    if owner != user && owner != 0 {
        return Some(format!("it belongs to user {owner}, not to user {user}"));
    }
    let shared = if group == owner { 0o002 } else { 0o022 };
    if mode & shared != 0 {
        return Some(format!("others may write to it (mode {:o})", mode & 0o7777));
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn only_what_the_user_or_root_owns_alone_is_believed() {
        for (owner, group, mode, user, believed) in [
            (1000, 1000, 0o40700, 1000, true),
            (1000, 100, 0o40755, 1000, true),
            (1000, 1000, 0o40775, 1000, true),
            (1000, 100, 0o40775, 1000, false),
            (1000, 1000, 0o40757, 1000, false),
            (1000, 1000, 0o41777, 1000, false),
            (0, 0, 0o40755, 1000, true),
            (0, 1000, 0o40775, 1000, false),
            (0, 0, 0o40777, 1000, false),
            (0, 0, 0o40700, 0, true),
            (1000, 1000, 0o40700, 0, false),
            (1001, 1001, 0o40700, 1000, false),
        ] {
            let judged = distrusted(owner, group, mode, user);
            assert_eq!(
                judged.is_none(),
                believed,
                "{owner} {group} {mode:o} {user}: {judged:?}"
            );
        }
    }

    #[test]
    fn a_folder_or_file_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let store = Store::open(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        store.write("root.json", b"{}").unwrap();
        assert_eq!(store.read("root.json", 2).unwrap().unwrap(), b"{}");
        fs::set_permissions(path.join("root.json"), Permissions::from_mode(0o666)).unwrap();
        let refused = store.read("root.json", 2).unwrap_err().to_string();
        assert!(
            refused.contains("root.json") && refused.contains("mode 666"),
            "{refused}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Store::open(path), Err(ClientError::Unsafe { .. })));
    }

    #[test]
    fn a_file_beyond_the_limit_is_as_good_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned()).unwrap();
        store.write("x.json", b"123").unwrap();
        assert_eq!(store.read("x.json", 3).unwrap().unwrap(), b"123");
        assert_eq!(store.read("x.json", 2).unwrap(), None);
        assert_eq!(store.read("y.json", 2).unwrap(), None);
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path().to_owned()).unwrap();
        let lock = open().try_lock().unwrap().unwrap();
        assert!(open().try_lock().unwrap().is_none());
        drop(lock);
        open().try_lock().unwrap().unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_named_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned()).unwrap();
        fs::create_dir_all(folder.path().join("x.json/full")).unwrap();
        let error = store.write("x.json", b"new").unwrap_err().to_string();
        assert!(error.contains("x.json"), "{error}");
        assert!(folder.path().join("x.json/full").exists());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }
}
