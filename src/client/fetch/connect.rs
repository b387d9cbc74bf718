//! Connections, with and without TLS.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::tls::Roots;

/// `http` only.
pub(super) type Plain = Client<HttpConnector, Full<Bytes>>;
/// `https` only.
pub(super) type Tls = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) fn plain(patience: Duration) -> Plain {
    Client::builder(TokioExecutor::new()).build(connector(patience))
}

/// A client that trusts the system's authorities and `more`, or why there is none.
pub(super) fn tls(patience: Duration, more: &Roots) -> Result<Tls, String> {
    let roots = Roots::system_and(more).and_then(|roots| roots.client());
    let config = roots.map_err(|error| error.to_string())?;
    let mut tcp = connector(patience);
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
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
