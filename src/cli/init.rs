//! `tufgate init`: the ceremony for the first root, without questions.
//!
//! It makes the online keys that the configuration names and M of N root keys, and writes `1.root.json` into the depot.
//! Keys that exist are used, so that a ceremony that was cut short can be done again; a depot that has a root is left
//! alone.

use std::{
    collections::BTreeMap,
    env, fmt,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::{ArgGroup, Args};
use jiff::{SignedDuration, Timestamp};
use tough::schema::{Root, Signed, Targets};
use zeroize::Zeroizing;

use crate::{
    config::{Config, KeySource, Layout},
    depot::{self, Depot, DepotError},
    digest::Digest,
    keys::{self, KeyError, SigningKey, file::FileKey},
    tuf::{
        build::{self, RoleKeys, TopLevel},
        canonical::CanonicalError,
        layout,
    },
};

/// Lifetime of a root.
const ROOT_EXPIRY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// What `tufgate init` takes beside the configuration.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("protection").required(true).args(["passphrase_env", "unencrypted"])))]
pub struct InitArgs {
    /// Number of root keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub root_keys: usize,
    /// Root keys that must sign
    #[arg(long, value_name = "M", default_value_t = 1)]
    pub root_threshold: usize,
    /// Folder for the root keys: take it offline afterwards
    #[arg(long, value_name = "DIR")]
    pub root_dir: PathBuf,
    /// Environment variable with the passphrase of the root keys; this or --unencrypted is needed
    #[arg(long, value_name = "VAR")]
    pub passphrase_env: Option<String>,
    /// Write the root keys unencrypted
    #[arg(long)]
    pub unencrypted: bool,
}

impl InitArgs {
    /// The options these arguments stand for.
    pub fn options(&self) -> Result<InitOptions, InitError> {
        let passphrase = self.passphrase_env.as_ref().map(|name| {
            let text = Zeroizing::new(env::var(name).unwrap_or_default());
            (!text.is_empty())
                .then_some(text)
                .ok_or_else(|| InitError::Passphrase(name.clone()))
        });
        Ok(InitOptions {
            root_keys: self.root_keys,
            root_threshold: self.root_threshold,
            root_dir: self.root_dir.clone(),
            passphrase: passphrase.transpose()?,
        })
    }
}

/// How the root is made.
pub struct InitOptions {
    /// Number of root keys.
    pub root_keys: usize,
    /// How many of them must sign.
    pub root_threshold: usize,
    /// Where they go, as `root-1.pem` and so on.
    pub root_dir: PathBuf,
    /// What encrypts them; `None` leaves them plain.
    pub passphrase: Option<Zeroizing<String>>,
}

/// What a ceremony made.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The bytes of `1.root.json`: what clients are given to trust.
    pub root: Bytes,
    /// Their SHA-256.
    pub fingerprint: Digest,
    /// When the root expires.
    pub expires: Timestamp,
    /// Key files that were created, and whether each is encrypted.
    pub created: Vec<(PathBuf, bool)>,
}

impl fmt::Display for Initialised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, encrypted) in &self.created {
            let form = if *encrypted { "encrypted" } else { "unencrypted" };
            writeln!(f, "created {form} key {}", path.display())?;
        }
        writeln!(f, "wrote 1.root.json, valid until {}", self.expires)?;
        write!(f, "root sha256 {}", self.fingerprint)
    }
}

/// A ceremony that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is a root, or metadata without one.
    #[error("the depot holds `{0}` already; `init` writes the first root only")]
    Already(String),
    /// The ledger knows of metadata that the depot lost.
    #[error("the ledger `{0}` has published, but the depot is empty; a new root would not fit it")]
    Published(String),
    /// The new root does not stand up to a client's checks.
    #[error("the new root does not verify: {0}")]
    Check(String),
    /// The depot failed.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// No canonical form.
    #[error(transparent)]
    Encode(#[from] CanonicalError),
    /// A folder for keys cannot be made.
    #[error("folder `{path}` for keys: {source}")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Flat metadata changes with every target.
    #[error("`tuf.layout = \"flat\"` needs `keys.targets`: every publication signs targets.json")]
    NoTargetsKey,
    /// The variable is unset or empty.
    #[error("environment variable `{0}` holds no passphrase")]
    Passphrase(String),
    /// Nobody could ever sign.
    #[error("a threshold of {threshold} cannot be met with {keys} root keys")]
    Threshold {
        /// Keys asked for.
        keys: usize,
        /// Signatures asked for.
        threshold: usize,
    },
}

/// Whether a root can be made as asked for; nothing is read or made.
pub fn check(config: &Config, options: &InitOptions) -> Result<(), InitError> {
    if !(1..=options.root_keys).contains(&options.root_threshold) {
        return Err(InitError::Threshold {
            keys: options.root_keys,
            threshold: options.root_threshold,
        });
    }
    match config.tuf.layout == Layout::Flat && config.keys.targets.is_none() {
        true => Err(InitError::NoTargetsKey),
        false => Ok(()),
    }
}

