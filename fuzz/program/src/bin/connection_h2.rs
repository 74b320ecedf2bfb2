//! A whole server, and any bytes on a connection that agreed on HTTP/2: what comes back are whole frames in an
//! order that HTTP/2 allows, no answer tells of a fault of ours, and nothing is in it of a key that was sent.
//!
//! The preface and empty settings go first unless the input begins with `!`; it is as if the client had gone after
//! the last byte if it begins with `~`, else what is cut is filled up, what was asked is ended, and the client says
//! that it goes. Then come pieces: `g`, a stream and
//! a line, a GET of that path with a good test key; `h`, flags, a stream and lines `name:value` up to an empty
//! one, a head of them; `f`, a kind, flags, a stream and a line, a frame with that inside; `r`, bytes up to the
//! end. Any other begins a line that is sent as it is. `{id}` stands for the account of the key, and `{key}` for
//! the key in fields `x-api-key`.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use keyward::server::listen::fuzzing::speak_http2;
use keyward_fuzz_door::pieces::Pieces;
use keyward_fuzz_program::served::{Served, ends_the_key, replaced};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// The longest frame, unless the other side allows longer ones.
const USUAL_BYTES: usize = 16_384;
const MOST_BYTES: usize = (1 << 24) - 1;

/// The setting 4, how much of an answer may come before more is allowed: 65,535 bytes.
const USUAL_WINDOW: [u8; 6] = [0, 4, 0, 0, 255, 255];

/// Whoever has not ended the connection by then waits for more.
const A_WHILE: Duration = Duration::from_millis(20);
/// It has to end within this when no more can come.
const ENDS_WITHIN: Duration = Duration::from_secs(4);

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    speak_http2();
    Served::start()
});

/// The key, in each way in which its bits can lie in a head: the library compresses every text there.
static COMPRESSED_KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| compressed(&SERVED.key));

/// RFC 7541, appendix B: the code of a character of a key, and how many bits it has.
fn code(byte: u8) -> (u8, u8) {
    match byte {
        b'0'..=b'2' => (byte - b'0', 5),
        b'3'..=b'9' => (0x19 + (byte - b'3'), 6),
        b'a' => (0x3, 5),
        b'b' => (0x23, 6),
        b'c' => (0x4, 5),
        b'd' => (0x24, 6),
        b'e' => (0x5, 5),
        b'f' => (0x25, 6),
        b'-' => (0x16, 6),
        _ => panic!("no key has that"),
    }
}

/// The whole bytes of a key that is compressed and begins at each bit of a byte.
fn compressed(key: &str) -> Vec<Vec<u8>> {
    let mut bits: Vec<u8> = vec![];
    for byte in key.bytes() {
        let (code, n_bits) = code(byte);
        bits.extend((0..n_bits).rev().map(|place| (code >> place) & 1));
    }
    let byte = |bits: &[u8]| bits.iter().fold(0_u8, |byte, bit| (byte << 1) | *bit);
    (0..8).map(|skipped| bits[skipped..].chunks_exact(8).map(byte).collect()).collect()
}

fn write_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A text of a head, not compressed: its length, which may take several bytes, and itself.
fn write_text(block: &mut Vec<u8>, text: &[u8]) {
    let byte = |number: usize| u8::try_from(number).expect("it is less than 256");
    if text.len() < 127 {
        block.push(byte(text.len()));
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(byte(rest % 128 + 128));
            rest /= 128;
        }
        block.push(byte(rest));
    }
    block.extend_from_slice(text);
}

/// A field of a head that is not to be remembered.
fn write_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    write_text(block, name);
    write_text(block, value);
}

/// The number of a stream: small, or the largest that there is.
fn stream(pieces: &mut Pieces<'_>) -> u32 {
    match pieces.byte() {
        255 => u32::MAX >> 1,
        number => u32::from(number),
    }
}

