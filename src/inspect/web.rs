//! Asking the server: every answer bounded, none trusted, each judged as caches and clients will.

use std::{
    io::Read as _,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, EXPIRES},
};
use jiff::Timestamp;

use super::{Code, Place, finding::Findings};
use crate::{
    client::{
        Timeouts,
        fetch::{Ask, FetchError, Fetcher, Stream},
    },
    tls::Roots,
};

/// Most bytes of a metadata file that are read: above the limit of every client, so that its size can be told.
pub const MAX_METADATA: u64 = 16 << 20;
/// Most bytes of an answer that is no file.
const MAX_OTHER: usize = 64 << 10;
/// Redirects of a target that are followed.
const REDIRECTS: usize = 5;
/// A file that changes may be cached for this many seconds, or a sixtieth of the time it is still good for.
const CACHED: i64 = 60;

/// The server as it is asked.
pub struct Web {
    fetcher: Fetcher,
    requests: AtomicU64,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, an encoding that could be undone removed.
    pub body: Bytes,
}

impl Web {
    /// Nothing is asked yet.
    pub fn new(timeouts: Timeouts, authorities: Roots) -> Self {
        Self {
            fetcher: Fetcher::new(timeouts).trusting(authorities),
            requests: AtomicU64::new(0),
        }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Starts to read an answer of at most `limit` bytes.
    pub async fn open(&self, url: &str, limit: u64) -> Result<(StatusCode, HeaderMap, Stream), FetchError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.fetcher.ask(url, limit).await
    }

    /// Follows the redirects of a target as clients do: its bytes are checked wherever they come from.
    pub async fn follow(&self, url: &str, limit: u64) -> Result<Stream, FetchError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let ask = Ask {
            redirects: REDIRECTS,
            ..Ask::whole(url, limit)
        };
        Ok(self.fetcher.open(ask).await?.stream)
    }

    /// A whole answer, whatever its status; of what is no 200 only the beginning.
    pub async fn get(&self, url: &str) -> Result<Answer, FetchError> {
        let (status, headers, mut stream) = self.open(url, MAX_METADATA).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = stream.next().await? {
            body.extend_from_slice(&piece);
            if status != StatusCode::OK && body.len() > MAX_OTHER {
                break;
            }
        }
        let body = body.freeze();
        let body = match encoding(&headers).as_deref() {
            Some("gzip" | "x-gzip") => unpacked(&body).unwrap_or(body),
            _ => body,
        };
        Ok(Answer { status, headers, body })
    }
}

/// The content encoding, when there is one.
pub fn encoding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_ENCODING)?;
    let text = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    (!text.is_empty() && text != "identity").then_some(text)
}

/// Bounded as a plain answer is: a bomb stays packed.
fn unpacked(body: &Bytes) -> Option<Bytes> {
    let mut plain = Vec::new();
    let mut reader = MultiGzDecoder::new(&body[..]).take(MAX_METADATA + 1);
    reader.read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= MAX_METADATA).then(|| plain.into())
}

/// Tells of an encoding nobody asked for.
pub fn check_encoding(headers: &HeaderMap, place: &Place, findings: &mut Findings) -> bool {
    let Some(encoding) = encoding(headers) else {
        return false;
    };
    let message = format!("it comes with content encoding `{encoding}` although identity was asked for");
    findings.error(Code::EncodingUnasked, place, message);
    true
}

/// Whether no answer came at all: refused, unknown, hung up, or not in time.
pub fn is_silent(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Broken { .. } | FetchError::Timeout { .. } | FetchError::Tls { .. }
    )
}

/// In words, why a file that should be there did not come.
pub fn why_missing(outcome: &Result<Answer, FetchError>) -> String {
    match outcome {
        Ok(answer) if matches!(answer.status.as_u16(), 403 | 404 | 410) => {
            format!("it is not there ({})", answer.status)
        }
        Ok(answer) => format!("it is answered with {}", answer.status),
        Err(error) => error.to_string(),
    }
}

