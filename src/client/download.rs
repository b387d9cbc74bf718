//! A target's bytes: streamed beside the output, counted and hashed, renamed into place only when they are right.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::{
    TargetFile,
    error::{Attack, ClientError, refused},
    fetch::{FetchError, Stream},
};

/// A download that ended well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Downloaded {
    /// What was asked for.
    pub target: TargetFile,
    /// Where it lies.
    pub path: PathBuf,
    /// It lay there already, whole; nothing was fetched.
    pub present: bool,
}

/// Whether `path` holds the target already.
pub async fn is_present(path: &Path, target: &TargetFile) -> bool {
    let (path, length, mut check) = (path.to_owned(), target.length, target.hashes.check());
    let same = move || -> io::Result<bool> {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != length {
            return Ok(false);
        }
        let mut buffer = vec![0; 256 << 10];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(check.length() == length && check.finish().is_ok()),
                read => check.update(&buffer[..read]),
            }
        }
    };
    matches!(tokio::task::spawn_blocking(same).await, Ok(Ok(true)))
}

/// Writes a target's bytes to `path`. On any failure `path` is left as it was.
pub async fn save(
    mut stream: Stream,
    target: &TargetFile,
    path: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), ClientError> {
    let local = |source| ClientError::Local {
        path: path.to_owned(),
        source,
    };
    let temporary = beside(path).map_err(local)?;
    let mut file = tokio::fs::File::from_std(temporary.reopen().map_err(local)?);
    let mut hasher = target.hashes.check();
    while let Some(piece) = stream.next().await.map_err(|error| bounded(error, target))? {
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(local)?;
        progress(hasher.length());
    }
    file.flush().await.map_err(local)?;
    let length = hasher.length();
    if length != target.length {
        let why = format!("{length} bytes came, but {} are listed", target.length);
        return Err(refused(&target.path, Attack::ArbitrarySoftware, why));
    }
    hasher
        .finish()
        .map_err(|differs| refused(&target.path, Attack::ArbitrarySoftware, differs))?;
    file.sync_data().await.map_err(local)?;
    temporary.persist(path).map_err(|refused| local(refused.error))?;
    Ok(())
}

/// Too many bytes are not a broken connection but a check that failed.
pub fn bounded(error: FetchError, target: &TargetFile) -> ClientError {
    match error {
        FetchError::TooLong { limit, .. } => {
            let why = format!("more than its {limit} bytes came");
            refused(&target.path, Attack::EndlessData, why)
        }
        other => other.into(),
    }
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".tufgate-")
        // As `open` would make it: the user's umask takes away from this.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}
