//! The lines: a request's as JSON and for people, from the fields below and nothing else.

use std::fmt::Write as _;
use std::net::IpAddr;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::time::UnixMillis;
use keyward_tower::TraceId;
use keyward_tower::envelope::timestamp_of_now as timestamp;

/// One answered request.
pub struct RequestLine<'a> {
    pub at: UnixMillis,
    pub request_id: &'a str,
    pub trace: Option<TraceId>,
    pub method: &'a str,
    /// The pattern, `/v3/contacts/{id}`: never the path or the query that was sent.
    pub route: &'a str,
    pub status: u16,
    pub reason: Option<&'a str>,
    pub code: Option<&'a str>,
    /// `None` if its key is unknown.
    pub whose: Option<Whose>,
    pub client: Option<IpAddr>,
    pub micros: u64,
    /// The request came from a web page, where its key can be read by anybody.
    pub is_from_browser: bool,
    pub cause: Option<String>,
}

/// Whose key a request came with.
#[derive(Clone, Copy)]
pub struct Whose {
    pub key: KeyId,
    /// The one that it acts for.
    pub account: AccountId,
    pub environment: Environment,
}

/// Written and taken back where a key is unknown: the time of a refusal must not tell whether a key ever was.
const NOBODY: Whose = Whose {
    key: KeyId::from_bytes([0; 16]),
    account: AccountId::from_bytes([0; 16]),
    environment: Environment::Production,
};

pub(super) fn json_line(text: &mut String, line: &RequestLine<'_>) {
    text.push_str("{\"timestamp\":\"");
    text.push_str(plain(&timestamp(line.at)));
    text.push_str("\",\"level\":\"info\",");
    put(text, "request_id", line.request_id);
    if let Some(trace) = line.trace {
        put(text, "trace_id", plain(&trace.to_text()));
    }
    put(text, "method", line.method);
    put(text, "route", line.route);
    put_number(text, "status", u64::from(line.status));
    if let Some(code) = line.code {
        put(text, "code", code);
    }
    if let Some(reason) = line.reason {
        put(text, "reason", reason);
    }
    let end = text.len();
    let whose = line.whose.unwrap_or(NOBODY);
    put(text, "key_id", plain(&whose.key.to_text()));
    put(text, "account_id", plain(&whose.account.to_text()));
    put(text, "environment", whose.environment.as_str());
    if line.whose.is_none() {
        text.truncate(end);
    }
    if let Some(client) = line.client {
        let _ = write!(text, "\"client\":\"{client}\",");
    }
    put_number(text, "micros", line.micros);
    if line.is_from_browser {
        text.push_str("\"from_browser\":true,");
    }
    if let Some(cause) = &line.cause {
        put(text, "cause", cause);
    }
    close(text);
}

pub(super) fn readable_line(text: &mut String, line: &RequestLine<'_>) {
    text.push_str(plain(&timestamp(line.at)));
    put_word(text, "", line.request_id);
    put_word(text, "", itoa::Buffer::new().format(line.status));
    put_word(text, "", line.method);
    put_word(text, "", line.route);
    if let Some(code) = line.code {
        put_word(text, "", code);
    }
    if let Some(reason) = line.reason {
        put_word(text, "", reason);
    }
    if let Some(trace) = line.trace {
        put_word(text, "trace=", plain(&trace.to_text()));
    }
    let end = text.len();
    let whose = line.whose.unwrap_or(NOBODY);
    put_word(text, "key=", plain(&whose.key.to_text()));
    put_word(text, "account=", plain(&whose.account.to_text()));
    put_word(text, "", whose.environment.as_str());
    if line.whose.is_none() {
        text.truncate(end);
    }
    if let Some(client) = line.client {
        let _ = write!(text, " client={client}");
    }
    put_word(text, "", itoa::Buffer::new().format(line.micros));
    text.push_str("us");
    if line.is_from_browser {
        text.push_str(" from_browser");
    }
    if let Some(cause) = &line.cause {
        let _ = write!(text, " cause={:?}", one_line(cause));
    }
    text.push('\n');
}

/// What was written as ASCII.
fn plain(text: &[u8]) -> &str {
    str::from_utf8(text).unwrap_or_default()
}

fn put_word(text: &mut String, name: &str, word: &str) {
    text.push(' ');
    text.push_str(name);
    text.push_str(word);
}

pub(super) fn put(text: &mut String, name: &str, value: &str) {
    text.push('"');
    text.push_str(name);
    text.push_str("\":\"");
    if value.bytes().all(|byte| (b' '..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\')) {
        text.push_str(value);
    } else {
        put_escaped(text, value);
    }
    text.push_str("\",");
}

/// JSON lets stand what a terminal takes for a command all the same (U+007F to U+009F).
#[cold]
fn put_escaped(text: &mut String, value: &str) {
    for c in keyward_tower::envelope::json_text(value).chars() {
        if c.is_control() {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
}

fn put_number(text: &mut String, name: &str, value: u64) {
    text.push('"');
    text.push_str(name);
    text.push_str("\":");
    text.push_str(itoa::Buffer::new().format(value));
    text.push(',');
}

pub(super) fn close(text: &mut String) {
    text.pop();
    text.push_str("}\n");
}

/// Nothing that a stranger sends may begin a line of its own.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::put;

    #[test]
    fn no_character_that_moves_a_cursor_is_in_a_line_of_json() {
        let sly = "a\u{1b}[2J\u{7f}\u{9b}31m\u{85}é";
        let mut text = String::new();
        put(&mut text, "cause", sly);
        assert_eq!(text, "\"cause\":\"a\\u001b[2J\\u007f\\u009b31m\\u0085é\",");
        let json = format!("{{{}}}", text.trim_end_matches(','));
        let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(value["cause"], sly);
    }
}
