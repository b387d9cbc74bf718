//! Connecting: names are resolved once, the addresses judged, and the connection made to a judged address, so that a
//! second look-up cannot answer differently (DNS rebinding).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use url::Host;

use super::{
    UpstreamError,
    redirect::{Origin, Trust, refused},
};

/// Connects within `limit`, trying each address in turn.
///
/// Errors: [`UpstreamError::Connect`], [`UpstreamError::Timeout`], and [`UpstreamError::Redirect`] when only a wildcard
/// vouches for the name and it has no public address.
pub async fn connect(to: &Origin, trust: Trust, limit: Duration) -> Result<TcpStream, UpstreamError> {
    timeout(limit, dial(to, trust, limit))
        .await
        .unwrap_or(Err(UpstreamError::Timeout("connect")))
}

async fn dial(to: &Origin, trust: Trust, limit: Duration) -> Result<TcpStream, UpstreamError> {
    let failed = |error: std::io::Error| UpstreamError::Connect(format!("{}: {error}", to.authority()));
    let mut addresses = resolve(to).await.map_err(failed)?;
    if trust == Trust::Matched {
        addresses.retain(|address| is_public(address.ip()));
        if addresses.is_empty() {
            return Err(refused(to.shown(), "its address is not a public one"));
        }
    }
    // A dead address must leave time for the next one.
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = UpstreamError::Connect(format!("{} has no address", to.authority()));
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = failed(error),
            Err(_) => last = UpstreamError::Timeout("connect"),
        }
    }
    Err(last)
}

async fn resolve(to: &Origin) -> std::io::Result<Vec<SocketAddr>> {
    match &to.host {
        Host::Domain(name) => Ok(lookup_host((name.as_str(), to.port)).await?.collect()),
        Host::Ipv4(ip) => Ok(vec![SocketAddr::from((*ip, to.port))]),
        Host::Ipv6(ip) => Ok(vec![SocketAddr::from((*ip, to.port))]),
    }
}

/// Whether an address is out on the internet: not this host, this network, a private one (RFC 1918, RFC 4193, RFC
/// 6598), link-local (where clouds keep their metadata service), multicast or reserved; also not wrapped in IPv6.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match wrapped(ip) {
            Some(inner) => is_public_v4(inner),
            None => {
                let [first, ..] = ip.segments();
                // 2000::/3 is all that is assigned to the internet; 2001:db8::/32 is for documents.
                first & 0xe000 == 0x2000 && ip.segments()[..2] != [0x2001, 0x0db8]
            }
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let reserved = a == 0 || a >= 240 || (a == 198 && (b == 18 || b == 19)) || ip.octets()[..3] == [192, 0, 0];
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || shared
        || reserved)
}

/// The IPv4 address inside a mapped, compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056) one.
fn wrapped(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_wildcards_name_that_resolves_inside_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Origin {
            https: false,
            host: Host::Domain("localhost".to_owned()),
            port,
        };
        let limit = Duration::from_secs(5);
        let refusal = connect(&to, Trust::Matched, limit).await.unwrap_err();
        assert!(matches!(refusal, UpstreamError::Redirect { .. }), "{refusal}");
        connect(&to, Trust::Listed, limit).await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_port_is_a_connect_error_that_names_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let to = Origin {
            https: false,
            host: Host::Ipv4(Ipv4Addr::LOCALHOST),
            port,
        };
        let error = connect(&to, Trust::Home, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
