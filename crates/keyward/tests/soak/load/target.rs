//! The server that is attacked: the real program in a process of its own, with an account for good
//! callers and one for hostile ones; and what the system and the server itself tell about it.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, ContactId};
use keyward_core::time::UnixMillis;
use keyward_store::contacts::{self, Contact};
use keyward_store::{Store, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::good::Caller;
use crate::hostile::{Tls, connect_from};
use crate::program::{Served, Shell, call};
use crate::say;

/// Where requests that stand for many clients come from.
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);

/// Contacts of the hostile account: to look at all of them takes the store a while, and 256 such reads, as
/// many as may wait, are over within the patience that there is for connections that are left.
const CONTACTS: i64 = 10_000;

pub(crate) struct Target {
    served: Served,
    /// Where its metrics are.
    metrics: SocketAddr,
    shell: Shell,
    pub(crate) good: Caller,
    hostile_key: String,
}

/// What an attack needs to know.
#[derive(Clone)]
pub(crate) struct Aim {
    pub(crate) address: SocketAddr,
    /// Speaks HTTP/2.
    pub(crate) tls: Option<Tls>,
    /// Of another account than the good callers'.
    pub(crate) key: String,
    pub(crate) done: Tally,
}

/// How much of an attack was done, in its own unit.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicU64>);

