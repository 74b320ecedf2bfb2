//! Contract 2, 4 and 10: keys that manage keys, and never give more than they have.

use keyward::app::{Actor, alerts, keys};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::time::DAY_MILLIS;
use serde_json::{Value, json};

use crate::support::{BEGIN, KeyOf, Reply, TestKey, TestServer};

/// A key that manages keys and reads contacts.
async fn manager(server: &TestServer) -> TestKey {
    let permissions = [Permission::ApiKeysRead, Permission::ApiKeysWrite, Permission::ContactsRead];
    let permissions = permissions.into_iter().collect();
    server.issue(KeyOf { permissions, ..server.usual() }).await
}

async fn create(server: &TestServer, key: &TestKey, body: Value) -> Reply {
    server.post("/v3/api-keys", &body.to_string()).key(key).send().await
}

fn made(reply: &Reply) -> (String, TestKey) {
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    let data = &reply.json()["data"];
    let id = data["id"].as_str().expect("an id").to_owned();
    let clear = data["key"].as_str().expect("it is shown").to_owned();
    (id.clone(), TestKey { id: id.parse().expect("an id"), clear })
}

async fn works(server: &TestServer, key: &TestKey) -> bool {
    match server.get("/v3/me").key(key).send().await.verdict().as_str() {
        "200" => true,
        "401 AUTH_002" => false,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_key_is_issued_read_changed_switched_rotated_and_revoked_by_another() {
    let server = TestServer::start().await;
    let key = manager(&server).await;
    let reply =
        create(&server, &key, json!({"name": "ci", "permissions": ["contacts:read"]})).await;
    let (id, ci) = made(&reply);
    let data = reply.json()["data"].clone();
    assert_eq!(data["hint"], json!(ci.clear[32..]));
    let expected = json!({
        "id": id, "customer_id": server.account.id.to_string(), "name": "ci",
        "environment": "production", "key": ci.clear, "hint": data["hint"], "status": "active",
        "permissions": ["contacts:read"], "allowed_addresses": [],
        "created_at": "2024-01-01T00:00:00Z", "expires_at": "2024-03-31T00:00:00Z",
        "disabled_at": null, "revoked_at": null, "replaced_by": null, "works_until": null,
        "last_used_at": null,
    });
    assert_eq!(data, expected);
    assert!(works(&server, &ci).await, "it works at once");
    let path = format!("/v3/api-keys/{id}");
    let shown = server.get(&path).key(&key).send().await.json()["data"].clone();
    assert_eq!((&shown["key"], &shown["id"]), (&Value::Null, &json!(id)));
    let call = async |method: &str, path: &str, body: &str| {
        let reply = server.call(method, path).json(body).key(&key).send().await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        reply
    };
    let body = r#"{"name":"ci 2","permissions":[],"allowed_addresses":["127.0.0.0/8"]}"#;
    let changed = call("PATCH", &path, body).await.json()["data"].clone();
    assert_eq!(
        (&changed["name"], &changed["permissions"], &changed["allowed_addresses"]),
        (&json!("ci 2"), &json!([]), &json!(["127.0.0.0/8"]))
    );
    let off = call("POST", &format!("{path}/disable"), "").await.json();
    assert_eq!((&off["data"]["status"], works(&server, &ci).await), (&json!("disabled"), false));
    call("POST", &format!("{path}/enable"), "{}").await;
    assert!(works(&server, &ci).await);
    let (next_id, next) =
        made(&call("POST", &format!("{path}/rotate"), r#"{"grace_seconds":60}"#).await);
    assert!(works(&server, &ci).await && works(&server, &next).await);
    let old = server.get(&path).key(&key).send().await.json()["data"].clone();
    assert_eq!((&old["status"], &old["replaced_by"]), (&json!("rotating"), &json!(next_id)));
    server.advance(60_000);
    assert!(!works(&server, &ci).await && works(&server, &next).await);
    call("DELETE", &format!("/v3/api-keys/{next_id}"), "").await;
    assert!(!works(&server, &next).await, "no later request passes");
    let list = server.get("/v3/api-keys?status=revoked").key(&key).send().await.json();
    assert_eq!(list["data"]["api_keys"][0]["id"], json!(next_id));
    assert_eq!(list["data"]["pagination"]["total_count"], 1);
    // Keys are written down as having done it.
    let log = server.log_so_far().await;
    assert!(!log.contains(&ci.clear) && !log.contains(&next.clear));
}

#[tokio::test]
async fn no_key_gives_more_than_it_has() {
    let server = TestServer::start().await;
    let permissions: PermissionSet =
        [Permission::ApiKeysRead, Permission::ApiKeysWrite, Permission::ContactsRead]
            .into_iter()
            .collect();
    let key = server
        .issue(KeyOf {
            permissions,
            networks: vec!["127.0.0.0/8".parse().expect("a network")],
            expires_at: Some(BEGIN + 10 * DAY_MILLIS),
            ..server.usual()
        })
        .await;
    let refused = async |body: Value, field: &str| {
        let reply = create(&server, &key, body.clone()).await;
        assert_eq!(reply.verdict(), "400 VALIDATION_001", "{body}");
        let details = reply.json()["error"]["details"].clone();
        let fields: Vec<&String> = details.as_object().expect("details").keys().collect();
        assert_eq!(fields, [field], "{body}");
    };
    let wide = json!({"name": "x", "permissions": ["contacts:read", "contacts:write"]});
    refused(wide, "permissions").await;
    let unknown = json!({"name": "x", "permissions": ["everything"]});
    refused(unknown, "permissions").await;
    let long = json!({"name": "x", "permissions": [], "expires_at": "2024-01-11T00:00:01Z"});
    refused(long, "expires_at").await;
    let never = json!({"name": "x", "permissions": [], "expires_at": null});
    refused(never, "expires_at").await;
    let past = json!({"name": "x", "permissions": [], "expires_at": "2023-01-01T00:00:00Z"});
    refused(past, "expires_at").await;
    for addresses in [json!([]), json!(["0.0.0.0/0"]), json!(["127.0.0.1", "10.0.0.1"])] {
        let out = json!({"name": "x", "permissions": [], "allowed_addresses": addresses});
        refused(out, "allowed_addresses").await;
    }
    refused(json!({"permissions": []}), "name").await;
    refused(json!({"name": "x"}), "permissions").await;
    // Untold, it gets what its maker has.
    let usual = create(&server, &key, json!({"name": "x", "permissions": []})).await;
    let (id, _) = made(&usual);
    let data = &usual.json()["data"];
    assert_eq!(
        (&data["allowed_addresses"], &data["expires_at"]),
        (&json!(["127.0.0.0/8"]), &json!("2024-01-11T00:00:00Z"))
    );
    // A stronger key can be ended, but neither taken over nor made stronger.
    let strong = server.key().await;
    let path = format!("/v3/api-keys/{}", strong.id);
    let verdict = async |method: &str, path: &str, body: &str| {
        server.call(method, path).json(body).key(&key).send().await.verdict()
    };
    assert_eq!(verdict("POST", &format!("{path}/rotate"), "{}").await, "400 VALIDATION_001");
    assert_eq!(verdict("PATCH", &path, r#"{"name":"mine"}"#).await, "400 VALIDATION_001");
    assert_eq!(verdict("POST", &format!("{path}/disable"), "{}").await, "200");
    assert_eq!(verdict("POST", &format!("{path}/enable"), "{}").await, "400 VALIDATION_001");
    assert_eq!(verdict("DELETE", &path, "{}").await, "204");
    // Neither can it prolong itself.
    let own = format!("/v3/api-keys/{}", key.id);
    let longer = r#"{"expires_at":"2030-01-01T00:00:00Z"}"#;
    assert_eq!(verdict("PATCH", &own, longer).await, "400 VALIDATION_001");
    let (_, successor) = made(&server.post(&format!("{own}/rotate"), "{}").key(&key).send().await);
    let me = server.get("/v3/me").key(&successor).send().await.json();
    assert_eq!(me["data"]["api_key"]["expires_at"], "2024-01-11T00:00:00Z");
    assert_eq!(verdict("GET", &format!("/v3/api-keys/{id}"), "{}").await, "200");
}

#[tokio::test]
async fn keys_of_the_other_environment_and_of_others_are_not_there() {
    let server = TestServer::start().await;
    let key = manager(&server).await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    for stranger in [&test, &other] {
        let path = format!("/v3/api-keys/{}", stranger.id);
        for (method, path) in [
            ("GET", path.clone()),
            ("PATCH", path.clone()),
            ("DELETE", path.clone()),
            ("POST", format!("{path}/rotate")),
            ("POST", format!("{path}/disable")),
            ("POST", format!("{path}/enable")),
        ] {
            let reply = server.call(method, &path).json("{}").key(&key).send().await;
            assert_eq!(reply.verdict(), "404 REQUEST_008", "{method} {path}");
        }
        assert!(works(&server, stranger).await);
    }
    // No preset holds these permissions.
    let full = server.key().await;
    let list = server.get("/v3/api-keys").key(&full).send().await;
    assert_eq!(list.verdict(), "403 AUTH_004");
    let made = create(&server, &full, json!({"name": "x", "permissions": []})).await;
    assert_eq!(made.verdict(), "403 AUTH_004");
    // The key itself is not its id.
    let path = format!("/v3/api-keys/{}", full.clear);
    assert_eq!(server.get(&path).key(&key).send().await.verdict(), "404 REQUEST_008");
}

#[tokio::test]
async fn whoever_holds_a_key_can_burn_it_and_people_are_told() {
    let server = TestServer::start().await;
    let nothing = KeyOf { permissions: std::iter::empty().collect(), ..server.usual() };
    let found = server.issue(nothing).await;
    let body = r#"{"sandbox":true}"#;
    let pretended = server.call("DELETE", "/v3/api-keys/self").json(body).key(&found).send().await;
    assert_eq!((pretended.status, works(&server, &found).await), (204, true));
    let burnt = server.call("DELETE", "/v3/api-keys/self").key(&found).send().await;
    assert_eq!((burnt.status, works(&server, &found).await), (204, false));
    let told = async || {
        let account = server.account.id;
        let list = server
            .app()
            .store
            .read(move |tx| keyward_store::alerts::list(tx, account, Some(true), 10));
        let list: Vec<_> = list.await.expect("the store answers");
        list.into_iter().map(|alert| (alert.kind.as_str(), alert.text)).collect::<Vec<_>>()
    };
    let alerts_told = told().await;
    assert_eq!(alerts_told.len(), 1, "{alerts_told:?}");
    assert_eq!(alerts_told[0].0, "self_revoked");
    assert!(alerts_told[0].1.contains("127.0.0.1"), "{alerts_told:?}");
    // It is news for a week, although the key is revoked.
    server.running().check_alerts().await.expect("the store answers");
    assert_eq!(told().await.len(), 1);
    server.advance(8 * 24 * 3_600_000);
    server.running().check_alerts().await.expect("the store answers");
    assert_eq!(told().await.len(), 0);
    // Whoever wants no such alert gets none.
    let rule = keyward_store::alerts::Rule {
        is_on: false,
        ..alerts::default_rule(keyward_store::alerts::AlertKind::SelfRevoked)
    };
    let set = alerts::set_rule(server.app(), &Actor::Operator, server.account.id, rule).await;
    set.expect("the store writes");
    let next = server.key().await;
    assert_eq!(server.call("DELETE", "/v3/api-keys/self").key(&next).send().await.status, 204);
    assert_eq!(told().await.len(), 0);
}

#[tokio::test]
async fn sandbox_changes_no_key() {
    let server = TestServer::start().await;
    let key = manager(&server).await;
    let body = json!({"name": "x", "permissions": ["contacts:read"], "sandbox": true});
    let reply = create(&server, &key, body).await;
    assert_eq!((reply.status, reply.header("x-sandbox")), (201, Some("true")));
    let (_, pretended) = made(&reply);
    assert!(!works(&server, &pretended).await);
    let too_much = json!({"name": "x", "permissions": ["users:write"], "sandbox": true});
    assert_eq!(create(&server, &key, too_much).await.verdict(), "400 VALIDATION_001");
    let unknown = "00000000-0000-4000-8000-000000000000";
    let sandbox = r#"{"name":"y","sandbox":true}"#;
    for (method, rest, status) in [
        ("PATCH", "", 200),
        ("POST", "/rotate", 200),
        ("POST", "/disable", 200),
        ("POST", "/enable", 200),
        ("DELETE", "", 204),
    ] {
        for id in [unknown.to_owned(), key.id.to_string()] {
            let path = format!("/v3/api-keys/{id}{rest}");
            let reply = server.call(method, &path).json(sandbox).key(&key).send().await;
            assert_eq!((reply.status, reply.header("x-sandbox")), (status, Some("true")), "{path}");
            if status == 200 {
                assert_eq!(reply.json()["data"]["id"], json!(id), "{path}");
            }
        }
    }
    assert!(works(&server, &key).await);
    let list = server.get("/v3/api-keys").key(&key).send().await.json();
    assert_eq!(list["data"]["pagination"]["total_count"], 1);
}

#[tokio::test]
async fn a_key_that_was_replaced_makes_none_that_outlives_its_grace() {
    let server = TestServer::start().await;
    let permissions = [Permission::ApiKeysWrite].into_iter().collect();
    let key = server.issue(KeyOf { permissions, expires_at: None, ..server.usual() }).await;
    keys::rotate(server.app(), &Actor::Operator, key.id, DAY_MILLIS).await.expect("it is good");
    let never = json!({"name": "x", "permissions": [], "expires_at": null});
    let refused = create(&server, &key, never).await;
    assert_eq!(refused.verdict(), "400 VALIDATION_001", "{refused:?}");
    let usual = create(&server, &key, json!({"name": "x", "permissions": []})).await;
    assert_eq!(usual.status, 201, "{usual:?}");
    assert_eq!(usual.json()["data"]["expires_at"], "2024-01-02T00:00:00Z", "{usual:?}");
    // What never expires and ends with the same grace outlives nobody: itself.
    let path = format!("/v3/api-keys/{}", key.id);
    let renamed = server.call("PATCH", &path).json(r#"{"name":"y"}"#).key(&key).send().await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
}

/// Names are kept and shown: a key that somebody pasted there would stand in the database in clear.
#[tokio::test]
async fn a_key_that_was_pasted_as_a_name_is_refused_and_other_uuids_are_not() {
    let server = TestServer::start().await;
    let permissions = PermissionSet::ALL;
    let key = server.issue(KeyOf { permissions, ..server.usual() }).await;
    let revoked = server.key().await;
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it is good");
    let path = format!("/v3/api-keys/{}", key.id);
    let new = |name: &str| json!({ "name": name, "permissions": ["contacts:read"] });
    let told = "must not hold an API key";
    for clear in [&key.clear, &revoked.clear] {
        for text in
            [clear.clone(), format!("for {clear}!"), clear.replace('-', ""), clear.to_uppercase()]
        {
            server.advance(60_000);
            let url = format!("https://crm.example/hook?key={}", text.replace(' ', "+"));
            let email = format!("{}@example.com", text.replace([' ', '!'], "."));
            for (method, path, field, body) in [
                ("POST", "/v3/api-keys", "name", new(&text)),
                ("PATCH", path.as_str(), "name", json!({ "name": text })),
                (
                    "POST",
                    "/v3/webhooks",
                    "display_name",
                    json!({ "display_name": text, "endpoint_url": "https://crm.example/hook",
                            "event_types": ["contact"] }),
                ),
                (
                    "POST",
                    "/v3/webhooks",
                    "endpoint_url",
                    json!({ "display_name": "CRM", "endpoint_url": url,
                            "event_types": ["contact"] }),
                ),
                (
                    "POST",
                    "/v3/users",
                    "name",
                    json!({ "email": "bob@example.com", "name": text, "role": "billing" }),
                ),
                (
                    "POST",
                    "/v3/users",
                    "email",
                    json!({ "email": email, "name": "Bob", "role": "billing" }),
                ),
            ] {
                let call = server.call(method, path).json(&body.to_string());
                let reply = call.key(&key).send().await;
                assert_eq!(reply.verdict(), "400 VALIDATION_001", "{body} {reply:?}");
                let faults = reply.json()["error"]["details"][field].to_string();
                assert!(faults.contains(told), "{field} {reply:?}");
                assert!(!reply.whole().contains(&text), "{reply:?}");
            }
        }
    }
    let tenant = "for 5e884898-da28-4047-9151-56a1d0e2f3b4";
    let (id, _) = made(&create(&server, &key, new(tenant)).await);
    let shown = server.get(&format!("/v3/api-keys/{id}")).key(&key).send().await.json();
    assert_eq!(shown["data"]["name"], tenant);
}
