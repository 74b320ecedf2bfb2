//! What belongs to another account is not there: the bytes of the answer, and the work behind it, are
//! those for an identifier that never was. Every route of the table with an identifier in its path, and
//! the identifiers that a query or a header may name. Contract 2, 8 and 10.

use keyward::app::webhooks::{self, WebhookEdit};
use keyward::app::{Actor, people, sessions};
use keyward::server::routes::{ENDPOINTS, Endpoint, Handler};
use keyward_core::account::{AccountKind, Environment};
use keyward_core::id::{AccountId, AlertId, EventId, PasskeyId, UserId};
use keyward_core::permission::Permission;
use keyward_core::role::Role;
use keyward_store::alerts::{self, Alert, AlertKind};
use keyward_store::contacts::Scope;
use keyward_store::passkeys::{self, StoredPasskey};
use keyward_store::webhook_events::{self, Event, EventStatus};
use keyward_tower::Access;

use crate::dashboard::{Browser, PASSWORD, form, member_of};
use crate::support::{BEGIN, Call, KeyOf, Reply, TestKey, TestServer};

/// An identifier that never was, of each kind.
const NEVER: &str = "01900000-0000-7000-8000-000000000000";
const NEVER_REQUEST: &str = "req_00000000000000000zzz";

/// Everything of one account that has an identifier.
struct Things {
    key: TestKey,
    contact: String,
    user: UserId,
    webhook: String,
    event: String,
    api_key: String,
    alert: String,
    request: String,
    session: String,
    passkey: String,
    cookie: String,
    address: String,
}

fn id_of(reply: &Reply) -> String {
    assert!(reply.status < 300, "{reply:?}");
    reply.json()["data"]["id"].as_str().expect("an id").to_owned()
}

