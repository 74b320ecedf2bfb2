//! The dashboard through its forms: who may enter what, sessions, cross-site requests, keys shown once.
//! Contract 10.

use std::collections::BTreeMap;

use keyward::app::people;
use keyward::app::sessions::Visitor;
use keyward::app::{Actor, accounts, alerts};
use keyward_core::account::{AccountState, Environment};
use keyward_core::id::{AccountId, KeyId, UserId};
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS};
use keyward_store::sessions::LinkKind;
use zeroize::Zeroizing;

use crate::support::{KeyOf, Reply, TestServer};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

fn visitor() -> Visitor {
    Visitor { address: [127, 0, 0, 1].into(), agent: String::from("test") }
}

fn password() -> Zeroizing<String> {
    Zeroizing::new(PASSWORD.to_owned())
}

/// Makes a member of an account who can sign in.
pub(crate) async fn member(server: &TestServer, role: Role) -> UserId {
    member_of(server, server.account.id, &format!("{role}@example.com"), role).await
}

pub(crate) async fn member_of(
    server: &TestServer,
    account: AccountId,
    email: &str,
    role: Role,
) -> UserId {
    let app = server.app();
    let invited = people::invite(app, &Actor::Operator, account, role.as_str(), email, role).await;
    let invited = invited.expect("it is new");
    let token = invited.token.reveal();
    let joined = people::take_link(app, LinkKind::Invitation, token, password(), &visitor()).await;
    joined.expect("the link is new").id
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

/// A browser: it keeps its cookie and says where its forms come from.
pub(crate) struct Browser<'a> {
    server: &'a TestServer,
    pub(crate) cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(server: &'a TestServer) -> Self {
        Self::with_cookie(server, "")
    }

    pub(crate) fn with_cookie(server: &'a TestServer, cookie: &str) -> Self {
        Self { server, cookie: cookie.to_owned() }
    }

    pub(crate) async fn signed_in(server: &'a TestServer, role: Role) -> Self {
        let mut browser = Self::new(server);
        let reply = browser.sign_in(&format!("{role}@example.com"), PASSWORD).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        browser
    }

    pub(crate) async fn sign_in(&mut self, email: &str, password: &str) -> Reply {
        self.post("/login", &[("email", email), ("password", password)]).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        let call = self.server.get(path).header("cookie", &self.cookie);
        self.keep(call.send().await)
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let call = self.server.call("POST", path);
        let call = call.header("cookie", &self.cookie).header("origin", "http://localhost");
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        self.keep(call.body(form(fields)).send().await)
    }

    fn keep(&mut self, reply: Reply) -> Reply {
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        reply
    }
}

#[tokio::test]
async fn a_change_that_no_page_of_ours_sent_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let key = server.key().await;
    let browser = Browser::signed_in(&server, Role::Owner).await;
    let path = format!("/keys/{}/disable", key.id);
    let attempts: [&[(&str, &str)]; 7] = [
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost.evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
    ];
    for headers in attempts {
        let mut call = server.call("POST", &path).header("cookie", &browser.cookie);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let reply = call.body("").send().await;
        assert_eq!(reply.status, 403, "{headers:?} {reply:?}");
    }
    let get = server.get(&path).header("cookie", &browser.cookie).send().await;
    assert_eq!(get.status, 405, "a link changes nothing");
    assert_eq!(server.get("/v3/me").key(&key).send().await.status, 200, "it is not disabled");
    let call = server.call("POST", &path).header("cookie", &browser.cookie);
    let own = call.header("sec-fetch-site", "same-origin").header("origin", "null");
    let own = own.header("content-type", "application/x-www-form-urlencoded").body("");
    assert_eq!(own.send().await.status, 303);
    assert_eq!(server.get("/v3/me").key(&key).send().await.status, 401, "now it is");
}

