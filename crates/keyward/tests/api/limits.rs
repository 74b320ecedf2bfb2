//! Contract 5: rate windows and their headers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyward::app::{Actor, accounts};
use keyward_core::account::{AccountKind, Environment, RateClass};
use keyward_store::{StoreError, Tx};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{KeyOf, TestServer};

#[tokio::test]
async fn the_two_hundred_and_first_request_in_a_minute_is_refused_with_true_headers() {
    let server = TestServer::start().await;
    let key = server.key().await;
    server.advance(250);
    for left in (0..200).rev() {
        let reply = server.get("/v3/me").key(&key).send().await;
        assert_eq!((reply.status, reply.remaining()), (200, Some(left)));
        assert_eq!(reply.header("x-ratelimit-reset"), Some("1704067261"));
        assert_eq!(reply.header("retry-after"), None);
    }
    server.advance(20_000);
    let reply = server.get("/v3/me").key(&key).send().await;
    let id = reply.header("x-request-id").expect("every answer has one").to_owned();
    assert_eq!(
        reply.whole().replace(&id, "req_xxx"),
        r#"429
content-type: application/json
retry-after: 40
x-request-id: req_xxx
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 0
x-ratelimit-reset: 1704067261
x-response-time: 0ms
content-length: 288

{
  "success": false,
  "error": {
    "code": "BUSINESS_002",
    "message": "Rate limit exceeded",
    "doc_url": "https://docs.sent.dm/errors/BUSINESS_002"
  },
  "meta": {
    "request_id": "req_xxx",
    "timestamp": "2024-01-01T00:00:20Z",
    "version": "v3"
  }
}"#
    );
    server.advance(39_999);
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "429 BUSINESS_002");
    server.advance(1);
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!((reply.status, reply.remaining()), (200, Some(199)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_any_concurrency_exactly_the_limit_is_let_in_and_each_remaining_is_told_once() {
    let server = Arc::new(TestServer::start().await);
    let keys = [server.key().await, server.key().await];
    let mut calls = JoinSet::new();
    for number in 0..300 {
        let (server, key) = (Arc::clone(&server), keys[number % 2].clone());
        calls.spawn(async move { server.get("/v3/me").key(&key).send().await });
    }
    let mut told: BTreeMap<(u16, Option<u32>), u32> = BTreeMap::new();
    while let Some(reply) = calls.join_next().await {
        let reply = reply.expect("no call panics");
        *told.entry((reply.status, reply.remaining())).or_default() += 1;
    }
    assert_eq!(told.remove(&(429, Some(0))), Some(100));
    let expected = (0..200).map(|left| ((200, Some(left)), 1)).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn production_and_test_and_other_accounts_have_pools_of_their_own() {
    let server = TestServer::start_with(|settings| settings.rate_limit_standard = 1).await;
    let production = server.key().await;
    let test = KeyOf { environment: Environment::Test, ..server.usual() };
    let test = server.issue(test).await;
    let other = server.new_account("Other", AccountKind::User).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    for key in [&production, &test, &other] {
        assert_eq!(server.get("/v3/me").key(key).send().await.verdict(), "200");
        assert_eq!(server.get("/v3/me").key(key).send().await.verdict(), "429 BUSINESS_002");
    }
}

#[tokio::test]
async fn whatever_is_answered_to_a_good_key_spends_one() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let calls = [
        (server.get("/v3/nothing"), "404 REQUEST_001"),
        (server.call("PUT", "/v3/me"), "405 REQUEST_002"),
        (server.get("/v3/contacts/1"), "400 VALIDATION_003"),
        (server.post("/v3/contacts", "["), "400 VALIDATION_001"),
        (server.get("/v3/contacts"), "200"),
    ];
    for ((call, expected), left) in calls.into_iter().zip((195..200).rev()) {
        let reply = call.key(&key).send().await;
        assert_eq!((reply.verdict().as_str(), reply.remaining()), (expected, Some(left)));
    }
}

#[tokio::test]
async fn an_account_can_have_a_limit_of_its_own_and_lose_it_again() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let set = async |limit| {
        let set = accounts::set_limit(
            server.app(),
            &Actor::Operator,
            server.account.id,
            RateClass::Standard,
            limit,
        );
        set.await.expect("the limit makes sense")
    };
    set(Some(2)).await;
    for (status, left) in [(200, 1), (200, 0), (429, 0)] {
        let reply = server.get("/v3/me").key(&key).send().await;
        assert_eq!((reply.status, reply.remaining()), (status, Some(left)));
        assert_eq!(reply.header("x-ratelimit-limit"), Some("2"));
    }
    set(Some(1000)).await;
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!((reply.status, reply.remaining()), (200, Some(997)));
    set(None).await;
    let reply = server.get("/v3/me").key(&key).send().await;
    assert_eq!(reply.header("x-ratelimit-limit"), Some("200"));
    for wrong in [0, 1_000_001] {
        let set = accounts::set_limit(
            server.app(),
            &Actor::Operator,
            server.account.id,
            RateClass::Standard,
            Some(wrong),
        );
        assert!(set.await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn guessing_is_limited_by_address_and_stops_nobody_with_a_good_key() {
    let server = TestServer::start().await;
    let key = server.key().await;
    for number in 0..60 {
        let guess = format!("00000000-0000-4000-8000-{number:012}");
        let call = if number % 3 == 0 {
            server.get("/v3/me")
        } else {
            server.get("/v3/me").header("x-api-key", guess)
        };
        let reply = call.send().await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("x-ratelimit-limit"), None, "there is no recognised key");
    }
    let reply = server.get("/v3/me").send().await;
    assert_eq!(reply.verdict(), "429 BUSINESS_002");
    assert_eq!(reply.header("x-ratelimit-limit"), Some("60"));
    assert_eq!(reply.header("retry-after"), Some("60"));
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    server.advance(60_000);
    assert_eq!(server.get("/v3/me").send().await.verdict(), "401 AUTH_001");
}

/// A read that ends when it is told to, and says when it began.
fn held(
    begun: &Arc<AtomicU32>,
    go: &Arc<Mutex<Receiver<()>>>,
) -> impl FnOnce(&mut Tx<'_>) -> Held + Send + use<> {
    let (begun, go) = (Arc::clone(begun), Arc::clone(go));
    move |_| {
        begun.fetch_add(1, Ordering::SeqCst);
        let told = go.lock().map_err(|_| StoreError::Busy)?.recv();
        told.map_err(|_| StoreError::Busy)
    }
}

type Held = Result<(), StoreError>;

/// More than any machine needs: what takes longer never ends.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn an_organization_and_its_profiles_have_turns_at_the_store_together() {
    let server = Arc::new(TestServer::start().await);
    let other = server.new_account("Other", AccountKind::Organization).await.id;
    let key = server.issue(KeyOf { account: other, ..server.usual() }).await;
    let mut of_one = vec![server.account.id];
    for name in ["Shop", "Outlet", "Market"] {
        of_one.push(server.new_account(name, AccountKind::Profile).await.id);
    }
    let (end, go) = std::sync::mpsc::channel();
    let (begun, go) = (Arc::<AtomicU32>::default(), Arc::new(Mutex::new(go)));
    let mut reads = JoinSet::new();
    for account in of_one.into_iter().cycle().take(40) {
        let (server, read) = (Arc::clone(&server), held(&begun, &go));
        reads.spawn(async move { server.app().read_for(account, read).await });
    }
    let two_read = async {
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, two_read).await.expect("two of three readers are theirs");
    for _ in 0..20 {
        let asked = server.get("/v3/contacts").key(&key);
        let reply = timeout(PATIENCE, asked.send()).await.expect("the third one is left");
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    for _ in 0..40 {
        end.send(()).expect("they wait");
    }
    assert!(reads.join_all().await.iter().all(Result::is_ok));
}
