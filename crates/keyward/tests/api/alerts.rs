//! What people are told without asking: raised at its moment, once, until its cause is gone.

use keyward::app::actor::Person;
use keyward::app::keys::KeyEdit;
use keyward::app::{Actor, AppError, Resource, accounts, alerts, keys};
use keyward::config::{Settings, SmtpUrl};
use keyward_core::account::{AccountKind, AccountState, Environment, RateClass};
use keyward_core::id::{AccountId, AlertId, KeyId, UserId};
use keyward_core::record::LastUse;
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_core::usage::Outcome;
use keyward_store::alerts::{Alert, AlertKind, Rule};
use keyward_store::audit::AuditFilter;
use keyward_store::requests::{self, Sighting};
use keyward_store::usage::{self, UsageRow};
use keyward_store::users::{self, User};

use crate::dashboard::member_of;
use crate::smtp::{Rules, SmtpServer};
use crate::support::{BEGIN, KeyOf, TestKey, TestServer};

const DAY: u64 = DAY_MILLIS.unsigned_abs();
const HOUR: u64 = HOUR_MILLIS.unsigned_abs();
const MINUTE: u64 = 60_000;
const OPERATOR: Actor = Actor::Operator;

fn person(account: AccountId, role: Role) -> Person {
    let user = UserId::from_bytes([7; 16]);
    Person { user, account, role, address: [192, 0, 2, 1].into() }
}

/// What the owner has open after a look: what was counted and remembered so far is written first.
async fn look(server: &TestServer) -> Vec<Alert> {
    let running = server.running();
    running.flush_usage().await.expect("the store writes");
    running.flush_records().await.expect("the store writes");
    running.check_alerts().await.expect("the store writes");
    open(server).await
}

async fn open(server: &TestServer) -> Vec<Alert> {
    let owner = person(server.account.id, Role::Owner);
    alerts::list(server.app(), &owner, Some(true)).await.expect("an owner sees them")
}

async fn all(server: &TestServer) -> Vec<Alert> {
    let owner = person(server.account.id, Role::Owner);
    alerts::list(server.app(), &owner, None).await.expect("an owner sees them")
}

/// The one that is open after a look.
async fn one(server: &TestServer) -> Alert {
    let mut open = look(server).await;
    assert_eq!(open.len(), 1, "{open:?}");
    open.remove(0)
}

/// Looks and finds nothing.
async fn none(server: &TestServer) {
    assert_eq!(look(server).await, []);
}

fn told(alerts: &[Alert]) -> Vec<(AlertKind, &str)> {
    alerts.iter().map(|alert| (alert.kind, alert.text.as_str())).collect()
}

/// The key's name as alerts have it.
fn named(key: &TestKey) -> String {
    format!("“billing job” (…{}, production)", &key.clear[32..])
}

async fn lasting(server: &TestServer) -> TestKey {
    server.issue(KeyOf { expires_at: None, ..server.usual() }).await
}

fn behind_a_proxy(settings: &mut Settings) {
    settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
}

async fn call_from(server: &TestServer, key: &TestKey, address: &str) -> u16 {
    let call = server.get("/v3/me").key(key).header("x-forwarded-for", address);
    call.header("x-forwarded-proto", "https").send().await.status
}

/// Counts requests as if they had been answered in an hour.
async fn count(server: &TestServer, key: &TestKey, hours: &[i64], outcome: Outcome, n: u64) {
    let row = |hour: &i64| UsageRow {
        key: Some(key.id),
        hour: *hour,
        class: RateClass::Standard,
        outcome,
        requests: n,
    };
    let rows: Vec<UsageRow> = hours.iter().map(row).collect();
    let written = server.app().store.write(move |tx| usage::add(tx, &rows, &[])).await;
    written.expect("the store writes");
}

async fn use_at(server: &TestServer, key: &TestKey, at: UnixMillis) {
    let last_use = LastUse { at, address: [192, 0, 2, 1].into(), client: String::new() };
    let id = key.id;
    let written = server.app().store.write(move |tx| usage::add(tx, &[], &[(id, last_use)])).await;
    written.expect("the store writes");
}