#[tokio::test]
async fn every_page_is_served_under_a_strict_policy_and_kept_by_nobody() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    for path in
        ["/overview", "/keys", "/keys/new", "/team", "/audit", "/profile", "/nothing", "/login"]
    {
        let reply = browser.get(path).await;
        let policy = reply.header("content-security-policy").unwrap_or_default();
        if path != "/nothing" {
            assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert!(!reply.body.contains(" style=") && !reply.body.contains(" onclick"), "{path}");
        }
        assert!(reply.body.len() < 100_000, "{path}: {} bytes", reply.body.len());
    }
    let cookie = server.call("POST", "/login").header("origin", "http://localhost");
    let cookie = cookie.header("content-type", "application/x-www-form-urlencoded");
    let fields = form(&[("email", "owner@example.com"), ("password", PASSWORD)]);
    let reply = cookie.body(fields).send().await;
    let cookie = reply.header("set-cookie").unwrap_or_default();
    assert!(cookie.starts_with("keyward-over-http="), "{cookie}");
    for flag in ["Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
}

#[tokio::test]
async fn behind_https_the_cookie_is_for_this_host_alone_and_secure() {
    let url = Some(String::from("https://keys.example.com"));
    let server = TestServer::start_with(|settings| settings.public_url = url).await;
    member(&server, Role::Owner).await;
    let call = server.call("POST", "/login").header("origin", "https://keys.example.com");
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let fields = form(&[("email", "owner@example.com"), ("password", PASSWORD)]);
    let reply = call.body(fields).send().await;
    let cookie = reply.header("set-cookie").unwrap_or_default();
    assert!(cookie.starts_with("__Host-keyward="), "{reply:?}");
    for flag in ["; Secure", "; HttpOnly", "; Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
}

#[tokio::test]
async fn an_unknown_member_and_a_wrong_password_get_the_same_answer() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut answers = vec![];
    for email in ["owner@example.com", "nobody@example.com"] {
        let reply = Browser::new(&server).sign_in(email, "wrong wrong wrong").await;
        assert_eq!(reply.status, 403);
        // What a passkey would be asked is new on each page; its length is the same.
        let mut body = reply.body.replace(email, "EMAIL");
        for field in ["data-options=\"", "name=\"challenge\" value=\""] {
            if let Some((before, rest)) = body.clone().split_once(field) {
                let (value, after) = rest.split_once('"').unwrap_or_default();
                body = format!("{before}{}{after}", value.len());
            }
        }
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_key_that_was_typed_where_an_address_belongs_is_not_repeated() {
    let server = TestServer::start().await;
    let key = server.key().await.clear;
    let mut browser = Browser::new(&server);
    let fields = [("email", key.as_str()), ("password", PASSWORD), ("next", "/keys?q=billing")];
    let refused = browser.post("/login", &fields).await;
    assert_eq!(refused.status, 403);
    assert!(!refused.body.contains(&key[..8]), "{refused:?}");
    assert!(refused.body.contains("value=\"…\""), "{refused:?}");
    assert!(refused.body.contains("value=\"/keys?q=billing\""), "{refused:?}");
    let next = format!("/keys?q={key}");
    let elsewhere = browser.get(&format!("/login?next={next}")).await;
    assert!(!elsewhere.body.contains(&key[..8]), "{elsewhere:?}");
}

#[tokio::test]
async fn who_belongs_to_an_account_whose_keys_are_refused_is_told_so_on_every_page() {
    let server = TestServer::start().await;
    let id = server.account.id;
    member(&server, Role::Owner).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    for (state, told) in [
        (AccountState::Suspended, "This account is suspended: requests with its keys are refused"),
        (AccountState::VerificationPending, "refused with AUTH_006"),
        (AccountState::ChannelPending, "refused with AUTH_007"),
        (AccountState::Active, ""),
    ] {
        accounts::set_state(server.app(), &Actor::Operator, id, state).await.expect("another");
        for page in ["/overview", "/keys", "/team"] {
            let reply = browser.get(page).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(reply.body.contains(told), "{state} {page}");
            assert_eq!(reply.body.contains("role=\"alert\""), !told.is_empty(), "{state} {page}");
        }
    }
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_locks_nobody_out_for_good() {
    let server = TestServer::start().await;
    member(&server, Role::Admin).await;
    let mut limited = 0;
    for _ in 0..12 {
        let reply = Browser::new(&server).sign_in("admin@example.com", "wrong wrong wrong").await;
        if reply.status == 429 {
            limited += 1;
            let seconds = reply.header("retry-after").and_then(|s| s.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{reply:?}");
        }
    }
    assert!(limited > 0, "it is slowed down");
    let reply = Browser::new(&server).sign_in("admin@example.com", PASSWORD).await;
    assert_eq!(reply.status, 429, "the right one has to wait as well");
    server.advance(15 * 60_000);
    let reply = Browser::new(&server).sign_in("admin@example.com", PASSWORD).await;
    assert_eq!(reply.status, 303);
}

#[tokio::test]
async fn a_session_ends_when_it_should() {
    let server = TestServer::start().await;
    let id = member(&server, Role::Admin).await;
    let is_in = async |browser: &mut Browser<'_>| browser.get("/profile").await.status == 200;
    let mut one = Browser::signed_in(&server, Role::Admin).await;
    let mut other = Browser::signed_in(&server, Role::Admin).await;
    assert_ne!(one.cookie, other.cookie, "each sign-in has a token of its own");
    assert!(is_in(&mut one).await && is_in(&mut other).await);
    // Signing out ends this one alone, on the server and not only in the browser.
    let old = one.cookie.clone();
    one.post("/logout", &[]).await;
    one.cookie = old;
    assert!(!is_in(&mut one).await && is_in(&mut other).await);
    // Unused for 8 hours.
    server.advance(u64::try_from(8 * HOUR_MILLIS).expect("positive") - 1);
    assert!(is_in(&mut other).await, "it was used a millisecond before");
    server.advance(u64::try_from(8 * HOUR_MILLIS).expect("positive"));
    assert!(!is_in(&mut other).await);
    // Used all the time, 7 days.
    let mut busy = Browser::signed_in(&server, Role::Admin).await;
    for _ in 0..23 {
        server.advance(u64::try_from(7 * HOUR_MILLIS).expect("positive"));
        assert!(is_in(&mut busy).await);
    }
    server.advance(u64::try_from(7 * HOUR_MILLIS).expect("positive"));
    assert!(!is_in(&mut busy).await);
    // A new password ends all others; the one that set it goes on under a new token.
    let mut here = Browser::signed_in(&server, Role::Admin).await;
    let mut there = Browser::signed_in(&server, Role::Admin).await;
    let before = here.cookie.clone();
    let fields = [("current_password", PASSWORD), ("new_password", "another long passphrase")];
    assert_eq!(here.post("/profile/password", &fields).await.status, 303);
    assert_ne!(here.cookie, before);
    assert!(is_in(&mut here).await && !is_in(&mut there).await);
    let mut stale = Browser { server: &server, cookie: before };
    assert!(!is_in(&mut stale).await);
    // Suspended, and removed.
    member(&server, Role::Owner).await;
    let (app, account) = (server.app(), server.account.id);
    people::suspend(app, &Actor::Operator, account, id).await.expect("active");
    assert!(!is_in(&mut here).await);
    let right = "another long passphrase";
    assert_eq!(Browser::new(&server).sign_in("admin@example.com", right).await.status, 403);
}

/// The value of a hidden field, or of the element with an identifier.
pub(crate) fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("{from} is missing: {text}"));
    rest.split(to).next().unwrap_or_default()
}

#[tokio::test]
async fn a_key_is_generated_shown_once_and_works() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    let page = browser.get("/keys/new").await;
    let once = between(&page.body, "name=\"once\" value=\"", "\"").to_owned();
    let fields = [
        ("once", once.as_str()),
        ("name", "<script>alert(1)</script>"),
        ("environment", "production"),
        ("access", "custom"),
        ("permission", "contacts:read"),
        ("expiry", "30"),
        ("networks", "127.0.0.0/8\r\n::1"),
    ];
    let issued = browser.post("/keys", &fields).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    assert_eq!(issued.header("cache-control"), Some("no-store"));
    assert!(!issued.body.contains("<script>alert"), "names are text");
    let key = between(&issued.body, "id=\"key\" data-secret>", "<").to_owned();
    let id = between(&issued.body, "data-once=\"/keys/", "\"").to_owned();
    let call = async |path: &str| server.get(path).header("x-api-key", &key).send().await.status;
    assert_eq!(call("/v3/contacts").await, 200);
    // Sent again, as by reloading: no second key, and the first is not shown.
    let again = browser.post("/keys", &fields).await;
    assert_eq!(again.header("location"), Some(format!("/keys/{id}").as_str()));
    let list = browser.get("/keys").await;
    assert!(list.body.contains("1–1 of 1 key"), "{}", list.body);
    let page = browser.get(&format!("/keys/{id}")).await;
    for text in ["Production", "30 days", "Custom (1)", "127.0.0.0/8", "generated the key", "owner"]
    {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    server.running().flush_usage().await.expect("there is room");
    server.running().flush_records().await.expect("there is room");
    for path in ["/overview", "/keys", "/audit", "/requests", "/alerts", "/audit/export.csv"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.body.contains(&key), "{path} shows the key");
        let is_page = page.header("content-type") == Some("text/html; charset=utf-8");
        assert!(!is_page || !page.body.contains("<script>alert"), "{path}: names are text");
    }
    // Every change of it, one after the other.
    let act = async |browser: &mut Browser<'_>, what: &str, fields: &[(&str, &str)]| {
        let reply = browser.post(&format!("/keys/{id}/{what}"), fields).await;
        (reply.status, reply.body)
    };
    assert_eq!(act(&mut browser, "disable", &[]).await.0, 303);
    assert_eq!(call("/v3/me").await, 401);
    assert_eq!(act(&mut browser, "disable", &[]).await.0, 409, "it is already");
    assert_eq!(act(&mut browser, "enable", &[]).await.0, 303);
    assert_eq!(call("/v3/me").await, 200);
    let edit = [("name", "billing job"), ("access", "read"), ("expiry", "never"), ("networks", "")];
    assert_eq!(act(&mut browser, "edit", &edit).await.0, 303);
    let (status, body) = act(&mut browser, "rotate", &[("grace", "1h"), ("once", "x1")]).await;
    assert_eq!(status, 201, "{body}");
    let successor = between(&body, "id=\"key\" data-secret>", "<").to_owned();
    assert_ne!(successor, key);
    assert_eq!(call("/v3/me").await, 200, "for an hour");
    server.running().flush_usage().await.expect("there is room");
    let page = browser.get(&format!("/keys/{id}")).await;
    assert!(page.body.contains("was rotated and works until"), "{}", page.body);
    server.advance(3_600_000);
    assert_eq!(call("/v3/me").await, 401);
    let new = server.get("/v3/me").header("x-api-key", &successor).send().await;
    assert_eq!(new.status, 200);
    // By now the password is asked for again.
    let (status, body) = act(&mut browser, "revoke", &[("name", "billing job")]).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("Enter your password"), "{body}");
    let wrong = [("name", "billing job"), ("confirmation", "wrong wrong wrong")];
    assert_eq!(act(&mut browser, "revoke", &wrong).await.0, 403);
    let not_its_name = [("name", "billing"), ("confirmation", PASSWORD)];
    assert_eq!(act(&mut browser, "revoke", &not_its_name).await.0, 422);
    let right = [("name", "billing job"), ("confirmation", PASSWORD)];
    assert_eq!(act(&mut browser, "revoke", &right).await.0, 303);
    assert_eq!(act(&mut browser, "enable", &[]).await.0, 409, "that cannot be undone");
    // The trail has it all, and its chain holds.
    let audit = browser.get("/audit?action=key").await.body;
    for done in ["generated", "disabled", "enabled", "changed", "rotated", "revoked"] {
        assert!(audit.contains(&format!("{done} the key")), "{done}: {audit}");
    }
    let verified = keyward::app::audit::verify(server.app(), None).await.expect("it answers");
    assert!(matches!(verified, keyward::app::audit::Verified::Holds { .. }), "{verified:?}");
}

