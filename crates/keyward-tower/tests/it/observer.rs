//! What is told to the log and what is counted.

use keyward_tower::{ApiError, Code};

use crate::stock::{
    DISABLED, EXPIRED, FENCED, GOOD, OF_CHANNELLESS, OF_ORGANIZATION, OF_SUSPENDED, OF_UNVERIFIED,
    OTHERS_PROFILE, PROFILE, REVOKED, ROTATED, TEST, UNKNOWN,
};
use crate::world::{World, fine, get, post};

#[test]
fn the_log_knows_why_each_one_was_refused() {
    let world = World::new();
    world.send(get("/v3/contacts"));
    world.send(get("/v3/contacts").key(UNKNOWN));
    world.send(get("/v3/contacts").key("wrong"));
    world.send(get("/v3/contacts").key(GOOD).key(TEST));
    world.send(get("/v3/contacts").key(EXPIRED));
    world.send(get("/v3/contacts").key(ROTATED));
    world.send(get("/v3/contacts").key(DISABLED));
    world.send(get("/v3/contacts").key(REVOKED));
    world.send(get("/v3/contacts").key(FENCED));
    world.send(get("/v3/contacts").key(OF_SUSPENDED));
    world.send(get("/v3/contacts").key(OF_UNVERIFIED));
    world.send(post("/v3/users").key(OF_CHANNELLESS));
    let profile = |key, profile| get("/v3/me").key(key).header("x-profile-id", profile);
    world.send(profile(GOOD, "123"));
    world.send(profile(GOOD, PROFILE));
    world.send(profile(OF_ORGANIZATION, OTHERS_PROFILE));
    let lone = "account=b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1";
    let nobody = "key=- account=- environment=-";
    let key = |end: &str| format!("key=c0000000-0000-4000-8000-0000000000{end}");
    let rest = "client=192.0.2.1 at=0 micros=0 browser=false cause=-";
    let whose = |end: &str| format!("{} {lone} environment=production", key(end));
    let other = |end: &str, account: &str| {
        let account = [account; 16].concat();
        let (a, b) = account.split_at(8);
        let (b, c) = b.split_at(4);
        let (c, d) = c.split_at(4);
        let (d, e) = d.split_at(4);
        format!("{} account={a}-{b}-{c}-{d}-{e} environment=production", key(end))
    };
    let expected = [
        ("GET contacts 401 reason=key_missing code=AUTH_001", nobody.to_owned()),
        ("GET contacts 401 reason=key_unknown code=AUTH_002", nobody.to_owned()),
        ("GET contacts 401 reason=key_malformed code=AUTH_002", nobody.to_owned()),
        ("GET contacts 401 reason=key_repeated code=AUTH_002", nobody.to_owned()),
        ("GET contacts 401 reason=key_expired code=AUTH_002", whose("04")),
        ("GET contacts 401 reason=key_rotated code=AUTH_002", whose("05")),
        ("GET contacts 401 reason=key_disabled code=AUTH_002", whose("06")),
        ("GET contacts 401 reason=key_revoked code=AUTH_002", whose("07")),
        ("GET contacts 401 reason=address_not_allowed code=AUTH_002", whose("08")),
        ("GET contacts 403 reason=account_suspended code=AUTH_005", other("09", "b2")),
        ("GET contacts 403 reason=account_verification_pending code=AUTH_006", other("0a", "b3")),
        ("POST users 403 reason=account_channel_pending code=AUTH_007", other("0b", "b4")),
        ("GET me 400 reason=profile_malformed code=VALIDATION_003", whose("01")),
        ("GET me 403 reason=profile_forbidden code=AUTH_004", whose("01")),
        ("GET me 404 reason=profile_unknown code=RESOURCE_004", other("0c", "b5")),
    ];
    let expected: Vec<String> = expected
        .into_iter()
        .enumerate()
        .map(|(index, (what, whose))| format!("req_{:020} {what} {whose} {rest}", index + 1))
        .collect();
    assert_eq!(world.log(), expected);
}

