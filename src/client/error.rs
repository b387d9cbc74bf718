//! Why an update or a download failed, in words that name the attack it looks like (TUF spec 1.5.2).

use std::{fmt, io, path::PathBuf, time::Duration};

use super::fetch::FetchError;

/// The attacks that the checks of the client workflow are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attack {
    /// Content that its role's keys did not sign.
    ArbitrarySoftware,
    /// More bytes than expected.
    EndlessData,
    /// Old metadata kept in place until it expires.
    Freeze,
    /// Files that were never published together.
    MixAndMatch,
    /// An older version in place of a newer.
    Rollback,
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ArbitrarySoftware => "arbitrary software",
            Self::EndlessData => "endless data",
            Self::Freeze => "freeze",
            Self::MixAndMatch => "mix-and-match",
            Self::Rollback => "rollback",
        })
    }
}

/// A failed update or download. Nothing is written to the output or to the store by what failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A URL that cannot be used.
    #[error("`{url}` cannot be used: {why}")]
    Url {
        /// As given.
        url: String,
        /// Why.
        why: String,
    },
    /// No answer, or one that is not it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Content that must not be trusted.
    #[error("`{name}` is refused: {why}; this looks like {} attack", article(.attack))]
    Refused {
        /// The file or target.
        name: String,
        /// Which check failed.
        why: String,
        /// What such content is for.
        attack: Attack,
    },
    /// No mirror served what will do; what looks like an attack comes first.
    #[error("no mirror will do: {}", listed(.0))]
    EveryMirror(Vec<ClientError>),
    /// The trusted root cannot be found or read.
    #[error("there is no root to trust: {0}")]
    NoRoot(String),
    /// The metadata does not list the target.
    #[error("`{0}` is not in this repository")]
    NotFound(String),
    /// A local file cannot be read or written.
    #[error("`{}`: {source}", .path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store, or a file in it, may have been changed by somebody else.
    #[error("`{}` is not to be trusted: {why}", .path.display())]
    Unsafe {
        /// The folder or file.
        path: PathBuf,
        /// Who may change it.
        why: String,
    },
    /// Another process holds the store's lock.
    #[error("another process has been working in `{}` for too long", .0.display())]
    Busy(PathBuf),
    /// A server would have to be asked.
    #[error("the store does not hold `{0}` as it is needed, and no server is asked offline")]
    Offline(String),
    /// A server would have to be asked for the target.
    #[error("`{}` {}", path.display(), match there {
        true => "differs from what was verified",
        false => "is not there",
    })]
    Output {
        /// Where it should be.
        path: PathBuf,
        /// Something is there.
        there: bool,
    },
}

impl ClientError {
    /// What the user can do, for the line after the error.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unsafe { .. } => "take a folder of your own that others cannot write to (`chmod go-w`)",
            Self::Busy(_) => "wait for it, or look for one that hangs",
            Self::Output { .. } => "without `--offline` it is downloaded",
            Self::Offline(_) => "do it once online; metadata serves until it expires",
            _ => return None,
        })
    }
}

impl ClientError {
    /// The attack that the failure looks like.
    pub fn attack(&self) -> Option<Attack> {
        match self {
            Self::Refused { attack, .. } => Some(*attack),
            Self::EveryMirror(failures) => failures.iter().find_map(Self::attack),
            _ => None,
        }
    }

    /// Whether it is this machine that failed: no server can help.
    pub(super) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Local { .. } | Self::Unsafe { .. } | Self::Busy(_) | Self::Offline(_) | Self::Output { .. }
        )
    }

    /// Whether the same question may have an answer in a moment.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_transient())
    }

    /// When the server wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            _ => None,
        }
    }
}

fn listed(failures: &[ClientError]) -> String {
    let each: Vec<_> = failures.iter().map(ClientError::to_string).collect();
    each.join("; ")
}

fn article(attack: &Attack) -> String {
    match attack {
        Attack::ArbitrarySoftware | Attack::EndlessData => format!("an {attack}"),
        _ => format!("a {attack}"),
    }
}

/// Refuses a file.
pub(super) fn refused(name: impl Into<String>, attack: Attack, why: impl fmt::Display) -> ClientError {
    ClientError::Refused {
        name: name.into(),
        why: why.to_string(),
        attack,
    }
}
