//! Contract 8: webhooks over the API. What is sent to them is told in `deliveries`.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyward::config::HttpRule;
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{KeyOf, Reply, TestKey, TestServer};

fn usual() -> Value {
    json!({
        "display_name": "CRM", "endpoint_url": "https://crm.example/hook",
        "event_types": ["contact"],
    })
}

async fn create(server: &TestServer, key: &TestKey, body: &Value) -> Reply {
    server.post("/v3/webhooks", &body.to_string()).key(key).send().await
}

async fn made(server: &TestServer, key: &TestKey) -> String {
    let reply = create(server, key, &usual()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["data"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_webhook_is_made_read_changed_switched_and_removed() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let reply = create(&server, &key, &usual()).await;
    assert_eq!(reply.status, 201);
    let mut webhook = reply.json()["data"].clone();
    let secret = webhook["signing_secret"].as_str().expect("it is shown").to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == 6 + 44, "{secret}");
    let expected = json!({
        "id": webhook["id"], "customer_id": server.account.id.to_string(), "display_name": "CRM",
        "endpoint_url": "https://crm.example/hook", "event_types": ["contact"],
        "event_filters": null, "is_active": true, "signing_secret": secret, "retry_count": 3,
        "timeout_seconds": 30, "consecutive_failures": 0, "last_delivery_attempt_at": null,
        "last_successful_delivery_at": null, "created_at": "2024-01-01T00:00:00Z",
        "updated_at": null,
    });
    assert_eq!(webhook, expected);
    webhook["signing_secret"] = Value::Null;
    let path = format!("/v3/webhooks/{}", webhook["id"].as_str().expect("an id"));
    assert_eq!(server.get(&path).key(&key).send().await.json()["data"], webhook);
    let list = server.get("/v3/webhooks").key(&key).send().await.json();
    assert_eq!(list["data"]["webhooks"], json!([webhook]));
    server.advance(1000);
    let change = json!({
        "event_types": ["contact", "user", "contact"], "event_filters": {"contact": ["opt_out"]},
        "retry_count": 5, "timeout_seconds": 120, "display_name": " New ",
    });
    let change = server.call("PUT", &path).json(&change.to_string()).key(&key).send().await;
    assert_eq!(change.status, 200, "{change:?}");
    for (field, value) in [
        ("event_types", json!(["contact", "user"])),
        ("event_filters", json!({"contact": ["opt_out"]})),
        ("retry_count", json!(5)),
        ("timeout_seconds", json!(120)),
        ("display_name", json!("New")),
        ("updated_at", json!("2024-01-01T00:00:01Z")),
    ] {
        webhook[field] = value;
    }
    assert_eq!(change.json()["data"], webhook);
    // What is left out stays; null takes the filters away.
    let kept = server.call("PUT", &path).json("{}").key(&key).send().await.json();
    assert_eq!(kept["data"], webhook);
    let body = r#"{"event_filters":null}"#;
    let cleared = server.call("PUT", &path).json(body).key(&key).send().await.json();
    assert_eq!(cleared["data"]["event_filters"], Value::Null);
    let toggle = format!("{path}/toggle-status");
    let off = server.call("PATCH", &toggle).json(r#"{"is_active":false}"#).key(&key).send().await;
    assert_eq!((off.status, &off.json()["data"]["is_active"]), (200, &json!(false)));
    // As the official clients send it: with a type and no body, or with neither.
    let gone = server.call("DELETE", &path).header("content-type", "application/json");
    let gone = gone.header("accept", "*/*").key(&key).send().await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    assert_eq!(server.get(&path).key(&key).send().await.verdict(), "404 RESOURCE_008");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let server = TestServer::start_with(|settings| settings.rate_limit_standard = 10_000).await;
    let key = server.key().await;
    let check = async |change: Value, field: &str, part: &str| {
        let mut body = usual();
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let reply = create(&server, &key, &body).await;
        assert_eq!(reply.verdict(), "400 VALIDATION_001", "{change}");
        let sentences = reply.json()["error"]["details"][field].to_string();
        assert!(sentences.contains(part), "{change}: {}", reply.body);
    };
    let valid = "Endpoint URL must be a valid HTTP or HTTPS URL";
    check(json!({"endpoint_url": "nonsense"}), "endpoint_url", valid).await;
    check(json!({"endpoint_url": "ftp://a.example/"}), "endpoint_url", valid).await;
    check(json!({"endpoint_url": ""}), "endpoint_url", valid).await;
    check(json!({"endpoint_url": 7}), "endpoint_url", "must be a string").await;
    check(json!({"endpoint_url": null}), "endpoint_url", "Endpoint URL is required").await;
    check(json!({"endpoint_url": "http://a.example/"}), "endpoint_url", "https://").await;
    check(json!({"endpoint_url": "https://u:p@a.example/"}), "endpoint_url", "password").await;
    let long = format!("https://a.example/{}", "x".repeat(2048));
    check(json!({"endpoint_url": long}), "endpoint_url", "2048").await;
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "0x7f.1"] {
        let url = format!("https://{host}/");
        check(json!({"endpoint_url": url}), "endpoint_url", "public internet").await;
    }
    check(json!({"event_types": []}), "event_types", "at least one").await;
    check(json!({"event_types": ["message"]}), "event_types", "contact, api_key, user").await;
    check(json!({"event_types": ["contact.created"]}), "event_types", "there is no").await;
    check(json!({"event_types": "contact"}), "event_types", "list of strings").await;
    check(json!({"event_types": null}), "event_types", "required").await;
    check(json!({"event_filters": {"user": ["invited"]}}), "event_filters", "none of").await;
    check(json!({"event_filters": {"contact": ["help"]}}), "event_filters", "opt_out").await;
    check(json!({"event_filters": {"contact": []}}), "event_filters", "must be some of").await;
    check(json!({"event_filters": {"contact": "x"}}), "event_filters", "lists of strings").await;
    check(json!({"event_filters": []}), "event_filters", "lists of strings").await;
    check(json!({"retry_count": 0}), "retry_count", "between 1 and 5").await;
    check(json!({"retry_count": 6}), "retry_count", "between 1 and 5").await;
    check(json!({"retry_count": -1}), "retry_count", "whole number").await;
    check(json!({"retry_count": 1e30}), "retry_count", "whole number").await;
    check(json!({"timeout_seconds": 4}), "timeout_seconds", "between 5 and 120").await;
    check(json!({"timeout_seconds": 121}), "timeout_seconds", "between 5 and 120").await;
    check(json!({"display_name": " "}), "display_name", "empty").await;
    check(json!({"display_name": "x".repeat(101)}), "display_name", "longer").await;
    check(json!({"display_name": "a\u{7}b"}), "display_name", "control").await;
    check(json!({"sandbox": 1}), "sandbox", "true or false").await;
    let list = server.get("/v3/webhooks").key(&key).send().await.json();
    assert_eq!(list["data"]["pagination"]["total_count"], 0);
    let id = made(&server, &key).await;
    let verdict = async |method: &str, path: String, body: &str| {
        server.call(method, &path).json(body).key(&key).send().await.verdict()
    };
    let toggle = format!("/v3/webhooks/{id}/toggle-status");
    assert_eq!(verdict("PATCH", toggle, "{}").await, "400 VALIDATION_001");
    for body in ["{}", r#"{"event_type":"message.sent"}"#, r#"{"event_type":"contact"}"#] {
        let test = format!("/v3/webhooks/{id}/test");
        assert_eq!(verdict("POST", test, body).await, "400 VALIDATION_001", "{body}");
    }
    // A filter of a family that it does not hear of, in two steps.
    let filter = r#"{"event_filters":{"user":["invited"]}}"#;
    assert_eq!(verdict("PUT", format!("/v3/webhooks/{id}"), filter).await, "400 VALIDATION_001");
    assert_eq!(verdict("GET", String::from("/v3/webhooks/7"), "").await, "400 VALIDATION_003");
    let list = String::from("/v3/webhooks?is_active=maybe");
    assert_eq!(verdict("GET", list, "").await, "400 VALIDATION_001");
}

#[tokio::test]
async fn receivers_on_this_machine_are_for_test_keys_and_only_where_it_is_allowed() {
    let check = async |rule: HttpRule, networks: &str, environment, url: &str, expected: u16| {
        let server = TestServer::start_with(|settings| {
            settings.webhook_http = rule;
            settings.webhook_networks =
                networks.split(',').filter_map(|network| network.parse().ok()).collect();
        })
        .await;
        let key = server.issue(KeyOf { environment, ..server.usual() }).await;
        let mut body = usual();
        body["endpoint_url"] = json!(url);
        let reply = create(&server, &key, &body).await;
        assert_eq!(reply.status, expected, "{rule:?} {environment} {url}: {}", reply.body);
    };
    let (real, test) = (Environment::Production, Environment::Test);
    check(HttpRule::TestLoopback, "", test, "http://127.0.0.1:9/", 201).await;
    check(HttpRule::TestLoopback, "", test, "http://localhost:9/", 201).await;
    check(HttpRule::TestLoopback, "", test, "http://a.example/", 400).await;
    check(HttpRule::TestLoopback, "", test, "http://10.0.0.1/", 400).await;
    check(HttpRule::TestLoopback, "", real, "http://127.0.0.1:9/", 400).await;
    check(HttpRule::Never, "", test, "https://127.0.0.1:9/", 400).await;
    check(HttpRule::Always, "", real, "http://a.example/", 201).await;
    check(HttpRule::Always, "", real, "http://127.0.0.1:9/", 400).await;
    check(HttpRule::Always, "127.0.0.0/8", real, "http://127.0.0.1:9/", 201).await;
    check(HttpRule::TestLoopback, "10.0.0.0/8", real, "https://10.1.2.3/", 201).await;
}

#[tokio::test]
async fn an_account_has_so_many_webhooks_and_no_more_however_many_ask_at_once() {
    let server = TestServer::start_with(|settings| {
        settings.webhook_limit = 5;
        settings.rate_limit_standard = 10_000;
    })
    .await;
    let server = Arc::new(server);
    let key = server.key().await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (server, key) = (Arc::clone(&server), key.clone());
        calls.spawn(async move { create(&server, &key, &usual()).await.verdict() });
    }
    let verdicts = calls.join_all().await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "201").count(), 5);
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "422 BUSINESS_008").count(), 95);
    let page = server.get("/v3/webhooks?page=2&page_size=2&search=crm").key(&key).send().await;
    let data = page.json()["data"].clone();
    assert_eq!(data["webhooks"].as_array().expect("a list").len(), 2);
    assert_eq!(
        (&data["pagination"]["total_count"], &data["pagination"]["has_more"]),
        (&json!(5), &json!(true))
    );
    let none = server.get("/v3/webhooks?is_active=false").key(&key).send().await.json();
    assert_eq!(none["data"]["pagination"]["total_count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_rotations_at_once_give_fifty_secrets_of_which_the_last_signs() {
    let server = TestServer::start_with(|settings| settings.rate_limit_sensitive = 100).await;
    let server = Arc::new(server);
    let key = server.key().await;
    let path = format!("/v3/webhooks/{}/rotate-secret", made(&server, &key).await);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (server, key, path) = (Arc::clone(&server), key.clone(), path.clone());
        calls.spawn(async move {
            let reply = server.post(&path, "{}").key(&key).send().await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let data = reply.json()["data"].clone();
            assert_eq!(data.as_object().expect("an object").len(), 1);
            data["signing_secret"].as_str().expect("a secret").to_owned()
        });
    }
    let secrets: BTreeSet<String> = calls.join_all().await.into_iter().collect();
    assert_eq!(secrets.len(), 50);
    let log = server.log_so_far().await;
    assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())));
}

