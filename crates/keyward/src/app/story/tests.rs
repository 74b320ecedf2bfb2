//! Each reason and each code is told in words of its own.

use keyward_core::account::{AccountState, Environment};
use keyward_core::digest::KeyDigest;
use keyward_core::id::{AccountId, KeyId, UserId};
use keyward_core::key::KeyHint;
use keyward_core::permission::PermissionSet;
use keyward_core::record::Rotation;
use keyward_core::time::UnixMillis;
use keyward_core::verdict::Refusal;

use super::*;

const AT: UnixMillis = UnixMillis(1_704_067_200_000);

fn mark() -> Mark {
    Mark { at: AT, by: String::from("user 01010101-0101-0101-0101-010101010101") }
}

fn key() -> KeyRecord {
    KeyRecord {
        id: KeyId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        digest: KeyDigest::from_bytes([3; 32]),
        hint: KeyHint::from_text("a1b2").expect("four hexadecimal characters"),
        name: String::from("billing"),
        environment: Environment::Production,
        permissions: PermissionSet::READ_ONLY,
        networks: vec![],
        created: mark(),
        expires_at: None,
        disabled: None,
        revoked: None,
        rotated: None,
        last_used: None,
    }
}

fn told(status: u16, code: Option<&str>, reason: Option<&str>, key: Option<KeyRecord>) -> Told {
    Told {
        row: RequestRow {
            number: 1,
            at: AT,
            request_id: String::from("req_1"),
            account: key.as_ref().map(|key| key.account),
            key: key.as_ref().map(|key| key.id),
            key_name: None,
            environment: None,
            method: String::from("POST"),
            route: String::from("/v3/contacts"),
            status,
            code: code.map(str::to_owned),
            reason: reason.map(str::to_owned),
            limited_to: Some(200),
            resets_at: Some(AT + 60_000),
            address: String::from("198.51.100.7"),
            micros: 1,
            flags: 0,
        },
        key,
        successor: None,
        names: vec![Named {
            id: UserId::from_bytes([1; 16]),
            name: String::from("Ada"),
            is_former: false,
        }],
    }
}

fn why(told: &Told) -> String {
    tell(told, Some(Permission::ContactsWrite)).1
}

#[test]
fn every_reason_has_words_of_its_own_and_something_to_do() {
    let since = AT;
    let malformed = keyward_core::key::ApiKey::parse(b"x").expect_err("it is none");
    let refusals = [
        Refusal::Missing,
        Refusal::Several,
        Refusal::Malformed(malformed),
        Refusal::Unknown,
        Refusal::Expired { since },
        Refusal::Rotated { since },
        Refusal::Disabled,
        Refusal::Revoked,
        Refusal::Address,
        Refusal::Account(AccountState::Suspended),
        Refusal::Account(AccountState::VerificationPending),
        Refusal::Account(AccountState::ChannelPending),
        Refusal::Limited,
        Refusal::Guessing,
        Refusal::ProfileMalformed,
        Refusal::ProfileForbidden,
        Refusal::ProfileUnknown,
    ];
    let mut last = 0;
    for refusal in refusals {
        let code = Code::of(&refusal);
        let told = told(code.status().as_u16(), Some(code.as_str()), Some(refusal.reason()), None);
        let (check, why, remedy) = tell(&told, None);
        let place = CHECKS.iter().position(|known| *known == check).expect(check);
        assert!(place >= last, "{refusal:?} is decided at {check}");
        last = place;
        assert!(!why.starts_with("It was refused"), "{refusal:?}: {why}");
        assert!(!remedy.is_empty(), "{refusal:?}");
    }
}

#[test]
fn every_code_is_decided_at_a_check_and_says_what_to_do() {
    for code in Code::ALL {
        let told = told(code.status().as_u16(), Some(code.as_str()), None, Some(key()));
        let (check, why, remedy) = tell(&told, Some(Permission::ContactsWrite));
        assert!(CHECKS.contains(&check), "{code:?}: {check}");
        assert!(why.ends_with('.') && !remedy.is_empty(), "{code:?}: {why}");
    }
    let check = |code: &str, expected: &str| {
        assert_eq!(tell(&told(400, Some(code), None, Some(key())), None).0, expected, "{code}");
    };
    check("AUTH_004", "permission");
    check("REQUEST_001", "route and method");
    check("REQUEST_002", "route and method");
    check("REQUEST_003", "size, type, JSON");
    check("REQUEST_004", "size, type, JSON");
    check("VALIDATION_001", "validation");
    check("VALIDATION_007", "Idempotency-Key");
    check("RESOURCE_001", "resource");
    check("CONFLICT_001", "resource");
    check("INTERNAL_001", "answer");
    check("SERVICE_001", "answer");
}

