//! Good callers of an account that attacks nobody: eight connections that stay, and a new one each
//! tenth time, 200 calls a second together.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Builder;
use tokio::time::Instant;

use super::target::Target;
use crate::hostile::{Tls, connect_from};

const CALLERS: u8 = 8;
const PAUSE: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Somebody with a good key.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) key: String,
}

impl Caller {
    pub(crate) async fn connect(&self, source: Ipv4Addr) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(self.address).await?),
            None => Box::new(connect_from(self.address, source).await?),
        })
    }

    /// Asks who it is; an answer with another status than 200 is a fault.
    pub(crate) async fn ask(&self, stream: &mut Box<dyn Stream>) -> std::io::Result<()> {
        let request =
            format!("GET /v3/me HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n\r\n", self.key);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![];
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| {
                rest.split("\r\n").next().unwrap_or_default().parse::<usize>().ok()
            });
            if body.len() < length.unwrap_or(0) {
                continue;
            }
            if head.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            return Err(std::io::Error::other(text.into_owned()));
        }
    }
}

/// Callers at work.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Felt>,
}

/// What they felt.
#[derive(Default)]
pub(crate) struct Felt {
    took: Vec<Duration>,
    pub(crate) n_failed: u64,
    pub(crate) first_fault: Option<String>,
}

impl Felt {
    pub(crate) fn n_calls(&self) -> usize {
        self.took.len()
    }

    /// What so many of a hundred calls took at most.
    pub(crate) fn at(&self, hundredth: usize) -> Duration {
        let place = (self.took.len() * hundredth).div_ceil(100).saturating_sub(1);
        self.took.get(place).copied().unwrap_or(Duration::MAX)
    }
}

impl Callers {
    pub(crate) fn start(target: &Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (caller, stopping) = (target.good.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system gives what it needs");
            go_first();
            runtime.block_on(async {
                let calling: Vec<_> = (0..CALLERS)
                    .map(|n| tokio::spawn(call(caller.clone(), n, Arc::clone(&stopping))))
                    .collect();
                let mut felt = Felt::default();
                for one in calling {
                    let one = one.await.expect("no panic");
                    felt.took.extend(one.took);
                    felt.n_failed += one.n_failed;
                    felt.first_fault = felt.first_fault.or(one.first_fault);
                }
                felt.took.sort_unstable();
                felt
            })
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Felt {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Good callers have machines of their own: what is measured is how long the server takes, and not how long
/// this thread waits for a processor that the attackers' own work occupies. Without the right to go first
/// (it is root's) the figures have that in them too.
fn go_first() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux tells a thread who it is");
    let number = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
    let _ = rustix::process::setpriority_process(number.and_then(Pid::from_raw), -20);
}

async fn call(caller: Caller, number: u8, stop: Arc<AtomicBool>) -> Felt {
    let source = Ipv4Addr::new(127, 0, 7, number + 1);
    let mut felt = Felt::default();
    let mut stays = None;
    let mut n_calls = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let calling = async {
            let mut stream = match stays.take() {
                Some(stream) if n_calls % 10 != 9 => stream,
                _ => caller.connect(source).await?,
            };
            caller.ask(&mut stream).await.map(|()| stream)
        };
        match tokio::time::timeout(PATIENCE, calling).await {
            Ok(Ok(stream)) => stays = Some(stream),
            fault => {
                let fault = match fault {
                    Ok(Err(fault)) => fault.to_string(),
                    _ => String::from("no answer within ten seconds"),
                };
                felt.n_failed += 1;
                felt.first_fault.get_or_insert(fault);
            }
        }
        felt.took.push(began.elapsed());
        n_calls += 1;
        tokio::time::sleep(PAUSE).await;
    }
    felt
}
