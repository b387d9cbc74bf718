//! Configuration: what a TOML file says (`raw.rs`), checked and typed (`check.rs`).
//!
//! Everything but `upstream.url` has a default. An unknown key, and a key that would be quietly ignored, is an error
//! with file, line and hint. `config/full.toml` shows every key. Nothing here opens a key or a database.

mod cache;
mod check;
mod error;
#[cfg(test)]
mod examples;
mod files;
mod keys;
mod listener;
mod raw;
mod rules;
mod template;
mod tuf;
mod upstream;
mod value;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{compat::Client, policy::Policy};

pub use error::ConfigError;
pub use files::credential;
pub use keys::{KeyCommand, KeyFile, KeyInKms, KeyPlace, KeySource, KeyToken, Keys, OldKeys, Passphrase, described};
pub use template::{QuickstartTemplate, template};

/// A validated configuration; relative paths are resolved against the file's folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub(crate) file: PathBuf,
    /// The public listener.
    pub(crate) gate: Gate,
    /// The artifact server.
    pub(crate) upstream: UpstreamConfig,
    /// Verified artifacts, kept.
    pub(crate) cache: Cache,
    /// SQLite file of the ledger.
    pub(crate) ledger: PathBuf,
    /// Folder of the depot.
    pub(crate) depot: PathBuf,
    /// The signer.
    pub(crate) signer: Signer,
    /// Layout and expiries of the metadata.
    pub(crate) tuf: Tuf,
    /// Online keys.
    pub(crate) keys: Keys,
    /// The admin listener.
    pub(crate) admin: Admin,
    /// Rules, first match wins.
    pub(crate) policy: Policy,
    /// Logs.
    pub(crate) log: Log,
}

impl Config {
    /// Reads and checks a file. Relative paths in it start at its folder.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file = file.as_ref();
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError {
            file: file.to_owned(),
            line: None,
            column: None,
            message: format!("cannot read the configuration: {source}"),
            hint: Some(
                "name it with `--config FILE`; `tufgate quickstart` writes one to start from: `--config \
                 .tufgate/tufgate.toml`"
                    .into(),
            ),
        })?;
        Self::parse(&text, file)
    }

    /// Checks the text of a configuration; `file` names it in errors and resolves its relative paths, and the signer reads
    /// `[keys]` there again when keys are rotated.
    ///
    /// Reads the environment variable or file of `[upstream.identity]`, if there is one, and nothing else.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        check::config(&error::Source::new(text, file.as_ref()))
    }

    /// This configuration with `[keys]` as the file has it now, where that is something else: keys are rotated while the
    /// gate runs.
    pub(crate) fn keys_now(&self) -> Result<Option<Self>, ConfigError> {
        if !self.file.exists() {
            return Ok(None);
        }
        let keys = Self::load(&self.file)?.keys;
        Ok((keys != self.keys).then(|| Self { keys, ..self.clone() }))
    }

    /// The file it came from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// `[gate] listen`, where clients connect; a program that has the gate inside may listen elsewhere.
    pub fn listen(&self) -> SocketAddr {
        self.gate.listen
    }

    /// `[gate] grace`, the longest wait for requests in flight at the end.
    pub fn grace(&self) -> Duration {
        self.gate.grace
    }
}

/// `[gate]`
#[derive(Clone, Debug)]
pub struct Gate {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Worker threads; default: the machine's cores.
    pub threads: usize,
    /// Longest wait for requests in flight at the end (10 s).
    pub grace: Duration,
    /// URL folder of the metadata, with both slashes (`/metadata/`).
    pub metadata_prefix: String,
    /// `[metadata] access`: who may read the metadata where the upstream asks its readers who they are.
    pub metadata_access: Option<Access>,
    /// `max-age` of timestamp.json in seconds (1).
    pub timestamp_max_age: u32,
    /// Recorded artifacts up to this size are verified before their first byte leaves (256 KiB).
    pub verify_first: u64,
    /// Most bytes of a request body (0: no limit).
    pub max_body: u64,
    /// A client must move at least this many bytes a second, averaged (1,024; 0: off).
    pub min_rate: u32,
    /// Longest silence of a client while it sends (60 s).
    pub client_timeout: Duration,
    /// Names that the fetches of a source address may add a minute (0: no limit); uploads are not counted.
    pub learn_rate: u32,
    /// Most requests held at once by `Prefer: wait` and `unsigned = "wait"` (1,000).
    pub max_waiters: usize,
    /// Clients without TLS may speak HTTP/2 unasked (RFC 9113 section 3.3).
    pub http2_prior_knowledge: bool,
    /// `[gate.tls]`: the listener takes TLS only.
    pub tls: Option<TlsFiles>,
}

