//! The envelope: the only place that writes the JSON around data and around errors.
//!
//! Errors are laid out as the guide prints them, line by line; successes are compact. Contract 1.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use keyward_core::time::UnixMillis;
use serde::Serialize;

use crate::code::Code;
use crate::json;
use crate::request_id::RequestId;

/// Sentences by field: `{"phone_number": ["Phone number is required"]}`.
pub type Details = BTreeMap<String, Vec<String>>;

/// Whole seconds with `Z`, as the guide writes them: `2024-01-01T00:00:00Z`.
#[must_use]
pub fn timestamp(at: UnixMillis) -> String {
    String::from_utf8_lossy(&timestamp_bytes(at)).into_owned()
}

/// The same in place. Years before 0 and after 9999 do not come up; they are written as 1970.
#[must_use]
pub fn timestamp_bytes(at: UnixMillis) -> [u8; 20] {
    let mut text = *b"1970-01-01T00:00:00Z";
    let time = match jiff::Timestamp::from_second(at.seconds()) {
        Ok(time) => jiff::tz::Offset::UTC.to_datetime(time),
        // The library's time stamps leave out the last day, by which is said that something has no end.
        Err(_) => {
            let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
            let since = jiff::SignedDuration::from_secs(at.seconds());
            let Ok(time) = epoch.checked_add(since) else { return text };
            time
        }
    };
    let Ok(year) = u16::try_from(time.year()) else { return text };
    let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or(0);
    for (place, number) in [(0, year / 1000), (1, year / 100), (2, year / 10), (3, year)] {
        text[place] = digit(number);
    }
    let fields = [time.month(), time.day(), time.hour(), time.minute(), time.second()];
    for (field, number) in fields.into_iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(0);
        (text[5 + 3 * field], text[6 + 3 * field]) = (digit(number / 10), digit(number));
    }
    text
}

/// The same for a time that is asked for again and again: one conversion a second and thread.
#[must_use]
pub fn timestamp_of_now(now: UnixMillis) -> [u8; 20] {
    thread_local! {
        static LAST: Cell<(i64, [u8; 20])> = const { Cell::new((0, *b"1970-01-01T00:00:00Z")) };
    }
    let seconds = now.seconds();
    let (last, text) = LAST.get();
    if last == seconds {
        return text;
    }
    let text = timestamp_bytes(now);
    LAST.set((seconds, text));
    text
}

/// `{"success":true,"data":…,"error":null,"meta":…}`.
///
/// # Errors
/// If the data cannot be written as JSON.
pub fn success<T: Serialize>(
    id: RequestId,
    at: UnixMillis,
    data: &T,
) -> Result<Bytes, serde_json::Error> {
    let mut body = Vec::with_capacity(1536);
    body.extend_from_slice(b"{\"success\":true,\"data\":");
    json::write(&mut body, data)?;
    body.extend_from_slice(b",\"error\":null,\"meta\":{\"request_id\":\"");
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(b"\",\"timestamp\":\"");
    body.extend_from_slice(&timestamp_of_now(at));
    body.extend_from_slice(b"\",\"version\":\"v3\"}}");
    Ok(body.into())
}

/// The guide's error body. `message` and the text before the code in `doc_url` come escaped by
/// [`json_text`].
pub(crate) fn failure(
    code: Code,
    message: &str,
    docs_url: &str,
    details: &Details,
    id: RequestId,
    at: UnixMillis,
) -> Bytes {
    let mut body = BytesMut::with_capacity(512);
    body.put_slice(b"{\n  \"success\": false,\n  \"error\": {\n    \"code\": \"");
    body.put_slice(code.as_str().as_bytes());
    body.put_slice(b"\",\n    \"message\": \"");
    body.put_slice(message.as_bytes());
    body.put_slice(b"\",\n    \"doc_url\": \"");
    body.put_slice(docs_url.as_bytes());
    body.put_slice(b"/");
    body.put_slice(code.as_str().as_bytes());
    body.put_slice(b"\"");
    if !details.is_empty() {
        put_details(&mut body, details);
    }
    body.put_slice(b"\n  },\n  \"meta\": {\n    \"request_id\": \"");
    body.put_slice(id.as_str().as_bytes());
    body.put_slice(b"\",\n    \"timestamp\": \"");
    body.put_slice(&timestamp_of_now(at));
    body.put_slice(b"\",\n    \"version\": \"v3\"\n  }\n}");
    body.freeze()
}

