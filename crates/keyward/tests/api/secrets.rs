//! No secret anywhere: one life of a server, from its first start over every way in which a secret is
//! made, shown, sent, sent to the wrong place and refused, a full disk and a kill; then everything that it
//! left is searched. Each secret is in the one answer that shows it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use totp_rs::{Algorithm, Builder, Secret as TotpSecret};

use crate::dashboard::{between, form};
use crate::program::{Ended, Shell};
use crate::search::{Searcher, Secret};
use crate::support::{Logged, Reply};

const OWNER: &str = "ada@example.com";
/// A key that nobody has.
const STRANGE: &str = "5e884898-da28-4047-9151-56a1d0e2f3b4";

/// What is sent where a request should be.
const NO_HTTP: &str = "what is no HTTP";

/// An answer, or what a command wrote, with the names of the secrets that it is there to show.
struct Left {
    what: String,
    bytes: Vec<u8>,
    shows: Vec<String>,
}

/// The program, and everything that came out of it.
struct Life {
    shell: Shell,
    format: &'static str,
    temporary: tempfile::TempDir,
    child: Option<Child>,
    address: String,
    log: Logged,
    left: Vec<Left>,
    secrets: Vec<Secret>,
    /// Codes of six digits, which are too short to be looked for among other digits.
    codes: Vec<String>,
    cookie: String,
    receiver: String,
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Life {
    fn new(format: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let receiver = format!("http://{}/", listener.local_addr().expect("it is bound"));
        // Answers the first deliveries and fails the others, until the test ends.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let mut bytes = [0; 16_384];
                let _ = stream.read(&mut bytes);
                let status = if number % 3 == 2 { "500 No" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self {
            shell: Shell::new(),
            format,
            temporary: tempfile::tempdir().expect("a temporary folder"),
            child: None,
            address: String::new(),
            log: Logged::default(),
            left: vec![],
            secrets: vec![],
            codes: vec![],
            cookie: String::new(),
            receiver,
        }
    }

    fn start(&mut self) {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-format", self.format];
        let more = [
            "--rate-limit-unauthenticated=1000000",
            "--rate-limit-standard=1000000",
            "--rate-limit-sensitive=1000000",
            "--metrics-listen=127.0.0.1:0",
        ];
        let mut command = self.shell.command(&[&arguments[..], &more].concat());
        let command = command.env("TMPDIR", self.temporary.path()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        self.child = Some(child);
        let mut log = self.log.clone();
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it writes text");
        log.write_all(line.as_bytes()).expect("memory takes it");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split([' ', '"']).next());
        self.address = address.unwrap_or_else(|| panic!("it says where: {line}")).to_owned();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut log));
    }

