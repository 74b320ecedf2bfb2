//! A search for contacts: what reaches the index of numbers is digits between quotation marks and nothing
//! that the index would take for a command; and no contact that the text can be found in is left out.
#![no_main]

use keyward::app::phone;
use keyward_fuzz_door::pieces::Pieces;
use keyward_store::contacts::fuzzing::asked;
use libfuzzer_sys::fuzz_target;

/// Whether the text stands in one of a number's forms: the condition of the store, in Rust.
fn is_found(text: &str, digits: Option<&str>, formats: &phone::Formats) -> bool {
    let within = |form: &str| form.to_ascii_lowercase().contains(text);
    digits.is_some_and(|digits| formats.e164.contains(digits))
        || within(&formats.international)
        || within(&formats.national)
        || within(&formats.rfc)
}

fn check(text: &str, number: &str) {
    let (query, digits) = asked(text);
    if let Some(digits) = &digits {
        assert!(digits.chars().all(|c| c.is_ascii_digit() || c == '+'));
    }
    let Some(query) = query else { return };
    let phrases: Vec<&str> = query
        .split(" AND ")
        .map(|phrase| {
            let inside = phrase.strip_prefix('"').and_then(|phrase| phrase.strip_suffix('"'));
            inside.expect("it stands between quotation marks")
        })
        .collect();
    assert!(phrases.iter().all(|p| p.len() >= 3 && p.bytes().all(|b| b.is_ascii_digit())));
    let formats = phone::formats(number);
    if is_found(&text.trim().to_lowercase(), digits.as_deref(), &formats) {
        for phrase in phrases {
            assert!(formats.e164.contains(phrase), "{text} is in {formats:?}, {query} is not");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let (cut, length) = (usize::from(pieces.byte()), usize::from(pieces.byte()));
    let number = pieces.text().and_then(phone::to_e164);
    let Ok(text) = str::from_utf8(pieces.rest()) else { return };
    let number = number.unwrap_or_else(|| String::from("+14155550123"));
    check(text, &number);
    // Any piece of any form of a number finds it.
    let formats = phone::formats(&number);
    for form in [&formats.international, &formats.national, &formats.rfc, &formats.e164] {
        let form: Vec<char> = form.chars().collect();
        let start = cut % form.len();
        let end = (start + 1 + length % 24).min(form.len());
        check(&form[start..end].iter().collect::<String>(), &number);
    }
});
