//! Answers that are ready before a request is one: those of `hot.rs` and of the catalog's memory, written as bytes. The
//! server gives a head as it came (`server/express.rs`); what is not plain in it goes the usual way, through Pingora, where
//! the same entries answer.

use std::{
    cell::Cell,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    Gate,
    answer::Head,
    framing::{self, Body},
    log::Line,
    metadata,
    problem::Problem,
};
use crate::catalog::{
    document::Document,
    respond::{preferred, respond},
};

pub(crate) use super::{framing::end_of_head, pace::PIECE};

/// Most bytes of a body that are copied behind their head, to leave in one write.
const SMALL: usize = 16 << 10;

/// Fields that send a request the usual way, beside those of `Special`.
const UNUSUAL: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
    header::TE,
    header::UPGRADE,
];

/// A whole answer.
pub(crate) struct Ready {
    /// The head, and the body where that is small.
    pub wire: Bytes,
    /// The rest of the body.
    pub rest: Bytes,
    /// The connection ends with it.
    pub last: bool,
    status: StatusCode,
    /// Bytes of the head.
    head: usize,
    begun: Instant,
    /// Held until it is sent.
    _open: TaskTrackerToken,
}

/// Who answers at once.
pub(crate) trait Express: Send + Sync {
    /// The answer to a request with this head; `None` when it takes more than that.
    fn ready(&self, head: &[u8]) -> Option<Ready>;

    /// Longest that this many bytes may take a client.
    fn patience(&self, bytes: usize) -> Duration;

    /// Longest that a whole head may take a client.
    fn head_patience(&self) -> Duration;

    /// The answer to what is no whole head and will be none, accounted for.
    fn refuse(&self, problem: &Problem, client: Option<IpAddr>) -> Bytes;

    /// Accounts for an answer of which so many bytes `went` out, all unless something broke it off.
    fn served(&self, head: &[u8], ready: &Ready, client: Option<IpAddr>, went: (usize, Option<&io::Error>));
}

/// The document that was asked for last without any condition, mostly the timestamp: its header lines as HTTP/1 writes them.
pub(super) struct LastDocument {
    document: Arc<Document>,
    lines: Bytes,
    body: Bytes,
}

