//! The digest of a key: the only form in which a key is kept.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// SHA-256 of the 16 bytes of a key.
///
/// A key has 122 random bits, so nobody finds it from its digest by trying: a slow hash would cost
/// each request milliseconds and protect nothing. That it is the plain digest lets people bring keys
/// from elsewhere without the keys themselves travelling.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    #[must_use]
    pub fn of(key: &[u8; 16]) -> Self {
        Self(Sha256::digest(key).into())
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal characters in either letter case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0u8; 32];
        for (slot, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *slot = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(bytes))
    }

    /// Eight bytes of the digest. They are as random as a hash could make them.
    #[must_use]
    pub(crate) fn hash(&self) -> u64 {
        self.words()[0]
    }

    /// The digest as the index keeps it.
    #[must_use]
    pub(crate) fn words(&self) -> [u64; 4] {
        let words = self.0.as_chunks::<8>().0;
        std::array::from_fn(|index| u64::from_le_bytes(words[index]))
    }
}

/// True if both are the same. Takes the same time wherever the first difference is: all words are
/// always compared.
pub(crate) fn are_same(a: [u64; 4], b: [u64; 4]) -> bool {
    black_box(a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
}

impl PartialEq for KeyDigest {
    /// Takes the same time wherever the first difference is.
    fn eq(&self, other: &Self) -> bool {
        are_same(self.words(), other.words())
    }
}

impl Eq for KeyDigest {}

impl fmt::Debug for KeyDigest {
    /// A digest opens nothing, but it is nobody's business either: two bytes are enough to follow it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ApiKey;

    /// `printf '0f8fad5bd9cb469fa16570867728950e' | xxd -r -p | sha256sum`
    const KNOWN: &str = "cdb5166dbf3a9d6842ace2a436c7db1b0df9761a09acc669865771cd8e9dd970";

    #[test]
    fn the_digest_is_sha_256_of_the_sixteen_bytes() {
        let key = ApiKey::parse(b"0F8FAD5B-D9CB-469F-A165-70867728950E").expect("it is a UUID");
        assert_eq!(KeyDigest::from_hex(KNOWN), Some(key.digest()));
        assert_eq!(KeyDigest::from_hex(&KNOWN.to_uppercase()), Some(key.digest()));
    }

    #[test]
    fn one_differing_bit_anywhere_is_seen() {
        let digest = KeyDigest::from_bytes([7; 32]);
        for index in 0..32 {
            let mut bytes = [7; 32];
            bytes[index] ^= 1;
            assert_ne!(digest, KeyDigest::from_bytes(bytes), "byte {index}");
        }
        assert_eq!(digest, KeyDigest::from_bytes([7; 32]));
    }

    #[test]
    fn only_64_hexadecimal_characters_are_a_digest() {
        for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)]
        {
            assert_eq!(KeyDigest::from_hex(text), None, "{text}");
        }
    }
}
