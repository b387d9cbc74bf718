//! Where a download is to lie: a folder that is held open, and a name in it.
//!
//! Holding the folder means that nobody can put another one in its place between a check and a write. Below a folder the
//! user named no symbolic link is followed, so that a link in it leads no target out of it.

use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use super::error::ClientError;

/// Nobody else's while it is written: what is hashed must be what lies there in the end.
const FILE: Mode = Mode::from_raw_mode(0o600);
/// As `mkdir` would make it: the user's umask takes away from this.
const FOLDER: Mode = Mode::from_raw_mode(0o777);

/// A file that may not be there yet.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
    name: PathBuf,
    path: PathBuf,
}

impl Place {
    /// A file in a folder that exists. `path` may be a link to a file, which is then replaced as a link.
    pub fn of(path: &Path) -> Result<Self, ClientError> {
        let local = |source| ClientError::Local {
            path: path.to_owned(),
            source,
        };
        let Some(name) = path.file_name() else {
            return Err(local(io::Error::other("it names no file")));
        };
        if name.to_str().is_some_and(is_ours) {
            return Err(local(io::Error::other(OURS)));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = open_folder(CWD, folder, OFlags::empty()).map_err(local)?;
        let place = Self {
            folder,
            name: name.into(),
            path: path.to_owned(),
        };
        place.check(true).map_err(local)?;
        Ok(place)
    }

    /// A file below `root`, which is made when it is missing, as are the folders on the way. `relative` must have been
    /// read by [`relative`].
    pub fn below(root: &Path, relative: &Path) -> Result<Self, ClientError> {
        let path = root.join(relative);
        let local = |at: &Path, source| ClientError::Local {
            path: at.to_owned(),
            source,
        };
        std::fs::create_dir_all(root).map_err(|error| local(root, error))?;
        let mut folder = open_folder(CWD, root, OFlags::empty()).map_err(|error| local(root, error))?;
        let mut at = root.to_owned();
        for segment in relative.parent().into_iter().flatten() {
            at.push(segment);
            folder = enter(&folder, segment).map_err(|error| local(&at, error))?;
        }
        let name = relative.file_name().unwrap_or_default().into();
        let place = Self { folder, name, path };
        place.check(false).map_err(|error| local(&place.path, error))?;
        Ok(place)
    }

    /// As the user knows it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, if there is one; a link is none.
    pub(super) fn open(&self) -> io::Result<File> {
        // Opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    }

    /// A file of our own beside the place, made when it is missing; `None` when something else has that name, or another
    /// user could write to it while we do.
    pub(super) fn beside(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, name, flags, FILE) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::ISDIR | Errno::ACCESS | Errno::NXIO | Errno::PERM | Errno::TXTBSY) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        let user = rustix::process::geteuid().as_raw();
        let alone = found.is_file() && found.nlink() == 1 && found.uid() == user && found.mode() & 0o077 == 0;
        Ok(alone.then_some(file))
    }

    /// Length of a regular file beside the place.
    pub(super) fn length_beside(&self, name: &str) -> Option<u64> {
        let found = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        regular.then_some(found.st_size)?.try_into().ok()
    }

    /// A new file beside the place.
    pub(super) fn new_beside(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, name, flags, FILE)?.into())
    }

    /// Whether the file beside the place is `file` still.
    pub(super) fn is_beside(&self, name: &str, file: &File) -> io::Result<bool> {
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => {
                let held = file.metadata()?;
                Ok((found.st_dev, found.st_ino) == (held.dev(), held.ino()))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file beside the place.
    pub(super) fn remove_beside(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// Moves a file from beside the place into it, as open to others as a new file of the user's is; what is there, a
    /// link too, is replaced.
    pub(super) fn take(&self, name: &str, file: &File) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(0o666 & !umask()))?;
        Ok(rustix::fs::renameat(&self.folder, name, &self.folder, &self.name)?)
    }

    /// Only a file may be replaced: a rename over `/dev/null` would succeed. Where the user named the place, a link
    /// counts as what it leads to.
    fn check(&self, named: bool) -> io::Result<()> {
        let kind = |flags| match rustix::fs::statat(&self.folder, &self.name, flags) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        let found = match kind(AtFlags::SYMLINK_NOFOLLOW)? {
            Some(FileType::Symlink) if named => kind(AtFlags::empty())?,
            Some(FileType::Symlink) => None,
            other => other,
        };
        match found {
            None | Some(FileType::RegularFile) => Ok(()),
            Some(FileType::Directory) => Err(io::Error::other("it is a folder")),
            Some(_) => Err(io::Error::other("it is no regular file")),
        }
    }
}

/// What is wrong with a name that [`is_ours`].
const OURS: &str = "it is what a partial download is called";

/// Whether a name is one that partial downloads have: a target of that name would be taken for another's beginning.
fn is_ours(name: &str) -> bool {
    let end = |end| name.ends_with(end);
    name.starts_with(".tufgate-") && (end(".part") || end(".tmp"))
}

/// What this process takes away from the mode of new files. It cannot be asked for without being set, which other threads
/// would notice.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o022)
}

/// The place of a target below a folder: its path, unless that would lead out of the folder or names no file.
pub fn relative(target: &str) -> Result<PathBuf, &'static str> {
    for segment in target.split('/') {
        match segment {
            "" => return Err("it has an empty segment"),
            "." | ".." => return Err("it has a `.` or `..` segment"),
            _ if segment.contains('\0') => return Err("it holds a NUL character"),
            _ if is_ours(segment) => return Err(OURS),
            _ => {}
        }
    }
    Ok(PathBuf::from(target))
}

fn open_folder(at: impl std::os::fd::AsFd, path: &Path, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

fn enter(folder: &OwnedFd, segment: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(folder, segment, FOLDER) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_folder(folder, Path::new(segment), OFlags::NOFOLLOW).map_err(|error| match error.raw_os_error() {
        // A link opened as a folder without following it is ENOTDIR, or ELOOP.
        Some(libc::ENOTDIR | libc::ELOOP) => io::Error::other("it is no folder, or a link, which is not followed"),
        _ => error,
    })
}

#[cfg(test)]
mod tests;
