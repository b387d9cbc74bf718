//! A connection of HTTP/1. Heads are read here, within bounds of length and time that Pingora does not have; what is ready
//! is answered (`proxy/express.rs`), everything else goes to Pingora with the bytes as they came.

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use http::StatusCode;
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

use crate::proxy::{
    express::{Express, PIECE, Ready, end_of_head},
    problem::Problem,
};

/// Room for a usual head.
const ROOM: usize = 4 << 10;

/// Longest silence between two requests; Pingora's own.
const IDLE: Duration = Duration::from_secs(60);

/// How long a client that is refused may go on sending, so that no reset overtakes its answer.
const LINGER: Duration = Duration::from_secs(2);

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
        let came = tokio::select! {
            biased;
            came = next_head(express, &mut stream, &mut read) => came,
            () = &mut stop => return,
        };
        let head = match came {
            Ok(head) => head,
            Err(Some(problem)) => return refuse(express, stream, &problem).await,
            Err(None) => return,
        };
        // At the end the long way: it answers what has come, and closes.
        let at_work = !*shutdown.borrow();
        if let Some(ready) = at_work.then(|| express.ready(&read[..head])).flatten() {
            let (sent, done) = send(express, &mut stream, &ready).await;
            express.served(&read[..head], &ready, client(&stream), (sent, done.as_ref().err()));
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

fn client(stream: &Stream) -> Option<IpAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().map(|addr| addr.ip())
}

/// Reads until the next request's head is whole; how long it is. An error is the client's: the connection ends, with an
/// answer where it can read one.
async fn next_head(express: &dyn Express, stream: &mut Stream, read: &mut BytesMut) -> Result<usize, Option<Problem>> {
    if read.is_empty() {
        read.reserve(ROOM);
        let came = timeout(IDLE, stream.read_buf(read)).await;
        if !matches!(came, Ok(Ok(1..))) {
            return Err(None);
        }
    }
    if let Some(head) = whole(read, 0)? {
        return Ok(head);
    }
    timeout(express.head_patience(), rest_of_head(stream, read))
        .await
        .unwrap_or_else(|_| {
            let late = "the request's head did not come in time";
            Err(Some(Problem::new(StatusCode::REQUEST_TIMEOUT, "client-timeout", late)))
        })
}

async fn rest_of_head(stream: &mut Stream, read: &mut BytesMut) -> Result<usize, Option<Problem>> {
    loop {
        let seen = read.len();
        read.reserve(ROOM);
        if !matches!(stream.read_buf(read).await, Ok(1..)) {
            return Err(None);
        }
        if let Some(head) = whole(read, seen)? {
            return Ok(head);
        }
    }
}

/// How long the head is that came, once it is whole, without empty lines before it (RFC 9112 section 2.2).
fn whole(read: &mut BytesMut, seen: usize) -> Result<Option<usize>, Option<Problem>> {
    while read.starts_with(b"\r\n") {
        read.advance(2);
    }
    end_of_head(read, seen).map_err(|fault| Some(fault.into()))
}

async fn refuse(express: &dyn Express, mut stream: Stream, problem: &Problem) {
    let answer = express.refuse(problem, client(&stream));
    let told = async {
        stream.write_all(&answer).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // Who does not read it has left, or will be cut off.
    let _ = timeout(LINGER, told).await;
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