fn put_details(body: &mut BytesMut, details: &Details) {
    body.put_slice(b",\n    \"details\": {");
    for (index, (field, sentences)) in details.iter().enumerate() {
        body.put_slice(if index == 0 { b"\n      " } else { b",\n      " });
        put_json_text(body, field);
        body.put_slice(b": [");
        for (index, sentence) in sentences.iter().enumerate() {
            body.put_slice(if index == 0 { b"\n        " } else { b",\n        " });
            put_json_text(body, sentence);
        }
        body.put_slice(b"\n      ]");
    }
    body.put_slice(b"\n    }");
}

fn put_json_text(body: &mut BytesMut, text: &str) {
    body.put_slice(b"\"");
    body.put_slice(json_text(text).as_bytes());
    body.put_slice(b"\"");
}

/// The text as it stands between the quotes of a JSON string.
#[must_use]
pub fn json_text(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMillis = UnixMillis(1_704_067_200_999);

    fn id() -> RequestId {
        RequestId::from_random(&[0; 20])
    }

    #[test]
    fn an_error_is_laid_out_as_the_guide_prints_it() {
        let body = failure(
            Code::NotAuthenticated,
            Code::NotAuthenticated.message(),
            "https://docs.sent.dm/errors",
            &Details::new(),
            id(),
            AT,
        );
        let expected = r#"{
  "success": false,
  "error": {
    "code": "AUTH_001",
    "message": "User is not authenticated",
    "doc_url": "https://docs.sent.dm/errors/AUTH_001"
  },
  "meta": {
    "request_id": "req_00000000000000000000",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }

    #[test]
    fn details_stand_last_in_the_error_and_any_text_in_them_stays_text() {
        let details = Details::from([
            (String::from("a\"b"), vec![String::from("line\nbreak"), String::from("</script>")]),
            (String::from("page"), vec![String::from("Page must be greater than 0")]),
        ]);
        let code = Code::RequestInvalid;
        let body = failure(code, code.message(), "http://x/errors", &details, id(), AT);
        let value: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
        assert_eq!(value["error"]["details"]["a\"b"][0], "line\nbreak");
        assert_eq!(value["error"]["details"]["page"][0], "Page must be greater than 0");
        let keys: Vec<_> = value["error"].as_object().expect("object").keys().cloned().collect();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn a_success_carries_its_data_a_null_error_and_the_meta() {
        let body = success(id(), AT, &serde_json::json!({"a": 1})).expect("it is JSON");
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"success":true,"data":{"a":1},"error":null,"meta":{"request_id":"req_00000000000000000000","timestamp":"2024-01-01T00:00:00Z","version":"v3"}}"#
        );
    }

    #[test]
    fn timestamps_are_whole_seconds_before_and_after_1970() {
        assert_eq!(timestamp(AT), "2024-01-01T00:00:00Z");
        assert_eq!(timestamp(UnixMillis(-1)), "1969-12-31T23:59:59Z");
        assert_eq!(timestamp(UnixMillis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(UnixMillis(1_709_251_199_000)), "2024-02-29T23:59:59Z");
        assert_eq!(timestamp(UnixMillis(4_102_444_799_999)), "2099-12-31T23:59:59Z");
        for at in [AT, UnixMillis(0), AT, UnixMillis(-1)] {
            assert_eq!(timestamp_of_now(at), timestamp_bytes(at));
        }
    }
}
