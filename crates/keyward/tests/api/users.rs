//! Contract 8 and 10: members over the API.

use keyward::app::accounts::{self, Setup};
use keyward::app::people;
use keyward_core::account::{AccountKind, Environment};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::role::Role;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::{BareServer, KeyOf, Reply, TestKey, TestServer};

async fn invite(server: &TestServer, key: &TestKey, email: &str, role: &str) -> Reply {
    let body = json!({ "email": email, "name": "Bob", "role": role }).to_string();
    server.post("/v3/users", &body).key(key).send().await
}

fn id_of(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["data"]["id"].as_str().expect("an id").to_owned()
}

async fn list(server: &TestServer, key: &TestKey, query: &str) -> Value {
    let reply = server.get(&format!("/v3/users{query}")).key(key).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["data"].clone()
}

#[tokio::test]
async fn a_member_is_invited_read_changed_and_removed() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let made = invite(&server, &key, "Bob@example.com", "developer").await;
    let id = id_of(&made);
    let at = "2024-01-01T00:00:00Z";
    let user = json!({
        "id": id, "customer_id": server.account.id.to_string(), "email": "Bob@example.com",
        "name": "Bob", "role": "developer", "status": "invited", "invited_at": at,
        "last_login_at": null, "created_at": at, "updated_at": at,
    });
    assert_eq!(made.json()["data"], user);
    let path = format!("/v3/users/{id}");
    assert_eq!(server.get(&path).key(&key).send().await.json()["data"], user);
    server.advance(5000);
    let change = server.call("PATCH", &path).json(r#"{"role":"admin"}"#).key(&key).send().await;
    assert_eq!(change.status, 200);
    let changed = change.json()["data"].clone();
    assert_eq!(
        (&changed["role"], &changed["updated_at"]),
        (&json!("admin"), &json!("2024-01-01T00:00:05Z"))
    );
    let page = list(&server, &key, "").await;
    assert_eq!(page["users"], json!([changed]));
    assert_eq!(page["pagination"]["total_count"], 1);
    // Inviting again renews: the same member, as asked for now.
    let again = invite(&server, &key, "bob@EXAMPLE.com", "billing").await;
    assert_eq!((id_of(&again), &again.json()["data"]["role"]), (id.clone(), &json!("billing")));
    let removed = server.call("DELETE", &path).json("{}").key(&key).send().await;
    assert_eq!((removed.status, removed.body.as_str()), (204, ""));
    for method in ["GET", "DELETE"] {
        let gone = server.call(method, &path).key(&key).send().await;
        assert_eq!(gone.verdict(), "404 RESOURCE_006");
    }
    let nobody = json!([]);
    assert_eq!(list(&server, &key, "").await["users"], nobody);
}

