//! What differs between clients: HTTP/1.0, 1.1 and 2, with and without TLS.

use std::net::IpAddr;

use http::{Method, Version, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

/// The address that the connection comes from.
pub(super) fn client_ip(session: &Session) -> Option<IpAddr> {
    session
        .client_addr()
        .and_then(|addr| addr.as_inet())
        .map(|addr| addr.ip())
}

/// The scheme by which the client came, as `X-Forwarded-Proto` names it.
pub(super) fn scheme(session: &Session) -> &'static str {
    let secured = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    if secured { "https" } else { "http" }
}

/// Says what HTTP/2 says otherwise as HTTP/1 does, by which the gate and the upstream read it. The server is named in
/// `:authority` and mostly nowhere else (RFC 9113 section 8.3.1): where `Host` stands too, Pingora has seen to it that they
/// are the same. A cookie may come in crumbs (section 8.2.3).
pub(super) fn as_http_1(session: &mut Session) -> Result<()> {
    let request = session.req_header_mut();
    if request.version != Version::HTTP_2 {
        return Ok(());
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().to_owned());
    if let Some(authority) = authority.filter(|_| !request.headers.contains_key(header::HOST)) {
        request.insert_header(header::HOST, authority)?;
    }
    let crumbs = request.headers.get_all(header::COOKIE).iter();
    let crumbs: Vec<&[u8]> = crumbs.map(|crumb| crumb.as_bytes()).collect();
    if crumbs.len() > 1 {
        let cookie = crumbs.join(&b"; "[..]);
        request.insert_header(header::COOKIE, cookie)?;
    }
    Ok(())
}

/// Frames a request without a length for the upstream. HTTP/2 tells a body's end by a frame of its own, which may come
/// between the decision on the request and its header going out: Pingora then takes the request for one without a body,
/// and the upstream would store nothing over what it has, before anybody was asked. Where a last chunk is `withheld`,
/// there has to be one.
pub(super) fn frame_upload(session: &Session, request: &mut RequestHeader, withheld: bool) -> Result<()> {
    let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let http2 = session.as_downstream().as_http2();
    let Some(client) = http2.filter(|_| !framed.iter().any(|name| request.headers.contains_key(name))) else {
        return Ok(());
    };
    let bears_body = matches!(request.method, Method::PUT | Method::POST | Method::PATCH);
    match (withheld, bears_body && client.is_body_empty()) {
        (true, _) => request.insert_header(header::TRANSFER_ENCODING, "chunked"),
        // Servers ask for a length with these methods (RFC 9110 section 8.6).
        (false, true) => request.insert_header(header::CONTENT_LENGTH, "0"),
        (false, false) => Ok(()),
    }
}

/// A client of HTTP/1.0 knows no chunked coding (RFC 9112 section 6.1), into which Pingora puts every body of unknown
/// length: it gets such a body until the connection closes.
pub(super) fn frame(session: &mut Session, response: &mut ResponseHeader) {
    let old = session.req_header().version <= Version::HTTP_10;
    if old && response.remove_header(&header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}
