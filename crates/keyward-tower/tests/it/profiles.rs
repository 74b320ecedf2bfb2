//! `x-profile-id`: an organization's key that acts for one of its profiles. Contract 2 and 5.

use crate::stock::{GOOD, OF_ORGANIZATION, OF_PROFILE, OTHERS_PROFILE, PROFILE};
use crate::world::{World, echo, get};

#[test]
fn an_organization_acts_for_its_profile_and_spends_its_own_pool() {
    let world = World::new().answering(|request| Ok(echo(&request)));
    let request =
        get("/v3/contacts").key(OF_ORGANIZATION).header("x-profile-id", PROFILE.to_uppercase());
    let expected = "\
200 OK
x-api-version: v3
x-profile-id: b6b6b6b6-b6b6-b6b6-b6b6-b6b6b6b6b6b6
x-ratelimit-limit: 200
x-ratelimit-remaining: 199
x-ratelimit-reset: 1704067260
x-request-id: req_00000000000000000001
x-response-time: 0ms

req_00000000000000000001 192.0.2.1 contacts
key c0000000-0000-4000-8000-00000000000c of b5b5b5b5-b5b5-b5b5-b5b5-b5b5b5b5b5b5 for \
b6b6b6b6-b6b6-b6b6-b6b6-b6b6b6b6b6b6 in production
x-profile-id: B6B6B6B6-B6B6-B6B6-B6B6-B6B6B6B6B6B6
";
    assert_eq!(world.send(request), expected);
    let left = |key| world.header_of(get("/v3/contacts").key(key), "x-ratelimit-remaining");
    assert_eq!(left(OF_ORGANIZATION).as_deref(), Some("198"));
    assert_eq!(left(OF_PROFILE).as_deref(), Some("199"));
}

#[test]
fn a_key_without_the_header_acts_for_its_own_account_and_nothing_is_repeated() {
    let world = World::new();
    for key in [OF_ORGANIZATION, OF_PROFILE] {
        assert_eq!(world.header_of(get("/v3/contacts").key(key), "x-profile-id"), None);
    }
}

#[test]
fn what_is_no_uuid_is_refused_as_such() {
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
    "code": "VALIDATION_003",
    "message": "Invalid GUID format",
    "doc_url": "https://docs.sent.dm/errors/VALIDATION_003"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    let braces = format!("{{{PROFILE}}}");
    let bytes = [0xc3; 36];
    let malformed: [&[u8]; 5] = [b"", b"123", braces.as_bytes(), &PROFILE.as_bytes()[1..], &bytes];
    for profile in malformed {
        let request = get("/v3/contacts").key(OF_ORGANIZATION).header("x-profile-id", profile);
        assert_eq!(World::new().send(request), expected, "{profile:?}");
    }
    let twice = get("/v3/contacts")
        .key(OF_ORGANIZATION)
        .header("x-profile-id", PROFILE)
        .header("x-profile-id", PROFILE);
    assert_eq!(World::new().send(twice), expected);
    // The form comes before the kind of the account.
    let request = get("/v3/contacts").key(GOOD).header("x-profile-id", "123");
    assert_eq!(World::new().send(request), expected);
}

#[test]
fn who_is_no_organization_may_not_act_for_anybody() {
    let expected = r#"403 Forbidden
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
    for (key, profile) in [(GOOD, PROFILE), (OF_PROFILE, PROFILE), (GOOD, OTHERS_PROFILE)] {
        let request = get("/v3/contacts").key(key).header("x-profile-id", profile);
        assert_eq!(World::new().send(request), expected, "{key} {profile}");
    }
}

#[test]
fn what_is_no_profile_of_the_organization_is_not_found() {
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
    "code": "RESOURCE_004",
    "message": "Customer not found",
    "doc_url": "https://docs.sent.dm/errors/RESOURCE_004"
  },
  "meta": {
    "request_id": "req_00000000000000000001",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": "v3"
  }
}"#;
    // Another organization's, nobody's, the organization itself, an account that stands alone.
    let others = [
        OTHERS_PROFILE,
        "00000000-0000-4000-8000-000000000000",
        "b5b5b5b5-b5b5-b5b5-b5b5-b5b5b5b5b5b5",
        "b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1",
    ];
    for profile in others {
        let request = get("/v3/contacts").key(OF_ORGANIZATION).header("x-profile-id", profile);
        assert_eq!(World::new().send(request), expected, "{profile}");
    }
}

#[test]
fn a_wrong_profile_is_not_told_to_somebody_without_a_good_key_and_not_looked_at_where_open() {
    let request = get("/v3/contacts").header("x-profile-id", "123");
    assert_eq!(World::new().status_of(request), 401);
    let request = get("/healthcheck").header("x-profile-id", "123");
    assert_eq!(World::new().status_of(request), 200);
}