async fn set_rule(server: &TestServer, rule: Rule) {
    let account = server.account.id;
    alerts::set_rule(server.app(), &OPERATOR, account, rule).await.expect("it makes sense");
}

async fn actions(server: &TestServer) -> Vec<(String, String)> {
    let filter =
        AuditFilter { account: Some(server.account.id), most: 100, ..AuditFilter::default() };
    let rows = keyward::app::audit::list(server.app(), filter).await.expect("the store answers");
    let of_alerts = rows.into_iter().filter(|row| row.action.starts_with("alert."));
    of_alerts.map(|row| (row.action, row.details)).collect()
}

#[tokio::test]
async fn a_key_is_told_when_it_is_90_days_old_and_until_it_is_rotated() {
    let server = TestServer::start().await;
    let key = lasting(&server).await;
    server.advance(90 * DAY - 1);
    none(&server).await;
    server.advance(1);
    let alert = one(&server).await;
    assert_eq!(alert.kind, AlertKind::RotationDue);
    assert_eq!(
        alert.text,
        format!(
            "The key {} was made on 2024-01-01T00:00:00Z and not rotated since. Rotate it.",
            named(&key)
        )
    );
    assert_eq!((alert.key, alert.raised_at), (Some(key.id), BEGIN + 90 * DAY_MILLIS));
    server.advance(HOUR);
    assert_eq!(one(&server).await, alert);
    keys::rotate(server.app(), &OPERATOR, key.id, DAY_MILLIS).await.expect("it works");
    none(&server).await;
    let ended_at = Some(server.app().clock.wall());
    assert_eq!(all(&server).await, [Alert { ended_at, ..alert }]);
}

#[tokio::test]
async fn a_key_is_told_14_days_before_it_expires_and_until_its_expiry_is_moved() {
    let server = TestServer::start().await;
    let key = server.key().await;
    server.advance(76 * DAY - 1);
    none(&server).await;
    server.advance(1);
    let alert = one(&server).await;
    assert_eq!(alert.kind, AlertKind::Expiring);
    assert_eq!(
        alert.text,
        format!(
            "The key {} expires on 2024-03-31T00:00:00Z. Rotate it before, so nobody is refused.",
            named(&key)
        )
    );
    let later = Some(Some(server.app().clock.wall() + 15 * DAY_MILLIS));
    let edit = KeyEdit { expires_at: later, ..KeyEdit::default() };
    keys::edit(server.app(), &OPERATOR, key.id, edit).await.expect("it is later");
    none(&server).await;
}

#[tokio::test]
async fn a_key_that_expired_is_told_if_it_was_in_use_and_for_a_week() {
    let server = TestServer::start().await;
    let (used, disused) = (server.key().await, server.key().await);
    let expires_at = BEGIN + 90 * DAY_MILLIS;
    use_at(&server, &used, UnixMillis(expires_at.0 - 30 * DAY_MILLIS)).await;
    use_at(&server, &disused, UnixMillis(expires_at.0 - 30 * DAY_MILLIS - 1)).await;
    server.advance(90 * DAY - 1);
    let kinds: Vec<_> = look(&server).await.into_iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::Expiring; 2]);
    server.advance(1);
    let alert = one(&server).await;
    assert_eq!((alert.kind, alert.key), (AlertKind::Expired, Some(used.id)));
    assert_eq!(
        alert.text,
        format!(
            "The key {} expired on 2024-03-31T00:00:00Z in use: its holder is refused since. Give \
             out another, or change its expiry.",
            named(&used)
        )
    );
    server.advance(7 * DAY - 1);
    assert_eq!(one(&server).await, alert);
    server.advance(1);
    none(&server).await;
}

