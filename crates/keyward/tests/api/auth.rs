//! Contract 1 to 4: keys, the guide's answers, who a key speaks for.

use keyward::app::{Actor, accounts, keys};
use keyward_core::account::{AccountKind, AccountState, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS};

use crate::support::{BEGIN, KeyOf, TestKey, TestServer};

#[tokio::test]
async fn without_a_key_the_guides_first_answer_is_given_to_the_byte() {
    let server = TestServer::start().await;
    let reply = server.get("/v3/contacts").send().await;
    assert_eq!(
        reply.whole(),
        r#"401
content-type: application/json
www-authenticate: ApiKey realm="v3", header="x-api-key"
x-request-id: req_00000000000000000002
x-api-version: v3
x-response-time: 0ms
content-length: 286

{
  "success": false,
  "error": {
    "code": "AUTH_001",
    "message": "User is not authenticated",
    "doc_url": "https://docs.sent.dm/errors/AUTH_001"
  },
  "meta": {
    "request_id": "req_00000000000000000002",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#
    );
}

#[tokio::test]
async fn a_key_that_is_not_good_is_answered_alike_whatever_is_wrong_with_it() {
    let server = TestServer::start().await;
    let app = server.app();
    let good = server.key().await;
    let expired = KeyOf { expires_at: Some(BEGIN + 1), ..server.usual() };
    let expired = server.issue(expired).await;
    let (disabled, revoked, rotated) = (server.key().await, server.key().await, server.key().await);
    keys::disable(app, &Actor::Operator, disabled.id).await.expect("it is enabled");
    keys::revoke(app, &Actor::Operator, revoked.id).await.expect("it is not revoked");
    keys::rotate(app, &Actor::Operator, rotated.id, 0).await.expect("it is usable");
    let elsewhere =
        KeyOf { networks: vec!["203.0.113.0/24".parse().expect("a network")], ..server.usual() };
    let elsewhere = server.issue(elsewhere).await;
    server.advance(1);
    let text = |key: &TestKey| key.clear.clone().into_bytes();
    let cut = good.clear.as_bytes()[..35].to_vec();
    let unknown = b"00000000-0000-4000-8000-000000000000".to_vec();
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("unknown", unknown),
        ("expired", text(&expired)),
        ("disabled", text(&disabled)),
        ("revoked", text(&revoked)),
        ("rotated away", text(&rotated)),
        ("from elsewhere", text(&elsewhere)),
        ("cut short", cut),
        ("in braces", format!("{{{}}}", good.clear).into_bytes()),
        ("as a URN", format!("urn:uuid:{}", good.clear).into_bytes()),
        ("without hyphens", good.clear.replace('-', "").into_bytes()),
        ("36 bytes that are not ASCII", "é".repeat(18).into_bytes()),
        ("quoted", format!("\"{}\"", good.clear).into_bytes()),
        ("twice in one", format!("{0}, {0}", good.clear).into_bytes()),
        ("bearer", format!("Bearer {}", good.clear).into_bytes()),
    ];
    for (what, key) in wrong {
        let reply = server.get("/v3/me").header("x-api-key", &key).send().await;
        let id = reply.header("x-request-id").expect("every answer has one").to_owned();
        assert_eq!(
            reply.whole().replace(&id, "req_xxx"),
            r#"401
content-type: application/json
www-authenticate: ApiKey realm="v3", header="x-api-key"
x-request-id: req_xxx
x-api-version: v3
x-response-time: 0ms
content-length: 287

{
  "success": false,
  "error": {
    "code": "AUTH_002",
    "message": "Invalid or expired API key",
    "doc_url": "https://docs.sent.dm/errors/AUTH_002"
  },
  "meta": {
    "request_id": "req_xxx",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#,
            "{what}"
        );
    }
    assert_eq!(server.get("/v3/me").key(&good).send().await.status, 200);
}

#[tokio::test]
async fn a_key_that_lacks_the_permission_gets_the_guides_third_answer_to_the_byte() {
    let server = TestServer::start().await;
    let key = KeyOf { permissions: PermissionSet::READ_ONLY, ..server.usual() };
    let key = server.issue(key).await;
    let reply = server.post("/v3/contacts", "{}").key(&key).send().await;
    let id = reply.header("x-request-id").expect("every answer has one").to_owned();
    assert_eq!(
        reply.whole().replace(&id, "req_xxx"),
        r#"403
content-type: application/json
x-request-id: req_xxx
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-response-time: 0ms
content-length: 304

{
  "success": false,
  "error": {
    "code": "AUTH_004",
    "message": "Insufficient permissions for this operation",
    "doc_url": "https://docs.sent.dm/errors/AUTH_004"
  },
  "meta": {
    "request_id": "req_xxx",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#
    );
}

#[tokio::test]
async fn only_one_x_api_key_header_counts_and_nothing_else() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let check = async |call: crate::support::Call<'_>, expected: &str| {
        assert_eq!(call.send().await.verdict(), expected);
    };
    check(server.get("/v3/me").header("X-API-KEY", &key.clear), "200").await;
    check(server.get("/v3/me").header("x-api-key", key.clear.to_uppercase()), "200").await;
    check(server.get("/v3/me").header("x-api-key", ""), "401 AUTH_001").await;
    check(server.get("/v3/me").header("x-api-key", "   "), "401 AUTH_001").await;
    // HTTP takes the space around a header's value away; the key itself has none.
    check(server.get("/v3/me").header("x-api-key", format!("  {}  ", key.clear)), "200").await;
    check(server.get("/v3/me").key(&key).key(&key), "401 AUTH_002").await;
    let bearer = format!("Bearer {}", key.clear);
    check(server.get("/v3/me").header("authorization", bearer), "401 AUTH_001").await;
    check(server.get(&format!("/v3/me?x-api-key={}", key.clear)), "401 AUTH_001").await;
    let body = format!("{{\"x-api-key\":\"{}\"}}", key.clear);
    check(server.post("/v3/contacts", &body), "401 AUTH_001").await;
}

#[tokio::test]
async fn me_tells_whose_key_it_is_and_what_it_may_do() {
    let server = TestServer::start().await;
    let key = KeyOf {
        environment: Environment::Test,
        permissions: [Permission::ContactsRead].into_iter().collect(),
        ..server.usual()
    };
    let key = server.issue(key).await;
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!(
        reply.json()["data"],
        serde_json::json!({
            "id": server.account.id.to_string(), "type": "organization", "name": "Acme",
            "email": "ada@example.com", "icon": null, "description": null,
            "created_at": "2024-01-01T00:00:00Z", "organization_id": null, "short_name": null,
            "status": null, "settings": null, "profiles": [],
            "channels": {
                "sms": {"configured": false}, "whatsapp": {"configured": false},
                "rcs": {"configured": false},
            },
            "sending_phone_number": null, "sending_phone_number_profile_id": null,
            "enable_template_auto_creation_for_sp": false,
            "api_key": {
                "id": key.id.to_string(), "name": "billing job", "environment": "test",
                "permissions": ["contacts:read"], "created_at": "2024-01-01T00:00:00Z",
                "expires_at": "2024-03-31T00:00:00Z",
            },
        })
    );
    assert!(!reply.body.contains(&key.clear));
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let server = TestServer::start().await;
    let key = server.key().await;
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    keys::revoke(server.app(), &Actor::Operator, key.id).await.expect("it is not revoked");
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "401 AUTH_002");
}

#[tokio::test]
async fn a_disabled_key_works_again_when_it_is_enabled() {
    let server = TestServer::start().await;
    let key = server.key().await;
    keys::disable(server.app(), &Actor::Operator, key.id).await.expect("it is enabled");
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "401 AUTH_002");
    keys::enable(server.app(), &Actor::Operator, key.id).await.expect("it is disabled");
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
}

#[tokio::test]
async fn a_key_expires_at_the_very_millisecond_without_a_sweep() {
    let server = TestServer::start().await;
    let key = KeyOf { expires_at: Some(BEGIN + HOUR_MILLIS), ..server.usual() };
    let key = server.issue(key).await;
    server.advance(HOUR_MILLIS.unsigned_abs() - 1);
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    server.advance(1);
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "401 AUTH_002");
}

