//! The log: one line a request, and what the operator must know.
//!
//! A line is put into a buffer, and a thread that looks there every few milliseconds writes what it
//! finds: nobody waits for the disk or the terminal, and nobody has to wake the thread for each line,
//! which would cost more than the request. No key, no query, no body ever gets here.
//!
//! Bound: 4 MiB wait at most, and as much is being written; a line that does not fit is dropped and the drops
//! are told.
//! Locks: one mutex around the buffer, held to copy a line into it or to take it away.

mod line;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use keyward_core::time::UnixMillis;

use crate::config::LogFormat;

pub use line::{RequestLine, Whose};
use line::{close, json_line, one_line, put, readable_line};

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

/// Takes lines from anywhere.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    format: LogFormat,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when the writer has ended.
    ended: Condvar,
}

impl Shared {
    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Since they were last told.
    n_dropped: u64,
    all_dropped: u64,
    is_closed: bool,
    has_ended: bool,
}

/// The log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFigures {
    pub waiting_bytes: usize,
    /// Lines since start.
    pub dropped: u64,
}

/// The thread that writes. It ends when this is dropped, with what waits until then; what is said later is
/// counted as dropped.
#[must_use]
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: Thread,
}

impl LogWriter {
    /// Writes all that was said until now, and nothing that is said from now on. Whoever reads the log may
    /// have stopped doing so: waits that long for it, and gives false if something is left then.
    #[must_use]
    pub fn finish(self, patience: Duration) -> bool {
        self.close();
        let waiting = self.shared.lock();
        let ended = self.shared.ended.wait_timeout_while(waiting, patience, |w| !w.has_ended);
        ended.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    fn close(&self) {
        self.shared.lock().is_closed = true;
        self.thread.unpark();
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log {
    /// Starts the thread that writes to `out`.
    pub fn start(format: LogFormat, out: Box<dyn Write + Send>) -> (Self, LogWriter) {
        let shared = Arc::new(Shared::default());
        let handed_over = Arc::clone(&shared);
        let handle = std::thread::Builder::new()
            .name(String::from("log"))
            .spawn(move || write_lines(&handed_over, out))
            .expect("the system can start one more thread");
        let writer = LogWriter { shared: Arc::clone(&shared), thread: handle.thread().clone() };
        (Self { shared, format }, writer)
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
        let mut waiting = self.shared.lock();
        if !waiting.is_closed && waiting.lines.len() + line.len() <= WAITING_BYTES {
            waiting.lines.extend_from_slice(line.as_bytes());
        } else {
            waiting.n_dropped += 1;
            waiting.all_dropped += 1;
        }
    }

    /// What waits, and what was dropped.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        let waiting = self.shared.lock();
        LogFigures { waiting_bytes: waiting.lines.len(), dropped: waiting.all_dropped }
    }
}

fn write_lines(shared: &Shared, mut out: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let (n_dropped, is_closed) = {
            let mut waiting = shared.lock();
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
            shared.lock().has_ended = true;
            shared.ended.notify_all();
            return;
        }
        std::thread::park_timeout(if is_load { WRITE_EVERY_UNDER_LOAD } else { WRITE_EVERY });
    }
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
    use std::net::IpAddr;
    use std::sync::mpsc::{Receiver, channel};

    use keyward_core::account::Environment;
    use keyward_core::id::{AccountId, KeyId};
    use keyward_tower::TraceId;

    use super::*;

    /// More than any machine needs.
    const PATIENCE: Duration = Duration::from_secs(600);

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let shared = Written::default();
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
            whose: Some(Whose {
                key: KeyId::from_bytes([1; 16]),
                account: AccountId::from_bytes([2; 16]),
                environment: Environment::Test,
            }),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            micros: 42,
            is_from_browser: true,
            cause: Some(String::from("disk\n\"full\"")),
        });
        log.say(UnixMillis(0), Level::Warn, "two\nlines");
        assert!(writer.finish(PATIENCE));
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
                "account_id": "02020202-0202-0202-0202-020202020202", "environment": "test", "client": "192.0.2.1", "micros": 42, "from_browser": true,
                "cause": "disk\n\"full\"",
            })
        );
        assert_eq!(lines[1]["message"], "two\nlines");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_readable_line_is_one_line() {
        let text = logged(LogFormat::Readable);
        assert_eq!(
            text,
            "2024-01-01T00:00:00Z req_1 401 GET /v3/contacts/{id} AUTH_002 key_expired \
             trace=a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 key=01010101-0101-0101-0101-010101010101 \
             account=02020202-0202-0202-0202-020202020202 test client=192.0.2.1 42us from_browser \
             cause=\"disk \\\"full\\\"\"\n1970-01-01T00:00:00Z warn  two lines\n"
        );
    }

    #[test]
    fn off_says_no_line_for_a_request() {
        assert_eq!(logged(LogFormat::Off), "1970-01-01T00:00:00Z warn  two lines\n");
    }

    /// A disk or terminal that takes nothing until it is told to.
    struct Stuck(Receiver<()>, Written);

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
        let (free, stuck) = channel();
        let shared = Written::default();
        let (log, writer) = Log::start(LogFormat::Readable, Box::new(Stuck(stuck, shared.clone())));
        let line = "x".repeat(100 * 1024);
        // The writer may have taken as much once.
        for _ in 0..100 {
            log.say(UnixMillis(0), Level::Info, &line);
        }
        let LogFigures { waiting_bytes, dropped } = log.figures();
        assert!(waiting_bytes <= WAITING_BYTES && dropped >= 20, "{waiting_bytes} {dropped}");
        drop(free);
        assert!(writer.finish(PATIENCE));
        let bytes = shared.0.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8(bytes).expect("it is text");
        let told: u64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("{\"log_lines_dropped\":")?.strip_suffix('}'))
            .map(|n| n.parse::<u64>().expect(n))
            .sum();
        assert_eq!((told, text.matches(" info ").count()), (dropped, 100 - dropped as usize));
    }

    #[test]
    fn the_end_waits_for_no_reader_that_never_comes() {
        let (_held, stuck) = channel();
        let out = Box::new(Stuck(stuck, Written::default()));
        let (log, writer) = Log::start(LogFormat::Readable, out);
        log.say(UnixMillis(0), Level::Info, "unheard");
        assert!(!writer.finish(Duration::ZERO));
    }
}
