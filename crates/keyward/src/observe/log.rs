//! The log: one line a request, and what the operator must know.
//!
//! A line is put into a buffer, and a thread that looks there every few milliseconds writes what it
//! finds: nobody waits for the disk or the terminal, and nobody has to wake the thread for each line,
//! which would cost more than the request. No key, no query, no body ever gets here: a line is made
//! of the fields below and nothing else.
//!
//! Bound: 4 MiB wait at most; a line that does not fit is dropped and the drops are told.
//! Locks: one mutex around the buffer, held to copy a line into it or to take it away.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use keyward_core::id::{AccountId, KeyId};
use keyward_core::time::UnixMillis;
use keyward_tower::TraceId;
use keyward_tower::envelope::timestamp_of_now as timestamp;

use crate::config::LogFormat;

const WAITING_BYTES: usize = 4 << 20;
/// How long a line may wait,
const WRITE_EVERY: Duration = Duration::from_millis(25);
/// and how long after this many bytes have come at once: a small buffer stays in the processor's cache.
const WRITE_EVERY_UNDER_LOAD: Duration = Duration::from_millis(5);
const LOAD_BYTES: usize = 64 << 10;

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

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
    pub key: Option<KeyId>,
    pub account: Option<AccountId>,
    pub environment: Option<&'a str>,
    pub client: Option<IpAddr>,
    pub micros: u64,
    /// The request came from a web page, where its key can be read by anybody.
    pub is_from_browser: bool,
    pub cause: Option<String>,
}

/// Takes lines from anywhere.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    format: LogFormat,
}

/// What all clones of a log have; when the last one goes, the writer writes the rest and ends.
struct Shared {
    waiting: Arc<Mutex<Waiting>>,
    writer: Thread,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Since they were last told.
    n_dropped: u64,
    all_dropped: u64,
    is_closed: bool,
}

/// The log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFigures {
    pub waiting_bytes: usize,
    /// Lines since start.
    pub dropped: u64,
}

/// Nothing that can panic happens while the lock is held, so a poisoned one is good.
fn locked(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        locked(&self.waiting).is_closed = true;
        self.writer.unpark();
    }
}

/// The thread that writes. Dropping every [`Log`] and joining this writes all that waits.
pub struct LogWriter(JoinHandle<()>);

impl LogWriter {
    /// Waits until everything is written. Every [`Log`] must be gone.
    pub fn join(self) {
        // A writer that panicked has nothing left to say.
        let _ = self.0.join();
    }
}

impl Log {
    /// Starts the thread that writes to `out`.
    #[must_use]
    pub fn start(format: LogFormat, out: Box<dyn Write + Send>) -> (Self, LogWriter) {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let handed_over = Arc::clone(&waiting);
        let writer = std::thread::Builder::new()
            .name(String::from("log"))
            .spawn(move || write_lines(&handed_over, out))
            .expect("the system can start one more thread");
        let shared = Arc::new(Shared { waiting, writer: writer.thread().clone() });
        (Self { shared, format }, LogWriter(writer))
    }

    /// Writes a request's line, if requests are logged.
    pub fn request(&self, line: &RequestLine<'_>) {
        let write = match self.format {
            LogFormat::Off => return,
            LogFormat::Json => json_line,
            LogFormat::Readable => readable_line,
        };
        thread_local! {
            /// One a thread, so that a line allocates nothing and the lock is held to copy it.
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        LINE.with_borrow_mut(|text| {
            text.clear();
            write(text, line);
            self.send(text);
        });
    }

    /// Says something to the operator.
    pub fn say(&self, at: UnixMillis, level: Level, message: &str) {
        let mut text = String::new();
        match self.format {
            LogFormat::Json => {
                text.push('{');
                put(&mut text, "timestamp", &crate::when(at));
                put(&mut text, "level", level.as_str());
                put(&mut text, "message", message);
                close(&mut text);
            }
            LogFormat::Readable | LogFormat::Off => {
                let _ = writeln!(
                    text,
                    "{} {:5} {}",
                    crate::when(at),
                    level.as_str(),
                    one_line(message)
                );
            }
        }
        self.send(&text);
    }

    fn send(&self, line: &str) {
        let mut waiting = locked(&self.shared.waiting);
        if waiting.lines.len() + line.len() <= WAITING_BYTES {
            waiting.lines.extend_from_slice(line.as_bytes());
        } else {
            waiting.n_dropped += 1;
            waiting.all_dropped += 1;
        }
    }

    /// What waits, and what was dropped.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        let waiting = locked(&self.shared.waiting);
        LogFigures { waiting_bytes: waiting.lines.len(), dropped: waiting.all_dropped }
    }
}

fn write_lines(waiting: &Mutex<Waiting>, mut out: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let (n_dropped, is_closed) = {
            let mut waiting = locked(waiting);
            std::mem::swap(&mut waiting.lines, &mut batch);
            (std::mem::take(&mut waiting.n_dropped), waiting.is_closed)
        };
        if n_dropped > 0 {
            batch.extend_from_slice(format!("{{\"log_lines_dropped\":{n_dropped}}}\n").as_bytes());
        }
        let is_load = batch.len() > LOAD_BYTES;
        if !batch.is_empty() {
            // A log that cannot be written must not stop the server: there is nobody left to tell.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
        }
        if is_closed {
            return;
        }
        std::thread::park_timeout(if is_load { WRITE_EVERY_UNDER_LOAD } else { WRITE_EVERY });
    }
}