#[tokio::test]
async fn a_use_from_a_new_network_is_told_once_though_not_the_very_first_use() {
    let server = TestServer::start_with(behind_a_proxy).await;
    let key = lasting(&server).await;
    assert_eq!(call_from(&server, &key, "203.0.113.7").await, 200);
    none(&server).await;
    assert_eq!(call_from(&server, &key, "203.0.113.8").await, 200);
    none(&server).await;
    server.advance(MINUTE);
    assert_eq!(call_from(&server, &key, "198.51.100.9").await, 200);
    let alert = one(&server).await;
    assert_eq!(alert.kind, AlertKind::NewNetwork);
    assert_eq!(
        alert.text,
        format!(
            "The key {} was used from 198.51.100.0/24 for the first time, at 2024-01-01T00:01:00Z. \
             If that is not you, rotate it.",
            named(&key)
        )
    );
    let (app, account) = (server.app(), server.account.id);
    alerts::dismiss(app, &OPERATOR, account, alert.id).await.expect("it is an event");
    server.advance(2 * HOUR);
    assert_eq!(call_from(&server, &key, "198.51.100.9").await, 200);
    none(&server).await;
    assert_eq!(call_from(&server, &key, "192.0.2.4").await, 200);
    let alert = one(&server).await;
    server.advance(7 * DAY - 1);
    assert_eq!(one(&server).await, alert);
    server.advance(1);
    none(&server).await;
    assert_eq!(all(&server).await.len(), 2);
}

#[tokio::test]
async fn what_is_told_of_a_key_ends_when_it_is_revoked_and_of_a_revoked_key_nothing_is_told() {
    let server = TestServer::start_with(behind_a_proxy).await;
    let (told_of, untold_of) = (lasting(&server).await, lasting(&server).await);
    for key in [&told_of, &untold_of] {
        assert_eq!(call_from(&server, key, "203.0.113.7").await, 200);
    }
    none(&server).await;
    assert_eq!(call_from(&server, &told_of, "198.51.100.9").await, 200);
    assert_eq!(one(&server).await.key, Some(told_of.id));
    let browser = server.get("/v3/me").key(&told_of).header("origin", "https://shop.example.com");
    assert_eq!(browser.send().await.status, 200);
    // The browser came from a network of its own.
    assert_eq!(look(&server).await.len(), 3);
    assert_eq!(call_from(&server, &untold_of, "198.51.100.9").await, 200);
    for key in [told_of, untold_of] {
        keys::revoke(server.app(), &OPERATOR, key.id).await.expect("it is not revoked");
    }
    none(&server).await;
    server.advance(90 * DAY);
    none(&server).await;
}

#[tokio::test]
async fn a_key_that_anybody_can_read_is_told_until_a_week_after_the_last_time() {
    let server = TestServer::start().await;
    let key = lasting(&server).await;
    let from_browser = async || {
        let call = server.get("/v3/me").key(&key).header("origin", "https://shop.example.com");
        assert_eq!(call.send().await.status, 200);
    };
    from_browser().await;
    let first = one(&server).await;
    server.advance(HOUR);
    // Every peer of a test is this machine, so this is what the door would have seen.
    let (id, at) = (key.id, server.app().clock.wall());
    let seen = [Sighting::Exposed { key: id, kind: "plain_http", at, requests: 1 }];
    let written = server.app().store.write(move |tx| requests::note(tx, &seen)).await;
    written.expect("the store writes");
    let open = look(&server).await;
    let texts = [
        format!(
            "The key {} is sent over plain HTTP since 2024-01-01T01:00:00Z: it can be read on the \
             way. Use HTTPS, and rotate it.",
            named(&key)
        ),
        format!(
            "The key {} is used from web pages since 2024-01-01T00:00:00Z: anybody can read it \
             there. Call from a server, and rotate it.",
            named(&key)
        ),
    ];
    assert_eq!(
        told(&open),
        [(AlertKind::PlainHttp, texts[0].as_str()), (AlertKind::FromBrowser, texts[1].as_str())]
    );
    assert_eq!(open[1], first);
    server.advance(DAY);
    from_browser().await;
    server.advance(6 * DAY + 1);
    let kinds: Vec<_> = look(&server).await.into_iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::FromBrowser]);
    server.advance(DAY);
    none(&server).await;
}

