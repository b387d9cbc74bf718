//! What the command line lacks, or why a download failed, and what to do about it.

use std::{io, path::PathBuf};

use crate::client::{Attack, ClientError, FetchError};

/// What the command line lacks, or why a download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// `--ca` holds no certificates that can be used.
    #[error("`{}`: {source}", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The list of targets cannot be read.
    #[error("`{}`: {source}", .path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The download failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is nowhere to keep trusted metadata.
    #[error("there is no folder for trusted metadata: neither `XDG_DATA_HOME` nor `HOME` is set")]
    NoDataFolder,
    /// The target's last segment is no file name.
    #[error("`{0}` does not end in a file name")]
    NoFileName(String),
    /// The target would leave the folder, or names no file in it.
    #[error("`{target}` has no place below a folder: {why}")]
    NoPlace {
        /// The target path.
        target: String,
        /// Why.
        why: &'static str,
    },
    /// The list is empty.
    #[error("the list names no target")]
    NoTarget,
    /// Two files in one stream.
    #[error("standard output takes one target")]
    OneToStandardOutput,
    /// The outcome, or the target itself, cannot be printed.
    #[error("standard output: {0}")]
    Print(io::Error),
    /// Two targets, one file.
    #[error("`{0}` and `{1}` cannot both be written: their places are one, or one would be a folder and a file")]
    SamePlace(String, String),
    /// Some of many failed; each has been told of.
    #[error("{failed} of {of} targets failed")]
    Several {
        /// How many.
        failed: usize,
        /// Of so many.
        of: usize,
    },
}

impl GetError {
    /// 2 when the command line makes no sense, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoFileName(_)
            | Self::NoPlace { .. }
            | Self::NoTarget
            | Self::OneToStandardOutput
            | Self::SamePlace(..)
            | Self::Client(ClientError::Url { .. }) => 2,
            _ => 1,
        }
    }

    /// What the user can do, for the line after the error.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDataFolder => Some("give a folder with `--store`"),
            Self::NoFileName(_) => Some("give an output file with `--output`"),
            Self::OneToStandardOutput => Some("give a folder with `--output`"),
            Self::SamePlace(..) => Some("download them into two folders"),
            Self::Client(error) => hint(error),
            _ => None,
        }
    }

    /// The attack that the failure looks like.
    pub fn attack(&self) -> Option<Attack> {
        match self {
            Self::Client(error) => error.attack(),
            _ => None,
        }
    }
}

fn hint(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        ClientError::NoRoot(_) => "give `--root FILE` or `--root-sha256 HEX` from a trusted source",
        ClientError::NotFound(path) if path.starts_with('/') => "a target path has no leading `/`",
        ClientError::NotFound(_) => {
            "a target shows once it was published or first fetched through the gate, and signed"
        }
        ClientError::Refused {
            attack: Attack::Freeze, ..
        } => "check this machine's clock; if it is right, the repository is stale or held back",
        ClientError::Refused { .. } => "nothing was written; try another network, then tell the repository's operators",
        // The first is the one that matters most.
        ClientError::EveryMirror(failures) => return hint(failures.first()?),
        ClientError::Fetch(error) => return fetch_hint(error),
        error => return error.hint(),
    })
}

fn fetch_hint(error: &FetchError) -> Option<&'static str> {
    Some(match error {
        FetchError::Status { url, .. } if error.is_absent() && url.ends_with("/timestamp.json") => {
            "there is no TUF repository at this URL: a gate has its metadata at URL/metadata/; for any other repository \
             give `--metadata-url` and `--targets-url`"
        }
        FetchError::Status { url, .. } if error.is_absent() && !url.ends_with(".json") => {
            "it is listed but not there under this name; another `--naming` or `--targets-url` may be right"
        }
        FetchError::Page { .. } => {
            "the URL is no TUF repository's, or this network wants a login first; give the URL where `timestamp.json` lies \
             with `--metadata-url`"
        }
        FetchError::Redirect { .. } => "give the URL where the files lie",
        FetchError::Tls { detail, .. } if detail.contains("expired") || detail.contains("not valid yet") => {
            "check this machine's clock; if it is right, the server's certificate is out of date"
        }
        FetchError::Tls { detail, .. } if detail.contains("UnknownIssuer") || detail.contains("no certificate") => {
            "give the authority that issued the server's certificate with `--ca FILE`"
        }
        FetchError::Broken { .. } => {
            "is the server up, and is this its URL? what was downloaded so far is kept for the next try"
        }
        FetchError::Timeout { .. } => {
            "try again, give another mirror, or a longer `--timeout`; what was downloaded so far is kept"
        }
        _ => return None,
    })
}