#[tokio::test]
async fn an_invitation_leads_into_the_dashboard_and_who_is_in_is_not_invited_again() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let id = id_of(&invite(&server, &key, "bob@example.com", "developer").await);
    let (app, account) = (server.app(), server.account.id);
    // The dashboard makes a link to hand over.
    let role = Role::Developer;
    let linked = people::invite(
        app,
        &keyward::app::Actor::Operator,
        account,
        "Bob",
        "bob@example.com",
        role,
    );
    let linked = linked.await.expect("it is invited only");
    assert_eq!(linked.user.id.to_string(), id);
    let visitor = keyward::app::sessions::Visitor {
        address: "192.0.2.1".parse().expect("an address"),
        agent: String::new(),
    };
    let kind = keyward_store::sessions::LinkKind::Invitation;
    let password = Zeroizing::new(String::from("correct horse battery"));
    let taken =
        people::take_link(app, kind, linked.token.reveal(), password.clone(), &visitor).await;
    taken.expect("the link is good");
    let path = format!("/v3/users/{id}");
    let user = async || server.get(&path).key(&key).send().await.json()["data"].clone();
    assert_eq!(
        (&user().await["status"], &user().await["last_login_at"]),
        (&json!("active"), &Value::Null)
    );
    server.advance(7000);
    let entered = keyward::app::sessions::sign_in(app, "bob@example.com", password, &visitor).await;
    entered.expect("the password is right");
    assert_eq!(user().await["last_login_at"], "2024-01-01T00:00:07Z");
    let taken = invite(&server, &key, "bob@example.com", "admin").await;
    assert_eq!(taken.verdict(), "409 RESOURCE_007");
    assert_eq!(taken.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn the_owner_is_not_there_for_a_key_and_cannot_be_invited_changed_or_removed() {
    let bare = BareServer::start().await;
    let setup = Setup {
        account: String::from("Acme"),
        owner_name: String::from("Ada"),
        owner_email: String::from("ada@example.com"),
        password: Zeroizing::new(String::from("correct horse battery")),
    };
    let (account, owner) = accounts::set_up(bare.app(), setup, None).await.expect("it is new");
    let server = TestServer::of(bare, account);
    let key = server.key().await;
    assert_eq!(list(&server, &key, "").await["users"], json!([]));
    let path = format!("/v3/users/{}", owner.id);
    for (method, body) in [("GET", "{}"), ("PATCH", r#"{"role":"admin"}"#), ("DELETE", "{}")] {
        let reply = server.call(method, &path).json(body).key(&key).send().await;
        assert_eq!(reply.verdict(), "404 RESOURCE_006", "{method}");
    }
    let taken = invite(&server, &key, "ada@example.com", "developer").await;
    assert_eq!(taken.verdict(), "409 RESOURCE_007");
    // With an owner, the last admin may go.
    let id = id_of(&invite(&server, &key, "bob@example.com", "admin").await);
    let gone = server.call("DELETE", &format!("/v3/users/{id}")).key(&key).send().await;
    assert_eq!(gone.status, 204);
}

#[tokio::test]
async fn the_last_admin_stays_while_there_is_no_owner() {
    let server = TestServer::start().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let first = id_of(&invite(&server, &test, "a@example.com", "admin").await);
    let path = format!("/v3/users/{first}");
    let remove = server.call("DELETE", &path).key(&test).send().await;
    assert_eq!(remove.verdict(), "400 VALIDATION_001");
    assert!(remove.body.contains("The last admin"), "{}", remove.body);
    let demote = server.call("PATCH", &path).json(r#"{"role":"billing"}"#).key(&test).send().await;
    assert_eq!(demote.verdict(), "400 VALIDATION_001");
    id_of(&invite(&server, &test, "b@example.com", "admin").await);
    assert_eq!(server.call("DELETE", &path).key(&test).send().await.status, 204);
}

#[tokio::test]
async fn what_is_wrong_with_an_invitation_is_told_all_at_once() {
    let server = TestServer::start_with(|settings| settings.rate_limit_sensitive = 100).await;
    let key = server.key().await;
    let check = async |body: Value, expected: Value| {
        let reply = server.post("/v3/users", &body.to_string()).key(&key).send().await;
        assert_eq!(reply.verdict(), "400 VALIDATION_001", "{body}");
        assert_eq!(reply.json()["error"]["details"], expected, "{body}");
    };
    let roles = "Role must be one of: admin, billing, developer";
    let valid = "Email must be a valid email address";
    check(
        json!({}),
        json!({
            "email": ["Email is required"], "name": ["Name is required"],
            "role": ["Role is required"],
        }),
    )
    .await;
    let body = json!({"email": "nobody", "name": "x".repeat(101), "role": "owner"});
    let long = "Name must not be longer than 100 characters";
    check(body, json!({"email": [valid], "name": [long], "role": [roles]})).await;
    let body = json!({"email": 1, "name": [], "role": {}, "sandbox": "yes"});
    let expected = json!({
        "email": ["email must be a string"], "name": ["name must be a string"],
        "role": ["role must be a string"], "sandbox": ["sandbox must be true or false"],
    });
    check(body, expected).await;
    for role in ["Admin", "ADMIN", "", "god"] {
        let body = json!({"email": "a@example.com", "name": "A", "role": role});
        check(body, json!({"role": [roles]})).await;
    }
    for email in ["a b@example.com", "@example.com", "a@b", "a@example.com\r\nBcc: x@y.z"] {
        let body = json!({"email": email, "name": "A", "role": "admin"});
        check(body, json!({"email": [valid]})).await;
    }
    let patch = server.call("PATCH", "/v3/users/nonsense").json(r#"{"role":"admin"}"#);
    assert_eq!(patch.key(&key).send().await.verdict(), "400 VALIDATION_003");
}

#[tokio::test]
async fn test_members_are_apart_and_no_account_sees_anothers() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let real = id_of(&invite(&server, &key, "bob@example.com", "developer").await);
    let trial = id_of(&invite(&server, &test, "bob@example.com", "admin").await);
    for (stranger, id) in [(&test, &real), (&other, &real), (&key, &trial), (&other, &trial)] {
        let path = format!("/v3/users/{id}");
        for (method, body) in [("GET", "{}"), ("PATCH", r#"{"role":"admin"}"#), ("DELETE", "{}")] {
            let reply = server.call(method, &path).json(body).key(stranger).send().await;
            assert_eq!(reply.verdict(), "404 RESOURCE_006", "{method}");
        }
    }
    // Those of test data are nobody to the dashboard, and there is no link for them.
    let members = people::list(server.app(), server.account.id).await.expect("the store answers");
    let ids: Vec<String> = members.iter().map(|member| member.user.id.to_string()).collect();
    assert_eq!(ids, [real]);
    let found = people::find_by_email(server.app(), "bob@example.com", None).await;
    assert_eq!(found.expect("one of them is real").role, Role::Developer);
}

#[tokio::test]
async fn sandbox_answers_as_if_and_permissions_and_the_sensitive_pool_hold() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let body = r#"{"email":"bob@example.com","name":"Bob","role":"admin","sandbox":true}"#;
    let made = server.post("/v3/users", body).key(&key).send().await;
    assert_eq!((made.status, made.header("x-sandbox")), (201, Some("true")));
    assert_eq!(made.header("x-ratelimit-limit"), Some("10"));
    assert_eq!(made.json()["data"]["email"], "bob@example.com");
    let unknown = "00000000-0000-4000-8000-000000000000";
    let path = format!("/v3/users/{unknown}");
    let patch = server.call("PATCH", &path).json(r#"{"role":"billing","sandbox":true}"#);
    let patch = patch.key(&key).send().await;
    assert_eq!((patch.status, patch.header("x-sandbox")), (200, Some("true")));
    assert_eq!(
        (&patch.json()["data"]["id"], &patch.json()["data"]["role"]),
        (&json!(unknown), &json!("billing"))
    );
    let delete = server.call("DELETE", &path).json(r#"{"sandbox":true}"#).key(&key).send().await;
    assert_eq!((delete.status, delete.header("x-sandbox")), (204, Some("true")));
    assert_eq!(list(&server, &key, "").await["users"], json!([]));
    let permissions: PermissionSet = [Permission::UsersRead].into_iter().collect();
    let reader = server.issue(KeyOf { permissions, ..server.usual() }).await;
    assert_eq!(
        invite(&server, &reader, "bob@example.com", "admin").await.verdict(),
        "403 AUTH_004"
    );
    for _ in 0..8 {
        assert_ne!(invite(&server, &key, "nobody", "admin").await.status, 429);
    }
    assert_eq!(
        invite(&server, &key, "bob@example.com", "admin").await.verdict(),
        "429 BUSINESS_002"
    );
    assert_eq!(list(&server, &key, "").await["users"], json!([]));
}
