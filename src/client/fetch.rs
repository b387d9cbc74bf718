//! HTTP GET with every length and every wait bounded. Answers are not judged here beyond their status.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, USER_AGENT},
};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, timeout, timeout_at};

/// No answer takes longer, whatever length metadata claims: a sum of times must not overflow.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the head of the answer, and between any two pieces of its body.
    pub idle: Duration,
    /// For an answer as a whole, beside what `min_rate` grants.
    pub total: Duration,
    /// Bytes a second that a body must reach on average once `total` is spent: what is drip-fed ends (slow retrieval).
    pub min_rate: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(60),
            min_rate: 8 * 1024,
        }
    }
}

/// No usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The connection failed or broke.
    #[error("`{url}`: {detail}")]
    Broken {
        /// What was asked.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The server answers in an encoding nobody asked for.
    #[error("`{url}` is answered with content encoding `{encoding}`, which was not asked for")]
    Encoded {
        /// What was asked.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// Another status than 200.
    #[error("`{url}` is answered with {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status; redirects are not followed.
        status: StatusCode,
    },
    /// Too slow.
    #[error("`{url}` is not answered in time ({what}); a server that drips looks like a slow retrieval attack")]
    Timeout {
        /// What was asked.
        url: String,
        /// Which wait ended.
        what: &'static str,
    },
    /// More bytes than may come.
    #[error("`{url}` has more than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The most that may come.
        limit: u64,
    },
}

impl FetchError {
    /// Whether the server says that there is no such file. Stores without a listing right answer 403.
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE,
                ..
            }
        )
    }
}

/// An HTTP client for one update.
#[derive(Clone, Debug)]
pub struct Fetcher {
    http: Client<HttpConnector, Empty<Bytes>>,
    timeouts: Timeouts,
}

impl Fetcher {
    /// A client with these limits.
    pub fn new(timeouts: Timeouts) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeouts.connect));
        connector.set_nodelay(true);
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            timeouts,
        }
    }

    /// A whole file of at most `limit` bytes.
    pub async fn bytes(&self, url: &str, limit: u64) -> Result<Bytes, FetchError> {
        let mut stream = self.open(url, limit).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Starts to read a file of at most `limit` bytes.
    pub async fn open(&self, url: &str, limit: u64) -> Result<Stream, FetchError> {
        let (status, headers, stream) = self.ask(url, limit).await?;
        let url = url.to_owned();
        if status != StatusCode::OK {
            return Err(FetchError::Status { url, status });
        }
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && encoding != "identity"
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(FetchError::Encoded { url, encoding });
        }
        let announced = headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(FetchError::TooLong { url, limit });
        }
        Ok(stream)
    }

    /// Asks for a file and takes whatever answer comes, its body up to `limit` bytes: for those who judge answers
    /// themselves. Redirects are not followed.
    pub async fn ask(&self, url: &str, limit: u64) -> Result<(StatusCode, HeaderMap, Stream), FetchError> {
        let broken = |detail: String| FetchError::Broken {
            url: url.to_owned(),
            detail,
        };
        let uri: Uri = url.parse().map_err(|error| broken(format!("no URL: {error}")))?;
        let request = Request::get(uri)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("tufgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| broken(error.to_string()))?;
        let for_length = Duration::from_secs(limit / self.timeouts.min_rate.max(1));
        let deadline = Instant::now() + self.timeouts.total + for_length.min(LONGEST);
        let answer = timeout(self.timeouts.idle, self.http.request(request))
            .await
            .map_err(|_| FetchError::Timeout {
                url: url.to_owned(),
                what: "no answer",
            })?
            .map_err(|error| broken(chain(&error)))?;

        let (head, body) = answer.into_parts();
        let stream = Stream {
            url: url.to_owned(),
            body,
            limit,
            received: 0,
            idle: self.timeouts.idle,
            deadline,
        };
        Ok((head.status, head.headers, stream))
    }
}

/// A body as it arrives.
pub struct Stream {
    url: String,
    body: Incoming,
    limit: u64,
    received: u64,
    idle: Duration,
    deadline: Instant,
}

impl Stream {
    /// The next piece; `None` at the proven end of the body.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let until = self.deadline.min(Instant::now() + self.idle);
            let frame = match timeout_at(until, self.body.frame()).await {
                Err(_) => {
                    return Err(FetchError::Timeout {
                        url: self.url.clone(),
                        what: if until == self.deadline { "too slow" } else { "stalled" },
                    });
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(FetchError::Broken {
                        url: self.url.clone(),
                        detail: chain(&error),
                    });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            self.received += piece.len() as u64;
            if self.received > self.limit {
                return Err(FetchError::TooLong {
                    url: self.url.clone(),
                    limit: self.limit,
                });
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}

/// An error with its causes: hyper's own words stop at "client error (Connect)".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
