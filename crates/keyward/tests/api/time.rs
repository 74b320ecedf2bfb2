//! A clock that is set: forward and back by hours, a second that is repeated, a start in the past of what
//! is written down, a zone with summer time. What happens then stands in docs/time.md. Contract 5 and 6.

use std::process::Stdio;

use keyward::app::{Actor, accounts, alerts, keys, people};
use keyward_core::id::UserId;
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, UnixMillis};
use keyward_store::alerts::AlertKind;
use keyward_store::sessions::LinkKind;
use serde_json::json;

use crate::dashboard::{Browser, PASSWORD, between, member};
use crate::program::Shell;
use crate::receiver::{Behave, Receiver};
use crate::secrets::{base32, code_of};
use crate::support::{BEGIN, KeyOf, TestKey, TestServer};

async fn verdict(server: &TestServer, key: &TestKey) -> String {
    server.get("/v3/me").key(key).send().await.verdict()
}

fn set(server: &TestServer, millis: i64) {
    let now = server.app().clock.wall();
    server.clock.set_wall(now + millis);
}

#[tokio::test]
async fn a_window_lasts_sixty_seconds_however_the_clock_is_set_and_its_headers_stay_true() {
    let server = TestServer::start_with(|settings| {
        settings.rate_limit_standard = 3;
        settings.rate_limit_unauthenticated = 2;
    })
    .await;
    let key = server.key().await;
    let used_up = async |expected: [&str; 2]| {
        assert_eq!(verdict(&server, &key).await, expected[0]);
        let stranger = server.get("/v3/me").send().await.verdict();
        assert_eq!(stranger, expected[1]);
    };
    for _ in 0..2 {
        used_up(["200", "401 AUTH_001"]).await;
    }
    for step in [5 * HOUR_MILLIS, -9 * HOUR_MILLIS, -1000, 400 * DAY_MILLIS, -400 * DAY_MILLIS] {
        set(&server, step);
        let reply = server.get("/v3/contacts").key(&key).send().await;
        let reset = reply.header("x-ratelimit-reset").and_then(|text| text.parse::<i64>().ok());
        let now = server.app().clock.wall().seconds();
        assert_eq!(reset, Some(now + 60), "by the clock that the caller sees: {reply:?}");
        assert_eq!(server.get("/v3/me").send().await.verdict(), "429 BUSINESS_002");
    }
    server.advance(59_999);
    used_up(["429 BUSINESS_002", "429 BUSINESS_002"]).await;
    server.advance(1);
    used_up(["200", "401 AUTH_001"]).await;
}

#[tokio::test]
async fn a_key_expires_by_the_wall_clock_and_what_was_ended_stays_ended() {
    let server = TestServer::start().await;
    let of_an_hour = KeyOf { expires_at: Some(BEGIN + HOUR_MILLIS), ..server.usual() };
    let key = server.issue(of_an_hour).await;
    let (revoked, disabled) = (server.key().await, server.key().await);
    let rotated = server.key().await;
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it works");
    keys::disable(server.app(), &Actor::Operator, disabled.id).await.expect("it works");
    keys::rotate(server.app(), &Actor::Operator, rotated.id, HOUR_MILLIS).await.expect("it works");
    set(&server, HOUR_MILLIS);
    for ended in [&key, &rotated, &revoked, &disabled] {
        assert_eq!(verdict(&server, ended).await, "401 AUTH_002");
    }
    set(&server, -1);
    for (again, expected) in
        [(&key, "200"), (&rotated, "200"), (&revoked, "401 AUTH_002"), (&disabled, "401 AUTH_002")]
    {
        assert_eq!(verdict(&server, again).await, expected);
    }
}

async fn is_in(browser: &mut Browser<'_>) -> bool {
    browser.get("/overview").await.status == 200
}

#[tokio::test]
async fn sessions_end_when_the_clock_says_so_and_none_outlives_its_beginning() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut old = Browser::signed_in(&server, Role::Owner).await;
    server.advance(5 * HOUR_MILLIS.unsigned_abs());
    assert!(is_in(&mut old).await);
    let mut young = Browser::signed_in(&server, Role::Owner).await;
    // A second that is repeated, and a minute at most, end nothing.
    set(&server, -1000);
    assert!(is_in(&mut old).await && is_in(&mut young).await);
    set(&server, -59_000);
    assert!(is_in(&mut old).await && is_in(&mut young).await);
    // Back to before it began: nobody knows how old it is.
    set(&server, -HOUR_MILLIS);
    assert!(is_in(&mut old).await && !is_in(&mut young).await);
    // The idle time of the other counts from here on.
    server.advance((8 * HOUR_MILLIS - 1).unsigned_abs());
    assert!(is_in(&mut old).await);
    server.advance((8 * HOUR_MILLIS).unsigned_abs());
    assert!(!is_in(&mut old).await);
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    set(&server, 8 * HOUR_MILLIS - 1);
    assert!(is_in(&mut browser).await);
    set(&server, 8 * HOUR_MILLIS);
    assert!(!is_in(&mut browser).await, "set forward it is over at once");
}

