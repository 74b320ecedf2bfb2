//! Forms as browsers send them.
//!
//! Bound: 64 KiB and 500 fields a form, which must come within 30 s.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use super::Stop;
use crate::app::bodies::Share;

const MOST_BYTES: usize = 64 * 1024;
const MOST_FIELDS: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A field takes this much beside its text.
const FIELD_BYTES: usize = 64;

/// The fields of a form, in their order. They may hold passwords: gone from memory with the form.
pub(super) struct Form {
    fields: Vec<(String, Zeroizing<String>)>,
    /// The memory that it takes.
    _share: Share,
}

impl Form {
    pub(super) async fn read(
        headers: &HeaderMap,
        body: Incoming,
        mut share: Share,
    ) -> Result<Self, Stop> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let why = "Forms are sent as application/x-www-form-urlencoded.";
            return Err(Stop::Bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        // All that it may take, from its beginning: a form is small. Once as it came, once as fields.
        let lines =
            headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let most = MOST_BYTES * 2 + MOST_FIELDS * FIELD_BYTES;
        if !(share.grow_by_head(lines) && share.grow(most)) {
            let why = "Too much is being sent to this server at once. Try again a little later.";
            return Err(Stop::Bad(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        let collected = tokio::time::timeout(TIMEOUT, Limited::new(body, MOST_BYTES).collect());
        let bytes = match collected.await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(_)) => {
                let why = "The form is too large, or did not come whole.";
                return Err(Stop::Bad(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            Err(_) => {
                return Err(Stop::Bad(
                    StatusCode::REQUEST_TIMEOUT,
                    "The form did not come in time.",
                ));
            }
        };
        Ok(Self::parse(&bytes, share))
    }

    pub(super) fn parse(bytes: &[u8], share: Share) -> Self {
        let pairs = form_urlencoded::parse(bytes).take(MOST_FIELDS);
        let fields = pairs.map(|(k, v)| (k.into_owned(), Zeroizing::new(v.into_owned()))).collect();
        Self { fields, _share: share }
    }

    /// A field without the space around it; empty if it did not come.
    pub(super) fn text(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value.trim())
    }

    /// A field as it came: a password may begin with a space.
    pub(super) fn secret(&self, name: &str) -> Zeroizing<String> {
        let field = self.fields.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// All values of a field, as check boxes send them.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(key, _)| key == name);
        fields.map(|(_, value)| value.trim()).collect()
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key == name)
    }
}