#[tokio::test]
async fn a_form_that_makes_no_sense_says_so_beside_its_field_and_makes_nothing() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    let good = BTreeMap::from([
        ("name", "job"),
        ("environment", "test"),
        ("access", "full"),
        ("expiry", "90"),
        ("networks", ""),
    ]);
    for (field, value, sentence) in [
        ("name", "", "must not be empty"),
        ("name", " \t ", "must not be empty"),
        ("environment", "", "must be chosen"),
        ("environment", "staging", "must be chosen"),
        ("access", "root", "must be chosen"),
        ("access", "custom", "tick what the key needs"),
        ("expiry", "45", "must be chosen"),
        ("expiry", "date", "must be a date"),
        ("networks", "10.0.0.0/33", "addresses or networks"),
        ("networks", "<script>", "addresses or networks"),
    ] {
        let mut fields = good.clone();
        fields.insert(field, value);
        let fields: Vec<(&str, &str)> = fields.into_iter().collect();
        let reply = browser.post("/keys", &fields).await;
        assert_eq!(reply.status, 422, "{field}={value:?}: {reply:?}");
        assert!(reply.body.contains(sentence), "{field}={value:?}: {}", reply.body);
        assert!(!reply.body.contains("<script>"), "{field}={value:?}");
    }
    let long = "x".repeat(101);
    let mut fields = good.clone();
    fields.insert("name", &long);
    let fields: Vec<(&str, &str)> = fields.into_iter().collect();
    assert_eq!(browser.post("/keys", &fields).await.status, 422);
    assert!(browser.get("/keys").await.body.contains("No API keys yet"));
    // What is no form at all.
    let call = server.call("POST", "/keys").header("cookie", &browser.cookie);
    let json = call.header("origin", "http://localhost").json("{}").send().await;
    assert_eq!(json.status, 415);
    let huge = [("name", "x".repeat(70_000))];
    let huge: Vec<(&str, &str)> = huge.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert_eq!(browser.post("/keys", &huge).await.status, 413);
}

