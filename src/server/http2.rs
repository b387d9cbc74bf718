//! What HTTP/2 clients may make the gate do, and the end of connections that go beyond it.
//!
//! The attacks of the last years all make a server work for nothing: streams opened and reset at once (CVE-2023-44487),
//! resets provoked from the server (CVE-2025-8671), endless header blocks (CVE-2024-27316), settings and pings by the
//! thousand. `h2` bounds what its connection holds and ends it with `ENHANCE_YOUR_CALM`. It cannot bound what the
//! *application* still does for streams that are reset already; that is counted here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp as _},
    protocols::{
        Stream,
        http::{ServerSession, v2::server::H2Options},
    },
    proxy::{HttpProxy, ProxyHttp},
    server::ShutdownWatch,
};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Streams of a connection that may be open at once. RFC 9113 section 6.5.2 advises a hundred; but of an answer that
/// streams and is not read, Pingora holds nine pieces of 64 KiB: four that it read, four in its queue, one that it writes.
/// This bounds a connection to 8 MiB; clients that want more at once open another.
const STREAMS: u32 = 12;
/// Requests of a connection that may be worked on at once, those included whose stream the client has reset.
const WORK: u32 = 200;
/// Longest header list of a request, in bytes as RFC 9113 section 6.5.2 counts them. Longer ones get 431; a block of
/// four times this ends the connection, and so do CONTINUATION frames that go on after it.
const HEADER_LIST: u32 = 64 * 1024;
/// Bytes of a request's body, and of all those on a connection, that a client may send ahead of their being read.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for a slow reader, for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset by the gate and are still remembered, and for how long.
const REMEMBERED: usize = 50;
const REMEMBERED_FOR: Duration = Duration::from_secs(1);
/// Streams that a client may have reset before the gate has looked at them.
const RESET_UNSEEN: usize = 20;
/// Resets in a connection's life that a client may provoke by errors of its own. Streams that an honest client opens
/// before it has read how many it may open are among them.
const PROVOKED: usize = 1024;

/// The limits of a connection.
fn limits() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED)
        .reset_stream_duration(REMEMBERED_FOR)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(Some(PROVOKED));
    options
}

/// One client's HTTP/2 connection.
pub(super) struct Connection<P: ProxyHttp> {
    proxy: Arc<HttpProxy<P>>,
    options: HttpServerOptions,
    /// Requests under work.
    work: AtomicU32,
    /// A first request has come.
    greeted: AtomicBool,
    /// Cancelled to end the connection.
    over: CancellationToken,
    metrics: Metrics,
}

impl<P> Connection<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Serves a connection on which the client speaks HTTP/2, until it ends, stays silent for `patience`, or goes
    /// beyond what a client may.
    pub(super) async fn serve(
        proxy: Arc<HttpProxy<P>>,
        stream: Stream,
        shutdown: &ShutdownWatch,
        patience: Duration,
        metrics: Metrics,
    ) {
        let mut options = HttpServerOptions::default();
        // The preface was seen already, or ALPN has settled it.
        options.h2c = true;
        options.h2_idle_timeout = Some(patience);
        let peer = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().cloned());
        let connection = Arc::new(Self {
            proxy,
            options,
            work: AtomicU32::new(0),
            greeted: AtomicBool::new(false),
            over: CancellationToken::new(),
            metrics,
        });
        tokio::select! {
            _ = connection.process_new(stream, shutdown) => {}
            // What is still worked on finds its stream gone.
            () = connection.over.cancelled() => {
                connection.metrics.http2_abuse_total.inc();
                tracing::warn!(
                    client.addr = peer.map(tracing::field::display),
                    "ended an HTTP/2 connection: more than {WORK} requests at once, most of them given up by the client"
                );
            }
            // Pingora's idle limit begins with the first request.
            () = connection.silence(patience) => tracing::debug!("an HTTP/2 connection ended without a request"),
        }
    }

    async fn silence(&self, patience: Duration) {
        tokio::time::sleep(patience).await;
        if self.greeted.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl<P> HttpServerApp for Connection<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.greeted.store(true, Ordering::Relaxed);
        let _working = Working::begin(&self.work);
        if self.work.load(Ordering::Relaxed) > WORK {
            self.over.cancel();
            return None;
        }
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(limits())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// A request under work.
struct Working<'a>(&'a AtomicU32);

impl<'a> Working<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
