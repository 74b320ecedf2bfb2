//! Recent requests: pages, filters, what is forgotten, and what they tell about keys.

use ipnet::IpNet;
use keyward_core::id::KeyId;
use keyward_core::time::UnixMillis;
use keyward_store::requests::{
    self, Exposure, Found, NewRequest, RequestFilter, RequestRow, Sighting, Whose,
};
use keyward_store::{accounts, key_list, keys};

use crate::world::{World, account, key};

/// The n-th request: of the first or the second key by turns, each third without a key.
fn request(number: u32) -> NewRequest {
    let mut request_id = *b"req_00000000000000000000";
    request_id[14..].copy_from_slice(format!("{number:010}").as_bytes());
    let whose = (!number.is_multiple_of(3)).then(|| key(1 + number % 2));
    NewRequest {
        at: UnixMillis(i64::from(number)),
        request_id,
        account: whose.as_ref().map(|key| key.account),
        key: whose.as_ref().map(|key| key.id),
        environment: whose.as_ref().map(|key| key.environment.as_str()),
        method: "GET",
        route: if number.is_multiple_of(2) { "/v3/me" } else { "/v3/contacts" },
        status: if whose.is_some() { 200 } else { 401 },
        code: whose.is_none().then_some("AUTH_001"),
        reason: whose.is_none().then_some("key_missing"),
        limited: number.is_multiple_of(5).then_some((200, UnixMillis(60_000))),
        address: [192, 0, 2, u8::try_from(number % 4).expect("it is below four")].into(),
        micros: 7,
        flags: 0,
    }
}

fn world(n: u32) -> World {
    let world = World::with_account();
    world
        .write(move |tx| {
            keys::insert(tx, &key(1))?;
            keys::insert(tx, &key(2))?;
            let all: Vec<NewRequest> = (0..n).map(request).collect();
            requests::add(tx, &all)
        })
        .expect("there is room");
    world
}

fn list(world: &World, whose: Whose, filter: &RequestFilter) -> Found {
    let filter = filter.clone();
    world.read(move |tx| requests::list(tx, whose, &filter))
}

fn times(rows: &[RequestRow]) -> Vec<i64> {
    rows.iter().map(|row| row.at.0).collect()
}

#[test]
fn a_request_comes_out_as_it_went_in() {
    let world = world(12);
    let find = |id: &'static str| world.read(move |tx| requests::find(tx, account(1).id, id));
    let found = find("req_00000000000000000010").expect("it is there");
    let expected = RequestRow {
        number: 11,
        at: UnixMillis(10),
        request_id: String::from("req_00000000000000000010"),
        account: Some(account(1).id),
        key: Some(key(1).id),
        key_name: Some(String::from("key 1")),
        environment: Some(String::from("test")),
        method: String::from("GET"),
        route: String::from("/v3/me"),
        status: 200,
        code: None,
        reason: None,
        limited_to: Some(200),
        resets_at: Some(UnixMillis(60_000)),
        address: String::from("192.0.2.2"),
        micros: 7,
        flags: 0,
    };
    assert_eq!(found, expected);
    let stranger = find("req_00000000000000000009").expect("it is there");
    assert_eq!((stranger.account, stranger.key, stranger.key_name), (None, None, None));
    assert_eq!(stranger.reason.as_deref(), Some("key_missing"));
    assert_eq!(find("req_00000000000000000012"), None);
}