#[tokio::test]
async fn a_developer_neither_sees_nor_makes_production_keys_unless_shared() {
    let server = TestServer::start().await;
    for role in [Role::Owner, Role::Developer] {
        member(&server, role).await;
    }
    let production = server.key().await;
    let test = KeyOf { environment: Environment::Test, ..server.usual() };
    let test = server.issue(test).await;
    let mut browser = Browser::signed_in(&server, Role::Developer).await;
    let path = |id: KeyId, rest: &str| format!("/keys/{id}{rest}");
    assert!(browser.get("/keys").await.body.contains("1–1 of 1 key"), "the test key alone");
    assert_eq!(browser.get(&path(production.id, "")).await.status, 404);
    for action in ["/disable", "/edit", "/rotate", "/revoke"] {
        let reply = browser.post(&path(production.id, action), &[("name", "x")]).await;
        assert_eq!(reply.status, 404, "{action}: {reply:?}");
    }
    let fields = [
        ("name", "mine"),
        ("environment", "production"),
        ("access", "read"),
        ("expiry", "90"),
        ("networks", ""),
    ];
    assert_eq!(browser.post("/keys", &fields).await.status, 403);
    // More than the own role holds: not by making, and not by rotating what somebody else made.
    let mut fields = fields;
    (fields[1].1, fields[2].1) = ("test", "full");
    let reply = browser.post("/keys", &fields).await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert!(reply.body.contains("users:write"), "{}", reply.body);
    let reply = browser.post(&path(test.id, "/rotate"), &[("grace", "1h")]).await;
    assert_eq!(reply.status, 422, "the key holds users:write: {reply:?}");
    fields[2].1 = "read";
    assert_eq!(browser.post("/keys", &fields).await.status, 201);
    // Requests with the production key are not to be seen either.
    let asked = server.get("/v3/me").key(&production).send().await;
    server.running().flush_records().await.expect("there is room");
    let request = format!("/requests/{}", asked.header("x-request-id").unwrap_or_default());
    assert_eq!(browser.get(&request).await.status, 404);
    assert!(!browser.get("/requests").await.body.contains("/requests/req_"));
    // Shared: seen, and still not changed.
    let mut owner = Browser::signed_in(&server, Role::Owner).await;
    assert_eq!(owner.post(&path(production.id, "/share"), &[]).await.status, 303);
    assert_eq!(browser.get(&path(production.id, "")).await.status, 200);
    assert_eq!(browser.get(&request).await.status, 200);
    assert_eq!(browser.post(&path(production.id, "/disable"), &[]).await.status, 403);
    assert_eq!(owner.post(&path(production.id, "/unshare"), &[]).await.status, 303);
    assert_eq!(browser.get(&path(production.id, "")).await.status, 404);
}

