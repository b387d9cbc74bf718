//! The Host header of an admin request must name loopback: a page in the operator's browser whose own name was rebound
//! to 127.0.0.1 (DNS rebinding) sends its own name and is refused.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Answers 421 (RFC 9110 section 15.5.20) unless exactly one Host names loopback.
pub async fn require_loopback(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let good = host.is_some_and(is_loopback)
        && hosts.next().is_none()
        // Absolute-form targets carry a host of their own.
        && request.uri().host().is_none_or(is_loopback);
    if good {
        return next.run(request).await;
    }
    let refusal = "the admin listener answers to `localhost` and loopback addresses only\n";
    (StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
}

/// Whether `host[:port]` is `localhost`, an address in 127.0.0.0/8, or `[::1]`.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_pass() {
        for host in [
            "localhost",
            "LocalHost:9",
            "127.0.0.1:8081",
            "127.3.2.1",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "[::]",
            "a@localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