#[tokio::test]
async fn a_rise_is_told_when_its_hour_is_full_and_not_again_when_it_is_dismissed() {
    let check = async |kind: AlertKind, outcome: Outcome, fewest: u64, usual: u64, text: &str| {
        let server = TestServer::start().await;
        let key = lasting(&server).await;
        let hour = BEGIN.hours();
        let week: Vec<i64> = (hour - 7 * 24..hour).collect();
        // As much as is usual when the fewest are five times as many.
        count(&server, &key, &week, outcome, usual).await;
        count(&server, &key, &[hour], outcome, fewest - 1).await;
        server.advance(HOUR);
        none(&server).await;
        count(&server, &key, &[hour], outcome, 1).await;
        server.clock.set_wall(UnixMillis(BEGIN.0 + HOUR_MILLIS - 1));
        none(&server).await;
        server.clock.set_wall(BEGIN + HOUR_MILLIS);
        let alert = one(&server).await;
        assert_eq!((alert.kind, alert.text.as_str(), alert.key), (kind, text, None));
        server.advance(MINUTE);
        assert_eq!(one(&server).await, alert);
        let (app, account) = (server.app(), server.account.id);
        alerts::dismiss(app, &OPERATOR, account, alert.id).await.expect("it is an event");
        server.advance(MINUTE);
        none(&server).await;
        // One more in the week before, and it is no rise.
        let server = TestServer::start().await;
        let key = lasting(&server).await;
        count(&server, &key, &week, outcome, usual).await;
        count(&server, &key, &[hour - 1], outcome, 1).await;
        count(&server, &key, &[hour], outcome, fewest).await;
        server.advance(HOUR);
        none(&server).await;
    };
    let text = "50 requests were refused in the hour from 2024-01-01T00:00:00Z; 10 are usual. Look \
                at the requests.";
    check(AlertKind::RefusalsRise, Outcome::Limited, 50, 10, text).await;
    let text = "500 requests were let in in the hour from 2024-01-01T00:00:00Z; 100 are usual. \
                Look at the requests.";
    check(AlertKind::RequestsRise, Outcome::Ok, 500, 100, text).await;
}

#[tokio::test]
async fn many_alike_are_told_one_by_one_up_to_75_and_the_rest_as_a_number() {
    let server = TestServer::start().await;
    let mut issued = vec![];
    for _ in 0..112 {
        issued.push(lasting(&server).await);
    }
    server.advance(90 * DAY);
    let found = look(&server).await;
    assert_eq!(found.len(), 76);
    let more = |n: u64| {
        format!(
            "{n} more keys are older than 90 days, told since 2024-03-31T00:00:00Z. Look through \
             the list of keys."
        )
    };
    let summary = |found: &[Alert]| {
        let without_key: Vec<String> =
            found.iter().filter(|a| a.key.is_none()).map(|a| a.text.clone()).collect();
        without_key
    };
    assert_eq!(summary(&found), [more(37)]);
    server.advance(HOUR);
    // One that is told makes room for another; one that is not makes one less.
    for key in [&issued[0], &issued[111]] {
        keys::revoke(server.app(), &OPERATOR, key.id).await.expect("it is not revoked");
    }
    let found = look(&server).await;
    assert_eq!((found.len(), summary(&found)), (76, vec![more(35)]));
    let told_of: Vec<KeyId> = found.iter().filter_map(|alert| alert.key).collect();
    assert!(!told_of.contains(&issued[0].id) && told_of.contains(&issued[75].id));
    for key in &issued[1..37] {
        keys::revoke(server.app(), &OPERATOR, key.id).await.expect("it is not revoked");
    }
    let found = look(&server).await;
    assert_eq!((found.len(), summary(&found)), (74, vec![]));
}

