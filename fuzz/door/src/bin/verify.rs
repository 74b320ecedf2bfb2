//! The whole verdict: the bytes of a key, where it came from and when, and `x-profile-id`. Nobody is let
//! in but by a key that is good there and then; who is refused is named only if the key was theirs.
#![no_main]

use std::cell::Cell;
use std::sync::LazyLock;

use keyward_core::account::Limits;
use keyward_core::id::AccountId;
use keyward_core::usage::Outcome;
use keyward_core::verdict::{Granted, Refusal};
use keyward_core::verifier::{Presented, Verifier, Visit};
use keyward_fuzz_door::pieces::Pieces;
use keyward_fuzz_door::world::{self, END, Kind, PROFILE};
use libfuzzer_sys::fuzz_target;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    world::verifier(Limits { standard: 1_000_000, sensitive: 3, webhook_test: 9 }, 1_000_000)
});

thread_local! {
    static TURNS: Cell<u32> = const { Cell::new(0) };
}

fn is_at_home(client: std::net::IpAddr) -> bool {
    match client.to_canonical() {
        std::net::IpAddr::V4(client) => client.octets()[0] == 10,
        std::net::IpAddr::V6(client) => client.segments()[..2] == [0x2001, 0xdb8],
    }
}

fn check_profile(granted: &Granted, profile: &[u8]) {
    match VERIFIER.act_for(&granted.caller, profile) {
        Ok(caller) => {
            let text = str::from_utf8(profile).expect("it was read");
            assert_eq!(text.to_ascii_lowercase(), PROFILE.to_string());
            assert_eq!((caller.account(), caller.key()), (PROFILE, granted.caller.key()));
            assert_eq!(caller.own_account(), granted.caller.own_account());
            assert_eq!(caller.permissions(), granted.caller.permissions());
        }
        Err(Refusal::ProfileMalformed) => {
            let id = str::from_utf8(profile).ok().and_then(|text| text.parse::<AccountId>().ok());
            assert_eq!(id, None);
        }
        Err(Refusal::ProfileUnknown) => {
            assert_ne!(profile.to_ascii_lowercase(), PROFILE.to_string().as_bytes());
        }
        Err(other) => panic!("{other:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let (how, number, client) = (pieces.byte(), pieces.number(), pieces.address());
    let (key, profile) = (pieces.line(), pieces.line());
    let visit = Visit {
        now: world::moment(number),
        client,
        class: world::class(how),
        is_account_exempt: how & 0x80 != 0,
    };
    let presented = match how & 0x60 {
        0x20 => Presented::Nothing,
        0x40 => Presented::Several,
        _ => Presented::One(key),
    };
    let kind = match presented {
        Presented::One(key) => Kind::of(key),
        _ => None,
    };
    let agent = pieces.rest();
    match VERIFIER.verify(presented, &visit) {
        Ok(granted) => {
            let is_good = match kind.expect("a key that is known") {
                Kind::Good => true,
                Kind::Suspended => visit.is_account_exempt,
                Kind::Expiring | Kind::Rotating => visit.now.wall < END,
                Kind::AtHome => is_at_home(client),
                Kind::Disabled | Kind::Revoked => false,
            };
            assert!(is_good, "{kind:?} {visit:?}");
            assert!(granted.allowance.remaining < granted.allowance.limit);
            if kind != Some(Kind::Suspended) {
                check_profile(&granted, profile);
            }
            VERIFIER.count(&granted.caller, &visit, Outcome::Ok, agent);
        }
        Err(refused) => {
            assert_eq!(
                refused.known.map(|known| known.key.as_bytes()[0]),
                match refused.refusal {
                    Refusal::Missing
                    | Refusal::Several
                    | Refusal::Malformed(_)
                    | Refusal::Unknown => None,
                    Refusal::Guessing => refused.known.map(|known| known.key.as_bytes()[0]),
                    _ => kind.map(|kind| kind as u8),
                }
            );
            let is_expected = match refused.refusal {
                Refusal::Missing => match presented {
                    Presented::Nothing => true,
                    Presented::One(key) => key.trim_ascii().is_empty(),
                    Presented::Several => false,
                },
                Refusal::Several => matches!(presented, Presented::Several),
                Refusal::Malformed(_) | Refusal::Unknown => kind.is_none(),
                Refusal::Expired { since } => kind == Some(Kind::Expiring) && since == END,
                Refusal::Rotated { since } => kind == Some(Kind::Rotating) && since == END,
                Refusal::Disabled => kind == Some(Kind::Disabled),
                Refusal::Revoked => kind == Some(Kind::Revoked),
                Refusal::Address => kind == Some(Kind::AtHome) && !is_at_home(client),
                Refusal::Account(_) => kind == Some(Kind::Suspended) && !visit.is_account_exempt,
                Refusal::Limited | Refusal::Guessing => true,
                Refusal::ProfileMalformed | Refusal::ProfileForbidden | Refusal::ProfileUnknown => {
                    false
                }
            };
            assert!(is_expected, "{:?} {kind:?} {visit:?}", refused.refusal);
            VERIFIER.count_refused(&refused, &visit, agent);
        }
    }
    // What is noted is taken away as the worker does, and what a client calls itself is cut.
    let turn = TURNS.get() + 1;
    TURNS.set(turn % 4096);
    if turn == 4096 {
        for used in VERIFIER.drain_usage() {
            let client = used.last_use.map(|last| last.client).unwrap_or_default();
            assert!(client.chars().count() <= 48, "{client}");
        }
    }
});