#[tokio::test]
async fn rules_of_the_team_hold() {
    let server = TestServer::start().await;
    let owner = member(&server, Role::Owner).await;
    let admin = member(&server, Role::Admin).await;
    let developer = member(&server, Role::Developer).await;
    let mut browser = Browser::signed_in(&server, Role::Admin).await;
    let act = async |browser: &mut Browser<'_>, id: UserId, what: &str| {
        let fields = [("role", "billing"), ("email", "owner@example.com")];
        browser.post(&format!("/team/{id}/{what}"), &fields).await.status
    };
    for what in ["role", "suspend", "remove"] {
        assert_eq!(act(&mut browser, owner, what).await, 409, "the owner: {what}");
    }
    assert_eq!(act(&mut browser, owner, "reset").await, 403, "nobody becomes the owner by a link");
    for what in ["role", "suspend"] {
        assert_eq!(act(&mut browser, admin, what).await, 409, "oneself: {what}");
    }
    let give = [("role", "owner")];
    let path = format!("/team/{developer}/role");
    assert_eq!(browser.post(&path, &give).await.status, 409, "an account has one owner");
    // Invited again: the old link is dead, the new one works once.
    let fields = [("name", "Grace"), ("email", "grace@example.com"), ("role", "developer")];
    let link =
        |reply: &Reply| between(&reply.body, "http://localhost/invitations/", "<").to_owned();
    let first = link(&browser.post("/team", &fields).await);
    let second = link(&browser.post("/team", &fields).await);
    assert_ne!(first, second);
    let mut grace = Browser::new(&server);
    assert_eq!(grace.get(&format!("/invitations/{first}")).await.status, 404);
    assert_eq!(grace.get(&format!("/invitations/{second}")).await.status, 200);
    let path = format!("/invitations/{second}");
    assert_eq!(grace.post(&path, &[("password", "short")]).await.status, 422);
    assert_eq!(grace.post(&path, &[("password", PASSWORD)]).await.status, 303);
    assert_eq!(grace.get("/overview").await.status, 200, "joining signs in");
    assert_eq!(Browser::new(&server).post(&path, &[("password", PASSWORD)]).await.status, 404);
    let again = browser.post("/team", &fields).await;
    assert!(again.body.contains("is a member already"), "{again:?}");
    // An invitation ends after seven days.
    let fields = [("name", "Late"), ("email", "late@example.com"), ("role", "billing")];
    let late = link(&browser.post("/team", &fields).await);
    server.advance(u64::try_from(7 * DAY_MILLIS).expect("positive"));
    assert_eq!(Browser::new(&server).get(&format!("/invitations/{late}")).await.status, 404);
}

