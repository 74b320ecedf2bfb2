//! Contract 9: what is sent to webhooks, how it is signed, and what happens when it does not arrive.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward::app::webhooks::deliver;
use keyward::app::{Actor, keys, people};
use keyward_core::account::Environment;
use keyward_core::role::Role;
use keyward_store::webhook_events::{self, EventStatus};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::receiver::{Behave, Received, Receiver};
use crate::support::{KeyOf, Reply, TestKey, TestServer};

/// A server, a receiver, and a test key that makes webhooks for it.
struct Scene {
    server: TestServer,
    receiver: Receiver,
    key: TestKey,
}

/// A webhook as its maker has it.
struct Hook {
    path: String,
    id: String,
    secret: String,
}

impl Scene {
    async fn new() -> Self {
        let server = TestServer::start_with(|settings| {
            settings.rate_limit_standard = 1_000_000;
            settings.rate_limit_sensitive = 1000;
        })
        .await;
        let key = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
        Self { server, receiver: Receiver::start().await, key }
    }

    async fn hook(&self, change: Value) -> Hook {
        hook(&self.server, &self.key, &self.receiver.url(), change).await
    }

    async fn contact(&self, number: &str) -> String {
        let reply = self.call("POST", "/v3/contacts", json!({ "phone_number": number })).await;
        reply.json()["data"]["id"].as_str().expect("an id").to_owned()
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let call = self.server.call(method, path).json(&body.to_string()).key(&self.key);
        let reply = call.send().await;
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        reply
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.server.get(path).key(&self.key).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["data"].clone()
    }

