//! HTTP GET with every length and every wait bounded. Answers are not judged here beyond their status.

mod connect;
mod error;
mod problem;
mod redirect;
mod stream;

use std::{
    io::Error,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE,
        LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
    },
};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;
use url::Url;

use self::connect::{Plain, Tls};
pub use self::{error::FetchError, problem::Problem, stream::Stream};
use super::notice::{self, Notice, Notices};
use crate::tls::{Roots, plain};

/// What we call ourselves.
const NAME: &str = concat!("tufgate/", env!("CARGO_PKG_VERSION"));

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the head of the answer (with the connection and its TLS), and between any two pieces of its body.
    pub idle: Duration,
    /// For a body, unless it brings `min_rate` all the while.
    pub total: Duration,
    /// Bytes a second that a body must bring, on average over each `total`: what is drip-fed ends (slow retrieval).
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

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// An absolute URL.
    pub url: &'a str,
    /// The most bytes that the whole file may have.
    pub limit: u64,
    /// The bytes before this one are there already.
    pub from: u64,
    /// The strong ETag of the file that they belong to.
    pub if_range: Option<&'a str>,
    /// How many redirects may be followed.
    pub redirects: usize,
}

impl<'a> Ask<'a> {
    /// Asks for a whole file of at most `limit` bytes that lies where it is asked for.
    pub fn whole(url: &'a str, limit: u64) -> Self {
        Self {
            url,
            limit,
            from: 0,
            if_range: None,
            redirects: 0,
        }
    }
}

/// The head of an answer, and its body to come.
pub struct Answer {
    /// Which part of the file the body is (206); `None`: the whole (200).
    pub part: Option<Part>,
    /// The file's ETag, where it is a strong one.
    pub etag: Option<String>,
    /// The body.
    pub stream: Stream,
}

/// `Content-Range: bytes FIRST-LAST/TOTAL` (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Number of the first byte, from 0.
    pub first: u64,
    /// Number of the last byte.
    pub last: u64,
    /// Length of the whole file, where the server says it.
    pub total: Option<u64>,
}

impl Part {
    fn parse(headers: &HeaderMap) -> Option<Self> {
        let (range, total) = headers
            .get(CONTENT_RANGE)?
            .to_str()
            .ok()?
            .strip_prefix("bytes ")?
            .split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = match total {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        Some(Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            total,
        })
    }
}

/// An HTTP client for one repository: `http` and `https`, no cookies, no credentials, no proxy.
#[derive(Clone)]
pub struct Fetcher {
    plain: Plain,
    /// Made when it is needed first: reading the system's authorities takes a moment.
    tls: Arc<OnceLock<Tls>>,
    authorities: Roots,
    timeouts: Timeouts,
    retries: u32,
    notices: Notices,
}

impl Fetcher {
    /// A client with these limits, which trusts the system's certificate authorities (or those of `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`), asks every question once, and tells its notices to the log.
    pub fn new(timeouts: Timeouts) -> Self {
        Self {
            plain: connect::plain(timeouts.connect),
            tls: Arc::default(),
            authorities: Roots::default(),
            timeouts,
            retries: 0,
            notices: notice::logged(),
        }
    }

    /// The same, asking again up to `retries` times what failed for a reason that may pass.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// The same, trusting these certificate authorities (PEM) beside the system's.
    pub fn with_authorities(self, pem: &[u8]) -> Result<Self, Error> {
        Ok(self.trusting(Roots::pem(pem)?))
    }

    /// The same, trusting these beside the system's authorities.
    #[must_use]
    pub(crate) fn trusting(self, authorities: Roots) -> Self {
        Self {
            authorities,
            tls: Arc::default(),
            ..self
        }
    }

    /// The same, telling its notices to `hear`.
    #[must_use]
    pub fn with_notices(self, hear: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        let notices = Arc::new(hear);
        Self { notices, ..self }
    }

    /// How often a question is asked again.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Tells of something that is no error yet.
    pub fn notice(&self, notice: &Notice) {
        (self.notices)(notice);
    }

    /// All of a body.
    pub async fn whole(mut stream: Stream) -> Result<Bytes, FetchError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// A whole file of at most `limit` bytes. Redirects are refused: metadata lies where the caller says.
    pub async fn bytes(&self, url: &str, limit: u64) -> Result<Bytes, FetchError> {
        Self::whole(self.open(Ask::whole(url, limit)).await?.stream).await
    }

    /// Asks, follows redirects as far as they may be followed, and gives the answer if it is a 200, or a 206 to a
    /// question for a part.
    pub async fn open(&self, ask: Ask<'_>) -> Result<Answer, FetchError> {
        let mut at = parse(ask.url)?;
        let mut left = ask.redirects;
        loop {
            let answer = self.send(&at, &ask).await?;
            if !redirect::is_one(answer.status()) {
                return self.judge(answer, &ask).await;
            }
            let next = redirect::next(&at, answer.headers().get(LOCATION));
            let next = next.and_then(|to| match left.checked_sub(1) {
                Some(fewer) => {
                    left = fewer;
                    Ok(to)
                }
                None if ask.redirects > 0 => Err(format!("there are more than {} in a row", ask.redirects)),
                None => Err(format!(
                    "metadata must lie where it is asked for, not at `{}`",
                    redirect::shown(to)
                )),
            });
            at = next.map_err(|why| FetchError::Redirect {
                url: ask.url.to_owned(),
                why,
            })?;
        }
    }