/// What happened when a file that should be there did not come.
pub fn tell_missing(outcome: &Result<Answer, FetchError>, place: &Place, findings: &mut Findings) {
    match outcome {
        Ok(answer) if answer.status.is_redirection() => {
            let message = format!("it is answered with a redirect ({})", answer.status);
            findings.error(Code::Redirected, place, message);
        }
        Ok(answer) if matches!(answer.status.as_u16(), 403 | 404 | 410) => {
            findings.error(Code::FileMissing, place, why_missing(outcome));
        }
        Ok(_) => findings.error(Code::Unreachable, place, why_missing(outcome)),
        Err(FetchError::TooLong { limit, .. }) => {
            findings.error(Code::SizeLimit, place, format_args!("it has more than {limit} bytes"));
        }
        Err(error) => findings.error(Code::Unreachable, place, error),
    }
}

/// How long a shared cache may keep an answer, in seconds: `s-maxage`, `max-age`, or `Expires`; `None` when nothing says.
pub fn cached_for(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let mut age = None;
    let lines = headers.get_all(CACHE_CONTROL).iter();
    for directive in lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
    {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match (
            &*name.trim().to_ascii_lowercase(),
            value.trim().trim_matches('"').parse(),
        ) {
            ("no-store" | "no-cache", _) => return Some(0),
            ("s-maxage", Ok(seconds)) => return Some(seconds),
            ("max-age", Ok(seconds)) => age = Some(seconds),
            _ => {}
        }
    }
    age.or_else(|| {
        let until = httpdate::parse_http_date(headers.get(EXPIRES)?.to_str().ok()?).ok()?;
        let until = Timestamp::try_from(until).ok()?;
        Some((until.as_second() - now.as_second()).max(0))
    })
}

/// Tells when a file that changes may be cached for too long. `expires` is when its content ends to be good.
pub fn check_moving(
    headers: &HeaderMap,
    expires: Option<Timestamp>,
    now: Timestamp,
    place: &Place,
    findings: &mut Findings,
) {
    let left = expires.map_or(0, |expires| expires.as_second() - now.as_second());
    let bound = CACHED.max(left / 60);
    match cached_for(headers, now) {
        Some(seconds) if seconds > bound => {
            let message = format!(
                "caches may keep it for {seconds} s, more than {bound} s: clients behind one see publications late"
            );
            findings.warning(Code::CacheTooLong, place, message);
        }
        Some(_) => {}
        None => {
            let message = "nothing says how long caches may keep it, so each guesses";
            findings.note(Code::CacheNone, place, message);
        }
    }
}

/// Tells when a file that never changes may not be cached.
pub fn check_fixed(headers: &HeaderMap, now: Timestamp, place: &Place, findings: &mut Findings) {
    if cached_for(headers, now).is_none_or(|seconds| seconds < 3600) {
        let message = "it never changes, but caches are not told to keep it";
        findings.note(Code::CacheNone, place, message);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;

    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn ages_are_read_as_shared_caches_read_them() {
        let now = Timestamp::UNIX_EPOCH;
        for (lines, age) in [
            (vec![], None),
            (vec![("cache-control", "public, max-age=60")], Some(60)),
            (vec![("cache-control", "Max-Age=\"60\", s-maxage=5")], Some(5)),
            (
                vec![("cache-control", "max-age=60"), ("cache-control", "no-cache")],
                Some(0),
            ),
            (vec![("cache-control", "public")], None),
            (vec![("expires", "Thu, 01 Jan 1970 00:01:40 GMT")], Some(100)),
            (vec![("expires", "0")], None),
        ] {
            assert_eq!(cached_for(&headers(&lines), now), age, "{lines:?}");
        }
    }

    #[test]
    fn a_moving_file_may_be_kept_a_sixtieth_of_its_time() {
        let now = Timestamp::UNIX_EPOCH;
        let told = |age: i64, left: i64| {
            let mut findings = Findings::default();
            let lines = headers(&[("cache-control", &format!("max-age={age}"))]);
            let expires = Timestamp::from_second(left).unwrap();
            check_moving(&lines, Some(expires), now, &Place::file("x"), &mut findings);
            !findings.codes().is_empty()
        };
        assert!(!told(60, 0) && told(61, 0));
        assert!(!told(1440, 86_400) && told(3600, 86_400));
    }

    #[test]
    fn packed_answers_are_unpacked_within_bounds() {
        let pack = |bytes: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            Bytes::from(packer.finish().unwrap())
        };
        assert_eq!(unpacked(&pack(b"plain")).unwrap(), &b"plain"[..]);
        assert!(unpacked(&pack(&vec![0; MAX_METADATA as usize + 1])).is_none());
        assert!(unpacked(&Bytes::from_static(b"no gzip")).is_none());
    }
}