/// `[gate.tls]`
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the listener's certificate, then those of its issuers.
    pub certificate: PathBuf,
    /// PEM: its private key, without passphrase.
    pub key: PathBuf,
}

/// Who may read the metadata of an upstream whose anonymous reads are challenged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everybody: the operator has said that path names are no secret.
    Public,
    /// Whoever may read this path of the upstream's, which starts with `/`.
    Probe(String),
}

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// `http[s]://host[:port]`, optionally with a base path.
    pub url: url::Url,
    /// Send the client's Host instead of the upstream's own.
    pub preserve_host: bool,
    /// Further `host[:port]`s a redirect may lead to.
    pub redirect_hosts: Vec<String>,
    /// To connect (5 s).
    pub connect_timeout: Duration,
    /// Between bytes read or written (60 s).
    pub io_timeout: Duration,
    /// Most of the gate's own reads at once (32).
    pub max_reads: usize,
    /// Headers that carry a client's credentials (`authorization`, `cookie`, `x-jfrog-art-api`, …).
    pub credential_headers: Vec<http::HeaderName>,
    /// `Authorization` value for neutral reads, from `[upstream.identity]`.
    pub identity: Option<Secret>,
    /// PEM: authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
}

/// A secret: never shown.
#[derive(Clone)]
pub struct Secret(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct Cache {
    /// Most bytes of small artifacts in memory (256 MiB); files of large ones are mapped, up to as much again. 0: none.
    pub memory: u64,
    /// Largest artifact that is kept in memory rather than on disk (256 KiB).
    pub memory_max_object: u64,
    /// Folder of the larger ones: the gate's own, on a local file system.
    pub path: PathBuf,
    /// Most bytes on disk, fills in progress included (10 GiB). 0: none, and no folder.
    pub disk: u64,
    /// Largest artifact kept at all (1 GiB).
    pub max_object: u64,
    /// For how long an anonymous answer under an `immutable` rule is fresh (60 s).
    pub fresh_for: Duration,
}

/// `[signer]`
#[derive(Clone, Debug)]
pub struct Signer {
    /// Unix socket over which proxies wake the signer and hear of publications.
    pub socket: PathBuf,
    /// Shortest time between publications (0).
    pub min_interval: Duration,
    /// Most observations in one publication (10,000).
    pub batch: usize,
    /// How long superseded metadata stays (24 h).
    pub retain: Duration,
    /// Where clients read metadata, asked at each start whether they have seen more than ledger and depot know.
    pub public: Option<String>,
}

/// Which layout the metadata has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Hash bins, two views.
    Bins,
    /// All in targets.json, at most 1,000.
    Flat,
}

/// `[tuf]`
#[derive(Clone, Debug)]
pub struct Tuf {
    /// Bins or flat.
    pub layout: Layout,
    /// Number of bins to begin with; more than there are makes them grow.
    pub bins: u32,
    /// Most bins that they grow to (4,096).
    pub max_bins: u32,
    /// Targets a bin, on average, from which on bins grow (1,000).
    pub grow_at: u64,
    /// 1 year.
    pub targets_expiry: Duration,
    /// 1 year.
    pub delegator_expiry: Duration,
    /// 90 days.
    pub bin_expiry: Duration,
    /// 7 days.
    pub snapshot_expiry: Duration,
    /// 1 day.
    pub timestamp_expiry: Duration,
    /// Most targets in a bin (2,000).
    pub max_bin_targets: u64,
    /// Most bytes of a bin's file (1,000,000).
    pub max_bin_bytes: u64,
    /// Most submissions that a role which others sign, with those below it, has accepted in an hour (120).
    pub submissions_per_hour: u64,
    /// Clients that must be able to read whatever is published: what would break one of them is not.
    pub clients: Vec<Client>,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Loopback address of the admin listener; `None`: off.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `tracing` filter directives (`info`).
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
    /// One line a request on standard error.
    pub access: bool,
}
