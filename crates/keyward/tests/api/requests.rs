//! Contract 2: which check a request was refused at, as it is remembered and told to people.

use std::sync::mpsc;

use keyward::app::actor::Person;
use keyward::app::requests::{self, Story};
use keyward::app::{Actor, AppError, accounts, keys};
use keyward::observe::records::{Dropped, WAITING};
use keyward::server::routes::ENDPOINTS;
use keyward_core::account::{AccountKind, AccountState, Environment};
use keyward_core::id::{AccountId, UserId};
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS};
use keyward_store::requests::{NewRequest, RequestFilter, Whose};
use keyward_store::users::{self, User};
use keyward_store::{StoreError, key_list};

use crate::support::{BEGIN, BareServer, Call, KeyOf, Reply, TestKey, TestServer};

fn asked_by(method: &str, pattern: &str) -> Option<Permission> {
    let found = ENDPOINTS.iter().find(|e| e.method == method && e.pattern == pattern);
    found.and_then(|endpoint| endpoint.permission)
}

/// A member of an account. Those of one role are one and the same.
async fn member(server: &BareServer, account: AccountId, role: Role) -> Person {
    let mut bytes = *account.as_bytes();
    bytes[0] ^= 1 + u8::try_from(role as usize).expect("there are four");
    let user = User {
        id: UserId::from_bytes(bytes),
        account,
        environment: Environment::Production,
        name: if role == Role::Owner { String::from("Ada") } else { role.to_string() },
        email: format!("{role}@{account}.example.com"),
        role,
        status: UserStatus::Active,
        password_hash: None,
        created_at: BEGIN,
        invited_at: None,
        last_login_at: None,
        updated_at: None,
        totp: None,
        totp_step: 0,
    };
    let id = user.id;
    server
        .app()
        .store
        .write(move |tx| {
            if users::find(tx, user.id)?.is_none() {
                users::insert(tx, &user)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .expect("the store writes");
    Person { user: id, account, role, address: [192, 0, 2, 1].into() }
}

fn id_of(reply: &Reply) -> String {
    reply.header("x-request-id").expect("every answer has one").to_owned()
}

async fn find(server: &BareServer, person: &Person, id: &str) -> Result<Story, AppError> {
    server.running().flush_records().await.expect("the store writes");
    requests::find(server.app(), person, id, asked_by).await
}

/// Sends a request and tells why it was answered as it was: status, check, why.
async fn told(server: &BareServer, person: &Person, call: Call<'_>) -> String {
    let reply = call.send().await;
    let story = find(server, person, &id_of(&reply)).await.expect("it is remembered");
    assert_eq!(story.request.status, reply.status);
    assert!(requests::CHECKS.contains(&story.check));
    assert!(reply.status < 400 || !story.remedy.is_empty(), "{}", story.why);
    format!("{} {}: {}", reply.status, story.check, story.why)
}

async fn count(server: &BareServer, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM requests WHERE {condition}");
    let read = server.app().store.read(move |tx| tx.query_one(&sql, &[], |row| row.int(0)));
    read.await.unwrap_or_else(|error: StoreError| panic!("{error}")).unwrap_or(0)
}

async fn execute(server: &BareServer, sql: &'static str) {
    let written = server.app().store.write(move |tx| tx.execute(sql, &[]));
    written.await.unwrap_or_else(|error: StoreError| panic!("{sql}: {error}"));
}

/// Keeps the store from writing until it is dropped.
async fn hold_writer(server: &BareServer) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    let (begins, began) = tokio::sync::oneshot::channel();
    let store = server.app().store.clone();
    tokio::spawn(async move {
        let job = store.write(move |_| {
            let _ = begins.send(());
            let _ = held.recv();
            Ok::<_, StoreError>(())
        });
        job.await
    });
    began.await.expect("the writer takes the job");
    release
}

#[tokio::test]
async fn a_refusal_at_the_key_is_told_with_its_reason() {
    let server = TestServer::start().await;
    let (app, ada) = (server.app(), member(&server, server.account.id, Role::Owner).await);
    let actor = Actor::Person(ada);
    let me = || server.get("/v3/me");
    let expired = server.issue(KeyOf { expires_at: Some(BEGIN + 1), ..server.usual() }).await;
    let (disabled, revoked, rotated) = (server.key().await, server.key().await, server.key().await);
    keys::disable(app, &actor, disabled.id).await.expect("it is enabled");
    keys::revoke(app, &Actor::Operator, revoked.id).await.expect("it is not revoked");
    let (successor, _) = keys::rotate(app, &actor, rotated.id, 0).await.expect("it is usable");
    let network = vec!["203.0.113.0/24".parse().expect("a network")];
    let fenced = server.issue(KeyOf { networks: network, ..server.usual() }).await;
    server.advance(1);
    let named = |key: &TestKey| format!("“billing job” (…{})", &key.clear[32..]);
    let next = format!("“billing job” (…{})", successor.record.hint.as_str());
    let unknown = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let table = [
        (me(), "key present: No key was sent, or a blank one.".to_owned()),
        (
            me().key(&revoked).key(&revoked),
            "key good: More than one x-api-key header was sent.".to_owned(),
        ),
        (
            me().header("x-api-key", "secret"),
            "key good: What was sent has not the form of a key: 36 characters, five groups of \
             hexadecimal digits with hyphens."
                .to_owned(),
        ),
        (
            me().header("x-api-key", unknown),
            "key good: The key is not one of this server's, though it has the form of one."
                .to_owned(),
        ),
        (
            me().key(&expired),
            format!("key good: {} expired on 2024-01-01T00:00:00Z.", named(&expired)),
        ),
        (
            me().key(&disabled),
            format!("key good: {} was disabled by Ada on 2024-01-01T00:00:00Z.", named(&disabled)),
        ),
        (
            me().key(&revoked),
            format!(
                "key good: {} was revoked by somebody at the command line on 2024-01-01T00:00:00Z. \
                 That cannot be undone.",
                named(&revoked)
            ),
        ),
        (
            me().key(&rotated),
            format!(
                "key good: {} was rotated by Ada on 2024-01-01T00:00:00Z, and worked until \
                 2024-01-01T00:00:00Z. Its successor is {next}.",
                named(&rotated)
            ),
        ),
        (
            me().key(&fenced),
            format!(
                "key good: {} may not be used from 127.0.0.1. Allowed are 203.0.113.0/24.",
                named(&fenced)
            ),
        ),
    ];
    for (call, expected) in table {
        assert_eq!(told(&server, &ada, call).await, format!("401 {expected}"));
    }
    let reply = me().key(&rotated).send().await;
    let story = find(&server, &ada, &format!(" {} \n", id_of(&reply))).await.expect("trimmed");
    assert_eq!(story.key.expect("it is known").id, rotated.id);
    assert_eq!(story.successor.expect("it was rotated").id, successor.record.id);
    assert_eq!(story.request.reason.as_deref(), Some("key_rotated"));
}

#[tokio::test]
async fn a_refusal_behind_the_key_is_told_with_its_check() {
    let server = TestServer::start().await;
    let (app, ada) = (server.app(), member(&server, server.account.id, Role::Owner).await);
    let key = server.key().await;
    let reader = KeyOf { permissions: PermissionSet::READ_ONLY, ..server.usual() };
    let reader = server.issue(reader).await;
    let unknown = "/v3/contacts/0f8fad5b-d9cb-469f-a165-70867728950e";
    let contact = r#"{"phone_number":"+14155550123"}"#;
    server.post("/v3/contacts", contact).key(&key).send().await;
    let form = server.call("POST", "/v3/contacts").key(&key).header("content-type", "text/plain");
    let as_profile = |id: &str| server.get("/v3/me").key(&key).header("x-profile-id", id);
    let table = [
        (server.get("/v3/me").key(&key), "200 all passed"),
        (as_profile("1"), "400 x-profile-id"),
        (as_profile("0f8fad5b-d9cb-469f-a165-70867728950e"), "404 x-profile-id"),
        (server.get("/v3/nothing").key(&key), "404 route and method"),
        (server.call("PUT", "/v3/me").key(&key), "405 route and method"),
        (server.post("/v3/contacts", contact).key(&reader), "403 permission"),
        (form.body("x"), "415 size, type, JSON"),
        (server.post("/v3/contacts", "{}").key(&key), "400 validation"),
        (server.get("/v3/contacts?page=0").key(&key), "400 validation"),
        (server.get(unknown).key(&key), "404 resource"),
        (server.post("/v3/contacts", contact).key(&key), "409 resource"),
    ];
    for (call, expected) in table {
        let text = told(&server, &ada, call).await;
        assert_eq!(text.split(": ").next(), Some(expected), "{text}");
    }
    let denied = told(&server, &ada, server.post("/v3/contacts", contact).key(&reader)).await;
    assert!(denied.ends_with(" is good, but lacks contacts:write."), "{denied}");
    let wrong = told(&server, &ada, server.call("PUT", "/v3/me").key(&key)).await;
    assert!(wrong.ends_with("The route does not take PUT."), "{wrong}");
    execute(&server, "ALTER TABLE contacts RENAME TO contacts_away").await;
    let failed = told(&server, &ada, server.get("/v3/contacts").key(&key)).await;
    assert_eq!(
        failed,
        "500 answer: The request was fine, and something went wrong inside the server."
    );
    let (id, suspended) = (server.account.id, AccountState::Suspended);
    accounts::set_state(app, &Actor::Operator, id, suspended).await.expect("another state");
    let text = told(&server, &ada, server.get("/v3/contacts").key(&key)).await;
    assert!(
        text.starts_with("403 account usable: ") && text.contains("account suspended"),
        "{text}"
    );
}

#[tokio::test]
async fn a_limit_is_told_with_the_second_that_the_headers_told() {
    let server = TestServer::start_with(|settings| {
        settings.rate_limit_standard = 1;
        settings.rate_limit_unauthenticated = 1;
    })
    .await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let key = server.key().await;
    let me = || server.get("/v3/me");
    assert_eq!(me().key(&key).send().await.status, 200);
    server.advance(1_500);
    let reply = me().key(&key).send().await;
    assert_eq!((reply.status, reply.header("x-ratelimit-reset")), (429, Some("1704067260")));
    assert_eq!(
        told(&server, &ada, me().key(&key)).await,
        "429 rate limit: The limit of 1 requests a minute was reached. The window resets at \
         2024-01-01T00:01:00Z."
    );
    assert_eq!(me().send().await.status, 401);
    assert_eq!(
        told(&server, &ada, me()).await,
        "429 rate limit: Too many requests without a good key came from 127.0.0.1 within a minute: \
         more than 1."
    );
}

#[tokio::test]
async fn only_requests_below_v3_are_remembered_and_never_what_was_sent() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let other = "0f8fad5b-d9cb-469f-a165-70867728950e";
    for path in ["/", "/healthcheck", "/errors/AUTH_001", "/nothing", "/v33", "/login"] {
        server.get(path).send().await;
    }
    server.raw(b"nonsense\r\n\r\n").await;
    server.running().flush_records().await.expect("the store writes");
    assert_eq!(count(&server, "1 = 1").await, 0);
    let path = format!("/v3/contacts?search=secret-query&x-api-key={other}");
    server.get(&path).key(&key).send().await;
    server.get("/v3/me").header("x-api-key", other).send().await;
    server.get(&format!("/v3/{}", key.clear)).key(&key).send().await;
    server.get(&format!("/v3/contacts/{other}")).key(&key).send().await;
    server.call("SECRETMETHOD", "/v3/me").key(&key).send().await;
    server.post("/v3/contacts", r#"{"phone_number":"secret-body"}"#).key(&key).send().await;
    server.running().flush_records().await.expect("the store writes");
    let id = key.id;
    let read = server.app().store.read(move |tx| {
        let columns = tx.query("SELECT name FROM pragma_table_info('requests')", &[], |row| {
            Ok(format!("coalesce({}, '-')", row.text(0)?))
        })?;
        let sql = format!("SELECT {} FROM requests", columns.join(" || ' ' || "));
        let rows = tx.query(&sql, &[], |row| Ok(row.text(0)?.to_lowercase()))?;
        Ok::<_, StoreError>((rows, keyward_store::keys::find(tx, id)?))
    });
    let (rows, record) = read.await.expect("the store answers");
    let text = rows.join("\n");
    assert_eq!(rows.len(), 6, "{text}");
    let digest = record.expect("it was issued").digest;
    let digest: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = key.clear.replace('-', "");
    let secrets = [&key.clear, other, &digits, &digest, "secret"];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is remembered: {text}");
    }
    assert_eq!(count(&server, "method = 'other' AND route = '/v3/me' AND status = 405").await, 1);
}

#[tokio::test]
async fn a_flood_drops_good_requests_and_keeps_refusals_while_nothing_can_be_written() {
    let server = TestServer::start_with(|settings| settings.request_records = 1_000_000).await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let key = server.key().await;
    server.running().flush_records().await.expect("the store writes");
    let release = hold_writer(&server).await;
    let flood = |n: usize, status| {
        for _ in 0..n {
            server.app().records.push(NewRequest {
                at: BEGIN,
                request_id: *b"req_flooding000000000000",
                account: None,
                key: None,
                environment: None,
                method: "GET",
                route: "/v3/me",
                status,
                code: None,
                reason: None,
                limited: None,
                address: [192, 0, 2, 1].into(),
                micros: 1,
                flags: 0,
            });
        }
    };
    // Nothing of the server runs in between: this test has one thread.
    flood(WAITING + 3_000, 200);
    flood(100, 401);
    let expected = Dropped { refused: 0, passed: 3_000 };
    assert_eq!(requests::dropped(server.app()), expected);
    assert_eq!(server.get("/v3/me").key(&key).send().await.status, 200);
    let refused = server.get("/v3/me").send().await;
    assert_eq!(refused.status, 401);
    drop(release);
    find(&server, &ada, &id_of(&refused)).await.expect("it was kept");
    assert_eq!(count(&server, "status = 401").await, 101);
    let dropped = requests::dropped(server.app());
    assert_eq!(dropped.refused, 0);
    let n_passed = i64::try_from(WAITING + 3_001).expect("it is small");
    let n_dropped = i64::try_from(dropped.passed).expect("it is small");
    assert_eq!(count(&server, "status = 200").await, n_passed - n_dropped);
}

#[tokio::test]
async fn the_newest_requests_are_kept_up_to_the_number_that_is_set() {
    let server = TestServer::start_with(|settings| settings.request_records = 10).await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let first = server.get("/v3/me").send().await;
    find(&server, &ada, &id_of(&first)).await.expect("there is room");
    for _ in 0..9 {
        server.get("/v3/me").send().await;
    }
    find(&server, &ada, &id_of(&first)).await.expect("there still is");
    let last = server.get("/v3/me").send().await;
    find(&server, &ada, &id_of(&last)).await.expect("it is the newest");
    let gone = find(&server, &ada, &id_of(&first)).await;
    assert!(matches!(gone, Err(AppError::NotFound(_))));
    assert_eq!(count(&server, "1 = 1").await, 10);
}

#[tokio::test]
async fn requests_are_forgotten_after_the_days_that_are_set() {
    let server = TestServer::start_with(|settings| settings.request_days = 2).await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let old = server.get("/v3/me").send().await;
    server.advance(DAY_MILLIS.unsigned_abs());
    let young = server.get("/v3/me").send().await;
    server.advance(DAY_MILLIS.unsigned_abs());
    find(&server, &ada, &id_of(&old)).await.expect("it is two days old to the millisecond");
    server.advance(1);
    assert!(matches!(find(&server, &ada, &id_of(&old)).await, Err(AppError::NotFound(_))));
    find(&server, &ada, &id_of(&young)).await.expect("it is younger");
}

#[tokio::test]
async fn nothing_is_remembered_where_that_is_switched_off() {
    let server = TestServer::start_with(|settings| settings.request_records = 0).await;
    server.get("/v3/me").send().await;
    server.running().flush_records().await.expect("there is nothing to do");
    assert_eq!(count(&server, "1 = 1").await, 0);
    assert_eq!(requests::dropped(server.app()), Dropped::default());
}

#[tokio::test]
async fn what_was_answered_before_a_stop_is_remembered_after_it() {
    let mut server = TestServer::start().await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let key = server.key().await;
    let (passed, refused) =
        (server.get("/v3/me").key(&key).send().await, server.get("/v3/me").send().await);
    server.restart().await;
    for (reply, check) in [(passed, "all passed"), (refused, "key present")] {
        let story = requests::find(server.app(), &ada, &id_of(&reply), asked_by).await;
        assert_eq!(story.expect("it was written").check, check);
    }
}

#[tokio::test]
async fn a_store_that_cannot_write_disturbs_no_request_and_is_told_once() {
    let mut server = TestServer::start().await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let key = server.key().await;
    server.running().flush_records().await.expect("the store writes");
    execute(&server, "ALTER TABLE requests RENAME TO requests_away").await;
    let during = server.get("/v3/me").key(&key).send().await;
    assert_eq!(during.status, 200);
    assert!(server.running().flush_records().await.is_err());
    server.wait_for_log("requests cannot be remembered").await;
    let later = server.get("/v3/me").send().await;
    assert_eq!(later.status, 401);
    assert!(server.running().flush_records().await.is_err());
    execute(&server, "ALTER TABLE requests_away RENAME TO requests").await;
    for reply in [during, later] {
        find(&server, &ada, &id_of(&reply)).await.expect("it has waited");
    }
    server.wait_for_log("requests are remembered again; 0 were dropped").await;
    server.stop().await;
    let text = server.logged.text();
    assert_eq!(text.matches("requests cannot be remembered").count(), 1);
    assert_eq!(text.matches("requests are remembered again").count(), 1);
}

#[tokio::test]
async fn a_stop_that_cannot_write_them_ends_all_the_same() {
    let mut server = TestServer::start().await;
    server.running().flush_records().await.expect("the store writes");
    execute(&server, "ALTER TABLE requests RENAME TO requests_away").await;
    assert_eq!(server.get("/v3/me").send().await.status, 401);
    server.stop().await;
    assert!(server.logged.text().contains("the last requests could not be remembered"));
}

#[tokio::test]
async fn a_request_is_told_to_members_of_its_keys_account_as_far_as_they_see_the_key() {
    let server = TestServer::start().await;
    let acme = server.account.id;
    let other = server.new_account("Other", AccountKind::Organization).await.id;
    let production = server.key().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let shared = server.key().await;
    let of_other = server.issue(KeyOf { account: other, ..server.usual() }).await;
    let id = shared.id;
    let share = server.app().store.write(move |tx| key_list::share(tx, id, true));
    share.await.unwrap_or_else(|error: StoreError| panic!("{error}"));
    let mut ids = vec![];
    for key in [&production, &test, &shared, &of_other] {
        ids.push(id_of(&server.get("/v3/me").key(key).send().await));
    }
    ids.push(id_of(&server.get("/v3/me").send().await));
    ids.push(String::from("req_00000000000000009999"));
    // Production, test, shared, another account's, without a key, made up.
    let table = [
        (acme, Role::Owner, "yes yes yes no yes no"),
        (acme, Role::Admin, "yes yes yes no yes no"),
        (acme, Role::Developer, "no yes yes no yes no"),
        (acme, Role::Billing, "never never never never never never"),
        (other, Role::Owner, "no no no yes yes no"),
        (other, Role::Developer, "no no no no yes no"),
    ];
    for (account, role, expected) in table {
        let person = member(&server, account, role).await;
        let mut found = vec![];
        for id in &ids {
            found.push(match find(&server, &person, id).await {
                Ok(_) => "yes",
                Err(AppError::NotFound(_)) => "no",
                Err(AppError::NotAllowed) => "never",
                Err(error) => panic!("{error}"),
            });
        }
        assert_eq!(found.join(" "), expected, "{role} of {account}");
    }
}

#[tokio::test]
async fn lists_hold_what_a_member_may_see_and_nothing_of_others() {
    let server = TestServer::start().await;
    let acme = server.account.id;
    let other = server.new_account("Other", AccountKind::Organization).await.id;
    let production = server.key().await;
    let test = server.issue(KeyOf { environment: Environment::Test, ..server.usual() }).await;
    let of_other = server.issue(KeyOf { account: other, ..server.usual() }).await;
    for key in [&production, &test, &of_other, &production] {
        server.get("/v3/me").key(key).send().await;
    }
    server.get("/v3/contacts").send().await;
    server.running().flush_records().await.expect("the store writes");
    let check = async |account, role, whose, expected: &str| {
        let person = member(&server, account, role).await;
        let filter = RequestFilter { most: 50, ..RequestFilter::default() };
        let found = match requests::list(server.app(), &person, whose, filter).await {
            Ok(found) => found.rows.len().to_string(),
            Err(AppError::NotFound(_)) => String::from("no"),
            Err(AppError::NotAllowed) => String::from("never"),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected, "{role} of {account}: {whose:?}");
    };
    let key = |key: &TestKey| Whose::Key(key.id);
    check(acme, Role::Owner, Whose::Account(acme), "3").await;
    check(acme, Role::Developer, Whose::Account(acme), "1").await;
    check(acme, Role::Billing, Whose::Account(acme), "never").await;
    check(acme, Role::Owner, Whose::Account(other), "no").await;
    check(acme, Role::Admin, key(&production), "2").await;
    check(acme, Role::Admin, key(&of_other), "no").await;
    check(acme, Role::Developer, key(&production), "no").await;
    check(acme, Role::Developer, key(&test), "1").await;
    check(acme, Role::Billing, key(&test), "never").await;
    // Requests without a known key: for those who run the account that was there first.
    check(acme, Role::Owner, Whose::Strangers, "1").await;
    check(acme, Role::Developer, Whose::Strangers, "never").await;
    check(other, Role::Owner, Whose::Strangers, "never").await;
    check(acme, Role::Billing, Whose::Strangers, "never").await;
}

#[tokio::test]
async fn a_profiles_request_is_remembered_for_the_account_of_its_key() {
    let server = TestServer::start().await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let profile = server.new_account("Acme Shop", AccountKind::Profile).await.id;
    let key = server.key().await;
    let call = server.get("/v3/me").key(&key).header("x-profile-id", profile.to_string());
    let id = id_of(&call.send().await);
    let story = find(&server, &ada, &id).await.expect("the key is the organization's");
    assert_eq!(story.request.account, Some(server.account.id));
    let of_profile = member(&server, profile, Role::Owner).await;
    assert!(matches!(find(&server, &of_profile, &id).await, Err(AppError::NotFound(_))));
}

#[tokio::test]
async fn how_a_key_was_exposed_and_from_where_it_was_used_is_noted() {
    let server = TestServer::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let ada = member(&server, server.account.id, Role::Owner).await;
    let (key, revoked) = (server.key().await, server.key().await);
    keys::revoke(server.app(), &Actor::Operator, revoked.id).await.expect("it is not revoked");
    let from = |address: &str, proto: &str, key: &TestKey| {
        let call = server.get("/v3/me").key(key).header("x-forwarded-for", address);
        call.header("x-forwarded-proto", proto)
    };
    from("198.51.100.7", "https", &key).send().await;
    from("198.51.100.8", "http", &key).send().await;
    from("2001:db8:1::1", "https", &key).header("origin", "https://example.com").send().await;
    from("203.0.113.9", "https", &revoked).send().await;
    server.running().flush_records().await.expect("the store writes");
    server.advance(HOUR_MILLIS.unsigned_abs());
    let last = from("198.51.100.9", "http", &key).send().await;
    let story = find(&server, &ada, &id_of(&last)).await.expect("it is remembered");
    assert_eq!((story.check, story.remedy.len()), ("all passed", 1));
    let (account, id, other) = (server.account.id, key.id, revoked.id);
    let read = server.app().store.read(move |tx| {
        Ok::<_, StoreError>((
            keyward_store::requests::exposures_of(tx, account, BEGIN)?,
            keyward_store::requests::networks_of(tx, id)?,
            keyward_store::requests::networks_of(tx, other)?,
        ))
    });
    let (exposures, networks, of_revoked) = read.await.expect("the store answers");
    let exposures: Vec<_> =
        exposures.iter().map(|e| (e.kind.as_str(), e.last_at, e.requests)).collect();
    let later = BEGIN + HOUR_MILLIS;
    assert_eq!(exposures, [("plain_http", later, 2), ("browser", BEGIN, 1)]);
    let network = |text: &str, first, last| (text.to_owned(), first, last);
    assert_eq!(
        networks,
        [network("198.51.100.0/24", BEGIN, later), network("2001:db8:1::/48", BEGIN, BEGIN)]
    );
    assert_eq!(of_revoked, []);
}
