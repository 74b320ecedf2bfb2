//! Who may do what: every route of the table with every kind of caller, and each answer is the one that
//! the row promises. Contract 2, 4 and 10.

use std::collections::BTreeSet;

use keyward::app::{Actor, accounts, keys, people};
use keyward::server::routes::{ENDPOINTS, Endpoint, Handler};
use keyward_core::account::{AccountKind, AccountState, Environment, RateClass};
use keyward_core::id::AccountId;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::role::Role;
use keyward_tower::Access;

use crate::dashboard::{Browser, between, form, member, member_of};
use crate::secrets::{base32, code_of};
use crate::support::{BEGIN, KeyOf, Reply, TestKey, TestServer};

use keyward::dashboard::{Confirms, Entry};

/// An identifier that is nobody's.
const NOBODY: &str = "01900000-0000-7000-8000-000000000000";
const PASSWORD: &str = crate::dashboard::PASSWORD;

/// What a row below `/v3` is asked with, so that whoever is let in gets this answer.
const CALLS: &[(&str, &str, &str)] = &[
    ("GET /v3/me", "{}", "200"),
    ("GET /v3/contacts", "{}", "200"),
    ("POST /v3/contacts", r#"{"sandbox":true,"phone_number":"+14155550123"}"#, "201"),
    ("GET /v3/contacts/{id}", "{}", "404 RESOURCE_001"),
    ("PATCH /v3/contacts/{id}", "{}", "404 RESOURCE_001"),
    ("DELETE /v3/contacts/{id}", "{}", "404 RESOURCE_001"),
    ("GET /v3/contacts/{id}/message-summary", "{}", "404 RESOURCE_001"),
    ("GET /v3/users", "{}", "200"),
    (
        "POST /v3/users",
        r#"{"sandbox":true,"email":"a@example.com","name":"A","role":"admin"}"#,
        "201",
    ),
    ("GET /v3/users/{id}", "{}", "404 RESOURCE_006"),
    ("PATCH /v3/users/{id}", r#"{"role":"admin"}"#, "404 RESOURCE_006"),
    ("DELETE /v3/users/{id}", "{}", "404 RESOURCE_006"),
    ("GET /v3/webhooks", "{}", "200"),
    (
        "POST /v3/webhooks",
        r#"{"sandbox":true,"display_name":"A","endpoint_url":"https://crm.example/hook",
            "event_types":["contact"]}"#,
        "201",
    ),
    ("GET /v3/webhooks/event-types", "{}", "200"),
    ("GET /v3/webhooks/{id}", "{}", "404 RESOURCE_008"),
    ("PUT /v3/webhooks/{id}", "{}", "404 RESOURCE_008"),
    ("DELETE /v3/webhooks/{id}", "{}", "404 RESOURCE_008"),
    ("GET /v3/webhooks/{id}/events", "{}", "404 RESOURCE_008"),
    ("PATCH /v3/webhooks/{id}/toggle-status", r#"{"is_active":true}"#, "404 RESOURCE_008"),
    ("POST /v3/webhooks/{id}/rotate-secret", "{}", "404 RESOURCE_008"),
    ("POST /v3/webhooks/{id}/test", r#"{"event_type":"contact.created"}"#, "404 RESOURCE_008"),
    ("GET /v3/api-keys", "{}", "200"),
    ("POST /v3/api-keys", r#"{"sandbox":true,"name":"A","permissions":[]}"#, "201"),
    ("DELETE /v3/api-keys/self", r#"{"sandbox":true}"#, "204"),
    ("GET /v3/api-keys/{id}", "{}", "404 REQUEST_008"),
    ("PATCH /v3/api-keys/{id}", "{}", "404 REQUEST_008"),
    ("DELETE /v3/api-keys/{id}", "{}", "404 REQUEST_008"),
    ("POST /v3/api-keys/{id}/rotate", "{}", "404 REQUEST_008"),
    ("POST /v3/api-keys/{id}/disable", "{}", "404 REQUEST_008"),
    ("POST /v3/api-keys/{id}/enable", "{}", "404 REQUEST_008"),
];

fn name_of(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.pattern)
}

fn path_of(endpoint: &Endpoint) -> String {
    let name = if endpoint.pattern.starts_with("/docs") { "contacts" } else { "app.css" };
    let names = [("{id}", NOBODY), ("{token}", "x"), ("{code}", "AUTH_001"), ("{name}", name)];
    names.iter().fold(endpoint.pattern.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// What a request proves of whoever sends it.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Nothing.
    Nobody,
    /// A key that is not good.
    BadKey,
    /// A key of an account that may not be used, with the code that tells so.
    Closed(&'static str),
    /// A good key.
    Key(PermissionSet),
    /// A good key that asks for a profile which is not to be had.
    NoProfile(&'static str),
    /// A member, in a session that is good.
    Member(Role),
    /// The same, by a form of another site.
    Forged(Role),
}

struct Caller {
    name: String,
    headers: Vec<(&'static str, String)>,
    query: String,
    standing: Standing,
}

impl Caller {
    /// What is proved below `/v3`, where a session counts for nothing.
    fn standing_of_key(&self) -> Standing {
        let sends_a_key = self.headers.iter().any(|(name, _)| *name == "x-api-key");
        match self.standing {
            Standing::Member(_) | Standing::Forged(_) if sends_a_key => Standing::BadKey,
            other => other,
        }
    }
}

fn caller(name: &str, headers: &[(&'static str, &str)], standing: Standing) -> Caller {
    let own = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
    let headers = headers.iter().map(own).collect();
    Caller { name: name.to_owned(), headers, query: String::new(), standing }
}

fn with_key(name: &str, key: &TestKey, standing: Standing) -> Caller {
    caller(name, &[("x-api-key", &key.clear)], standing)
}

/// What there is to everybody: none of it may be used up by asking.
fn generous(settings: &mut keyward::config::Settings) {
    settings.rate_limit_standard = 1_000_000;
    settings.rate_limit_sensitive = 1_000_000;
    settings.rate_limit_webhook_test = 1_000_000;
    settings.rate_limit_unauthenticated = 1_000_000;
}

fn all() -> PermissionSet {
    Permission::ALL.into_iter().collect()
}

/// Every kind of caller that has a key, or should have one.
async fn with_keys(server: &TestServer) -> Vec<Caller> {
    let (app, operator) = (server.app(), &Actor::Operator);
    let of = |permissions: PermissionSet| KeyOf { permissions, ..server.usual() };
    let full = server.issue(of(all())).await;
    let mut callers = vec![
        caller("nobody", &[], Standing::Nobody),
        caller("a blank key", &[("x-api-key", "  ")], Standing::Nobody),
        caller("a bearer", &[("authorization", &full.clear)], Standing::Nobody),
        caller("a key as a cookie", &[("cookie", &full.clear)], Standing::Nobody),
        Caller {
            query: format!("?x-api-key={}", full.clear),
            ..caller("a key in the query", &[], Standing::Nobody)
        },
        caller("a malformed key", &[("x-api-key", "let me in")], Standing::BadKey),
        caller("an unknown key", &[("x-api-key", UNKNOWN)], Standing::BadKey),
        caller(
            "a key twice",
            &[("x-api-key", &full.clear), ("x-api-key", &full.clear)],
            Standing::BadKey,
        ),
    ];
    let expired = KeyOf { expires_at: Some(BEGIN + 1), ..of(all()) };
    let expired = server.issue(expired).await;
    let ended = [server.issue(of(all())).await, server.issue(of(all())).await];
    keys::disable(app, operator, ended[0].id).await.expect("it is enabled");
    keys::revoke(app, operator, ended[1].id).await.expect("it works");
    let replaced = server.issue(of(all())).await;
    keys::rotate(app, operator, replaced.id, 0).await.expect("it works");
    let elsewhere = vec!["203.0.113.0/24".parse().expect("a network")];
    let elsewhere = server.issue(KeyOf { networks: elsewhere, ..of(all()) }).await;
    server.advance(1);
    for (name, key) in [
        ("an expired key", &expired),
        ("a disabled key", &ended[0]),
        ("a revoked key", &ended[1]),
        ("a key that was rotated away", &replaced),
        ("a key from a wrong address", &elsewhere),
    ] {
        callers.push(with_key(name, key, Standing::BadKey));
    }
    callers.push(with_key("a key for everything", &full, Standing::Key(all())));
    let upper = TestKey { clear: full.clear.to_uppercase(), ..full.clone() };
    callers.push(with_key("the same in capitals", &upper, Standing::Key(all())));
    let none = PermissionSet::default();
    callers.push(with_key("a key for nothing", &server.issue(of(none)).await, Standing::Key(none)));
    for permission in Permission::ALL {
        let (one, rest) = ([permission].into_iter().collect(), all().without(permission));
        let key = server.issue(of(one)).await;
        callers.push(with_key(&format!("a key for {permission}"), &key, Standing::Key(one)));
        let key = server.issue(of(rest)).await;
        callers.push(with_key(&format!("one for all but {permission}"), &key, Standing::Key(rest)));
    }
    let test = KeyOf { environment: Environment::Test, ..of(all()) };
    callers.push(with_key("a test key", &server.issue(test).await, Standing::Key(all())));
    callers.extend(of_other_accounts(server, &full).await);
    callers
}

const UNKNOWN: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

async fn of_other_accounts(server: &TestServer, full: &TestKey) -> Vec<Caller> {
    let key_of = async |account: AccountId| {
        server.issue(KeyOf { account, permissions: all(), ..server.usual() }).await
    };
    let mut callers = vec![];
    for (name, kind) in [("an account", AccountKind::User), ("one", AccountKind::Organization)] {
        let account = server.new_account(name, kind).await;
        let key = key_of(account.id).await;
        callers.push(with_key(&format!("a key of {name} beside"), &key, Standing::Key(all())));
    }
    for (state, code) in [
        (AccountState::Suspended, "403 AUTH_005"),
        (AccountState::VerificationPending, "403 AUTH_006"),
        (AccountState::ChannelPending, "403 AUTH_007"),
    ] {
        let account = server.new_account(code, AccountKind::Organization).await;
        let key = key_of(account.id).await;
        accounts::set_state(server.app(), &Actor::Operator, account.id, state)
            .await
            .expect("another state");
        callers.push(with_key(
            &format!("a key of a {state} account"),
            &key,
            Standing::Closed(code),
        ));
    }
    let profile = server.new_account("Shop", AccountKind::Profile).await;
    let own = key_of(profile.id).await;
    callers.push(with_key("a profile's own key", &own, Standing::Key(all())));
    let stranger = server.new_account("Stranger", AccountKind::Organization).await;
    for (name, key, id, standing) in [
        ("an organization for its profile", full, profile.id.to_string(), Standing::Key(all())),
        ("one for no profile", full, "x".to_owned(), Standing::NoProfile("400 VALIDATION_003")),
        (
            "one for a profile that is none",
            full,
            NOBODY.to_owned(),
            Standing::NoProfile("404 RESOURCE_004"),
        ),
        (
            "one for another account",
            full,
            stranger.id.to_string(),
            Standing::NoProfile("404 RESOURCE_004"),
        ),
        ("a profile for itself", &own, profile.id.to_string(), Standing::NoProfile("403 AUTH_004")),
    ] {
        let headers = [("x-api-key", key.clear.as_str()), ("x-profile-id", id.as_str())];
        callers.push(caller(name, &headers, standing));
    }
    callers
}

const ROLES: [Role; 4] = [Role::Owner, Role::Admin, Role::Developer, Role::Billing];

/// Every kind of caller that has a session, or had one.
async fn with_sessions(server: &TestServer) -> Vec<Caller> {
    let (app, operator, account) = (server.app(), &Actor::Operator, server.account.id);
    let cookie = async |email: &str| {
        let mut browser = Browser::new(server);
        assert_eq!(browser.sign_in(email, PASSWORD).await.status, 303, "{email}");
        browser.cookie
    };
    let mut callers = vec![];
    let session = |name: String, cookie: &str, standing: Standing| Caller {
        name,
        ..caller("", &[("cookie", cookie)], standing)
    };
    // Two sessions would end one another where a member ends the others.
    for role in ROLES {
        member(server, role).await;
        let cookie = cookie(&format!("{role}@example.com")).await;
        callers.push(session(format!("the {role}"), &cookie, Standing::Member(role)));
        callers.push(session(format!("the {role}, forged"), &cookie, Standing::Forged(role)));
    }
    let first = callers[0].headers[0].1.clone();
    let with_key = server.key().await;
    let both = [("cookie", first.as_str()), ("x-api-key", UNKNOWN)];
    callers.push(caller("the owner with a bad key", &both, Standing::Member(Role::Owner)));
    let twice = format!("{first}; {first}");
    callers.push(caller("two sessions at once", &[("cookie", &twice)], Standing::Nobody));
    let made_up = format!("keyward-over-http={}", "A".repeat(43));
    callers.push(caller("a session that was made up", &[("cookie", &made_up)], Standing::Nobody));
    let as_key = format!("keyward-over-http={}", with_key.clear);
    callers.push(caller("a key as a session", &[("cookie", &as_key)], Standing::Nobody));
    for (name, end) in [("suspended", 0), ("removed", 1), ("signed out", 2), ("half", 3)] {
        let email = format!("{}@example.com", name.replace(' ', "-"));
        let id = joined(server, account, &email, Role::Admin).await;
        if end == 3 {
            // As after the password and before the code.
            with_second_factor(server, &email).await;
        }
        let cookie = cookie(&email).await;
        match end {
            0 => drop(people::suspend(app, operator, account, id).await.expect("it is active")),
            1 => drop(people::remove(app, operator, account, id).await.expect("it is there")),
            2 => {
                let mut browser = Browser::with_cookie(server, &cookie);
                assert_eq!(browser.post("/logout", &[]).await.status, 303);
            }
            _ => {}
        }
        callers.push(session(format!("a member who is {name}"), &cookie, Standing::Nobody));
    }
    let other = server.new_account("Other", AccountKind::Organization).await;
    for role in ROLES {
        let email = format!("{role}@other.example");
        joined(server, other.id, &email, role).await;
        let cookie = cookie(&email).await;
        callers.push(session(format!("another account's {role}"), &cookie, Standing::Member(role)));
    }
    for state in AccountState::ALL.iter().filter(|state| **state != AccountState::Active) {
        let closed = server.new_account(state.as_str(), AccountKind::Organization).await;
        let email = format!("owner@{state}.example");
        joined(server, closed.id, &email, Role::Owner).await;
        let cookie = cookie(&email).await;
        accounts::set_state(app, operator, closed.id, *state).await.expect("another state");
        let name = format!("the owner of a {state} account");
        callers.push(session(name, &cookie, Standing::Member(Role::Owner)));
    }
    callers
}

/// Switches a second factor on, as the member's own pages do.
pub(crate) async fn with_second_factor(server: &TestServer, email: &str) {
    let mut browser = Browser::new(server);
    assert_eq!(browser.sign_in(email, PASSWORD).await.status, 303);
    let page = browser.post("/profile/second-factor", &[]).await.body;
    let secret = base32(between(&page, "<code data-secret>", "<"));
    let sealed = between(&page, "name=\"sealed\" value=\"", "\"");
    let now = server.app().clock.wall().seconds().unsigned_abs();
    let code = code_of(&secret, email, now);
    let on = [("sealed", sealed), ("code", code.as_str())];
    let reply = browser.post("/profile/second-factor/on", &on).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

async fn joined(
    server: &TestServer,
    account: AccountId,
    email: &str,
    role: Role,
) -> keyward_core::id::UserId {
    member_of(server, account, email, role).await
}

async fn ask(server: &TestServer, endpoint: &Endpoint, caller: &Caller) -> Reply {
    let path = format!("{}{}", path_of(endpoint), caller.query);
    let mut call = server.call(endpoint.method, &path);
    for (name, value) in &caller.headers {
        call = call.header(name, value);
    }
    if matches!(endpoint.handler, Handler::Page(..)) {
        let site = match caller.standing {
            Standing::Forged(_) => "https://elsewhere.example",
            _ => "http://localhost",
        };
        call = call.header("origin", site);
        if endpoint.method == "POST" {
            call = call.header("content-type", "application/x-www-form-urlencoded");
            call = call.body(form(&[("name", "x"), ("role", "admin")]));
        }
        return call.send().await;
    }
    let name = name_of(endpoint);
    let row = CALLS.iter().find(|(known, ..)| *known == name);
    let body = row.map_or("{}", |(_, body, _)| *body);
    if endpoint.method == "GET" { call.send().await } else { call.json(body).send().await }
}

/// What the row of a route below `/v3` promises.
fn promised(endpoint: &Endpoint, standing: Standing) -> String {
    let Access::Guarded { is_account_exempt, .. } = endpoint.access else {
        unreachable!("what is below /v3 asks for a key, as a test of routes says")
    };
    let name = name_of(endpoint);
    let (_, _, answer) = CALLS.iter().find(|(known, ..)| *known == name).expect("it has a row");
    let refused = match standing {
        Standing::Nobody | Standing::Member(_) | Standing::Forged(_) => Some("401 AUTH_001"),
        Standing::BadKey => Some("401 AUTH_002"),
        Standing::Closed(code) if !is_account_exempt => Some(code),
        Standing::NoProfile(verdict) => Some(verdict),
        Standing::Key(held) if endpoint.permission.is_some_and(|asked| !held.contains(asked)) => {
            Some("403 AUTH_004")
        }
        Standing::Closed(_) | Standing::Key(_) => None,
    };
    refused.unwrap_or(answer).to_owned()
}

/// True for a page that tells whoever asks that the role is another.
fn tells_of_the_role(reply: &Reply) -> bool {
    reply.status == 403 && reply.body.contains("role does not allow")
}

fn leads_to_the_sign_in(reply: &Reply) -> bool {
    let place = reply.header("location").unwrap_or_default();
    reply.status == 303 && (place == "/login" || place.starts_with("/login?"))
}

/// Whether a page did what its row promises.
fn check_page(endpoint: &Endpoint, entry: Entry, caller: &Caller, reply: &Reply) {
    let what = || format!("{}: {}: {reply:?}", caller.name, name_of(endpoint));
    assert!(reply.status < 500, "{}", what());
    let is_change = endpoint.method != "GET";
    if let (Standing::Forged(_), true) = (caller.standing, is_change) {
        assert!(reply.status == 403 && reply.body.contains("was not sent from"), "{}", what());
        return;
    }
    let role = match caller.standing {
        Standing::Member(role) | Standing::Forged(role) => Some(role),
        _ => None,
    };
    match (entry, role) {
        (Entry::Anyone, _) => {
            assert!(!tells_of_the_role(reply), "{}", what());
            // Callers bring a link that nobody was given.
            let is_opened = endpoint.pattern.contains("{token}") && reply.status / 100 == 2;
            assert!(!is_opened, "{}", what());
        }
        (Entry::Members(_), None) => assert!(leads_to_the_sign_in(reply), "{}", what()),
        (Entry::Members(roles), Some(role)) => {
            assert!(!leads_to_the_sign_in(reply), "{}", what());
            assert_eq!(!tells_of_the_role(reply), roles.contains(&role), "{}", what());
        }
    }
}

#[test]
fn every_route_below_v3_is_asked_with_something_and_nothing_else_is() {
    let is_v3 = |endpoint: &&Endpoint| endpoint.access != Access::Open;
    let built: BTreeSet<String> = ENDPOINTS.iter().filter(is_v3).map(name_of).collect();
    let asked: BTreeSet<String> = CALLS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(built, asked);
}

#[tokio::test]
async fn every_route_answers_every_kind_of_caller_as_its_row_promises() {
    let server = TestServer::start_with(generous).await;
    let mut callers = with_keys(&server).await;
    callers.extend(with_sessions(&server).await);
    // Whoever signs out has nothing left to ask with.
    let is_out = |endpoint: &&Endpoint| endpoint.pattern == "/logout";
    let (last, first): (Vec<_>, Vec<_>) = ENDPOINTS.iter().partition(is_out);
    let order: Vec<&Endpoint> = first.into_iter().chain(last).collect();
    let mut of_nobody = vec![];
    for (number, endpoint) in order.iter().enumerate() {
        for (at, caller) in callers.iter().enumerate() {
            let reply = ask(&server, endpoint, caller).await;
            match endpoint.handler {
                Handler::V3(_) | Handler::Change(_) => {
                    let expected = promised(endpoint, caller.standing_of_key());
                    let name = name_of(endpoint);
                    assert_eq!(reply.verdict(), expected, "{}: {name}: {reply:?}", caller.name);
                }
                Handler::Page(entry, _) => check_page(endpoint, entry, caller, &reply),
                // What is open is the same for everybody, whatever they bring.
                Handler::Open(_) => {
                    let same = (reply.status, reply.body.len());
                    if at == 0 {
                        of_nobody.push((number, same));
                    }
                    let known = of_nobody.last().filter(|(known, _)| *known == number);
                    assert_eq!(known.map(|(_, same)| *same), Some(same), "{}", name_of(endpoint));
                    assert!(matches!(reply.status, 200 | 204 | 303), "{reply:?}");
                }
            }
        }
    }
    // The figure in docs/promises.md.
    assert_eq!(callers.len(), 69);
    assert!(order.len() >= 115, "{}", order.len());
}

/// A row of the table, for people.
fn told(endpoint: &Endpoint) -> String {
    let asks = match (endpoint.access, endpoint.handler) {
        (Access::Guarded { class, is_account_exempt }, _) => {
            let permission = endpoint.permission.map(|p| format!(", `{p}`")).unwrap_or_default();
            let account = if is_account_exempt { ", of whatever account" } else { "" };
            let pool = match class {
                RateClass::Standard => "standard",
                RateClass::Sensitive => "sensitive",
                RateClass::WebhookTest => "webhook tests",
            };
            format!("a key{permission}{account} | {pool} |")
        }
        (Access::Open, Handler::Page(Entry::Members(roles), _)) => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            let again = match endpoint.confirms {
                Confirms::Never => "",
                Confirms::Production => "for production",
                Confirms::Always => "always",
            };
            format!("{} | {again} |", roles.join(", "))
        }
        (Access::Open, _) if endpoint.pattern.contains("{token}") => "the link | |".to_owned(),
        (Access::Open, _) => "nothing | |".to_owned(),
    };
    format!("| {} | `{}` | {asks}", endpoint.method, endpoint.pattern).replace("  |", " |")
}

#[test]
fn the_page_about_who_may_do_what_is_the_table() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/who-may-do-what.md")).expect("it is there");
    let is_row = |line: &&str| {
        ["| GET ", "| POST ", "| PUT ", "| PATCH ", "| DELETE "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    // A build without passkeys lacks their rows.
    let is_built = |line: &&str| cfg!(feature = "passkeys") || !line.contains("/passkey");
    let written: Vec<&str> = page.lines().filter(is_row).filter(is_built).collect();
    let built: Vec<String> = ENDPOINTS.iter().map(told).collect();
    let missing: Vec<&String> =
        built.iter().filter(|row| !written.contains(&row.as_str())).collect();
    let wrong: Vec<&&str> = written.iter().filter(|row| !built.iter().any(|b| b == *row)).collect();
    assert!(
        missing.is_empty() && wrong.is_empty() && written.len() == built.len(),
        "docs/who-may-do-what.md lacks\n{missing:#?}\nand has\n{wrong:#?}"
    );
}
