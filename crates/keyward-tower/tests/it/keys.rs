//! Which keys are let in, and the words in which the others are refused. Contract 1, 2 and 3.

use keyward_tower::{ApiError, Code};

use crate::stock::{
    DISABLED, EXPIRED, FENCED, GOOD, OF_CHANNELLESS, OF_SUSPENDED, OF_UNVERIFIED, REVOKED, ROTATED,
    TEST, UNKNOWN,
};
use crate::world::{World, echo, get, post};

/// The guide's "Missing API Key (401)", with a request identifier in place of `req_xxx`.
const MISSING: &str = r#"401 Unauthorized
content-type: application/json
www-authenticate: ApiKey realm="v3", header="x-api-key"
x-api-version: v3
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "AUTH_001",
    "message": "User is not authenticated",
    "doc_url": "https://docs.sent.dm/errors/AUTH_001"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;

/// The guide's "Invalid or Expired API Key (401)".
const INVALID: &str = r#"401 Unauthorized
content-type: application/json
www-authenticate: ApiKey realm="v3", header="x-api-key"
x-api-version: v3
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "AUTH_002",
    "message": "Invalid or expired API key",
    "doc_url": "https://docs.sent.dm/errors/AUTH_002"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;

/// The guide's "Insufficient Permissions (403)".
const FORBIDDEN: &str = r#"403 Forbidden
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
    "code": "AUTH_004",
    "message": "Insufficient permissions for this operation",
    "doc_url": "https://docs.sent.dm/errors/AUTH_004"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;

const FINE: &str = "\
200 OK
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

fine";

#[test]
fn without_a_key_the_answer_is_that_of_the_guide() {
    assert_eq!(World::new().send(get("/v3/contacts")), MISSING);
}

#[test]
fn a_blank_key_is_no_key() {
    for blank in ["", " ", "\t", "    "] {
        let answer = World::new().send(get("/v3/contacts").key(blank));
        assert_eq!(answer, MISSING, "{blank:?}");
    }
}

#[test]
fn only_the_header_counts() {
    let elsewhere = [
        get("/v3/contacts").header("authorization", format!("Bearer {GOOD}")),
        get("/v3/contacts").header("authorization", GOOD),
        get(&format!("/v3/contacts?x-api-key={GOOD}")),
        get("/v3/contacts").header("cookie", format!("x-api-key={GOOD}")),
        get("/v3/contacts").header("x-api-key2", GOOD),
        get("/v3/contacts").header("api-key", GOOD),
    ];
    for request in elsewhere {
        assert_eq!(World::new().send(request), MISSING);
    }
}

#[test]
fn an_unknown_path_or_method_is_not_told_to_somebody_without_a_key() {
    for request in [get("/v3/nothing"), get("/"), post("/v3/me")] {
        assert_eq!(World::new().send(request), MISSING);
    }
}

#[test]
fn every_key_that_is_not_good_gets_the_same_answer() {
    let bad = [
        ("unknown", get("/v3/contacts").key(UNKNOWN)),
        ("expired", get("/v3/contacts").key(EXPIRED)),
        ("rotated away", get("/v3/contacts").key(ROTATED)),
        ("disabled", get("/v3/contacts").key(DISABLED)),
        ("revoked", get("/v3/contacts").key(REVOKED)),
        ("used from elsewhere", get("/v3/contacts").key(FENCED)),
        ("cut short", get("/v3/contacts").key(&GOOD[..35])),
        ("too long", get("/v3/contacts").key(format!("{GOOD}0"))),
        ("spaces around", get("/v3/contacts").key(format!(" {GOOD} "))),
        ("a space before", get("/v3/contacts").key(format!(" {GOOD}"))),
        ("quoted", get("/v3/contacts").key(format!("\"{GOOD}\""))),
        ("braces", get("/v3/contacts").key(format!("{{{GOOD}}}"))),
        ("urn", get("/v3/contacts").key(format!("urn:uuid:{GOOD}"))),
        ("no hyphens", get("/v3/contacts").key(GOOD.replace('-', ""))),
        ("a letter too far", get("/v3/contacts").key(GOOD.replace('a', "g"))),
        ("36 bytes beyond ASCII", get("/v3/contacts").key([0xc3; 36])),
        ("twice the same", get("/v3/contacts").key(GOOD).key(GOOD)),
        ("two of them", get("/v3/contacts").key(GOOD).key(TEST)),
        ("one of two blank", get("/v3/contacts").key("").key(GOOD)),
        ("on a path that does not exist", get("/v3/nothing").key(UNKNOWN)),
        ("on a path that spends elsewhere", post("/v3/users").key(REVOKED)),
        ("where accounts are exempt", get("/v3/me").key(EXPIRED)),
    ];
    for (what, request) in bad {
        assert_eq!(World::new().send(request), INVALID, "{what}");
    }
}

#[test]
fn a_missing_permission_is_answered_as_the_guide_prints_it() {
    let world = World::new().answering(|_| Err(ApiError::new(Code::PermissionMissing)));
    assert_eq!(world.send(post("/v3/contacts").key(GOOD)), FORBIDDEN);
}

