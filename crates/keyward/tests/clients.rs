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
    let mut client = Command::new(python());
    client.arg(root().join("e2e/clients/python/test_client.py"));
    drive(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_typescript_client_does_all_of_me_and_contacts() {
    assert!(
        root().join("target/e2e/typescript/stamp.sha256").exists(),
        "the TypeScript client is not installed: run scripts/test-tools.sh, or 'make test', first"
    );
    let mut client = Command::new("node");
    client.arg(root().join("e2e/clients/typescript/test_client.mjs"));
    drive(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_samples_of_the_reference_run_as_they_are_shown() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let contact = server.post("/v3/contacts", r#"{"phone_number":"+442079460123"}"#).key(&key);
    let contact = contact.send().await.json();
    let id = contact["data"]["id"].as_str().expect("an id");
    let host = server.address();
    let head = format!("GET /docs/reference HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let page = server.raw(head.as_bytes()).await.body;
    let parts = page.split("<summary>Python</summary>").skip(1);
    let mut samples: Vec<String> = parts
        .filter_map(|part| part.split("<code>").nth(1)?.split("</code>").next())
        .map(|sample| {
            let plain = sample.replace("&#34;", "\"").replace("&#39;", "'");
            plain.replace("018cc251-f400-7101-8101-010101010101", id)
        })
        .collect();
    // The contact must stay for the others.
    samples.sort_by_key(|sample| sample.contains(".delete("));
    assert!(samples.len() >= 7, "{samples:?}");
    for sample in samples {
        let mut run = Command::new(python());
        let run = run.args(["-c", &sample]).env("SENT_API_KEY", &key.clear).output();
        let output = run.await.expect("python can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sample}\n{errors}");
    }
}

/// Requests made from /openapi.json, sensible and senseless ones, a few thousand of them: no answer is
/// a fault of the server, and none is one that the description does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_gets_no_answer_that_is_not_described() {
    let server = TestServer::start().await;
    for class in RateClass::ALL {
        let (app, id, limit) = (server.app(), server.account.id, Some(HIGHEST_LIMIT));
        let set = accounts::set_limit(app, &Actor::Operator, id, *class, limit).await;
        set.expect("the store writes");
    }
    let key = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let mut run = Command::new(python().with_file_name("schemathesis"));
    run.arg("run").arg(format!("http://{}/openapi.json", server.address()));
    run.arg("--header").arg(format!("x-api-key: {}", key.clear));
    // The seed makes what is tried the same each time. A profile that does not exist is told before
    // a method that does not, which only whoever wrote the order of the checks can know.
    run.args(["--seed", "1", "--max-examples", "60", "--exclude-checks", "unsupported_method"]);
    run.current_dir(server.data_dir()).kill_on_drop(true);
    let output = run.output().await.expect("schemathesis can be started");
    let report = String::from_utf8_lossy(&output.stdout).replace(&key.clear, "KEY");
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("Rate limited"), "the limit was in the way: {report}");
}
