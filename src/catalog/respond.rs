//! The HTTP answer for a document (DESIGN 4.1): a pure function from the request's headers to status, headers and body.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
        VARY,
    },
};

use super::document::{Class, Document, Encoding};

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Status, headers (with Content-Length) and body of an answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200, 304, 404 or 405.
    pub status: StatusCode,
    /// All but Date and Server.
    pub headers: HeaderMap,
    /// Empty for HEAD and 304.
    pub body: Bytes,
}

impl Reply {
    /// For this client's eyes only: no cache may keep it (RFC 9111 section 5.2.2), and none is told how to find it.
    pub fn keep_private(&mut self) {
        self.headers
            .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        self.headers.remove(SURROGATE_KEY);
    }
}

/// Answers a request for a document; `None` is one that does not exist. `timestamp_max_age` is in seconds and holds for
/// [`Class::Moving`].
pub fn respond(method: &Method, headers: &HeaderMap, document: Option<&Document>, timestamp_max_age: u32) -> Reply {
    let head = method == Method::HEAD;
    if !head && method != Method::GET {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n", head);
        refused.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let Some(document) = document else {
        return plain(StatusCode::NOT_FOUND, "not found\n", head);
    };

    let (encoding, body) = choose(headers, document);
    let etag = document.etag(encoding);
    let mut answer = HeaderMap::with_capacity(8);
    answer.insert(CACHE_CONTROL, cache_control(document.class(), timestamp_max_age));
    answer.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    answer.insert(SURROGATE_KEY, surrogate_key(document.class()));
    let known = matches_any(headers, etag);
    answer.insert(ETAG, etag.clone());
    if known {
        return Reply {
            status: StatusCode::NOT_MODIFIED,
            headers: answer,
            body: Bytes::new(),
        };
    }
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if encoding != Encoding::Identity {
        answer.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    Reply {
        status: StatusCode::OK,
        headers: answer,
        body: if head { Bytes::new() } else { body.clone() },
    }
}

/// A short answer that nobody may store: a client that probes for the next root must see it the moment it is there.
fn plain(status: StatusCode, text: &'static str, head: bool) -> Reply {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    let body = Bytes::from_static(if head { b"" } else { text.as_bytes() });
    Reply { status, headers, body }
}

fn cache_control(class: Class, timestamp_max_age: u32) -> HeaderValue {
    match class {
        Class::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
        Class::Moving if timestamp_max_age == 1 => HeaderValue::from_static("public, max-age=1, must-revalidate"),
        Class::Moving => HeaderValue::try_from(format!("public, max-age={timestamp_max_age}, must-revalidate"))
            .unwrap_or(HeaderValue::from_static("no-cache")),
    }
}

fn surrogate_key(class: Class) -> HeaderValue {
    HeaderValue::from_static(match class {
        Class::Immutable => "tuf tuf-immutable",
        Class::Moving => "tuf tuf-timestamp",
    })
}

/// The encoding with the highest weight the request gives (RFC 9110 section 12.5.3); on equal weights zstd before gzip
/// before identity. Without the header, or when everything is refused, the plain bytes.
pub fn preferred(headers: &HeaderMap) -> Encoding {
    let mut best = (Encoding::Identity, 0);
    if headers.contains_key(ACCEPT_ENCODING) {
        for encoding in Encoding::ALL {
            let weight = weight(headers, encoding);
            if weight > best.1 {
                best = (encoding, weight);
            }
        }
    }
    best.0
}

/// The same, where the document has it.
fn choose<'a>(headers: &HeaderMap, document: &'a Document) -> (Encoding, &'a Bytes) {
    let wanted = preferred(headers);
    match document.encoded(wanted) {
        Some(body) => (wanted, body),
        None => (Encoding::Identity, document.body()),
    }
}

/// What the request thinks of an encoding, in thousandths. Only an encoding named by itself or by `*` is sent; identity
/// that is not named is the last resort.
fn weight(headers: &HeaderMap, encoding: Encoding) -> u16 {
    let mut any = None;
    for item in items(headers, &ACCEPT_ENCODING) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let coding = coding.trim();
        let named = coding.eq_ignore_ascii_case(encoding.name())
            || (encoding == Encoding::Gzip && coding.eq_ignore_ascii_case("x-gzip"));
        if named {
            return quality(parameters);
        }
        if coding == "*" {
            any = Some(quality(parameters));
        }
    }
    match encoding {
        Encoding::Identity => 0,
        _ => any.unwrap_or(0),
    }
}

/// `q=0.5` in thousandths; 1000 when absent, 0 when it cannot be read.
fn quality(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    match q.map(str::parse::<f32>) {
        None => 1000,
        Some(Ok(q)) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u16,
        Some(_) => 0,
    }
}

/// Whether If-None-Match names this representation. The comparison is weak (RFC 9110 section 13.1.2), since caches
/// weaken the tags they pass on.
fn matches_any(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    // Our tags hold no comma, so splitting at commas cannot make one out of another.
    items(headers, &IF_NONE_MATCH)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == *etag)
}

/// The comma-separated items of a header over all its lines.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;