    /// The events of a webhook, newest first, once none is on its way or about to be.
    async fn events(&self, hook: &Hook) -> Vec<Value> {
        loop {
            let data = self.get(&format!("{}/events?page_size=100", hook.path)).await;
            let events = data["events"].as_array().expect("a list").clone();
            // The oldest that is not done is the one that is tried.
            let is_done = |event: &&Value| {
                event["delivery_status"] == "delivered" || event["delivery_status"] == "failed"
            };
            let first = events.iter().rev().find(|event| !is_done(event));
            let is_waiting = |event: &Value| {
                event["delivery_status"] == "pending" && event["delivery_attempts"] != 0
            };
            if first.is_none_or(is_waiting) {
                return events;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn hook(server: &TestServer, key: &TestKey, url: &str, change: Value) -> Hook {
    let mut body = json!({
        "display_name": "CRM", "endpoint_url": url, "event_types": ["contact"], "retry_count": 2,
        "timeout_seconds": 5,
    });
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    let reply = server.post("/v3/webhooks", &body.to_string()).key(key).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let data = reply.json()["data"].clone();
    let text = |name: &str| data[name].as_str().expect("a text").to_owned();
    let id = text("id");
    Hook { path: format!("/v3/webhooks/{id}"), secret: text("signing_secret"), id }
}

/// The signature by another implementation than the server's: HMAC written out over SHA-256.
pub(crate) fn signature(secret: &str, received: &Received) -> String {
    use sha2::{Digest as _, Sha256};

    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let pad = |byte: u8| -> Vec<u8> {
        (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ byte).collect()
    };
    let id = received.header("x-webhook-id").expect("an id");
    let timestamp = received.header("x-webhook-timestamp").expect("a time");
    let input = format!("{id}.{timestamp}.{}", received.body);
    let inner = Sha256::digest([pad(0x36), input.into_bytes()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    format!("v1,{}", STANDARD.encode(outer))
}

fn check_signed(received: &Received, secret: &str) {
    let expected = signature(secret, received);
    assert_eq!(received.header("x-webhook-signature"), Some(expected.as_str()));
}

fn event_of(received: &Received) -> String {
    received.json()["event"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn an_event_arrives_signed_and_whole_and_is_written_down() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    let body = json!({ "phone_number": "+14155550123" });
    let reply = scene.call("POST", "/v3/contacts", body).await;
    let id = reply.json()["data"]["id"].clone();
    let received = scene.receiver.next().await;
    assert_eq!(received.line, format!("POST {} HTTP/1.1", scene.receiver.path));
    check_signed(&received, &hook.secret);
    let header = |name: &str| received.header(name).expect(name).to_owned();
    assert_eq!(header("x-webhook-id"), hook.id);
    assert_eq!(header("x-webhook-timestamp"), "1704067200");
    assert_eq!(header("x-webhook-event-type"), "contact.created");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("host"), scene.receiver.address.to_string());
    assert_eq!(received.header("x-webhook-signature-previous"), None);
    let expected = json!({
        "field": "contact", "event": "contact.created", "sub_type": "contact.created",
        "timestamp": "2024-01-01T00:00:00Z",
        "request_id": reply.header("x-request-id").expect("every answer has one"),
        "payload": {
            "account_id": scene.server.account.id.to_string(), "contact_id": id,
            "phone_number": "+14155550123", "opt_out": false, "source": "API", "channel": "sms",
            "from": null, "to": null, "text": null,
        },
    });
    assert_eq!(received.json(), expected);
    let events = scene.events(&hook).await;
    let expected = json!([{
        "id": header("x-webhook-event-id"), "event_type": "contact.created",
        "event_data": expected, "delivery_status": "delivered", "delivery_attempts": 1,
        "http_status_code": 200, "response_body": "ok", "error_message": null,
        "created_at": "2024-01-01T00:00:00Z", "processing_started_at": "2024-01-01T00:00:00Z",
        "processing_completed_at": "2024-01-01T00:00:00Z",
    }]);
    assert_eq!(json!(events), expected);
    let webhook = scene.get(&hook.path).await;
    let at = json!("2024-01-01T00:00:00Z");
    assert_eq!(
        (&webhook["last_delivery_attempt_at"], &webhook["last_successful_delivery_at"]),
        (&at, &at)
    );
}

#[tokio::test]
async fn every_event_is_made_by_what_it_is_named_after_and_in_order() {
    let mut scene = Scene::new().await;
    let families = json!({ "event_types": ["contact", "api_key", "user"] });
    scene.hook(families).await;
    let id = scene.contact("+14155550123").await;
    let path = format!("/v3/contacts/{id}");
    scene.call("PATCH", &path, json!({ "opt_out": true })).await;
    scene.call("PATCH", &path, json!({ "opt_out": false })).await;
    scene.call("PATCH", &path, json!({ "default_channel": "whatsapp" })).await;
    scene.call("PATCH", &path, json!({})).await;
    scene.call("DELETE", &path, json!({})).await;
    let user = json!({ "email": "bob@example.com", "name": "Bob", "role": "admin" });
    let user = scene.call("POST", "/v3/users", user).await.json();
    let other = json!({ "email": "eve@example.com", "name": "Eve", "role": "admin" });
    scene.call("POST", "/v3/users", other).await;
    let user = format!("/v3/users/{}", user["data"]["id"].as_str().expect("an id"));
    scene.call("PATCH", &user, json!({ "role": "developer" })).await;
    scene.call("DELETE", &user, json!({})).await;
    let (app, operator) = (scene.server.app(), &Actor::Operator);
    let of = KeyOf { environment: Environment::Test, ..scene.server.usual() };
    let key = scene.server.issue(of).await;
    keys::disable(app, operator, key.id).await.expect("it works");
    keys::enable(app, operator, key.id).await.expect("it is off");
    let (next, _) = keys::rotate(app, operator, key.id, 0).await.expect("it works");
    keys::revoke(app, operator, next.record.id).await.expect("it works");
    let expected = [
        "contact.created",
        "contact.updated",
        "contact.opt_out",
        "contact.updated",
        "contact.opt_in",
        "contact.updated",
        "contact.deleted",
        "user.invited",
        "user.invited",
        "user.role_changed",
        "user.removed",
        "api_key.created",
        "api_key.disabled",
        "api_key.enabled",
        "api_key.rotated",
        "api_key.created",
        "api_key.revoked",
    ];
    for name in expected {
        let received = scene.receiver.next().await;
        assert_eq!(event_of(&received), name);
        assert!(!received.body.contains(&key.clear), "{}", received.body);
        if name == "user.role_changed" {
            let payload = received.json()["payload"].clone();
            let roles = (&payload["previous_role"], &payload["role"]);
            assert_eq!(roles, (&json!("admin"), &json!("developer")));
        }
    }
    assert!(scene.receiver.is_quiet());
}

#[tokio::test]
async fn expiring_expired_and_alerts_are_told_once_each_across_restarts() {
    let mut scene = Scene::new().await;
    scene.hook(json!({ "event_types": ["api_key"] })).await;
    scene.server.running().check_alerts().await.expect("the store answers");
    let at = scene.server.app().clock.wall() + 20 * 86_400_000;
    let of = KeyOf { environment: Environment::Test, expires_at: Some(at), ..scene.server.usual() };
    let key = scene.server.issue(of).await;
    assert_eq!(event_of(&scene.receiver.next().await), "api_key.created");
    for (days, expected) in
        [(5, vec![]), (1, vec!["api_key.alert", "api_key.expiring"]), (14, vec!["api_key.expired"])]
    {
        scene.server.advance(days * 86_400_000);
        for _ in 0..2 {
            scene.server.running().check_alerts().await.expect("the store answers");
        }
        scene.server.restart().await;
        scene.server.running().check_alerts().await.expect("the store answers");
        for name in expected {
            let received = scene.receiver.next().await;
            assert_eq!(event_of(&received), name);
            assert_eq!(received.json()["payload"]["api_key_id"], key.id.to_string());
        }
    }
    assert!(scene.receiver.is_quiet());
}

#[tokio::test]
async fn a_webhook_hears_what_it_asked_for_of_its_own_environment_and_account() {
    let mut scene = Scene::new().await;
    let filters = json!({
        "event_types": ["contact", "user"], "event_filters": { "contact": ["opt_out"] },
    });
    let hook = scene.hook(filters).await;
    let off = scene.hook(json!({})).await;
    let switch = json!({ "is_active": false });
    scene.call("PATCH", &format!("{}/toggle-status", off.path), switch).await;
    let real = scene.server.key().await;
    let body = r#"{"phone_number":"+14155550123"}"#;
    let made = scene.server.post("/v3/contacts", body).key(&real).send().await;
    let path = format!("/v3/contacts/{}", made.json()["data"]["id"].as_str().expect("an id"));
    let opt_out = scene.server.call("PATCH", &path).json(r#"{"opt_out":true}"#).key(&real);
    assert_eq!(opt_out.send().await.status, 200);
    let (app, operator) = (scene.server.app(), &Actor::Operator);
    let account = scene.server.account.id;
    let invited = people::invite(app, operator, account, "Bob", "bob@example.com", Role::Admin);
    invited.await.expect("it is right");
    let id = scene.contact("+14155550123").await;
    let sandbox = json!({ "opt_out": true, "sandbox": true });
    scene.call("PATCH", &format!("/v3/contacts/{id}"), sandbox).await;
    scene.call("PATCH", &format!("/v3/contacts/{id}"), json!({ "opt_out": true })).await;
    let received = scene.receiver.next().await;
    assert_eq!(event_of(&received), "contact.opt_out");
    assert_eq!(received.json()["payload"]["contact_id"], id);
    assert_eq!(scene.events(&hook).await.len(), 1);
    assert_eq!(scene.events(&off).await.len(), 0);
    assert!(scene.receiver.is_quiet());
}

#[tokio::test]
async fn what_fails_is_tried_again_with_growing_pauses_freshly_signed_and_holds_up_what_follows() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({ "retry_count": 5 })).await;
    scene.receiver.will([500, 404, 429, 503, 302].map(Behave::Status));
    scene.contact("+14155550120").await;
    scene.contact("+14155550121").await;
    let first = scene.receiver.next().await;
    let mut timestamps = vec![first.header("x-webhook-timestamp").map(str::to_owned)];
    for (attempt, pause) in [1000, 5000, 30_000, 120_000, 600_000].into_iter().enumerate() {
        let waiting = &scene.events(&hook).await[1];
        assert_eq!(waiting["delivery_status"], "pending", "{waiting}");
        assert_eq!(waiting["delivery_attempts"], attempt + 1);
        // Not before its time.
        scene.server.advance(pause - 1);
        deliver::turn(&scene.server.running().app).await.expect("the store answers");
        assert!(scene.receiver.is_quiet(), "too early after attempt {attempt}");
        // Up to a fifth is added by chance.
        scene.server.advance(1 + pause / 5);
        let again = scene.receiver.next().await;
        check_signed(&again, &hook.secret);
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("x-webhook-event-id"), first.header("x-webhook-event-id"));
        timestamps.push(again.header("x-webhook-timestamp").map(str::to_owned));
    }
    timestamps.dedup();
    assert_eq!(timestamps.len(), 6, "each attempt is signed as of its own time");
    let second = scene.receiver.next().await;
    assert!(second.body.contains("+14155550121"), "the second comes after the first is done");
    let events = scene.events(&hook).await;
    assert_eq!(
        (&events[1]["delivery_status"], &events[1]["delivery_attempts"]),
        (&json!("delivered"), &json!(6))
    );
    let webhook = scene.get(&hook.path).await;
    assert_eq!(webhook["consecutive_failures"], 0);
}

#[tokio::test]
async fn ten_events_in_a_row_that_fail_switch_it_off_and_what_waits_is_sent_when_it_is_on_again() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({ "retry_count": 1 })).await;
    scene.receiver.will(vec![Behave::Status(500); 20]);
    for n in 0..11 {
        scene.contact(&format!("+141555501{n:02}")).await;
    }
    for n in 0..20 {
        if n % 2 == 1 {
            // The second attempt waits for its time.
            scene.events(&hook).await.iter().for_each(drop);
            scene.server.advance(1200);
        }
        scene.receiver.next().await;
    }
    // Read until the last attempt is written down.
    let webhook = loop {
        let webhook = scene.get(&hook.path).await;
        if webhook["is_active"] == false {
            break webhook;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(webhook["consecutive_failures"], 10);
    assert!(scene.receiver.is_quiet());
    scene.server.running().check_alerts().await.expect("the store answers");
    let account = scene.server.account.id;
    let open = async |server: &TestServer| {
        let list = server
            .app()
            .store
            .read(move |tx| keyward_store::alerts::list(tx, account, Some(true), 10));
        let list: Vec<_> = list.await.expect("the store answers");
        list.into_iter().map(|alert| (alert.kind.as_str(), alert.text)).collect::<Vec<_>>()
    };
    let alerts = open(&scene.server).await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(alerts[0].0 == "webhook_off" && alerts[0].1.contains("1 events wait"), "{alerts:?}");
    let switch = json!({ "is_active": true });
    let on = scene.call("PATCH", &format!("{}/toggle-status", hook.path), switch).await.json();
    assert_eq!(on["data"]["consecutive_failures"], 0);
    let waited = scene.receiver.next().await;
    assert!(waited.body.contains("+14155550110"), "{}", waited.body);
    scene.server.running().check_alerts().await.expect("the store answers");
    assert_eq!(open(&scene.server).await, []);
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_for_a_day_and_no_delivery_is_lost() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    let mut secrets = vec![hook.secret.clone()];
    for n in 0..3 {
        scene.contact(&format!("+1415555010{n}")).await;
        let rotated = scene.call("POST", &format!("{}/rotate-secret", hook.path), json!({})).await;
        let secret =
            rotated.json()["data"]["signing_secret"].as_str().expect("it is told").to_owned();
        secrets.push(secret);
    }
    for n in 0..3 {
        let received = scene.receiver.next().await;
        assert!(received.body.contains(&format!("+1415555010{n}")));
        let by = |header: &str| {
            let found = received.header(header).map(str::to_owned);
            secrets.iter().position(|secret| found == Some(signature(secret, &received)))
        };
        let now = by("x-webhook-signature").expect("by one of them");
        assert_eq!(by("x-webhook-signature-previous"), now.checked_sub(1), "the one before it");
    }
    scene.server.restart().await;
    scene.server.advance(24 * 3_600_000 - 1);
    scene.contact("+14155550105").await;
    let received = scene.receiver.next().await;
    check_signed(&received, &secrets[3]);
    let previous = signature(&secrets[2], &received);
    assert_eq!(received.header("x-webhook-signature-previous"), Some(previous.as_str()));
    scene.server.advance(1);
    scene.contact("+14155550106").await;
    let received = scene.receiver.next().await;
    check_signed(&received, &secrets[3]);
    assert_eq!(received.header("x-webhook-signature-previous"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hostile_receiver_costs_one_attempt_and_slows_no_other() {
    let mut scene = Scene::new().await;
    let mut hostile = Receiver::start().await;
    let behaviours = [
        Behave::Hang,
        Behave::Drip,
        Behave::Flood,
        Behave::Close,
        Behave::Break,
        Behave::Redirect(hostile.url()),
    ];
    let n_hooks = behaviours.len();
    hostile.will(behaviours);
    let mut bad = vec![];
    for _ in 0..n_hooks {
        bad.push(hook(&scene.server, &scene.key, &hostile.url(), json!({})).await);
    }
    let good = scene.hook(json!({})).await;
    scene.contact("+14155550123").await;
    let received = scene.receiver.next().await;
    check_signed(&received, &good.secret);
    for _ in 0..n_hooks {
        hostile.next().await;
    }
    let mut outcomes = vec![];
    for hook in &bad {
        let event = scene.events(hook).await[0].clone();
        let error = event["error_message"].as_str().unwrap_or("delivered").to_owned();
        let kept = event["response_body"].as_str().unwrap_or_default().len();
        assert!(kept <= 4096, "{kept}");
        outcomes.push(error);
    }
    outcomes.sort();
    let expected = [
        "answered 302; redirects are not followed",
        "delivered",
        "delivered",
        "delivered",
        "no answer within 5 s",
        "the connection was closed without an answer",
    ];
    assert_eq!(outcomes, expected);
    assert!(hostile.is_quiet(), "the redirect was not followed");
}

#[tokio::test]
async fn a_test_is_sent_once_whatever_comes_of_it_and_counts_as_nothing() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    let switch = json!({ "is_active": false });
    scene.call("PATCH", &format!("{}/toggle-status", hook.path), switch).await;
    let path = format!("{}/test", hook.path);
    let body = json!({ "event_type": "user.invited" });
    let told = scene.call("POST", &path, body.clone()).await.json();
    let expected = json!({ "success": true, "message": "Test event delivered successfully" });
    assert_eq!(told["data"], expected);
    let received = scene.receiver.next().await;
    check_signed(&received, &hook.secret);
    assert_eq!(event_of(&received), "user.invited");
    for _ in 0..12 {
        scene.receiver.will([Behave::Status(500)]);
        let told = scene.call("POST", &path, body.clone()).await.json();
        let message = "Test event was not delivered: answered 500";
        assert_eq!(told["data"], json!({ "success": false, "message": message }));
        scene.receiver.next().await;
    }
    // A twin with the same Idempotency-Key is not sent again.
    let call = || {
        let call = scene.server.post(&path, &body.to_string()).key(&scene.key);
        call.header("idempotency-key", "t")
    };
    let first = call().send().await;
    assert_eq!(call().send().await.body, first.body);
    scene.receiver.next().await;
    assert!(scene.receiver.is_quiet());
    let webhook = scene.get(&hook.path).await;
    assert_eq!(webhook["consecutive_failures"], 0);
    let events = scene.events(&hook).await;
    assert_eq!(events.len(), 14);
    assert_eq!(
        (&events[1]["delivery_status"], &events[1]["delivery_attempts"]),
        (&json!("failed"), &json!(1))
    );
    let found = scene.get(&format!("{}/events?search=failed", hook.path)).await;
    assert_eq!(found["pagination"]["total_count"], 12);
}

/// The key was good when the head came; by the time that the body came it had been taken away.
#[tokio::test]
async fn a_key_that_is_revoked_while_a_body_is_on_its_way_has_no_webhook_tried() {
    const GO_ON: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    let usual = scene.server.usual();
    let late = scene.server.issue(KeyOf { environment: Environment::Test, ..usual }).await;
    let body = r#"{"event_type":"user.invited"}"#;
    let head = format!(
        "POST {}/test HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n\
         content-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        hook.path,
        late.clear,
        body.len()
    );
    let mut held = TcpStream::connect(scene.server.address()).await.expect("it listens");
    held.write_all(head.as_bytes()).await.expect("it reads");
    // It asks for the body when the key has passed the door.
    let mut word = [0; GO_ON.len()];
    held.read_exact(&mut word).await.expect("it answers");
    assert_eq!(&word, GO_ON);
    keys::revoke(scene.server.app(), &Actor::Operator, late.id).await.expect("it is good");
    held.write_all(body.as_bytes()).await.expect("it reads");
    let mut answer = vec![];
    held.read_to_end(&mut answer).await.expect("it answers");
    let answer = Reply::parse(&answer);
    assert_eq!(answer.verdict(), "403 AUTH_004", "{answer:?}");
    assert!(scene.receiver.is_quiet());
    assert_eq!(scene.events(&hook).await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_waited_when_the_server_stopped_is_sent_by_the_next_one_and_nothing_twice() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    scene.receiver.will([Behave::Status(500)]);
    scene.contact("+14155550120").await;
    scene.contact("+14155550121").await;
    let first = scene.receiver.next().await;
    scene.events(&hook).await.iter().for_each(drop);
    scene.server.restart().await;
    assert!(scene.receiver.is_quiet(), "it waits for its time");
    scene.server.advance(1200);
    let again = scene.receiver.next().await;
    assert_eq!(again.header("x-webhook-event-id"), first.header("x-webhook-event-id"));
    assert!(scene.receiver.next().await.body.contains("+14155550121"));
    let events = scene.events(&hook).await;
    assert!(events.iter().all(|event| event["delivery_status"] == "delivered"), "{events:?}");
    scene.server.restart().await;
    deliver::turn(&scene.server.running().app).await.expect("the store answers");
    assert!(scene.receiver.is_quiet());
    // Sent again by hand, it is the same event.
    let scope = keyward_store::contacts::Scope {
        account: scene.server.account.id,
        environment: Environment::Test,
    };
    let id = first.header("x-webhook-event-id").expect("an id").parse().expect("an id");
    let webhook = hook.id.parse().expect("an id");
    let app = scene.server.app();
    let again = keyward::app::webhooks::send_again(app, &Actor::Operator, scope, webhook, id).await;
    assert_eq!(again.expect("it is done").status, EventStatus::Delivered);
    let received = scene.receiver.next().await;
    assert_eq!(received.body, first.body);
    let events = scene.events(&hook).await;
    assert_eq!(events[1]["delivery_attempts"], 3);
    let attempts = scene.server.app().store.read(move |tx| webhook_events::attempts(tx, id)).await;
    let attempts = attempts.expect("the store answers");
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.http_status).collect();
    assert_eq!(statuses, [Some(500), Some(200), Some(200)]);
}

#[tokio::test]
async fn the_address_is_checked_at_each_connection_not_only_when_it_was_registered() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    // The rule changes under it, as the name of a host might.
    scene.server.change_settings(|s| s.webhook_http = keyward::config::HttpRule::Never);
    scene.server.restart().await;
    scene.contact("+14155550123").await;
    let event = scene.events(&hook).await[0].clone();
    let error = event["error_message"].as_str().expect("it failed");
    assert!(error.contains("https://") || error.contains("public internet"), "{error}");
    assert!(scene.receiver.is_quiet());
}

#[tokio::test]
async fn a_certificate_must_be_good_and_one_can_be_trusted_by_a_setting() {
    let names = vec![String::from("127.0.0.1")];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).expect("it can be made");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut scene = Scene::new().await;
    scene.receiver = Receiver::start_with(Some(acceptor)).await;
    let url = scene.receiver.url();
    let hook = hook(&scene.server, &scene.key, &url, json!({})).await;
    scene.contact("+14155550123").await;
    let event = scene.events(&hook).await[0].clone();
    let error = event["error_message"].as_str().expect("it failed").to_owned();
    assert!(error.starts_with("TLS failed: invalid peer certificate"), "{error}");
    assert!(scene.receiver.is_quiet());
    let file = scene.server.data_dir().join("ca.pem");
    std::fs::write(&file, cert.pem()).expect("the folder is ours");
    scene.server.change_settings(|settings| settings.webhook_ca_file = Some(file));
    scene.server.restart().await;
    scene.server.advance(1200);
    check_signed(&scene.receiver.next().await, &hook.secret);
}

#[tokio::test]
async fn events_are_forgotten_after_their_days_and_go_with_their_webhook() {
    let mut scene = Scene::new().await;
    let hook = scene.hook(json!({})).await;
    scene.contact("+14155550120").await;
    scene.receiver.next().await;
    assert_eq!(scene.events(&hook).await.len(), 1);
    scene.server.advance(30 * 24 * 3_600_000 + 1);
    scene.contact("+14155550121").await;
    scene.receiver.next().await;
    scene.server.running().check_alerts().await.expect("the store answers");
    let events = scene.events(&hook).await;
    assert_eq!(events.len(), 1);
    assert!(events[0].to_string().contains("+14155550121"));
    scene.call("DELETE", &hook.path, json!({})).await;
    let id: keyward_core::id::EventId =
        events[0]["id"].as_str().expect("an id").parse().expect("an id");
    let webhook: keyward_core::id::WebhookId =
        hook.path.rsplit('/').next().expect("its id").parse().expect("an id");
    let gone = scene.server.app().store.read(move |tx| webhook_events::find(tx, webhook, id)).await;
    assert_eq!(gone.expect("the store answers"), None);
}
