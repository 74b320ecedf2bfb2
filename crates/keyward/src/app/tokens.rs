//! Tokens: what a browser or a link carries. Only their digests are kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::chance;

const TOKEN_BYTES: usize = 32;

/// A token in clear: 43 characters that go into a cookie or a link, and nowhere else.
pub struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(chance::secret_bytes::<TOKEN_BYTES>())))
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        digest_of(&self.0)
    }
}

/// The digest of what was sent as a token. A token has 256 random bits: a slow hash would protect
/// nothing.
pub(crate) fn digest_of(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