#[test]
fn the_log_has_the_key_the_account_acted_for_the_client_and_the_time() {
    let world = World::behind_proxies(&["192.0.2.0/24"]);
    let clock = world.clock.clone();
    let world = world.answering(move |request| {
        clock.advance_micros(12_700);
        match request.uri().path() {
            "/v3/contacts" => Ok(fine()),
            _ => Err(ApiError::new(Code::EndpointNotFound)),
        }
    });
    world.send(get("/healthcheck"));
    let request = get("/v3/contacts").key(TEST);
    world.send(request.header("origin", "https://example.com"));
    let request = get("/v3/contacts").key(OF_ORGANIZATION);
    let request = request.header("x-profile-id", PROFILE);
    world.send(request.header("x-forwarded-for", "198.51.100.7"));
    world.send(get("/v3/nothing").key(GOOD));
    let expected = [
        "req_00000000000000000001 GET healthcheck 404 reason=- code=REQUEST_001 key=- account=- \
         environment=- client=192.0.2.1 at=0 micros=12700 browser=false cause=-",
        "req_00000000000000000002 GET contacts 200 reason=- code=- \
         key=c0000000-0000-4000-8000-000000000003 account=b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 \
         environment=test client=192.0.2.1 at=12 micros=12700 browser=true cause=-",
        "req_00000000000000000003 GET contacts 200 reason=- code=- \
         key=c0000000-0000-4000-8000-00000000000c account=b6b6b6b6-b6b6-b6b6-b6b6-b6b6b6b6b6b6 \
         environment=production client=198.51.100.7 at=25 micros=12700 browser=false cause=-",
        "req_00000000000000000004 GET nothing 404 reason=- code=REQUEST_001 \
         key=c0000000-0000-4000-8000-000000000001 account=b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 \
         environment=production client=192.0.2.1 at=38 micros=12700 browser=false cause=-",
    ];
    assert_eq!(world.log(), expected);
}

#[test]
fn the_log_tells_a_limit_of_an_account_from_a_limit_of_guesses() {
    let world = World::new();
    for _ in 0..10 {
        world.send(post("/v3/users").key(GOOD));
    }
    for _ in 0..60 {
        world.send(get("/v3/contacts"));
    }
    world.log();
    world.send(post("/v3/users").key(GOOD));
    world.send(get("/v3/contacts"));
    world.send(get("/v3/contacts").key(REVOKED));
    let expected = [
        "req_00000000000000000071 POST users 429 reason=rate_limited code=BUSINESS_002 \
         key=c0000000-0000-4000-8000-000000000001 account=b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 \
         environment=production client=192.0.2.1 at=0 micros=0 browser=false cause=-",
        "req_00000000000000000072 GET contacts 429 reason=guesses_limited code=BUSINESS_002 \
         key=- account=- environment=- client=192.0.2.1 at=0 micros=0 browser=false cause=-",
        "req_00000000000000000073 GET contacts 429 reason=guesses_limited code=BUSINESS_002 \
         key=c0000000-0000-4000-8000-000000000007 account=b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1 \
         environment=production client=192.0.2.1 at=0 micros=0 browser=false cause=-",
    ];
    assert_eq!(world.log(), expected);
}

#[test]
fn the_observer_is_told_the_window_and_whether_a_key_could_be_read_on_its_way() {
    let world = World::behind_proxies(&["10.0.0.0/8"]);
    let proxied =
        |proto| get("/v3/me").key(GOOD).from("10.0.0.1:443").header("x-forwarded-proto", proto);
    world.send(get("/v3/me").key(GOOD));
    world.send(get("/v3/me").key(GOOD).from("[::1]:50000"));
    world.send(proxied("https"));
    world.send(proxied("http"));
    world.send(get("/v3/me").key(REVOKED));
    world.send(get("/healthcheck"));
    let expected = [
        "guarded=true plain_http=true left=199/200",
        "guarded=true plain_http=false left=198/200",
        "guarded=true plain_http=false left=197/200",
        "guarded=true plain_http=true left=196/200",
        "guarded=true plain_http=true left=-",
        "guarded=false plain_http=false left=-",
    ];
    assert_eq!(world.exposures(), expected);
}

