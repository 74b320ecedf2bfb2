//! API keys: making them, reading them, and nothing that could show them by accident.

use std::fmt;

use zeroize::Zeroizing;

use crate::digest::KeyDigest;
use crate::secret::Secret;

/// Length of a key in characters. Contract 2.
pub const KEY_LENGTH: usize = 36;

/// Positions of the hyphens in a key.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// An API key in clear: the 16 bytes of a UUID.
///
/// It exists from the moment it is read from a header, or made, until its digest is taken, and in the
/// one answer that shows it.
pub struct ApiKey(Secret<[u8; 16]>);

impl ApiKey {
    /// Makes a version-4 UUID from 16 random bytes, of which 122 bits stay random. Contract 2.
    ///
    /// The caller draws the bytes from the system's random source.
    #[must_use]
    pub fn from_random(random: &Zeroizing<[u8; 16]>) -> Self {
        let mut bytes = **random;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(Secret::new(bytes))
    }

    /// Reads exactly 36 bytes, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, hexadecimal in either letter
    /// case and nothing around them. Contract 2.
    ///
    /// Any UUID version is read, since the guide asks for the UUID format and people bring keys from
    /// elsewhere; those made here are version 4.
    ///
    /// # Errors
    /// What is wrong and where, for [`keys explain`](ParseKeyError). A caller of the API is never
    /// told.
    pub fn parse(text: &[u8]) -> Result<Self, ParseKeyError> {
        let text: &[u8; KEY_LENGTH] = match text.try_into() {
            Ok(text) => text,
            Err(_) => return Err(explain_length(text)),
        };
        let mut bytes = [0u8; 16];
        let mut at = 0;
        // One pass over all of it, whatever is found: what is wrong is looked for only afterwards.
        let mut faults = 0u8;
        for (index, slot) in bytes.iter_mut().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                faults |= u8::from(text[at] != b'-');
                at += 1;
            }
            let high = NIBBLES[usize::from(text[at])];
            let low = NIBBLES[usize::from(text[at + 1])];
            faults |= (high | low) & 0xf0;
            *slot = (high << 4) | (low & 0x0f);
            at += 2;
        }
        if faults == 0 {
            return Ok(Self(Secret::new(bytes)));
        }
        Err(explain_characters(text))
    }

    /// The only form in which a key is kept.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.0.expose())
    }

    /// The last four characters, so that a person can tell one key from another.
    #[must_use]
    pub fn hint(&self) -> KeyHint {
        let [.., a, b] = *self.0.expose();
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 0x0f)]);
        KeyHint([a >> 4, a, b >> 4, b].map(|nibble| digit(nibble) as u8))
    }

    /// The key as its owner will use it, in lower case. To be shown once and kept nowhere.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let uuid = uuid::Uuid::from_bytes(*self.0.expose());
        let mut text = Zeroizing::new(String::with_capacity(KEY_LENGTH));
        text.push_str(uuid.hyphenated().encode_lower(&mut [0; KEY_LENGTH]));
        text
    }

    /// The UUID version, for people who wonder about a key from elsewhere.
    #[must_use]
    pub fn uuid_version(&self) -> u8 {
        self.0.expose()[6] >> 4
    }

    /// All bits equal: a placeholder such as the nil UUID, never a secret.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        let bytes = self.0.expose();
        *bytes == [0; 16] || *bytes == [0xff; 16]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

/// The last four characters of a key: `a1b2`. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHint([u8; 4]);

impl KeyHint {
    /// Takes four lower-case hexadecimal characters.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes: [u8; 4] = text.as_bytes().try_into().ok()?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        bytes.iter().all(is_hex).then_some(Self(bytes))
    }

    /// What stands for the hint where only a digest is known.
    pub const UNKNOWN: Self = Self(*b"????");

    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("????")
    }
}

impl fmt::Debug for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHint({})", self.as_str())
    }
}

