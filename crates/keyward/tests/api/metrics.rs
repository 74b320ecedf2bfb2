//! `/metrics`: what is told, to whom, and that nobody can make it more than it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyward::app::keys::{self, NewKey};
use keyward::app::{Actor, App};
use keyward::config::Settings;
use keyward_core::account::Environment;
use keyward_core::permission::PermissionSet;
use keyward_store::StoreError;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::Shell;
use crate::receiver::Receiver;
use crate::support::{BEGIN, BareServer, KeyOf, TestKey, TestServer};

/// What was scraped: each series with its value.
pub(crate) struct Scrape {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn parse(answer: &str) -> Self {
        let (head, text) = answer.split_once("\r\n\r\n").expect("it is an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        let mut series = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            assert_eq!(series.insert(name.to_owned(), value), None, "{name} stands twice");
        }
        Self { text: text.to_owned(), series }
    }

    /// The value of a series; one that is not there is wrong.
    pub(crate) fn of(&self, series: &str) -> f64 {
        let value = self.series.get(series);
        *value.unwrap_or_else(|| panic!("{series} is not in\n{}", self.text))
    }

    fn names(&self) -> BTreeSet<String> {
        self.series.keys().cloned().collect()
    }
}

/// Asks the listener of the metrics.
async fn ask(server: &BareServer, line: &str) -> String {
    let address = server.running().metrics.clone().expect("its port is free").expect("it is on");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
    answer
}

pub(crate) async fn scrape(server: &BareServer) -> Scrape {
    Scrape::parse(&ask(server, "GET /metrics").await)
}

pub(crate) fn with_metrics(settings: &mut Settings) {
    settings.metrics_listen = Some(([127, 0, 0, 1], 0).into());
}

async fn start() -> TestServer {
    TestServer::start_with(|settings| {
        with_metrics(settings);
        // Asking until something is over must not be refused.
        settings.rate_limit_standard = 1_000_000;
        settings.rate_limit_sensitive = 1;
    })
    .await
}

fn unknown(number: u32) -> TestKey {
    let clear = format!("0f8fad5b-d9cb-469f-a165-7086{number:08x}");
    TestKey { id: keyward_core::id::KeyId::from_bytes([0; 16]), clear }
}

/// Issues many keys at once, so that they share commits.
async fn issue_many(app: &Arc<App>, of: &KeyOf, n: usize) -> Vec<TestKey> {
    let mut issuing = tokio::task::JoinSet::new();
    for _ in 0..n {
        let app = Arc::clone(app);
        let new = NewKey {
            account: of.account,
            name: String::from("one of many"),
            environment: of.environment,
            permissions: PermissionSet::FULL,
            networks: vec![],
            expires_at: of.expires_at,
        };
        issuing.spawn(async move {
            let issued = keys::issue(&app, &Actor::Operator, new).await.expect("it is right");
            TestKey { id: issued.record.id, clear: issued.key.reveal().to_string() }
        });
    }
    issuing.join_all().await
}

