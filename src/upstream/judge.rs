//! What an answer's head allows the gate to conclude from its body. Pure, so that the streaming path and the neutral
//! read cannot come to differ.
//!
//! Every refusal is a short stable word: it is a metric's label and part of a log line.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::Framing;

/// Whether the body can be compared with what is recorded. Its framing does not matter: the record has the length.
///
/// Errors: `status` (only 200 carries the whole representation), `encoded` (a Content-Encoding although identity was
/// asked for), `partial` (a Content-Range on a 200, as `rclone serve s3` sends).
pub fn verifiable(status: StatusCode, headers: &HeaderMap, _framing: Framing) -> Result<(), &'static str> {
    if status != StatusCode::OK {
        return Err("status");
    }
    if members(headers, header::CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err("encoded");
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err("partial");
    }
    Ok(())
}

/// Whether the body, once whole, is the one representation every reader gets: what a neutral read may report.
///
/// Errors: those of [`verifiable`]; `unproven` (its end is the connection's, RFC 9112 section 6.3, so a cut looks
/// whole), `varies` (Vary names more than encodings).
pub fn provable(status: StatusCode, headers: &HeaderMap, framing: Framing) -> Result<(), &'static str> {
    verifiable(status, headers, framing)?;
    if framing == Framing::Close {
        return Err("unproven");
    }
    if members(headers, header::VARY).any(|name| !name.eq_ignore_ascii_case("accept-encoding")) {
        return Err("varies");
    }
    Ok(())
}

/// Whether the body, once whole, may be learned by fetch. The request must have been one the gate could have written
/// itself, which is not seen here.
///
/// Errors: those of [`provable`]; `uncacheable` (marked `no-cache` or `no-store`), `html`.
pub fn learnable(status: StatusCode, headers: &HeaderMap, framing: Framing) -> Result<(), &'static str> {
    provable(status, headers, framing)?;
    let marked = members(headers, header::CACHE_CONTROL).any(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("no-cache") || name.eq_ignore_ascii_case("no-store")
    });
    if marked {
        return Err("uncacheable");
    }
    if headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .any(|value| is_html(value.as_bytes()))
    {
        return Err("html");
    }
    Ok(())
}

fn is_html(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    essence.eq_ignore_ascii_case(b"text/html") || essence.eq_ignore_ascii_case(b"application/xhtml+xml")
}

/// The non-empty members of a list header (RFC 9110 section 5.6.1). A line that is not ASCII is one strange member, so
/// that it cannot hide what it holds.
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    /// `verifiable`, `provable`, `learnable`.
    type Verdicts = [Result<(), &'static str>; 3];
    type Case = (u16, &'static [(&'static str, &'static str)], Framing, Verdicts);

    #[test]
    fn each_level_refuses_what_the_one_below_does_and_more() {
        let len = Framing::Length(3);
        let all = |word: &'static str| -> Verdicts { [Err(word); 3] };
        let cases: &[Case] = &[
            (200, &[], len, [Ok(()); 3]),
            (200, &[], Framing::Chunked, [Ok(()); 3]),
            (
                200,
                &[("content-encoding", "identity"), ("vary", "Accept-Encoding,")],
                len,
                [Ok(()); 3],
            ),
            (
                200,
                &[("content-type", "text/htmlx"), ("cache-control", "public, max-age=1")],
                len,
                [Ok(()); 3],
            ),
            (206, &[], len, all("status")),
            (304, &[], len, all("status")),
            (203, &[], len, all("status")),
            (200, &[("content-encoding", "gzip")], len, all("encoded")),
            (200, &[("content-encoding", "identity, br")], len, all("encoded")),
            (200, &[("content-range", "bytes 2-4/10")], len, all("partial")),
            (200, &[], Framing::Close, [Ok(()), Err("unproven"), Err("unproven")]),
            (
                200,
                &[("vary", "accept-encoding, origin")],
                len,
                [Ok(()), Err("varies"), Err("varies")],
            ),
            (200, &[("vary", "*")], len, [Ok(()), Err("varies"), Err("varies")]),
            (
                200,
                &[("cache-control", "max-age=0, No-Cache")],
                len,
                [Ok(()), Ok(()), Err("uncacheable")],
            ),
            (
                200,
                &[("cache-control", "no-cache=\"x\"")],
                len,
                [Ok(()), Ok(()), Err("uncacheable")],
            ),
            (
                200,
                &[("cache-control", "no-store")],
                len,
                [Ok(()), Ok(()), Err("uncacheable")],
            ),
            (
                200,
                &[("content-type", "Text/HTML; charset=utf-8")],
                len,
                [Ok(()), Ok(()), Err("html")],
            ),
            (
                200,
                &[("content-type", "application/xhtml+xml")],
                len,
                [Ok(()), Ok(()), Err("html")],
            ),
        ];
        for (status, lines, framing, expected) in cases {
            let (status, headers) = (StatusCode::from_u16(*status).unwrap(), headers(lines));
            let seen = [verifiable, provable, learnable].map(|judge| judge(status, &headers, *framing));
            assert_eq!(seen, *expected, "{status} {lines:?} {framing:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_ascii_hides_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_bytes(b"accept-encoding\xff").unwrap());
        assert_eq!(provable(StatusCode::OK, &headers, Framing::Chunked), Err("varies"));
        headers.clear();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(verifiable(StatusCode::OK, &headers, Framing::Chunked), Err("encoded"));
    }
}