    /// Asks for a file and takes whatever answer comes, its body up to `limit` bytes: for those who judge answers
    /// themselves. Redirects are not followed.
    pub async fn ask(&self, url: &str, limit: u64) -> Result<(StatusCode, HeaderMap, Stream), FetchError> {
        let answer = self.send(&parse(url)?, &Ask::whole(url, limit)).await?;
        let (head, body) = answer.into_parts();
        let stream = Stream::new(url.to_owned(), body, limit, self.timeouts);
        Ok((head.status, head.headers, stream))
    }

    async fn send(&self, at: &Url, ask: &Ask<'_>) -> Result<Response<Incoming>, FetchError> {
        let broken = |detail: String| FetchError::Broken {
            url: ask.url.to_owned(),
            detail,
        };
        let uri: Uri = at
            .as_str()
            .parse()
            .map_err(|error| broken(format!("no URL: {error}")))?;
        let mut request = Request::get(uri)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, NAME);
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
            if let Some(etag) = ask.if_range {
                request = request.header(IF_RANGE, etag);
            }
        }
        let request = request
            .body(Full::default())
            .map_err(|error| broken(error.to_string()))?;
        self.exchange(at, ask.url, request, self.timeouts.idle).await
    }

    /// Posts JSON and takes whatever answer comes, its body up to `limit` bytes. `prefer` are the seconds that the answer
    /// may be held back (RFC 7240, 4.3). Nothing is asked again: who posts knows what that would mean.
    pub async fn post(
        &self,
        url: &str,
        body: Bytes,
        prefer: Option<u64>,
        limit: u64,
    ) -> Result<(StatusCode, HeaderMap, Stream), FetchError> {
        let at = parse(url)?;
        let broken = |detail: String| FetchError::Broken {
            url: url.to_owned(),
            detail,
        };
        let mut request = Request::post(at.as_str())
            .header(ACCEPT, "application/json, application/problem+json")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, NAME);
        if let Some(seconds) = prefer {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| broken(error.to_string()))?;
        let patience = self.timeouts.idle + Duration::from_secs(prefer.unwrap_or_default());
        let answer = self.exchange(&at, url, request, patience).await?;
        let (head, body) = answer.into_parts();
        let stream = Stream::new(url.to_owned(), body, limit, self.timeouts);
        Ok((head.status, head.headers, stream))
    }

    async fn exchange(
        &self,
        at: &Url,
        url: &str,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, FetchError> {
        let answer = if at.scheme() == "https" {
            self.tls(url)?.request(request)
        } else {
            self.plain.request(request)
        };
        match timeout(patience, answer).await {
            Err(_) => Err(FetchError::Timeout {
                url: url.to_owned(),
                what: "no answer",
            }),
            Ok(Err(error)) if connect::is_tls(&error) => Err(FetchError::Tls {
                url: url.to_owned(),
                detail: plain(chain(&error)),
            }),
            Ok(Err(error)) => Err(FetchError::Broken {
                url: url.to_owned(),
                detail: chain(&error),
            }),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    fn tls(&self, url: &str) -> Result<&Tls, FetchError> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let made = connect::tls(self.timeouts.connect, &self.authorities).map_err(|detail| FetchError::Tls {
            url: url.to_owned(),
            detail,
        })?;
        Ok(self.tls.get_or_init(|| made))
    }

    async fn judge(&self, answer: Response<Incoming>, ask: &Ask<'_>) -> Result<Answer, FetchError> {
        let url = ask.url.to_owned();
        let headers = answer.headers();
        let status = answer.status();
        let part = match status {
            StatusCode::OK => None,
            // A 206 that does not say which part it is cannot be one that fits.
            StatusCode::PARTIAL_CONTENT if ask.from > 0 => Some(Part::parse(headers).unwrap_or(Part {
                first: 0,
                last: 0,
                total: Some(0),
            })),
            _ => {
                return Err(FetchError::Status {
                    retry_after: retry_after(headers, SystemTime::now()),
                    problem: self.problem(answer, &url).await.map(Box::new),
                    url,
                    status,
                });
            }
        };
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && encoding != "identity"
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(FetchError::Encoded { url, encoding });
        }
        let limit = match part {
            Some(_) => ask.limit.saturating_sub(ask.from),
            None => ask.limit,
        };
        let announced = headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(FetchError::TooLong { url, limit });
        }
        let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
        Ok(Answer {
            part,
            etag,
            stream: Stream::new(url, answer.into_body(), limit, self.timeouts),
        })
    }

    /// What a refusal says of itself; a body that is no such thing, or does not come soon, says nothing.
    async fn problem(&self, answer: Response<Incoming>, url: &str) -> Option<Problem> {
        if !Problem::announced(answer.headers()) {
            return None;
        }
        let stream = Stream::new(url.to_owned(), answer.into_body(), problem::MOST, self.timeouts);
        let whole = timeout(self.timeouts.connect, Self::whole(stream)).await.ok()?;
        Problem::parse(&whole.ok()?)
    }
}

fn parse(url: &str) -> Result<Url, FetchError> {
    Url::parse(url).map_err(|error| FetchError::Broken {
        url: url.to_owned(),
        detail: format!("no URL: {error}"),
    })
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// An error with its causes: hyper's own words stop at "client error (Connect)".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        // Wrappers repeat what they wrap.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
