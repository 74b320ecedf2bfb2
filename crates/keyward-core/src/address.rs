//! Client addresses: which networks a key may be used from, and how a stranger is counted.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The address as IPv4 where it is an IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`).
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// True if no network is named, or one of them holds the address.
#[must_use]
pub fn is_allowed(networks: &[IpNet], address: IpAddr) -> bool {
    let address = canonical(address);
    networks.is_empty() || networks.iter().any(|network| network.contains(&address))
}

/// Whom guesses are counted against: an IPv4 address, or the /64 that one IPv6 host is given.
#[must_use]
pub fn guess_origin(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_list_allows_its_networks_and_an_empty_one_all() {
        let check = |networks: &[&str], address: &str, expected: bool| {
            let networks: Vec<IpNet> = networks.iter().map(|n| n.parse().expect(n)).collect();
            assert_eq!(is_allowed(&networks, ip(address)), expected, "{networks:?} {address}");
        };
        check(&[], "203.0.113.9", true);
        check(&["203.0.113.0/24"], "203.0.113.9", true);
        check(&["203.0.113.0/24"], "::ffff:203.0.113.9", true);
        check(&["203.0.113.0/24"], "203.0.114.9", false);
        check(&["2001:db8::/32", "10.0.0.0/8"], "10.9.8.7", true);
        check(&["2001:db8::/32"], "2001:db9::1", false);
    }

    #[test]
    fn one_ipv6_host_is_one_origin_however_it_changes_its_address() {
        assert_eq!(guess_origin(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(guess_origin(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