/// Why a text is no key. It never repeats the text: that may be a key with one slip in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseKeyError {
    /// Not 36 bytes long; `surrounded` when white space, quotes or braces stand around a key.
    Length { found: usize, surrounded: bool },
    /// A hyphen is missing at this position, counted from 1.
    Hyphen { position: usize },
    /// The character at this position, counted from 1, is not hexadecimal.
    Character { position: usize },
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, surrounded: true } => write!(
                f,
                "{found} bytes instead of {KEY_LENGTH}: spaces, quotes or braces stand around the key"
            ),
            Self::Length { found, surrounded: false } if *found < KEY_LENGTH => {
                write!(f, "{found} bytes instead of {KEY_LENGTH}: the key is cut short")
            }
            Self::Length { found, .. } => {
                write!(f, "{found} bytes instead of {KEY_LENGTH}: something was added to the key")
            }
            Self::Hyphen { position } => {
                write!(f, "character {position} must be a hyphen")
            }
            Self::Character { position } => {
                write!(f, "character {position} must be one of 0-9 or a-f")
            }
        }
    }
}

impl std::error::Error for ParseKeyError {}

/// Values of hexadecimal characters; 0x10 and above for any other byte.
const NIBBLES: [u8; 256] = {
    let mut table = [0xf0; 256];
    let mut digit = 0;
    while digit < 10 {
        table[b'0' as usize + digit] = digit as u8;
        digit += 1;
    }
    let mut letter = 0;
    while letter < 6 {
        table[b'a' as usize + letter] = 10 + letter as u8;
        table[b'A' as usize + letter] = 10 + letter as u8;
        letter += 1;
    }
    table
};

#[cold]
fn explain_length(text: &[u8]) -> ParseKeyError {
    let is_around = |byte: &u8| byte.is_ascii_whitespace() || b"\"'{}()<>".contains(byte);
    let end = text.len() - text.iter().rev().take_while(|byte| is_around(byte)).count();
    let start = text[..end].iter().take_while(|byte| is_around(byte)).count();
    ParseKeyError::Length {
        found: text.len(),
        surrounded: end - start == KEY_LENGTH && end - start != text.len(),
    }
}

#[cold]
fn explain_characters(text: &[u8; KEY_LENGTH]) -> ParseKeyError {
    let fault = |index: usize, byte: u8| {
        if HYPHENS.contains(&index) {
            (byte != b'-').then_some(ParseKeyError::Hyphen { position: index + 1 })
        } else {
            (NIBBLES[usize::from(byte)] > 0x0f)
                .then_some(ParseKeyError::Character { position: index + 1 })
        }
    };
    text.iter()
        .enumerate()
        .find_map(|(index, byte)| fault(index, *byte))
        .unwrap_or(ParseKeyError::Character { position: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    #[test]
    fn a_key_is_read_in_either_letter_case_and_written_in_lower_case() {
        for text in [TEXT.to_owned(), TEXT.to_uppercase()] {
            let key = ApiKey::parse(text.as_bytes()).expect("it is a UUID");
            assert_eq!(*key.reveal(), TEXT);
            assert_eq!(key.hint().as_str(), "950e");
            assert_eq!(key.uuid_version(), 4);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let check = |text: &str, expected: ParseKeyError| {
            assert_eq!(ApiKey::parse(text.as_bytes()).expect_err(text), expected, "{text}");
        };
        let length = |found, surrounded| ParseKeyError::Length { found, surrounded };
        check("", length(0, false));
        check("0f8fad5b", length(8, false));
        check("0f8fad5bd9cb469fa16570867728950e", length(32, false));
        check(" 0f8fad5b-d9cb-469f-a165-70867728950e ", length(38, true));
        check("{0f8fad5b-d9cb-469f-a165-70867728950e}", length(38, true));
        check("urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e", length(45, false));
        check("0f8fad5b-d9cb-469f-a165-70867728950g", ParseKeyError::Character { position: 36 });
        check("0f8fad5bd-9cb-469f-a165-70867728950e", ParseKeyError::Hyphen { position: 9 });
        check("0f8fad5b-d9cb-469f-a165-7086772895é", ParseKeyError::Character { position: 35 });
    }

    #[test]
    fn a_made_key_is_a_random_uuid_of_version_4() {
        let key = ApiKey::from_random(&Zeroizing::new([0xff; 16]));
        assert_eq!(*key.reveal(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let key = ApiKey::from_random(&Zeroizing::new([0; 16]));
        assert_eq!(*key.reveal(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        let key = ApiKey::parse(TEXT.as_bytes()).expect("it is a UUID");
        assert_eq!(format!("{key:?}"), "ApiKey([redacted])");
    }
}