#[tokio::test]
async fn a_rotated_key_works_until_its_grace_is_over_and_its_successor_from_the_start() {
    let server = TestServer::start().await;
    let old = server.key().await;
    server.advance(DAY_MILLIS.unsigned_abs());
    let rotated = keys::rotate(server.app(), &Actor::Operator, old.id, HOUR_MILLIS).await;
    let (issued, _) = rotated.expect("it is usable");
    let new = TestKey { id: issued.record.id, clear: issued.key.reveal().to_string() };
    assert_ne!(old.clear, new.clear);
    assert_eq!(
        issued.record.expires_at,
        Some(BEGIN + 91 * DAY_MILLIS),
        "a life of the same length"
    );
    for key in [&old, &new] {
        assert_eq!(server.get("/v3/me").key(key).send().await.verdict(), "200");
    }
    server.advance(HOUR_MILLIS.unsigned_abs());
    assert_eq!(server.get("/v3/me").key(&old).send().await.verdict(), "401 AUTH_002");
    assert_eq!(server.get("/v3/me").key(&new).send().await.verdict(), "200");
}

#[tokio::test]
async fn a_clock_set_back_lets_no_closed_key_in_and_frees_no_window() {
    let server = TestServer::start_with(|settings| settings.rate_limit_standard = 2).await;
    let (good, revoked, disabled) = (server.key().await, server.key().await, server.key().await);
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it is not revoked");
    keys::disable(server.app(), &Actor::Operator, disabled.id).await.expect("it is enabled");
    for expected in ["200", "200", "429 BUSINESS_002"] {
        assert_eq!(server.get("/v3/me").key(&good).send().await.verdict(), expected);
    }
    server.clock.set_wall(BEGIN + -30 * DAY_MILLIS);
    for key in [&revoked, &disabled] {
        assert_eq!(server.get("/v3/me").key(key).send().await.verdict(), "401 AUTH_002");
    }
    let reply = server.get("/v3/me").key(&good).send().await;
    assert_eq!(reply.verdict(), "429 BUSINESS_002");
    assert_eq!(reply.header("retry-after"), Some("60"));
    server.advance(60_000);
    assert_eq!(server.get("/v3/me").key(&good).send().await.verdict(), "200");
}

