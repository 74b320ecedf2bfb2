//! A whole server on a port of its own: any bytes on a connection. What comes back are answers of HTTP/1.1 with
//! the guide's headers, and nothing of a key that was sent. `{key}` in the input stands for a good test key,
//! `{id}` for its account.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use keyward_fuzz_program::served::{Served, ends_the_key, replaced};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;

static SERVED: LazyLock<Served> = LazyLock::new(Served::start);

/// Checks one answer and gives what follows it. `None` where the rest cannot be told apart: the answer to
/// HEAD has a length and no body.
fn check_answer(bytes: &[u8]) -> Option<&[u8]> {
    let end = memmem::find(bytes, b"\r\n\r\n").expect("a head ends");
    let head = str::from_utf8(&bytes[..end]).expect("our heads are text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a first line");
    let status = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
    let status: u16 = status.expect("a status").get(..3).expect("a number").parse().expect("one");
    let rest = &bytes[end + 4..];
    if status == 100 {
        return Some(rest);
    }
    let headers: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').expect("a name and a value"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let value = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, v)| *v);
    for name in ["x-request-id", "x-api-version", "x-response-time"] {
        assert!(value(name).is_some(), "{head}");
    }
    assert!(status < 500 || status == 501 || status == 503 || status == 504, "{head}");
    let length: usize = value("content-length").map_or(0, |text| text.parse().expect("a number"));
    if rest.len() < length || (length > 0 && rest.starts_with(b"HTTP/1.")) {
        return None;
    }
    let (body, rest) = rest.split_at(length);
    if value("content-type") == Some("application/json") && length > 0 {
        serde_json::from_slice::<serde_json::Value>(body).expect("it is JSON");
    }
    Some(rest)
}

fuzz_target!(|data: &[u8]| {
    if ends_the_key(data) {
        return;
    }
    let server = &*SERVED;
    let data = replaced(data, b"{key}", server.key.as_bytes());
    let data = replaced(&data, b"{id}", server.account.as_bytes());
    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(4))).expect("a timeout can be set");
    // It may be closed before all is sent: then there is an answer all the same.
    let _ = stream.write_all(&data);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = vec![];
    if stream.read_to_end(&mut answer).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock) {
        panic!("the server did not end the connection");
    }
    assert_eq!(memmem::find(&answer, server.key.as_bytes()), None, "the key was shown");
    let mut rest = answer.as_slice();
    while !rest.is_empty() {
        match check_answer(rest) {
            Some(next) => rest = next,
            None => break,
        }
    }
});
