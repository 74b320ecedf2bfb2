//! The client's address, and whether it came by HTTPS: as the connection shows it, or as a trusted
//! proxy says.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use keyward_core::address::canonical;

use crate::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::layer::Peer;

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

/// True if a request came by HTTPS: a trusted proxy says so, or the connection is encrypted and none
/// says otherwise.
#[must_use]
pub fn came_by_https(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    said_by_proxy(peer, headers, trusted).unwrap_or(peer.is_encrypted)
}

/// True if a key in the request could be read on its way: it came over plain HTTP, and not from this
/// very machine.
pub(crate) fn is_over_plain_http(
    peer: &Peer,
    headers: &HeaderMap,
    trusted: &[IpNet],
    client: IpAddr,
) -> bool {
    match said_by_proxy(peer, headers, trusted) {
        Some(is_https) => !is_https && !client.is_loopback(),
        None => !peer.is_encrypted && !canonical(peer.address.ip()).is_loopback(),
    }
}

/// What a trusted proxy says in `X-Forwarded-Proto`. Where several hops are listed, each must have
/// been HTTPS: a client can add to the list, and so only make its own request look worse.
fn said_by_proxy(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Option<bool> {
    let address = canonical(peer.address.ip());
    if !trusted.iter().any(|network| network.contains(&address)) {
        return None;
    }
    let lines = headers.get_all(X_FORWARDED_PROTO).iter();
    let mut hops = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).peekable();
    hops.peek()?;
    Some(hops.all(|hop| hop.trim_ascii().eq_ignore_ascii_case(b"https")))
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
    fn plain_http_from_another_machine_is_told_unless_a_trusted_proxy_vouches_for_it() {
        // Peer, whether encrypted, lines of the header, trusted: came by HTTPS, could be read.
        let check = |peer: &str, is_encrypted, lines: &[&str], trusted: &str, expected: (_, _)| {
            let address = peer.parse::<IpAddr>().expect(peer);
            let peer = Peer { address: (address, 50_000).into(), is_encrypted };
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_PROTO, HeaderValue::from_str(line).expect(line));
            }
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.7"));
            let trusted: Vec<IpNet> = trusted.split_whitespace().flat_map(str::parse).collect();
            let client = client_address(address, &headers, &trusted);
            let found = (
                came_by_https(&peer, &headers, &trusted),
                is_over_plain_http(&peer, &headers, &trusted, client),
            );
            assert_eq!(found, expected, "{peer:?} {lines:?} {trusted:?}");
        };
        check("192.0.2.1", false, &[], "", (false, true));
        check("192.0.2.1", true, &[], "", (true, false));
        check("127.0.0.1", false, &[], "", (false, false));
        check("::1", false, &[], "", (false, false));
        check("::ffff:127.0.0.1", false, &[], "", (false, false));
        // Nobody is believed unless trusted.
        check("192.0.2.1", false, &["https"], "10.0.0.0/8", (false, true));
        check("127.0.0.1", false, &["https"], "", (false, false));
        check("10.0.0.1", false, &["https"], "10.0.0.0/8", (true, false));
        check("::ffff:10.0.0.1", false, &["https"], "10.0.0.0/8", (true, false));
        check("10.0.0.1", false, &["HTTPS , https"], "10.0.0.0/8", (true, false));
        check("10.0.0.1", false, &["http"], "10.0.0.0/8", (false, true));
        check("10.0.0.1", false, &[], "10.0.0.0/8", (false, true));
        check("127.0.0.1", false, &["http"], "127.0.0.0/8", (false, true));
        check("127.0.0.1", false, &[], "127.0.0.0/8", (false, false));
        // One hop of several that was not encrypted is enough.
        check("10.0.0.1", false, &["https, http"], "10.0.0.0/8", (false, true));
        check("10.0.0.1", false, &["http", "https"], "10.0.0.0/8", (false, true));
        check("10.0.0.1", true, &["http"], "10.0.0.0/8", (false, true));
        check("10.0.0.1", false, &[""], "10.0.0.0/8", (false, true));
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
