//! Contract 6: `Idempotency-Key`. A change that is sent twice is done once and answered twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyward::app::{Actor, keys};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::PermissionSet;
use keyward_core::record::Mark;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{BEGIN, KeyOf, Reply, TestKey, TestServer};

const DAY: u64 = 24 * 3_600_000;

async fn create(server: &TestServer, key: &TestKey, number: &str, idempotency: &str) -> Reply {
    let body = json!({ "phone_number": number }).to_string();
    let call = server.post("/v3/contacts", &body).key(key);
    call.header("idempotency-key", idempotency).send().await
}

async fn count(server: &TestServer, key: &TestKey) -> u64 {
    let list = server.get("/v3/contacts").key(key).send().await.json();
    list["data"]["pagination"]["total_count"].as_u64().expect("a number")
}

fn check_replay(first: &Reply, again: &Reply) {
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let original = first.header("x-request-id").expect("every answer has one");
    assert_eq!(again.header("x-original-request-id"), Some(original));
    assert_ne!(again.header("x-request-id"), Some(original));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(again.header("x-sandbox"), first.header("x-sandbox"));
}

#[tokio::test]
async fn an_answer_is_repeated_byte_for_byte_for_24_hours_and_across_restarts() {
    let mut server = TestServer::start().await;
    let key = server.key().await;
    let first = create(&server, &key, "+14155550123", "a").await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotent-replayed"), None);
    check_replay(&first, &create(&server, &key, "+14155550123", "a").await);
    // Another payload gets the first answer as well.
    check_replay(&first, &create(&server, &key, "+442079460958", "a").await);
    check_replay(&first, &create(&server, &key, "nonsense", "a").await);
    server.restart().await;
    server.advance(DAY - 1);
    check_replay(&first, &create(&server, &key, "+14155550123", "a").await);
    assert_eq!(count(&server, &key).await, 1);
    server.advance(1);
    assert_eq!(create(&server, &key, "+14155550123", "a").await.verdict(), "409 RESOURCE_007");
    let second = create(&server, &key, "+442079460958", "a").await;
    assert_eq!(second.status, 201);
    check_replay(&second, &create(&server, &key, "+14155550123", "a").await);
}

#[tokio::test]
async fn what_failed_is_not_kept_so_it_can_be_put_right_under_the_same_key() {
    let server = TestServer::start().await;
    let key = server.key().await;
    assert_eq!(create(&server, &key, "nonsense", "a").await.verdict(), "400 VALIDATION_002");
    let first = create(&server, &key, "+14155550123", "a").await;
    assert_eq!(first.status, 201);
    check_replay(&first, &create(&server, &key, "+14155550123", "a").await);
    assert_eq!(create(&server, &key, "+14155550123", "b").await.verdict(), "409 RESOURCE_007");
}

