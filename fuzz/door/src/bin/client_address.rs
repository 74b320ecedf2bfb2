//! `X-Forwarded-For` and `X-Forwarded-Proto`: nobody is believed but a trusted proxy, and whatever a
//! client writes in front of what the proxies wrote changes nothing.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use keyward_core::address::{canonical, guess_origin, is_allowed};
use keyward_fuzz_door::pieces::Pieces;
use keyward_tower::Peer;
use keyward_tower::client_addr::{came_by_https, client_address};
use keyward_tower::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use libfuzzer_sys::fuzz_target;

static TRUSTED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    ["10.0.0.0/8", "2001:db8::/32", "::1/128"]
        .iter()
        .map(|n| n.parse().expect("a network"))
        .collect()
});

fn is_trusted(address: IpAddr) -> bool {
    TRUSTED.iter().any(|network| network.contains(&address))
}

/// The lines of the input as lines of a header, and what stands before the first of them.
fn headers(lines: &[&[u8]], before: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (number, line) in lines.iter().enumerate() {
        let (name, line) = match line.split_first() {
            Some((b'p', line)) => (X_FORWARDED_PROTO, line),
            _ => (X_FORWARDED_FOR, *line),
        };
        let is_first = !lines[..number]
            .iter()
            .any(|other| other.starts_with(b"p") == (name == X_FORWARDED_PROTO));
        let before = if is_first { before } else { "" };
        let value = HeaderValue::from_bytes(&[before.as_bytes(), line].concat());
        headers.append(name, value.expect("each part of it can stand in a header"));
    }
    headers
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let how = pieces.byte();
    let peer = pieces.address();
    let mut lines = vec![];
    while !pieces.is_empty() && lines.len() < 16 {
        let line = pieces.line();
        if HeaderValue::from_bytes(line).is_ok() {
            lines.push(line);
        }
    }
    let sent = headers(&lines, "");
    let found = client_address(peer, &sent, &TRUSTED);
    assert_eq!(found, canonical(found));
    assert_eq!(client_address(peer, &sent, &[]), canonical(peer));
    let is_proxy = is_trusted(canonical(peer));
    if !is_proxy {
        assert_eq!(found, canonical(peer));
    }
    if found != canonical(peer) {
        // It stands in the header, and nobody stands to the right of it but trusted proxies.
        let lines = sent.get_all(X_FORWARDED_FOR).iter();
        let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        let lines: Vec<String> = lines.collect();
        let text: Vec<&str> = lines.iter().flat_map(|l| l.split(',')).map(str::trim).collect();
        let read = |hop: &&str| {
            let plain = hop.parse::<IpAddr>().ok();
            let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|a| a.ip());
            let bare = || hop.trim_start_matches('[').trim_end_matches(']').parse().ok();
            plain.or_else(with_port).or_else(bare).map(canonical)
        };
        let place = text.iter().rposition(|hop| read(hop) == Some(found)).expect("it was sent");
        assert!(text[place + 1..].iter().all(|hop| read(hop).is_some_and(is_trusted)));
    }
    if !is_trusted(found) {
        // A client that puts somebody else's address in front is still itself.
        let forged = headers(&lines, "198.51.100.99, ");
        assert_eq!(client_address(peer, &forged, &TRUSTED), found);
    }
    let peer = Peer { address: (peer, 50_000).into(), is_encrypted: how & 1 != 0 };
    let is_https = came_by_https(&peer, &sent, &TRUSTED);
    if !is_proxy || !sent.contains_key(X_FORWARDED_PROTO) {
        assert_eq!(is_https, peer.is_encrypted);
    } else {
        // One hop in clear is enough, wherever it stands.
        assert!(!came_by_https(&peer, &headers(&lines, "http,"), &TRUSTED));
    }
    // Origins of guesses, and the networks of a key.
    let origin = guess_origin(found);
    assert_eq!(origin.is_ipv4(), found.is_ipv4());
    assert_eq!(guess_origin(origin), origin);
    assert_eq!(is_allowed(&TRUSTED, found), is_trusted(found));
    assert!(is_allowed(&[], found));
});