#[test]
fn pages_cover_what_is_asked_for_exactly_once_and_newest_first() {
    let world = world(100);
    let check = |whose: Whose, is_meant: &dyn Fn(u32) -> bool| {
        let mut filter = RequestFilter { most: 7, ..RequestFilter::default() };
        let mut found = vec![];
        loop {
            let page = list(&world, whose, &filter);
            found.extend(times(&page.rows));
            filter.before = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let expected: Vec<i64> = (0..100).rev().filter(|n| is_meant(*n)).map(i64::from).collect();
        assert_eq!(found, expected, "{whose:?}");
    };
    check(Whose::Account(account(1).id), &|n| n % 3 != 0);
    check(Whose::Account(account(2).id), &|_| false);
    check(Whose::Key(key(1).id), &|n| n % 3 != 0 && n % 2 == 0);
    check(Whose::Key(key(2).id), &|n| n % 3 != 0 && n % 2 == 1);
    check(Whose::Strangers, &|n| n % 3 == 0);
}

#[test]
fn each_filter_leaves_what_it_names() {
    let world = world(24);
    let all = RequestFilter { most: 100, ..RequestFilter::default() };
    let check = |whose, filter: RequestFilter, expected: &[i64]| {
        assert_eq!(times(&list(&world, whose, &filter).rows), expected, "{filter:?}");
    };
    let (mine, strangers) = (Whose::Account(account(1).id), Whose::Strangers);
    check(mine, RequestFilter { status: Some((400, 599)), ..all.clone() }, &[]);
    check(
        strangers,
        RequestFilter { status: Some((401, 401)), before: Some(5), ..all.clone() },
        &[3, 0],
    );
    let route = Some(String::from("/v3/me"));
    check(strangers, RequestFilter { route, ..all.clone() }, &[18, 12, 6, 0]);
    let address = Some(String::from("192.0.2.3"));
    check(mine, RequestFilter { address, ..all.clone() }, &[23, 19, 11, 7]);
    let reason = Some(String::from("key_missing"));
    check(strangers, RequestFilter { reason, before: Some(5), ..all }, &[3, 0]);
}

#[test]
fn a_developer_finds_the_test_environment_and_what_is_shared() {
    let world = world(0);
    let production = |number| NewRequest { environment: Some("production"), ..request(number) };
    world
        .write(move |tx| {
            requests::add(tx, &[request(1), production(2), production(4), production(5)])
        })
        .expect("there is room");
    let filter = RequestFilter { only_test_or_shared: true, most: 10, ..RequestFilter::default() };
    let seen = || times(&list(&world, Whose::Account(account(1).id), &filter).rows);
    assert_eq!(seen(), [1]);
    world.write(|tx| key_list::share(tx, key(1).id, true)).expect("it is there");
    assert_eq!(seen(), [4, 2, 1]);
}

#[test]
fn what_is_too_old_or_too_much_is_forgotten() {
    let world = world(50);
    let forget = |before, most| {
        let has_more = world.write(move |tx| requests::forget(tx, UnixMillis(before), most));
        assert_eq!(has_more, Ok(false), "it is little");
        let filter = RequestFilter { most: 100, ..RequestFilter::default() };
        let left = world.read(move |tx| {
            let mut rows = requests::list(tx, Whose::Strangers, &filter)?.rows;
            rows.extend(requests::list(tx, Whose::Account(account(1).id), &filter)?.rows);
            Ok(rows)
        });
        (left.len(), left.iter().map(|row| row.at.0).min())
    };
    assert_eq!(forget(0, 50), (50, Some(0)));
    assert_eq!(forget(10, 50), (40, Some(10)));
    assert_eq!(forget(10, 15), (15, Some(35)));
    assert_eq!(forget(50, 15), (0, None));
    assert_eq!(forget(50, 0), (0, None));
}

#[test]
fn a_network_is_new_for_a_key_that_was_used_from_another_one_before() {
    let world = world(0);
    let network = |text: &str| text.parse::<IpNet>().expect(text);
    let note = |key: KeyId, network: IpNet, at| {
        let sighting = Sighting::Network { key, network, at: UnixMillis(at) };
        world.write(move |tx| requests::note(tx, &[sighting])).expect("there is room")
    };
    let (home, away) = (network("192.0.2.0/24"), network("2001:db8::/48"));
    let (first, second) = (key(1).id, key(2).id);
    assert_eq!(note(first, home, 1), [], "it was never used before");
    assert_eq!(note(first, home, 3), []);
    assert_eq!(note(first, away, 4), [(first, away)]);
    assert_eq!(note(first, away, 2), []);
    assert_eq!(note(second, away, 5), []);
    assert_eq!(note(key(9).id, away, 5), [], "there is no such key");
    let networks = world.read(move |tx| requests::networks_of(tx, first));
    let row =
        |network: IpNet, first, last| (network.to_string(), UnixMillis(first), UnixMillis(last));
    assert_eq!(networks, [row(away, 4, 4), row(home, 1, 3)]);
}

#[test]
fn exposures_add_up_and_are_told_while_the_key_is_not_revoked() {
    let world = world(0);
    let note = |kind, at, requests| {
        let sighting = Sighting::Exposed { key: key(1).id, kind, at: UnixMillis(at), requests };
        world.write(move |tx| requests::note(tx, &[sighting])).expect("there is room");
    };
    note("browser", 10, 2);
    note("browser", 5, 3);
    note("plain_http", 7, 1);
    let since =
        |at| world.read(move |tx| requests::exposures_of(tx, account(1).id, UnixMillis(at)));
    let exposure = |kind: &str, at, requests| Exposure {
        key: key(1).id,
        name: String::from("key 1"),
        kind: kind.to_owned(),
        last_at: UnixMillis(at),
        requests,
    };
    assert_eq!(since(0), [exposure("browser", 10, 5), exposure("plain_http", 7, 1)]);
    assert_eq!(since(8), [exposure("browser", 10, 5)]);
    let mark = key(1).created;
    let revoked = key(1).revoke(mark).expect("it is not revoked");
    world.write(move |tx| keys::put(tx, &revoked)).expect("it is there");
    assert_eq!(since(0), []);
}

#[test]
fn the_first_account_is_the_one_that_was_made_first() {
    let world = World::new();
    assert_eq!(world.read(accounts::first), None);
    for number in [7, 3] {
        world.write(move |tx| accounts::insert(tx, &account(number))).expect("it is new");
    }
    assert_eq!(world.read(accounts::first), Some(account(7).id));
}