/// Makes one of each in an account, and an admin who is signed in.
async fn things_of(
    server: &TestServer,
    account: AccountId,
    environment: Environment,
    number: u8,
) -> Things {
    let app = server.app();
    let permissions = Permission::ALL.into_iter().collect();
    let key = server.issue(KeyOf { account, environment, permissions, ..server.usual() }).await;
    let made =
        async |path: &str, body: &str| id_of(&server.post(path, body).key(&key).send().await);
    let contact = made("/v3/contacts", r#"{"phone_number":"+14155550123"}"#).await;
    let api_key =
        made("/v3/api-keys", r#"{"name":"second","permissions":["contacts:read"]}"#).await;
    let email = format!("admin-{number}@example.com");
    let user = match environment {
        Environment::Production => member_of(server, account, &email, Role::Admin).await,
        Environment::Test => {
            let body = format!(r#"{{"email":"{email}","name":"N","role":"admin"}}"#);
            made("/v3/users", &body).await.parse().expect("an id")
        }
    };
    // Last, so that it hears of nothing of the above.
    let scope = Scope { account, environment };
    let edit = WebhookEdit {
        display_name: Some(String::from("CRM")),
        endpoint_url: Some(String::from("https://crm.example/hook")),
        event_types: Some(vec![String::from("user")]),
        ..WebhookEdit::default()
    };
    let finish = |_: &mut keyward_store::Tx<'_>, made: webhooks::Made| Ok(made.webhook.id);
    let webhook = webhooks::create(app, &Actor::Operator, scope, edit, finish).await;
    let webhook = webhook.expect("it is right");
    let asked = server.get("/v3/me").key(&key).send().await;
    let request = asked.header("x-request-id").expect("every answer has one").to_owned();
    let event = Event {
        id: EventId::from_bytes([number; 16]),
        webhook,
        event_type: String::from("user.invited"),
        body: String::from("{}"),
        status: EventStatus::Delivered,
        is_test: false,
        attempts: 1,
        tries: 1,
        http_status: Some(200),
        response_body: None,
        error: None,
        created_at: BEGIN,
        started_at: Some(BEGIN),
        completed_at: Some(BEGIN),
    };
    let alert = Alert {
        id: AlertId::from_bytes([number; 16]),
        account,
        kind: AlertKind::NewNetwork,
        key: Some(key.id),
        subject: key.id.to_string(),
        text: String::from("A key is used from a new network."),
        raised_at: BEGIN,
        to_mail: false,
        ended_at: None,
        snoozed_until: None,
        mailed_at: None,
        mail_fault: None,
    };
    let passkey = StoredPasskey {
        id: PasskeyId::from_bytes([number; 16]),
        user,
        credential: vec![number],
        host: String::from("localhost"),
        name: String::from("Laptop"),
        public_key: String::from("{}"),
        added_at: BEGIN,
        used_at: None,
    };
    let ids = (event.id.to_string(), alert.id.to_string(), passkey.id.to_string());
    let written = app.store.write(move |tx| {
        webhook_events::insert(tx, &event)?;
        alerts::raise(tx, &alert)?;
        passkeys::insert(tx, &passkey)
    });
    written.await.expect("there is room");
    let (mut cookie, mut session) = (String::new(), String::new());
    if environment == Environment::Production {
        let mut browser = Browser::new(server);
        // Twice: one session to ask with, and one to ask about.
        for _ in 0..2 {
            assert_eq!(browser.sign_in(&email, PASSWORD).await.status, 303);
        }
        cookie = browser.cookie;
        let member = people::find_by_email(app, &email, None).await.expect("it joined");
        let person = keyward::app::actor::Person {
            user: member.id,
            account,
            role: member.role,
            address: [127, 0, 0, 1].into(),
        };
        let own = sessions::list(app, person).await.expect("the store answers");
        let token = cookie.split_once('=').expect("a cookie").1;
        let entered = sessions::enter(app, token, person.address).await.expect("it answers");
        let this = entered.expect("it is good").session.id;
        let other = own.iter().find(|session| session.id != this).expect("there are two");
        session = other.id.to_string();
    }
    Things {
        key,
        contact,
        user,
        webhook: webhook.to_string(),
        event: ids.0,
        api_key,
        alert: ids.1,
        request,
        session,
        passkey: ids.2,
        cookie,
        address: email,
    }
}

impl Things {
    /// The identifier that a pattern asks for.
    fn id(&self, pattern: &str) -> String {
        let families = [
            ("/v3/contacts/", &self.contact),
            ("/v3/webhooks/", &self.webhook),
            ("/v3/api-keys/", &self.api_key),
            ("/keys/", &self.api_key),
            ("/webhooks/", &self.webhook),
            ("/requests/", &self.request),
            ("/alerts/", &self.alert),
            ("/profile/sessions/", &self.session),
            ("/profile/passkeys/", &self.passkey),
        ];
        if pattern.starts_with("/v3/users/") || pattern.starts_with("/team/") {
            return self.user.to_string();
        }
        let found = families.iter().find(|(start, _)| pattern.starts_with(start));
        found.map_or_else(
            || panic!("{pattern} names nothing that is made here"),
            |(_, id)| (*id).clone(),
        )
    }
}

/// The answer without what is new in each: its identifier, and what is left of the limit.
fn bare(reply: &Reply, id: &str) -> String {
    let request = reply.header("x-request-id").expect("every answer has one").to_owned();
    let lines = reply.whole();
    let lines = lines.lines().filter(|line| {
        !line.starts_with("x-ratelimit-remaining: ") && !line.starts_with("x-response-time: ")
    });
    lines.collect::<Vec<_>>().join("\n").replace(&request, "REQUEST").replace(id, "ID")
}

/// Sends the same nine times and gives the answer with the least that was asked of the store meanwhile:
/// what the server does beside adds to it now and then, and takes nothing away.
async fn work<'a>(server: &TestServer, call: impl Fn() -> Call<'a>) -> (Reply, [u64; 2]) {
    let count = || {
        let work = server.app().store.work();
        [work.statements(), work.rows()]
    };
    let mut least = [u64::MAX; 2];
    let mut last = None;
    for _ in 0..9 {
        let before = count();
        last = Some(call().send().await);
        let after = count();
        least = [0, 1].map(|at| least[at].min(after[at] - before[at]));
    }
    (last.expect("it was sent"), least)
}

/// Compares what is answered about something of somebody else with what is answered about nothing.
async fn check_alike<'a>(
    server: &TestServer,
    what: &str,
    theirs: (&str, impl Fn() -> Call<'a>),
    never: (&str, impl Fn() -> Call<'a>),
) {
    let (of_theirs, work_for_theirs) = work(server, theirs.1).await;
    let (of_never, work_for_never) = work(server, never.1).await;
    assert_eq!(of_theirs.status, 404, "{what}: {of_theirs:?}");
    assert_eq!(bare(&of_theirs, theirs.0), bare(&of_never, never.0), "{what}: the same bytes");
    assert_eq!(work_for_theirs, work_for_never, "{what}: statements and rows");
}

fn with_id(endpoint: &&Endpoint) -> bool {
    endpoint.pattern.contains("{id}")
}

fn generous(settings: &mut keyward::config::Settings) {
    settings.rate_limit_standard = 1_000_000;
    settings.rate_limit_sensitive = 1_000_000;
    settings.rate_limit_webhook_test = 1_000_000;
}

fn body_of(endpoint: &Endpoint) -> &'static str {
    match endpoint.pattern {
        "/v3/users/{id}" if endpoint.method == "PATCH" => r#"{"role":"admin"}"#,
        "/v3/webhooks/{id}/toggle-status" => r#"{"is_active":true}"#,
        "/v3/webhooks/{id}/test" => r#"{"event_type":"contact.created"}"#,
        _ => "{}",
    }
}

#[tokio::test]
async fn for_a_key_what_belongs_to_others_is_not_there_to_the_byte_and_to_the_query() {
    let server = TestServer::start_with(generous).await;
    let other = server.new_account("Other", AccountKind::Organization).await.id;
    let own = things_of(&server, server.account.id, Environment::Production, 1).await;
    let theirs = [
        things_of(&server, other, Environment::Production, 2).await,
        things_of(&server, server.account.id, Environment::Test, 3).await,
    ];
    let is_v3 = |endpoint: &&Endpoint| endpoint.access != Access::Open;
    let mut n_compared = 0;
    for endpoint in ENDPOINTS.iter().filter(is_v3).filter(with_id) {
        let ask = |id: &str| {
            let call = server.call(endpoint.method, &endpoint.pattern.replace("{id}", id));
            let call = if endpoint.method == "GET" { call } else { call.json(body_of(endpoint)) };
            call.key(&own.key)
        };
        for them in &theirs {
            let id = them.id(endpoint.pattern);
            let what = format!("{} {}", endpoint.method, endpoint.pattern);
            check_alike(&server, &what, (&id, || ask(&id)), (NEVER, || ask(NEVER))).await;
            n_compared += 1;
        }
    }
    assert!(n_compared >= 40, "{n_compared}");
    // A profile that is another account's, or none at all.
    let stranger = other.to_string();
    let ask = |id: &str| server.get("/v3/me").key(&own.key).header("x-profile-id", id);
    let what = "x-profile-id";
    check_alike(&server, what, (&stranger, || ask(&stranger)), (NEVER, || ask(NEVER))).await;
    // Nothing was done to what is theirs, and all of it is there for its own.
    for them in &theirs {
        for (path, id) in [
            ("contacts", &them.contact),
            ("webhooks", &them.webhook),
            ("api-keys", &them.api_key),
            ("users", &them.user.to_string()),
        ] {
            let reply = server.get(&format!("/v3/{path}/{id}")).key(&them.key).send().await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
        }
    }
    for endpoint in ENDPOINTS.iter().filter(is_v3).filter(with_id) {
        // What is removed is gone, and a test would look for its receiver.
        if endpoint.method == "DELETE" || endpoint.pattern.ends_with("/test") {
            continue;
        }
        let path = endpoint.pattern.replace("{id}", &own.id(endpoint.pattern));
        let call = server.call(endpoint.method, &path);
        let call = if endpoint.method == "GET" { call } else { call.json(body_of(endpoint)) };
        let reply = call.key(&own.key).send().await;
        assert_ne!(reply.status, 404, "what is one's own is there: {path}: {reply:?}");
    }
}

/// The fields that a form needs to get as far as looking for what it is about.
fn fields_of(pattern: &str, them: &Things) -> Vec<(&'static str, String)> {
    let field = |name, value: &str| (name, value.to_owned());
    match pattern {
        "/keys/{id}/edit" => {
            vec![field("name", "x"), field("access", "read"), field("expiry", "keep")]
        }
        "/keys/{id}/rotate" => vec![field("grace", "0")],
        "/keys/{id}/revoke" => vec![field("name", "second")],
        "/webhooks/{id}/delete" => vec![field("name", "CRM")],
        "/webhooks/{id}/test" => vec![field("event", "contact.created")],
        "/webhooks/{id}/again" => vec![field("event", &them.event)],
        "/team/{id}/role" => vec![field("role", "billing")],
        "/team/{id}/remove" => vec![field("email", &them.address)],
        "/profile/passkeys/{id}/name" => vec![field("name", "Desk")],
        _ => vec![],
    }
}

#[tokio::test]
async fn for_a_member_what_belongs_to_others_is_not_there_to_the_byte_and_to_the_query() {
    let server = TestServer::start_with(generous).await;
    let other = server.new_account("Other", AccountKind::Organization).await.id;
    let own = things_of(&server, server.account.id, Environment::Production, 1).await;
    let them = things_of(&server, other, Environment::Production, 2).await;
    server.running().flush_records().await.expect("there is room");
    let never_of =
        |pattern: &str| if pattern.starts_with("/requests") { NEVER_REQUEST } else { NEVER };
    let is_page = |endpoint: &&Endpoint| matches!(endpoint.handler, Handler::Page(..));
    let ask = |method: &str, path: &str, fields: &[(&'static str, String)]| {
        let call = server.call(method, path).header("cookie", &own.cookie);
        if method == "GET" {
            return call;
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let call = call.header("origin", "http://localhost");
        call.header("content-type", "application/x-www-form-urlencoded").body(form(&fields))
    };
    let mut n_compared = 0;
    for endpoint in ENDPOINTS.iter().filter(is_page).filter(with_id) {
        let (method, pattern) = (endpoint.method, endpoint.pattern);
        let (id, never) = (them.id(pattern), never_of(pattern));
        let fields = fields_of(pattern, &them);
        let path = |id: &str| pattern.replace("{id}", id);
        let (of_theirs, of_never) = (path(&id), path(never));
        check_alike(
            &server,
            &format!("{method} {pattern}"),
            (&id, || ask(method, &of_theirs, &fields)),
            (never, || ask(method, &of_never, &fields)),
        )
        .await;
        n_compared += 1;
    }
    assert!(n_compared >= 30, "{n_compared}");
    // Identifiers that a query names.
    let hook = &own.webhook;
    for (start, id, never) in [
        ("/requests?key=".to_owned(), &them.api_key, NEVER),
        (format!("/webhooks/{hook}?event="), &them.event, NEVER),
    ] {
        let (of_theirs, of_never) = (format!("{start}{id}"), format!("{start}{never}"));
        check_alike(
            &server,
            &start,
            (id, || ask("GET", &of_theirs, &[])),
            (never, || ask("GET", &of_never, &[])),
        )
        .await;
    }
    // And what is one's own is there.
    for endpoint in ENDPOINTS.iter().filter(is_page).filter(with_id) {
        if endpoint.method != "GET" {
            continue;
        }
        let path = endpoint.pattern.replace("{id}", &own.id(endpoint.pattern));
        let reply = ask("GET", &path, &[]).send().await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    let reply = server.get("/v3/me").key(&them.key).send().await;
    assert_eq!(reply.status, 200, "nothing was done to what is theirs");
    let trail = ask("GET", "/audit", &[]).send().await.body;
    assert!(!trail.contains("Other") && !trail.contains(&them.api_key), "{trail}");
}

#[tokio::test]
async fn a_sign_in_asks_the_store_as_much_for_an_unknown_address_as_for_a_wrong_password() {
    let server = TestServer::start().await;
    let account = server.account.id;
    member_of(&server, account, "owner@example.com", Role::Owner).await;
    let out = member_of(&server, account, "outer@example.com", Role::Admin).await;
    people::suspend(server.app(), &Actor::Operator, account, out).await.expect("it is active");
    for name in ["Second", "Third"] {
        let other = server.new_account(name, AccountKind::Organization).await.id;
        member_of(&server, other, "share@example.com", Role::Admin).await;
    }
    let attempt = |email: &'static str| {
        // So that nobody is slowed down for what was wrong before.
        server.advance(16 * 60_000);
        let call = server.call("POST", "/login").header("origin", "http://localhost");
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body(form(&[("email", email), ("password", "wrong wrong wrong")]))
    };
    let mut statements = vec![];
    for email in
        ["nobod@example.com", "owner@example.com", "outer@example.com", "share@example.com"]
    {
        let (reply, [n_statements, _]) = work(&server, || attempt(email)).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        statements.push(n_statements);
    }
    assert_eq!(statements, [statements[0]; 4]);
}