impl Tally {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection, however often it must be tried.
pub(crate) async fn open(server: SocketAddr, source: Ipv4Addr) -> TcpStream {
    loop {
        match connect_from(server, source).await {
            Ok(stream) => return stream,
            // Why a pause: what fails without waiting for anybody would keep the thread.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Gives an account many contacts. No server may be running.
fn fill(shell: &Shell, account: AccountId) {
    let store = Store::open(&shell.data_dir).expect("it is set up");
    let filled = store.write_blocking(move |tx| {
        for n in 0..CONTACTS {
            contacts::insert(tx, &contact(account, n))?;
        }
        Ok::<_, StoreError>(())
    });
    filled.expect("there is room for them");
}

fn contact(account: AccountId, n: i64) -> Contact {
    let number = format!("+1415{n:07}");
    Contact {
        id: ContactId::from_bytes(i128::from(n + 1).to_be_bytes()),
        account,
        environment: Environment::Production,
        phone_number: number.clone(),
        format_international: format!("+1 415-{n:07}"),
        format_national: format!("(415) {n:07}"),
        format_rfc: format!("tel:+1-415-{n:07}"),
        format_e164: number,
        country_code: String::from("1"),
        region_code: String::from("US"),
        available_channels: String::from("sms"),
        default_channel: String::from("sms"),
        opt_out: false,
        created_at: UnixMillis(n),
        updated_at: None,
    }
}

impl Target {
    pub(crate) fn start(is_tls: bool) -> Self {
        let shell = Shell::new();
        shell.set_up();
        let (good, _) = shell.issue(&["--account", "Acme"]);
        let other = shell.json(&["accounts", "create", "--name", "Other"]);
        let other = other["id"].as_str().and_then(|id| id.parse().ok());
        let other: AccountId = other.expect("an account has a UUID");
        let (hostile, _) = shell.issue(&["--account", "Other"]);
        if !is_tls {
            fill(&shell, other);
        }
        let mut arguments = vec![
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--rate-limit-standard",
            "1000000",
            "--trusted-proxy",
            "127.0.9.9",
            "--log-format",
            "json",
        ];
        if is_tls {
            arguments.push("--tls-self-signed");
        }
        let mut served = Served::of(shell.command(&arguments));
        let metrics = metrics_of(&mut served);
        let address = served.address.replace("localhost", "127.0.0.1");
        let address = address.parse().expect("it says where it listens");
        let tls = is_tls.then(|| Tls::of(&shell.data_dir, b"http/1.1"));
        let good = Caller { address, tls, key: good.clear };
        let target = Self { served, metrics, shell, good, hostile_key: hostile.clear };
        if !is_tls {
            target.look_at_all_contacts();
        }
        target
    }

    /// Shows that the contacts are there, and says how long a search through all of them takes.
    fn look_at_all_contacts(&self) {
        let ask = |query: &str| {
            let head =
                format!("GET /v3/contacts?{query} HTTP/1.1\r\nx-api-key: {}", self.hostile_key);
            call(&self.served.address, &head, "").replace(' ', "")
        };
        let all = ask("page_size=1");
        assert!(all.contains(&format!("\"total_count\":{CONTACTS}")), "{all}");
        let began = Instant::now();
        let none = ask("search=zz&page_size=100");
        assert!(none.contains("\"total_count\":0"), "{none}");
        say(&format!("a search through {CONTACTS} contacts takes {:.1?}", began.elapsed()));
    }

    /// Reads what it logs, as whatever collects it would.
    pub(crate) fn drain_log(&self) -> std::thread::JoinHandle<()> {
        let log = self.served.log.get_ref().as_fd().try_clone_to_owned();
        let mut log = File::from(log.expect("one more file"));
        std::thread::spawn(move || {
            let mut scrap = [0; 64 * 1024];
            while log.read(&mut scrap).is_ok_and(|n| n > 0) {}
        })
    }

    pub(crate) fn aim(&self, done: &Tally) -> Aim {
        let tls = self.good.tls.as_ref().map(|_| Tls::of(&self.shell.data_dir, b"h2"));
        let (address, key) = (self.good.address, self.hostile_key.clone());
        Aim { address, tls, key, done: done.clone() }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.served.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("the system tells") * 1024
    }

    /// Connections that have a place, as the server counts them. 0 if it does not tell at the moment.
    ///
    /// Why not as the system does: its table has each connection that a flood has closed as well, and it counts
    /// those that wait to be accepted, which have no place yet.
    pub(crate) async fn held(&self) -> u64 {
        let asking = async {
            let mut stream = TcpStream::connect(self.metrics).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        let asked = tokio::time::timeout(Duration::from_secs(2), asking).await;
        let answer = asked.ok().and_then(Result::ok).unwrap_or_default();
        let figure = answer.lines().find_map(|line| line.strip_prefix("keyward_connections_open "));
        figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
    }

    /// Connections that the server has, as the system counts them.
    pub(crate) fn connections(&self) -> usize {
        let port = format!(":{:04X} ", self.good.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the system tells");
        let is_ours = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().unwrap_or_default();
            let state = words.nth(1).unwrap_or_default();
            // Established, or closed by the client alone.
            format!("{local} ").ends_with(&port) && (state == "01" || state == "08")
        };
        table.lines().filter(is_ours).count()
    }

    /// How many connections are left when there are none, or after so long.
    pub(crate) async fn connections_left(&self, patience: Duration) -> usize {
        let end = Instant::now() + patience;
        loop {
            let left = self.connections();
            if left == 0 || Instant::now() > end {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Connections go to the threads in turn: if so many in a row are answered, each thread serves.
    pub(crate) async fn all_threads_serve(&self) -> bool {
        let source = Ipv4Addr::new(127, 0, 7, 99);
        for _ in 0..16 {
            let asking = async {
                let mut stream = self.good.connect(source).await?;
                self.good.ask(&mut stream).await
            };
            let asked = tokio::time::timeout(Duration::from_secs(5), asking).await;
            if !matches!(asked, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }
}

/// Where a server says that its metrics are; asked for once, before its log is read otherwise.
fn metrics_of(served: &mut Served) -> SocketAddr {
    let mut line = String::new();
    loop {
        line.clear();
        let n_bytes = served.log.read_line(&mut line).expect("it writes text");
        assert!(n_bytes > 0, "it says where its metrics are");
        if let Some((_, rest)) = line.split_once("metrics are on http://") {
            let address = rest.split('/').next().and_then(|address| address.parse().ok());
            return address.expect("it is an address and a port");
        }
    }
}
