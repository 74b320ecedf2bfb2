//! A whole server on a port of its own, with an account and a good test key.

use std::net::SocketAddr;

use keyward::app::accounts::{self, NewAccount};
use keyward::app::keys::{self, NewKey};
use keyward::app::{Actor, Chance, Clock};
use keyward::config::{self, Flags};
use keyward::observe::log::{Log, LogWriter};
use keyward::server::{Running, Start};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use memchr::memmem;

/// A server that runs as long as this is held.
pub struct Served {
    pub address: SocketAddr,
    pub key: String,
    pub account: String,
    // Held, or everything would end.
    _log_writer: LogWriter,
    _runtime: tokio::runtime::Runtime,
    _running: Running,
    _folder: tempfile::TempDir,
}

impl Served {
    /// Starts one whose limits no target reaches.
    #[must_use]
    pub fn start() -> Self {
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
        Self {
            address: running.address,
            key,
            account,
            _log_writer: log_writer,
            _runtime: runtime,
            _running: running,
            _folder: folder,
        }
    }
}

/// True for an input in which the key may end itself: all that come after it would be a stranger's.
#[must_use]
pub fn ends_the_key(data: &[u8]) -> bool {
    memmem::find(data, b"keys/self").is_some()
}

/// An input with something in the place of each mark.
#[must_use]
pub fn replaced(data: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut from = 0;
    for at in memmem::find_iter(data, mark) {
        out.extend_from_slice(&data[from..at]);
        out.extend_from_slice(by);
        from = at + mark.len();
    }
    out.extend_from_slice(&data[from..]);
    out
}
