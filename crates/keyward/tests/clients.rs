//! The official clients against the real server, and what the reference shows of them.
//!
//! Its own target, for it needs the clients, which `make test` installs. Their scripts run as children
//! and ask over their output for the clock to be moved.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use keyward::app::{Actor, accounts, keys};
use keyward_core::account::{AccountKind, Environment, RateClass};
use keyward_core::permission::PermissionSet;
use keyward_core::window::HIGHEST_LIMIT;
use support::{BEGIN, KeyOf, TestServer};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python() -> PathBuf {
    let python = root().join("target/e2e/python/bin/python");
    assert!(
        python.exists(),
        "the Python client is not installed: run scripts/test-tools.sh, or 'make test', first"
    );
    python
}

/// Runs a script of the client's tests, which must succeed, against a server of its own.
async fn drive(mut client: Command) {
    let server = TestServer::start().await;
    let full = server.key().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let read_only = KeyOf { permissions: PermissionSet::READ_ONLY, ..server.usual() };
    let read_only = server.issue(read_only).await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let revoked = server.key().await;
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it is not revoked");
    let expired = server.issue(KeyOf { expires_at: Some(BEGIN + 1), ..server.usual() }).await;
    server.advance(1000);

    let mut child = client
        .env("KEYWARD_BASE_URL", format!("http://{}", server.address()))
        .env("KEYWARD_KEY", &full.clear)
        .env("KEYWARD_TEST_KEY", &test.clear)
        .env("KEYWARD_READ_ONLY_KEY", &read_only.clear)
        .env("KEYWARD_OTHER_KEY", &other.clear)
        .env("KEYWARD_REVOKED_KEY", &revoked.clear)
        .env("KEYWARD_EXPIRED_KEY", &expired.clear)
        .env("KEYWARD_ACCOUNT_ID", server.account.id.to_string())
        .env("KEYWARD_ACCOUNT_NAME", &server.account.name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.expect("the script writes text") {
        let millis = line.strip_prefix("advance ").and_then(|millis| millis.parse().ok());
        let millis = millis.unwrap_or_else(|| panic!("the script asks for something else: {line}"));
        server.advance(millis);
        stdin.write_all(b"ok\n").await.expect("the script reads");
    }
    let status = child.wait().await.expect("it was started");
    assert!(status.success(), "the script reports failures above: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_client_does_all_of_me_and_contacts() {
    drive_python("test_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_client_does_all_of_users_and_webhooks() {
    drive_python("test_users_webhooks.py").await;
}

async fn drive_python(script: &str) {
    let mut client = Command::new(python());
    client.arg(root().join("e2e/clients/python").join(script));
    drive(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_typescript_client_does_all_of_me_and_contacts() {
    drive_typescript("test_client.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_typescript_client_does_all_of_users_and_webhooks() {
    drive_typescript("test_users_webhooks.mjs").await;
}

async fn drive_typescript(script: &str) {
    assert!(
        root().join("target/e2e/typescript/stamp.sha256").exists(),
        "the TypeScript client is not installed: run scripts/test-tools.sh, or 'make test', first"
    );
    let mut client = Command::new("node");
    client.arg(root().join("e2e/clients/typescript").join(script));
    drive(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_samples_of_the_reference_run_as_they_are_shown() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let made = async |path: &str, body: &str| {
        let made = server.post(path, body).key(&key).send().await;
        made.json()["data"]["id"].as_str().expect("an id").to_owned()
    };
    let hook = r#"{"display_name":"a","endpoint_url":"https://a.example/","event_types":["user"]}"#;
    let user = r#"{"email":"bob@example.com","name":"Bob","role":"billing"}"#;
    let groups = [
        ("account", String::new()),
        ("contacts", made("/v3/contacts", r#"{"phone_number":"+442079460123"}"#).await),
        ("users", made("/v3/users", user).await),
        ("webhooks", made("/v3/webhooks", hook).await),
    ];
    let mut n_samples = 0;
    for (group, id) in groups {
        let host = server.address();
        let head = format!(
            "GET /docs/reference/{group} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        );
        let page = server.raw(head.as_bytes()).await.body;
        let parts = page.split("<summary>Python</summary>").skip(1);
        let mut samples: Vec<String> = parts
            .filter_map(|part| part.split("<code>").nth(1)?.split("</code>").next())
            .map(|sample| {
                let plain = sample.replace("&#34;", "\"").replace("&#39;", "'");
                plain.replace("018cc251-f400-7101-8101-010101010101", &id)
            })
            .collect();
        // What they are about must stay for the others.
        let is_last = |sample: &String| sample.contains(".delete(") || sample.contains(".remove(");
        samples.sort_by_key(is_last);
        for sample in &samples {
            let mut run = Command::new(python());
            let run = run.args(["-c", sample]).env("SENT_API_KEY", &key.clear).output();
            let output = run.await.expect("python can be started");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{sample}\n{errors}");
        }
        n_samples += samples.len();
    }
    assert!(n_samples >= 22, "{n_samples}");
}

/// The receivers of `examples/` tell a delivery of ours from anybody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receivers_of_the_examples_know_what_is_ours() {
    let python_receiver = || {
        let mut command = Command::new(python());
        command.arg(root().join("examples/receiver.py"));
        command
    };
    let rust_receiver = || {
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "run",
            "--quiet",
            "--locked",
            "-p",
            "keyward",
            "--example",
            "receiver",
            "--",
        ]);
        command.current_dir(root());
        command
    };
    check_example(python_receiver()).await;
    check_example(rust_receiver()).await;
}

async fn check_example(mut command: Command) {
    let server = TestServer::start().await;
    // Receivers look at the time.
    server.clock.set_wall(keyward::app::Clock::system().wall());
    let key = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let port = {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        free.local_addr().expect("it is bound").port()
    };
    let hook = serde_json::json!({
        "display_name": "example", "endpoint_url": format!("http://127.0.0.1:{port}/"),
        "event_types": ["contact"],
    });
    let made = server.post("/v3/webhooks", &hook.to_string()).key(&key).send().await.json();
    let secret = made["data"]["signing_secret"].as_str().expect("it is shown");
    let test = format!("/v3/webhooks/{}/test", made["data"]["id"].as_str().expect("an id"));
    command.arg(port.to_string()).env("WEBHOOK_SECRET", secret);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(child.try_wait().expect("it was started").is_none(), "it has ended");
        tokio::task::yield_now().await;
    }
    let body = r#"{"event_type":"contact.opt_out"}"#;
    let told = server.post(&test, body).key(&key).send().await;
    assert!(told.body.contains("\"success\":true"), "{}", told.body);
    let line = lines.next_line().await.expect("it writes text").expect("it goes on");
    assert!(line.starts_with("good contact.opt_out: {\"field\":\"contact\""), "{line}");
    // After a rotation the old secret, which it still has, is good for a day.
    let rotate = test.replace("/test", "/rotate-secret");
    assert_eq!(server.post(&rotate, "{}").key(&key).send().await.status, 200);
    let told = server.post(&test, body).key(&key).send().await;
    assert!(told.body.contains("\"success\":true"), "{}", told.body);
    lines.next_line().await.expect("it writes text");
    // What is signed with another secret is not ours, nor is what is old.
    server.advance(25 * 3_600_000);
    let told = server.post(&test, body).key(&key).send().await;
    assert!(told.body.contains("answered 401"), "{}", told.body);
    let line = lines.next_line().await.expect("it writes text").expect("it goes on");
    assert!(line.starts_with("BAD contact.opt_out"), "{line}");
}

/// Requests made from /openapi.json, sensible and senseless ones, a few thousand of them: no answer is
/// a fault of the server, and none is one that the description does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_gets_no_answer_that_is_not_described() {
    let server = TestServer::start_with(|settings| {
        // It leaves the key out more often than a guesser may.
        settings.rate_limit_unauthenticated = HIGHEST_LIMIT;
    })
    .await;
    for class in RateClass::ALL {
        let (app, id, limit) = (server.app(), server.account.id, Some(HIGHEST_LIMIT));
        let set = accounts::set_limit(app, &Actor::Operator, id, *class, limit).await;
        set.expect("the store writes");
    }
    let permissions = PermissionSet::ALL;
    let of = KeyOf { environment: Environment::Test, permissions, ..server.usual() };
    let key = server.issue(of).await;
    let mut run = Command::new(python().with_file_name("schemathesis"));
    run.arg("run").arg(format!("http://{}/openapi.json", server.address()));
    run.arg("--header").arg(format!("x-api-key: {}", key.clear));
    // The seed makes what is tried the same each time. A profile that does not exist is told before
    // a method that does not, which only whoever wrote the order of the checks can know.
    run.args(["--seed", "1", "--max-examples", "60", "--exclude-checks", "unsupported_method"]);
    // With this one it would end the key that it asks with.
    run.args(["--exclude-path", "/v3/api-keys/self"]);
    run.current_dir(server.data_dir()).kill_on_drop(true);
    let output = run.output().await.expect("schemathesis can be started");
    let report = String::from_utf8_lossy(&output.stdout).replace(&key.clear, "KEY");
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("Rate limited"), "the limit was in the way: {report}");
}
