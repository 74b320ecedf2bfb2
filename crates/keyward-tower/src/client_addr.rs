//! The client's address: the peer's, or what a trusted proxy says of it.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use keyward_core::address::canonical;

use crate::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};

/// The address that a request came from.
///
/// `X-Forwarded-For` is read from the right, and only as far as the chain of trusted proxies
/// reaches: whatever a client wrote into it itself stands further left and is not believed.
/// Something that is no address ends the walk at the proxy that passed it on.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = canonical(peer);
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() || !is_trusted(&address) {
        return address;
    }
    let lines: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(|v| v.as_bytes()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let Some(hop) = str::from_utf8(hop).ok().and_then(|text| parse_hop(text.trim())) else {
            return address;
        };
        address = canonical(hop);
        if !is_trusted(&address) {
            return address;
        }
    }
    address
}

/// True if a trusted proxy says that the client came to it by HTTPS.
#[must_use]
pub fn came_by_https(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let peer = canonical(peer);
    let mut said = headers.get_all(X_FORWARDED_PROTO).iter();
    trusted.iter().any(|network| network.contains(&peer))
        && said.next().is_some_and(|scheme| scheme == "https")
        && said.next().is_none()
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(peer: &str, lines: &[&str], trusted: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).expect(line));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|n| n.parse().expect(n)).collect();
        let found = client_address(peer.parse().expect(peer), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().expect(expected), "{peer} {lines:?}");
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        check("192.0.2.1", &["198.51.100.7"], &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], &["10.0.0.0/8"], "192.0.2.1");
        check("::ffff:192.0.2.1", &[], &[], "192.0.2.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_is_the_client() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"];
        check("10.0.0.1", &["198.51.100.7"], trusted, "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"], trusted, "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.2"], trusted, "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7:4711"], trusted, "198.51.100.7");
        check("10.0.0.1", &["[2001:db9::1]:443"], trusted, "2001:db9::1");
        check("10.0.0.1", &["[2001:db9::1]"], trusted, "2001:db9::1");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_https() {
        let trusted = ["10.0.0.0/8".parse::<IpNet>().expect("a network")];
        let check = |peer: &str, schemes: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for scheme in schemes {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
            }
            let peer = peer.parse().expect(peer);
            assert_eq!(came_by_https(peer, &headers, &trusted), expected, "{peer} {schemes:?}");
        };
        check("10.0.0.1", &["https"], true);
        check("::ffff:10.0.0.1", &["https"], true);
        check("10.0.0.1", &["http"], false);
        check("10.0.0.1", &["https", "http"], false);
        check("10.0.0.1", &[], false);
        check("192.0.2.1", &["https"], false);
    }

    #[test]
    fn what_is_no_address_is_not_believed() {
        let trusted = &["10.0.0.0/8"];
        check("10.0.0.1", &[], trusted, "10.0.0.1");
        check("10.0.0.1", &[""], trusted, "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"], trusted, "10.0.0.2");
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], trusted, "10.0.0.3");
    }
}