#[test]
fn a_key_that_was_changed_since_is_told_as_it_was_and_as_it_is() {
    let refused = |reason, key| why(&told(401, Some("AUTH_002"), Some(reason), Some(key)));
    let name = "“billing” (…a1b2)";
    let check = |reason, key, expected: &str| {
        assert_eq!(refused(reason, key), format!("{name} {expected}"))
    };
    let (then, later) = (AT + -1000, AT + 1000);
    let by_ada = "by Ada on 2024-01-01T00:00:00Z.";
    check(
        "key_expired",
        KeyRecord { expires_at: Some(then), ..key() },
        "expired on 2023-12-31T23:59:59Z.",
    );
    check(
        "key_expired",
        KeyRecord { expires_at: Some(later), ..key() },
        "had expired. It has been changed since: it is good until 2024-01-01T00:00:01Z.",
    );
    check("key_expired", key(), "had expired. It has been changed since: it never does.");
    let disabled = KeyRecord { disabled: Some(mark()), ..key() };
    check("key_disabled", disabled.clone(), &format!("was disabled {by_ada}"));
    check("key_disabled", key(), "was disabled at that time. It has been enabled since.");
    check(
        "key_disabled",
        KeyRecord { revoked: Some(mark()), ..disabled },
        &format!("was disabled {by_ada} It has been revoked since, which cannot be undone."),
    );
    check(
        "key_revoked",
        KeyRecord { revoked: Some(mark()), ..key() },
        &format!("was revoked {} That cannot be undone.", by_ada),
    );
    let networks = |text: &str| KeyRecord {
        networks: text.split_whitespace().flat_map(str::parse).collect(),
        ..key()
    };
    let from = "may not be used from 198.51.100.7.";
    check(
        "address_not_allowed",
        networks("203.0.113.0/24 2001:db8::/32"),
        &format!("{from} Allowed are 203.0.113.0/24, 2001:db8::/32."),
    );
    check(
        "address_not_allowed",
        networks("198.51.100.0/24"),
        &format!("{from} By now it may: allowed are 198.51.100.0/24."),
    );
    check("address_not_allowed", key(), &format!("{from} By now it may, from anywhere."));
}

#[test]
fn a_rotated_key_names_its_successor_and_until_when_it_worked() {
    let successor = KeyRecord { id: KeyId::from_bytes([7; 16]), ..key() };
    let rotated = Rotation { mark: mark(), successor: successor.id, until: AT + 1000 };
    let rotated = KeyRecord { rotated: Some(rotated), ..key() };
    let mut told = told(401, Some("AUTH_002"), Some("key_rotated"), Some(rotated));
    told.successor = Some(successor);
    assert_eq!(
        why(&told),
        "“billing” (…a1b2) was rotated by Ada on 2024-01-01T00:00:00Z, and worked until \
         2024-01-01T00:00:01Z. Its successor is “billing” (…a1b2)."
    );
}

#[test]
fn who_did_it_is_named_also_when_it_was_no_member() {
    let by = |by: &str, is_former| {
        let revoked = Some(Mark { at: AT, by: by.to_owned() });
        let revoked = KeyRecord { revoked, ..key() };
        let mut told = told(401, Some("AUTH_002"), Some("key_revoked"), Some(revoked));
        told.names[0].is_former = is_former;
        let text = why(&told);
        let (_, rest) = text.split_once("revoked by ").expect("it was");
        rest.split_once(" on 2024").expect("it has a time").0.to_owned()
    };
    assert_eq!(by(&mark().by, false), "Ada");
    assert_eq!(by(&mark().by, true), "Ada, who is no member any more,");
    assert_eq!(by("operator", false), "somebody at the command line");
    assert_eq!(by("system", false), "Keyward by itself");
    assert_eq!(by("user 09090909-0909-0909-0909-090909090909", false), "somebody");
}

#[test]
fn a_missing_permission_is_named_and_whether_the_key_has_it_by_now() {
    let denied = |permissions| {
        why(&told(403, Some("AUTH_004"), None, Some(KeyRecord { permissions, ..key() })))
    };
    assert_eq!(
        denied(PermissionSet::READ_ONLY),
        "“billing” (…a1b2) is good, but lacks contacts:write."
    );
    assert_eq!(
        denied(PermissionSet::FULL),
        "“billing” (…a1b2) is good, but lacked contacts:write at that time. It has been given it \
         since."
    );
}

#[test]
fn limits_tell_how_many_and_until_when() {
    assert_eq!(
        why(&told(429, Some("BUSINESS_002"), Some("rate_limited"), Some(key()))),
        "The limit of 200 requests a minute was reached. The window resets at 2024-01-01T00:01:00Z."
    );
    let revoked = KeyRecord { revoked: Some(mark()), ..key() };
    assert_eq!(
        why(&told(429, Some("BUSINESS_002"), Some("guesses_limited"), Some(revoked))),
        "Too many requests without a good key came from 198.51.100.7 within a minute: more than 200. \
         The key of this one, “billing” (…a1b2), is revoked."
    );
}

#[test]
fn a_request_that_exposed_its_key_says_so_though_it_was_let_in() {
    let mut told = told(200, None, None, Some(key()));
    assert_eq!(tell(&told, None).0, "all passed");
    assert_eq!(tell(&told, None).2, <[String; 0]>::default());
    told.row.flags = FROM_BROWSER | OVER_PLAIN_HTTP;
    let remedy = tell(&told, None).2;
    assert!(remedy[0].contains("web page") && remedy[1].contains("plain HTTP"), "{remedy:?}");
}
