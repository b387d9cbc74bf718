//! What a server shows: a certificate chain with its key, and the one that is shown now.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::ring::Ticketer,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{TlsError, provider, read};

const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the key";

/// A certificate chain with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The last second at which the server's own certificate is valid.
    pub expires: Timestamp,
    /// It is an authority's (CA:TRUE): some clients refuse a server that shows one.
    pub authority: bool,
}

impl Certificate {
    /// Reads a chain (PEM, the server's own certificate first) and its key (PEM: PKCS#8, PKCS#1 or SEC 1, without
    /// passphrase), and checks what a client would stumble over: whether they belong together and are valid at `now`.
    /// Who issued the certificate, and for which names, is for clients to judge.
    ///
    /// # Errors
    /// All of [`TlsError`] but [`TlsError::NoAuthorities`].
    pub fn load(chain: &Path, key: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let content = |what, path: &Path, detail: &dyn std::fmt::Display| TlsError::Content {
            what,
            path: path.to_owned(),
            detail: detail.to_string(),
        };
        let pem = read(CERTIFICATE, chain)?;
        let certificates: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| content(CERTIFICATE, chain, &error))?;
        let Some(own) = certificates.first() else {
            return Err(content(CERTIFICATE, chain, &"it holds no certificate in PEM"));
        };
        let (_, parsed) =
            X509Certificate::from_der(own).map_err(|error| content(CERTIFICATE, chain, &format_args!("{error}")))?;
        let second = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let (from, to) = (
            second(parsed.validity.not_before.timestamp()),
            second(parsed.validity.not_after.timestamp()),
        );
        let authority = parsed.is_ca();
        let private = private_key(key)?;
        let certified = CertifiedKey::from_der(certificates, private, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                key: key.to_owned(),
                certificate: chain.to_owned(),
            },
            rustls::Error::InvalidCertificate(error) => content(CERTIFICATE, chain, &format_args!("{error:?}")),
            error => content(KEY, key, &error),
        })?;
        let path = chain.to_owned();
        match () {
            () if now > to => Err(TlsError::Expired { path, at: to }),
            () if now < from => Err(TlsError::Early { path, at: from }),
            () => Ok(Self {
                key: Arc::new(certified),
                expires: to,
                authority,
            }),
        }
    }
}

/// A group may read a key, as Debian's `ssl-cert` does; everybody may not.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::Read {
        what: KEY,
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(TlsError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let text = zeroize::Zeroizing::new(read(KEY, path)?);
    let encrypted = || {
        let marks: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
        marks
            .iter()
            .any(|mark| text.windows(mark.len()).any(|part| part == *mark))
    };
    if encrypted() {
        return Err(TlsError::Encrypted(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| TlsError::Content {
        what: KEY,
        path: path.to_owned(),
        detail: match error {
            pem::Error::NoItemsFound => "it holds no private key in PEM".to_owned(),
            error => error.to_string(),
        },
    })
}

/// The certificate that is shown now; another may take its place at any time, for connections made from then on.
#[derive(Debug)]
pub struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    /// Shows `first`.
    pub fn new(first: &Certificate) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(Arc::clone(&first.key))))
    }

    /// Shows another.
    pub fn show(&self, next: &Certificate) {
        self.0.store(Arc::clone(&next.key));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A server that shows `shown` and speaks one of `protocols` (ALPN, the one it likes best first): TLS 1.2 and 1.3, no
/// client certificates, resumption by tickets whose keys live in memory for half a day.
pub fn server(shown: Arc<Shown>, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = Ticketer::new()?;
    Ok(config)
}