fn json_line(text: &mut String, line: &RequestLine<'_>) {
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
    if let Some(key) = line.key {
        put(text, "key_id", plain(&key.to_text()));
    }
    if let Some(account) = line.account {
        put(text, "account_id", plain(&account.to_text()));
    }
    if let Some(environment) = line.environment {
        put(text, "environment", environment);
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

fn readable_line(text: &mut String, line: &RequestLine<'_>) {
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
    if let Some(key) = line.key {
        put_word(text, "key=", plain(&key.to_text()));
    }
    if let Some(account) = line.account {
        put_word(text, "account=", plain(&account.to_text()));
    }
    if let Some(environment) = line.environment {
        put_word(text, "", environment);
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

fn put(text: &mut String, name: &str, value: &str) {
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

fn close(text: &mut String) {
    text.pop();
    text.push_str("}\n");
}

/// Nothing that a stranger sends may begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::RequestLine;

    /// A request's line, readable and as JSON.
    #[must_use]
    pub fn lines(line: &RequestLine<'_>) -> (String, String) {
        let (mut readable, mut json) = (String::new(), String::new());
        super::readable_line(&mut readable, line);
        super::json_line(&mut json, line);
        (readable, json)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let shared = Shared::default();
        let (log, writer) = Log::start(format, Box::new(shared.clone()));
        log.request(&RequestLine {
            at: UnixMillis(1_704_067_200_000),
            request_id: "req_1",
            trace: Some(TraceId::from_bytes([0xa5; 16])),
            method: "GET",
            route: "/v3/contacts/{id}",
            status: 401,
            reason: Some("key_expired"),
            code: Some("AUTH_002"),
            key: Some(KeyId::from_bytes([1; 16])),
            account: None,
            environment: Some("test"),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            micros: 42,
            is_from_browser: true,
            cause: Some(String::from("disk\n\"full\"")),
        });
        log.say(UnixMillis(0), Level::Warn, "two\nlines");
        drop(log);
        writer.join();
        let bytes = shared.0.lock().expect("nobody panics with it").clone();
        String::from_utf8(bytes).expect("it is text")
    }

    #[test]
    fn a_json_line_is_one_object_with_every_field() {
        let text = logged(LogFormat::Json);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(
            lines[0],
            serde_json::json!({
                "timestamp": "2024-01-01T00:00:00Z", "level": "info", "request_id": "req_1",
                "trace_id": "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", "method": "GET", "route": "/v3/contacts/{id}", "status": 401, "code": "AUTH_002",
                "reason": "key_expired", "key_id": "01010101-0101-0101-0101-010101010101",
                "environment": "test", "client": "192.0.2.1", "micros": 42, "from_browser": true,
                "cause": "disk\n\"full\"",
            })
        );
        assert_eq!(lines[1]["message"], "two\nlines");
        assert_eq!(lines.len(), 2);
    }

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

    #[test]
    fn a_readable_line_is_one_line() {
        let text = logged(LogFormat::Readable);
        assert_eq!(
            text,
            "2024-01-01T00:00:00Z req_1 401 GET /v3/contacts/{id} AUTH_002 key_expired \
             trace=a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 key=01010101-0101-0101-0101-010101010101 test client=192.0.2.1 42us from_browser \
             cause=\"disk \\\"full\\\"\"\n1970-01-01T00:00:00Z warn  two lines\n"
        );
    }

    #[test]
    fn off_says_no_line_for_a_request() {
        assert_eq!(logged(LogFormat::Off), "1970-01-01T00:00:00Z warn  two lines\n");
    }

    /// A disk or terminal that takes nothing until it is told to.
    struct Stuck(std::sync::mpsc::Receiver<()>, Shared);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Nobody tells any more: it writes whatever comes.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_dropped_is_counted_and_told() {
        let (free, stuck) = std::sync::mpsc::channel();
        let shared = Shared::default();
        let (log, writer) = Log::start(LogFormat::Readable, Box::new(Stuck(stuck, shared.clone())));
        let line = "x".repeat(100 * 1024);
        // The writer may have taken as much once.
        for _ in 0..100 {
            log.say(UnixMillis(0), Level::Info, &line);
        }
        let LogFigures { waiting_bytes, dropped } = log.figures();
        assert!(waiting_bytes <= WAITING_BYTES && dropped >= 20, "{waiting_bytes} {dropped}");
        drop((free, log));
        writer.join();
        let bytes = shared.0.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8(bytes).expect("it is text");
        let told: u64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("{\"log_lines_dropped\":")?.strip_suffix('}'))
            .map(|n| n.parse::<u64>().expect(n))
            .sum();
        assert_eq!((told, text.matches(" info ").count()), (dropped, 100 - dropped as usize));
    }
}