#[tokio::test]
async fn a_key_means_something_else_in_another_account_environment_profile_method_or_path() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let second = server.key().await;
    let profile = server.new_account("Shop", AccountKind::Profile).await;
    let own = server.issue(KeyOf { account: profile.id, ..server.usual() }).await;
    let first = create(&server, &key, "+14155550123", "a").await;
    for stranger in [&test, &other, &own] {
        let made = create(&server, stranger, "+14155550123", "a").await;
        assert_eq!((made.status, made.header("idempotent-replayed")), (201, None));
    }
    let body = r#"{"phone_number":"+442079460958"}"#;
    let call = server.post("/v3/contacts", body).key(&key).header("idempotency-key", "a");
    let for_profile = call.header("x-profile-id", profile.id.to_string()).send().await;
    assert_eq!((for_profile.status, for_profile.header("idempotent-replayed")), (201, None));
    // Another key of the same account is the same caller.
    check_replay(&first, &create(&server, &second, "+14155550123", "a").await);
    let path = format!("/v3/contacts/{}", first.json()["data"]["id"].as_str().expect("an id"));
    let call = |method: &str, path: &str| {
        let call = server.call(method, path).key(&key).header("idempotency-key", "a");
        call.json(r#"{"opt_out":true}"#)
    };
    let changed = call("PATCH", &path).send().await;
    assert_eq!((changed.status, changed.header("idempotent-replayed")), (200, None));
    check_replay(&changed, &call("PATCH", &path).send().await);
    let removed = call("DELETE", &path).send().await;
    assert_eq!((removed.status, removed.header("idempotent-replayed")), (204, None));
    check_replay(&removed, &call("DELETE", &path).send().await);
    check_replay(&changed, &call("PATCH", &path).send().await);
    // Reading takes no notice of it.
    assert_eq!(call("GET", &path).send().await.verdict(), "404 RESOURCE_001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_twins_at_once_one_makes_the_change_and_the_others_wait_or_repeat_it() {
    let server = Arc::new(TestServer::start().await);
    let key = server.key().await;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (server, key) = (Arc::clone(&server), key.clone());
        calls.spawn(async move { create(&server, &key, "+14155550123", "twin").await });
    }
    let replies = calls.join_all().await;
    let bodies: BTreeSet<_> =
        replies.iter().filter(|reply| reply.status == 201).map(|reply| &reply.body).collect();
    assert_eq!(bodies.len(), 1, "{replies:?}");
    let original =
        |reply: &&Reply| reply.status == 201 && reply.header("idempotent-replayed").is_none();
    assert_eq!(replies.iter().filter(original).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.verdict(), "409 CONFLICT_001");
        assert_eq!(reply.header("x-should-retry"), None, "the clients try it again");
    }
    assert_eq!(count(&server, &key).await, 1);
    assert_eq!(create(&server, &key, "+14155550123", "twin").await.status, 201);
}

#[tokio::test]
async fn a_pretended_answer_is_kept_as_well_and_a_secret_is_shown_again_but_not_stored_in_clear() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let sandbox = r#"{"phone_number":"+14155550123","sandbox":true}"#;
    let call = || server.post("/v3/contacts", sandbox).key(&key).header("idempotency-key", "s");
    let first = call().send().await;
    assert_eq!((first.status, first.header("x-sandbox")), (201, Some("true")));
    check_replay(&first, &call().send().await);
    assert_eq!(count(&server, &key).await, 0);
    let hook =
        r#"{"display_name":"a","endpoint_url":"https://a.example/","event_types":["contact"]}"#;
    let call = || server.post("/v3/webhooks", hook).key(&key).header("idempotency-key", "w");
    let made = call().send().await;
    check_replay(&made, &call().send().await);
    let secret = made.json()["data"]["signing_secret"].as_str().expect("it is shown").to_owned();
    for entry in std::fs::read_dir(server.data_dir()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        // The socket is no file to read.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!is_there, "{}", path.display());
    }
}

