//! A receiver of webhooks that a test holds: it keeps what it got, and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How a delivery is answered.
#[derive(Clone, Debug)]
pub(crate) enum Behave {
    Status(u16),
    /// 302 to this address.
    Redirect(String),
    /// Says nothing until the connection is closed from the other side.
    Hang,
    /// Says 200, and then a byte a time for ever.
    Drip,
    /// Says 200, and then more than anybody wants.
    Flood,
    /// Closes without a word.
    Close,
    /// Closes in the middle of the body that it announced.
    Break,
}

/// A delivery as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a delivery is JSON")
    }
}

/// It ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// No other receiver has it: what is sent to one that listened on this port before is not taken for ours.
    pub(crate) path: String,
    scheme: &'static str,
    received: UnboundedReceiver<Received>,
    script: Arc<Mutex<VecDeque<Behave>>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/hook-{}-{number}", std::process::id());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let line: Arc<str> = format!("POST {path} ").into();
        let (sender, received) = unbounded_channel();
        let script: Arc<Mutex<VecDeque<Behave>>> = Arc::default();
        let told = Arc::clone(&script);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let (sender, told, tls) = (sender.clone(), Arc::clone(&told), tls.clone());
                let line = Arc::clone(&line);
                tokio::spawn(async move {
                    match tls {
                        // Who does not trust the certificate never gets to ask.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &line, &sender, &told).await;
                            }
                        }
                        None => answer(stream, &line, &sender, &told).await,
                    }
                });
            }
        });
        Self { address, path, scheme, received, script, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.address, self.path)
    }

    /// Answers the next deliveries so; after them, with 200.
    pub(crate) fn will(&self, next: impl IntoIterator<Item = Behave>) {
        self.script.lock().expect("nobody panics").extend(next);
    }

    /// Waits for the next delivery.
    pub(crate) async fn next(&mut self) -> Received {
        self.received.recv().await.expect("it runs")
    }

    /// True if nothing has arrived that was not taken.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    line: &str,
    sender: &UnboundedSender<Received>,
    script: &Mutex<VecDeque<Behave>>,
) {
    let Some(received) = read(&mut stream).await else { return };
    if !received.line.starts_with(line) {
        return;
    }
    let behave = script.lock().expect("nobody panics").pop_front();
    let _ = sender.send(received);
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} X\r\n{more}\r\n");
    let mut write = async |text: String| stream.write_all(text.as_bytes()).await.is_ok();
    match behave.unwrap_or(Behave::Status(200)) {
        Behave::Status(status) => {
            write(head(status, "content-length: 2\r\nconnection: close\r\n") + "ok").await;
        }
        Behave::Redirect(to) => {
            write(head(302, &format!("location: {to}\r\ncontent-length: 0\r\n"))).await;
        }
        Behave::Hang => {
            let mut byte = [0];
            let _ = stream.read(&mut byte).await;
        }
        Behave::Drip => {
            write(head(200, "")).await;
            while write(String::from("x")).await {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        Behave::Flood => {
            write(head(200, "")).await;
            while write("x".repeat(64 * 1024)).await {}
        }
        Behave::Close => {}
        Behave::Break => {
            write(head(200, "content-length: 100\r\n") + "half").await;
        }
    }
    let _ = stream.shutdown().await;
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Received> {
    let mut bytes = vec![];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.split("\r\n");
            let line = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                let mut more = [0; 4096];
                let n = stream.read(&mut more).await.ok().filter(|n| *n > 0)?;
                body.extend_from_slice(&more[..n]);
            }
            let body = String::from_utf8_lossy(&body).into_owned();
            return Some(Received { line, headers, body });
        }
        let mut more = [0; 4096];
        let n = stream.read(&mut more).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&more[..n]);
    }
}
