//! What can be wrong with a key.

use std::io::{self, ErrorKind};

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is missing or unreadable.
    #[error("key file `{path}`: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Group or others may read it.
    #[error("key file `{path}` has mode {mode:o}; nobody but its owner may read it")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Encrypted, and no passphrase was given.
    #[error("key file `{path}` is encrypted and no passphrase was given")]
    NeedsPassphrase {
        /// The file.
        path: String,
    },
    /// Not a key of a known form.
    #[error("key file `{path}` does not hold a private key that clients know: {detail}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong; never the content.
        detail: String,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open key file `{path}`")]
    Passphrase {
        /// The file.
        path: String,
    },
    /// No passphrase or PIN where one should be.
    #[error("no passphrase from {place}: {detail}")]
    Secret {
        /// Where it should be.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// Signing failed.
    #[error("signing failed: {0}")]
    Sign(String),
    /// A key that is no file, and that trying again does not mend.
    #[error("key `{key}`: {detail}")]
    Unusable {
        /// Its name.
        key: String,
        /// What is wrong.
        detail: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A key that does not sign now, and may later.
    #[error("key `{key}` does not sign: {detail}")]
    Unavailable {
        /// Its name.
        key: String,
        /// What happened.
        detail: String,
    },
}

impl KeyError {
    /// Whether it may be gone by itself.
    pub fn transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "only its owner may read it (mode 600): run as that user, or `chown` it to the user that runs the signer"
            }
            Self::File { source, .. } if source.kind() == ErrorKind::NotFound => {
                "restore it from a backup: root lists this key; `keys.*.path` in the configuration says where it is \
                 looked for"
            }
            Self::File { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
                "name another file: no key is ever overwritten"
            }
            Self::Parse { .. } => {
                "`tufgate key show FILE` says what a file holds; where root lists the key that stood there, restore it \
                 from a backup"
            }
            Self::Mode { .. } => "take the rights of others away: `chmod 600`",
            Self::NeedsPassphrase { .. } | Self::Passphrase { .. } => {
                "name its passphrase with `passphrase_env`, `passphrase_file`, `passphrase_fd` or \
                 `passphrase_credential`"
            }
            Self::Unusable { hint, .. } => hint,
            Self::Unavailable { .. } => "`tufgate key check` tries it alone",
            Self::File { .. } | Self::Secret { .. } | Self::Sign(_) => return None,
        })
    }
}