#[tokio::test]
async fn a_key_that_is_used_from_everywhere_is_told_75_times_and_once_more() {
    let server = TestServer::start_with(behind_a_proxy).await;
    let key = lasting(&server).await;
    for n in 0..=60 {
        assert_eq!(call_from(&server, &key, &format!("203.0.{n}.7")).await, 200);
    }
    assert_eq!(look(&server).await.len(), 60);
    for n in 61..=120 {
        assert_eq!(call_from(&server, &key, &format!("203.0.{n}.7")).await, 200);
    }
    let found = look(&server).await;
    assert_eq!(found.len(), 76);
    let of_no_key: Vec<&Alert> = found.iter().filter(|alert| alert.key.is_none()).collect();
    let text = "Keys are used from more new networks than are told one by one, since \
                2024-01-01T00:00:00Z. Look at the requests, and rotate the keys that others have.";
    assert_eq!(of_no_key.iter().map(|a| a.text.as_str()).collect::<Vec<_>>(), [text]);
    assert_eq!(call_from(&server, &key, "203.0.121.7").await, 200);
    assert_eq!(look(&server).await, found);
}

#[tokio::test]
async fn a_suspended_account_is_told_nothing() {
    let server = TestServer::start().await;
    lasting(&server).await;
    server.advance(90 * DAY);
    one(&server).await;
    let (app, account) = (server.app(), server.account.id);
    let suspended = AccountState::Suspended;
    accounts::set_state(app, &OPERATOR, account, suspended).await.expect("it is active");
    none(&server).await;
    accounts::set_state(app, &OPERATOR, account, AccountState::Active).await.expect("it is not");
    one(&server).await;
}

