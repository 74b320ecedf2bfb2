//! Laws of the core, for inputs that nobody thought of.

#![cfg(not(loom))]

use keyward_core::digest::KeyDigest;
use keyward_core::key::ApiKey;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::window::{Exhausted, RateWindow, WINDOW_MILLIS};
use proptest::prelude::*;

/// The form of a key, written down a second time and differently.
fn is_key(text: &[u8]) -> bool {
    let groups: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|g| g.iter().all(u8::is_ascii_hexdigit))
}

fn key_text() -> impl Strategy<Value = String> {
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
}

/// A key with one slip in it: a byte changed, added, removed or moved.
fn slipped() -> impl Strategy<Value = Vec<u8>> {
    (key_text(), 0usize..36, any::<u8>(), 0u8..4).prop_map(|(text, at, byte, kind)| {
        let mut bytes = text.into_bytes();
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.swap(at, usize::from(byte) % 36),
        }
        bytes
    })
}

proptest! {
    #[test]
    fn a_key_is_36_characters_in_five_groups_and_nothing_else(text in slipped()) {
        prop_assert_eq!(ApiKey::parse(&text).is_ok(), is_key(&text));
    }

    #[test]
    fn no_bytes_whatever_are_taken_for_a_key_by_mistake(text in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(ApiKey::parse(&text).is_ok(), is_key(&text));
    }

    #[test]
    fn a_key_reads_back_as_itself_in_lower_case(text in key_text()) {
        let key = ApiKey::parse(text.as_bytes()).expect("it has the form");
        prop_assert_eq!((*key.reveal()).clone(), text.to_lowercase());
        prop_assert_eq!(key.hint().as_str().to_owned(), text.to_lowercase().split_off(32));
        let upper = ApiKey::parse(text.to_uppercase().as_bytes()).expect("it has the form");
        prop_assert_eq!(key.digest(), upper.digest());
    }

    #[test]
    fn digests_are_equal_when_all_bytes_are(a in any::<[u8; 32]>(), at in 0usize..32, bit in 0u8..8) {
        let mut b = a;
        b[at] ^= 1 << bit;
        prop_assert_eq!(KeyDigest::from_bytes(a), KeyDigest::from_bytes(a));
        prop_assert_ne!(KeyDigest::from_bytes(a), KeyDigest::from_bytes(b));
    }

    #[test]
    fn a_permission_set_holds_what_was_put_in(bits in 0u32..128) {
        let set = PermissionSet::from_bits(bits);
        let again: PermissionSet = set.iter().collect();
        prop_assert_eq!(set, again);
        for permission in Permission::ALL {
            prop_assert_eq!(set.contains(permission), set.iter().any(|p| p == permission));
        }
    }
}

/// A request: after how long it comes, and by how much somebody has set the wall clock.
fn requests() -> impl Strategy<Value = Vec<(u64, i64)>> {
    let pause = prop_oneof![4 => 0u64..400, 1 => 0u64..WINDOW_MILLIS * 2];
    let jump = prop_oneof![8 => Just(0i64), 1 => -100_000_000i64..100_000_000];
    prop::collection::vec((pause, jump), 1..300)
}

proptest! {
    /// The window against a list of the times at which it let somebody in.
    #[test]
    fn a_window_never_admits_more_than_its_limit_and_its_headers_are_true(
        requests in requests(),
        limit in 1u32..20,
    ) {
        let window = RateWindow::new();
        let (mut ticks, mut wall) = (1u64, 1_704_067_200_000i64);
        let mut opened: Option<(u64, u32)> = None;
        for (pause, jump) in requests {
            ticks += pause;
            wall += i64::try_from(pause).expect("it is small") + jump;
            let now = Moment { wall: UnixMillis(wall), ticks: Ticks(ticks) };
            let (start, count) = match opened {
                Some((start, count)) if ticks - start < WINDOW_MILLIS => (start, count),
                _ => (ticks, 0),
            };
            let told = window.admit(now.ticks, limit);
            let allowance = match told {
                Ok(allowance) => {
                    prop_assert!(count < limit, "one too many");
                    prop_assert_eq!(allowance.remaining, limit - count - 1);
                    opened = Some((start, count + 1));
                    allowance
                }
                Err(Exhausted(allowance)) => {
                    prop_assert_eq!(count, limit, "refused below the limit");
                    prop_assert_eq!(allowance.remaining, 0);
                    allowance
                }
            };
            // What is told about the end of the window is the end of the window.
            prop_assert_eq!(allowance.resets_in_millis, start + WINDOW_MILLIS - ticks);
            let retry_after = allowance.retry_after_seconds();
            prop_assert!((1..=60).contains(&retry_after));
            let at_reset = allowance.reset_at_seconds(now) * 1000 - wall;
            let at_reset = u64::try_from(at_reset).expect("the reset lies ahead");
            for wait in [at_reset, retry_after * 1000] {
                prop_assert!(window.peek(Ticks(ticks + wait), limit).remaining == limit);
                prop_assert!(wait < allowance.resets_in_millis + 1000, "and not longer than needed");
            }
        }
    }
}

#[test]
fn threads_that_collide_get_exactly_the_limit_between_them() {
    let window = RateWindow::new();
    let admitted: usize = std::thread::scope(|scope| {
        let run = || (0..1000).filter(|_| window.admit(Ticks(9), 2500).is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(admitted, 2500);
}