    /// What is counted, as Prometheus would ask for it.
    fn scrape(&mut self) {
        self.log.wait_for("metrics are on http://");
        let log = self.log.text();
        let rest = log.rsplit("metrics are on http://").next().expect("it says where");
        let address = rest.split('/').next().expect("an address").to_owned();
        let serving = std::mem::replace(&mut self.address, address);
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let figures = self.raw("GET /metrics", request.as_bytes(), &[]);
        assert!(String::from_utf8_lossy(&figures).contains("keyward_"), "there are figures");
        self.address = serving;
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    fn end(&mut self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends");
    }

    fn keep(&mut self, what: &str, bytes: &[u8], shows: &[&str]) {
        let shows = shows.iter().map(|name| (*name).to_owned()).collect();
        self.left.push(Left { what: what.to_owned(), bytes: bytes.to_vec(), shows });
    }

    /// Sends bytes as they are, and keeps what comes back.
    fn raw(&mut self, what: &str, request: &[u8], shows: &[&str]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        // It may answer, and close, before it has read everything; or wait for more.
        let _ = stream.write_all(request);
        if what == NO_HTTP {
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("it is a time");
        }
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        self.keep(what, &answer, shows);
        answer
    }

    fn send(&mut self, line: &str, headers: &[(&str, &str)], body: &str, shows: &[&str]) -> Reply {
        let mut head = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        Reply::parse(&self.raw(line, request.as_bytes(), shows))
    }

    fn api(&mut self, key: &str, line: &str, body: &str, shows: &[&str]) -> Reply {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        self.send(line, &headers, body, shows)
    }

    /// A page, as the browser that is signed in asks for it. A new cookie takes the place of the old one.
    fn page(&mut self, line: &str, fields: &[(&str, &str)], shows: &[&str]) -> Reply {
        let cookie = self.cookie.clone();
        let headers = [
            ("cookie", cookie.as_str()),
            ("origin", "http://localhost"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let reply = self.send(line, &headers, &form(fields), shows);
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        reply
    }

    fn get(&mut self, path: &str, shows: &[&str]) -> Reply {
        self.page(&format!("GET {path}"), &[], shows)
    }

    fn post(&mut self, path: &str, fields: &[(&str, &str)], shows: &[&str]) -> Reply {
        self.page(&format!("POST {path}"), fields, shows)
    }

    /// Notes the session that was just begun.
    fn begun(&mut self, name: &str) {
        let token = self.cookie.split_once('=').expect("a cookie").1.to_owned();
        self.token(name, &token);
    }

    fn token(&mut self, name: &str, token: &str) {
        let bytes = URL_SAFE_NO_PAD.decode(token).expect("a token");
        self.secrets.push(Secret::of_bytes(name, token, &bytes));
    }

    fn password<'a>(&mut self, name: &str, password: &'a str) -> &'a str {
        self.secrets.push(Secret::text(name, password));
        password
    }

    fn key(&mut self, name: &str, key: &str) {
        self.secrets.push(Secret::key(name, key));
    }

    /// A signing secret: its text, what follows `whsec_`, and the bytes that sign.
    fn signing(&mut self, name: &str, text: &str) {
        let rest = text.strip_prefix("whsec_").expect("a signing secret");
        let bytes = STANDARD.decode(rest).expect("base64");
        self.secrets.push(Secret::of_bytes(name, rest, &bytes));
    }

    fn command(&mut self, arguments: &[&str], stdin: &[u8], shows: &[&str]) -> Ended {
        let ended = self.shell.run_with(arguments, stdin);
        let what = arguments.join(" ");
        self.keep(&format!("{what}: stdout"), ended.out.as_bytes(), shows);
        self.keep(&format!("{what}: stderr"), ended.err.as_bytes(), &[]);
        ended
    }

    /// Searches the folder, the place for temporary files and the log, as they are now.
    fn check_files(&self, when: &str) -> usize {
        let searcher = Searcher::new(&self.secrets);
        let mut files = files_of(&self.shell.data_dir);
        files.extend(files_of(self.temporary.path()));
        let mut n_bytes = 0;
        for path in &files {
            let Ok(bytes) = std::fs::read(path) else { continue };
            n_bytes += bytes.len();
            let mut hits = searcher.search(&bytes);
            if path.file_name().is_some_and(|name| name == "keyward.key") {
                hits.retain(|hit| hit.secret != "what seals");
            }
            assert_eq!(hits, [], "{when}: {}", path.display());
        }
        let log = self.log.bytes();
        let mut hits = searcher.search(&log);
        // How the owner gets in: the one secret that the log ever holds, as SECURITY.md says.
        hits.retain(|hit| hit.secret != "the setup link");
        assert_eq!(hits, [], "{when}: the log");
        for code in &self.codes {
            assert!(!stands_alone(&log, code.as_bytes()), "{when}: the log has a code");
        }
        assert!(files.len() >= 2 && log.len() + n_bytes > 100_000, "{when}: there is little");
        files.len()
    }

    /// Searches every answer and everything that a command wrote.
    fn check_answers(&self) {
        let searcher = Searcher::new(&self.secrets);
        let mut shown = BTreeSet::new();
        for Left { what, bytes, shows } in &self.left {
            let hits = searcher.search(bytes);
            let found: BTreeSet<String> = hits.iter().map(|hit| hit.secret.clone()).collect();
            let extra: Vec<_> = hits.iter().filter(|hit| !shows.contains(&hit.secret)).collect();
            assert!(extra.is_empty(), "{what}: {extra:?}");
            for name in shows {
                assert!(found.contains(name), "{what} is there to show {name}");
            }
            shown.extend(found);
        }
        assert!(shown.len() >= 30, "{}", shown.len());
    }
}

/// True if the bytes are there with no letter or digit beside them.
fn stands_alone(bytes: &[u8], wanted: &[u8]) -> bool {
    let is_part =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    bytes.windows(wanted.len()).enumerate().any(|(at, part)| {
        part == wanted && !is_part(at.checked_sub(1)) && !is_part(Some(at + wanted.len()))
    })
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let entry = entry.expect("it can be read");
        match entry.file_type().expect("it has one") {
            kind if kind.is_dir() => found.extend(files_of(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn id_of(reply: &Reply) -> String {
    assert!(reply.status < 300, "{reply:?}");
    reply.json()["data"]["id"].as_str().expect("an id").to_owned()
}

fn text_of(reply: &Reply, name: &str) -> String {
    assert!(reply.status < 300, "{reply:?}");
    reply.json()["data"][name].as_str().unwrap_or_else(|| panic!("{name}: {reply:?}")).to_owned()
}

fn shown(reply: &Reply, from: &str) -> String {
    assert!(reply.status < 300, "{reply:?}");
    between(&reply.body, from, "<").to_owned()
}

fn last_part(link: &str) -> String {
    link.trim().rsplit('/').next().expect("a link").to_owned()
}

/// The first account, by the link, and keys by every way in which one is made.
fn begin(life: &mut Life) {
    life.start();
    life.log.wait_for("the link works once");
    let log = life.log.text();
    let token = between(&log, "/setup/", " ").to_owned();
    life.token("the setup link", &token);
    life.get(&format!("/setup/{token}"), &["the setup link"]);
    let password = life.password("the owner's password", "correct horse battery staple");
    let fields = [
        ("account", "Acme"),
        ("owner_name", "Ada"),
        ("owner_email", OWNER),
        ("password", password),
    ];
    let made = life.post(&format!("/setup/{token}"), &fields, &["the first session"]);
    assert_eq!(made.status, 303, "{made:?}");
    life.begun("the first session");
}

fn custom<'a>(name: &'a str, environment: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("name", name),
        ("environment", environment),
        ("access", "custom"),
        ("expiry", "90"),
        ("networks", ""),
    ];
    for permission in keyward_core::permission::Permission::ALL {
        fields.push(("permission", permission.as_str()));
    }
    fields
}

struct Keys {
    production: String,
    test: String,
}

fn keys(life: &mut Life) -> Keys {
    let mut of_page = |name: &str, environment: &str| {
        let reply = life.post("/keys", &custom("job", environment), &[name]);
        let key = shown(&reply, "id=\"key\" data-secret>");
        life.key(name, &key);
        let id = between(&reply.body, "data-once=\"/keys/", "\"").to_owned();
        (key, id)
    };
    let (production, _) = of_page("a key of a page", "production");
    let (test, _) = of_page("a test key", "test");
    let (_, rotated) = of_page("a key that is rotated", "production");
    let path = format!("/keys/{rotated}/rotate");
    let reply = life.post(&path, &[("grace", "1h")], &["its successor"]);
    life.key("its successor", &shown(&reply, "id=\"key\" data-secret>"));
    // On the command line.
    let create = ["keys", "create", "--name", "ci", "--environment", "production"];
    let made = life.command(&create, b"", &["a key of the command line"]);
    life.key("a key of the command line", made.out.trim());
    let explain = ["keys", "explain", "--key-stdin"];
    life.command(&explain, made.out.as_bytes(), &[]);
    life.command(&explain, b"let me in", &[]);
    let id = made.err.split("id ").nth(1).and_then(|rest| rest.split(')').next());
    let id = id.expect("it tells the id").to_owned();
    let made = life.command(&["keys", "rotate", &id], b"", &["a successor there"]);
    life.key("a successor there", made.out.trim());
    let imported = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    life.key("a key that was imported", imported);
    let file = life.temporary.path().join("keys.csv");
    std::fs::write(&file, format!("key,name,environment\n{imported},old,production\n"))
        .expect("there is room");
    let name = file.to_str().expect("a plain name").to_owned();
    let ended = life.command(&["keys", "import", &name], b"", &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // A second time it is refused, and told where.
    assert_ne!(life.command(&["keys", "import", &name], b"", &[]).code, 0);
    std::fs::remove_file(file).expect("it is there");
    let reply = life.api(imported, "GET /v3/me", "", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    // Over the API, once more under the same Idempotency-Key.
    let body = r#"{"name":"child","permissions":["contacts:read"]}"#;
    let headers = [
        ("x-api-key", production.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "twice"),
    ];
    let made = life.send("POST /v3/api-keys", &headers, body, &["a key of the API"]);
    life.key("a key of the API", &text_of(&made, "key"));
    let again = life.send("POST /v3/api-keys", &headers, body, &["a key of the API"]);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    life.secrets.push(Secret {
        name: String::from("what seals"),
        forms: vec![std::fs::read(life.shell.data_dir.join("keyward.key")).expect("it is made")],
    });
    let line = format!("POST /v3/api-keys/{}/rotate", id_of(&made));
    let rotated = life.api(&production, &line, "{}", &["a successor of the API"]);
    life.key("a successor of the API", &text_of(&rotated, "key"));
    Keys { production, test }
}

fn webhooks(life: &mut Life, keys: &Keys) {
    let url = life.receiver.clone();
    let body = format!(
        r#"{{"display_name":"CRM","endpoint_url":"{url}","event_types":["contact"],"retry_count":1}}"#
    );
    let headers = [
        ("x-api-key", keys.test.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "hook"),
    ];
    let made = life.send("POST /v3/webhooks", &headers, &body, &["a signing secret"]);
    life.signing("a signing secret", &text_of(&made, "signing_secret"));
    life.send("POST /v3/webhooks", &headers, &body, &["a signing secret"]);
    let id = id_of(&made);
    let path = format!("/v3/webhooks/{id}");
    let line = format!("POST {path}/rotate-secret");
    let rotated = life.api(&keys.test, &line, "{}", &["a new signing secret"]);
    life.signing("a new signing secret", &text_of(&rotated, "signing_secret"));
    let fields = [
        ("name", "Desk"),
        ("environment", "test"),
        ("url", url.as_str()),
        ("event", "contact"),
        ("retries", "1"),
        ("timeout", "5"),
    ];
    let reply = life.post("/webhooks", &fields, &["a signing secret of a page"]);
    life.signing("a signing secret of a page", &shown(&reply, "id=\"key\" data-secret>"));
    let page = between(&reply.body, "data-once=\"/webhooks/", "\"").to_owned();
    let path_of_page = format!("/webhooks/{page}/rotate");
    let reply = life.post(&path_of_page, &[], &["a new one of a page"]);
    life.signing("a new one of a page", &shown(&reply, "id=\"key\" data-secret>"));
    for number in 0..4 {
        let contact = format!(r#"{{"phone_number":"+1415555010{number}"}}"#);
        life.api(&keys.test, "POST /v3/contacts", &contact, &[]);
    }
    life.api(&keys.test, &format!("POST {path}/test"), r#"{"event_type":"contact.created"}"#, &[]);
    for line in [format!("GET {path}"), format!("GET {path}/events"), "GET /v3/webhooks".into()] {
        life.api(&keys.test, &line, "", &[]);
    }
    for place in ["/webhooks".to_owned(), format!("/webhooks/{id}"), format!("/webhooks/{page}")] {
        assert_eq!(life.get(&place, &[]).status, 200);
    }
}

/// Invitations and resets, and what their links are used for.
fn people(life: &mut Life) {
    let fields = [("name", "Grace"), ("email", "grace@example.com"), ("role", "developer")];
    let reply = life.post("/team", &fields, &["an invitation"]);
    let link = shown(&reply, "id=\"link\" data-secret>");
    let token = last_part(&link);
    life.token("an invitation", &token);
    let invite =
        ["users", "invite", "--name", "B", "--email", "bob@example.com", "--role", "billing"];
    let ended = life.command(&invite, b"", &["an invitation of the command line"]);
    life.token("an invitation of the command line", &last_part(&ended.out));
    let own = std::mem::take(&mut life.cookie);
    let path = format!("/invitations/{token}");
    life.get(&path, &["an invitation"]);
    let short = life.password("a password that is too short", "Tr0ub4dor&3");
    life.post(&path, &[("password", short)], &["an invitation"]);
    let password = life.password("a member's password", "hunter2 hunter2 hunter2");
    let joined = life.post(&path, &[("password", password)], &["a member's session"]);
    assert_eq!(joined.status, 303, "{joined:?}");
    life.begun("a member's session");
    life.post("/logout", &[], &[]);
    life.cookie = own;
    let team = life.get("/team", &[]).body;
    let rows = team.split("href=\"/team/").skip(1).map(|rest| rest.split('"').next());
    let ids: BTreeSet<String> =
        rows.flatten().filter(|id| id.len() == 36).map(Into::into).collect();
    for id in ids {
        let reply = life.post(&format!("/team/{id}/reset"), &[], &[]);
        if reply.status < 300 {
            let token = last_part(&shown(&reply, "id=\"link\" data-secret>"));
            life.left.last_mut().expect("it was kept").shows.push("a reset".into());
            life.token("a reset", &token);
        }
    }
    let reset = ["users", "reset-password", "--email", "grace@example.com"];
    let ended = life.command(&reset, b"", &["a reset of the command line"]);
    let token = last_part(&ended.out);
    life.token("a reset of the command line", &token);
    let own = std::mem::take(&mut life.cookie);
    let path = format!("/reset/{token}");
    life.get(&path, &["a reset of the command line"]);
    let password = life.password("a new password", "another long passphrase");
    let set = life.post(&path, &[("password", password)], &[]);
    assert_eq!(set.status, 303, "{set:?}");
    life.get(&path, &[]);
    // What is wrong, and what is nobody's.
    let wrong = life.password("a wrong password", "a password that is wrong");
    for email in [OWNER, "nobody@example.com"] {
        life.cookie.clear();
        let refused = life.post("/login", &[("email", email), ("password", wrong)], &[]);
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    life.cookie = own;
}

/// What an authenticator app shows.
pub(crate) fn code_of(bytes: &[u8], email: &str, seconds: u64) -> String {
    let bytes: [u8; 20] = bytes.try_into().expect("20 bytes");
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(TotpSecret::new_stack(bytes))
        .with_account_name(email.to_owned())
        .with_issuer(Some("Keyward"))
        .build()
        .expect("it is right");
    totp.generate(seconds).to_string()
}

pub(crate) fn base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut n_bits) = (vec![], 0_u32, 0);
    for letter in text.bytes() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let value = alphabet.iter().position(|known| *known == letter).expect("base32");
        bits = bits << 5 | u32::try_from(value).expect("small");
        n_bits += 5;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xff) as u8);
        }
    }
    bytes
}

/// The codes of a page, which is there to show them.
fn recovery_codes(life: &mut Life, page: &str, what: &str) -> Vec<String> {
    let list = between(page, "id=\"codes\" data-secret>", "</ul>");
    let code = |rest: &str| rest.split('<').next().expect("a code").to_owned();
    let codes: Vec<String> = list.split("<li>").skip(1).map(code).collect();
    assert_eq!(codes.len(), 10);
    for (number, text) in codes.iter().enumerate() {
        let name = format!("{what} {number}");
        life.left.last_mut().expect("it was kept").shows.push(name.clone());
        life.secrets.push(Secret::text(&name, text));
    }
    codes
}

fn second_factor(life: &mut Life, password: &str) {
    let reply = life.post("/profile/second-factor", &[], &["an authenticator's secret"]);
    let text = shown(&reply, "<code data-secret>");
    let bytes = base32(&text);
    life.secrets.push(Secret::of_bytes("an authenticator's secret", &text, &bytes));
    let sealed = between(&reply.body, "name=\"sealed\" value=\"", "\"").to_owned();
    let wrong = [("sealed", sealed.as_str()), ("code", "000000")];
    life.post("/profile/second-factor/on", &wrong, &["an authenticator's secret"]);
    #[expect(clippy::disallowed_methods, reason = "an authenticator app has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let code = code_of(&bytes, OWNER, now);
    let fields = [("sealed", sealed.as_str()), ("code", code.as_str())];
    let reply = life.post("/profile/second-factor/on", &fields, &[]);
    assert_eq!(reply.status, 201, "{reply:?}");
    let recovery = recovery_codes(life, &reply.body, "recovery code");
    life.codes.push(code.clone());
    // Signing in with a password, a code that was used, and a recovery code.
    life.post("/logout", &[], &[]);
    life.cookie.clear();
    let half =
        life.post("/login", &[("email", OWNER), ("password", password)], &["half a session"]);
    assert_eq!(half.status, 303, "{half:?}");
    life.begun("half a session");
    let refused = life.post("/login/code", &[("code", &code)], &[]);
    assert_eq!(refused.status, 403, "{refused:?}");
    let entered = life.post("/login/code", &[("code", &recovery[0])], &["the second session"]);
    assert_eq!(entered.status, 303, "{entered:?}");
    life.begun("the second session");
    life.post("/profile/second-factor/codes", &[("confirmation", &recovery[1])], &[]);
    let page = String::from_utf8_lossy(&life.left.last().expect("it was kept").bytes).into_owned();
    recovery_codes(life, &page, "new recovery code");
}

/// A key, good or unknown, wherever it does not belong.
fn misplaced(life: &mut Life, key: &str) {
    let digits = key.replace('-', "");
    for value in [key, &digits, &key.to_uppercase()] {
        for line in [
            format!("GET /v3/me?x-api-key={value}"),
            format!("GET /v3/contacts?search={value}&page={value}"),
            format!("GET /v3/{value}"),
            format!("GET /v3/contacts/{value}"),
            format!("GET /v3/api-keys/{value}"),
            format!("GET /keys/{value}"),
            format!("GET /{value}?{value}"),
            format!("GET /invitations/{value}"),
            format!("GET /errors/{value}"),
            format!("GET /docs/reference/{value}"),
            format!("PUT /v3/me?key={value}"),
        ] {
            life.send(&line, &[], "", &[]);
            life.send(&line, &[("x-api-key", key), ("accept", "text/html")], "", &[]);
        }
        let bearer = format!("Bearer {value}");
        let basic = format!("Basic {}", STANDARD.encode(format!("{value}:")));
        let cookie = format!("keyward-over-http={value}; x-api-key={value}");
        let agent = format!("job/1.0 (x-api-key={value})");
        for headers in [
            [("authorization", bearer.as_str()), ("accept", "*/*")],
            [("authorization", basic.as_str()), ("accept", "*/*")],
            [("cookie", cookie.as_str()), ("x-api-key", key)],
            [("user-agent", agent.as_str()), ("x-api-key", key)],
            [("user-agent", value), ("x-api-key", key)],
            [("user-agent", agent.as_str()), ("accept", "*/*")],
            [("x-forwarded-for", value), ("x-api-key", key)],
            [("x-forwarded-proto", value), ("forwarded", value)],
            [("x-profile-id", value), ("x-api-key", key)],
            [("x-request-id", value), ("x-api-key", key)],
            [("origin", value), ("x-api-key", key)],
            [("referer", value), ("x-api-key", key)],
            [("idempotency-key", value), ("x-api-key", key)],
            [("x-api-key", bearer.as_str()), ("accept", "*/*")],
            [("x-api-key", value), ("x-api-key", value)],
            [(value, value), ("x-api-key", key)],
        ] {
            life.send("GET /v3/me", &headers, "", &[]);
            life.send("GET /v3/contacts", &headers, "", &[]);
            life.send("GET /login", &headers, "", &[]);
        }
        for body in [
            format!(r#"{{"x-api-key":"{value}"}}"#),
            format!(r#"{{"phone_number":"{value}"}}"#),
            format!(
                r#"{{"phone_number":"+14155550199","x-api-key":"{value}","sandbox":"{value}"}}"#
            ),
            format!(r#"{{"event_types":["{value}"],"permissions":["{value}"],"name":7}}"#),
            format!(r#"{{"{value}":"#),
            format!("x-api-key={value}"),
        ] {
            for line in ["POST /v3/contacts", "POST /v3/webhooks", "POST /v3/api-keys"] {
                life.api(key, line, &body, &[]);
                life.api(STRANGE, line, &body, &[]);
            }
        }
        for bytes in [
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key {value}\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key: {value}\0\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: {value}\r\nx-api-key: \u{7f}{value}\r\n\r\n"),
            format!("GET {value} HTTP/1.1\r\n\r\n"),
            format!("{value} /v3/me HTTP/1.1\r\nhost: x\r\n\r\n"),
            format!("x-api-key: {value}\r\n\r\n"),
            format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx: {}{value}\r\n\r\n", "a".repeat(70_000)),
            format!("POST /v3/contacts HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{value}"),
        ] {
            life.raw(NO_HTTP, bytes.as_bytes(), &[]);
        }
    }
}

/// The disk is full: changes that would show a secret are refused, and show none.
fn without_room(life: &mut Life, keys: &Keys, password: &str) {
    let limit = |life: &Life, bytes: Option<u64>| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(life.pid()), Resource::Fsize, limit).expect("it runs");
    };
    limit(life, Some(4096));
    let body = r#"{"name":"no","permissions":["contacts:read"]}"#;
    let refused = life.api(&keys.production, "POST /v3/api-keys", body, &[]);
    assert_eq!(refused.status, 503, "{refused:?}");
    let refused = life.post("/keys", &custom("no", "test"), &[]);
    assert_eq!(refused.status, 503, "{refused:?}");
    life.post("/team", &[("name", "N"), ("email", "n@example.com"), ("role", "admin")], &[]);
    life.post("/login", &[("email", "grace@example.com"), ("password", password)], &[]);
    limit(life, None);
    let reply = life.api(&keys.production, "GET /v3/api-keys", "", &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Every page and list that tells of keys, members, requests or what was done.
fn look_everywhere(life: &mut Life, keys: &Keys) {
    for path in [
        "/overview",
        "/keys",
        "/team",
        "/profile",
        "/requests",
        "/alerts",
        "/audit",
        "/webhooks",
        "/audit/export.csv",
        "/audit/export.json",
        "/docs",
        "/openapi.json",
        "/metrics",
    ] {
        life.get(path, &[]);
    }
    for line in ["GET /v3/me", "GET /v3/api-keys", "GET /v3/users", "GET /v3/webhooks"] {
        life.api(&keys.production, line, "", &[]);
        life.api(&keys.test, line, "", &[]);
    }
    life.scrape();
    for arguments in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["users", "list", "--json"],
        &["audit", "list", "--json"],
        &["audit", "verify"],
        &["config"],
    ] {
        life.command(arguments, b"", &[]);
    }
}

fn live(format: &'static str) {
    let mut life = Life::new(format);
    begin(&mut life);
    let keys = keys(&mut life);
    webhooks(&mut life, &keys);
    people(&mut life);
    second_factor(&mut life, "correct horse battery staple");
    life.key("a key that nobody has", STRANGE);
    misplaced(&mut life, &keys.production.clone());
    misplaced(&mut life, STRANGE);
    without_room(&mut life, &keys, "another long passphrase");
    look_everywhere(&mut life, &keys);
    life.check_files("while it runs");
    life.end(Signal::KILL);
    life.check_files("killed");
    life.start();
    look_everywhere(&mut life, &keys);
    life.end(Signal::TERM);
    life.check_files("stopped");
    life.check_answers();
    let searcher = Searcher::new(&life.secrets);
    // The figures in docs/promises.md.
    let (n_secrets, n_left) = (life.secrets.len(), life.left.len());
    assert!(
        n_secrets >= 50 && searcher.n_patterns >= 2800 && n_left >= 800,
        "{n_secrets} secrets, {} patterns, {n_left} answers",
        searcher.n_patterns
    );
}

#[test]
fn no_secret_is_left_anywhere_with_a_log_for_people() {
    live("readable");
}

#[test]
fn no_secret_is_left_anywhere_with_a_log_for_programs() {
    live("json");
}

/// Somebody who is not the superuser: a process that can be dumped would be this user's to read.
const NOT_ROOT: u32 = 65_534;

/// As the user that runs the tests, or as somebody who is not the superuser.
fn as_user(command: &mut Command, uid: u32) -> &mut Command {
    if rustix::process::getuid().is_root() { command.uid(uid) } else { command }
}

fn can_read_memory_map(pid: u32, uid: u32) -> bool {
    let mut command = Command::new("head");
    let command = command.args(["-c", "1", &format!("/proc/{pid}/maps")]);
    let output = as_user(command, uid).output().expect("it is there");
    output.status.success() && !output.stdout.is_empty()
}

#[test]
fn no_other_process_of_the_same_user_can_read_its_memory_and_no_core_is_written() {
    let is_root = rustix::process::getuid().is_root();
    let uid = if is_root { NOT_ROOT } else { rustix::process::getuid().as_raw() };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("keyward");
    std::fs::copy(env!("CARGO_BIN_EXE_keyward"), &program).expect("there is room");
    for (path, mode) in [(folder.path(), 0o755), (program.as_path(), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("there is room");
    if is_root {
        chown(&data, Some(uid), None).expect("root may");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut command = Command::new(&program);
    command.env_clear().current_dir(&data).stderr(Stdio::piped());
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data-dir"]);
    command.arg(&data);
    let mut served = as_user(&mut command, uid).spawn().expect("it is there");
    let mut line = String::new();
    let mut log = BufReader::new(served.stderr.take().expect("it is piped"));
    log.read_line(&mut line).expect("it writes text");
    let mut sleep = Command::new("sleep");
    let mut control = as_user(sleep.arg("600"), uid).spawn().expect("it is there");
    let owner =
        |pid: u32| std::fs::metadata(format!("/proc/{pid}/environ")).expect("it runs").uid();
    let seen = (owner(served.id()), owner(control.id()));
    let can = (can_read_memory_map(served.id(), uid), can_read_memory_map(control.id(), uid));
    let opened = is_root || File::open(format!("/proc/{}/mem", served.id())).is_err();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", served.id()));
    for child in [&mut served, &mut control] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    assert!(line.contains("listening on"), "{line}");
    assert_eq!(seen, (0, uid), "its files are root's, and those of another process its user's");
    assert_eq!(can, (false, true), "its memory is for nobody, and another process's can be read");
    assert!(opened, "its memory could be opened");
    let limits = limits.expect("it ran");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"], "{core}");
}