#[tokio::test]
async fn an_account_keeps_so_many_answers_and_what_would_be_one_too_many_is_not_done() {
    let server = TestServer::start_with(|settings| settings.idempotency_limit = 2).await;
    let key = server.key().await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let first = create(&server, &key, "+14155550120", "a").await;
    assert_eq!(create(&server, &key, "+14155550121", "b").await.status, 201);
    let refused = create(&server, &key, "+14155550122", "c").await;
    assert_eq!(refused.verdict(), "422 BUSINESS_008");
    assert!(refused.body.contains("2 answers are kept"), "{}", refused.body);
    assert_eq!(count(&server, &key).await, 2, "the change is undone");
    check_replay(&first, &create(&server, &key, "+14155550120", "a").await);
    assert_eq!(create(&server, &other, "+14155550122", "c").await.status, 201);
    let without = server.post("/v3/contacts", r#"{"phone_number":"+14155550122"}"#).key(&key);
    assert_eq!(without.send().await.status, 201);
    // What is too old gives way when it is swept.
    server.advance(DAY);
    server.running().check_alerts().await.expect("the store answers");
    assert_eq!(create(&server, &key, "+14155550124", "c").await.status, 201);
}

/// What is about keys is about the key that asks: nothing of it is answered to another key of the account.
#[tokio::test]
async fn a_call_about_keys_is_repeated_to_the_key_that_made_it_alone() {
    let server = TestServer::start().await;
    let issue = || server.issue(KeyOf { permissions: PermissionSet::ALL, ..server.usual() });
    let (first, second) = (issue().await, issue().await);
    let create = async |key: &TestKey| {
        let body = json!({ "name": "job", "permissions": ["contacts:read"] }).to_string();
        let call = server.post("/v3/api-keys", &body).key(key);
        call.header("idempotency-key", "make").send().await
    };
    let made = create(&first).await;
    assert_eq!(made.status, 201, "{made:?}");
    check_replay(&made, &create(&first).await);
    let other = create(&second).await;
    assert_eq!((other.status, other.header("idempotent-replayed")), (201, None), "{other:?}");
    assert_ne!(other.json()["data"]["id"], made.json()["data"]["id"]);
    for key in [&first, &second] {
        let call = server.call("DELETE", "/v3/api-keys/self").key(key);
        let ended = call.header("idempotency-key", "offboard").send().await;
        assert_eq!((ended.status, ended.header("idempotent-replayed")), (204, None), "{ended:?}");
        assert_eq!(server.get("/v3/me").key(key).send().await.verdict(), "401 AUTH_002");
    }
}

#[tokio::test]
async fn a_signing_secret_is_shown_again_to_the_key_that_it_was_made_for_alone() {
    let server = TestServer::start().await;
    let (first, second) = (server.key().await, server.key().await);
    let hook =
        r#"{"display_name":"a","endpoint_url":"https://a.example/","event_types":["contact"]}"#;
    let post = async |path: &str, body: &str, key: &TestKey| {
        server.post(path, body).key(key).header("idempotency-key", "w").send().await
    };
    let made = post("/v3/webhooks", hook, &first).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
    let rotate = format!("/v3/webhooks/{id}/rotate-secret");
    let rotated = post(&rotate, "{}", &first).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let secret = |reply: &Reply| {
        let data = reply.json()["data"].clone();
        data["signing_secret"].as_str().expect("it is shown").to_owned()
    };
    for (path, body, before) in [("/v3/webhooks", hook, &made), (rotate.as_str(), "{}", &rotated)] {
        check_replay(before, &post(path, body, &first).await);
        let other = post(path, body, &second).await;
        let expected = (before.status, None);
        assert_eq!((other.status, other.header("idempotent-replayed")), expected, "{other:?}");
        assert_ne!(secret(&other), secret(before));
    }
}

/// Who asked first may have hung up when the change was written and not yet in force: by the time that the
/// answer is repeated it must be true.
#[tokio::test]
async fn a_repeated_answer_about_keys_is_told_once_it_is_in_force() {
    let server = TestServer::start().await;
    let caller = server.issue(KeyOf { permissions: PermissionSet::ALL, ..server.usual() }).await;
    let target = server.key().await;
    let id = target.id;
    let path = format!("/v3/api-keys/{id}/disable");
    let disable = || server.post(&path, "{}").key(&caller).header("idempotency-key", "off");
    let first = disable().send().await;
    assert_eq!(first.status, 200, "{first:?}");
    // More than once, for the server looks by itself as well, and may do so just in time.
    for _ in 0..10 {
        keys::enable(server.app(), &Actor::Operator, id).await.expect("it is disabled");
        assert_eq!(server.get("/v3/me").key(&target).send().await.status, 200);
        let written = server.app().store.write(move |tx| {
            let key = keyward_store::keys::find(tx, id)?.expect("it is there");
            let mark = Mark { at: BEGIN, by: String::from("who hung up") };
            keyward_store::keys::put(tx, &key.disable(mark).expect("it is enabled"))
        });
        written.await.expect("the store takes it");
        check_replay(&first, &disable().send().await);
        assert_eq!(server.get("/v3/me").key(&target).send().await.verdict(), "401 AUTH_002");
    }
}
