//! No secret anywhere: one life of a server, from its first start over every way in which a secret is
//! made, shown, sent, sent to the wrong place and refused, a full disk and a kill; then everything that it
//! left is searched: files, log, backup, what was restored, mails, traces. Each secret is in the one answer
//! that shows it, and a link in its mail.

mod forms;
mod heard;
mod memory;
mod ways;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::{Pid, Signal, kill_process};

use crate::dashboard::{between, form};
use crate::program::{Ended, Shell};
use crate::search::{Searcher, Secret};
use crate::support::{Logged, Reply};

use heard::{Heard, read_mail};
pub(crate) use ways::{base32, code_of};

const OWNER: &str = "ada@example.com";
/// A key that nobody has.
const STRANGE: &str = "5e884898-da28-4047-9151-56a1d0e2f3b4";

const MAIL_PASSWORD: &str = "open sesame, said Ali Baba";
const MAIL_SECRET: &str = "the mail server's password";

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
    mails: Heard,
    traces: Heard,
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
        let (mails, traces) = (Heard::mails(), Heard::traces());
        let shell = Shell::new();
        std::fs::write(shell.file("password"), MAIL_PASSWORD).expect("the folder is ours");
        let settings = format!(
            "smtp_url = \"smtp://ada@{}\"\nsmtp_from = \"keyward@example.com\"\n\
             smtp_password_file = \"password\"\notlp_endpoint = \"http://{}\"\n",
            mails.address, traces.address
        );
        std::fs::write(shell.file("keyward.toml"), settings).expect("the folder is ours");
        Self {
            shell,
            format,
            temporary: tempfile::tempdir().expect("a temporary folder"),
            child: None,
            address: String::new(),
            log: Logged::default(),
            left: vec![],
            secrets: vec![Secret::text(MAIL_SECRET, MAIL_PASSWORD)],
            codes: vec![],
            cookie: String::new(),
            receiver,
            mails,
            traces,
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

    /// Searches what the mail server and the collector of traces were sent: a link is in its mail and in no
    /// other, and the password of the mail server where it is given to it.
    fn check_sent(&self) {
        let searcher = Searcher::new(&self.secrets);
        let (mut n_mails, mut links) = (0, vec![]);
        for said in self.mails.said() {
            let mut hits: Vec<_> =
                searcher.search(&read_mail(&said)).into_iter().map(|hit| hit.secret).collect();
            hits.sort();
            hits.dedup();
            assert!(hits.contains(&MAIL_SECRET.to_owned()), "it signs in: {hits:?}");
            hits.retain(|name| name != MAIL_SECRET);
            assert!(hits.len() <= 1, "a mail shows more than one: {hits:?}");
            n_mails += 1;
            links.extend(hits);
        }
        links.sort();
        assert_eq!(links, ["a reset", "an invitation"], "of {n_mails} mails");
        let traces = self.traces.said().concat();
        assert!(traces.len() > 10_000, "there are traces");
        assert_eq!(searcher.search(&traces), [], "the traces");
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

fn live(format: &'static str) {
    let mut life = Life::new(format);
    ways::begin(&mut life);
    let keys = ways::keys(&mut life);
    ways::webhooks(&mut life, &keys);
    ways::people(&mut life);
    ways::second_factor(&mut life, "correct horse battery staple");
    #[cfg(feature = "passkeys")]
    ways::passkey(&mut life);
    life.key("a key that nobody has", STRANGE);
    ways::misplaced(&mut life, &keys.production.clone());
    ways::misplaced(&mut life, STRANGE);
    for key in [&keys.production, STRANGE] {
        forms::misplaced(&mut life, key);
    }
    forms::named(&mut life, &keys.production, "correct horse battery staple");
    ways::without_room(&mut life, &keys, "another long passphrase");
    ways::look_everywhere(&mut life, &keys);
    let backup = life.temporary.path().join("k.backup");
    let backup = backup.to_str().expect("a plain path").to_owned();
    assert_eq!(life.command(&["backup", &backup], b"", &[]).code, 0);
    life.check_files("while it runs");
    life.end(Signal::KILL);
    life.check_files("killed");
    life.start();
    ways::look_everywhere(&mut life, &keys);
    life.end(Signal::TERM);
    life.check_files("stopped");
    assert_eq!(life.command(&["restore", "--force", &backup], b"", &[]).code, 0);
    life.check_files("restored");
    life.check_answers();
    life.check_sent();
    let searcher = Searcher::new(&life.secrets);
    // The figures in docs/promises.md.
    let (n_secrets, n_left) = (life.secrets.len(), life.left.len());
    assert!(
        n_secrets >= 51 && searcher.n_patterns >= 2900 && n_left >= 905,
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
