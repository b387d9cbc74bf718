//! A connection of HTTP/1: what is ready is answered here (`proxy/express.rs`), everything else goes to Pingora with the
//! bytes as they came.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use memchr::memmem;
use pingora::{
    apps::{HttpPersistentSettings, HttpServerApp as _},
    protocols::{Stream, http::ServerSession},
    proxy::{HttpProxy, ProxyHttp},
    server::ShutdownWatch,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::proxy::express::{Express, PIECE, Ready};

/// Room for a usual head.
const ROOM: usize = 4 << 10;

/// Longest silence between two requests; Pingora's own.
const IDLE: Duration = Duration::from_secs(60);

/// Speaks HTTP/1 until the connection ends.
pub(super) async fn converse<P>(
    proxy: &Arc<HttpProxy<P>>,
    express: &dyn Express,
    mut stream: Stream,
    shutdown: &ShutdownWatch,
) where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut stopping = shutdown.clone();
    let mut stop = pin!(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    });
    let mut read = BytesMut::with_capacity(ROOM);
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        if read.is_empty() {
            read.reserve(ROOM);
            let came = tokio::select! {
                biased;
                came = timeout(IDLE, stream.read_buf(&mut read)) => came,
                () = &mut stop => return,
            };
            if !matches!(came, Ok(Ok(1..))) {
                return;
            }
        }
        // At the end the long way: it answers what has come, and closes.
        let at_work = !*shutdown.borrow();
        if at_work && let Some((head, ready)) = ready(express, &read) {
            let (sent, done) = send(express, &mut stream, &ready).await;
            let client = || stream.get_socket_digest()?.peer_addr()?.as_inet().map(|addr| addr.ip());
            express.served(&read[..head], &ready, client(), (sent, done.as_ref().err()));
            if done.is_err() || ready.last {
                let _ = stream.shutdown().await;
                return;
            }
            read.advance(head);
            continue;
        }
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(at_work.then_some(IDLE.as_secs()));
        if let Some(settings) = settings.take() {
            settings.apply_to_session(&mut session);
        }
        if let ServerSession::H1(session) = &mut session {
            session.set_pipelined_prefix(read.split());
        }
        let Some(reused) = proxy.process_new_http(session, shutdown).await else {
            return;
        };
        (stream, settings) = reused.consume();
    }
}

/// The answer to the request that came, when all of its head is there; and how long the head is.
fn ready(express: &dyn Express, read: &[u8]) -> Option<(usize, Ready)> {
    let head = memmem::find(read, b"\r\n\r\n")? + 4;
    Some((head, express.ready(&read[..head])?))
}

/// Sends an answer; the bytes that went out, and what broke it off.
async fn send(express: &dyn Express, stream: &mut Stream, ready: &Ready) -> (usize, io::Result<()>) {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut sent = 0;
    for mut piece in std::iter::once(&ready.wire[..]).chain(ready.rest.chunks(PIECE)) {
        let patience = express.patience(piece.len());
        let whole = async {
            while !piece.is_empty() {
                match stream.write(piece).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    taken => (sent, piece) = (sent + taken, &piece[taken..]),
                }
            }
            Ok(())
        };
        if let Err(error) = timeout(patience, whole).await.map_err(slow).flatten() {
            return (sent, Err(error));
        }
    }
    let flushed = timeout(express.patience(ready.wire.len()), stream.flush()).await;
    (sent, flushed.map_err(slow).flatten())
}