#[tokio::test]
async fn an_account_that_may_not_be_used_is_told_so_but_can_look_at_its_key() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let id = server.account.id;
    for (state, code) in [
        (AccountState::Suspended, "AUTH_005"),
        (AccountState::VerificationPending, "AUTH_006"),
        (AccountState::ChannelPending, "AUTH_007"),
    ] {
        accounts::set_state(server.app(), &Actor::Operator, id, state)
            .await
            .expect("another state");
        let reply = server.get("/v3/contacts").key(&key).send().await;
        assert_eq!(reply.verdict(), format!("403 {code}"));
        assert_eq!(reply.remaining(), Some(200), "it spends nothing");
        // Nobody learns which routes exist.
        let reply = server.get("/v3/nothing").key(&key).send().await;
        assert_eq!(reply.verdict(), format!("403 {code}"));
    }
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    accounts::set_state(server.app(), &Actor::Operator, id, AccountState::Active)
        .await
        .expect("another state");
    assert_eq!(server.get("/v3/contacts").key(&key).send().await.verdict(), "200");
}

#[tokio::test]
async fn an_organization_acts_for_its_profiles_and_nobody_else_does() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let profile = server.new_account("Acme Shop", AccountKind::Profile).await;
    let stranger = server.new_account("Other", AccountKind::Organization).await;
    let profile_key = KeyOf { account: profile.id, ..server.usual() };
    let profile_key = server.issue(profile_key).await;
    let as_profile =
        |key: &TestKey, id: &str| server.get("/v3/me").key(key).header("x-profile-id", id);
    let reply = as_profile(&key, &profile.id.to_string()).send().await;
    assert_eq!(reply.verdict(), "200");
    assert_eq!(reply.header("x-profile-id"), Some(profile.id.to_string().as_str()));
    let data = &reply.json()["data"];
    assert_eq!((&data["id"], &data["type"]), (&profile.id.to_string().into(), &"profile".into()));
    assert_eq!(data["organization_id"], server.account.id.to_string());
    assert_eq!(data["status"], "approved");
    assert_eq!(data["settings"]["inherit_contacts"], false);
    assert_eq!(reply.remaining(), Some(199), "the organization's pool is spent");

    let check = async |key: &TestKey, id: &str, expected: &str| {
        let reply = as_profile(key, id).send().await;
        assert_eq!(reply.verdict(), expected, "{id}");
        assert_eq!(reply.header("x-profile-id"), None);
    };
    check(&key, "not-a-uuid", "400 VALIDATION_003").await;
    check(&key, &stranger.id.to_string(), "404 RESOURCE_004").await;
    check(&key, "00000000-0000-4000-8000-000000000000", "404 RESOURCE_004").await;
    check(&profile_key, &profile.id.to_string(), "403 AUTH_004").await;

    let contact = r#"{"phone_number":"+14155550123"}"#;
    let id = profile.id.to_string();
    let made = server.post("/v3/contacts", contact).key(&key).header("x-profile-id", &id);
    let made = made.send().await.json();
    assert_eq!(made["data"]["customer_id"], id);
    let path = format!("/v3/contacts/{}", made["data"]["id"].as_str().expect("a text"));
    assert_eq!(server.get(&path).key(&key).send().await.verdict(), "404 RESOURCE_001");
    assert_eq!(server.get(&path).key(&profile_key).send().await.verdict(), "200");
    let me = server.get("/v3/me").key(&key).send().await.json();
    assert_eq!(me["data"]["profiles"][0]["id"], id);
}

#[tokio::test]
async fn a_key_works_from_its_networks_and_forwarded_addresses_count_from_trusted_proxies_only() {
    let server = TestServer::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let network = vec!["203.0.113.0/24".parse().expect("a network")];
    let key = server.issue(KeyOf { networks: network, ..server.usual() }).await;
    let from = async |forwarded: &str| {
        let call = server.get("/v3/me").key(&key).header("x-forwarded-for", forwarded);
        call.send().await.verdict()
    };
    assert_eq!(from("203.0.113.7").await, "200");
    assert_eq!(from("198.51.100.1, 203.0.113.7").await, "200");
    assert_eq!(from("203.0.113.7, 198.51.100.1").await, "401 AUTH_002");
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "401 AUTH_002");
}

#[tokio::test]
async fn a_key_in_a_request_from_a_web_page_is_answered_without_cors_and_noted() {
    let mut server = TestServer::start().await;
    let key = server.key().await;
    let call = server.get("/v3/me").key(&key).header("origin", "https://app.example.com");
    let reply = call.send().await;
    assert_eq!(reply.verdict(), "200");
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")));
    let preflight = server.call("OPTIONS", "/v3/me").header("origin", "https://app.example.com");
    assert_eq!(preflight.send().await.verdict(), "401 AUTH_001");
    server.stop().await;
    assert!(server.logged.text().contains("\"from_browser\":true"));
}