/// What a plain request says.
struct Asked<'a> {
    method: Method,
    target: &'a [u8],
    /// The client asks for no more on this connection.
    last: bool,
    accept_encoding: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    /// The request of a head in which nothing is unusual.
    fn read(head: &'a [u8], unusual: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let (mut accept_encoding, mut if_none_match) = (None, None);
        let (mut plain, mut connection, mut last) = (true, false, false);
        let (line, body) = framing::read(head, |name, value| {
            let is = |known: HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
            // Twice is unusual: lists of several lines are the long way's to join.
            if is(header::ACCEPT_ENCODING) {
                plain &= accept_encoding.replace(value).is_none();
            } else if is(header::IF_NONE_MATCH) {
                plain &= if_none_match.replace(value).is_none();
            } else if is(header::CONNECTION) {
                last = value.eq_ignore_ascii_case(b"close");
                plain &= last || value.eq_ignore_ascii_case(b"keep-alive");
                plain &= !std::mem::replace(&mut connection, true);
            } else {
                plain &= !(unusual(name) || UNUSUAL.into_iter().any(is));
            }
        })
        .ok()?;
        let method = match line.method {
            b"GET" => Method::GET,
            b"HEAD" => Method::HEAD,
            _ => return None,
        };
        (plain && !line.old && body == Body::None).then_some(Self {
            method,
            target: line.target,
            last,
            accept_encoding,
            if_none_match,
        })
    }

    fn fields(&self) -> Option<HeaderMap> {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            (header::ACCEPT_ENCODING, self.accept_encoding),
            (header::IF_NONE_MATCH, self.if_none_match),
        ] {
            if let Some(value) = value {
                fields.insert(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        Some(fields)
    }
}

impl Express for Gate {
    fn ready(&self, head: &[u8]) -> Option<Ready> {
        let asked = Asked::read(head, |name| self.0.reads.special.has(name))?;
        match self.metadata_file(asked.target) {
            Some(file) => self.metadata_at_hand(&asked, file),
            None => self.artifact_at_hand(&asked),
        }
    }

    fn patience(&self, bytes: usize) -> Duration {
        Self::patience(self, bytes)
    }

    fn head_patience(&self) -> Duration {
        self.config().gate.client_timeout
    }

    fn refuse(&self, problem: &Problem, client: Option<IpAddr>) -> Bytes {
        let body = problem.body();
        let mut wire = begin(problem.status, body.len());
        let head = Head::problem(problem, &HeaderMap::new()).and_then(|mut head| {
            head.set(header::CONTENT_LENGTH, body.len())?;
            Ok(head.into_inner())
        });
        // Where its fields cannot be made it is the status alone: the connection ends with it.
        if let Ok(head) = head {
            head.header_to_h1_wire(&mut wire);
        }
        put_date(&mut wire);
        wire.put_slice(b"Connection: close\r\n\r\n");
        wire.put_slice(&body);
        self.account(&Line {
            client,
            method: b"",
            target: b"",
            agent: b"",
            status: problem.status.as_u16(),
            bytes: body.len(),
            begun: None,
            error: None,
        });
        wire.freeze()
    }

    fn served(&self, head: &[u8], ready: &Ready, client: Option<IpAddr>, (sent, broke): (usize, Option<&io::Error>)) {
        if !self.config().log.access {
            return self.count(ready.status.as_u16());
        }
        let mut agent = &b""[..];
        let line = framing::read(head, |name, value| {
            if name.eq_ignore_ascii_case(b"user-agent") {
                agent = value;
            }
        });
        let Ok((line, _)) = line else { return };
        self.account(&Line {
            client,
            method: line.method,
            target: line.target,
            agent,
            status: ready.status.as_u16(),
            bytes: sent.saturating_sub(ready.head),
            begun: Some(ready.begun),
            error: broke.map(|error| error as _),
        });
    }
}

impl Gate {
    /// The file that a target names, where it is spelt as the gate itself would.
    fn metadata_file<'a>(&self, target: &'a [u8]) -> Option<&'a str> {
        let file = target.strip_prefix(self.config().gate.metadata_prefix.as_bytes())?;
        let usual = |b: &u8| b.is_ascii_alphanumeric() || b"-._/".contains(b);
        let file = std::str::from_utf8(file)
            .ok()
            .filter(|file| file.bytes().all(|b| usual(&b)))?;
        (!file.split('/').any(|segment| matches!(segment, "" | "." | ".."))).then_some(file)
    }

    fn metadata_at_hand(&self, asked: &Asked<'_>, file: &str) -> Option<Ready> {
        self.metadata_is_open().ok()?;
        let document = self.parts().catalog.at_hand(file)?;
        let usual = asked.method == Method::GET && asked.accept_encoding.is_none() && asked.if_none_match.is_none();
        let last = self.0.reads.last_document.load();
        if let Some(last) = last
            .as_deref()
            .filter(|last| usual && Arc::ptr_eq(&last.document, &document))
        {
            let mut wire = begin(StatusCode::OK, last.body.len());
            wire.put_slice(&last.lines);
            return Some(self.finish(asked, StatusCode::OK, wire, last.body.clone()));
        }
        let max_age = self.config().gate.timestamp_max_age;
        let fields = asked.fields()?;
        if !document.is_encoded(preferred(&fields)) {
            return None;
        }
        let reply = respond(&asked.method, &fields, Some(&document), max_age);
        let mut lines = BytesMut::new();
        metadata::head(&reply).ok()?.header_to_h1_wire(&mut lines);
        let mut wire = begin(reply.status, reply.body.len());
        wire.put_slice(&lines);
        if usual {
            self.0.reads.last_document.store(Some(Arc::new(LastDocument {
                document,
                lines: lines.freeze(),
                body: reply.body.clone(),
            })));
        }
        Some(self.finish(asked, reply.status, wire, reply.body))
    }

    fn artifact_at_hand(&self, asked: &Asked<'_>) -> Option<Ready> {
        let hit = asked
            .if_none_match
            .is_none()
            .then(|| self.memory().hit(asked.target))??;
        let now = Instant::now();
        let age = self.still(&hit, now)?;
        let body = match asked.method {
            Method::GET => hit.body.clone(),
            _ => Bytes::new(),
        };
        let mut wire = begin(StatusCode::OK, body.len());
        wire.put_slice(&hit.wire);
        wire.put_slice(b"Age: ");
        wire.put_slice(itoa::Buffer::new().format(age).as_bytes());
        wire.put_slice(b"\r\n");
        Some(self.finish(asked, StatusCode::OK, wire, body))
    }

    fn finish(&self, asked: &Asked<'_>, status: StatusCode, mut wire: BytesMut, body: Bytes) -> Ready {
        put_date(&mut wire);
        wire.put_slice(match asked.last {
            true => &b"Connection: close\r\n\r\n"[..],
            false => b"Connection: keep-alive\r\n\r\n",
        });
        let (head, mut rest) = (wire.len(), body);
        if rest.len() <= SMALL {
            wire.put_slice(&std::mem::take(&mut rest));
        }
        Ready {
            wire: wire.freeze(),
            rest,
            last: asked.last,
            status,
            head,
            begun: Instant::now(),
            _open: self.0.host.requests.token(),
        }
    }
}

