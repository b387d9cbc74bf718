//! Why the gate does not start, and the exit code that goes with it.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    cache::CacheError,
    catalog::CatalogError,
    config::{Config, ConfigError},
    depot::{self, DepotError},
    keys::KeyError,
    ledger::LedgerError,
    server::child::ChildError,
    signer::SignerError,
    tls::TlsError,
    upstream::{UpstreamError, anybody::Challenged},
    wake::WakeError,
};

/// A start that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's address is taken or not this machine's.
    #[error("the {what} listener cannot bind {addr}: {source}")]
    Listen {
        /// `gate` or `admin`.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The admin listener asks for no credentials.
    #[error("the admin listener takes loopback addresses only, not {addr}")]
    AdminNotLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// There is no ledger yet.
    #[error("there is no ledger at `{}`", .0.display())]
    NotInitialised(PathBuf),
    /// There is no ledger, but there was one.
    #[error("the ledger `{}` is missing, but the depot `{}` {}", ledger.display(), depot.display(), match published {
        true => "has published metadata",
        false => "holds a root",
    })]
    LedgerLost {
        /// Where it should be.
        ledger: PathBuf,
        /// The folder that knows better.
        depot: PathBuf,
        /// Whether a timestamp was published.
        published: bool,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The depot cannot be used.
    #[error(transparent)]
    Depot(#[from] DepotError),
    /// What the depot holds cannot be served.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Signed metadata is missing or damaged.
    #[error("the depot `{}` is damaged: {detail}", place.display())]
    Damaged {
        /// The folder.
        place: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Files that the configuration names.
    #[error("{}", without_hint(.0))]
    Config(#[from] ConfigError),
    /// Metadata would name paths that the upstream shows to nobody without credentials.
    #[error(
        "the upstream asks anonymous readers for credentials ({} for `{}`), but metadata would name its paths to everybody",
        .0.status.as_u16(),
        .0.path
    )]
    Challenged(Challenged),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate, a key or authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cache's folder cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The upstream's address cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The signer's socket cannot be used.
    #[error(transparent)]
    Wake(#[from] WakeError),
    /// The signer refused to start.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The signer refused to start, for a reason of its own.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Two metrics of one name: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    /// Why there is no ledger: none was made yet, or it is lost.
    pub fn no_ledger(config: &Config) -> Self {
        let published = config.depot.join(depot::TIMESTAMP).exists();
        match published || config.depot.join("1.root.json").exists() {
            true => Self::LedgerLost {
                ledger: config.ledger.clone(),
                depot: config.depot.clone(),
                published,
            },
            false => Self::NotInitialised(config.ledger.clone()),
        }
    }

    /// 64 bad configuration, 65 damaged or newer data, 1 anything else (DESIGN 9).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Key(error) | Self::Signer(SignerError::Key(error)) if error.transient() => 1,
            Self::Listen { .. }
            | Self::AdminNotLoopback { .. }
            | Self::NotInitialised(_)
            | Self::LedgerLost { published: false, .. }
            | Self::Config(_)
            | Self::Challenged(_)
            | Self::Key(_)
            | Self::Cache(_)
            | Self::Tls(_)
            | Self::Upstream(_)
            | Self::Depot(DepotError::Unusable { .. })
            | Self::Wake(_) => 64,
            Self::Ledger(LedgerError::Damaged { .. } | LedgerError::Newer { .. })
            | Self::LedgerLost { published: true, .. }
            | Self::Damaged { .. }
            | Self::Catalog(_) => 65,
            Self::Signer(SignerError::Key(_)) => 64,
            Self::Signer(error) => error.exit_code(),
            Self::Child(error) => error.refusal().unwrap_or(1),
            _ => 1,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { what, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                let quickstart = if *what == "gate" { ", or `--listen` of `tufgate quickstart`" } else { "" };
                Some(format!(
                    "another process listens there; stop it or change `listen` under `[{what}]`{quickstart}"
                ))
            }
            Self::Listen { what, .. } => Some(format!("change `listen` under `[{what}]`")),
            Self::AdminNotLoopback { .. } => Some("use 127.0.0.1 or [::1], and a tunnel from elsewhere".to_owned()),
            Self::NotInitialised(_) => Some("run `tufgate init --config FILE` first".to_owned()),
            Self::LedgerLost { published: true, .. }
            | Self::Signer(SignerError::Restored { .. } | SignerError::Behind { .. }) => Some(RESTORE_HINT.to_owned()),
            Self::LedgerLost { .. } => Some(
                "restore it from a backup; where nothing was recorded yet, remove the depot, run `tufgate init`, and give \
                 clients the new root"
                    .to_owned(),
            ),
            Self::Key(KeyError::Mode { path, .. }) => Some(format!("run `chmod 600 {path}`")),
            Self::Key(error) | Self::Signer(SignerError::Key(error)) => error.hint().map(str::to_owned),
            Self::Wake(WakeError::Bind { .. }) => {
                Some("a socket's whole path may hold about 100 bytes; change `socket` under `[signer]`".to_owned())
            }
            Self::Config(error) => error.hint.clone(),
            Self::Tls(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Challenged(_) => Some(ACCESS_HINT.to_owned()),
            Self::Signer(SignerError::KeyNotListed { by, role, .. }) => {
                let ceremony = if *by == "targets.json" { "targets" } else { "root" };
                Some(format!(
                    "name the key that is listed under `[keys]`, or list this one: `tufgate {ceremony} draft --add-key \
                     {role}:NAME=FILE`"
                ))
            }
            Self::Signer(SignerError::Countersigned { role }) => Some(format!(
                "list the new key for it beside the old one first, `tufgate targets draft --add-key {role}:NAME=FILE`, or end it \
                 at once, `--remove-role {role}`"
            )),
            Self::Signer(SignerError::Layout { .. }) => Some(
                "the layout is fixed at `init`; put `layout` under `[tuf]` back"
                    .to_owned(),
            ),
            Self::Child(_) => Some("the signer's own message stands above".to_owned()),
            _ if self.exit_code() == 65 => Some(AUDIT_HINT.to_owned()),
            _ => None,
        }
    }
}

fn without_hint(error: &ConfigError) -> ConfigError {
    ConfigError {
        hint: None,
        ..error.clone()
    }
}

/// Why [`crate::embed`] did not start the gate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EmbedError(#[from] StartError);

impl EmbedError {
    /// The exit code that `tufgate serve` has for it: 64 bad configuration, 65 damaged or newer data, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        self.0.exit_code()
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

/// What to do about ledger and depot that do not belong together.
pub const RESTORE_HINT: &str = "put back what is of the same moment, if clients have seen nothing newer; else stop the gate, and \
                                `tufgate recover --config FILE --from-public URL`, or `--at-least N`, goes on above what \
                                they have seen";

/// What to do where nobody said who may read the metadata.
pub const ACCESS_HINT: &str = "under `[metadata]` set `access = \"probe\"` and `probe = \"/a/path\"` to let those read it \
                               who may read that path, or `access = \"public\"` if path names are no secret";

/// What to do about damaged data.
pub const AUDIT_HINT: &str = "`tufgate audit --config FILE` names every row and every file that is wrong; restore that \
                              store from a backup, or use a newer tufgate";