#[tokio::test]
async fn what_was_answered_is_told_by_area_outcome_code_and_reason() {
    let server = start().await;
    let key = server.key().await;
    server.get("/v3/me").key(&key).send().await;
    server.get("/v3/me").key(&key).send().await;
    server.get("/v3/contacts").key(&unknown(1)).send().await;
    server.get("/v3/contacts").send().await;
    server.get("/v3/no-such-thing").key(&key).send().await;
    server.post("/v3/contacts", "{}").key(&key).send().await;
    server.call("PUT", "/v3/me").key(&key).send().await;
    let invite = r#"{"email":"bea@example.com","role":"billing","name":"Bea"}"#;
    for _ in 0..3 {
        server.post("/v3/users", invite).key(&key).send().await;
    }
    server.get("/docs").send().await;
    server.get("/login").send().await;
    server.get("/nothing").send().await;
    server.get("/healthcheck").send().await;
    server.raw(b"not HTTP at all\r\n\r\n").await;
    let scrape = scrape(&server).await;
    let requests = |labels: &str| scrape.of(&format!("keyward_requests_total{{{labels}}}"));
    let check = |labels: &str, expected: f64| {
        assert!((requests(labels) - expected).abs() < 0.5, "{labels} in\n{}", scrape.text);
    };
    check("area=\"me\",outcome=\"ok\"", 2.0);
    check("area=\"contacts\",outcome=\"unknown\",code=\"AUTH_002\",reason=\"key_unknown\"", 1.0);
    check("area=\"contacts\",outcome=\"missing\",code=\"AUTH_001\",reason=\"key_missing\"", 1.0);
    check("area=\"contacts\",outcome=\"invalid\",code=\"VALIDATION_001\"", 1.0);
    check("area=\"me\",outcome=\"invalid\",code=\"REQUEST_002\"", 1.0);
    check("area=\"users\",outcome=\"limited\",code=\"BUSINESS_002\",reason=\"rate_limited\"", 2.0);
    check("area=\"docs\",outcome=\"ok\"", 1.0);
    check("area=\"dashboard\",outcome=\"ok\"", 1.0);
    check("area=\"health\",outcome=\"ok\"", 1.0);
    check("area=\"users\",outcome=\"ok\"", 1.0);
    let unreadable = scrape.text.lines().find(|line| line.contains("area=\"unreadable\",out"));
    assert!(unreadable.is_some_and(|line| line.ends_with(" 1")), "{}", scrape.text);
    for (series, expected) in [
        ("keyward_limit_rejections_total{class=\"sensitive\"}", 2.0),
        ("keyward_limit_rejections_total{class=\"standard\"}", 0.0),
        ("keyward_request_duration_seconds_count{area=\"me\"}", 3.0),
        ("keyward_request_duration_seconds_bucket{area=\"me\",le=\"+Inf\"}", 3.0),
        ("keyward_keys_loaded", 1.0),
        ("keyward_accounts_loaded", 1.0),
        ("keyward_build_info{version=\"0.1.0\"}", 1.0),
        ("process_start_time_seconds", BEGIN.0 as f64 / 1e3),
        ("keyward_store_writable", 1.0),
        ("keyward_store_failed_commits_total{reason=\"full\"}", 0.0),
        ("keyward_store_jobs_waiting{kind=\"write\"}", 0.0),
        ("keyward_store_jobs_refused_total{kind=\"read\"}", 0.0),
        ("keyward_records_dropped_total{kind=\"passed\"}", 0.0),
        ("keyward_log_lines_dropped_total", 0.0),
        ("keyward_usage_requests_dropped_total", 0.0),
        ("keyward_deliveries_waiting", 0.0),
        ("keyward_deliveries_in_flight", 0.0),
        ("keyward_connections_accepted_total", 15.0),
    ] {
        assert!((scrape.of(series) - expected).abs() < 0.5, "{series} in\n{}", scrape.text);
    }
    assert!(scrape.of("keyward_store_job_duration_seconds_count{kind=\"write\"}") >= 3.0);
    assert!(scrape.of("process_resident_memory_bytes") > 1e6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_method_key_or_header_of_a_stranger_makes_a_series() {
    let server = TestServer::start_with(|settings| {
        with_metrics(settings);
        settings.rate_limit_standard = 1_000_000;
        settings.rate_limit_unauthenticated = 1_000_000;
    })
    .await;
    let of = server.usual();
    let keys = issue_many(&server.running().app, &of, 1000).await;
    let asked = async |number: usize| {
        let (key, n) = (&keys[number], u32::try_from(number).expect("it is small"));
        let path = format!("/v3/{number}?x={number}");
        let statuses = [
            server.get("/v3/me").key(key).header("user-agent", format!("a{n}")).send().await.status,
            server.get("/v3/me").key(&unknown(n)).send().await.status,
            server.get(&path).key(key).header("origin", format!("https://{n}")).send().await.status,
            server.get(&format!("/{number}")).send().await.status,
            server.call(&format!("MADEUP{n}"), "/v3/me").key(key).send().await.status,
            server.call(&format!("MADEUP{n}"), &format!("/{number}")).send().await.status,
        ];
        assert_eq!(statuses, [200, 401, 404, 404, 405, 404]);
    };
    asked(0).await;
    let before = scrape(&server).await;
    for number in 1..1000 {
        asked(number).await;
    }
    let after = scrape(&server).await;
    assert_eq!(before.names(), after.names());
    let unknown = "keyward_requests_total{area=\"me\",outcome=\"unknown\",code=\"AUTH_002\",\
                   reason=\"key_unknown\"}";
    assert!((after.of(unknown) - 1000.0).abs() < 0.5, "{}", after.text);
    assert!((after.of("keyward_keys_loaded") - 1000.0).abs() < 0.5, "{}", after.text);
    assert!(after.names().len() < 250 && after.text.len() < 64_000, "{}", after.text);
    // And nothing of anybody is in it.
    for key in &keys {
        let id = key.id.to_string();
        for secret in [&key.clear, &key.clear.replace('-', ""), &id] {
            assert!(!after.text.contains(secret.as_str()), "{}", after.text);
        }
    }
    assert!(!after.text.contains(&server.account.id.to_string()) && !after.text.contains("Acme"));
}

#[tokio::test]
async fn metrics_are_on_their_own_listener_and_nowhere_else() {
    let mut server = start().await;
    let status = async |line: &str| {
        let answer = ask(&server, line).await;
        answer.lines().next().expect("a status line").to_owned()
    };
    assert_eq!(status("HEAD /metrics").await, "HTTP/1.1 200 OK");
    assert_eq!(status("POST /metrics").await, "HTTP/1.1 405 Method Not Allowed");
    for line in ["GET /", "GET /v3/me", "GET /metrics/", "GET /healthcheck"] {
        assert_eq!(status(line).await, "HTTP/1.1 404 Not Found", "{line}");
    }
    assert_eq!(server.get("/metrics").send().await.status, 404);
    // Who connects and says nothing keeps nobody out.
    let address = server.running().metrics.clone().expect("its port is free").expect("it is on");
    let mut silent = vec![];
    for _ in 0..15 {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
    }
    let idle = TcpStream::connect(server.address()).await.expect("it listens");
    server.get("/healthcheck").send().await;
    assert!(scrape(&server).await.of("keyward_connections_open") >= 1.0);
    drop((idle, silent));
    server.change_settings(|settings| settings.metrics_listen = None);
    server.restart().await;
    assert_eq!(server.running().metrics, Ok(None));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn deliveries_are_told_by_how_they_ended() {
    let server = start().await;
    let key = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let receiver = Receiver::start().await;
    let hook = json!({
        "display_name": "CRM", "endpoint_url": receiver.url(), "event_types": ["contact"],
    });
    let made = server.post("/v3/webhooks", &hook.to_string()).key(&key).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
    let contact = r#"{"phone_number":"+14155550123"}"#;
    server.post("/v3/contacts", contact).key(&key).send().await;
    let events = format!("/v3/webhooks/{id}/events");
    while server.get(&events).key(&key).send().await.json()["data"]["events"][0]["delivery_status"]
        != "delivered"
    {
        tokio::task::yield_now().await;
    }
    while server.app().deliveries.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let scrape = scrape(&server).await;
    let attempts =
        |how: &str| scrape.of(&format!("keyward_delivery_attempts_total{{outcome=\"{how}\"}}"));
    let attempts = ["delivered", "tried_again", "failed"].map(attempts);
    assert_eq!(attempts, [1.0, 0.0, 0.0], "{}", scrape.text);
}

#[tokio::test]
async fn the_end_of_the_certificate_is_told() {
    let mut server = BareServer::start_with(|settings| {
        with_metrics(settings);
        settings.tls_self_signed = true;
    })
    .await;
    let end = scrape(&server).await.of("keyward_tls_certificate_not_after_timestamp_seconds");
    // The first of January 4096: such a certificate has no end of its own.
    assert!((end - 67_090_118_400.0).abs() < 86_400.0, "{end}");
    let begin = scrape(&server).await.of("keyward_tls_certificate_not_before_timestamp_seconds");
    assert!((begin - 157_766_400.0).abs() < 86_400.0, "{begin}");
    server.change_settings(|settings| settings.tls_self_signed = false);
    server.restart().await;
    assert!(!scrape(&server).await.text.contains("certificate"));
}

#[tokio::test]
async fn what_waits_for_the_store_and_is_refused_is_told() {
    let server = start().await;
    let (held, holding) = std::sync::mpsc::channel::<()>();
    let (begin, has_begun) = tokio::sync::oneshot::channel();
    let store = server.app().store.clone();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(move |_| {
                    let _ = begin.send(());
                    let _ = holding.recv();
                    Ok::<_, StoreError>(())
                })
                .await
        })
    };
    has_begun.await.expect("the writer takes it");
    // Those that wait behind it: as many as there is room for, and one more.
    let mut waiting = tokio::task::JoinSet::new();
    let is_busy = loop {
        let store = store.clone();
        let mut asked = Box::pin(async move { store.write(|_| Ok::<_, StoreError>(())).await });
        tokio::select! {
            biased;
            result = &mut asked => break result == Err(StoreError::Busy),
            () = std::future::ready(()) => { waiting.spawn(asked); }
        }
    };
    assert!(is_busy, "{} were taken", waiting.len());
    let before = scrape(&server).await;
    assert!(before.of("keyward_store_jobs_waiting{kind=\"write\"}") >= 1024.0, "{}", before.text);
    assert!(before.of("keyward_store_jobs_refused_total{kind=\"write\"}") >= 1.0);
    drop(held);
    writer.await.expect("no panic").expect("the store writes");
    for result in waiting.join_all().await {
        result.expect("the store writes");
    }
    let after = scrape(&server).await;
    assert!(after.of("keyward_store_jobs_waiting{kind=\"write\"}") < 16.0, "{}", after.text);
}

#[test]
fn a_port_that_is_taken_is_refused_with_what_to_do() {
    let shell = Shell::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ended = shell.run(&["serve", "--listen", "127.0.0.1:0", "--metrics-listen", &address]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let expected = format!("cannot listen on {address} for metrics");
    assert!(ended.err.contains(&expected), "{ended:?}");
    assert!(ended.err.contains("--metrics-listen off"), "{ended:?}");
    let ended = shell.run(&["serve", "--metrics-listen", "everywhere"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("127.0.0.1:9464, or off"), "{ended:?}");
}
