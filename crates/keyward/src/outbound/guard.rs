//! Where requests may go: addresses that somebody else chose must not lead into our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use keyward_core::account::Environment;
use url::{Host, Url};

use crate::config::HttpRule;

/// What may be gone to.
#[derive(Clone, Debug)]
pub struct Guard {
    pub http: HttpRule,
    /// Networks that are not public and may be gone to all the same.
    pub networks: Vec<IpNet>,
}

pub const LONGEST_URL: usize = 2048;

const NOT_PUBLIC: &str = "the address is not on the public internet: loopback, private, link-local, multicast and metadata \
     addresses may not be gone to";
const NOT_HTTPS: &str = "must begin with https://";

/// Not on the public internet, after IANA's registry of special addresses; the last one answers for the
/// metadata of a cloud although it looks public.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];
/// Within 2000::/3, the only part that is public: tunnels that hold an IPv4 address, and examples.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(network, length)| {
            Ipv4Net::new(*network, *length).is_ok_and(|network| network.contains(&address))
        }),
        IpAddr::V6(address) => {
            let within = |(network, length): (Ipv6Addr, u8)| {
                Ipv6Net::new(network, length).is_ok_and(|network| network.contains(&address))
            };
            within(PUBLIC_V6) && !SPECIAL_V6.into_iter().any(within)
        }
    }
}

impl Guard {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn check(
        &self,
        address: IpAddr,
        is_plain: bool,
        environment: Environment,
    ) -> Result<(), &'static str> {
        // An IPv4 address may be written as an IPv6 one.
        let address = address.to_canonical();
        let is_receiver_in_the_making = address.is_loopback()
            && environment == Environment::Test
            && self.http != HttpRule::Never;
        if is_plain && self.http != HttpRule::Always && !is_receiver_in_the_making {
            return Err(NOT_HTTPS);
        }
        let is_opened = self.networks.iter().any(|network| network.contains(&address));
        if is_receiver_in_the_making || is_opened || is_public(address) {
            Ok(())
        } else {
            Err(NOT_PUBLIC)
        }
    }

    /// Reads an address to post to, without asking anybody where its name leads.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn read(&self, text: &str, environment: Environment) -> Result<Url, String> {
        if text.len() > LONGEST_URL {
            return Err(format!("must not be longer than {LONGEST_URL} characters"));
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        let url =
            url.ok_or_else(|| String::from("Endpoint URL must be a valid HTTP or HTTPS URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(String::from("must not hold a user name or a password"));
        }
        if url.fragment().is_some() {
            return Err(String::from("must not have a fragment"));
        }
        let is_plain = url.scheme() == "http";
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            // Every system takes it for its own loopback.
            Some(Host::Domain(name)) if is_localhost(name) => Some(Ipv4Addr::LOCALHOST.into()),
            _ => None,
        };
        match address {
            Some(address) => {
                self.check(address, is_plain, environment).map_err(ToOwned::to_owned)?;
            }
            None if is_plain && self.http != HttpRule::Always => {
                return Err(NOT_HTTPS.to_owned());
            }
            None => {}
        }
        Ok(url)
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: Guard = Guard { http: HttpRule::TestLoopback, networks: vec![] };

    #[test]
    fn only_the_public_internet_is_gone_to() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
        ] {
            let address = text.parse().expect(text);
            assert_eq!(
                USUAL.check(address, false, Environment::Production),
                Err(NOT_PUBLIC),
                "{text}"
            );
        }
        for text in ["1.1.1.1", "172.32.0.1", "8.8.8.8", "2606:4700::1111", "192.0.1.1"] {
            let address = text.parse().expect(text);
            assert_eq!(USUAL.check(address, false, Environment::Production), Ok(()), "{text}");
            assert_eq!(USUAL.check(address, true, Environment::Test), Err(NOT_HTTPS), "{text}");
        }
    }

    #[test]
    fn this_machine_is_for_the_test_environment_alone_and_can_be_closed() {
        let loopback: IpAddr = "::1".parse().expect("an address");
        for is_plain in [true, false] {
            assert_eq!(USUAL.check(loopback, is_plain, Environment::Test), Ok(()));
            assert!(USUAL.check(loopback, is_plain, Environment::Production).is_err());
            let closed = Guard { http: HttpRule::Never, ..USUAL };
            assert!(closed.check(loopback, is_plain, Environment::Test).is_err());
        }
        let open = Guard {
            http: HttpRule::Always,
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
        };
        let check =
            |text: &str| open.check(text.parse().expect(text), true, Environment::Production);
        assert_eq!(check("10.9.9.9"), Ok(()));
        assert_eq!(check("1.1.1.1"), Ok(()));
        assert!(check("192.168.1.1").is_err());
    }

    #[test]
    fn an_address_is_read_whole_or_refused_with_a_reason() {
        let read =
            |text: &str| USUAL.read(text, Environment::Production).map(|url| url.to_string());
        assert_eq!(read("https://a.example/x?y=1"), Ok(String::from("https://a.example/x?y=1")));
        let valid = "Endpoint URL must be a valid HTTP or HTTPS URL";
        for (text, expected) in [
            ("", valid),
            ("a.example", valid),
            ("ftp://a.example/", valid),
            ("https://", valid),
            ("file:///etc/passwd", valid),
            ("http://a.example/", NOT_HTTPS),
            ("https://u:p@a.example/", "must not hold a user name or a password"),
            ("https://a.example/#x", "must not have a fragment"),
            ("https://localhost/", NOT_PUBLIC),
            ("https://x.localhost./", NOT_PUBLIC),
            ("https://127.1/", NOT_PUBLIC),
            ("https://0x7f000001/", NOT_PUBLIC),
            ("https://2130706433/", NOT_PUBLIC),
            ("https://[::ffff:10.0.0.1]/", NOT_PUBLIC),
            ("https://169.254.169.254/latest/meta-data", NOT_PUBLIC),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
        assert!(read(&format!("https://a.example/{}", "x".repeat(LONGEST_URL))).is_err());
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_treated_as_what_it_maps(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            let mapped = plain.to_ipv6_mapped();
            let check = |address: IpAddr| USUAL.check(address, false, Environment::Production);
            prop_assert_eq!(check(plain.into()), check(mapped.into()));
        }
    }
}
