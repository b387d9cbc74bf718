//! What the command line lacks, or why a download failed, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::{
    client::{Attack, ClientError, FetchError},
    terminal::printable,
    tls,
};

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
    /// A download broke off, and what came of it is kept.
    #[error("{0}")]
    Interrupted(ClientError),
    /// Half of where a repository lies.
    #[error("`{0}` is missing: metadata and targets lie at two URLs, unless `--url` names a gate")]
    Lacking(&'static str),
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
    /// There is no folder where one is needed.
    #[error("`{}` {why}", .path.display())]
    NoFolder {
        /// What was to be one.
        path: PathBuf,
        /// What it is.
        why: &'static str,
        /// The option that named it.
        option: &'static str,
    },
    /// The list is empty.
    #[error("the list names no target")]
    NoTarget,
    /// Two files in one stream.
    #[error("standard output takes one target")]
    OneToStandardOutput,
    /// Nothing that the given root's keys signed was ever seen here, and this was not either.
    #[error("{error}")]
    OtherRoot {
        /// The root file.
        root: PathBuf,
        /// What was refused.
        error: ClientError,
    },
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
    /// `path` is no folder; `option` asked for one.
    pub(super) fn no_folder(option: &'static str, path: &Path) -> Self {
        let why = match path.exists() {
            true => "is a file, not a folder",
            false => "does not exist",
        };
        let path = path.to_owned();
        Self::NoFolder { path, why, option }
    }

    /// A refresh failed. `unproven`: the root file it began with, where no signature was ever right by it.
    pub(in crate::cli) fn of_refresh(error: ClientError, unproven: Option<PathBuf>) -> Self {
        match unproven {
            Some(root) if is_signed_by_others(&error) => Self::OtherRoot { root, error },
            _ => error.into(),
        }
    }

    /// 2 when the command line makes no sense, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Lacking(_)
            | Self::NoFileName(_)
            | Self::NoFolder { .. }
            | Self::NoTarget
            | Self::OneToStandardOutput
            | Self::SamePlace(..)
            | Self::Client(ClientError::Url { .. }) => 2,
            _ => 1,
        }
    }

    /// What the user can do, for the line after the error.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Interrupted(error) => match hint(error) {
                Some(hint) => format!("{hint}; what was downloaded so far is kept for the next try"),
                None => "what was downloaded so far is kept for the next try".to_owned(),
            },
            Self::Lacking(option) => format!("give `{option} URL`, or only the gate's `--url URL`"),
            Self::NoDataFolder => "give a folder with `--store`".to_owned(),
            Self::NoFileName(_) => "give an output file with `--output`".to_owned(),
            Self::NoFolder { option, .. } => format!("give a folder that is there with `{option}`, or make it"),
            Self::OneToStandardOutput => "give a folder with `--output`".to_owned(),
            Self::OtherRoot { root, .. } => format!(
                "`{}` may be another repository's root: get this one's from a source you trust; if it is the right one, \
                 try another network, then tell the repository's operators",
                printable(&root.display().to_string())
            ),
            Self::SamePlace(..) => "download them into two folders".to_owned(),
            Self::Client(error) => return hint(error),
            _ => return None,
        })
    }

    /// The attack that the failure looks like.
    pub fn attack(&self) -> Option<Attack> {
        match self {
            Self::Client(error) | Self::Interrupted(error) | Self::OtherRoot { error, .. } => error.attack(),
            _ => None,
        }
    }
}

/// Whether it is the chain of roots or the timestamp, signed by other keys than the trusted root's.
fn is_signed_by_others(error: &ClientError) -> bool {
    match error {
        ClientError::Refused {
            name,
            attack: Attack::ArbitrarySoftware,
            ..
        } => name == "timestamp.json" || name.ends_with("root.json"),
        ClientError::EveryMirror(failures) => failures.first().is_some_and(is_signed_by_others),
        _ => false,
    }
}

