//! The harness: the real server on a free port, with a clock, identifiers and a folder that the test
//! holds. Nothing else differs from what people run.

#![expect(dead_code, reason = "each test binary uses its own part of the harness")]

use std::io::Write;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use ipnet::IpNet;
use keyward::app::accounts::{self, NewAccount};
use keyward::app::clock::HeldClock;
use keyward::app::keys::{self, NewKey};
use keyward::app::{Actor, App, Chance, Clock};
use keyward::config::{LogFormat, Settings};
use keyward::observe::log::{Log, LogWriter};
use keyward::server::{Running, Start};
use keyward_core::account::{Account, AccountKind, Environment};
use keyward_core::id::{AccountId, KeyId};
use keyward_core::permission::PermissionSet;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// When every test begins: 2024-01-01T00:00:00Z.
pub(crate) const BEGIN: UnixMillis = UnixMillis(1_704_067_200_000);

/// A server that a test holds, with an account in it.
pub(crate) struct TestServer {
    bare: BareServer,
    pub(crate) account: Account,
}

/// A server that a test holds, with nothing in it.
pub(crate) struct BareServer {
    running: Option<Running>,
    log_writer: Option<LogWriter>,
    pub(crate) clock: Arc<HeldClock>,
    pub(crate) logged: Logged,
    folder: Arc<tempfile::TempDir>,
    settings: Settings,
}

/// A key as its holder has it.
#[derive(Clone, Debug)]
pub(crate) struct TestKey {
    pub(crate) id: KeyId,
    pub(crate) clear: String,
}

/// What a key is issued with; the rest is usual.
pub(crate) struct KeyOf {
    pub(crate) account: AccountId,
    pub(crate) environment: Environment,
    pub(crate) permissions: PermissionSet,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) expires_at: Option<UnixMillis>,
}

/// Everything that was logged.
///
/// The log's thread appends to it and the test reads it; the lock is held to copy the text.
#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (text, is_longer) = &*self.0;
        text.lock().expect("no writer panics").extend_from_slice(bytes);
        is_longer.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().expect("no writer panics").clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().expect("no writer panics")).into_owned()
    }

    /// Blocks until `text` is logged.
    pub(crate) fn wait_for(&self, text: &str) {
        let (logged, is_longer) = &*self.0;
        let mut logged = logged.lock().expect("no writer panics");
        while !String::from_utf8_lossy(&logged).contains(text) {
            logged = is_longer.wait(logged).expect("no writer panics");
        }
    }
}

impl Deref for TestServer {
    type Target = BareServer;

    fn deref(&self) -> &BareServer {
        &self.bare
    }
}

impl DerefMut for TestServer {
    fn deref_mut(&mut self) -> &mut BareServer {
        &mut self.bare
    }
}

impl BareServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: folder.path().join("data"),
            log_format: LogFormat::Json,
            // One port is not enough for all servers of all tests.
            metrics_listen: None,
            ..Settings::default()
        };
        change(&mut settings);
        let clock = Arc::new(HeldClock::at(BEGIN));
        let logged = Logged::default();
        let (running, log_writer) = run(&settings, &clock, &logged).await;
        let (running, log_writer) = (Some(running), Some(log_writer));
        Self { running, log_writer, clock, logged, folder: Arc::new(folder), settings }
    }

    pub(crate) fn app(&self) -> &App {
        &self.running.as_ref().expect("it runs").app
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").address
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, millis: u64) {
        self.clock.advance(millis);
    }

    /// What was logged, with a line for each request that is answered by now.
    pub(crate) async fn log_so_far(&self) -> String {
        // Lines are written in order and by a thread of their own: once the last one is there, all are.
        let last = self.get("/health/live").send().await;
        let id = last.header("x-request-id").expect("every answer has one").to_owned();
        let logged = self.logged.clone();
        let waiting = tokio::task::spawn_blocking(move || logged.wait_for(&id));
        waiting.await.expect("no panic");
        self.logged.text()
    }

    /// Waits until the server has said something in its log.
    pub(crate) async fn wait_for_log(&self, text: &'static str) {
        let logged = self.logged.clone();
        let waiting = tokio::task::spawn_blocking(move || logged.wait_for(text));
        waiting.await.expect("no panic");
    }

    /// Has the server listen where it does now when it is started again.
    pub(crate) fn keep_port(&mut self) {
        self.settings.listen = self.address();
    }

    /// What the next start is given.
    pub(crate) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
    }

    /// Stops the server and starts another one on the same data, on a port of its own.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let (running, log_writer) = run(&self.settings, &self.clock, &self.logged).await;
        (self.running, self.log_writer) = (Some(running), Some(log_writer));
    }

    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.stop().await.expect("no part of it had panicked");
        let log_writer = self.log_writer.take().expect("it runs");
        // Everything is logged when this returns: it goes to memory, which takes it.
        let finish = || log_writer.finish(std::time::Duration::from_secs(600));
        assert!(tokio::task::spawn_blocking(finish).await.expect("no panic"));
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Call<'_> {
        self.call("POST", path).json(body)
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        Call { server: self, head: head.into_bytes(), body: vec![] }
    }

    /// Writes bytes to a connection of their own and reads the answer to its end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address()).await.expect("it listens");
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        // A server may answer before it has read everything, and close.
        let (_, read) = tokio::join!(write.write_all(bytes), read.read_to_end(&mut answer));
        read.expect("the answer is not cut off by a reset");
        Reply::parse(&answer)
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let bare = BareServer::start_with(change).await;
        let new = NewAccount {
            name: String::from("Acme"),
            kind: AccountKind::Organization,
            organization: None,
            email: Some(String::from("ada@example.com")),
            description: None,
        };
        let account =
            accounts::create(bare.app(), &Actor::Operator, new).await.expect("the folder is new");
        Self { bare, account }
    }

    /// A server with an account that was made otherwise.
    pub(crate) fn of(bare: BareServer, account: Account) -> Self {
        Self { bare, account }
    }

    pub(crate) fn usual(&self) -> KeyOf {
        KeyOf {
            account: self.account.id,
            environment: Environment::Production,
            permissions: PermissionSet::FULL,
            networks: vec![],
            expires_at: Some(self.app().clock.wall() + 90 * DAY_MILLIS),
        }
    }

    /// A production key that may do everything.
    pub(crate) async fn key(&self) -> TestKey {
        self.issue(self.usual()).await
    }

    pub(crate) async fn issue(&self, of: KeyOf) -> TestKey {
        let KeyOf { account, environment, permissions, networks, expires_at } = of;
        let name = String::from("billing job");
        let new = NewKey { account, name, environment, permissions, networks, expires_at };
        let issued = keys::issue(self.app(), &Actor::Operator, new).await.expect("it is right");
        TestKey { id: issued.record.id, clear: issued.key.reveal().to_string() }
    }

    pub(crate) async fn new_account(&self, name: &str, kind: AccountKind) -> Account {
        let organization = (kind == AccountKind::Profile).then_some(self.account.id);
        let name = name.to_owned();
        let new = NewAccount { name, kind, organization, email: None, description: None };
        accounts::create(self.app(), &Actor::Operator, new).await.expect("the name is new")
    }
}

