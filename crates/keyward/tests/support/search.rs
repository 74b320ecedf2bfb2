//! Looks for secrets in bytes, however they are written: as they are, in hexadecimal, base64 at each of its
//! three alignments and in both alphabets, UTF-16 in both orders, in capitals and in small letters.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A shorter pattern would be found by chance.
const SHORTEST: usize = 8;

/// A secret, by a name that a failure can tell.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) name: String,
    /// The bytes that it is, and those that it is written with.
    pub(crate) forms: Vec<Vec<u8>>,
}

impl Secret {
    /// A text such as a password, with what it is in a form.
    pub(crate) fn text(name: &str, text: &str) -> Self {
        let form: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let forms = [text.to_owned(), text.to_lowercase(), text.to_uppercase(), form];
        Self { name: name.to_owned(), forms: forms.map(String::into_bytes).into() }
    }

    /// A text that stands for bytes.
    pub(crate) fn of_bytes(name: &str, text: &str, bytes: &[u8]) -> Self {
        let mut secret = Self::text(name, text);
        secret.forms.push(bytes.to_vec());
        secret
    }

    /// A key: its 36 characters, its 32 digits, its 16 bytes.
    pub(crate) fn key(name: &str, key: &str) -> Self {
        let digits = key.replace('-', "");
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
        let raw: Vec<u8> = (0..16).map(byte).collect();
        let mut secret = Self::of_bytes(name, key, &raw);
        secret.forms.extend(Self::text(name, &digits).forms);
        secret
    }
}

fn hex(bytes: &[u8], is_upper: bool) -> Vec<u8> {
    let digits = if is_upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    bytes.iter().flat_map(|b| [digits[usize::from(b >> 4)], digits[usize::from(b & 15)]]).collect()
}

/// What is the same of bytes in base64 whatever stands around them, where so many stand before.
fn base64_within(bytes: &[u8], n_before: usize, is_url: bool) -> Vec<u8> {
    let around = [vec![0; n_before], bytes.to_vec()].concat();
    let text =
        if is_url { URL_SAFE_NO_PAD.encode(&around) } else { STANDARD_NO_PAD.encode(&around) };
    let (first, end) = ((8 * n_before).div_ceil(6), 8 * around.len() / 6);
    text.as_bytes()[first..end].to_vec()
}

/// Every way in which bytes are looked for, by name.
pub(crate) fn encodings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![
        ("raw", bytes.to_vec()),
        ("hex", hex(bytes, false)),
        ("HEX", hex(bytes, true)),
        ("UTF-16 little", bytes.iter().flat_map(|b| [*b, 0]).collect()),
        ("UTF-16 big", bytes.iter().flat_map(|b| [0, *b]).collect()),
    ];
    for (n_before, standard, url) in [
        (0, "base64", "base64url"),
        (1, "base64 after 1", "base64url after 1"),
        (2, "base64 after 2", "base64url after 2"),
    ] {
        all.push((standard, base64_within(bytes, n_before, false)));
        all.push((url, base64_within(bytes, n_before, true)));
    }
    all
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) secret: String,
    pub(crate) encoding: &'static str,
}

/// All patterns at once, by their first eight bytes.
pub(crate) struct Searcher {
    by_start: HashMap<[u8; SHORTEST], Vec<(Vec<u8>, Hit)>>,
    /// Which first two bytes are worth a closer look.
    is_start: Vec<bool>,
    pub(crate) n_patterns: usize,
}

impl Searcher {
    pub(crate) fn new(secrets: &[Secret]) -> Self {
        let mut by_start: HashMap<_, Vec<(Vec<u8>, Hit)>> = HashMap::new();
        let mut is_start = vec![false; 1 << 16];
        let mut n_patterns = 0;
        for secret in secrets {
            for form in &secret.forms {
                for (encoding, pattern) in encodings(form) {
                    let Some(start) = pattern.first_chunk::<SHORTEST>() else {
                        panic!("{} is too short to be looked for", secret.name)
                    };
                    is_start[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
                    let hit = Hit { secret: secret.name.clone(), encoding };
                    by_start.entry(*start).or_default().push((pattern, hit));
                    n_patterns += 1;
                }
            }
        }
        Self { by_start, is_start, n_patterns }
    }

    /// What is found, each once.
    pub(crate) fn search(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = vec![];
        for (at, start) in bytes.windows(SHORTEST).enumerate() {
            if !self.is_start[usize::from(u16::from_be_bytes([start[0], start[1]]))] {
                continue;
            }
            let patterns =
                start.first_chunk::<SHORTEST>().and_then(|start| self.by_start.get(start));
            for (pattern, hit) in patterns.into_iter().flatten() {
                if bytes[at..].starts_with(pattern) && !hits.contains(hit) {
                    hits.push(hit.clone());
                }
            }
        }
        hits
    }
}

#[test]
fn a_planted_secret_is_found_in_every_encoding_and_at_every_place() {
    let key = Secret::key("key", "0f8fad5b-d9cb-469f-a165-70867728950e");
    let password = Secret::text("password", "Correct horse; battery: staple");
    let searcher = Searcher::new(&[key.clone(), password.clone()]);
    // Bytes of which no two are alike for long.
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(searcher.search(&noise), []);
    let mut n_planted = 0;
    for secret in [&key, &password] {
        for form in &secret.forms {
            for (encoding, pattern) in encodings(form) {
                for place in [0, 1, 2, 3, 1000, noise.len() - pattern.len()] {
                    let mut planted = noise.clone();
                    planted[place..place + pattern.len()].copy_from_slice(&pattern);
                    let hits = searcher.search(&planted);
                    let is_found = hits.iter().any(|hit| hit.secret == secret.name);
                    assert!(is_found, "{} as {encoding} at {place}", secret.name);
                    n_planted += 1;
                }
            }
        }
    }
    assert!(n_planted > 500, "{n_planted}");
    // Inside of something longer, as a program would write it.
    let text = b"0f8fad5b-d9cb-469f-a165-70867728950e";
    for n_before in 0..7 {
        let whole = [&noise[..n_before], text, &noise[..5]].concat();
        for written in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            let hits = searcher.search(written.as_bytes());
            assert!(!hits.is_empty(), "in base64, {n_before} bytes after its begin");
        }
    }
    let mut cut = text.to_vec();
    cut[35] = b'f';
    assert_eq!(searcher.search(&cut), [], "a key that is another is not found");
}
