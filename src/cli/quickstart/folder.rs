//! Quickstart's folder: made whole or not at all, and taken up again by the next start.

use std::{
    fs::{self, DirBuilder},
    io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use url::Url;

use super::{artifacts, process::free_address};
use crate::{
    cli::{CliError, ceremony, init::InitOptions},
    config::{Config, QuickstartTemplate, template},
    digest::Digest,
};

/// Name of the configuration in the folder.
const CONFIG: &str = "tufgate.toml";
/// Name of the first root in the folder.
const ROOT: &str = "1.root.json";
/// The folder that quickstart's own web server serves.
const WWW: &str = "www";

/// What a folder is made with.
pub struct Wanted<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// Where the gate listens.
    pub listen: SocketAddr,
    /// The artifact server; `None`: a web server of quickstart's own.
    pub upstream: Option<&'a Url>,
}

/// A folder that is ready.
pub struct Folder {
    /// The folder.
    pub dir: PathBuf,
    /// It was made by this call.
    pub fresh: bool,
    /// Its configuration.
    pub config: Config,
    /// SHA-256 of `1.root.json`.
    pub fingerprint: Digest,
}

impl Folder {
    /// Makes the folder when it is missing, else reads it.
    pub async fn open(wanted: &Wanted<'_>) -> Result<Self, CliError> {
        let dir = wanted.dir;
        let fresh = !dir.join(CONFIG).exists();
        if fresh {
            make(wanted).await?;
        }
        let config = Config::load(dir.join(CONFIG))?;
        if let Some(upstream) = wanted.upstream.filter(|upstream| **upstream != config.upstream.url) {
            let message = format!(
                "`{}` was set up for the upstream {}, not {upstream}",
                dir.display(),
                config.upstream.url
            );
            return Err(CliError::usage(message).hint("give another `--dir`, or change `url` in its `tufgate.toml`"));
        }
        let root = dir.join(ROOT);
        let bytes = fs::read(&root).map_err(|error| CliError::io(&root, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
            fresh,
            fingerprint: Digest::of(bytes),
            config,
        })
    }

    /// The first root.
    pub fn root(&self) -> PathBuf {
        self.dir.join(ROOT)
    }

    /// The folder of quickstart's own web server, and where that listens; `None` when there is a real upstream.
    pub fn www(&self) -> Option<(PathBuf, SocketAddr)> {
        let www = self.dir.join(WWW);
        let url = &self.config.upstream.url;
        let ip: IpAddr = url.host_str()?.parse().ok()?;
        let port = url.port()?;
        www.is_dir().then(|| (www, SocketAddr::new(ip, port)))
    }
}

/// Makes it beside its place and renames it, so that a start that is interrupted leaves nothing half-made behind.
async fn make(wanted: &Wanted<'_>) -> Result<(), CliError> {
    let dir = wanted.dir;
    let io = |error: io::Error| CliError::io(dir, &error);
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io)?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("`{}` is not empty and holds no `{CONFIG}`", dir.display());
        return Err(CliError::usage(message).hint("give another `--dir`"));
    }
    // It holds keys.
    let mode = fs::Permissions::from_mode(0o700);
    let making = tempfile::Builder::new()
        .prefix(".tufgate-")
        .permissions(mode)
        .tempdir_in(parent);
    let making = making.map_err(io)?;
    let at = making.path();
    // Remembered in the configuration, so that the next start finds the same addresses.
    let (www, admin) = (free_address().map_err(io)?, free_address().map_err(io)?);
    let own = Url::parse(&format!("http://{www}/")).map_err(CliError::failed)?;
    if wanted.upstream.is_none() {
        DirBuilder::new().mode(0o755).create(at.join(WWW)).map_err(io)?;
        artifacts::unpack(&at.join(WWW)).map_err(io)?;
    }
    let text = template(&QuickstartTemplate {
        listen: wanted.listen,
        upstream_url: wanted.upstream.unwrap_or(&own),
        admin,
    });
    fs::write(at.join(CONFIG), text).map_err(io)?;
    let options = InitOptions {
        root_keys: 1,
        root_threshold: 1,
        root_dir: at.join("keys"),
        passphrase: None,
    };
    let made = ceremony::perform(&Config::load(at.join(CONFIG))?, &options).await?;
    fs::write(at.join(ROOT), &made.root).map_err(io)?;
    fs::rename(at, dir).map_err(io)?;
    // Under its new name it is nothing to clean up.
    let _ = making.keep();
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn open(dir: &Path, upstream: Option<&Url>) -> Result<Folder, CliError> {
        let listen = "127.0.0.1:8080".parse().unwrap();
        Folder::open(&Wanted { dir, listen, upstream }).await
    }

    #[tokio::test]
    async fn a_folder_is_made_once_and_taken_up_again() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("deep/.tufgate");
        let first = open(&dir, None).await.unwrap();
        assert!(first.fresh);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        let (www, origin) = first.www().unwrap();
        assert!(www.join("hello.txt").exists());
        let second = open(&dir, None).await.unwrap();
        assert!(!second.fresh);
        assert_eq!(
            (second.fingerprint, second.www().unwrap().1),
            (first.fingerprint, origin)
        );
        assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_folder_of_another_upstream_or_of_other_things_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let (one, two) = (
            Url::parse("http://127.0.0.1:1/a").unwrap(),
            Url::parse("http://127.0.0.1:2/").unwrap(),
        );
        let dir = parent.path().join("gate");
        let made = open(&dir, Some(&one)).await.unwrap();
        assert!(made.www().is_none());
        assert_eq!(open(&dir, Some(&two)).await.err().unwrap().code, 2);
        fs::write(parent.path().join("file"), "x").unwrap();
        assert_eq!(open(parent.path(), None).await.err().unwrap().code, 2);
    }
}