#[tokio::test]
async fn a_rule_is_on_until_somebody_in_charge_says_otherwise() {
    let server = TestServer::start().await;
    let (app, account) = (server.app(), server.account.id);
    let rules = alerts::rules(app, account).await.expect("the store answers");
    assert!(rules.iter().all(|rule| rule.is_on && rule.is_mailed));
    let thresholds: Vec<_> =
        rules.iter().map(|rule| (rule.kind.as_str(), rule.threshold)).collect();
    assert_eq!(
        thresholds,
        [
            ("rotation_due", 90),
            ("expiring", 14),
            ("expired", 0),
            ("new_network", 0),
            ("refusals_rise", 5),
            ("requests_rise", 5),
            ("from_browser", 0),
            ("plain_http", 0),
            ("webhook_off", 0),
            ("self_revoked", 0)
        ]
    );
    lasting(&server).await;
    let rule = Rule { threshold: 1, ..rules[0] };
    set_rule(&server, rule).await;
    server.advance(DAY - 1);
    none(&server).await;
    server.advance(1);
    one(&server).await;
    set_rule(&server, Rule { is_on: false, ..rule }).await;
    none(&server).await;
    // Said again, it is no change.
    set_rule(&server, Rule { is_on: false, ..rule }).await;
    let rule_changed = || String::from("alert.rule_changed");
    assert_eq!(
        actions(&server).await,
        [
            (rule_changed(), String::from(r#"{"on":{"from":true,"to":false}}"#)),
            (rule_changed(), String::from(r#"{"at":{"from":90,"to":1}}"#)),
        ]
    );
    for (kind, threshold) in [
        (AlertKind::RotationDue, 0),
        (AlertKind::RotationDue, 3651),
        (AlertKind::RefusalsRise, 1),
        (AlertKind::Expired, 1),
        (AlertKind::NewNetwork, -1),
    ] {
        let rule = Rule { kind, is_on: true, is_mailed: true, threshold };
        let refused = alerts::set_rule(app, &OPERATOR, account, rule).await;
        assert!(matches!(refused, Err(AppError::Invalid(_))), "{rule:?}");
    }
    for role in [Role::Developer, Role::Billing] {
        let actor = Actor::Person(person(account, role));
        let refused = alerts::set_rule(app, &actor, account, rules[0]).await;
        assert!(matches!(refused, Err(AppError::NotAllowed)), "{role}");
    }
    let nowhere = AccountId::from_bytes([9; 16]);
    let refused = alerts::set_rule(app, &OPERATOR, nowhere, rules[0]).await;
    assert!(matches!(refused, Err(AppError::NotFound(Resource::Account))));
}

#[tokio::test]
async fn a_snoozed_alert_is_back_in_time_and_a_restart_forgets_neither() {
    let mut server = TestServer::start().await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    let account = server.account.id;
    for days in [0, 2, 31] {
        let refused = alerts::snooze(server.app(), &OPERATOR, account, alert.id, days).await;
        assert!(matches!(refused, Err(AppError::Invalid(_))), "{days}");
    }
    alerts::snooze(server.app(), &OPERATOR, account, alert.id, 7).await.expect("it is open");
    none(&server).await;
    server.restart().await;
    server.advance(7 * DAY - 1);
    none(&server).await;
    server.advance(1);
    let snoozed_until = Some(server.app().clock.wall());
    let back = Alert { snoozed_until, ..alert.clone() };
    assert_eq!(one(&server).await, back);
    server.restart().await;
    assert_eq!(one(&server).await, back);
    let refused = alerts::dismiss(server.app(), &OPERATOR, account, alert.id).await;
    let rule = "it ends by itself when its cause does; it can be snoozed until then";
    assert!(matches!(refused, Err(AppError::Forbidden(said)) if said == rule));
    let details = format!(r#"{{"text":"{}"}}"#, alert.text);
    assert_eq!(actions(&server).await, [(String::from("alert.snoozed"), details)]);
}

#[tokio::test]
async fn who_sees_and_who_changes_alerts_depends_on_the_role_and_the_account() {
    let server = TestServer::start().await;
    let hidden = lasting(&server).await;
    let shared = lasting(&server).await;
    keys::share(server.app(), &OPERATOR, shared.id, true).await.expect("it is there");
    let of_test = KeyOf { environment: Environment::Test, expires_at: None, ..server.usual() };
    let of_test = server.issue(of_test).await;
    count(&server, &hidden, &[BEGIN.hours() + 90 * 24 - 1], Outcome::Limited, 50).await;
    let other = server.new_account("Globex", AccountKind::Organization).await;
    server.issue(KeyOf { account: other.id, expires_at: None, ..server.usual() }).await;
    server.advance(90 * DAY);
    assert_eq!(look(&server).await.len(), 4);
    let (app, account) = (server.app(), server.account.id);
    let sees = async |account: AccountId, role: Role| {
        let found = alerts::list(app, &person(account, role), Some(true)).await;
        found.map(|found| found.iter().map(|alert| alert.key).collect::<Vec<_>>())
    };
    let everything = [None, Some(of_test.id), Some(shared.id), Some(hidden.id)];
    for role in [Role::Owner, Role::Admin] {
        let seen = sees(account, role).await.expect("it may");
        assert_eq!(seen.len(), everything.len(), "{role}");
        assert!(everything.iter().all(|key| seen.contains(key)), "{role}");
    }
    let seen = sees(account, Role::Developer).await.expect("it may");
    assert_eq!(seen, [Some(of_test.id), Some(shared.id)]);
    let refused = sees(account, Role::Billing).await;
    assert!(matches!(refused, Err(AppError::NotAllowed)));
    assert_eq!(sees(other.id, Role::Owner).await.expect("it may").len(), 1);
    let id = open(&server).await[0].id;
    let change = async |person: Person, id: AlertId| {
        let (account, actor) = (person.account, Actor::Person(person));
        let snoozed = alerts::snooze(app, &actor, account, id, 1).await;
        let dismissed = alerts::dismiss(app, &actor, account, id).await;
        (snoozed, dismissed)
    };
    for role in [Role::Developer, Role::Billing] {
        let refused = change(person(account, role), id).await;
        assert!(
            matches!(refused, (Err(AppError::NotAllowed), Err(AppError::NotAllowed))),
            "{role}"
        );
    }
    // Who changes something must be there when it is done.
    let owner_of = async |account: AccountId, email: &str| {
        let user = member_of(&server, account, email, Role::Owner).await;
        Person { user, ..person(account, Role::Owner) }
    };
    let elsewhere = change(owner_of(other.id, "owner@globex.example").await, id).await;
    let is_not_found =
        |result: &Result<(), AppError>| matches!(result, Err(AppError::NotFound(Resource::Alert)));
    assert!(is_not_found(&elsewhere.0) && is_not_found(&elsewhere.1));
    let nowhere = owner_of(account, "owner@example.com").await;
    let nowhere = change(nowhere, AlertId::from_bytes([9; 16])).await;
    assert!(is_not_found(&nowhere.0) && is_not_found(&nowhere.1));
    assert_eq!(open(&server).await.len(), 4);
}

#[tokio::test]
async fn an_alert_that_ended_is_forgotten_after_90_days() {
    let server = TestServer::start().await;
    let key = lasting(&server).await;
    server.advance(90 * DAY);
    one(&server).await;
    keys::revoke(server.app(), &OPERATOR, key.id).await.expect("it is not revoked");
    none(&server).await;
    server.advance(90 * DAY);
    none(&server).await;
    assert_eq!(all(&server).await.len(), 1);
    // It is swept once an hour.
    server.advance(HOUR);
    none(&server).await;
    assert_eq!(all(&server).await, []);
}

async fn mailing(smtp: &SmtpServer) -> TestServer {
    let url = format!("smtp://{}", smtp.address);
    TestServer::start_with(|settings| {
        settings.smtp_url = Some(SmtpUrl::parse(&url).expect("it is one"));
        settings.smtp_from = Some("Keyward <keyward@example.com>".parse().expect("it is one"));
        settings.public_url = Some(String::from("https://keys.example.com"));
    })
    .await
}

async fn add_member(server: &TestServer, email: &str, role: Role, status: UserStatus) {
    let n = u8::try_from(email.len()).expect("it is short");
    let user = User {
        id: UserId::from_bytes([n; 16]),
        account: server.account.id,
        environment: Environment::Production,
        name: String::from("Ada"),
        email: email.to_owned(),
        role,
        status,
        password_hash: None,
        created_at: BEGIN,
        invited_at: None,
        last_login_at: None,
        updated_at: None,
        totp: None,
        totp_step: 0,
    };
    let written = server.app().store.write(move |tx| users::insert(tx, &user)).await;
    written.expect("the address is new");
}

/// Whom a session was for, and the message without its headers, folded lines joined.
fn mail_of(session: &crate::smtp::Session) -> (String, String) {
    let to = session.said.iter().find_map(|line| line.strip_prefix("RCPT TO:"));
    let mail = session.mails.first().cloned().unwrap_or_default();
    let body = mail.split_once("\n\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (to.unwrap_or_default().to_owned(), body.replace("=\n", ""))
}

#[tokio::test]
async fn an_alert_is_mailed_once_to_the_owner_and_to_each_admin_who_is_active() {
    let mut smtp = SmtpServer::start(Rules::default()).await;
    let server = mailing(&smtp).await;
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    add_member(&server, "an-admin@example.com", Role::Admin, UserStatus::Active).await;
    add_member(&server, "gone-admin@example.com", Role::Admin, UserStatus::Suspended).await;
    add_member(&server, "dev@example.com", Role::Developer, UserStatus::Active).await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    assert_eq!((alert.mailed_at, &alert.mail_fault), (Some(server.app().clock.wall()), &None));
    let (to, body) = mail_of(&smtp.session().await);
    assert_eq!(to, "<owner@example.com>");
    let start = "Rotation due\n\nThe key =E2=80=9Cbilling job=E2=80=9D (=E2=80=A6";
    assert!(body.starts_with(start), "{body}");
    assert!(body.contains("\n\nhttps://keys.example.com/alerts\n\n"), "{body}");
    let (to, same) = mail_of(&smtp.session().await);
    assert_eq!((to.as_str(), same), ("<an-admin@example.com>", body));
    server.advance(DAY);
    // Nobody is told again: what comes next is about the next one.
    assert_eq!(one(&server).await, alert);
    for _ in 0..25 {
        lasting(&server).await;
    }
    server.advance(90 * DAY);
    assert_eq!(look(&server).await.len(), 26);
    let (to, body) = mail_of(&smtp.session().await);
    assert_eq!(to, "<owner@example.com>");
    assert!(body.starts_with("25 alerts\n\n"), "{body}");
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("The key ")).count(), 19);
    assert_eq!(lines[21], "and 6 more");
    assert!(look(&server).await.iter().all(|alert| alert.mailed_at.is_some()));
}

#[tokio::test]
async fn a_refused_mail_is_shown_and_tried_again_three_times() {
    let rules = Rules { answers: &[("RCPT", "450 come back later")], ..Rules::default() };
    let mut smtp = SmtpServer::start(rules).await;
    let server = mailing(&smtp).await;
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    // Given up at once, without keeping the other from being tried.
    add_member(&server, "nobody", Role::Admin, UserStatus::Active).await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let fault = Some(String::from(
        "to owner@example.com: the mail server refused with 450: come back later",
    ));
    let mut n_tries = 0;
    for pause in [MINUTE, 10 * MINUTE, 60 * MINUTE] {
        let alert = one(&server).await;
        n_tries += 1;
        let (to, _) = mail_of(&smtp.session().await);
        assert_eq!(to, "<owner@example.com>");
        assert_eq!((alert.mailed_at, &alert.mail_fault), (None, &fault), "{n_tries}");
        server.advance(pause - 1);
        // Too early: a try would use up one of the three that are left.
        assert_eq!(one(&server).await, alert);
        server.advance(1);
    }
    let alert = one(&server).await;
    smtp.session().await;
    let given_up_at = Some(server.app().clock.wall());
    assert_eq!((alert.mailed_at, &alert.mail_fault), (given_up_at, &fault));
    server.advance(DAY);
    assert_eq!(one(&server).await, alert);
}

#[tokio::test]
async fn nothing_is_marked_as_mailed_that_nobody_was_mailed() {
    // No mail server.
    let server = TestServer::start().await;
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    assert_eq!((alert.mailed_at, alert.mail_fault), (None, None));
    // Nobody to mail to, and then somebody.
    let mut smtp = SmtpServer::start(Rules::default()).await;
    let server = mailing(&smtp).await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    assert_eq!((alert.mailed_at, alert.mail_fault), (None, None));
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    let alert = one(&server).await;
    assert_eq!(alert.mailed_at, Some(server.app().clock.wall()));
    assert_eq!(mail_of(&smtp.session().await).0, "<owner@example.com>");
    // A rule that asks for none.
    let server = mailing(&smtp).await;
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    lasting(&server).await;
    let rule = alerts::default_rule(AlertKind::RotationDue);
    set_rule(&server, Rule { is_mailed: false, ..rule }).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    assert_eq!((alert.mailed_at, alert.mail_fault), (None, None));
}

#[tokio::test]
async fn a_mail_server_that_is_gone_is_shown_and_tried_again_three_times() {
    let smtp = SmtpServer::start(Rules::default()).await;
    let server = mailing(&smtp).await;
    smtp.stop().await;
    add_member(&server, "owner@example.com", Role::Owner, UserStatus::Active).await;
    add_member(&server, "an-admin@example.com", Role::Admin, UserStatus::Active).await;
    lasting(&server).await;
    server.advance(90 * DAY);
    let alert = one(&server).await;
    let fault = alert.mail_fault.expect("nobody listens");
    let said = "to owner@example.com: the mail server cannot be reached: ";
    assert!(fault.starts_with(said), "{fault}");
    for pause in [MINUTE, 10 * MINUTE, 60 * MINUTE] {
        assert_eq!(one(&server).await.mailed_at, None);
        server.advance(pause);
    }
    assert_eq!(one(&server).await.mailed_at, Some(server.app().clock.wall()));
}