/// What is sent for an input, and whether the client has gone then.
fn sent(data: &[u8], key: &[u8]) -> (Vec<u8>, bool) {
    let mut out = vec![];
    let mut pieces = Pieces::of(data);
    let mode = data.first().filter(|first| matches!(first, b'!' | b'~'));
    if mode.is_some() {
        pieces.byte();
    }
    if mode != Some(&b'!') {
        out.extend_from_slice(PREFACE);
        write_frame(&mut out, SETTINGS, 0, 0, &[]);
    }
    while !pieces.is_empty() {
        match pieces.byte() {
            b'g' => {
                let stream = stream(&mut pieces);
                let mut block = vec![];
                write_field(&mut block, b":method", b"GET");
                write_field(&mut block, b":scheme", b"https");
                write_field(&mut block, b":authority", b"x");
                write_field(&mut block, b":path", pieces.line());
                write_field(&mut block, b"x-api-key", key);
                write_frame(&mut out, HEADERS, END_STREAM | END_HEADERS, stream, &block);
            }
            b'h' => {
                let flags = pieces.byte();
                let stream = stream(&mut pieces);
                let mut block = vec![];
                loop {
                    let line = pieces.line();
                    if line.is_empty() {
                        break;
                    }
                    // A name may begin with a colon.
                    let end = line.iter().skip(1).position(|byte| *byte == b':');
                    let (name, value) = line.split_at(end.map_or(line.len(), |end| end + 1));
                    let value = value.get(1..).unwrap_or_default();
                    match name {
                        b"x-api-key" => {
                            write_field(&mut block, name, &replaced(value, b"{key}", key));
                        }
                        _ => write_field(&mut block, name, value),
                    }
                }
                write_frame(&mut out, HEADERS, flags, stream, &block);
            }
            b'f' => {
                // Digits, so that an input can be read.
                let kind = pieces.byte() & 15;
                let flags = pieces.byte();
                let stream = stream(&mut pieces);
                write_frame(&mut out, kind, flags, stream, pieces.line());
            }
            b'r' => {
                out.extend_from_slice(pieces.rest());
                break;
            }
            other => {
                out.push(other);
                out.extend_from_slice(pieces.line());
            }
        }
    }
    let has_gone = mode == Some(&b'~');
    if !has_gone {
        finish(&mut out);
    }
    (out, has_gone)
}

/// Adds what lets the server answer everything and end the connection, for whoever waits for nothing costs no time:
/// the rest of a frame that is cut, the ends of requests, windows as wide as usual, and the word that the client
/// goes.
fn finish(out: &mut Vec<u8>) {
    let mut open = BTreeSet::new();
    let mut is_narrow = false;
    let mut at = if out.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    while at < out.len() {
        // A longer frame is refused by its head.
        if out.len() < at + 9 {
            out.resize(at + 9, 0);
        }
        let [high, middle, low, kind, flags, number @ ..] =
            *out[at..].first_chunk::<9>().expect("it is as long");
        let length = u32::from_be_bytes([0, high, middle, low]);
        let end = at + 9 + usize::try_from(length).expect("it has 24 bits").min(USUAL_BYTES);
        if out.len() < end {
            out.resize(end, 0);
        }
        let stream = u32::from_be_bytes(number) & (u32::MAX >> 1);
        match kind {
            HEADERS | DATA if flags & END_STREAM != 0 => {
                open.remove(&stream);
            }
            HEADERS => {
                open.insert(stream);
            }
            RST_STREAM => {
                open.remove(&stream);
            }
            SETTINGS => is_narrow |= length > 0,
            _ => {}
        }
        at = end;
    }
    for stream in open {
        write_frame(out, DATA, END_STREAM, stream, &[]);
    }
    if is_narrow {
        write_frame(out, SETTINGS, 0, 0, &USUAL_WINDOW);
    }
    write_frame(out, GOAWAY, 0, 0, &[0; 8]);
}

/// Sends all, and gives everything that comes back until the server ends the connection.
fn answer_to(sent: &[u8], has_gone: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(SERVED.address).expect("the server listens");
    stream.set_read_timeout(Some(A_WHILE)).expect("a timeout can be set");
    // It may be closed before all is sent: then there is an answer all the same.
    let _ = stream.write_all(sent);
    if has_gone {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = vec![];
    let mut is_waiting = true;
    loop {
        // What was read before a failure is kept.
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(is_waiting, "the server did not end the connection");
                is_waiting = false;
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(ENDS_WITHIN)).expect("a timeout can be set");
            }
            _ => return answer,
        }
    }
}

/// What came back on a stream.
#[derive(Default)]
struct Told {
    head: Vec<u8>,
    body: Vec<u8>,
    is_ended: bool,
}