#[test]
fn a_good_key_is_let_in_whatever_the_case_of_its_letters() {
    for key in [GOOD.to_owned(), GOOD.to_uppercase(), GOOD.replace('a', "A")] {
        let answer = World::new().send(get("/v3/contacts").key(&key));
        assert_eq!(answer, FINE, "{key}");
    }
}

#[test]
fn a_key_that_is_bound_to_a_network_is_let_in_from_there() {
    let request = get("/v3/contacts").key(FENCED).from("203.0.113.9:50000");
    assert_eq!(World::new().send(request), FINE);
    let request = get("/v3/contacts").key(FENCED).from("[::ffff:203.0.113.9]:50000");
    assert_eq!(World::new().send(request), FINE);
}

#[test]
fn an_account_that_is_not_active_is_told_so_and_spends_nothing() {
    let world = World::new();
    let expected = r#"403 Forbidden
content-type: application/json
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 200
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "AUTH_005",
    "message": "Your account is not yet activated. Please wait for account activation before using the API.",
    "doc_url": "https://docs.sent.dm/errors/AUTH_005"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    let request = || get("/v3/contacts").key(OF_SUSPENDED);
    assert_eq!(world.send(request()), expected);
    for _ in 0..250 {
        let left = world.header_of(request(), "x-ratelimit-remaining");
        assert_eq!(left.as_deref(), Some("200"));
    }
    assert_eq!(world.status_of(request()), 403);
}

#[test]
fn an_account_without_verification_is_told_so() {
    let expected = r#"403 Forbidden
content-type: application/json
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 200
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "AUTH_006",
    "message": "Your KYC verification is not complete. Please submit your KYC documents before using the API.",
    "doc_url": "https://docs.sent.dm/errors/AUTH_006"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    let answer = World::new().send(get("/v3/contacts").key(OF_UNVERIFIED));
    assert_eq!(answer, expected);
}

#[test]
fn an_account_without_a_channel_is_told_so() {
    let expected = r#"403 Forbidden
content-type: application/json
x-api-version: v3
x-ratelimit-limit: 10
x-ratelimit-remaining: 10
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

{
  "success": false,
  "error": {
    "code": "AUTH_007",
    "message": "Your account has no messaging channel configured. Please set up a channel before using the API.",
    "doc_url": "https://docs.sent.dm/errors/AUTH_007"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    let answer = World::new().send(post("/v3/users").key(OF_CHANNELLESS));
    assert_eq!(answer, expected);
}

#[test]
fn a_key_can_be_looked_at_whatever_its_account_is() {
    for key in [OF_SUSPENDED, OF_UNVERIFIED, OF_CHANNELLESS] {
        assert_eq!(World::new().send(get("/v3/me").key(key)), FINE, "{key}");
    }
}

#[test]
fn an_open_route_needs_no_key_and_spends_nothing() {
    let expected = |number: u8| {
        format!(
            "200 OK\n\
             x-api-version: v3\n\
             x-request-id: req_0000000000000000000{number}\n\
             x-response-time: 0ms\n\
             \n\
             fine"
        )
    };
    let world = World::new();
    assert_eq!(world.send(get("/healthcheck")), expected(1));
    assert_eq!(world.send(get("/healthcheck").key(UNKNOWN)), expected(2));
    assert_eq!(world.send(get("/healthcheck").key(GOOD)), expected(3));
    let left = world.header_of(get("/v3/contacts").key(GOOD), "x-ratelimit-remaining");
    assert_eq!(left.as_deref(), Some("199"));
}

#[test]
fn nobody_behind_the_door_sees_the_key() {
    let world = World::new().answering(|request| Ok(echo(&request)));
    let request = get("/v3/contacts").key(GOOD).header("accept", "*/*");
    let expected = "\
200 OK
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

req_00000000000000000001 192.0.2.1 contacts
key c0000000-0000-4000-8000-000000000001 of b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 for \
b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 in production
accept: */*
";
    assert_eq!(world.send(request), expected);
    let request = get("/healthcheck").key(GOOD).key(TEST);
    let expected = "\
200 OK
x-api-version: v3
x-request-id: req_00000000000000000002
x-response-time: 0ms

req_00000000000000000002 192.0.2.1 healthcheck
";
    assert_eq!(world.send(request), expected);
}

#[test]
fn what_could_not_be_read_is_answered_in_the_same_layout() {
    let world = World::new();
    let client = "192.0.2.9".parse().expect("an address");
    let expected = r#"HTTP/1.1 431 Request Header Fields Too Large
content-type: application/json
x-request-id: req_00000000000000000001
x-api-version: v3
x-response-time: 0ms
content-length: 298
connection: close

{
  "success": false,
  "error": {
    "code": "REQUEST_005",
    "message": "Request header fields too large",
    "doc_url": "https://docs.sent.dm/errors/REQUEST_005"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    let (head, body) = expected.split_once("\n\n").expect("a head and a body");
    let expected = format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n"));
    let answer = world.door.unreadable(Code::HeadTooLarge, client, "");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
    assert_eq!(
        world.log(),
        ["req_00000000000000000001 - - 431 reason=- code=REQUEST_005 key=- account=- \
          environment=- client=192.0.2.9 at=0 micros=0 browser=false cause=-"]
    );
}
