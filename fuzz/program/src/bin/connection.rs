//! A whole server on a port of its own: any bytes on a connection. What comes back are answers of HTTP/1.1 with
//! the guide's headers, and nothing of a key that was sent. `{key}` in the input stands for a good test key,
//! `{id}` for its account.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use keyward::app::accounts::{self, NewAccount};
use keyward::app::keys::{self, NewKey};
use keyward::app::{Actor, Chance, Clock};
use keyward::config::{self, Flags};
use keyward::observe::log::{Log, LogWriter};
use keyward::server::{Running, Start};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use libfuzzer_sys::fuzz_target;

struct Server {
    address: SocketAddr,
    key: String,
    account: String,
    // Held, or everything would end.
    _log_writer: LogWriter,
    _runtime: tokio::runtime::Runtime,
    _running: Running,
    _folder: tempfile::TempDir,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let data_dir = folder.path().join("data").display().to_string();
    let flags = Flags::from([
        ("data_dir", data_dir),
        ("listen", String::from("127.0.0.1:0")),
        ("log_format", String::from("off")),
        ("threads", String::from("1")),
        ("request_records", String::from("1000")),
        ("rate_limit_standard", String::from("1000000")),
        ("rate_limit_sensitive", String::from("1000000")),
        ("rate_limit_unauthenticated", String::from("1000000")),
        ("webhook_http", String::from("never")),
    ]);
    let (settings, _) = config::load(&flags, |_| None, None).expect("these are good settings");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let (log, log_writer) = Log::start(settings.log_format, Box::new(std::io::sink()));
    let (running, key, account) = runtime.block_on(async {
        let start = Start { settings, clock: Clock::system(), chance: Chance::System, log };
        let running = Running::start(start).await.expect("the server starts");
        let new = NewAccount {
            name: String::from("fuzz"),
            kind: AccountKind::Organization,
            organization: None,
            email: None,
            description: None,
        };
        let account = accounts::create(&running.app, &Actor::Operator, new).await;
        let account = account.expect("an account can be made").id;
        let new = NewKey {
            account,
            name: String::from("fuzz"),
            environment: Environment::Test,
            // Made-up webhooks would post to addresses that belong to somebody.
            permissions: PermissionSet::ALL.without(Permission::WebhooksWrite),
            networks: vec![],
            expires_at: None,
        };
        let issued = keys::issue(&running.app, &Actor::Operator, new).await;
        let key = issued.expect("a key can be made").key.reveal().to_string();
        (running, key, account.to_string())
    });
    Server {
        address: running.address,
        key,
        account,
        _log_writer: log_writer,
        _runtime: runtime,
        _running: running,
        _folder: folder,
    }
});

fn replaced(data: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Checks one answer and gives what follows it. `None` where the rest cannot be told apart: the answer to
/// HEAD has a length and no body.
fn check_answer(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
    let head = str::from_utf8(&bytes[..end]).expect("our heads are text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a first line");
    let status = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
    let status: u16 = status.expect("a status").get(..3).expect("a number").parse().expect("one");
    let rest = &bytes[end + 4..];
    if status == 100 {
        return Some(rest);
    }
    let headers: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').expect("a name and a value"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let value = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, v)| *v);
    for name in ["x-request-id", "x-api-version", "x-response-time"] {
        assert!(value(name).is_some(), "{head}");
    }
    assert!(status < 500 || status == 501 || status == 503 || status == 504, "{head}");
    let length: usize = value("content-length").map_or(0, |text| text.parse().expect("a number"));
    if rest.len() < length || (length > 0 && rest.starts_with(b"HTTP/1.")) {
        return None;
    }
    let (body, rest) = rest.split_at(length);
    if value("content-type") == Some("application/json") && length > 0 {
        serde_json::from_slice::<serde_json::Value>(body).expect("it is JSON");
    }
    Some(rest)
}

fuzz_target!(|data: &[u8]| {
    let server = &*SERVER;
    let data = replaced(data, b"{key}", server.key.as_bytes());
    let data = replaced(&data, b"{id}", server.account.as_bytes());
    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(4))).expect("a timeout can be set");
    // It may be closed before all is sent: then there is an answer all the same.
    let _ = stream.write_all(&data);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = vec![];
    if stream.read_to_end(&mut answer).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock) {
        panic!("the server did not end the connection");
    }
    let shown = answer.windows(36).any(|window| window == server.key.as_bytes());
    assert!(!shown, "the key was shown");
    let mut rest = answer.as_slice();
    while !rest.is_empty() {
        match check_answer(rest) {
            Some(next) => rest = next,
            None => break,
        }
    }
});