#[tokio::test]
async fn webhooks_of_others_are_not_there_and_each_permission_opens_its_own_calls() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let id = made(&server, &key).await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let calls = [
        ("GET", "", "{}", Permission::WebhooksRead),
        ("PUT", "", "{}", Permission::WebhooksWrite),
        ("GET", "/events", "{}", Permission::WebhooksRead),
        ("PATCH", "/toggle-status", r#"{"is_active":true}"#, Permission::WebhooksWrite),
        ("POST", "/rotate-secret", "{}", Permission::WebhooksRotateSecret),
        ("POST", "/test", r#"{"event_type":"contact.created"}"#, Permission::WebhooksWrite),
        ("DELETE", "", "{}", Permission::WebhooksWrite),
    ];
    for (method, rest, body, permission) in calls {
        let path = format!("/v3/webhooks/{id}{rest}");
        for stranger in [&test, &other] {
            let reply = server.call(method, &path).json(body).key(stranger).send().await;
            assert_eq!(reply.verdict(), "404 RESOURCE_008", "{method} {path}");
        }
        let permissions = PermissionSet::FULL.without(permission);
        let lacking = server.issue(KeyOf { permissions, ..server.usual() }).await;
        let reply = server.call(method, &path).json(body).key(&lacking).send().await;
        assert_eq!(reply.verdict(), "403 AUTH_004", "{method} {path}");
    }
    let limit = async |path: String| {
        let reply = server.post(&path, r#"{"sandbox":true,"event_type":"contact.created"}"#);
        reply.key(&key).send().await.header("x-ratelimit-limit").map(str::to_owned)
    };
    let path = format!("/v3/webhooks/{id}");
    assert_eq!(limit(format!("{path}/rotate-secret")).await.as_deref(), Some("10"));
    assert_eq!(limit(format!("{path}/test")).await.as_deref(), Some("60"));
    assert_eq!(server.get(&path).key(&key).send().await.status, 200);
}

#[tokio::test]
async fn sandbox_changes_no_webhook_but_deleting_deletes() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let mut body = usual();
    body["sandbox"] = json!(true);
    let pretended = create(&server, &key, &body).await;
    assert_eq!((pretended.status, pretended.header("x-sandbox")), (201, Some("true")));
    assert!(pretended.body.contains("whsec_"));
    let list = async || server.get("/v3/webhooks").key(&key).send().await.json()["data"].clone();
    assert_eq!(list().await["pagination"]["total_count"], 0);
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (method, rest, body) in [
        ("PUT", "", r#"{"sandbox":true,"retry_count":2}"#),
        ("PATCH", "/toggle-status", r#"{"sandbox":true,"is_active":false}"#),
        ("POST", "/rotate-secret", r#"{"sandbox":true}"#),
        ("POST", "/test", r#"{"sandbox":true,"event_type":"contact.created"}"#),
    ] {
        let path = format!("/v3/webhooks/{unknown}{rest}");
        let reply = server.call(method, &path).json(body).key(&key).send().await;
        assert_eq!((reply.status, reply.header("x-sandbox")), (200, Some("true")), "{path}");
    }
    let bad = r#"{"sandbox":true,"retry_count":9}"#;
    let bad = server.call("PUT", &format!("/v3/webhooks/{unknown}")).json(bad).key(&key);
    assert_eq!(bad.send().await.verdict(), "400 VALIDATION_001");
    let path = format!("/v3/webhooks/{}", made(&server, &key).await);
    let gone = server.call("DELETE", &path).json(r#"{"sandbox":true}"#).key(&key).send().await;
    assert_eq!((gone.status, gone.header("x-sandbox")), (204, None));
    assert_eq!(list().await["pagination"]["total_count"], 0);
}

#[tokio::test]
async fn event_types_are_families_with_their_events() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let data = server.get("/v3/webhooks/event-types").key(&key).send().await.json()["data"].clone();
    let families: Vec<&str> = data["event_types"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|family| family["name"].as_str())
        .collect();
    assert_eq!(families, ["contact", "api_key", "user"]);
    assert_eq!(data["pagination"]["has_more"], false);
    let opt_out = data["event_types"][0]["sub_types"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|event| event["name"] == "contact.opt_out");
    let expected = json!({
        "name": "contact.opt_out", "display_name": "Opt out", "event_type": "contact",
        "description": "A contact wants no messages any more.", "is_active": true,
        "sub_types": null,
    });
    assert_eq!(opt_out, Some(&expected));
    // Every name that is listed can be filtered by.
    for family in data["event_types"].as_array().expect("a list") {
        let name = family["name"].as_str().expect("a name");
        let suffixes: Vec<&str> = family["sub_types"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|event| event["name"].as_str()?.split('.').nth(1))
            .collect();
        let mut body = usual();
        body["event_types"] = json!([name]);
        body["event_filters"] = json!({ name: suffixes });
        assert_eq!(create(&server, &key, &body).await.status, 201);
    }
}
