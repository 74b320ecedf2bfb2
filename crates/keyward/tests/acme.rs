//! Certificates by ACME, from Pebble: the server with which Let's Encrypt has clients tested.
//!
//! Its own target, for it needs Pebble, which `make test` installs. Pebble comes to our port and looks at our
//! proof, as a certificate authority does; a small DNS server of its own tells it where names lead. It refuses
//! a nonce in fifty on purpose: the library asks again twice, so that hardly an order in 100,000 fails of it.

#[path = "support/mod.rs"]
mod support;

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use keyward::app::Clock;
use keyward::config::Settings;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, UnixMillis};
use rcgen::{CertificateParams, KeyPair, generate_simple_self_signed};
use serde_json::Value;
use support::{KeyOf, TestKey, TestServer};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

const NAME: &str = "keys.example.com";

/// An ACME server with its DNS, and the ports that they and we have.
struct Pebble {
    folder: tempfile::TempDir,
    acme: Option<Child>,
    _dns: Child,
    /// Where it comes to see the proof.
    ours: u16,
    directory: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
}

async fn free_port() -> u16 {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    free.local_addr().expect("it is bound").port()
}

async fn is_up(port: u16, child: &mut Child) {
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(child.try_wait().expect("it was started").is_none(), "it has ended");
        tokio::task::yield_now().await;
    }
}

impl Pebble {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = generate_simple_self_signed(names).expect("it is made");
        std::fs::write(folder.path().join("https.pem"), made.cert.pem()).expect("ours");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("https.key"), key).expect("ours");
        let (dns, dns_management) = (free_port().await, free_port().await);
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        resolver.arg("-dns01").arg(format!("127.0.0.1:{dns}"));
        resolver.arg("-management").arg(format!("127.0.0.1:{dns_management}"));
        let log = File::create(folder.path().join("dns.log")).expect("ours");
        let resolver = resolver.stdout(log.try_clone().expect("a file")).stderr(log);
        let mut resolver = resolver.kill_on_drop(true).spawn().unwrap_or_else(|error| {
            panic!("pebble-challtestsrv: {error}: run scripts/test-tools.sh, or 'make test', first")
        });
        is_up(dns, &mut resolver).await;
        is_up(dns_management, &mut resolver).await;
        let mut pebble = Self {
            folder,
            acme: None,
            _dns: resolver,
            ours: free_port().await,
            directory: free_port().await,
            management: free_port().await,
            dns,
            dns_management,
        };
        pebble.restart().await;
        pebble
    }

    /// Ends it and starts another one in its place, which knows no account and has another root.
    async fn restart(&mut self) {
        self.end().await;
        let file = |name: &str| self.folder.path().join(name);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": file("https.pem"), "privateKey": file("https.key"),
            "httpPort": 1, "tlsPort": self.ours, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        std::fs::write(file("pebble.json"), config.to_string()).expect("ours");
        let log = File::create(file("pebble.log")).expect("ours");
        let mut command = Command::new("pebble");
        command.arg("-config").arg(file("pebble.json"));
        command.arg("-dnsserver").arg(format!("127.0.0.1:{}", self.dns)).arg("-strict");
        command.env("PEBBLE_VA_NOSLEEP", "1");
        command.env("PEBBLE_WFE_NONCEREJECT", "2").kill_on_drop(true);
        command.stdout(log.try_clone().expect("a file")).stderr(log).stdin(Stdio::null());
        let mut child = command.spawn().expect("Pebble comes with its DNS server");
        is_up(self.directory, &mut child).await;
        is_up(self.management, &mut child).await;
        self.acme = Some(child);
    }

    async fn end(&mut self) {
        if let Some(mut child) = self.acme.take() {
            child.kill().await.expect("it runs");
        }
    }

    /// Orders that were asked for, as it counts them itself.
    fn n_orders(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("pebble.log")).expect("it logs");
        log.matches("Added order ").count()
    }

    fn https(&self) -> PathBuf {
        self.folder.path().join("https.pem")
    }

    /// The certificate that all of its chains end with, in a file.
    async fn root(&self) -> PathBuf {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let root = curl(&["--cacert", self.https().to_str().expect("text"), &url]).await;
        let file = self.folder.path().join("root.pem");
        std::fs::write(&file, root).expect("ours");
        file
    }

    /// Every name leads to this address from now on.
    async fn lead_to(&self, address: &str) {
        let url = format!("http://127.0.0.1:{}/set-default-ipv4", self.dns_management);
        let body = serde_json::json!({ "ip": address }).to_string();
        curl(&["--data", &body, &url]).await;
    }

    fn set(&self, settings: &mut Settings) {
        settings.listen = ([127, 0, 0, 1], self.ours).into();
        settings.acme_domains = vec![NAME.to_owned()];
        settings.acme_agree_tos = true;
        settings.acme_email = Some("ops@example.com".to_owned());
        settings.acme_directory = format!("https://127.0.0.1:{}/dir", self.directory);
        settings.acme_ca_file = Some(self.https());
    }

    async fn server(&self) -> TestServer {
        TestServer::start_with(|settings| self.set(settings)).await
    }

    /// `GET /v3/me` with a client that is not ours, which trusts one root or, without one, anybody.
    async fn ask_me(&self, root: Option<&Path>, key: &TestKey) -> String {
        let url = format!("https://{NAME}:{}/v3/me", self.ours);
        let leads = format!("{NAME}:{}:127.0.0.1", self.ours);
        let trust = match root {
            Some(root) => vec!["--cacert", root.to_str().expect("text")],
            None => vec!["--insecure"],
        };
        let header = format!("x-api-key: {}", key.clear);
        let rest = ["--resolve", &leads, "--header", &header, &url];
        curl(&[&trust[..], &rest[..]].concat()).await
    }
}

