//! Request identifiers: `req_` and 20 characters of base62, made here and never taken from a client.

use std::fmt;

use http::HeaderValue;

const PREFIX: &[u8; 4] = b"req_";
const RANDOM: usize = 20;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The identifier of one request: in its header, its body and its log line. Contract 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; PREFIX.len() + RANDOM]);

impl RequestId {
    /// Spends one random byte on each character: some are 5/256 likely and others 4/256, which
    /// leaves 118 bits.
    #[must_use]
    pub fn from_random(random: &[u8; RANDOM]) -> Self {
        let mut text = [0; PREFIX.len() + RANDOM];
        text[..PREFIX.len()].copy_from_slice(PREFIX);
        for (slot, byte) in text[PREFIX.len()..].iter_mut().zip(random) {
            *slot = ALPHABET[(usize::from(*byte) * ALPHABET.len()) >> 8];
        }
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("req_")
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PREFIX.len() + RANDOM] {
        &self.0
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static("req_"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_a_letter_or_a_digit() {
        for byte in 0..=255 {
            let id = RequestId::from_random(&[byte; RANDOM]);
            let (prefix, random) = id.as_str().split_at(4);
            assert_eq!((prefix, random.len()), ("req_", 20));
            assert!(random.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
        assert_eq!(RequestId::from_random(&[255; RANDOM]).as_str(), "req_zzzzzzzzzzzzzzzzzzzz");
    }
}
