//! TLS to the upstream and to where it redirects: chain and name are always verified, and HTTP/1.1 is what is spoken.
//!
//! `[upstream] ca` is whom to trust *instead of* the system's authorities where the upstream itself is concerned: whoever
//! has authorities of their own means that no public one shall vouch for that server. Servers that it redirects to may
//! have a certificate of either kind, for a store behind a private server is often a public one.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Host;

use super::{
    UpstreamError,
    redirect::{Origin, Trust},
};
use crate::{
    config::UpstreamConfig,
    tls::{Roots, TlsError, plain},
};

/// Whom the gate trusts.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    /// As the upstream; none where it is reached without TLS.
    home: Option<Roots>,
    /// `[upstream] ca`.
    own: Roots,
}

impl Authorities {
    /// Reads `[upstream] ca`, or the system's authorities where they are needed from the start.
    ///
    /// # Errors
    /// [`TlsError::Read`] and [`TlsError::Content`] of `ca`, [`TlsError::NoAuthorities`].
    pub fn load(config: &UpstreamConfig) -> Result<Self, TlsError> {
        let own = config.ca.as_deref().map(Roots::file).transpose()?;
        let home = match (config.url.scheme(), &own) {
            ("https", Some(own)) => Some(own.clone()),
            ("https", None) => Some(Roots::system()?),
            _ => None,
        };
        Ok(Self {
            home,
            own: own.unwrap_or_default(),
        })
    }

    /// Who may vouch for the upstream itself; `None` where it is reached without TLS.
    pub fn home(&self) -> Option<&Roots> {
        self.home.as_ref()
    }
}

/// Makes TLS connections.
pub struct Secure {
    home: Option<TlsConnector>,
    own: Roots,
    /// Made when it is needed first: reading the system's authorities takes a moment. Holds why it could not be.
    others: OnceLock<Result<TlsConnector, String>>,
}

impl Secure {
    /// Connects to nothing yet.
    pub fn new(authorities: &Authorities) -> Result<Self, TlsError> {
        Ok(Self {
            home: authorities.home.as_ref().map(connector).transpose()?,
            own: authorities.own.clone(),
            others: OnceLock::new(),
        })
    }

    /// Shakes hands with `to`. Errors: [`UpstreamError::Connect`], with what is wrong with its certificate.
    pub async fn over(
        &self,
        stream: TcpStream,
        to: &Origin,
        trust: Trust,
    ) -> Result<TlsStream<TcpStream>, UpstreamError> {
        let failed = |why: &dyn std::fmt::Display| UpstreamError::Connect(format!("{}: {why}", to.shown()));
        let connector = match (&self.home, trust) {
            (Some(home), Trust::Home) => home,
            _ => self.others().map_err(|why| failed(why))?,
        };
        let name = match &to.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| failed(&error))?,
            Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        };
        let connected = connector.connect(name, stream).await;
        connected.map_err(|error| failed(&plain(error.to_string())))
    }

    fn others(&self) -> Result<&TlsConnector, &String> {
        let make = || {
            let connector = Roots::system_and(&self.own).and_then(|roots| connector(&roots));
            connector.map_err(|error| error.to_string())
        };
        self.others.get_or_init(make).as_ref()
    }
}

fn connector(roots: &Roots) -> Result<TlsConnector, TlsError> {
    let mut config = roots.client()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
