//! Where Pingora connects to for what streams through it, and whom it trusts there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::{
    Error, ErrorType, Result,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, PeerOptions},
    utils::tls::{WrappedX509, parse_x509},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{config::UpstreamConfig, upstream::secure::Authorities};

/// The upstream as a peer of Pingora's.
pub(super) struct Upstream {
    host: Option<url::Host>,
    port: u16,
    /// The name that its certificate must hold; none where it is reached without TLS. Pingora verifies nothing without
    /// a name.
    name: Option<String>,
    /// Always given, also where they are the system's: Pingora's own reading of those ends the process when there is one
    /// that rustls cannot use.
    authorities: Arc<[WrappedX509]>,
    connect_timeout: Duration,
    io_timeout: Duration,
}

impl Upstream {
    pub(super) fn new(config: &UpstreamConfig, authorities: &Authorities) -> Self {
        let url = &config.url;
        let known = authorities.home().map(|roots| roots.certificates()).unwrap_or_default();
        // Pingora parses with another library than the one that verifies, and panics at what that one cannot read.
        let readable = known.iter().filter(|known| X509Certificate::from_der(known).is_ok());
        Self {
            host: url.host().map(|host| host.to_owned()),
            port: url.port_or_known_default().unwrap_or(80),
            name: (url.scheme() == "https").then(|| match url.host() {
                Some(url::Host::Ipv6(ip)) => ip.to_string(),
                _ => url.host_str().unwrap_or_default().to_owned(),
            }),
            authorities: readable
                .map(|known| WrappedX509::new(known.to_vec(), parse_x509))
                .collect(),
            connect_timeout: config.connect_timeout,
            io_timeout: config.io_timeout,
        }
    }

    /// A peer for one request; a write gets a connection of its own.
    pub(super) async fn peer(&self, write: bool) -> Result<HttpPeer> {
        let address = self.resolve().await?;
        let name = self.name.clone();
        let mut peer = HttpPeer::new(address, name.is_some(), name.unwrap_or_default());
        // HTTP/1.1 only: over HTTP/2, Pingora does not always say when an answer ends.
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(self.connect_timeout);
        options.total_connection_timeout = Some(self.connect_timeout);
        options.read_timeout = Some(self.io_timeout);
        options.write_timeout = Some(self.io_timeout);
        if peer.is_tls() {
            options.ca = Some(Arc::clone(&self.authorities));
        }
        if write {
            // A write never rides a pooled connection: a stale one would need the body a second time.
            options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
            options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = rand::random();
        }
        peer.options = options;
        Ok(peer)
    }

    /// The upstream's address; `HttpPeer::new` would resolve a name on the event loop and panic when it cannot.
    async fn resolve(&self) -> Result<SocketAddr> {
        let fail = |detail: String| Error::explain(ErrorType::ConnectError, detail).into_up();
        match &self.host {
            Some(url::Host::Ipv4(ip)) => Ok((*ip, self.port).into()),
            Some(url::Host::Ipv6(ip)) => Ok((*ip, self.port).into()),
            Some(url::Host::Domain(name)) => {
                let mut found = tokio::net::lookup_host((name.as_str(), self.port))
                    .await
                    .map_err(|error| fail(error.to_string()))?;
                found.next().ok_or_else(|| fail(format!("`{name}` has no address")))
            }
            None => Err(fail("the upstream's URL names no host".to_owned())),
        }
    }
}