async fn run(settings: &Settings, clock: &Arc<HeldClock>, logged: &Logged) -> (Running, LogWriter) {
    let (log, log_writer) = Log::start(settings.log_format, Box::new(logged.clone()));
    let start = Start {
        settings: settings.clone(),
        clock: Clock::Held(Arc::clone(clock)),
        chance: Chance::counting(),
        log,
    };
    (Running::start(start).await.expect("the folder and the port are free"), log_writer)
}

/// A request in the making.
pub(crate) struct Call<'a> {
    server: &'a BareServer,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn key(self, key: &TestKey) -> Self {
        self.header("x-api-key", &key.clear)
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("content-length", length)
    }

    pub(crate) async fn send(self) -> Reply {
        let bytes = [self.head.as_slice(), b"\r\n", &self.body].concat();
        self.server.raw(&bytes).await
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In the order in which they came, names in lower case, without `date` and `connection`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .filter(|(name, _)| name != "date" && name != "connection");
        let reply = Self { status, headers: headers.collect(), body: body.to_owned() };
        reply.check_guide();
        reply
    }

    /// What every answer whatsoever has. Contract 1.
    fn check_guide(&self) {
        let id = self.header("x-request-id").unwrap_or_default();
        let random = id.strip_prefix("req_").unwrap_or_default();
        assert!(
            random.len() >= 20 && random.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{self:?}"
        );
        assert_eq!(self.header("x-api-version"), Some("v3"), "{self:?}");
        let millis = self.header("x-response-time").and_then(|time| time.strip_suffix("ms"));
        assert!(millis.is_some_and(|millis| millis.parse::<u64>().is_ok()), "{self:?}");
        if self.header("content-type") == Some("application/json") && !self.body.is_empty() {
            let meta = &self.json()["meta"];
            // A repeated answer is that of an earlier request, byte for byte.
            let original = self.header("x-original-request-id").unwrap_or(id);
            assert_eq!(meta["request_id"], original, "{self:?}");
            assert_eq!(meta["version"], "v3", "{self:?}");
        }
        // A page that slows down who guesses a password has no window of an account.
        let is_page = self.header("content-type").is_some_and(|t| t.starts_with("text/html"));
        if self.status == 429 && !is_page {
            let seconds = self.header("retry-after").and_then(|s| s.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{self:?}");
            assert_eq!(self.header("x-ratelimit-remaining"), Some("0"), "{self:?}");
        }
        if self.status == 401 {
            assert!(self.header("www-authenticate").is_some(), "{self:?}");
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code, for tables.
    pub(crate) fn verdict(&self) -> String {
        if self.status < 300 {
            self.status.to_string()
        } else {
            format!("{} {}", self.status, self.code())
        }
    }

    pub(crate) fn remaining(&self) -> Option<u32> {
        self.header("x-ratelimit-remaining").and_then(|n| n.parse().ok())
    }

    /// Status, all headers and the body, as one text.
    pub(crate) fn whole(&self) -> String {
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        format!("{}\n{}\n\n{}", self.status, headers.join("\n"), self.body)
    }
}
