//! Forms that are sent twice at once, as by a double click: one makes something and shows it, and the
//! other is led to it. Contract 10.

use keyward_core::role::Role;

use crate::dashboard::{Browser, PASSWORD, between, member};
use crate::support::{Reply, TestServer};

/// One more than a password counts for: checking it is what gives a twin the time to come.
const ELEVEN_MINUTES: u64 = 11 * 60_000;

type Fields<'a> = [(&'a str, &'a str)];

async fn n_rows(server: &TestServer, sql: &'static str) -> i64 {
    let rows = server.app().store.read(move |tx| tx.query_one(sql, &[], |row| row.int(0)));
    rows.await.expect("the store answers").expect("a count")
}

/// Sends a form twice at once, each with its own confirmation.
async fn twice(
    (server, cookie): (&TestServer, &str),
    path: &str,
    fields: &Fields<'_>,
    confirmations: [&str; 2],
) -> [Reply; 2] {
    let send = async |confirmation: &str| {
        let fields = [fields, &[("confirmation", confirmation)]].concat();
        Browser::with_cookie(server, cookie).post(path, &fields).await
    };
    let (one, other) = tokio::join!(send(confirmations[0]), send(confirmations[1]));
    [one, other]
}

/// Where the form that came second was led, and the page of the first.
fn led(replies: [Reply; 2]) -> (String, String) {
    let [mut first, mut second] = replies;
    if first.status == 303 {
        std::mem::swap(&mut first, &mut second);
    }
    assert_eq!((first.status, second.status), (201, 303), "{first:?} {second:?}");
    let place = second.header("location").expect("it is led somewhere").to_owned();
    (place, first.body)
}

#[tokio::test]
async fn of_two_forms_for_a_key_one_makes_it() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let cookie = Browser::signed_in(&server, Role::Owner).await.cookie;
    server.advance(ELEVEN_MINUTES);
    let page = Browser::with_cookie(&server, &cookie).get("/keys/new").await;
    let once = between(&page.body, "name=\"once\" value=\"", "\"");
    let fields = [
        ("once", once),
        ("name", "job"),
        ("environment", "production"),
        ("access", "read"),
        ("expiry", "90"),
        ("networks", ""),
    ];
    let home = (&server, cookie.as_str());
    // What failed made nothing, and keeps nobody from sending the form again.
    for reply in twice(home, "/keys", &fields, ["wrong wrong wrong"; 2]).await {
        assert_eq!(reply.status, 403, "{reply:?}");
    }
    assert_eq!(n_rows(&server, "SELECT count(*) FROM keys").await, 0);
    let (place, shown) = led(twice(home, "/keys", &fields, [PASSWORD; 2]).await);
    assert_eq!(n_rows(&server, "SELECT count(*) FROM keys").await, 1);
    assert_eq!(place, between(&shown, "data-once=\"", "\""));
    let key = between(&shown, "id=\"key\" data-secret>", "<");
    assert_eq!(server.get("/v3/me").header("x-api-key", key).send().await.status, 200);
    // One of them is wrong: it fails and leaves its turn to the other, or comes after it.
    server.advance(ELEVEN_MINUTES);
    let fields = [&fields[1..], &[("once", "another")]].concat();
    let [wrong, right] = twice(home, "/keys", &fields, ["wrong wrong wrong", PASSWORD]).await;
    assert!([403, 303].contains(&wrong.status), "{wrong:?}");
    assert_eq!(right.status, 201, "{right:?}");
    assert_eq!(n_rows(&server, "SELECT count(*) FROM keys").await, 2);
}

#[tokio::test]
async fn of_two_forms_for_a_rotation_or_a_webhook_one_makes_it() {
    let server = TestServer::start().await;
    member(&server, Role::Owner).await;
    let key = server.key().await;
    let cookie = Browser::signed_in(&server, Role::Owner).await.cookie;
    server.advance(ELEVEN_MINUTES);
    let home = (&server, cookie.as_str());
    let path = format!("/keys/{}/rotate", key.id);
    let (place, shown) =
        led(twice(home, &path, &[("once", "a"), ("grace", "1h")], [PASSWORD; 2]).await);
    assert_eq!(n_rows(&server, "SELECT count(*) FROM keys").await, 2);
    assert_eq!(place, between(&shown, "data-once=\"", "\""));
    let fields = [
        ("once", "b"),
        ("name", "CRM"),
        ("environment", "test"),
        ("url", "http://127.0.0.1:9/"),
        ("event", "contact"),
        ("retries", "3"),
        ("timeout", "30"),
    ];
    let (webhook, _) = led(twice(home, "/webhooks", &fields, [PASSWORD; 2]).await);
    assert_eq!(n_rows(&server, "SELECT count(*) FROM webhooks").await, 1);
    server.advance(ELEVEN_MINUTES);
    let path = format!("{webhook}/rotate");
    let (place, _) = led(twice(home, &path, &[("once", "c")], [PASSWORD; 2]).await);
    assert_eq!(place, webhook);
    let rotated = "SELECT count(*) FROM audit WHERE action = 'webhook.secret_rotated'";
    assert_eq!(n_rows(&server, rotated).await, 1);
}