#[test]
fn requests_are_counted_once_each_by_key_pool_and_outcome() {
    let world = World::new().answering(|request| match request.uri().path() {
        "/v3/contacts" | "/v3/users" => Ok(fine()),
        "/v3/me" => Err(ApiError::new(Code::InternalUnexpected)),
        "/v3/webhooks/1/test" => Err(ApiError::new(Code::PermissionMissing)),
        _ => Err(ApiError::new(Code::EndpointNotFound)),
    });
    for _ in 0..3 {
        world.send(get("/v3/contacts").key(GOOD));
    }
    for _ in 0..12 {
        world.send(post("/v3/users").key(GOOD));
    }
    world.send(get("/v3/me").key(GOOD));
    world.send(get("/v3/nothing").key(GOOD));
    world.send(post("/v3/webhooks/1/test").key(GOOD));
    let profile = get("/v3/contacts").key(OF_ORGANIZATION);
    world.send(profile.header("x-profile-id", PROFILE));
    let profile = get("/v3/contacts").key(OF_ORGANIZATION);
    world.send(profile.header("x-profile-id", OTHERS_PROFILE));
    for key in [EXPIRED, ROTATED, DISABLED, REVOKED, FENCED, OF_SUSPENDED] {
        world.send(get("/v3/contacts").key(key));
    }
    world.send(get("/v3/contacts"));
    world.send(get("/v3/contacts").key(UNKNOWN));
    world.send(get("/v3/contacts").key("wrong"));
    world.send(get("/v3/contacts").key(GOOD).key(TEST));
    world.send(get("/healthcheck"));
    let expected = [
        "00000001 sensitive limited 2",
        "00000001 sensitive ok 10",
        "00000001 standard failed 1",
        "00000001 standard invalid 1",
        "00000001 standard ok 3",
        "00000001 webhook_test forbidden 1",
        "00000004 standard expired 1",
        "00000005 standard rotated 1",
        "00000006 standard disabled 1",
        "00000007 standard revoked 1",
        "00000008 standard address 1",
        "00000009 standard forbidden 1",
        "0000000c standard invalid 1",
        "0000000c standard ok 1",
        "stranger standard malformed 2",
        "stranger standard missing 1",
        "stranger standard unknown 1",
    ];
    assert_eq!(world.usage(), expected);
    assert_eq!(world.usage(), <[&str; 0]>::default());
}

#[test]
fn the_last_use_of_a_key_tells_when_from_where_and_by_which_client() {
    let world = World::new();
    world.clock.advance_millis(1_500);
    let request = get("/v3/contacts").key(GOOD).from("203.0.113.9:50000");
    world.send(request.header("user-agent", "Sent/Python 0.46.0"));
    let drained = world.door.verifier.drain_usage();
    let [drained] = &drained[..] else {
        panic!("one key was used, not {}", drained.len());
    };
    let last = drained.last_use.as_ref().expect("it was used");
    assert_eq!(last.at.0, world.clock.unix_millis());
    assert_eq!(last.address.to_string(), "203.0.113.9");
    assert_eq!(last.client, "Sent/Python 0.46.0");
}

#[test]
fn a_request_whose_client_went_away_is_counted_and_told_of_once() {
    let world = World::new().called(|_| Box::pin(std::future::pending()));
    world.send_and_leave(get("/v3/contacts").key(GOOD));
    let [line] = <[String; 1]>::try_from(world.log()).expect("one line");
    assert!(line.contains("GET contacts 499 reason=client_gone code=- key=c0000000"), "{line}");
    let [usage] = <[String; 1]>::try_from(world.usage()).expect("one count");
    assert!(usage.contains("invalid"), "{usage}");
}
