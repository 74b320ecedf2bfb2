//! What comes from behind the door: answers, errors, panics, and a service that is not ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use keyward_tower::{ApiError, Code};

use crate::stock::GOOD;
use crate::world::{InnerAnswer, World, fine, get, post, said};

const UNEXPECTED: &str = r#"500 Internal Server Error
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
    "code": "INTERNAL_001",
    "message": "Unexpected internal server error",
    "doc_url": "https://docs.sent.dm/errors/INTERNAL_001"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;

fn cause_told(world: &World) -> String {
    let [line] = <[String; 1]>::try_from(world.log()).expect("one answer");
    let (_, cause) = line.split_once("cause=").expect("the last word of a line");
    cause.to_owned()
}

#[test]
fn an_answer_keeps_its_headers_and_the_door_has_the_last_word_on_its_own() {
    let world = World::new().answering(|_| {
        let mut response = said("{}");
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("location", HeaderValue::from_static("/v3/contacts/1"));
        headers.append("x-request-id", HeaderValue::from_static("mine"));
        headers.append("x-request-id", HeaderValue::from_static("mine too"));
        headers.insert("x-ratelimit-remaining", HeaderValue::from_static("1000"));
        headers.insert("x-api-version", HeaderValue::from_static("v4"));
        Ok(response)
    });
    let expected = "\
201 Created
content-type: application/json
location: /v3/contacts/1
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

{}";
    assert_eq!(world.send(post("/v3/contacts").key(GOOD)), expected);
}

#[test]
fn an_answer_without_a_body_carries_the_same_headers() {
    let world = World::new().answering(|_| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    });
    let expected = "\
204 No Content
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

";
    assert_eq!(world.send(post("/v3/contacts").key(GOOD)), expected);
}

#[test]
fn a_request_identifier_is_never_taken_from_a_client() {
    let request = get("/v3/contacts").key(GOOD).header("x-request-id", "req_mine");
    let id = World::new().header_of(request, "x-request-id");
    assert_eq!(id.as_deref(), Some("req_00000000000000000001"));
}

#[test]
fn details_name_each_field_with_its_sentences() {
    let world = World::new().answering(|_| {
        Err(ApiError::new(Code::RequestInvalid)
            .about("phone_number", "Phone number is required")
            .about("default_channel", "Unknown channel \"fax\"")
            .about("phone_number", "Line\nbreak and \u{1F511}"))
    });
    let expected = r#"400 Bad Request
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
    "code": "VALIDATION_001",
    "message": "Request validation failed",
    "doc_url": "https://docs.sent.dm/errors/VALIDATION_001",
    "details": {
      "default_channel": [
        "Unknown channel \"fax\""
      ],
      "phone_number": [
        "Phone number is required",
        "Line\nbreak and 🔑"
      ]
    }
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(post("/v3/contacts").key(GOOD)), expected);
}

#[test]
fn a_wrong_method_is_answered_with_those_that_are_allowed() {
    let world = World::new()
        .answering(|_| Err(ApiError::new(Code::MethodNotAllowed).allowing("GET, HEAD")));
    let expected = r#"405 Method Not Allowed
allow: GET, HEAD
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
    "code": "REQUEST_002",
    "message": "Method not allowed",
    "doc_url": "https://docs.sent.dm/errors/REQUEST_002"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(post("/v3/me").key(GOOD)), expected);
}

#[test]
fn a_permanent_conflict_tells_clients_not_to_try_again() {
    let world = World::new().answering(|_| Err(ApiError::new(Code::AlreadyExists)));
    let expected = r#"409 Conflict
content-type: application/json
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms
x-should-retry: false

{
  "success": false,
  "error": {
    "code": "RESOURCE_007",
    "message": "Resource already exists",
    "doc_url": "https://docs.sent.dm/errors/RESOURCE_007"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(post("/v3/contacts").key(GOOD)), expected);

    let world = World::new().answering(|_| Err(ApiError::new(Code::IdempotencyConflict)));
    let retry = world.header_of(post("/v3/contacts").key(GOOD), "x-should-retry");
    assert_eq!(retry, None, "this one passes");
}

#[test]
fn a_cause_is_told_to_the_observer_and_never_to_the_caller() {
    let world = World::new().answering(|_| {
        Err(ApiError::new(Code::InternalUnexpected).caused_by("disk /var/lib/secret is full"))
    });
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), UNEXPECTED);
    assert_eq!(cause_told(&world), "disk /var/lib/secret is full");
}

#[test]
fn other_words_for_an_error_are_escaped() {
    let world = World::new()
        .answering(|_| Err(ApiError::new(Code::RequestInvalid).saying("not \"this\"\n\\")));
    let answer = world.send(post("/v3/contacts").key(GOOD));
    assert!(answer.contains("    \"message\": \"not \\\"this\\\"\\n\\\\\",\n"), "{answer}");
}

