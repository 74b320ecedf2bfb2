//! What is written into answers: any text between the quotes of JSON is read back as itself and has no
//! control character, and any time is written in its 20 characters.
#![no_main]

use keyward_core::time::UnixMillis;
use keyward_fuzz_door::pieces::Pieces;
use keyward_tower::RequestId;
use keyward_tower::envelope::{json_text, success, timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let at = UnixMillis(pieces.number().cast_signed());
    let random = std::array::from_fn(|_| pieces.byte());
    let text = String::from_utf8_lossy(pieces.rest().get(..256).unwrap_or(pieces.rest()));
    let escaped = json_text(&text);
    assert!(escaped.bytes().all(|byte| byte >= b' '));
    let read: String = serde_json::from_str(&format!("\"{escaped}\"")).expect("it is JSON");
    assert_eq!(read, text);
    let time = timestamp(at);
    let read: jiff::Timestamp = time.parse().expect("it is a time");
    assert_eq!((time.len(), &time[19..]), (20, "Z"));
    let is_within = (-62_167_219_200..253_402_207_200).contains(&at.seconds());
    assert_eq!(read.as_second(), if is_within { at.seconds() } else { 0 });
    let id = RequestId::from_random(&random);
    assert!(id.as_str().starts_with("req_") && id.as_str().len() == 24);
    assert!(id.as_str()[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let body = success(id, at, &text.as_ref()).expect("a text can be written");
    let json: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
    assert_eq!(json["data"], text.as_ref());
    assert_eq!(json["meta"]["timestamp"], time.as_str());
});
