//! The cache's folder: its lock, the names in it, and what a file must be to be the gate's own.
//!
//! A file is called by the digest of its bytes, in hex. It is written once under a temporary name, made read-only and
//! renamed into place. Whatever else lies in the folder is left alone, in case `cache.path` names the wrong one.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::error::CacheError;
use crate::digest::Digest;

/// Held exclusively for as long as the folder is used.
const LOCK: &str = ".lock";
/// What a file is called until it is whole and verified.
const TEMPORARY: &str = ".fill-";
/// The mode of a whole file.
const MODE: u32 = 0o400;

/// What a file was at some moment. Any write, and any change of its names, owner or mode, changes it (`st_ctime` cannot be
/// set).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// What stands under a digest's name.
pub(super) enum Looked {
    /// A file as the gate writes them; its bytes are yet to be verified.
    File(File, Identity),
    /// Nothing.
    Gone,
    /// Something the gate did not write.
    Foreign(&'static str),
}

/// What an earlier run left.
pub(super) struct Found {
    pub digest: Digest,
    /// `Err`: what is wrong with it.
    pub length: Result<u64, &'static str>,
    /// When it was last used, as far as the file system knows (seconds).
    pub used: i64,
}

/// The folder, locked.
pub(super) struct Folder {
    path: PathBuf,
    user: u32,
    next: AtomicU64,
    /// Let go when it is closed.
    _lock: File,
}

/// Whether a folder is one that [`Folder::open`] would take or make; nothing is made, and nothing locked.
pub(super) fn check(path: &Path) -> Result<(), CacheError> {
    let failed = |source| CacheError::Folder {
        folder: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => private(path, &metadata, rustix::process::geteuid().as_raw()),
        Ok(_) => Err(failed(io::ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether the folder is this user's alone.
fn private(path: &Path, metadata: &Metadata, user: u32) -> Result<(), CacheError> {
    let detail = match metadata.mode() & 0o7777 {
        _ if metadata.uid() != user => format!("it belongs to user {}", metadata.uid()),
        mode if mode & 0o077 != 0 => format!("it has mode {mode:o}"),
        _ => return Ok(()),
    };
    Err(CacheError::NotPrivate {
        folder: path.to_owned(),
        detail,
    })
}

impl Folder {
    /// Makes the folder where it is missing, checks that it is this user's alone, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Folder {
            folder: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let metadata = fs::metadata(path).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        private(path, &metadata, user)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                user,
                next: AtomicU64::new(0),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(CacheError::InUse {
                folder: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a crash left half-written and lists the rest, the longest unused first.
    pub(super) fn scan(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs::remove_file(entry.path());
                continue;
            }
            let Some(digest) = name.to_str().and_then(parse) else {
                continue;
            };
            // Not followed, where it is a link.
            let metadata = entry.metadata()?;
            found.push(Found {
                digest,
                length: self.foreign(&metadata).map_or(Ok(metadata.size()), Err),
                used: metadata.atime().max(metadata.mtime()),
            });
        }
        found.sort_by_key(|found| found.used);
        Ok(found)
    }

    /// A file to write to, under a name that was never used before.
    pub(super) fn temporary(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let count = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.path.join(format!("{TEMPORARY}{}-{count}", process::id()));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match file {
                // A process with this id crashed, in another container that has the same folder.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => return Ok((file?, path)),
            }
        }
    }

    /// Puts a whole file into its place, read-only, over whatever file stands there.
    pub(super) fn place(&self, file: &File, temporary: &Path, digest: &Digest) -> io::Result<Identity> {
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        fs::rename(temporary, self.name(digest))?;
        // After the rename, which changes it.
        Ok(Identity::of(&file.metadata()?))
    }

    /// Opens a file without trusting what it is.
    pub(super) fn look(&self, digest: &Digest) -> io::Result<Looked> {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.name(digest));
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Ok(Looked::Gone),
                    Some(libc::ELOOP | libc::EMLINK) => Ok(Looked::Foreign("a symbolic link")),
                    Some(libc::EACCES | libc::EPERM) => Ok(Looked::Foreign("not readable")),
                    Some(libc::ENXIO) => Ok(Looked::Foreign("not a file")),
                    _ => Err(error),
                };
            }
        };
        let metadata = file.metadata()?;
        Ok(match self.foreign(&metadata) {
            Some(why) => Looked::Foreign(why),
            None => Looked::File(file, Identity::of(&metadata)),
        })
    }

    /// Whether what stands under the name is what it was.
    pub(super) fn unchanged(&self, digest: &Digest, identity: &Identity) -> bool {
        fs::symlink_metadata(self.name(digest)).is_ok_and(|metadata| Identity::of(&metadata) == *identity)
    }

    /// Removes a name; a folder is left where it is.
    pub(super) fn remove(&self, digest: &Digest) {
        let _ = fs::remove_file(self.name(digest));
    }

    /// Bytes that the file system still has for this user.
    pub(super) fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn name(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }

    /// Why a file cannot be one that this gate wrote.
    fn foreign(&self, metadata: &Metadata) -> Option<&'static str> {
        if metadata.is_symlink() {
            Some("a symbolic link")
        } else if !metadata.is_file() {
            Some("not a file")
        } else if metadata.uid() != self.user {
            Some("another user's")
        } else if metadata.mode() & 0o7777 != MODE {
            Some("not read-only")
        } else if metadata.nlink() != 1 {
            Some("known under another name too")
        } else if metadata.size() == 0 {
            Some("empty")
        } else {
            None
        }
    }
}

/// A digest as [`Folder::name`] writes it; upper case is somebody else's.
fn parse(name: &str) -> Option<Digest> {
    let digest: Digest = name.parse().ok()?;
    (digest.to_string() == name).then_some(digest)
}
