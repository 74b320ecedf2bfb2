//! How often an address may come without a good key.
//!
//! Guessing a key is hopeless; this makes it cheap for us as well. Requests that carry a good key
//! never come here.
//!
//! Bound: 64 shards of at most 1,024 origins; above that those whose windows opened first are
//! forgotten. About 5 MB when full.
//! Locks: one mutex a shard, held for a look-up, by requests without a good key only.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::address::guess_origin;
use crate::time::Ticks;
use crate::window::{Allowance, Exhausted, RateWindow, WINDOW_MILLIS};

const SHARDS: usize = 64;
const ORIGINS_PER_SHARD: usize = 1024;
/// Many at once, so that a flood of addresses does not pay for a search each time.
const FORGOTTEN_AT_ONCE: usize = 128;

struct Origin {
    opened: Ticks,
    window: RateWindow,
}

/// The windows of all addresses that came without a good key.
pub struct Guesses {
    shards: Box<[Mutex<HashMap<IpAddr, Origin>>]>,
    hasher: RandomState,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Guesses {
    /// Counts one request from `address`.
    ///
    /// # Errors
    /// If the address has used up its window.
    pub fn admit(&self, address: IpAddr, now: Ticks, limit: u32) -> Result<Allowance, Exhausted> {
        let origin = guess_origin(address);
        let hash = usize::try_from(self.hasher.hash_one(origin) % SHARDS as u64).unwrap_or(0);
        // Why: a panic elsewhere cannot leave a shard half changed, so a poisoned one is good.
        let mut shard = self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.contains_key(&origin) {
            make_room(&mut shard, now);
        }
        let entry = shard
            .entry(origin)
            .or_insert_with(|| Origin { opened: now, window: RateWindow::new() });
        if now.0.saturating_sub(entry.opened.0) >= WINDOW_MILLIS {
            *entry = Origin { opened: now, window: RateWindow::new() };
        }
        entry.window.admit(now, limit)
    }

    /// Addresses remembered at the moment.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<HashMap<_, _>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.shards.iter().map(len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn make_room(shard: &mut HashMap<IpAddr, Origin>, now: Ticks) {
    if shard.len() < ORIGINS_PER_SHARD {
        return;
    }
    shard.retain(|_, origin| now.0.saturating_sub(origin.opened.0) < WINDOW_MILLIS);
    if shard.len() > ORIGINS_PER_SHARD - FORGOTTEN_AT_ONCE {
        let mut opened: Vec<Ticks> = shard.values().map(|origin| origin.opened).collect();
        let (_, cut, _) = opened.select_nth_unstable(FORGOTTEN_AT_ONCE);
        let cut = *cut;
        let mut left = FORGOTTEN_AT_ONCE;
        shard.retain(|_, origin| {
            let forget = origin.opened <= cut && left > 0;
            left -= usize::from(forget);
            !forget
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_has_a_window_of_its_own() {
        let guesses = Guesses::default();
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert!(guesses.admit(a, Ticks(1), 1).is_ok());
        assert!(guesses.admit(a, Ticks(2), 1).is_err());
        assert!(guesses.admit(b, Ticks(2), 1).is_ok());
        assert!(guesses.admit(a, Ticks(60_001), 1).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_in_time_and_never_grows_beyond_its_bound() {
        let guesses = Guesses::default();
        for number in 0..200_000u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            assert!(guesses.admit(address, Ticks(u64::from(number) / 100), 60).is_ok());
        }
        let bound = SHARDS * ORIGINS_PER_SHARD;
        assert!(guesses.len() <= bound, "{}", guesses.len());
        assert!(guesses.len() >= bound / 2, "a full table forgets no more than it must");
    }
}
