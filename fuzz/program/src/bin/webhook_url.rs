//! Addresses that webhooks shall be sent to: none that leads to this machine or into a private network passes,
//! however it is written, and none with a password in it.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use keyward::config::HttpRule;
use keyward::outbound::Guard;
use keyward_core::account::Environment;
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

static STRICT: LazyLock<Guard> =
    LazyLock::new(|| Guard { http: HttpRule::Never, networks: vec![] });
static USUAL: LazyLock<Guard> =
    LazyLock::new(|| Guard { http: HttpRule::TestLoopback, networks: vec![] });
static OPENED: LazyLock<Guard> = LazyLock::new(|| Guard {
    http: HttpRule::Never,
    networks: vec!["10.1.0.0/16".parse().expect("a network")],
});

/// What is surely not the public internet, written down a second time.
fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_unspecified()
        || address.is_documentation()
        || (a, b & 0xc0) == (100, 64)
        || a == 0
        || a >= 240
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => {
            let parts = address.segments();
            let within = |high: u16, low: u16| {
                is_private_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            };
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || parts[..2] == [0x2001, 0xdb8]
                // An IPv4 address within: the old form, 6to4, NAT64.
                || parts[..6] == [0; 6]
                || (parts[0] == 0x2002 && within(parts[1], parts[2]))
                || (parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && within(parts[6], parts[7]))
        }
    }
}

fn check_address(address: IpAddr) {
    for environment in [Environment::Production, Environment::Test] {
        let is_loopback = address.to_canonical().is_loopback();
        if is_private(address) {
            assert!(STRICT.check(address, false, environment).is_err(), "{address}");
            let may = environment == Environment::Test && is_loopback;
            assert_eq!(USUAL.check(address, false, environment).is_ok(), may, "{address}");
            assert_eq!(USUAL.check(address, true, environment).is_ok(), may, "{address}");
            let is_opened = matches!(address.to_canonical(),
                IpAddr::V4(address) if address.octets()[..2] == [10, 1]);
            assert_eq!(OPENED.check(address, false, environment).is_ok(), is_opened, "{address}");
        }
        assert!(STRICT.check(address, true, environment).is_err(), "plain HTTP");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    check_address(pieces.address());
    let Ok(text) = str::from_utf8(pieces.rest()) else { return };
    for guard in [&*STRICT, &*USUAL, &*OPENED] {
        for environment in [Environment::Production, Environment::Test] {
            match guard.read(text, environment) {
                Ok(url) => {
                    assert!(["http", "https"].contains(&url.scheme()) && text.len() <= 2048);
                    assert!(url.username().is_empty() && url.password().is_none());
                    assert_eq!(url.fragment(), None);
                    // As every resolver reads it: an address that is written as such.
                    let host = url.host_str().expect("there is one");
                    let bare = host.trim_start_matches('[').trim_end_matches(']');
                    let address = bare.parse::<IpAddr>().ok();
                    let is_plain = url.scheme() == "http";
                    match address {
                        Some(address) => {
                            assert!(guard.check(address, is_plain, environment).is_ok());
                            check_address(address);
                        }
                        None => {
                            let name = host.trim_end_matches('.').to_ascii_lowercase();
                            let is_here = name == "localhost" || name.ends_with(".localhost");
                            let may = environment == Environment::Test
                                && guard.http == HttpRule::TestLoopback;
                            assert!(!is_here || may, "{host}");
                            assert!(!is_plain || is_here, "{url}");
                        }
                    }
                    assert!(
                        guard.read(url.as_str(), environment).is_ok() || url.as_str().len() > 2048
                    );
                }
                Err(sentence) => assert!(!sentence.is_empty() && sentence.len() < 300),
            }
        }
    }
});
