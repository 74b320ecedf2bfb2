//! `traceparent`: what is taken is exactly what a strict second reading takes, and two headers are none.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_fuzz_door::pieces::Pieces;
use keyward_tower::TraceParent;
use libfuzzer_sys::fuzz_target;

/// A number of so many digits in lower case.
fn number(text: &str, digits: usize) -> Option<u128> {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (text.len() == digits && is_lower && !text.starts_with('+'))
        .then(|| u128::from_str_radix(text, 16).ok())?
}

/// The trace, its parent and its flags, read by cutting instead of by places.
fn read(text: &str) -> Option<(u128, u128, u128)> {
    let mut parts = text.splitn(5, '-');
    let mut part = |digits| parts.next().and_then(|part| number(part, digits));
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_known = version != 0xff && (version != 0 || parts.next().is_none());
    (is_known && trace != 0 && parent != 0).then_some((trace, parent, flags))
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let mut headers = HeaderMap::new();
    let mut lines = vec![];
    while !pieces.is_empty() && lines.len() < 3 {
        let line = pieces.line();
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        headers.append(HeaderName::from_static("traceparent"), value);
        lines.push(line);
    }
    let expected = match lines[..] {
        // What follows in a later version need not be text.
        [line] => read(&String::from_utf8_lossy(line)),
        _ => None,
    };
    let found = TraceParent::of(&headers);
    let seen = found.map(|found| {
        let trace = u128::from_be_bytes(*found.trace.as_bytes());
        (trace, u128::from(u64::from_be_bytes(found.parent)), found.is_sampled)
    });
    assert_eq!(seen, expected.map(|(trace, parent, flags)| (trace, parent, flags & 1 == 1)));
    if let Some(found) = found {
        let text = found.trace.to_text();
        assert!(lines[0][3..].starts_with(&text), "the trace is told as it came");
    }
});