fn hint(error: &ClientError) -> Option<String> {
    let hint = match error {
        ClientError::NoRoot(_) => "give `--root FILE` or `--root-sha256 HEX` from a trusted source",
        ClientError::NotFound(path) if path.starts_with('/') => "a target path has no leading `/`",
        ClientError::NotFound(path) => match decoded(path) {
            Some(decoded) => return Some(format!("if this is percent-encoded, give it decoded: `{decoded}`")),
            None => "a target shows once it was published or first fetched through the gate, and signed",
        },
        ClientError::Refused {
            attack: Attack::Freeze, ..
        } => "check this machine's clock; if it is right, the repository is stale or held back",
        ClientError::Refused { .. } => "nothing was written; try another network, then tell the repository's operators",
        // The first is the one that matters most.
        ClientError::EveryMirror(failures) => return hint(failures.first()?),
        ClientError::Fetch(error) => fetch_hint(error)?,
        ClientError::Local { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "take a place that is yours: `--output` for what is downloaded, `--store` for trusted metadata"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "there is no space left: make some",
            _ => return None,
        },
        error => error.hint()?,
    };
    Some(hint.to_owned())
}

/// A target path without its escapes, where it has any.
fn decoded(path: &str) -> Option<String> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    (decoded != path).then(|| printable(&decoded))
}

fn fetch_hint(error: &FetchError) -> Option<&'static str> {
    Some(match error {
        FetchError::Status {
            problem: Some(problem), ..
        } if problem.is_drift() => {
            "the server's bytes are not the recorded ones; its operators see it with `tufgate drift list`"
        }
        FetchError::Status {
            status: StatusCode::UNAUTHORIZED,
            ..
        } => "who reads there must say who they are, and `tufgate get` cannot send credentials",
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
        FetchError::Tls { detail, .. } if detail.contains("CA:TRUE") => tls::NO_AUTHORITY,
        FetchError::Tls { detail, .. } if detail.contains("UnknownIssuer") || detail.contains("no certificate") => {
            "give the authority that issued the server's certificate with `--ca FILE`"
        }
        FetchError::Tls { detail, .. } if detail.contains("InvalidContentType") => {
            "the server speaks no TLS there: use http://"
        }
        FetchError::Broken { .. } => "is the server up, and is this its URL?",
        FetchError::Timeout { .. } => "try again, give another mirror, or a longer `--timeout`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_a_system_refuses_has_a_hint() {
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, "a place that is yours"),
            (io::ErrorKind::ReadOnlyFilesystem, "a place that is yours"),
            (io::ErrorKind::StorageFull, "no space left"),
        ] {
            let (path, source) = (PathBuf::from("/x"), kind.into());
            let hint = GetError::from(ClientError::Local { path, source }).hint().unwrap();
            assert!(hint.contains(words), "{hint}");
        }
    }

    #[test]
    fn only_signatures_cast_doubt_on_the_root() {
        let refused = |name: &str, attack| ClientError::Refused {
            name: name.to_owned(),
            why: String::new(),
            attack,
        };
        let hint = |error| GetError::of_refresh(error, Some("r.json".into())).hint().unwrap();
        for name in ["timestamp.json", "2.root.json"] {
            let wrong = hint(refused(name, Attack::ArbitrarySoftware));
            assert!(
                wrong.starts_with("`r.json` may be another repository's root"),
                "{wrong}"
            );
            let mirrors = vec![
                refused(name, Attack::ArbitrarySoftware),
                ClientError::NotFound(String::new()),
            ];
            assert_eq!(hint(ClientError::EveryMirror(mirrors)), wrong);
        }
        for (name, attack) in [
            ("timestamp.json", Attack::Freeze),
            ("targets.json", Attack::ArbitrarySoftware),
        ] {
            assert!(!hint(refused(name, attack)).contains("r.json"), "{name}");
        }
    }

    #[test]
    fn an_escaped_name_is_shown_without_escapes() {
        let hint = |path: &str| hint(&ClientError::NotFound(path.to_owned())).unwrap();
        assert!(hint("na%20me").ends_with("give it decoded: `na me`"));
        assert!(hint("100%").starts_with("a target shows once"));
        assert!(!hint("a%1b[2J").contains('\u{1b}'));
    }
}