#[tokio::test]
async fn who_is_removed_leaves_keys_that_work_and_need_a_look() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let developer = member(&server, Role::Developer).await;
    let mut browser = Browser::signed_in(&server, Role::Developer).await;
    let fields = [
        ("name", "theirs"),
        ("environment", "test"),
        ("access", "read"),
        ("expiry", "90"),
        ("networks", ""),
    ];
    let issued = browser.post("/keys", &fields).await;
    let key = between(&issued.body, "id=\"key\" data-secret>", "<").to_owned();
    let mut owner = Browser::signed_in(&server, Role::Owner).await;
    let path = format!("/team/{developer}/remove");
    assert_eq!(owner.post(&path, &[("email", "somebody@example.com")]).await.status, 422);
    assert_eq!(owner.post(&path, &[("email", "developer@example.com")]).await.status, 303);
    assert_eq!(browser.get("/keys").await.status, 303, "signed out at once");
    let works = server.get("/v3/me").header("x-api-key", &key).send().await;
    assert_eq!(works.status, 200, "keys belong to the account");
    assert!(owner.get("/keys").await.body.contains("no longer a member"));
    let overview = owner.get("/overview").await.body;
    assert!(overview.contains("made by somebody who is no longer a member"), "{overview}");
}

#[tokio::test]
async fn the_first_account_is_made_by_a_link_that_works_once() {
    let server = crate::support::BareServer::start_with(|_| {}).await;
    let (token, _) =
        accounts::setup_link(server.app()).await.expect("it answers").expect("no account");
    let path = format!("/setup/{}", token.reveal());
    let post = async |path: &str, password: &str| {
        let fields = form(&[
            ("account", "Acme"),
            ("owner_name", "Ada"),
            ("owner_email", "ada@example.com"),
            ("password", password),
        ]);
        let call = server.call("POST", path).header("origin", "http://localhost");
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body(fields).send().await
    };
    assert_eq!(server.get("/").send().await.header("location"), Some("/setup"));
    assert_eq!(post("/setup/another", PASSWORD).await.header("location"), Some("/setup"));
    let short = post(&path, "short").await;
    assert_eq!(short.status, 422);
    assert!(short.body.contains("at least 12 characters"), "{}", short.body);
    let made = post(&path, PASSWORD).await;
    assert_eq!(made.header("location"), Some("/keys"), "{made:?}");
    let cookie = made.header("set-cookie").unwrap_or_default().split(';').next();
    let keys = server.get("/keys").header("cookie", cookie.unwrap_or_default()).send().await;
    assert!(keys.body.contains("Generate New API Key"), "{}", keys.body);
    assert_eq!(post(&path, PASSWORD).await.header("location"), Some("/setup"), "it works once");
    assert!(accounts::setup_link(server.app()).await.expect("it answers").is_none());
}

