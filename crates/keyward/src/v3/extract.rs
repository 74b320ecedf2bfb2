//! Bodies: size, type, JSON, in this order; and fields with their sentences. Contract 2 and 3.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use keyward_tower::{ApiError, Code};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Request;
use crate::app::bodies::{Sender, Share};
use crate::app::{AppError, Faults};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Values, lists and objects in a body. No change has a hundredth of them, and each takes far more memory
/// than it takes on the wire.
const MOST_VALUES: usize = 10_000;
/// What one takes at most beside its text: its place in a tree that is half full.
const VALUE_BYTES: usize = 160;

/// The members of a JSON object, each name once.
#[derive(Default)]
pub struct Object {
    members: serde_json::Map<String, Value>,
    /// The memory that it takes.
    _share: Option<Share>,
}

impl Request {
    /// Reads the body as a JSON object. No body counts as `{}`.
    ///
    /// # Errors
    /// 413, 415 or 400, in this order; 504 if it does not arrive in time.
    pub(super) async fn object(&mut self) -> Result<Object, ApiError> {
        let mut share = self.app.bodies.share(Sender::Account(self.caller.own_account()));
        let lines = self.parts.headers.iter();
        if !share
            .grow_by_head(lines.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
        {
            return Err(no_room());
        }
        let bytes = self.bytes(&mut share).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Object::default());
        }
        if !is_json(self.parts.headers.get(CONTENT_TYPE)) {
            return Err(ApiError::new(Code::MediaTypeUnsupported));
        }
        let n_values = 1 + bytes.iter().filter(|byte| b",[{".contains(byte)).count();
        if n_values > MOST_VALUES {
            let sentence = format!("The body must not have more than {MOST_VALUES} values");
            return Err(ApiError::new(Code::RequestInvalid).about("body", sentence));
        }
        if !share.grow(bytes.len() + n_values * VALUE_BYTES) {
            return Err(no_room());
        }
        let object = parse(&bytes)?;
        Ok(Object { _share: Some(share), ..object })
    }

    /// Reads all of the body, within its bounds.
    async fn bytes(&mut self, share: &mut Share) -> Result<Vec<u8>, ApiError> {
        let most = self.max_body_bytes;
        let announced = self.parts.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
        if announced > most {
            return Err(ApiError::new(Code::BodyTooLarge));
        }
        match tokio::time::timeout(BODY_TIMEOUT, collect(&mut self.body, most, share)).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::new(Code::TimedOut)),
        }
    }
}

/// Reads a JSON object.
pub(super) fn parse(bytes: &[u8]) -> Result<Object, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // What serde says may repeat what was sent; the place is all that is told.
        let sentence = if error.is_data() {
            match error.to_string().strip_prefix("member twice: ") {
                Some(_) => String::from("The body must not name a member twice"),
                None => String::from("The body must be a JSON object"),
            }
        } else {
            let (line, column) = (error.line(), error.column());
            format!("The body must be valid JSON: line {line}, column {column}")
        };
        ApiError::new(Code::RequestInvalid).about("body", sentence)
    })
}

fn no_room() -> ApiError {
    ApiError::new(Code::InternalUnavailable).caused_by("too many bodies are being sent at once")
}

