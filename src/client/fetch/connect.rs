//! Connections, with and without TLS.

use std::{error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// `http` only.
pub(super) type Plain = Client<HttpConnector, Empty<Bytes>>;
/// `https` only.
pub(super) type Tls = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

pub(super) fn plain(patience: Duration) -> Plain {
    Client::builder(TokioExecutor::new()).build(connector(patience))
}

/// A client that trusts the system's authorities and `more`, or why there is none.
pub(super) fn tls(patience: Duration, more: &[CertificateDer<'static>]) -> Result<Tls, String> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Distributions ship a few that rustls cannot read; the others count.
    roots.add_parsable_certificates(system.certs);
    for authority in more {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        let why = system
            .errors
            .first()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        return Err(format!("there are no certificate authorities to trust{why}"));
    }
    // The provider is named since another one is in the tree too, and rustls then picks none by itself.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = connector(patience);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The certificates in a PEM file; at least one.
pub(super) fn authorities(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(io::Error::other)?;
    if found.is_empty() {
        return Err(io::Error::other("it holds no certificate in PEM"));
    }
    let mut roots = RootCertStore::empty();
    for authority in &found {
        roots.add(authority.clone()).map_err(io::Error::other)?;
    }
    Ok(found)
}

/// Whether TLS is what failed: another try would end the same way.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An `io::Error` hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let inner = wrapped.map(|inner| inner as &(dyn Error + 'static));
        if error.is::<rustls::Error>() || inner.is_some_and(is_tls) {
            return true;
        }
        next = error.source();
    }
    false
}

fn connector(patience: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(patience));
    connector.set_nodelay(true);
    connector
}
