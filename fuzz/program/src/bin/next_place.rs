//! Where one goes on after the sign-in: never to another site, and always to something that can stand in a
//! `Location` header.
#![no_main]

use http::HeaderValue;
use keyward::dashboard::fuzzing::own_place;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    let Some(place) = own_place(text) else { return };
    assert_eq!(place, text);
    HeaderValue::from_str(place).expect("it can stand in a header");
    let base = Url::parse("https://keys.example.com:8443/login").expect("a URL");
    let there = base.join(place).expect("a browser can go there");
    assert_eq!(there.origin(), base.origin(), "{place} leads elsewhere");
    assert_eq!((there.username(), there.password()), ("", None));
    assert!(place.len() <= 500);
});
