//! A client's connection before its first request: TLS where the listener has it, and which HTTP is spoken.
//!
//! Pingora accepts, since a loop of ours is slower; what it would do next is done here instead. Its own handshake logs
//! an error for every port scan and gives a client a minute. Its own look for HTTP/2 waits for 24 bytes without limit,
//! and a whole request of HTTP/1.0 may have 18.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    listeners::tls::Acceptor,
    protocols::{ALPN, Stream, l4::stream::Stream as Plain},
    proxy::{HttpProxy, ProxyHttp},
    server::ShutdownWatch,
};
use tokio::{io::AsyncReadExt as _, time::timeout};
use tokio_util::task::TaskTracker;

use super::{express, http2::Connection};
use crate::{proxy::express::Express, telemetry::Metrics};

/// What an HTTP/2 client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How clients are spoken to.
#[derive(Clone)]
pub struct Speech {
    /// TLS, and nothing else.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// HTTP/2 from clients that begin with it, without TLS.
    pub prior_knowledge: bool,
    /// Longest silence of a client before its first byte, and of an HTTP/2 client between its requests.
    pub patience: Duration,
    /// Where failures are counted.
    pub metrics: Metrics,
    /// Who answers at once.
    pub express: Option<Arc<dyn Express>>,
}

/// Pingora's proxy behind its connections. They are counted: Pingora itself does not say when the last one is done.
pub(super) struct Accepting<P: ProxyHttp> {
    proxy: Arc<HttpProxy<P>>,
    tls: Option<Acceptor>,
    speech: Speech,
    open: TaskTracker,
}

impl<P> Accepting<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    pub(super) fn new(proxy: HttpProxy<P>, speech: Speech, open: TaskTracker) -> Self {
        Self {
            proxy: Arc::new(proxy),
            tls: speech.tls.clone().map(Acceptor::from_server_config),
            speech,
            open,
        }
    }

    /// The connection, ready for requests, and whether they are HTTP/2; nothing when it is not worth going on.
    async fn open(&self, stream: Stream) -> Option<(Stream, bool)> {
        if self.tls.is_none() && !self.speech.prior_knowledge {
            return Some((stream, false));
        }
        let mut stream = stream.into_any().downcast::<Plain>().ok()?;
        let Some(tls) = &self.tls else {
            let known = timeout(self.speech.patience, begins_with_preface(&mut stream)).await;
            return known.ok()?.ok().map(|known| (stream as Stream, known));
        };
        match timeout(HANDSHAKE, Box::pin(tls.tls_handshake(*stream))).await {
            Ok(Ok(stream)) => {
                let stream: Stream = Box::new(stream);
                let http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
                Some((stream, http2))
            }
            failed => {
                self.speech.metrics.tls_failures_total.inc();
                match failed {
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    _ => tracing::debug!("a TLS handshake took longer than {HANDSHAKE:?}"),
                }
                None
            }
        }
    }
}

#[async_trait]
impl<P> ServerApp for Accepting<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.open.token();
        match self.open(stream).await? {
            (stream, false) => match &self.speech.express {
                Some(express) => {
                    express::converse(&self.proxy, &**express, stream, shutdown).await;
                    None
                }
                None => self.proxy.process_new(stream, shutdown).await,
            },
            (stream, true) => {
                let (proxy, metrics) = (Arc::clone(&self.proxy), self.speech.metrics.clone());
                // In a place of its own, like a handshake: not every connection holds room for what few of them need.
                let http2 = Connection::serve(proxy, stream, shutdown, self.speech.patience, metrics);
                Box::pin(http2).await;
                None
            }
        }
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}

/// Whether a client begins as one of HTTP/2 does; looks at no more than tells the two apart, and puts it back.
async fn begins_with_preface(stream: &mut Plain) -> io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    let mut piece = [0; PREFACE.len()];
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let read = stream.read(&mut piece[..PREFACE.len() - seen.len()]).await?;
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&piece[..read]);
    }
    stream.rewind(&seen);
    Ok(seen == PREFACE)
}