/// True if a head begins with the status 500, as the library writes it: by its number in a table.
fn tells_of_a_fault(head: &[u8]) -> bool {
    let mut rest = head;
    // Before it may stand what the table of the connection may hold from now on.
    while let [first, after @ ..] = rest
        && first & 0xe0 == 0x20
    {
        rest = after;
        if first & 0x1f == 0x1f {
            let end = rest.iter().position(|byte| byte & 0x80 == 0);
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        }
    }
    rest.first() == Some(&0x8e)
}

/// Reads frames, of which the last may be cut, and checks each of them.
fn frames(answer: &[u8], most: usize) -> BTreeMap<u32, Told> {
    let mut streams: BTreeMap<u32, Told> = BTreeMap::new();
    let mut rest = answer;
    let mut is_first = true;
    // The stream whose head goes on.
    let mut open: Option<u32> = None;
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let [high, middle, low, kind, flags, number @ ..] = *head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let length = usize::try_from(length).expect("it has 24 bits");
        let stream = u32::from_be_bytes(number);
        assert!(length <= most, "a frame of {length} bytes");
        assert!(stream <= u32::MAX >> 1, "a bit is set that means nothing");
        if is_first {
            assert!(kind == SETTINGS && flags & ACK == 0, "settings come first: {head:?}");
        }
        is_first = false;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        rest = after;
        assert!(open.is_none_or(|open| kind == CONTINUATION && stream == open), "{head:?}");
        match kind {
            DATA => {
                assert_eq!(flags & PADDED, 0);
                let told = streams.get_mut(&stream).expect("a head comes before a body");
                assert!(!told.is_ended, "{head:?}");
                told.body.extend_from_slice(payload);
                told.is_ended = flags & END_STREAM != 0;
            }
            HEADERS => {
                assert!(stream % 2 == 1 && flags & (PADDED | PRIORITY) == 0, "{head:?}");
                let told = streams.entry(stream).or_default();
                assert!(!told.is_ended, "{head:?}");
                told.head.extend_from_slice(payload);
                told.is_ended = flags & END_STREAM != 0;
                open = (flags & END_HEADERS == 0).then_some(stream);
            }
            CONTINUATION => {
                assert_eq!(open, Some(stream));
                streams.entry(stream).or_default().head.extend_from_slice(payload);
                open = (flags & END_HEADERS == 0).then_some(stream);
            }
            RST_STREAM => {
                assert!(stream > 0 && length == 4, "{head:?}");
                streams.entry(stream).or_default().is_ended = true;
            }
            SETTINGS => {
                let is_right = if flags & ACK == 0 { length % 6 == 0 } else { length == 0 };
                assert!(stream == 0 && is_right, "{head:?}");
            }
            PING => assert!(stream == 0 && length == 8, "{head:?}"),
            GOAWAY => assert!(stream == 0 && length >= 8, "{head:?}"),
            WINDOW_UPDATE => {
                assert!(length == 4 && payload[0] < 128 && payload != [0; 4], "{head:?}");
            }
            // A server sends no promises unless it is a cache, and no priorities.
            _ => panic!("no such frame is ours: {head:?}"),
        }
    }
    streams
}

fuzz_target!(|data: &[u8]| {
    if ends_the_key(data) {
        return;
    }
    let key = SERVED.key.as_bytes();
    let data = replaced(data, b"{id}", SERVED.account.as_bytes());
    let (sent, has_gone) = sent(&data, key);
    let answer = answer_to(&sent, has_gone);
    // Settings allow longer frames by number 5, and no allowed length has more than three bytes.
    let is_longer = memmem::find(&sent, b"\0\x05\0").is_some();
    let streams = frames(&answer, if is_longer { MOST_BYTES } else { USUAL_BYTES });
    assert_eq!(memmem::find(&answer, key), None, "the key was shown");
    for Told { head, body, .. } in streams.values() {
        assert!(!tells_of_a_fault(head), "{}", String::from_utf8_lossy(body));
        // A text may be cut in two by the frames that it comes in.
        assert!(memmem::find(head, key).is_none() && memmem::find(body, key).is_none());
        for key in &*COMPRESSED_KEYS {
            assert_eq!(memmem::find(head, key), None, "the key was shown in a head");
        }
    }
});
