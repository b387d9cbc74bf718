//! A pool of HTTP/1.1 connections over hyper's `client::conn`.
//!
//! hyper-util's pooled client is not used: it hides when a connection is made (so connecting and answering cannot have
//! limits of their own), and does not retry a request that a closing keep-alive connection swallowed.

use std::{
    collections::HashMap,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    UpstreamError,
    connect::connect,
    redirect::{Origin, Trust},
    secure::Secure,
};

/// Idle connections kept to one server.
const MAX_IDLE: usize = 64;
/// How long an idle connection is thought to be alive; below the usual keep-alive of servers (nginx: 75 s).
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most header lines of an answer.
const MAX_HEADERS: usize = 128;

type Sender = SendRequest<Empty<Bytes>>;

/// Connections to the upstream and the servers it redirects to.
pub struct Pool {
    idle: std::sync::Mutex<HashMap<Origin, Vec<(Sender, Instant)>>>,
    secure: Secure,
    connect_timeout: Duration,
    io_timeout: Duration,
}

impl Pool {
    /// A pool without connections.
    pub fn new(secure: Secure, connect_timeout: Duration, io_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Default::default(),
            secure,
            connect_timeout,
            io_timeout,
        })
    }

    /// Sends a GET or HEAD and waits for the head of its answer. A pooled connection may have been closed by the server
    /// meanwhile; then the request is sent once more, on a fresh one (RFC 9112 section 9.3.1 allows it: the methods are
    /// idempotent).
    pub async fn send(
        self: &Arc<Self>,
        to: &Origin,
        trust: Trust,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        if let Some(sender) = self.checkout(to) {
            match self.exchange(to, sender, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(Failure::Silent) => return Err(UpstreamError::Timeout("header")),
                Err(Failure::Broke(error)) if error.is_parse() => return Err(broken(&error)),
                Err(Failure::Broke(_stale)) => {}
            }
        }
        let sender = self.open(to, trust).await?;
        self.exchange(to, sender, request)
            .await
            .map_err(|failure| match failure {
                Failure::Silent => UpstreamError::Timeout("header"),
                Failure::Broke(error) => broken(&error),
            })
    }

    async fn open(&self, to: &Origin, trust: Trust) -> Result<Sender, UpstreamError> {
        let begun = Instant::now();
        let stream = connect(to, trust, self.connect_timeout).await?;
        if !to.https {
            return speak(stream).await;
        }
        let left = self.connect_timeout.saturating_sub(begun.elapsed());
        let secured = timeout(left, self.secure.over(stream, to, trust)).await;
        speak(secured.unwrap_or(Err(UpstreamError::Timeout("tls")))?).await
    }

    async fn exchange(
        self: &Arc<Self>,
        to: &Origin,
        mut sender: Sender,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let response = timeout(self.io_timeout, sender.send_request(request))
            .await
            .map_err(|_| Failure::Silent)?
            .map_err(Failure::Broke)?;
        // Ready again once the body is read; an error once it is dropped before its end.
        let (pool, to) = (Arc::clone(self), to.clone());
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                pool.keep(to, sender);
            }
        });
        Ok(response)
    }

    fn checkout(&self, to: &Origin) -> Option<Sender> {
        let mut idle = self.idle();
        let senders = idle.get_mut(to)?;
        prune(senders);
        senders.pop().map(|(sender, _)| sender)
    }

    fn keep(&self, to: Origin, sender: Sender) {
        let mut idle = self.idle();
        idle.retain(|_, senders| {
            prune(senders);
            !senders.is_empty()
        });
        let senders = idle.entry(to).or_default();
        if senders.len() < MAX_IDLE {
            senders.push((sender, Instant::now()));
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Vec<(Sender, Instant)>>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Idle connections at this moment.
    #[cfg(test)]
    pub fn idle_count(&self) -> usize {
        self.idle().values().map(Vec::len).sum()
    }
}

async fn speak<S>(stream: S) -> Result<Sender, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends with the connection; its errors reach whoever waits for the answer or its body.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}

fn prune(senders: &mut Vec<(Sender, Instant)>) {
    senders.retain(|(sender, since)| sender.is_ready() && since.elapsed() < IDLE_FOR);
}

/// No head came.
enum Failure {
    /// In time.
    Silent,
    /// At all.
    Broke(hyper::Error),
}

/// hyper's error with its causes.
pub fn broken(error: &hyper::Error) -> UpstreamError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    UpstreamError::Broken(text)
}