/// What curl gets, or `curl: ` and why it gets nothing.
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]).args(arguments);
    let output = command.output().await.expect("curl is installed");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(text).expect("it writes text")
}

fn wall(server: &TestServer, at: UnixMillis) {
    server.clock.set_wall(at);
}

/// A key that does not end, for the clock is moved by years.
async fn key(server: &TestServer) -> TestKey {
    server.issue(KeyOf { expires_at: None, ..server.usual() }).await
}

/// The certificate that is served, to whoever trusts one of these.
async fn connect(pebble: &Pebble, trusted: &[CertificateDer<'static>]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", pebble.ours)).await.expect("it listens");
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    stream.expect("its certificate is trusted")
}

fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("a server has one");
    chain[0].clone().into_owned()
}

async fn talk(stream: TlsStream<TcpStream>) -> SendRequest<Empty<Bytes>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("it is HTTP");
    tokio::spawn(connection);
    sender
}

async fn status_of_me(sender: &mut SendRequest<Empty<Bytes>>, key: &TestKey) -> u16 {
    let request = http::Request::get("/v3/me").header("host", NAME).header("x-api-key", &key.clear);
    let request = request.body(Empty::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("the connection goes on");
    let status = answer.status().as_u16();
    answer.into_body().collect().await.expect("it comes whole");
    status
}

/// Makes a certificate as if it had been ordered so many days ago for 90 days, and puts it in the place of
/// the one that is kept. Gives it, to be trusted.
fn plant_old(server: &TestServer, now: UnixMillis, days_ago: i64) -> CertificateDer<'static> {
    let file = server.data_dir().join("acme/certificate.pem");
    let kept = std::fs::read_to_string(&file).expect("one was ordered");
    let heading = kept.lines().next().expect("it has a heading");
    let begin = now + -(days_ago * DAY_MILLIS);
    let time = |at: UnixMillis| {
        let since = std::time::Duration::from_millis(u64::try_from(at.0).expect("after 1970"));
        rcgen::date_time_ymd(1970, 1, 1) + since
    };
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.not_before = time(begin);
    params.not_after = time(begin + 90 * DAY_MILLIS);
    let key = KeyPair::generate().expect("chance is there");
    let made = params.self_signed(&key).expect("it is whole");
    let text = format!("{heading}\n{}{}", key.serialize_pem(), made.pem());
    std::fs::write(&file, text).expect("ours");
    made.der().clone()
}

