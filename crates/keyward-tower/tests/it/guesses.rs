//! Requests without a good key are limited for each address; nobody with a good key feels it.
//! Contract 5.

use crate::stock::{DISABLED, GOOD, UNKNOWN};
use crate::world::{World, echo, get};

const LIMITED: &str = r#"429 Too Many Requests
content-type: application/json
retry-after: 60
x-api-version: v3
x-ratelimit-limit: 60
x-ratelimit-remaining: 0
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000061
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "BUSINESS_002",
    "message": "Rate limit exceeded",
    "doc_url": "https://docs.sent.dm/errors/BUSINESS_002"
  },
  "meta": {
    "request_id": "req_00000000000000000061",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;

#[test]
fn the_61st_request_without_a_good_key_is_refused_for_the_limit() {
    let world = World::new();
    for number in 0..60 {
        let request = match number % 4 {
            0 => get("/v3/contacts"),
            1 => get("/v3/contacts").key(UNKNOWN),
            2 => get("/v3/contacts").key("quite wrong"),
            _ => get("/v3/contacts").key(DISABLED),
        };
        assert_eq!(world.status_of(request), 401, "{number}");
    }
    assert_eq!(world.send(get("/v3/contacts").key(UNKNOWN)), LIMITED);

    // A good key from there, and anybody from elsewhere, is answered as ever.
    let answer = world.head_of(get("/v3/contacts").key(GOOD));
    let expected = "\
200 OK
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000062
x-response-time: 0ms";
    assert_eq!(answer, expected);
    let elsewhere = get("/v3/contacts").from("192.0.2.2:50000");
    assert_eq!(world.status_of(elsewhere), 401);
    assert_eq!(world.status_of(get("/healthcheck")), 200);
}

#[test]
fn guesses_are_answered_again_when_the_headers_say_so() {
    let world = World::new();
    for _ in 0..60 {
        world.send(get("/v3/contacts"));
    }
    world.clock.advance_millis(20_500);
    let after = world.header_of(get("/v3/contacts"), "retry-after");
    assert_eq!(after.as_deref(), Some("40"));
    world.clock.advance_millis(39_499);
    assert_eq!(world.status_of(get("/v3/contacts")), 429);
    world.clock.advance_millis(1);
    assert_eq!(world.status_of(get("/v3/contacts")), 401);
}

#[test]
fn requests_with_a_good_key_are_no_guesses() {
    let world = World::new();
    for _ in 0..200 {
        assert_eq!(world.status_of(get("/v3/contacts").key(GOOD)), 200);
    }
    assert_eq!(world.status_of(get("/v3/contacts").key(GOOD)), 429);
    for _ in 0..60 {
        assert_eq!(world.status_of(get("/v3/contacts")), 401);
    }
}

#[test]
fn a_forwarded_address_is_believed_from_a_trusted_proxy_only() {
    let client_of = |world: World, peer: &str, forwarded: &str| {
        let world = world.answering(|request| Ok(echo(&request)));
        let request = get("/healthcheck").from(peer);
        let answer = world.send(request.header("x-forwarded-for", forwarded));
        let body = answer.split_once("\n\n").expect("a body").1.to_owned();
        let mut words = body.split(' ').map(str::to_owned);
        words.nth(1).expect("the address of the client")
    };
    let trusting = || World::behind_proxies(&["10.0.0.0/8"]);
    let check = |world, peer, forwarded, expected| {
        assert_eq!(client_of(world, peer, forwarded), expected, "{peer} {forwarded}");
    };
    check(World::new(), "10.0.0.1:1", "198.51.100.7", "10.0.0.1");
    check(trusting(), "192.0.2.1:1", "198.51.100.7", "192.0.2.1");
    check(trusting(), "10.0.0.1:1", "198.51.100.7", "198.51.100.7");
    check(trusting(), "10.0.0.1:1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7");
    check(trusting(), "10.0.0.1:1", "2001:db8::7", "2001:db8::7");
}

#[test]
fn nobody_escapes_the_limit_by_making_up_addresses() {
    let world = World::new();
    let request =
        |number: u8| get("/v3/contacts").header("x-forwarded-for", format!("198.51.100.{number}"));
    for number in 0..60 {
        assert_eq!(world.status_of(request(number)), 401, "{number}");
    }
    assert_eq!(world.send(request(60)), LIMITED);
}

#[test]
fn behind_a_trusted_proxy_each_client_is_counted_for_itself() {
    let world = World::behind_proxies(&["192.0.2.0/24"]);
    let request = |client| get("/v3/contacts").header("x-forwarded-for", client);
    for _ in 0..60 {
        assert_eq!(world.status_of(request("198.51.100.7")), 401);
    }
    assert_eq!(world.send(request("198.51.100.7")), LIMITED);
    assert_eq!(world.status_of(request("198.51.100.8")), 401);
}
