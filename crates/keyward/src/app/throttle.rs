//! Slowing down who guesses passwords or codes.
//!
//! Three counts: of an address, of a member as seen from anywhere, and of a member as seen from one
//! address. A member is locked for strangers only: from an address where that member signed in
//! before, the count of that address and member alone decides, so nobody can lock somebody else out
//! of the own office. No lock lasts longer than 15 minutes after the last attempt.
//!
//! An attempt is counted before it is made and taken back when it was right, itself and no other: whoever
//! is a member of one account with somebody else's address does not wipe out what they guessed for another.
//! Of a thousand at once no more get through than of a thousand in a row.
//!
//! Bound: 65,536 counts of 40 bytes; when they are used up the oldest half is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use keyward_core::time::Ticks;
use sha2::{Digest as _, Sha256};

const MOST: usize = 65_536;
const WINDOW_MILLIS: u64 = 15 * 60_000;
/// Wrong attempts from one address, whoever they were for.
const FOR_ADDRESS: u32 = 30;
/// Wrong attempts for a member from one address.
const FOR_PAIR: u32 = 10;
/// Wrong attempts for a member from wherever, after which each one more costs a longer pause.
const FOR_MEMBER: u32 = 5;

#[derive(Clone, Copy)]
struct Count {
    n: u32,
    last: u64,
}

/// Counts attempts.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<[u8; 16], Count>>);

/// An attempt that may be made. To be taken back with [`Throttle::succeeded`] when it was right.
pub(crate) struct Attempt {
    subjects: [[u8; 16]; 3],
    /// From an address that nobody knows it would have had to wait: it is for those alone who have signed
    /// in from there.
    pub(crate) is_for_known: bool,
}

fn subject(kind: &str, parts: [&str; 2]) -> [u8; 16] {
    let mut sha = Sha256::new();
    for part in [kind, parts[0], parts[1]] {
        sha.update(part.len().to_be_bytes());
        sha.update(part.as_bytes());
    }
    let hash: [u8; 32] = sha.finalize().into();
    let mut subject = [0; 16];
    subject.copy_from_slice(&hash[..16]);
    subject
}

/// Who has a network of version 6 has more addresses in it than there are grains of sand.
pub(super) fn place(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => address.to_string(),
        IpAddr::V6(v6) => format!("{:x?}", &v6.octets()[..8]),
    }
}

impl Throttle {
    /// Counts an attempt, or says how many seconds to wait.
    pub(crate) fn begin(
        &self,
        member: &str,
        address: IpAddr,
        is_known_address: bool,
        now: Ticks,
    ) -> Result<Attempt, u64> {
        let member = member.trim().to_lowercase();
        let place = place(address);
        let subjects = [
            subject("address", [&place, ""]),
            subject("pair", [&member, &place]),
            subject("member", [&member, ""]),
        ];
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |at: usize| {
            let count = counts.get(&subjects[at]);
            count.copied().filter(|count| now.0.saturating_sub(count.last) < WINDOW_MILLIS)
        };
        let ends = |count: Count, pause: u64| (count.last + pause).saturating_sub(now.0);
        let mut wait = 0;
        for (at, most) in [(0, FOR_ADDRESS), (1, FOR_PAIR)] {
            if let Some(count) = count(at)
                && count.n >= most
            {
                wait = wait.max(ends(count, WINDOW_MILLIS));
            }
        }
        let mut pause = 0;
        if let Some(count) = count(2)
            && let Some(over) = count.n.checked_sub(FOR_MEMBER)
        {
            pause = ends(count, (1000_u64 << over.min(10)).min(WINDOW_MILLIS));
        }
        if !is_known_address {
            wait = wait.max(pause);
        }
        if wait > 0 {
            return Err(wait.div_ceil(1000));
        }
        if counts.len() + subjects.len() > MOST {
            forget(&mut counts, now);
        }
        for subject in subjects {
            let count = counts.entry(subject).or_insert(Count { n: 0, last: now.0 });
            if now.0.saturating_sub(count.last) >= WINDOW_MILLIS {
                count.n = 0;
            }
            count.n = count.n.saturating_add(1);
            count.last = now.0;
        }
        Ok(Attempt { subjects, is_for_known: pause > 0 })
    }

