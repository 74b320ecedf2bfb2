//! What an operator counts on: restarts, usage, logs, faults.

use std::future::Future as _;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use keyward::app::{Actor, keys};
use keyward::config::Settings;
use keyward_core::account::{Environment, RateClass};
use keyward_core::usage::Outcome;
use keyward_store::{StoreError, usage};

use crate::support::{BEGIN, KeyOf, TestServer};

#[tokio::test]
async fn a_second_start_finds_everything_again() {
    let mut server = TestServer::start().await;
    let (good, revoked) = (server.key().await, server.key().await);
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it is not revoked");
    let body = r#"{"phone_number":"+14155550123"}"#;
    let made = server.post("/v3/contacts", body).key(&good).send().await.json();
    server.restart().await;
    let list = server.get("/v3/contacts").key(&good).send().await.json();
    assert_eq!(list["data"]["contacts"][0], made["data"]);
    assert_eq!(server.get("/v3/me").key(&revoked).send().await.verdict(), "401 AUTH_002");
    assert_eq!(server.running().found.keys, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_nobody_rang_for_is_followed() {
    let server = TestServer::start_with(|settings| settings.rate_limit_standard = 1_000_000).await;
    let key = server.key().await;
    // Another program on the same folder, which ends before it could ring.
    let folder = server.data_dir().to_owned();
    let id = key.id;
    let revoke = tokio::task::spawn_blocking(move || {
        let store = keyward_store::Store::open(&folder).expect("it is there");
        let revoked = store.write_blocking(move |tx| {
            let key = keyward_store::keys::find(tx, id)?.expect("it was issued");
            let mark = keyward_core::record::Mark { at: BEGIN, by: String::from("operator") };
            keyward_store::keys::put(tx, &key.revoke(mark).expect("it is not revoked"))
        });
        revoked.map_err(|error: StoreError| error)
    });
    revoke.await.expect("no panic").expect("the store writes");
    let mut n_passed = 0;
    while server.get("/v3/me").key(&key).send().await.status == 200 {
        n_passed += 1;
        assert!(n_passed < 100_000, "the change is never followed");
    }
}

#[tokio::test]
async fn usage_is_counted_by_key_hour_class_and_outcome_and_survives_a_stop() {
    let mut server = TestServer::start().await;
    let key = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let call = async |path: &str| {
        let call = server.get(path).key(&key).header("user-agent", "Sent/Python 0.46.0");
        call.send().await.status
    };
    assert_eq!(call("/v3/me").await, 200);
    assert_eq!(call("/v3/contacts/1").await, 400);
    server.advance(3_600_000);
    assert_eq!((call("/v3/me").await, call("/v3/me").await), (200, 200));
    server.get("/v3/me").send().await;
    keys::revoke(server.app(), &Actor::Operator, key.id).await.expect("it is not revoked");
    assert_eq!(call("/v3/me").await, 401);
    server.restart().await;
    let id = key.id;
    let read = server.app().store.read(move |tx| {
        Ok::<_, StoreError>((
            usage::of_key(tx, id, 0)?,
            usage::of_strangers(tx, 0)?,
            keyward_store::keys::find(tx, id)?,
        ))
    });
    let (counts, strangers, record) = read.await.expect("the store answers");
    let first = BEGIN.hours();
    let row = |hour, outcome, requests| usage::UsageRow {
        key: Some(id),
        hour,
        class: RateClass::Standard,
        outcome,
        requests,
    };
    assert_eq!(
        counts,
        [
            row(first, Outcome::Invalid, 1),
            row(first, Outcome::Ok, 1),
            row(first + 1, Outcome::Ok, 2),
            row(first + 1, Outcome::Revoked, 1),
        ]
    );
    assert_eq!(strangers, [usage::UsageRow { key: None, ..row(first + 1, Outcome::Missing, 1) }]);
    let last = record.expect("it is there").last_used.expect("it was used");
    assert_eq!((last.at, last.address.to_string().as_str()), (BEGIN + 3_600_000, "127.0.0.1"));
    assert_eq!(last.client, "Sent/Python 0.46.0");
}

#[tokio::test]
async fn a_line_is_logged_for_each_request_and_none_holds_a_key_a_query_or_a_body() {
    let mut server = TestServer::start().await;
    let key = server.key().await;
    let other = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let path = format!("/v3/contacts?search=secret-query&x-api-key={other}");
    assert_eq!(server.get(&path).key(&key).send().await.status, 200);
    server.get("/v3/me").header("x-api-key", other).send().await;
    server.get(&format!("/v3/{other}")).key(&key).send().await;
    server.get(&format!("/v3/contacts/{other}")).key(&key).send().await;
    server.post("/v3/contacts", r#"{"phone_number":"secret-body"}"#).key(&key).send().await;
    server.stop().await;
    let text = server.logged.text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .filter(|line: &serde_json::Value| line.get("route").is_some())
        .collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["route"], "/v3/contacts");
    assert_eq!(lines[0]["key_id"], key.id.to_string());
    assert_eq!(lines[0]["environment"], "production");
    assert_eq!(
        (&lines[1]["reason"], &lines[1]["code"]),
        (&"key_unknown".into(), &"AUTH_002".into())
    );
    assert_eq!(lines[3]["route"], "/v3/contacts/{id}");
    let text = text.to_lowercase();
    for secret in
        [key.clear.as_str(), other, "secret-query", "secret-body", &key.clear.replace('-', "")]
    {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_folder_that_another_server_holds_is_refused() {
    let server = TestServer::start().await;
    let settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: server.data_dir().to_owned(),
        ..Settings::default()
    };
    let (log, _log_writer) =
        keyward::observe::log::Log::start(settings.log_format, Box::new(std::io::sink()));
    let start = keyward::server::Start {
        settings,
        clock: keyward::app::Clock::system(),
        chance: keyward::app::Chance::System,
        log,
    };
    let refused = keyward::server::Running::start(start).await;
    let error = refused.err().expect("the folder is held").to_string();
    assert!(error.starts_with("another server (process "), "{error}");
    assert!(error.contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn a_line_carries_the_trace_of_a_request_and_nothing_that_is_none() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let good = format!("00-{id}-00f067aa0ba902b7-01");
    let traced = |path: &str| server.get(path).header("traceparent", &good);
    let with_key = traced("/v3/me").key(&key).send().await;
    let without = traced("/v3/me").send().await;
    let shouted = server.get("/v3/me").key(&key).header("traceparent", good.to_uppercase());
    let longer = server.get("/v3/me").header("traceparent", format!("{good}{id}"));
    let twice = traced("/v3/me").header("traceparent", &good);
    let mut none = vec![];
    for call in [shouted, longer, twice, server.get("/v3/me").key(&key)] {
        none.push(call.send().await);
    }
    let log = server.log_so_far().await;
    let trace_of = |reply: &crate::support::Reply| {
        let request_id = reply.header("x-request-id").expect("every answer has one");
        let line = log.lines().find(|line| line.contains(request_id)).expect("it is logged");
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        line["trace_id"].as_str().map(str::to_owned)
    };
    assert_eq!([&with_key, &without].map(trace_of), [Some(id.to_owned()), Some(id.to_owned())]);
    assert_eq!(none.iter().filter_map(trace_of).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(log.matches(id).count(), 2, "nothing else of it is copied: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_made_is_acknowledged_however_many_read() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let store = server.app().store.clone();
    // Those who read are held, and all places behind them are taken.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut reading = vec![];
    loop {
        let (store, gate) = (store.clone(), Arc::clone(&gate));
        let mut read = Box::pin(async move {
            store
                .read(move |_| {
                    let is_open = gate.0.lock().expect("no reader panics");
                    drop(gate.1.wait_while(is_open, |is_open| !*is_open));
                    Ok::<_, StoreError>(())
                })
                .await
        });
        // Looking at it once puts it in its place.
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                assert_eq!(result, Err(StoreError::Busy));
                break;
            }
            Poll::Pending => reading.push(read),
        }
    }
    let revoking = keys::revoke(server.app(), &Actor::Operator, key.id);
    let opening = async {
        let file = server.data_dir().join("keyward.db");
        let database = rusqlite::Connection::open(file).expect("it is there");
        let sql = "SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL";
        while database.query_row(sql, [], |row| row.get(0)) != Ok(1) {
            tokio::task::yield_now().await;
        }
        *gate.0.lock().expect("no reader panics") = true;
        gate.1.notify_all();
    };
    let (revoked, ()) = tokio::join!(revoking, opening);
    assert!(revoked.is_ok(), "it is made: {:?}", revoked.err());
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!(reply.verdict(), "401 AUTH_002");
}