/// A status line, with room for the rest.
fn begin(status: StatusCode, body: usize) -> BytesMut {
    let mut wire = BytesMut::with_capacity(768 + if body <= SMALL { body } else { 0 });
    wire.put_slice(b"HTTP/1.1 ");
    wire.put_slice(status.as_str().as_bytes());
    wire.put_u8(b' ');
    wire.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    wire.put_slice(b"\r\n");
    wire
}

/// `Date`, made once a second.
fn put_date(wire: &mut BytesMut) {
    thread_local! {
        static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((0, [0; 29])) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (last, mut text) = LAST.get();
    if last != second {
        let date = httpdate::fmt_http_date(now);
        if let Ok(made) = <[u8; 29]>::try_from(date.as_bytes()) {
            text = made;
            LAST.set((second, text));
        }
    }
    wire.put_slice(b"Date: ");
    wire.put_slice(&text);
    wire.put_slice(b"\r\n");
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(lines: &str) -> Option<(Method, Vec<u8>)> {
        let head = format!("{lines}\r\n\r\n");
        Asked::read(head.as_bytes(), |name| name.eq_ignore_ascii_case(b"authorization"))
            .map(|asked| (asked.method, asked.target.to_vec()))
    }

    #[test]
    fn what_is_plain_goes_the_short_way() {
        for lines in [
            "GET /a%20b?c HTTP/1.1\r\nHost: h",
            "GET /a%20b?c HTTP/1.1\r\nhost: h:80\r\nUser-Agent: x/1\r\nAccept: */*\r\nAccept-Encoding: gzip, br",
            "GET /a%20b?c HTTP/1.1\r\nConnection: Keep-Alive\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nif-none-match: \"x\"",
        ] {
            assert_eq!(asked(lines), Some((Method::GET, b"/a%20b?c".to_vec())), "{lines}");
        }
        assert_eq!(asked("HEAD /a HTTP/1.1\r\nHost: h").unwrap().0, Method::HEAD);
    }

    #[test]
    fn what_is_unusual_goes_the_long_way() {
        for lines in [
            "GET /a HTTP/1.0\r\nHost: h",
            "GET /a HTTP/1.1",
            "PUT /a HTTP/1.1\r\nHost: h",
            "get /a HTTP/1.1\r\nHost: h",
            "GET /a HTTP/1.1\r\nHost: h\r\nAUTHORIZATION: Basic x",
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nConnection: keep-alive",
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, upgrade",
            "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked",
            "GET /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue",
            "GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1",
            "GET /a HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"",
            "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\"\r\nIf-None-Match: \"y\"",
            "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: h2c",
            "GET /a HTTP/1.1\r\nHost: h\r\nX: a\nAuthorization: b",
        ] {
            assert_eq!(asked(lines), None, "{lines}");
        }
    }

    proptest! {
        /// Nothing is answered here whose end Pingora or another server could see elsewhere.
        #[test]
        fn the_short_way_takes_no_body(head in "(GET|HEAD|PUT) /a HTTP/1[.][01]\r\n(Host: h\r\n|Content-Length: [0-9]\r?\n|Transfer-Encoding: chunked\r\n|Connection: (close|keep-alive)\r\n|X: [ -~\r\n\t]{0,3}\r\n){0,5}\r\n") {
            if Asked::read(head.as_bytes(), |_| false).is_some() {
                prop_assert_eq!(framing::read(head.as_bytes(), |_, _| {}).unwrap().1, Body::None);
                let lower = head.to_ascii_lowercase();
                for name in ["content-length:", "transfer-encoding:"] {
                    prop_assert!(!lower.split('\n').any(|line| line.starts_with(name)), "{}", head);
                }
            }
        }
    }

    #[test]
    fn the_date_is_the_second_it_is() {
        let before = SystemTime::now();
        let mut wire = BytesMut::new();
        put_date(&mut wire);
        let text = String::from_utf8(wire.to_vec()).unwrap();
        let date = text.strip_prefix("Date: ").and_then(|rest| rest.strip_suffix("\r\n"));
        let date = httpdate::parse_http_date(date.unwrap()).unwrap();
        assert!(date + Duration::from_secs(1) > before && date <= SystemTime::now());
    }
}
