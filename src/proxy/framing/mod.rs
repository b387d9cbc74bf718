//! Heads in which two servers could see two messages. They are refused before the upstream hears of them, and their
//! connection ends, since what follows on it cannot be told from what they carry. `head.rs` is the rule; here stands what
//! a request and an answer have taken off them on their way through Pingora.
//!
//! Pingora tidies a head before any filter sees it: a Content-Length beside a Transfer-Encoding is gone, and a line that
//! ends in a bare LF looks like any other. So the bytes as they came are judged. Of a chunked body they are not to be
//! had: what Pingora takes for a chunk's size (an extension with a bare LF in it, or no digit at all) another server in
//! front may have taken for something else. The upstream cannot, since Pingora writes the chunks anew; and nothing is
//! read from a connection after a chunked body.

mod head;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

pub(crate) use self::head::end_of_head;
pub(super) use self::head::{Body, read};
use self::head::{decimal, judge, judge_framed, trim};
use super::problem::Problem;

/// Judges a request, of HTTP/2 once `client::as_http_1` has named its host.
pub(super) fn judge_request(session: &mut Session) -> Result<(), Problem> {
    let Some(http1) = session.as_downstream().as_http1() else {
        let request = session.req_header();
        let named = request.headers.iter();
        let named = named.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        return Ok(judge_framed(request.method.as_str().as_bytes(), named)?);
    };
    let body = judge(&http1.get_headers_raw_bytes())?;
    let request = session.req_header();
    let old = request.version == Version::HTTP_10;
    if body == Body::Chunked {
        session.set_keepalive(None);
    }
    if old {
        // RFC 9110 section 15.2: HTTP/1.0 knows no informational answer.
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    Ok(())
}

/// Says a length in one way, whatever zeros it came with, and expects nothing for a client of HTTP/1.0, which cannot wait
/// (RFC 9110 section 10.1.1). Nothing but a GET of a path that is not `tracked` may become a tunnel (RFC 6455 section
/// 4.1): what goes through one, no rule is applied to. Returns whether the upstream is asked for one.
pub(super) fn tidy_request(client: Version, tracked: bool, request: &mut RequestHeader) -> pingora::Result<bool> {
    if client == Version::HTTP_10 {
        request.remove_header(&header::EXPECT);
    }
    if tracked || request.method != Method::GET {
        request.remove_header(&header::UPGRADE);
        request.remove_header(&header::CONNECTION);
    }
    let length = request.headers.get(header::CONTENT_LENGTH);
    if let Some(length) = length.and_then(|value| decimal(value.as_bytes())) {
        request.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(request.headers.contains_key(header::UPGRADE))
}

/// Refuses a switch of protocols that the request did not ask for (RFC 9110 section 15.2.2): its client would take what
/// follows for answers. Pingora only compares what it was asked with what it asked.
pub(super) fn judge_switch(answer: &ResponseHeader, asked: bool) -> Result<(), Problem> {
    match answer.status == StatusCode::SWITCHING_PROTOCOLS && !asked {
        false => Ok(()),
        true => Err(broken("switched protocols unasked")),
    }
}

fn broken(why: &str) -> Problem {
    let detail = format!("the upstream's answer cannot be read: it has {why}");
    Problem::new(StatusCode::BAD_GATEWAY, "upstream-broken", detail)
}

/// Judges an upstream's answer that streams through Pingora, and leaves in it what is for the client. Pingora has chosen
/// how to read its body by then, and a Content-Length beside a Transfer-Encoding is gone: that one cannot be told.
pub(super) fn tidy_answer(answer: &mut ResponseHeader) -> Result<(), Problem> {
    let codings: Vec<&HeaderValue> = answer.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    match codings.as_slice() {
        [] => {}
        [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked") && answer.version != Version::HTTP_10 => {}
        _ => return Err(broken("a transfer coding other than chunked, or in HTTP/1.0")),
    }
    let lengths: Vec<&[u8]> = answer
        .headers
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(trim)
        .collect();
    let length = match lengths.split_first() {
        None => None,
        Some((first, others)) => {
            let number = decimal(first).filter(|number| others.iter().all(|other| decimal(other) == Some(*number)));
            Some(number.ok_or_else(|| broken("a Content-Length that is not one number"))?)
        }
    };
    // RFC 9110 section 2.5: the version is the connection's, whatever the upstream speaks.
    answer.set_version(Version::HTTP_11);
    for name in connection_names(&answer.headers) {
        answer.remove_header(&name);
    }
    match length {
        // RFC 9110 section 8.6: none in a 204.
        Some(_) if answer.status == StatusCode::NO_CONTENT => {
            answer.remove_header(&header::CONTENT_LENGTH);
        }
        Some(length) => answer
            .insert_header(header::CONTENT_LENGTH, length)
            .map_err(|_| broken("a Content-Length that is not one number"))?,
        None => {}
    }
    Ok(())
}

/// What is the connection's alone, but for what Pingora goes by or sets (RFC 9110 section 7.6.1).
fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut alone = headers.clone();
    crate::upstream::strip_hop_by_hop(&mut alone);
    let kept = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];
    headers
        .keys()
        .filter(|name| !alone.contains_key(*name) && !kept.contains(name))
        .cloned()
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_one_length_or_none() {
        let answer = |version, status: u16, lines: &[(&'static str, &'static str)]| {
            let mut answer = ResponseHeader::build(status, None).unwrap();
            answer.set_version(version);
            for (name, value) in lines {
                answer.append_header(*name, *value).unwrap();
            }
            tidy_answer(&mut answer).map(|()| {
                let of = |name| {
                    answer
                        .headers
                        .get_all(name)
                        .iter()
                        .map(|v| v.to_str().unwrap().to_owned())
                };
                of(header::CONTENT_LENGTH)
                    .chain(of(header::TRANSFER_ENCODING))
                    .collect::<Vec<_>>()
            })
        };
        let new = |status, lines: &[(&'static str, &'static str)]| answer(Version::HTTP_11, status, lines).ok();
        assert_eq!(new(200, &[("content-length", "3, 3")]).unwrap(), ["3"]);
        assert_eq!(
            new(200, &[("content-length", "3"), ("content-length", "03")]).unwrap(),
            ["3"]
        );
        assert_eq!(new(204, &[("content-length", "3")]).unwrap(), [""; 0]);
        assert_eq!(new(304, &[("content-length", "3")]).unwrap(), ["3"]);
        assert_eq!(new(200, &[("transfer-encoding", "Chunked")]).unwrap(), ["Chunked"]);
        assert_eq!(new(200, &[("content-length", "3, 4")]), None);
        assert_eq!(new(200, &[("transfer-encoding", "gzip, chunked")]), None);
        assert_eq!(
            new(
                200,
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]
            ),
            None
        );
        answer(Version::HTTP_10, 200, &[("transfer-encoding", "chunked")]).unwrap_err();
    }
}