/// No key of the account or of a certificate stands in the log.
fn check_no_key_in(log: &str, data_dir: &Path) {
    assert!(!log.contains("PRIVATE"), "{log}");
    let kept = std::fs::read_to_string(data_dir.join("acme/certificate.pem")).expect("kept");
    let secret = kept.split("-----END PRIVATE KEY-----").next().expect("the key is first");
    for line in secret.lines().skip(2).filter(|line| line.len() > 20) {
        assert!(!log.contains(line), "a line of the key is in the log");
    }
    let account = std::fs::read_to_string(data_dir.join("acme/account.json")).expect("kept");
    let account: Value = serde_json::from_str(&account).expect("it is JSON");
    let secret = account["credentials"]["key_pkcs8"].as_str().expect("it has a key");
    assert!(!log.contains(secret) && !log.contains(&secret[60..]), "the account's key is in it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_server_gets_a_certificate_keeps_it_and_renews_it_while_connections_go_on() {
    let mut pebble = Pebble::start().await;
    let mut server = pebble.server().await;
    let key = key(&server).await;
    server.running().renew_certificate().await;
    let root = pebble.root().await;
    let roots = [CertificateDer::from_pem_file(&root).expect("a certificate")];
    let me = pebble.ask_me(Some(&root), &key).await;
    assert!(me.contains("\"success\":true") && me.contains("Acme"), "{me}");
    assert_eq!(pebble.n_orders(), 1);
    let first = leaf(&connect(&pebble, &roots).await);
    server.wait_for_log("is in force, good until").await;
    let log = server.logged.text();
    assert!(log.contains("there is none yet"), "{log}");
    assert!(
        log.contains("the certificate for keys.example.com is in force, good until 20"),
        "{log}"
    );
    check_no_key_in(&log, server.data_dir());
    for (file, expected) in [("", 0o700), ("account.json", 0o600), ("certificate.pem", 0o600)] {
        let path = server.data_dir().join("acme").join(file);
        let mode = path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{file}");
    }

    // The next start has it, and asks nobody.
    server.restart().await;
    server.running().renew_certificate().await;
    assert_eq!(leaf(&connect(&pebble, &roots).await), first);
    assert_eq!(pebble.n_orders(), 1);

    // One of 90 days, begun 59 days and 23 hours ago; an hour later it is time.
    let now = Clock::system().wall();
    let old = plant_old(&server, now + HOUR_MILLIS, 60);
    wall(&server, now);
    server.restart().await;
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 1);
    let stream = connect(&pebble, std::slice::from_ref(&old)).await;
    assert_eq!(leaf(&stream), old);
    let mut sender = talk(stream).await;
    assert_eq!(status_of_me(&mut sender, &key).await, 200);
    server.advance(u64::try_from(HOUR_MILLIS).expect("positive"));
    server.running().renew_certificate().await;
    let second = leaf(&connect(&pebble, &roots).await);
    assert!(second != old && second != first);
    assert_eq!(status_of_me(&mut sender, &key).await, 200, "what was connected goes on");
    server.wait_for_log("it is time to renew it").await;
    let log = server.logged.text();
    assert!(!log.contains("no certificate"), "{log}");
    // A renewed certificate has a key of its own.
    let kept = server.data_dir().join("acme/certificate.pem");
    let in_force = PrivateKeyDer::from_pem_file(&kept).expect("a key");

    // Other names are another certificate; an account that the server lost is made anew.
    pebble.restart().await;
    server.change_settings(|settings| settings.acme_domains.push("api.example.com".to_owned()));
    server.restart().await;
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 1);
    let root = pebble.root().await;
    let roots = [CertificateDer::from_pem_file(&root).expect("a certificate")];
    let third = connect(&pebble, &roots).await;
    let has = |name: &[u8]| leaf(&third).windows(name.len()).any(|part| part == name);
    assert!(has(b"keys.example.com") && has(b"api.example.com"));
    assert_ne!(PrivateKeyDer::from_pem_file(&kept).expect("a key"), in_force);

    // By a clock that is years ahead each certificate is old when it comes: used, told, not ordered for ever.
    wall(&server, now + 4 * 365 * DAY_MILLIS);
    server.running().renew_certificate().await;
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 2);
    assert_ne!(leaf(&connect(&pebble, &roots).await), leaf(&third));
    server.wait_for_log("it is to be renewed already: check the clock").await;
    let log = server.logged.text();
    check_no_key_in(&log, server.data_dir());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_prove_a_name_serves_all_the_same_is_told_why_and_tries_again_later() {
    let pebble = Pebble::start().await;
    // Another address of this machine, at which nobody listens.
    pebble.lead_to("127.0.0.2").await;
    let mut server = pebble.server().await;
    let key = key(&server).await;
    server.running().renew_certificate().await;
    let root = pebble.root().await;
    let refused = pebble.ask_me(Some(&root), &key).await;
    assert!(refused.starts_with("curl: (60)"), "{refused}");
    let me = pebble.ask_me(None, &key).await;
    assert!(me.contains("\"success\":true"), "keys are checked meanwhile: {me}");
    server.wait_for_log("tried again after").await;
    let log = server.logged.text();
    let told = log.lines().find(|line| line.contains("no certificate for keys.example.com came"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    for part in [
        "Failed to connect to 127.0.0.2",
        "in DNS leads to this machine",
        "port 443",
        "tried again after",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(pebble.n_orders(), 1);

    // Whoever restarts it in a loop orders no more for that.
    for _ in 0..3 {
        server.restart().await;
        server.running().renew_certificate().await;
    }
    assert_eq!(pebble.n_orders(), 1);
    // What the operator may ask, beside the server that runs.
    let directory = format!("https://127.0.0.1:{}/dir", pebble.directory);
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_keyward"));
    doctor.args(["doctor", "--quick", "--json", "--acme-domains", NAME, "--acme-agree-tos"]);
    doctor.args(["--acme-directory", &directory]).arg("--acme-ca-file").arg(pebble.https());
    doctor.arg("--data-dir").arg(server.data_dir()).env_clear();
    let findings = doctor.output().await.expect("it is built");
    let findings: Value = serde_json::from_slice(&findings.stdout).expect("it writes JSON");
    let findings = findings.as_array().expect("a list").iter();
    let found = findings.filter(|found| found["check"] == "certificate").collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["state"], "error");
    let text = found[0]["finding"].as_str().expect("text");
    assert!(
        text.contains("1 orders in a row failed")
            && text.contains("Failed to connect to 127.0.0.2"),
        "{text}"
    );

    // A minute and a quarter at most, then two and a half.
    server.advance(75_000);
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 2);
    server.advance(75_000);
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 2, "the second wait is longer");
    pebble.lead_to("127.0.0.1").await;
    server.advance(75_000);
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 3);
    let me = pebble.ask_me(Some(&root), &key).await;
    assert!(me.contains("\"success\":true"), "{me}");
    assert!(!server.data_dir().join("acme/attempts.json").exists());
    check_no_key_in(&server.logged.text(), server.data_dir());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acme_server_that_is_gone_leaves_the_certificate_in_force_and_the_operator_told() {
    let mut pebble = Pebble::start().await;
    let mut server = pebble.server().await;
    let key = key(&server).await;
    server.running().renew_certificate().await;
    let root = pebble.root().await;
    let roots = [CertificateDer::from_pem_file(&root).expect("a certificate")];
    let first = leaf(&connect(&pebble, &roots).await);
    pebble.end().await;
    wall(&server, Clock::system().wall() + 4 * 365 * DAY_MILLIS);
    server.running().renew_certificate().await;
    assert_eq!(leaf(&connect(&pebble, &roots).await), first, "the old one stays");
    let me = pebble.ask_me(Some(&root), &key).await;
    assert!(me.contains("\"success\":true"), "{me}");
    server.wait_for_log("is tried again after").await;
    let log = server.logged.text();
    for part in
        ["/dir: cannot connect: connection refused", "Check that this machine reaches https"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    // It is in force after a restart as well, and when the server is there again one is ordered.
    server.restart().await;
    assert_eq!(leaf(&connect(&pebble, &roots).await), first);
    pebble.restart().await;
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 0, "not before it is time");
    server.advance(u64::try_from(2 * MINUTE_MILLIS).expect("positive"));
    server.running().renew_certificate().await;
    assert_eq!(pebble.n_orders(), 1);
    server.stop().await;
}
