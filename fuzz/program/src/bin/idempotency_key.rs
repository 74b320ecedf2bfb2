//! `Idempotency-Key`: one header of 1 to 255 plain characters, or a 400 that says so.
#![no_main]

use http::{HeaderMap, HeaderValue};
use keyward::v3::extract::idempotency_key;
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let mut headers = HeaderMap::new();
    let mut sent = vec![];
    while !pieces.is_empty() && sent.len() < 3 {
        let line = pieces.line();
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("idempotency-key", value);
            sent.push(line);
        }
    }
    let is_plain = |key: &[u8]| {
        (1..=255).contains(&key.len())
            && key.iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b))
    };
    match idempotency_key(&headers) {
        Ok(None) => assert!(sent.is_empty()),
        Ok(Some(key)) => assert!(sent == [key.as_bytes()] && is_plain(key.as_bytes())),
        Err(error) => {
            assert!(sent.len() > 1 || !is_plain(sent[0]));
            assert_eq!(error.code().as_str(), "VALIDATION_007");
        }
    }
});
