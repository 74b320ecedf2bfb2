//! A mail server and a collector of traces that keep every byte that they are sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was said on each connection. Its thread appends, the test reads; the lock is held to copy.
type Said = Arc<Mutex<Vec<Vec<u8>>>>;

/// Listens until the test ends.
pub(super) struct Heard {
    pub(super) address: SocketAddr,
    said: Said,
}

impl Heard {
    pub(super) fn mails() -> Self {
        Self::start(take_mail)
    }

    pub(super) fn traces() -> Self {
        Self::start(take_traces)
    }

    fn start(talk: fn(TcpStream, &Said)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let said = Said::default();
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                talk(stream, &kept);
            }
        });
        Self { address, said }
    }

    /// What came, by connection. Nobody may be connected any more: they are taken one after the other, so
    /// that all is there when a last one has been.
    pub(super) fn said(&self) -> Vec<Vec<u8>> {
        let mut last = TcpStream::connect(self.address).expect("it listens");
        last.shutdown(Shutdown::Write).expect("it is open");
        let _ = last.read_to_end(&mut vec![]);
        let mut said = self.said.lock().expect("nobody panics").clone();
        assert_eq!(said.pop(), Some(vec![]), "the last one says nothing");
        said
    }
}

/// A mail as it came, and once more as it is read.
pub(super) fn read_mail(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    [bytes, text.replace("=\r\n", "").replace("=3D", "=").as_bytes()].concat()
}

fn keep(said: &Said, bytes: Vec<u8>) {
    said.lock().expect("nobody panics").push(bytes);
}

fn take_mail(mut stream: TcpStream, said: &Said) {
    let mut reader = BufReader::new(stream.try_clone().expect("the system has room"));
    let (mut all, mut is_mail) = (vec![], false);
    let mut answer = "220 mail.test";
    loop {
        if !answer.is_empty() && write!(stream, "{answer}\r\n").is_err() {
            break;
        }
        let mut line = vec![];
        if reader.read_until(b'\n', &mut line).unwrap_or_default() == 0 {
            break;
        }
        all.extend_from_slice(&line);
        answer = match (line.as_slice(), is_mail) {
            (b".\r\n", true) => {
                is_mail = false;
                "250 taken"
            }
            (_, true) => "",
            (line, false) if line.starts_with(b"EHLO") => "250-mail.test\r\n250 AUTH PLAIN",
            (line, false) if line.starts_with(b"AUTH") => "235 come in",
            (line, false) if line.starts_with(b"DATA") => {
                is_mail = true;
                "354 go on"
            }
            (line, false) if line.starts_with(b"QUIT") => "221 farewell",
            _ => "250 so be it",
        };
    }
    keep(said, all);
    // What it is told by the end of the connection is true.
    drop(stream);
}

/// Takes one message a connection, and lets it be closed.
fn take_traces(mut stream: TcpStream, said: &Said) {
    let mut reader = BufReader::new(stream.try_clone().expect("the system has room"));
    let (mut all, mut n_bytes) = (vec![], 0);
    loop {
        let mut line = vec![];
        if reader.read_until(b'\n', &mut line).unwrap_or_default() == 0 || line == b"\r\n" {
            break;
        }
        let text = String::from_utf8_lossy(&line).to_lowercase();
        if let Some(length) = text.strip_prefix("content-length:") {
            n_bytes = length.trim().parse().expect("a number");
        }
        all.extend_from_slice(&line);
    }
    // What was cut off is searched as well.
    let _ = reader.take(n_bytes).read_to_end(&mut all);
    let _ =
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}");
    keep(said, all);
}
