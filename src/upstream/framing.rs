//! Where a message ends and which of its headers are the connection's alone. hyper frames the body; this says how it
//! did, and refuses the ambiguous heads that hyper takes.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{Framing, UpstreamError};

/// How the end of an answer is known (RFC 9112 section 6.3). For HEAD it is that of the GET it stands for.
///
/// Errors: [`UpstreamError::Broken`] on both Transfer-Encoding and Content-Length (request smuggling's favourite), on
/// lengths that differ or are no numbers, on any transfer coding but `chunked` alone (the bytes would be coded), and on
/// a 101 nobody asked for.
pub fn framing_of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<Framing, UpstreamError> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpstreamError::Broken("it switches protocols unasked".to_owned()));
    }
    if status == StatusCode::NO_CONTENT || (status == StatusCode::NOT_MODIFIED && method != Method::HEAD) {
        return Ok(Framing::Length(0));
    }
    let length = content_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), length) {
        (None, None) => Ok(Framing::Close),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (Some(_), Some(_)) => {
            let both = "it has both Content-Length and Transfer-Encoding";
            Err(UpstreamError::Broken(both.to_owned()))
        }
        (Some(coding), None) if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(coding), None) => Err(UpstreamError::Broken(format!("transfer coding {coding:?}"))),
    }
}

/// The one length all Content-Length values agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, UpstreamError> {
    let mut agreed = None;
    for line in headers.get_all(header::CONTENT_LENGTH) {
        for text in line.to_str().unwrap_or("?").split(',').map(str::trim) {
            // `u64::from_str` would take a leading `+`.
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let length = digits.then(|| text.parse::<u64>().ok()).flatten();
            match (length, agreed) {
                (Some(new), None) => agreed = Some(new),
                (Some(new), Some(old)) if new == old => {}
                _ => return Err(UpstreamError::Broken(format!("Content-Length {line:?}"))),
            }
        }
    }
    Ok(agreed)
}

/// Headers of one connection only (RFC 9110 section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes hop-by-hop headers, and repetitions of Content-Length.
///
/// `Connection` must not name what is meant for every recipient (RFC 9110 section 7.6.1), so that a
/// `Connection: content-encoding` cannot make coded bytes look plain.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !end_to_end(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if let Ok(Some(length)) = content_length(headers) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn end_to_end(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
        || [
            header::CACHE_CONTROL,
            header::ETAG,
            header::EXPIRES,
            header::LAST_MODIFIED,
            header::VARY,
        ]
        .contains(name)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn get(lines: &[(&'static str, &'static str)]) -> Option<Framing> {
        framing_of(&Method::GET, StatusCode::OK, &headers(lines)).ok()
    }

    #[test]
    fn the_end_is_known_as_rfc_9112_says() {
        assert_eq!(get(&[]), Some(Framing::Close));
        assert_eq!(get(&[("content-length", "7")]), Some(Framing::Length(7)));
        assert_eq!(
            get(&[("content-length", "7, 7"), ("content-length", "7")]),
            Some(Framing::Length(7))
        );
        assert_eq!(get(&[("transfer-encoding", "Chunked")]), Some(Framing::Chunked));
        for broken in [
            &[("content-length", "7"), ("content-length", "8")][..],
            &[("content-length", "7,8")],
            &[("content-length", "+7")],
            &[("content-length", "")],
            &[("content-length", "18446744073709551616")],
            &[("content-length", "7"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert_eq!(get(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn answers_without_a_body_have_length_zero() {
        let lengths = headers(&[("content-length", "7")]);
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            assert_eq!(framing_of(&Method::GET, status, &lengths).unwrap(), Framing::Length(0));
        }
        assert_eq!(
            framing_of(&Method::HEAD, StatusCode::OK, &lengths).unwrap(),
            Framing::Length(7)
        );
        framing_of(&Method::GET, StatusCode::SWITCHING_PROTOCOLS, &lengths).unwrap_err();
    }

    #[test]
    fn the_connections_headers_stay_with_it() {
        let mut map = headers(&[
            ("connection", "close, X-Private,content-encoding"),
            ("x-private", "1"),
            ("content-encoding", "gzip"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"x\""),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-encoding", "gzip"), ("etag", "\"x\"")]));
    }

    proptest! {
        #[test]
        fn a_length_is_only_ever_the_number_written(text in "[ 0-9,+x-]{0,24}") {
            let mut map = HeaderMap::new();
            map.insert(header::CONTENT_LENGTH, text.parse().unwrap());
            if let Ok(Framing::Length(length)) = framing_of(&Method::GET, StatusCode::OK, &map) {
                for member in text.split(',') {
                    prop_assert_eq!(member.trim().trim_start_matches('0').parse().unwrap_or(0u64), length);
                }
            }
        }
    }
}
