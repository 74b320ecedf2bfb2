//! The same through the real port, as somebody on the same machine would measure it: keys that are not
//! good, and the sign-in of an unknown member against a wrong password.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use keyward::app::accounts::{self, NewAccount};
use keyward::app::clock::HeldClock;
use keyward::app::keys::{self, NewKey};
use keyward::app::sessions::Visitor;
use keyward::app::{Actor, App, Chance, Clock, people};
use keyward::config::{LogFormat, Settings};
use keyward::observe::log::Log;
use keyward::server::{Running, Start};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::id::AccountId;
use keyward_core::permission::PermissionSet;
use keyward_core::role::Role;
use keyward_core::time::UnixMillis;
use keyward_store::sessions::LinkKind;
use zeroize::Zeroizing;

use crate::Meant;
use crate::welch::{Outcome, compare};
use crate::world::{Draw, text_of};

const POOL: usize = 64;
/// After so long nobody is slowed down for what was wrong before.
const FORGOTTEN_MILLIS: u64 = 16 * 60_000;

struct Pools {
    revoked: Vec<String>,
    disabled: Vec<String>,
    /// Addresses of members, as long as those of nobody.
    members: Vec<String>,
    suspended: Vec<String>,
    /// Of members of three accounts.
    shared: Vec<String>,
}

async fn pools(app: &App) -> Pools {
    let operator = &Actor::Operator;
    let account = async |name: &str| {
        let new = NewAccount {
            name: name.to_owned(),
            kind: AccountKind::Organization,
            organization: None,
            email: None,
            description: None,
        };
        accounts::create(app, operator, new).await.expect("the folder is new").id
    };
    let join = async |account: AccountId, email: &str| {
        let invited = people::invite(app, operator, account, "N", email, Role::Developer).await;
        let invited = invited.expect("it is new");
        let password = Zeroizing::new(String::from("correct horse battery staple"));
        let visitor = Visitor { address: [127, 0, 0, 1].into(), agent: String::new() };
        let token = invited.token.reveal();
        people::take_link(app, LinkKind::Invitation, token, password, &visitor)
            .await
            .expect("the link is new");
        invited.user.id
    };
    let accounts = [account("Acme").await, account("Bolt").await, account("Cask").await];
    let account = accounts[0];
    let issue = async || {
        let new = NewKey {
            account,
            name: String::from("job"),
            environment: Environment::Production,
            permissions: PermissionSet::FULL,
            networks: vec![],
            expires_at: None,
        };
        let issued = keys::issue(app, operator, new).await.expect("it is right");
        (issued.record.id, issued.key.reveal().to_string())
    };
    let mut pools = Pools {
        revoked: vec![],
        disabled: vec![],
        members: vec![],
        suspended: vec![],
        shared: vec![],
    };
    for _ in 0..POOL {
        let (id, key) = issue().await;
        keys::revoke(app, operator, id).await.expect("it works");
        pools.revoked.push(key);
        let (id, key) = issue().await;
        keys::disable(app, operator, id).await.expect("it works");
        pools.disabled.push(key);
    }
    for number in 0..16 {
        let email = format!("member-{number:04}@example.com");
        let id = join(account, &email).await;
        if number % 2 == 1 {
            people::suspend(app, operator, account, id).await.expect("it is active");
            pools.suspended.push(email);
        } else {
            pools.members.push(email);
        }
        let email = format!("shared-{number:04}@example.com");
        for account in accounts {
            join(account, &email).await;
        }
        pools.shared.push(email);
    }
    pools
}

/// A connection that stays.
struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("it is a connection");
        Self(stream)
    }

    /// Sends a request and reads its answer to the end.
    fn ask(&mut self, request: &[u8]) -> usize {
        self.0.write_all(request).expect("it reads");
        let mut answer = [0; 32_768];
        let mut n_read = 0;
        loop {
            let n = self.0.read(&mut answer[n_read..]).expect("it answers");
            assert!(n > 0, "it does not close");
            n_read += n;
            let text = &answer[..n_read];
            let Some(head) = text.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
            let length = String::from_utf8_lossy(&text[..head]);
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
            if n_read >= head + 4 + length {
                return n_read;
            }
        }
    }
}

fn with_key(key: &str) -> Vec<u8> {
    format!("GET /v3/me HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n").into_bytes()
}

fn sign_in(email: &str) -> Vec<u8> {
    let email: String = form_urlencoded::byte_serialize(email.as_bytes()).collect();
    let body = format!("email={email}&password=a+password+that+is+wrong");
    format!(
        "POST /login HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn pick<'a>(pool: &'a [String], draw: &mut Draw) -> &'a str {
    &pool[usize::try_from(draw.next() % pool.len() as u64).expect("small")]
}

pub(crate) fn run(n_keys: usize, n_passwords: usize, tell: &mut impl FnMut(&str, Meant, &Outcome)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("the system starts a thread");
    let clock = Arc::new(HeldClock::at(UnixMillis(1_704_067_200_000)));
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: folder.path().join("data"),
        log_format: LogFormat::Json,
        rate_limit_unauthenticated: 1_000_000,
        threads: 1,
        ..Settings::default()
    };
    let (log, writer) = Log::start(settings.log_format, Box::new(std::io::sink()));
    let start =
        Start { settings, clock: Clock::Held(Arc::clone(&clock)), chance: Chance::System, log };
    let server = runtime.block_on(Running::start(start)).expect("the folder and port are free");
    let pools = runtime.block_on(pools(&server.app));
    let address = server.address;
    // As many as there are of the others, so that no side of a comparison is warmer than the other.
    let unknown = |seed: u64| -> Vec<String> {
        let mut draw = Draw(seed);
        let texts = (0..POOL).map(|_| text_of(draw.bytes()));
        texts.map(|text| str::from_utf8(&text).expect("it is ASCII").to_owned()).collect()
    };
    let (unknown, others) = (unknown(13), unknown(14));
    let mut keys = |name: &str, a: &[String], b: &[String]| {
        let mut connection = Connection::open(address);
        let outcome = compare(
            n_keys,
            3,
            |class, draw| {
                clock.advance(1);
                with_key(pick(if class { b } else { a }, draw))
            },
            |request| {
                connection.ask(request);
            },
        );
        tell(name, Meant::Same, &outcome);
    };
    keys("control: by the port, unknown, unknown", &unknown, &others);
    keys("by the port: disabled, revoked", &pools.disabled, &pools.revoked);
    keys("by the port: unknown, disabled", &unknown, &pools.disabled);
    keys("by the port: unknown, revoked", &unknown, &pools.revoked);
    let nobody: Vec<String> =
        (0..16).map(|number| format!("nobody-{number:04}@example.com")).collect();
    for (name, members) in [
        ("control: sign-in, unknown, unknown", &nobody),
        ("sign-in: unknown, wrong password", &pools.members),
        ("sign-in: unknown, suspended", &pools.suspended),
        ("sign-in: unknown, in three accounts", &pools.shared),
    ] {
        let mut connection = Connection::open(address);
        let outcome = compare(
            n_passwords,
            9,
            |class, draw| {
                clock.advance(FORGOTTEN_MILLIS);
                sign_in(pick(if class { members } else { &nobody }, draw))
            },
            |request| {
                connection.ask(request);
            },
        );
        tell(name, Meant::Same, &outcome);
    }
    runtime.block_on(server.stop()).expect("no part of it had panicked");
    drop(runtime);
    assert!(writer.finish(std::time::Duration::from_secs(60)), "it writes to nowhere");
}
