//! A pool of HTTP/1.1 connections over hyper's `client::conn`.
//!
//! hyper-util's pooled client is not used: it hides when a connection is made (so connecting and answering cannot have
//! limits of their own), and does not retry a request that a closing keep-alive connection swallowed.

use std::{
    collections::HashMap,
    error::Error,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    time::{Instant, sleep, timeout},
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
pub(super) const IDLE_FOR: Duration = Duration::from_secs(30);
/// Between two looks at what is idle.
pub(super) const SWEEP: Duration = Duration::from_secs(5);
/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most header lines of an answer.
const MAX_HEADERS: usize = 128;

/// A connection. It has no task of its own: whoever waits for something of it moves it meanwhile, so that a body comes
/// without a change of threads for each of its pieces.
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    connection: Moving,
}

/// Fused: an end may be met more than once.
type Moving = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Waits for what comes over a connection.
async fn over<T>(connection: &mut Moving, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    poll_fn(|context| {
        if let Poll::Ready(came) = wanted.as_mut().poll(context) {
            return Poll::Ready(came);
        }
        // Its errors reach whoever waits for the answer or its body.
        let _ = connection.as_mut().poll(context);
        wanted.as_mut().poll(context)
    })
    .await
}

impl Line {
    /// Whether another request can be sent, as far as can be told without waiting.
    fn is_idle(&mut self) -> bool {
        let Self { sender, connection } = self;
        // Moved first: the server may have closed it.
        if connection.as_mut().now_or_never().is_some() {
            return false;
        }
        matches!(over(connection, sender.ready()).now_or_never(), Some(Ok(())))
    }
}

/// A body on its way. Once it has come whole its connection goes back to the pool.
pub struct Flowing {
    incoming: Incoming,
    line: Option<Line>,
    pool: Arc<Pool>,
    to: Origin,
}

impl Flowing {
    /// The next frame; hyper reports a body cut short as an error.
    pub async fn frame(&mut self) -> Option<hyper::Result<Frame<Bytes>>> {
        let connection = &mut self.line.as_mut()?.connection;
        over(connection, self.incoming.frame()).await
    }
}

impl Drop for Flowing {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take()
            && self.incoming.is_end_stream()
            && line.is_idle()
        {
            self.pool.keep(&self.to, line);
        }
    }
}

/// Connections to the upstream and the servers it redirects to.
pub struct Pool {
    idle: std::sync::Mutex<HashMap<Origin, Vec<(Line, Instant)>>>,
    sweeping: AtomicBool,
    secure: Secure,
    connect_timeout: Duration,
    io_timeout: Duration,
}

impl Pool {
    /// A pool without connections.
    pub fn new(secure: Secure, connect_timeout: Duration, io_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Default::default(),
            sweeping: AtomicBool::new(false),
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
    ) -> Result<Response<Flowing>, UpstreamError> {
        if let Some(line) = self.checkout(to) {
            match self.exchange(to, line, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(Failure::Silent) => return Err(UpstreamError::Timeout("header")),
                Err(Failure::Broke(error)) if error.is_parse() => return Err(broken(&error)),
                Err(Failure::Broke(_stale)) => {}
            }
        }
        let line = self.open(to, trust).await?;
        self.exchange(to, line, request).await.map_err(|failure| match failure {
            Failure::Silent => UpstreamError::Timeout("header"),
            Failure::Broke(error) => broken(&error),
        })
    }

    async fn open(&self, to: &Origin, trust: Trust) -> Result<Line, UpstreamError> {
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
        mut line: Line,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Flowing>, Failure> {
        let sent = line.sender.send_request(request);
        let response = timeout(self.io_timeout, over(&mut line.connection, sent))
            .await
            .map_err(|_| Failure::Silent)?
            .map_err(Failure::Broke)?;
        Ok(response.map(|incoming| Flowing {
            incoming,
            line: Some(line),
            pool: Arc::clone(self),
            to: to.clone(),
        }))
    }

    fn checkout(&self, to: &Origin) -> Option<Line> {
        let mut idle = self.idle();
        let lines = idle.get_mut(to)?;
        prune(lines);
        std::iter::from_fn(|| lines.pop()).find_map(|(mut line, _)| line.is_idle().then_some(line))
    }

    fn keep(self: &Arc<Self>, to: &Origin, line: Line) {
        let mut idle = self.idle();
        let lines = idle.entry(to.clone()).or_default();
        prune(lines);
        if lines.len() < MAX_IDLE {
            lines.push((line, Instant::now()));
        }
        drop(idle);
        self.sweep();
    }

    /// Lets go of what was idle for too long or closed by its server, for as long as anything is idle: nothing else moves
    /// these connections.
    fn sweep(self: &Arc<Self>) {
        // Without a runtime, at the very end, there is nothing to be swept any more.
        let Ok(runtime) = Handle::try_current() else { return };
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut idle = pool.idle();
                idle.retain(|_, lines| {
                    prune(lines);
                    lines.retain_mut(|(line, _)| line.is_idle());
                    !lines.is_empty()
                });
                if idle.is_empty() {
                    // Under the lock: whoever keeps one next starts the next sweep.
                    pool.sweeping.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Vec<(Line, Instant)>>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Idle connections at this moment.
    #[cfg(test)]
    pub fn idle_count(&self) -> usize {
        self.idle().values().map(Vec::len).sum()
    }
}

async fn speak<S>(stream: S) -> Result<Line, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = Box::pin(connection.fuse());
    Ok(Line { sender, connection })
}

fn prune(lines: &mut Vec<(Line, Instant)>) {
    lines.retain(|(_, since)| since.elapsed() < IDLE_FOR);
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
