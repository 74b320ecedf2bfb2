//! The receiver of webhooks: it notes what arrives, and sometimes refuses an event the first time.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::line::Rng;

/// One event in so many is refused when it comes for the first time.
const REFUSED_OF: u64 = 150;
/// How long nothing may arrive while something is missing: longer than the pauses of two retries.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an acknowledged change must bring: whose it was (the request's id, or the key's if no request
/// made it) and what happened.
pub(crate) type Heard = (String, String);

#[derive(Default)]
struct Caught {
    heard: HashSet<Heard>,
    /// By id, how often an event was taken.
    taken: HashMap<String, u32>,
    n_refused: u64,
}

/// It listens as long as the test runs.
pub(crate) struct Catcher {
    pub(crate) address: SocketAddr,
    caught: Arc<(Mutex<Caught>, Condvar)>,
}

impl Catcher {
    pub(crate) fn start(mut rng: Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let caught = Arc::<(Mutex<Caught>, Condvar)>::default();
        let shared = Arc::clone(&caught);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, rng) = (Arc::clone(&shared), rng.fork());
                // Who was killed in the middle of a delivery left half a request.
                std::thread::spawn(move || stream.map(|stream| take(&stream, &shared, rng)));
            }
        });
        Self { address, caught }
    }

    /// Waits until all of these have arrived; gives what is missing when nothing comes any more.
    pub(crate) fn wait_for(&self, expected: &[Heard]) -> Vec<Heard> {
        let (caught, is_more) = &*self.caught;
        let mut caught = caught.lock().expect("no receiver panics");
        loop {
            let missing = expected.iter().filter(|wanted| !caught.heard.contains(*wanted));
            let missing: Vec<Heard> = missing.cloned().collect();
            if missing.is_empty() {
                return missing;
            }
            let (still, waited) =
                is_more.wait_timeout(caught, PATIENCE).expect("no receiver panics");
            if waited.timed_out() {
                return missing;
            }
            caught = still;
        }
    }

    /// Events that arrived, how many came more than once, and how many were refused at first.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        let caught = self.caught.0.lock().expect("no receiver panics");
        let n_again = caught.taken.values().filter(|times| **times > 1).count();
        (caught.taken.len(), n_again, caught.n_refused)
    }
}

fn take(stream: &TcpStream, shared: &(Mutex<Caught>, Condvar), mut rng: Rng) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.strip_suffix("\r\n")?;
        if line.is_empty() {
            break;
        }
        match line.to_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("x-webhook-event-id", value)) => value.clone_into(&mut id),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).expect("a delivery is JSON");
    let event = body["event"].as_str().expect("it has a name").to_owned();
    let whose = body["request_id"].as_str().or(body["payload"]["api_key_id"].as_str());
    let whose = whose.unwrap_or_default().to_owned();
    let mut caught = shared.0.lock().expect("no receiver panics");
    let is_new = !caught.taken.contains_key(&id);
    let is_refused = is_new && rng.below(REFUSED_OF) == 0;
    // Noted before it is answered: the answer may be lost, and then it comes again.
    *caught.taken.entry(id).or_default() += u32::from(!is_refused);
    if is_refused {
        caught.n_refused += 1;
    } else {
        caught.heard.insert((whose, event));
        shared.1.notify_all();
    }
    drop(caught);
    let status = if is_refused { "503 Service Unavailable" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut stream = stream;
    stream.write_all(answer.as_bytes()).ok()
}