#[tokio::test]
async fn a_confirmation_counts_for_ten_minutes_and_not_before_it_was_given() {
    let server = TestServer::start().await;
    let _ = member(&server, Role::Owner).await;
    for (step, is_good) in [
        (-1000, true),
        (-MINUTE_MILLIS, true),
        (-MINUTE_MILLIS - 1, false),
        (10 * MINUTE_MILLIS - 1, true),
        (10 * MINUTE_MILLIS, false),
    ] {
        server.clock.set_wall(BEGIN);
        let mut browser = Browser::signed_in(&server, Role::Owner).await;
        set(&server, step);
        let key = server.key().await;
        let reply = browser.post(&format!("/keys/{}/rotate", key.id), &[("grace", "0")]).await;
        // A session that began later than now is over as well.
        let expected = if is_good {
            201
        } else if step < 0 {
            303
        } else {
            403
        };
        assert_eq!(reply.status, expected, "{step}: {reply:?}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_by_the_wall_clock_and_never_done_twice_for_being_set_back() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let make = async |idempotency: &str, number: u32| {
        let body = format!(r#"{{"phone_number":"+1415555{number:04}"}}"#);
        let call = server.post("/v3/contacts", &body).key(&key);
        let reply = call.header("idempotency-key", idempotency).send().await;
        (reply.status, reply.header("idempotent-replayed").is_some())
    };
    assert_eq!(make("a", 1).await, (201, false));
    for step in [-1000, -30 * HOUR_MILLIS, 30 * HOUR_MILLIS, DAY_MILLIS + 999] {
        set(&server, step);
        assert_eq!(make("a", 2).await, (201, true), "{step}");
    }
    set(&server, 1);
    assert_eq!(make("a", 3).await, (201, false), "forgotten after a day");
    let list = server.get("/v3/contacts").key(&key).send().await.json();
    assert_eq!(list["data"]["pagination"]["total_count"], 2);
}

#[tokio::test]
async fn a_delivery_waits_no_longer_than_the_longest_pause_for_a_clock_that_was_set_back() {
    let generous = |settings: &mut keyward::config::Settings| {
        settings.rate_limit_standard = 1_000_000;
    };
    let server = TestServer::start_with(generous).await;
    let mut receiver = Receiver::start().await;
    let test = KeyOf { environment: keyward_core::account::Environment::Test, ..server.usual() };
    let key = server.issue(test).await;
    let body = json!({
        "display_name": "CRM", "endpoint_url": receiver.url(), "event_types": ["contact"],
        "retry_count": 5,
    });
    let made = server.post("/v3/webhooks", &body.to_string()).key(&key).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    receiver.will([500, 500].map(Behave::Status));
    let contact = r#"{"phone_number":"+14155550123"}"#;
    assert_eq!(server.post("/v3/contacts", contact).key(&key).send().await.status, 201);
    let first = receiver.next().await;
    wait_for_pause(&server, &key, &made, 1).await;
    // Its next attempt was to be in a second, and is hours away now: it comes all the same.
    set(&server, -3 * HOUR_MILLIS);
    let second = receiver.next().await;
    assert_eq!(first.header("x-webhook-event-id"), second.header("x-webhook-event-id"));
    wait_for_pause(&server, &key, &made, 2).await;
    // Set forward, what waits is due.
    set(&server, HOUR_MILLIS);
    let third = receiver.next().await;
    assert_eq!(first.header("x-webhook-event-id"), third.header("x-webhook-event-id"));
    // And it is signed as of the time that the clock shows, for receivers go by theirs.
    let told = third.header("x-webhook-timestamp").and_then(|text| text.parse::<i64>().ok());
    assert_eq!(told, Some((BEGIN + -2 * HOUR_MILLIS).seconds()));
}

/// Until so many attempts are written down.
async fn wait_for_pause(
    server: &TestServer,
    key: &TestKey,
    made: &crate::support::Reply,
    n_attempts: u64,
) {
    let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
    loop {
        let path = format!("/v3/webhooks/{id}/events");
        let events = server.get(&path).key(key).send().await.json();
        let event = &events["data"]["events"][0];
        if event["delivery_attempts"] == n_attempts && event["delivery_status"] == "pending" {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_link_ends_by_the_wall_clock() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let (app, account, operator) = (server.app(), server.account.id, &Actor::Operator);
    let owner = people::find_by_email(app, "owner@example.com", None).await.expect("it is there");
    let invited =
        people::invite(app, operator, account, "G", "g@example.com", Role::Developer).await;
    let invited = invited.expect("it is new");
    let reset = people::reset_link(app, operator, owner.id).await.expect("it is active");
    let works = async || {
        let invitation = people::find_by_link(app, LinkKind::Invitation, invited.token.reveal());
        let reset = people::find_by_link(app, LinkKind::Reset, reset.token.reveal());
        [invitation.await.is_ok(), reset.await.is_ok()]
    };
    for (wall, expected) in [
        (BEGIN, [true, true]),
        (BEGIN + -1000, [true, true]),
        (BEGIN + -HOUR_MILLIS, [true, true]),
        (BEGIN + (HOUR_MILLIS - 1), [true, true]),
        (BEGIN + HOUR_MILLIS, [true, false]),
        (BEGIN + 7 * DAY_MILLIS, [false, false]),
        (BEGIN, [true, true]),
    ] {
        server.clock.set_wall(wall);
        assert_eq!(works().await, expected, "{wall:?}");
    }
}

#[tokio::test]
async fn an_alert_is_there_while_the_clock_gives_it_a_cause() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let person = keyward::app::actor::Person {
        user: UserId::from_bytes([0; 16]),
        account: server.account.id,
        role: Role::Owner,
        address: [127, 0, 0, 1].into(),
    };
    let open = async || {
        server.running().check_alerts().await.expect("there is room");
        let open = alerts::list(server.app(), &person, Some(true)).await.expect("it answers");
        open.iter().map(|alert| (alert.kind, alert.key)).collect::<Vec<_>>()
    };
    assert_eq!(open().await, []);
    set(&server, 77 * DAY_MILLIS);
    assert_eq!(open().await, [(AlertKind::Expiring, Some(key.id))]);
    assert_eq!(open().await.len(), 1, "once");
    set(&server, -77 * DAY_MILLIS);
    assert_eq!(open().await, [], "its cause is gone");
    set(&server, 77 * DAY_MILLIS);
    assert_eq!(open().await.len(), 1, "and is back");
}

#[tokio::test]
async fn a_second_that_is_repeated_disturbs_no_list_and_no_identifier() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let mut made = vec![];
    for number in 0..6 {
        let body = format!(r#"{{"phone_number":"+1415555{number:04}"}}"#);
        let reply = server.post("/v3/contacts", &body).key(&key).send().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        made.push(reply.json()["data"]["id"].as_str().expect("an id").to_owned());
        // 23:59:59, and 23:59:59 once more.
        if number % 2 == 0 { server.advance(1000) } else { set(&server, -1000) }
    }
    let mut seen = vec![];
    for page in 1..=3 {
        let path = format!("/v3/contacts?page_size=2&page={page}");
        let list = server.get(&path).key(&key).send().await.json();
        for contact in list["data"]["contacts"].as_array().expect("a list") {
            seen.push(contact["id"].as_str().expect("an id").to_owned());
        }
    }
    seen.sort();
    seen.dedup();
    made.sort();
    assert_eq!(seen, made, "each is on one page");
    for id in &made {
        let reply = server.get(&format!("/v3/contacts/{id}")).key(&key).send().await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn a_start_in_the_past_of_what_is_written_down_is_told_and_works() {
    let mut server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let short = KeyOf { expires_at: Some(BEGIN + DAY_MILLIS), ..server.usual() };
    let (good, short, revoked) =
        (server.key().await, server.issue(short).await, server.key().await);
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it works");
    let cookie = Browser::signed_in(&server, Role::Owner).await.cookie;
    server.advance((2 * DAY_MILLIS).unsigned_abs());
    assert_eq!(verdict(&server, &short).await, "401 AUTH_002");
    // A clock without a battery: 1970, and one that is worse.
    let walls = [UnixMillis(DAY_MILLIS), UnixMillis(-10 * 365 * DAY_MILLIS)];
    for (number, wall) in walls.into_iter().enumerate() {
        server.clock.set_wall(wall);
        server.restart().await;
        server.wait_for_log("the clock is behind").await;
        // What expired in between passes; what was ended does not.
        for (key, expected) in [(&good, "200"), (&short, "200"), (&revoked, "401 AUTH_002")] {
            assert_eq!(verdict(&server, key).await, expected);
        }
        let mut browser = Browser::with_cookie(&server, &cookie);
        assert!(!is_in(&mut browser).await, "nobody knows how old that session is");
        let mut browser = Browser::signed_in(&server, Role::Owner).await;
        for path in ["/overview", "/keys", "/team", "/requests", "/alerts", "/audit", "/profile"] {
            let reply = browser.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
        }
        let body = format!(r#"{{"phone_number":"+1415555{number:04}"}}"#);
        let made = server.post("/v3/contacts", &body).key(&good).send().await;
        assert_eq!(made.status, 201, "{made:?}");
        let year = made.json()["data"]["created_at"].as_str().map(|text| text[..4].to_owned());
        assert_eq!(year.as_deref(), Some(if number == 0 { "1970" } else { "1960" }));
        let limits = server.get("/v3/me").key(&good).send().await;
        assert!(limits.remaining().is_some_and(|left| left > 0), "{limits:?}");
        server.running().check_alerts().await.expect("there is room");
        server.running().flush_usage().await.expect("there is room");
        server.running().flush_records().await.expect("there is room");
    }
    let of_then = server.key().await;
    assert_eq!(verdict(&server, &of_then).await, "200");
    // The clock is right again, and what was issued meanwhile is long over.
    server.clock.set_wall(BEGIN + 2 * DAY_MILLIS);
    server.wait_for_log("the clock was set forward by").await;
    for (key, expected) in [(&good, "200"), (&short, "401 AUTH_002"), (&of_then, "401 AUTH_002")] {
        assert_eq!(verdict(&server, key).await, expected);
    }
    let verified = keyward::app::audit::verify(server.app(), None).await.expect("it answers");
    assert!(matches!(verified, keyward::app::audit::Verified::Holds { .. }), "{verified:?}");
    let accounts = accounts::count(server.app()).await.expect("it answers");
    assert_eq!(accounts, 1);
}

#[tokio::test]
async fn a_code_is_read_by_the_clock_and_none_is_good_twice_however_it_is_set() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let mut browser = Browser::signed_in(&server, Role::Owner).await;
    let reply = browser.post("/profile/second-factor", &[]).await;
    let secret = base32(between(&reply.body, "<code data-secret>", "<"));
    let sealed = between(&reply.body, "name=\"sealed\" value=\"", "\"").to_owned();
    // What the member's phone shows, whose clock is right, so many seconds after the beginning.
    let phone = |after: i64| {
        let seconds = u64::try_from(BEGIN.seconds() + after).expect("after 1970");
        code_of(&secret, "owner@example.com", seconds)
    };
    let fields = [("sealed", sealed.as_str()), ("code", &phone(0))];
    let on = browser.post("/profile/second-factor/on", &fields).await;
    assert_eq!(on.status, 201, "{on:?}");
    let codes = between(&on.body, "id=\"codes\" data-secret>", "</ul>");
    let recovery = between(codes, "<li>", "<").to_owned();
    let enter = async |code: String| {
        let mut browser = Browser::new(&server);
        assert_eq!(browser.sign_in("owner@example.com", PASSWORD).await.status, 303);
        browser.post("/login/code", &[("code", &code)]).await.status
    };
    const HOUR: i64 = 3600;
    server.advance(60_000);
    assert_eq!(enter(phone(60)).await, 303);
    // Forward: the phone's are wrong, and one of the time that the server believes in is good.
    set(&server, HOUR_MILLIS);
    server.advance(60_000);
    assert_eq!(enter(phone(120)).await, 403);
    assert_eq!(enter(phone(HOUR + 120)).await, 303);
    // Right again: until the time of that one has come none is taken, neither the phone's nor that again.
    set(&server, -HOUR_MILLIS);
    server.advance(60_000);
    assert_eq!(enter(phone(180)).await, 403);
    assert_eq!(enter(phone(HOUR + 120)).await, 403);
    assert_eq!(enter(recovery.clone()).await, 303);
    assert_eq!(enter(recovery).await, 403, "once");
    server.advance(HOUR_MILLIS.unsigned_abs());
    assert_eq!(enter(phone(HOUR + 180)).await, 303);
    // Back: what was used is not good again when its time comes once more.
    set(&server, -60_000);
    assert_eq!(enter(phone(HOUR + 120)).await, 403);
    server.advance(60_000);
    assert_eq!(enter(phone(HOUR + 180)).await, 403);
    server.advance(60_000);
    assert_eq!(enter(phone(HOUR + 240)).await, 303);
}

#[tokio::test]
async fn what_is_kept_for_days_outlives_a_clock_that_jumps_a_year_ahead_and_back() {
    let mut server = TestServer::start_with(|settings| settings.request_days = 2).await;
    let mut receiver = Receiver::start().await;
    let test = KeyOf {
        environment: keyward_core::account::Environment::Test,
        expires_at: None,
        ..server.usual()
    };
    let key = server.issue(test).await;
    let hook = json!({
        "display_name": "CRM", "endpoint_url": receiver.url(), "event_types": ["contact"],
    });
    let made = server.post("/v3/webhooks", &hook.to_string()).key(&key).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let body = r#"{"phone_number":"+14155550123"}"#;
    let made = server.post("/v3/contacts", body).key(&key).header("idempotency-key", "a");
    assert_eq!(made.send().await.status, 201);
    receiver.next().await;
    let look = async |server: &TestServer| {
        server.running().flush_usage().await.expect("there is room");
        server.running().flush_records().await.expect("there is room");
        server.running().check_alerts().await.expect("there is room");
        let tables = ["requests", "idempotency", "webhook_events", "usage_hours"];
        let mut n_rows = vec![];
        for table in tables {
            let sql = format!("SELECT count(*) FROM {table}");
            let read = server.app().store.read(move |tx| tx.query_one(&sql, &[], |row| row.int(0)));
            let found: Result<_, keyward_store::StoreError> = read.await;
            n_rows.push(found.expect("it can be read").unwrap_or_default());
        }
        n_rows
    };
    let before = look(&server).await;
    assert!(before.iter().all(|n_rows| *n_rows > 0), "{before:?}");
    let year = 365 * DAY_MILLIS;
    set(&server, year);
    assert_eq!(look(&server).await, before, "nothing is deleted at once");
    // Nor by a server that starts with that clock.
    server.restart().await;
    server.advance((DAY_MILLIS - 1).unsigned_abs());
    assert_eq!(look(&server).await, before);
    set(&server, -year - DAY_MILLIS);
    let again = server.post("/v3/contacts", body).key(&key).header("idempotency-key", "a");
    let again = again.send().await;
    assert!(again.header("idempotent-replayed").is_some(), "nothing is done twice: {again:?}");
    let before = look(&server).await;
    // Whoever leaves it so for a day means it. What is counted is never deleted.
    set(&server, year);
    assert_eq!(look(&server).await, before);
    server.advance(DAY_MILLIS.unsigned_abs());
    let after = look(&server).await;
    assert_eq!((&after[..3], after[3]), (&[0, 0, 0][..], before[3]));
}

/// Zones in which the clocks go forward, go back, or are half an hour off.
#[test]
fn the_zone_of_the_machine_changes_nothing() {
    // By name, and by a rule that needs no data of zones.
    for zone in ["America/New_York", "Australia/Lord_Howe", "EST5EDT,M3.2.0,M11.1.0"] {
        let shell = Shell::new();
        shell.set_up();
        let run = |arguments: &[&str]| {
            let mut command = shell.command(arguments);
            command.env("TZ", zone).stdin(Stdio::null());
            let output = command.output().expect("the program is built");
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
        };
        // Across the change of clocks in either half of the world: days are days of 24 hours.
        let made = run(&[
            "keys",
            "create",
            "--name",
            "a",
            "--environment",
            "test",
            "--expires-in",
            "200d",
            "--json",
        ]);
        let time = |name: &str| {
            let text = made[name].as_str().unwrap_or_else(|| panic!("{name}: {made}"));
            assert!(text.ends_with('Z'), "{text}");
            text.parse::<jiff::Timestamp>().expect("a time")
        };
        let life = time("expires_at").as_second() - time("created_at").as_second();
        assert_eq!(life, 200 * 86_400, "{zone}");
        let listed = run(&["keys", "list", "--json"]);
        assert_eq!(listed[0]["expires_at"], made["expires_at"], "{zone}");
    }
}
