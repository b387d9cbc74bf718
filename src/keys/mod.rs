//! Signing keys. Only the signer process and ceremonies open them; secrets are zeroised and never formatted.

mod ed25519;
pub mod file;
pub mod memory;

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod conformance;

use std::io::ErrorKind;

use async_trait::async_trait;
use tough::schema::{
    decoded::{Decoded, Hex},
    key::Key,
};

/// Something that signs: a file, a token, a key service.
#[async_trait]
pub trait SigningKey: Send + Sync {
    /// The public half, as root metadata lists it (TUF spec 4.2).
    fn public(&self) -> &Key;

    /// SHA-256 of the canonical form of {keytype, scheme, keyval}.
    fn key_id(&self) -> &Decoded<Hex>;

    /// Signs a message.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

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
        source: std::io::Error,
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
    #[error("key file `{path}` does not hold an Ed25519 key in PKCS#8: {detail}")]
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
    /// Signing failed.
    #[error("signing failed: {0}")]
    Sign(String),
}

impl KeyError {
    /// What to do about a file that does not hold what it should.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => Some(
                "only its owner may read it (mode 600): run as that user, or `chown` it to the user that runs the signer",
            ),
            Self::File { source, .. } if source.kind() == ErrorKind::NotFound => Some(
                "restore it from a backup: root lists this key; `keys.*.path` in the configuration says where it is \
                 looked for",
            ),
            Self::Parse { .. } => Some("restore it from a backup: root lists the key that stood there"),
            _ => None,
        }
    }
}
