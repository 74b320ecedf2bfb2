//! The windows of an account, and what the headers say of them. Contract 5.

use keyward_tower::{ApiError, Code};

use crate::stock::{GOOD, OF_SUSPENDED, SECOND, TEST};
use crate::world::{START, World, get, post};

fn rate_headers(world: &World, key: &str, path: &str) -> String {
    let request = if path == "/v3/users" { post(path) } else { get(path) };
    let head = world.head_of(request.key(key));
    head.lines()
        .filter(|line| line.starts_with("x-ratelimit-") || line.starts_with("retry-after"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_remains_falls_by_one_for_each_request_and_the_201st_is_refused() {
    let world = World::new();
    for left in (0..200).rev() {
        assert_eq!(
            rate_headers(&world, GOOD, "/v3/contacts"),
            format!(
                "x-ratelimit-limit: 200 x-ratelimit-remaining: {left} x-ratelimit-reset: 1704067260"
            )
        );
    }
    let expected = r#"429 Too Many Requests
content-type: application/json
retry-after: 60
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 0
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000201
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "BUSINESS_002",
    "message": "Rate limit exceeded",
    "doc_url": "https://docs.sent.dm/errors/BUSINESS_002"
  },
  "meta": {
    "request_id": "req_00000000000000000201",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), expected);
    world.clock.advance_millis(59_999);
    let expected = expected
        .replace("retry-after: 60", "retry-after: 1")
        .replace("000201", "000202")
        .replace("T00:00:00Z", "T00:00:59Z");
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), expected);
}

#[test]
fn all_keys_of_an_account_share_a_window_and_its_environments_do_not() {
    let world = World::new();
    let left = |key| world.header_of(get("/v3/contacts").key(key), "x-ratelimit-remaining");
    assert_eq!(left(GOOD).as_deref(), Some("199"));
    assert_eq!(left(SECOND).as_deref(), Some("198"));
    assert_eq!(left(TEST).as_deref(), Some("199"));
    assert_eq!(left(GOOD).as_deref(), Some("197"));
    assert_eq!(left(TEST).as_deref(), Some("198"));
}

#[test]
fn sensitive_routes_have_a_pool_of_their_own() {
    let world = World::new();
    for left in (0..10).rev() {
        assert_eq!(
            rate_headers(&world, GOOD, "/v3/users"),
            format!(
                "x-ratelimit-limit: 10 x-ratelimit-remaining: {left} x-ratelimit-reset: 1704067260"
            )
        );
    }
    assert_eq!(
        rate_headers(&world, GOOD, "/v3/users"),
        "retry-after: 60 x-ratelimit-limit: 10 x-ratelimit-remaining: 0 \
         x-ratelimit-reset: 1704067260"
    );
    assert_eq!(
        rate_headers(&world, GOOD, "/v3/contacts"),
        "x-ratelimit-limit: 200 x-ratelimit-remaining: 199 x-ratelimit-reset: 1704067260"
    );
    let test = post("/v3/webhooks/1/test").key(GOOD);
    let left = world.header_of(test, "x-ratelimit-remaining");
    assert_eq!(left.as_deref(), Some("59"));
}

#[test]
fn a_request_at_reset_is_let_in_wherever_in_a_second_the_window_opened() {
    for opened in [0, 1, 400, 999] {
        let world = World::new();
        world.clock.advance_millis(opened);
        for _ in 0..10 {
            assert_eq!(world.status_of(post("/v3/users").key(GOOD)), 200);
        }
        world.clock.advance_millis(17_350);
        let refused = || post("/v3/users").key(GOOD);
        let reset = world.header_of(refused(), "x-ratelimit-reset").expect("a recognised key");
        let reset: i64 = reset.parse().expect("a number");
        let until_reset = reset * 1000 - world.clock.unix_millis();
        let until_over =
            START + i64::try_from(opened).expect("small") + 60_000 - world.clock.unix_millis();
        assert!((0..1000).contains(&(until_reset - until_over)), "{opened}");

        let before = u64::try_from(until_over - 1).expect("ahead");
        world.clock.advance_millis(before);
        assert_eq!(world.status_of(refused()), 429, "{opened}");
        world.clock.advance_millis(u64::try_from(until_reset).expect("ahead") - before);
        assert_eq!(world.clock.unix_millis(), reset * 1000);
        assert_eq!(world.status_of(refused()), 200, "{opened}");
    }
}

#[test]
fn a_request_after_retry_after_is_let_in_wherever_in_the_window_it_was_refused() {
    for waited in [0, 1, 999, 1000, 30_500, 58_999, 59_000, 59_001, 59_999] {
        let world = World::new();
        for _ in 0..10 {
            assert_eq!(world.status_of(post("/v3/users").key(GOOD)), 200);
        }
        world.clock.advance_millis(waited);
        let refused = || post("/v3/users").key(GOOD);
        let after = world.header_of(refused(), "retry-after").expect("it is refused");
        let after: u64 = after.parse().expect("a whole number");
        assert!((1..=60).contains(&after), "{after}");
        world.clock.advance_millis(after * 1000);
        assert_eq!(world.status_of(refused()), 200, "{waited}");
    }
}

#[test]
fn a_new_window_opens_with_its_first_request() {
    let world = World::new();
    for _ in 0..3 {
        world.send(get("/v3/contacts").key(GOOD));
    }
    world.clock.advance_millis(75_000);
    assert_eq!(
        rate_headers(&world, GOOD, "/v3/contacts"),
        "x-ratelimit-limit: 200 x-ratelimit-remaining: 199 x-ratelimit-reset: 1704067335"
    );
}

#[test]
fn what_is_not_found_behind_the_door_has_spent_one() {
    let world = World::new().answering(|_| Err(ApiError::new(Code::EndpointNotFound)));
    let expected = r#"404 Not Found
content-type: application/json
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "REQUEST_001",
    "message": "Endpoint not found",
    "doc_url": "https://docs.sent.dm/errors/REQUEST_001"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(get("/v3/nothing").key(GOOD)), expected);
    let left = world.header_of(get("/v3/nothing").key(GOOD), "x-ratelimit-remaining");
    assert_eq!(left.as_deref(), Some("198"));
}

#[test]
fn looking_at_the_key_of_an_account_that_is_not_active_is_limited_too() {
    let world = World::new();
    for _ in 0..200 {
        assert_eq!(world.status_of(get("/v3/me").key(OF_SUSPENDED)), 200);
    }
    assert_eq!(world.status_of(get("/v3/me").key(OF_SUSPENDED)), 429);
    // The account comes before the limit.
    assert_eq!(world.status_of(get("/v3/contacts").key(OF_SUSPENDED)), 403);
}

#[test]
fn who_is_refused_for_the_limit_does_not_learn_which_routes_exist() {
    let world = World::new().answering(|_| Err(ApiError::new(Code::EndpointNotFound)));
    for _ in 0..200 {
        assert_eq!(world.status_of(get("/v3/nothing").key(GOOD)), 404);
    }
    assert_eq!(world.status_of(get("/v3/nothing").key(GOOD)), 429);
}
