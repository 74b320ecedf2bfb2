//! Answers of passkeys, JSON with CBOR and signatures within: none is taken for one to a challenge that nobody
//! was told.
#![no_main]

use std::sync::LazyLock;

use keyward::app::passkeys::Place;
use keyward::app::passkeys::fuzzing::take;
use libfuzzer_sys::fuzz_target;

static PLACE: LazyLock<Place> =
    LazyLock::new(|| Place::of("https://keys.example.com").expect("passkeys work there"));

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        let (is_registered, _) = take(&PLACE, text);
        assert!(!is_registered);
        // Where else a browser may say that it is.
        if let Some(place) = Place::of(text) {
            assert!(!place.host().is_empty() && !place.host().contains(['/', '@', ':']));
        }
    }
});