#[tokio::test]
async fn an_alert_is_shown_snoozed_and_ends_with_its_cause() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let never = KeyOf { expires_at: None, ..server.usual() };
    let key = server.issue(never).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    let look = async |server: &TestServer| {
        server.running().check_alerts().await.expect("there is room");
        let person = keyward::app::actor::Person {
            user: UserId::from_bytes([0; 16]),
            account: server.account.id,
            role: Role::Owner,
            address: [127, 0, 0, 1].into(),
        };
        alerts::list(server.app(), &person, Some(true)).await.expect("it answers")
    };
    server.advance(u64::try_from(90 * DAY_MILLIS).expect("positive") - 1);
    assert_eq!(look(&server).await, []);
    server.advance(1);
    let open = look(&server).await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(look(&server).await.len(), 1, "it is raised once");
    browser.sign_in("owner@example.com", PASSWORD).await;
    let page = browser.get("/alerts").await.body;
    assert!(page.contains("Rotation due") && page.contains("billing job"), "{page}");
    let path = format!("/alerts/{}", open[0].id);
    let refused = browser.post(&format!("{path}/dismiss"), &[]).await;
    assert_eq!(refused.status, 409, "it ends when its cause does");
    assert_eq!(browser.post(&format!("{path}/snooze"), &[("days", "1")]).await.status, 303);
    assert_eq!(look(&server).await, []);
    server.advance(u64::try_from(DAY_MILLIS).expect("positive"));
    assert_eq!(look(&server).await.len(), 1, "it is back");
    keyward::app::keys::rotate(server.app(), &Actor::Operator, key.id, 0).await.expect("works");
    assert_eq!(look(&server).await, []);
}
