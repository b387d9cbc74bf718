//! TLS as files and values: whom to trust, and what to show. It opens no connection and knows nothing of HTTP.
//!
//! One cryptography provider for all of the program, ring, and it is named wherever a configuration is made: another
//! one is in the tree too, and rustls then picks none by itself.

mod certificate;
mod roots;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};

pub use self::{
    certificate::{Certificate, Shown, server},
    roots::Roots,
};

/// What TLS cannot be done with. Each names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing, or may not be read.
    #[error("cannot read {what} `{}`: {source}", path.display())]
    Read {
        /// `the certificate`, `the key`, `the authorities`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what its name promises.
    #[error("{what} `{}`: {detail}", path.display())]
    Content {
        /// As above.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Everybody on this machine may read the key.
    #[error("the key `{}` has mode {mode:o}: everybody may read it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key needs a passphrase, which nothing could enter.
    #[error("the key `{}` is encrypted", .0.display())]
    Encrypted(PathBuf),
    /// The key is another certificate's.
    #[error("the key `{}` does not belong to the certificate `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate `{}` expired at {at}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last second at which it was valid.
        at: Timestamp,
    },
    /// The certificate's time has not begun.
    #[error("the certificate `{}` is valid only from {at} on", path.display())]
    Early {
        /// The file.
        path: PathBuf,
        /// The first second at which it is valid.
        at: Timestamp,
    },
    /// There is nobody to trust.
    #[error("there are no certificate authorities to trust{0}")]
    NoAuthorities(String),
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the user that runs the gate must be able to read it".to_owned()
            }
            Self::Read { .. } => "a relative path starts at the configuration's folder".to_owned(),
            Self::Content { .. } => "PEM is expected: `-----BEGIN …-----`, the server's certificate first and its \
                                     issuers after it"
                .to_owned(),
            Self::Mode { path, .. } => format!("chmod o-rwx '{}'", path.display()),
            Self::Encrypted(path) => format!("`openssl pkey -in '{}'` writes it without a passphrase", path.display()),
            Self::Mismatch { .. } => "`certificate` and `key` must be from the same renewal".to_owned(),
            Self::Expired { .. } => "renew it; a running gate takes the new files by itself".to_owned(),
            Self::Early { .. } => "check this machine's clock".to_owned(),
            Self::NoAuthorities(_) => "install `ca-certificates`, or name a PEM file with `SSL_CERT_FILE`".to_owned(),
            Self::Setup(_) => return None,
        })
    }
}

/// How a self-signed certificate is made that is no authority's: `openssl req -x509` marks one as such by itself.
pub const NO_AUTHORITY: &str = "make one with `openssl req -x509 … -addext basicConstraints=CA:FALSE`, or have an authority \
                                issue one";

/// What an error of a handshake says, without rustls' own word for the one that is met most often.
pub fn plain(detail: String) -> String {
    match detail.contains("CaUsedAsEndEntity") {
        true => "the server shows the certificate of an authority (CA:TRUE), which no server may".to_owned(),
        false => detail,
    }
}

/// The provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Largest PEM file that is read, in bytes: a system's whole collection has a quarter of a megabyte.
const MAX_PEM: u64 = 8 << 20;

/// A file's bytes, [`MAX_PEM`] at most.
fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    use io::Read as _;
    let failed = |source| TlsError::Read {
        what,
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_PEM + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > MAX_PEM {
        false => Ok(bytes),
        true => Err(TlsError::Content {
            what,
            path: path.to_owned(),
            detail: "it is larger than any PEM file".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