/// Why it grows as it comes: what is announced may never come.
async fn collect(body: &mut Incoming, most: usize, share: &mut Share) -> Result<Vec<u8>, ApiError> {
    let mut bytes: Vec<u8> = Vec::new();
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| {
            let sentence = "The body ended early or was not framed as HTTP asks";
            ApiError::new(Code::RequestInvalid).about("body", sentence).caused_by(error)
        })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > most {
                return Err(ApiError::new(Code::BodyTooLarge));
            }
            let needed = bytes.len() + data.len();
            if needed > bytes.capacity() {
                let grown = needed.max(bytes.capacity() * 2).min(most);
                if !share.grow(grown - bytes.capacity()) {
                    return Err(no_room());
                }
                bytes.reserve_exact(grown - bytes.len());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// `application/json` or `application/…+json`, with any parameters. None at all is taken for JSON.
fn is_json(content_type: Option<&http::HeaderValue>) -> bool {
    let Some(content_type) = content_type else { return true };
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = serde_json::Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("member twice: "));
                    }
                }
                Ok(Object { members, _share: None })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Object {
    /// A member; `null` counts as absent.
    fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text, or a sentence about why it is none.
    pub fn text(&self, name: &str, faults: &mut Faults) -> Option<&str> {
        let value = self.get(name)?;
        if value.as_str().is_none() {
            fault(faults, name, format!("{name} must be a string"));
        }
        value.as_str()
    }

    /// The faults to begin with: those of the switch that every body may have.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::new();
        self.flag("sandbox", &mut faults);
        faults
    }

    /// True if a member is there, be it `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A whole number from 0 on, or a sentence about why it is none.
    pub fn whole(&self, name: &str, faults: &mut Faults) -> Option<u32> {
        let value = self.get(name)?;
        let number = value.as_u64().map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        if number.is_none() {
            fault(faults, name, format!("{name} must be a whole number"));
        }
        number
    }

    /// A list of texts, or a sentence about why it is none.
    pub fn texts(&self, name: &str, faults: &mut Faults) -> Option<Vec<String>> {
        let texts = texts_of(self.get(name)?);
        if texts.is_none() {
            fault(faults, name, format!("{name} must be a list of strings"));
        }
        texts
    }

    /// Lists of texts by name, or a sentence about why it is something else.
    pub fn lists(&self, name: &str, faults: &mut Faults) -> Option<BTreeMap<String, Vec<String>>> {
        let members = self.get(name)?.as_object();
        let lists = members.and_then(|members| {
            let list = |(name, value): (&String, &Value)| Some((name.clone(), texts_of(value)?));
            members.iter().map(list).collect::<Option<_>>()
        });
        if lists.is_none() {
            fault(faults, name, format!("{name} must be an object of lists of strings"));
        }
        lists
    }

    /// `true` or `false`, or a sentence about why it is neither.
    pub fn flag(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        let value = self.get(name)?;
        if value.as_bool().is_none() {
            fault(faults, name, format!("{name} must be true or false"));
        }
        value.as_bool()
    }
}

fn texts_of(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    value.as_array()?.iter().map(text).collect()
}

/// Lets a body without faults pass.
///
/// # Errors
/// VALIDATION_001 with the sentences.
pub fn check(faults: Faults) -> Result<(), ApiError> {
    if faults.is_empty() { Ok(()) } else { Err(AppError::Invalid(faults).into()) }
}

/// Adds a sentence about a field.
pub fn fault(faults: &mut Faults, field: &str, sentence: impl Into<String>) {
    faults.entry(field.to_owned()).or_default().push(sentence.into());
}

/// `Idempotency-Key`: 1 to 255 of `A-Za-z0-9_-`. Contract 6.
///
/// # Errors
/// VALIDATION_007 for any other.
pub fn idempotency_key(headers: &http::HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let bytes = key.as_bytes();
    let is_right =
        keys.next().is_none() && (1..=255).contains(&bytes.len()) && bytes.iter().all(is_plain);
    match key.to_str() {
        Ok(key) if is_right => Ok(Some(key)),
        _ => {
            let sentence =
                "Idempotency-Key must be 1 to 255 letters, digits, underscores or hyphens";
            Err(ApiError::new(Code::IdempotencyKeyInvalid).about("Idempotency-Key", sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_json_with_any_parameters() {
        let check = |text: &str, expected| {
            assert_eq!(
                is_json(Some(&HeaderValue::from_str(text).expect(text))),
                expected,
                "{text}"
            );
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("application/x-www-form-urlencoded", false);
        check("text/json", false);
        check("", false);
        assert!(is_json(None));
    }

    #[test]
    fn an_idempotency_key_has_one_form() {
        let check = |text: &str, expected: bool| {
            let mut headers = http::HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_str(text).expect(text));
            assert_eq!(idempotency_key(&headers).is_ok(), expected, "{text}");
        };
        check("a", true);
        check("A-z_09", true);
        check(&"x".repeat(255), true);
        check(&"x".repeat(256), false);
        check("", false);
        check("a b", false);
        check("a/b", false);
        assert!(idempotency_key(&http::HeaderMap::new()).is_ok_and(|key| key.is_none()));
    }
}