#[test]
fn a_401_from_behind_the_door_carries_the_challenge_too() {
    let world = World::new().answering(|_| Err(ApiError::new(Code::NotAuthenticated)));
    let challenge = world.header_of(get("/healthcheck"), "www-authenticate");
    assert_eq!(challenge.as_deref(), Some("ApiKey realm=\"v3\", header=\"x-api-key\""));
}

/// Asks twice of a service that panics the first time.
fn check_panic(world: &World, said: &str) {
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), UNEXPECTED);
    assert_eq!(cause_told(world), format!("panicked: {said}"));
    let expected = "\
200 OK
x-api-version: v3
x-ratelimit-limit: 200
x-ratelimit-remaining: 198
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000002
x-response-time: 0ms

fine";
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), expected);
    assert_eq!(world.usage(), ["00000001 standard failed 1", "00000001 standard ok 1"]);
}

#[test]
fn a_panic_while_the_answer_is_made_is_a_500_that_tells_nothing() {
    let is_first = AtomicBool::new(true);
    let world = World::new().answering(move |request| {
        if is_first.swap(false, Ordering::SeqCst) {
            panic!("could not read {}", request.uri());
        }
        Ok(fine())
    });
    check_panic(&world, "could not read /v3/contacts");
}

#[test]
fn a_panic_that_repeats_a_key_tells_it_to_nobody() {
    let world = World::new().answering(|request| -> InnerAnswer {
        // Where it does not belong: the door takes it out of its own header.
        let key = request.headers()["x-note"].to_str().expect("it is text").to_owned();
        // As the library says it of itself: with the whole text.
        let whole = format!("{key} and é");
        let half = whole.len() - 1;
        panic!("{}", &whole[..half])
    });
    let sent = get("/v3/contacts").key(GOOD).header("x-note", GOOD);
    assert_eq!(world.send(sent), UNEXPECTED);
    let told = cause_told(&world);
    assert!(told.contains("char boundary") && !told.contains(GOOD), "{told}");
}

#[test]
fn a_panic_before_there_is_a_future_is_a_500_that_tells_nothing() {
    let is_first = AtomicBool::new(true);
    let world = World::new().called(move |_| {
        assert!(!is_first.swap(false, Ordering::SeqCst), "too early");
        Box::pin(async { Ok(fine()) })
    });
    check_panic(&world, "too early");
}

#[test]
fn a_panic_with_something_other_than_text_is_a_500_as_well() {
    let world =
        World::new().answering(|_| -> InnerAnswer { std::panic::panic_any(StatusCode::OK) });
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), UNEXPECTED);
    assert_eq!(cause_told(&world), "panicked: ");
}

#[test]
fn a_service_that_is_not_ready_says_why() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_ready);
    let world = World::new().ready_when(move || {
        if asked.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(ApiError::new(Code::InternalUnavailable).caused_by("the store is closed"))
    });
    let expected = r#"503 Service Unavailable
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
    "code": "INTERNAL_005",
    "message": "Service temporarily unavailable",
    "doc_url": "https://docs.sent.dm/errors/INTERNAL_005"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    assert_eq!(world.send(get("/v3/contacts").key(GOOD)), expected);
    assert_eq!(cause_told(&world), "the store is closed");
    // Who is refused anyway is told that and nothing of the service.
    assert_eq!(world.status_of(get("/v3/contacts")), 401);
    is_ready.store(true, Ordering::SeqCst);
    assert_eq!(world.status_of(get("/v3/contacts").key(GOOD)), 200);
}

#[test]
fn the_response_time_is_that_of_the_whole_answer_in_whole_milliseconds() {
    let check = |micros: u64, expected: &str| {
        let world = World::new();
        let clock = Arc::clone(&world.clock);
        let world = world.answering(move |_| {
            clock.advance_micros(micros);
            Ok(fine())
        });
        let time = world.header_of(get("/v3/contacts").key(GOOD), "x-response-time");
        assert_eq!(time.as_deref(), Some(expected), "{micros}");
        let [line] = <[String; 1]>::try_from(world.log()).expect("one answer");
        assert!(line.contains(&format!(" micros={micros} ")), "{line}");
    };
    check(0, "0ms");
    check(999, "0ms");
    check(9_999, "9ms");
    check(12_700, "12ms");
    check(3_600_000_000, "3600000ms");
}

#[test]
fn time_stamps_and_resets_are_those_of_the_moment_the_request_came() {
    let world = World::new();
    let clock = Arc::clone(&world.clock);
    let world = world.answering(move |_| {
        clock.advance_millis(90_000);
        Err(ApiError::new(Code::ContactNotFound))
    });
    let answer = world.send(get("/v3/contacts").key(GOOD));
    assert!(answer.contains("\"timestamp\": \"2024-01-01T00:00:00Z\""));
    assert!(answer.contains("\nx-ratelimit-reset: 1704067260\n"));
    assert!(answer.contains("\nx-response-time: 90000ms\n"));
}