    /// Takes an attempt back.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in attempt.subjects {
            if let Some(count) = counts.get_mut(&subject) {
                count.n = count.n.saturating_sub(1);
            }
        }
    }
}

fn forget(counts: &mut HashMap<[u8; 16], Count>, now: Ticks) {
    counts.retain(|_, count| now.0.saturating_sub(count.last) < WINDOW_MILLIS);
    if counts.len() > MOST / 2 {
        let mut ages: Vec<u64> = counts.values().map(|count| count.last).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        let mut left = MOST / 2;
        counts.retain(|_, count| {
            let is_kept = count.last >= median && left > 0;
            left -= usize::from(is_kept);
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn stranger(n: u32) -> IpAddr {
        IpAddr::from([198, 51, (n >> 8) as u8, n as u8])
    }

    #[test]
    fn strangers_cannot_lock_a_member_out_of_a_known_address() {
        let throttle = Throttle::default();
        let now = Ticks(1_000_000);
        let refused = (0..100)
            .filter(|n| throttle.begin("ada@example.com", stranger(*n), false, now).is_err());
        assert_eq!(refused.count(), 95, "five, and then a pause for everybody else");
        assert!(throttle.begin("Ada@example.com ", HOME, false, now).is_err());
        let attempt = throttle.begin("ada@example.com", HOME, true, now).expect("known");
        assert!(attempt.is_for_known);
        throttle.succeeded(&attempt);
        assert!(throttle.begin("ada@example.com", stranger(1), false, now).is_err());
        let later = Ticks(now.0 + WINDOW_MILLIS);
        let attempt = throttle.begin("ada@example.com", stranger(1), false, later).expect("later");
        assert!(!attempt.is_for_known);
    }

    #[test]
    fn what_was_right_wipes_out_nothing_that_was_wrong() {
        let throttle = Throttle::default();
        let now = Ticks(1_000_000);
        let mut n_wrong = 0;
        for _ in 0..20 {
            if throttle.begin("ada@example.com", HOME, true, now).is_ok() {
                n_wrong += 1;
            }
            if let Ok(right) = throttle.begin("ada@example.com", HOME, true, now) {
                throttle.succeeded(&right);
            }
        }
        assert_eq!(n_wrong, FOR_PAIR);
    }

    #[test]
    fn pauses_grow_and_none_is_longer_than_a_quarter_of_an_hour() {
        let throttle = Throttle::default();
        let mut now = 1_000_000;
        let mut pauses = vec![];
        for n in 0..30 {
            match throttle.begin("ada@example.com", stranger(n), false, Ticks(now)) {
                Ok(_) => {}
                Err(seconds) => {
                    pauses.push(seconds);
                    now += seconds * 1000;
                    let again = throttle.begin("ada@example.com", stranger(n), false, Ticks(now));
                    assert!(again.is_ok(), "what was said is true");
                }
            }
        }
        assert_eq!(pauses[..5], [1, 2, 4, 8, 16]);
        assert!(pauses.iter().all(|seconds| *seconds <= 900));
        assert!(throttle.begin("ada@example.com", HOME, false, Ticks(now + 900_000)).is_ok());
    }

    #[test]
    fn one_address_is_stopped_whomever_it_tries() {
        let throttle = Throttle::default();
        let tried = (0..100)
            .filter(|n| throttle.begin(&format!("{n}@example.com"), HOME, false, Ticks(5)).is_ok());
        assert_eq!(tried.count(), 30);
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let tried = (0..100_u16).filter(|n| {
            throttle.begin(&format!("{n}@example.org"), v6(*n), false, Ticks(5)).is_ok()
        });
        assert_eq!(tried.count(), 30, "a /64 is one address");
    }

    #[test]
    fn it_stays_within_its_bound() {
        let throttle = Throttle::default();
        for n in 0..40_000 {
            let _ = throttle.begin(&format!("{n}@x.org"), stranger(n), false, Ticks(u64::from(n)));
        }
        assert!(throttle.0.lock().expect("nobody panicked").len() <= MOST);
    }
}
