//! What differs between clients: HTTP/1.0, 1.1 and 2, with and without TLS.

use std::net::IpAddr;

use http::{Version, header};
use pingora::{Result, http::ResponseHeader, proxy::Session};

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

/// HTTP/2 names the server in `:authority` and mostly nowhere else (RFC 9113 section 8.3.1); the gate reads `Host`.
/// Where both stand, Pingora has seen to it that they are the same.
pub(super) fn name_host(session: &mut Session) -> Result<()> {
    let request = session.req_header_mut();
    let authority = request.uri.authority().map(|authority| authority.as_str().to_owned());
    match authority {
        Some(authority) if request.version == Version::HTTP_2 && !request.headers.contains_key(header::HOST) => {
            request.insert_header(header::HOST, authority)
        }
        _ => Ok(()),
    }
}

/// A client of HTTP/1.0 knows no chunked coding (RFC 9112 section 6.1), into which Pingora puts every body of unknown
/// length: it gets such a body until the connection closes.
pub(super) fn frame(session: &Session, response: &mut ResponseHeader) {
    if session.req_header().version <= Version::HTTP_10 {
        response.remove_header(&header::TRANSFER_ENCODING);
    }
}