/// Makes keys and the first root. Where no targets key is online, the root keys sign targets.json, too, and its first
/// version is made here.
pub async fn init(
    config: &Config,
    depot: &dyn Depot,
    options: &InitOptions,
    now: Timestamp,
) -> Result<Initialised, InitError> {
    check(config, options)?;
    vacant(depot).await?;

    let mut created = Vec::new();
    let timestamp = online(&config.keys.timestamp, &mut created).await?;
    let snapshot = online(&config.keys.snapshot, &mut created).await?;
    let bins = match &config.keys.bins {
        Some(source) => online(source, &mut created).await?,
        None => Arc::clone(&snapshot),
    };
    let targets = match &config.keys.targets {
        Some(source) => Some(online(source, &mut created).await?),
        None => None,
    };
    let roots = root_files(options, &mut created)?;

    let threshold = options.root_threshold as u64;
    let held_by = |keys: &[Arc<dyn SigningKey>], threshold| RoleKeys {
        keys: keys
            .iter()
            .map(|key| (key.key_id().clone(), key.public().clone()))
            .collect(),
        threshold,
    };
    let numbered = (1..).map(|number| format!("root-{number}"));
    let mut names: BTreeMap<_, _> = roots.iter().zip(numbered).map(named).collect();
    names.extend(targets.iter().map(|key| named((key, "targets".to_owned()))));
    names.extend([(&snapshot, "snapshot"), (&timestamp, "timestamp")].map(|(key, name)| named((key, name.to_owned()))));
    let roles = TopLevel {
        root: held_by(&roots, threshold),
        timestamp: held_by(&[timestamp], 1),
        snapshot: held_by(std::slice::from_ref(&snapshot), 1),
        targets: match &targets {
            Some(key) => held_by(std::slice::from_ref(key), 1),
            None => held_by(&roots, threshold),
        },
        names,
    };
    let expires = end(now, ROOT_EXPIRY);
    let root = signed_by(&roots, &build::root(1, expires, &roles)?).await?;
    let parsed: Signed<Root> = parsed(&root)?;
    let verified = parsed.signed.verify_role(&parsed);
    verified.map_err(|error| InitError::Check(error.to_string()))?;
    let mut files = vec![(layout::file("root", 1), root.clone())];
    if targets.is_none() {
        let delegated = build::to_bins(bins.key_id(), bins.public());
        let lifetime = signed(config.tuf.targets_expiry);
        let body = build::targets(1, end(now, lifetime), Some(&delegated), [])?;
        let file = signed_by(&roots, &body).await?;
        let verified = parsed.signed.verify_role::<Targets>(&self::parsed(&file)?);
        verified.map_err(|error| InitError::Check(error.to_string()))?;
        files.push((layout::file("targets", 1), file));
    }
    depot.put_all(files).await?;
    Ok(Initialised {
        fingerprint: Digest::of(&root),
        root,
        expires,
        created,
    })
}

/// Whether the depot waits for its first root.
///
/// # Errors
/// [`InitError::Already`] where metadata stands, [`InitError::Depot`].
pub async fn vacant(depot: &dyn Depot) -> Result<(), InitError> {
    let stands = depot.list().await?.into_iter().map(|file| file.name);
    let metadata = |name: &String| name == depot::TIMESTAMP || layout::versioned(name).is_some();
    match stands.into_iter().find(metadata) {
        Some(name) => Err(InitError::Already(name)),
        None => Ok(()),
    }
}

/// An online key; one in a file is made where there is none, encrypted if the configuration says where its passphrase
/// is. Any other must be there, and sign.
async fn online(source: &KeySource, created: &mut Vec<(PathBuf, bool)>) -> Result<Arc<dyn SigningKey>, InitError> {
    let Some(file) = source.file() else {
        let key = keys::open(source).await?;
        keys::check(&*key).await?;
        return Ok(key);
    };
    if let Some(folder) = file.path.parent() {
        folder_for_keys(folder)?;
    }
    let (key, new) = FileKey::open_or_create(file)?;
    if new {
        created.push((file.path.clone(), file.passphrase.is_some()));
    }
    Ok(Arc::new(key))
}

fn root_files(
    options: &InitOptions,
    created: &mut Vec<(PathBuf, bool)>,
) -> Result<Vec<Arc<dyn SigningKey>>, InitError> {
    folder_for_keys(&options.root_dir)?;
    let passphrase = options.passphrase.as_ref().map(|text| text.as_str());
    let mut keys: Vec<Arc<dyn SigningKey>> = Vec::new();
    for number in 1..=options.root_keys {
        let path = options.root_dir.join(format!("root-{number}.pem"));
        keys.push(Arc::new(match FileKey::read(&path, passphrase) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = FileKey::create(&path, passphrase)?;
                created.push((path, passphrase.is_some()));
                key
            }
            opened => opened?,
        }));
    }
    Ok(keys)
}

/// A key by its id.
fn named((key, name): (&Arc<dyn SigningKey>, String)) -> (String, String) {
    (hex::encode(key.key_id()), name)
}

/// Makes a folder that only its owner may enter, if there is none.
fn folder_for_keys(path: &Path) -> Result<(), InitError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| InitError::Folder {
        path: path.display().to_string(),
        source,
    })
}

async fn signed_by(keys: &[Arc<dyn SigningKey>], body: &[u8]) -> Result<Bytes, KeyError> {
    let mut signatures = Vec::new();
    for key in keys {
        signatures.push((key.key_id(), key.sign(body).await?));
    }
    Ok(build::envelope(body, &signatures))
}

fn parsed<T: serde::de::DeserializeOwned>(file: &[u8]) -> Result<Signed<T>, InitError> {
    serde_json::from_slice(file).map_err(|error| InitError::Check(error.to_string()))
}

fn signed(lifetime: Duration) -> SignedDuration {
    SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX)
}

fn end(now: Timestamp, lifetime: SignedDuration) -> Timestamp {
    crate::clock::whole_seconds(now.checked_add(lifetime).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
