//! A value that must not be seen, and what looks like one in a text that somebody else wrote.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use crate::digest::KeyDigest;
use crate::key::ApiKey;

/// Holds a value that is never printed and is overwritten with zeros when it is dropped.
///
/// It has no `Serialize` and no `Clone`: a secret goes where it is moved and nowhere else. Zeroing
/// reaches this value only; copies that a caller makes after [`expose`](Self::expose) are its own.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Each use of this word is a place to look at in a review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// So many hexadecimal digits in a row are no word and no version: they are most of a key.
const DIGITS: usize = 16;

/// Hides what looks like a key, or like most of one, in what a client calls itself or sent in a wrong
/// place: such texts are kept and shown, and nobody checks them.
#[must_use]
pub fn hide_keys(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = 0;
    for run in runs(text).filter(|run| digits(&text[run.clone()]).count() >= DIGITS) {
        shown.push_str(&text[rest..run.start]);
        shown.push('…');
        rest = run.end;
    }
    if rest == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[rest..]);
    Cow::Owned(shown)
}

/// True for a text with a key in it, as keys are made here: identifiers, which are UUIDs of another
/// version, are none.
#[must_use]
pub fn holds_a_key(text: &str) -> bool {
    runs(text).any(|run| {
        let digits: Vec<u8> = digits(&text[run]).collect();
        digits.windows(32).any(|key| key[12] == b'4' && b"89abAB".contains(&key[16]))
    })
}

/// The digests of all keys that a text may hold, wherever they begin and with or without hyphens: with those
/// one can ask whether a key stands there and not a UUID of something else.
pub fn digests_in(text: &str) -> impl Iterator<Item = KeyDigest> {
    let digests_of = |run: Range<usize>| {
        let digits = Zeroizing::new(digits(&text[run]).collect::<Vec<u8>>());
        let digest = |digits: &[u8]| {
            let mut key = Zeroizing::new([b'-'; 36]);
            let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
            places.zip(digits).for_each(|(place, digit)| key[place] = *digit);
            ApiKey::parse(&key[..]).ok().map(|key| key.digest())
        };
        digits.windows(32).filter_map(digest).collect::<Vec<_>>()
    };
    runs(text).flat_map(digests_of)
}

fn digits(run: &str) -> impl Iterator<Item = u8> {
    run.bytes().filter(u8::is_ascii_hexdigit)
}

/// Where there is nothing but hexadecimal digits and hyphens between them.
fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text.as_bytes().get(at..)?.iter().position(|byte| is_part(*byte))?;
        let length = text.as_bytes()[start..].iter().take_while(|byte| is_part(**byte)).count();
        at = start + length;
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_tells_nothing() {
        let secret = Secret::new(String::from("correct horse"));
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.expose(), "correct horse");
    }

    #[test]
    fn what_looks_like_a_key_is_hidden_and_what_clients_call_themselves_is_not() {
        let check = |text: &str, shown: &str| assert_eq!(hide_keys(text), shown);
        check("", "");
        check("curl/7.88.1", "curl/7.88.1");
        check(
            "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
            "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
        );
        check("Sent/Python 0.46.0-beta-2", "Sent/Python 0.46.0-beta-2");
        check("job 0f8fad5b-d9cb-469f-a165-70867728950e!", "job …!");
        check("0F8FAD5BD9CB469FA16570867728950E", "…");
        check("cut 0f8fad5b-d9cb-469f-a", "cut …");
        check("é 0f8fad5b-d9cb-469f é 0f8fad5b-d9cb-469f", "é … é …");
    }

    #[test]
    fn the_digest_of_a_key_is_found_wherever_it_stands_in_a_text() {
        let key = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let digest = ApiKey::parse(key.as_bytes()).expect("it is one").digest();
        for (text, expected) in [
            (String::from(key), true),
            (format!("job {key}!"), true),
            (key.to_uppercase(), true),
            (key.replace('-', ""), true),
            (format!("abc{}0", key.replace('-', "")), true),
            (format!("0-{key}-0"), true),
            (key[..35].to_owned(), false),
            (key.replace('9', "8"), false),
            (key.replace("-a", " a"), false),
            (String::new(), false),
        ] {
            assert_eq!(digests_in(&text).any(|it| it == digest), expected, "{text}");
        }
    }

    #[test]
    fn a_key_is_told_from_an_identifier() {
        for (text, expected) in [
            ("/keys/0f8fad5b-d9cb-469f-a165-70867728950e", true),
            ("?key=0F8FAD5BD9CB469FA16570867728950E&x", true),
            ("x0f8fad5b-d9cb-469f-a165-70867728950ex", true),
            ("/keys/01900000-0000-7000-8000-000000000000?page=2", false),
            ("/requests/req_4000000000", false),
            ("", false),
        ] {
            assert_eq!(holds_a_key(text), expected, "{text}");
        }
    }
}
