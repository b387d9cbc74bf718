//! Drafts and metadata as files of the operator's.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use super::failed;
use crate::{
    ceremony::{Draft, Kind, MAX_DRAFT},
    cli::CliError,
};

/// A file's bytes, if they are not more than any draft of root or targets has.
pub fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    read_up_to(path, MAX_DRAFT)
}

/// A file's bytes, if they are not more than `most`.
pub fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| CliError::io(path, &error))?;
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| CliError::io(path, &error))?;
    match bytes.len() as u64 <= most {
        true => Ok(bytes),
        false => Err(CliError::damaged(format_args!(
            "`{}` has more than {most} bytes",
            path.display()
        ))),
    }
}

/// A draft of the kind that the command is for.
pub fn draft(path: &Path, kind: Kind) -> Result<Draft, CliError> {
    let draft = Draft::parse(&read(path)?).map_err(|error| {
        let failed = failed(error);
        CliError {
            message: format!("`{}`: {}", path.display(), failed.message),
            ..failed
        }
    })?;
    let found = draft.kind();
    match found == kind {
        true => Ok(draft),
        false => {
            let message = format!("`{}` is a draft of {}", path.display(), found.role());
            Err(CliError::usage(message).hint(format_args!("`tufgate {} …` is for it", found.role())))
        }
    }
}

/// Copies of one draft, with the signatures of all.
pub fn drafts<'a>(paths: impl IntoIterator<Item = &'a Path>, kind: Kind) -> Result<Draft, CliError> {
    let mut united: Option<Draft> = None;
    for path in paths {
        let draft = draft(path, kind)?;
        united = Some(match united.take() {
            None => draft,
            Some(mut first) => {
                first.unite(draft).map_err(failed)?;
                first
            }
        });
    }
    united.ok_or_else(|| CliError::usage("no draft is given"))
}

/// Writes a draft, whole or not at all: `new` leaves a file that stands there alone.
pub fn write(path: &Path, draft: &Draft, new: bool) -> Result<(), CliError> {
    put(path, &draft.to_bytes(), new)
}

/// Writes what everybody may read, whole or not at all: `new` leaves a file that stands there alone.
pub fn put(path: &Path, bytes: &[u8], new: bool) -> Result<(), CliError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".draft-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match new {
            true => file.persist_noclobber(path).map_err(|refused| refused.error)?,
            false => file.persist(path).map_err(|refused| refused.error)?,
        };
        Ok(())
    };
    write().map_err(|error| {
        let failed = CliError::io(path, &error);
        match error.kind() {
            io::ErrorKind::AlreadyExists => failed.hint("name another file with `--out`, or remove that one"),
            _ => failed,
        }
    })
}
