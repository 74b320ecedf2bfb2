//! What else a browser sends: cookies, `Host`, `Origin`, `Sec-Fetch-Site` and its name for itself. A token is
//! taken from a cookie of the one name alone, and only if there is one; no page of another site passes.
#![no_main]

use http::header::{COOKIE, HOST, ORIGIN, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use keyward::dashboard::fuzzing::{device, login, origin, session};
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let how = pieces.byte();
    let mut request = Request::new(());
    while !pieces.is_empty() {
        let name = match pieces.byte() {
            b'c' => COOKIE,
            b'h' => HOST,
            b'o' => ORIGIN,
            b's' => HeaderName::from_static("sec-fetch-site"),
            _ => USER_AGENT,
        };
        if let Ok(value) = HeaderValue::from_bytes(pieces.line()) {
            request.headers_mut().append(name, value);
        }
    }
    let (parts, ()) = request.into_parts();
    let headers = &parts.headers;
    for is_secure in [false, true] {
        let names = [
            ("keyward-over-http", "keyward-login-over-http"),
            ("__Host-keyward", "__Host-keyward-login"),
        ];
        let (ours, at_login) = names[usize::from(is_secure)];
        // The pairs of all lines that are text, cut by another rule.
        let pairs: Vec<(&str, &str)> = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| {
                let pair = pair.trim();
                let cut = pair.find('=')?;
                Some((&pair[..cut], &pair[cut + 1..]))
            })
            .collect();
        let of = |name: &str| {
            let found: Vec<&str> =
                pairs.iter().filter(|(other, _)| *other == name).map(|(_, v)| *v).collect();
            (found.len() == 1).then(|| found[0])
        };
        assert_eq!(session(headers, is_secure), of(ours));
        let token = login(headers, is_secure);
        if let Some(token) = token {
            assert_eq!((token.len(), Some(token)), (43, of(at_login)));
        }
    }
    let is_https = how & 1 != 0;
    let (base, is_own) = origin(&parts, is_https);
    assert!(base.starts_with(if is_https { "https://" } else { "http://" }));
    assert!(base.len() <= 8 + 255 && base.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!base.contains(['"', '<', '>', '\'', '&', '@', '?', '#', '\\']));
    assert_eq!(base.matches('/').count(), 2);
    if is_own {
        let values: Vec<&[u8]> = headers.get_all(ORIGIN).iter().map(|v| v.as_bytes()).collect();
        let fetch = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        assert!(values.len() <= 1);
        assert!(values.first().is_none_or(|o| *o == base.as_bytes() || *o == b"null"));
        assert!(fetch == Some(b"same-origin") || (fetch.is_none() && values == [base.as_bytes()]));
    }
    let agent = headers.get(USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()));
    assert!(device(&agent.unwrap_or_default()).chars().count() <= 40);
});
