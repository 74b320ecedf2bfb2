//! Receives webhooks on `http://127.0.0.1:8000/` and says which of them are ours.
//!
//! `WEBHOOK_SECRET=whsec_... cargo run --example receiver`

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// True for a delivery that our secret signed in the last five minutes.
fn is_ours(secret: &str, headers: &HashMap<String, String>, body: &[u8], now: i64) -> Option<bool> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let (id, stamp) = (headers.get("x-webhook-id")?, headers.get("x-webhook-timestamp")?);
    let signed = [format!("{id}.{stamp}.").as_bytes(), body].concat();
    // After a rotation the secret before signs as well, in a header of its own: either will do.
    let is_signed = ["x-webhook-signature", "x-webhook-signature-previous"].iter().any(|name| {
        let tag =
            headers.get(*name).and_then(|text| STANDARD.decode(text.strip_prefix("v1,")?).ok());
        tag.is_some_and(|tag| verify(&Key::new(HMAC_SHA256, &key), &signed, &tag).is_ok())
    });
    Some(is_signed && (now - stamp.parse::<i64>().ok()?).abs() < 300)
}

#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program of its own")]
fn main() -> std::io::Result<()> {
    let secret = std::env::var("WEBHOOK_SECRET").map_err(std::io::Error::other)?;
    let port = std::env::args().nth(1).unwrap_or_else(|| String::from("8000"));
    for stream in TcpListener::bind(format!("127.0.0.1:{port}"))?.incoming() {
        let mut reader = BufReader::new(stream?);
        let lines =
            reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned())))
            .collect();
        // Somebody only looked whether we are here.
        if headers.is_empty() {
            continue;
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![];
        reader.by_ref().take(length).read_to_end(&mut body)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let good = is_ours(&secret, &headers, &body, i64::try_from(now).unwrap_or(0)) == Some(true);
        let event = headers.get("x-webhook-event-type").map_or("", String::as_str);
        let text = String::from_utf8_lossy(&body);
        println!("{} {event}: {text}", if good { "good" } else { "BAD" });
        // What is not ours is refused; what is must be answered soon, and worked on afterwards.
        let status = if good { "200 OK" } else { "401 Unauthorized" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        reader.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}
