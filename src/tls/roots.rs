//! Whom to trust as a client.

use std::{io, path::Path};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{TlsError, provider, read};

const AUTHORITIES: &str = "the authorities";

/// Certificate authorities, each one that rustls can use.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// The system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Errors: [`TlsError::NoAuthorities`].
    pub fn system() -> Result<Self, TlsError> {
        Self::system_and(&Self::default())
    }

    /// The system's and `more`; an error only if that makes none.
    pub fn system_and(more: &Self) -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        // Distributions ship a few that rustls cannot read; the others count.
        let usable = |authority: &CertificateDer<'static>| RootCertStore::empty().add(authority.clone()).is_ok();
        let mut roots: Vec<_> = found.certs.into_iter().filter(usable).collect();
        roots.extend_from_slice(&more.0);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})"));
            return Err(TlsError::NoAuthorities(why.unwrap_or_default()));
        }
        Ok(Self(roots))
    }

    /// Those in a PEM file; at least one, and nothing that is no authority's certificate.
    pub fn file(path: &Path) -> Result<Self, TlsError> {
        let pem = read(AUTHORITIES, path)?;
        Self::pem(&pem).map_err(|error| TlsError::Content {
            what: AUTHORITIES,
            path: path.to_owned(),
            detail: error.to_string(),
        })
    }

    /// Those in PEM text; at least one.
    pub fn pem(pem: &[u8]) -> io::Result<Self> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(io::Error::other)?;
        if found.is_empty() {
            return Err(io::Error::other("it holds no certificate in PEM"));
        }
        let mut store = RootCertStore::empty();
        for authority in &found {
            store.add(authority.clone()).map_err(io::Error::other)?;
        }
        Ok(Self(found))
    }

    /// The certificates, DER.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// A client that trusts them, verifies chain and name, and offers no protocol yet (ALPN): TLS 1.2 and 1.3.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let mut store = RootCertStore::empty();
        for authority in &self.0 {
            store.add(authority.clone())?;
        }
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth())
    }
}
