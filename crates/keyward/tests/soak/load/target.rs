//! The server that is attacked: the real program in a process of its own, with an account for good
//! callers and one for hostile ones; and what the system tells about it.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::time::Instant;

use super::good::Caller;
use crate::hostile::Tls;
use crate::program::{Served, Shell};

/// Where requests that stand for many clients come from.
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);

pub(crate) struct Target {
    served: Served,
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
    pub(crate) end: Instant,
}

impl Target {
    pub(crate) fn start(is_tls: bool) -> Self {
        let shell = Shell::new();
        shell.set_up();
        let (good, _) = shell.issue(&["--account", "Acme"]);
        shell.json(&["accounts", "create", "--name", "Other"]);
        let (hostile, _) = shell.issue(&["--account", "Other"]);
        let mut arguments = vec![
            "serve",
            "--listen",
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
        let served = Served::of(shell.command(&arguments));
        let address = served.address.replace("localhost", "127.0.0.1");
        let address = address.parse().expect("it says where it listens");
        let tls = is_tls.then(|| Tls::of(&shell.data_dir, b"http/1.1"));
        let good = Caller { address, tls, key: good.clear };
        Self { served, shell, good, hostile_key: hostile.clear }
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

    pub(crate) fn aim(&self, end: Instant) -> Aim {
        let tls = self.good.tls.as_ref().map(|_| Tls::of(&self.shell.data_dir, b"h2"));
        Aim { address: self.good.address, tls, key: self.hostile_key.clone(), end }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.served.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("the system tells") * 1024
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
