//! Paths: whatever is below `/v3` asks for a key, a parameter is a piece of the path between two slashes, and
//! what is decoded of it is text.
#![no_main]

use http::{Method, Uri};
use keyward::server::routes::{ENDPOINTS, Found, RouteTable};
use keyward_fuzz_door::pieces::Pieces;
use keyward_tower::{Access, Routes as _};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let Ok(method) = Method::from_bytes(pieces.line()) else { return };
    let Ok(uri) = Uri::try_from(pieces.rest()) else { return };
    let path = uri.path();
    let (access, found) = RouteTable.find(&method, path);
    let is_below = path == "/v3" || path.starts_with("/v3/");
    assert_eq!(access == Access::Open, !is_below, "{path}");
    match found {
        Found::Endpoint { endpoint, parameter } => {
            assert_eq!(access, endpoint.access);
            let is_head = method == Method::HEAD && endpoint.method == "GET";
            assert!(method == endpoint.method || is_head);
            let named = endpoint.pattern.find('{');
            assert_eq!(named.is_some(), parameter.is_some());
            let rebuilt = match (named, parameter) {
                (Some(from), Some((start, end))) => {
                    let value = path.get(start..end).expect("it stands in the path");
                    assert!(start == from && !value.is_empty() && !value.contains('/'));
                    let text = percent_decode_str(value).decode_utf8_lossy();
                    assert!(text.len() <= 3 * value.len());
                    let to = endpoint.pattern.find('}').expect("it ends");
                    let (front, back) = (&endpoint.pattern[..from], &endpoint.pattern[to + 1..]);
                    format!("{front}{value}{back}")
                }
                _ => endpoint.pattern.to_owned(),
            };
            assert_eq!(rebuilt, path);
        }
        Found::WrongMethod { pattern, allow } => {
            let methods = ENDPOINTS.iter().filter(|e| e.pattern == pattern).map(|e| e.method);
            for known in methods {
                assert!(allow.contains(known) && method != known);
            }
        }
        Found::NoPath => {
            assert!(!ENDPOINTS.iter().any(|e| e.pattern == path), "{path}");
        }
    }
});
