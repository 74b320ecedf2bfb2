//! Signing secrets and signatures. Contract 9; sources 9.2.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_core::id::WebhookId;
use zeroize::Zeroizing;

use crate::app::chance;

const SECRET_BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// A signing secret: the bytes that sign, shown as `whsec_` and base64.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(chance::secret_bytes::<SECRET_BYTES>().to_vec()))
    }

    pub(super) const fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret in clear: for the answer that shows it once, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(self.0.as_slice())))
    }

    /// `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
    #[must_use]
    pub fn sign(&self, id: WebhookId, timestamp: i64, body: &[u8]) -> String {
        let input = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let tag = sign(&Key::new(HMAC_SHA256, &self.0), &input);
        format!("v1,{}", STANDARD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_contracts_vector() {
        let bytes: Vec<u8> = (0..32).collect();
        let secret = Secret::from_bytes(Zeroizing::new(bytes));
        let shown = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(secret.reveal().as_str(), shown);
        let id = "d4f5a6b7-c8d9-4e0f-a1b2-c3d4e5f6a7b8".parse().expect("an id");
        let body = br#"{"field":"message","event":"message.delivered","timestamp":"2024-01-01T00:00:00Z","payload":{"message_id":"8ba7b830-9dad-11d1-80b4-00c04fd430c8","message_status":"DELIVERED"}}"#;
        assert_eq!(body.len(), 175);
        let expected = "v1,rpyFZnesjSY3PfL2B7tyXlRlnmhuVSh+pTw6C3Z+2Mw=";
        assert_eq!(secret.sign(id, 1_704_067_200, body), expected);
    }

    #[test]
    fn a_secret_is_as_long_as_it_says_and_new_each_time() {
        let (one, two) = (Secret::new(), Secret::new());
        assert_eq!(one.bytes().len(), SECRET_BYTES);
        assert_ne!(one.bytes(), two.bytes());
    }
}
