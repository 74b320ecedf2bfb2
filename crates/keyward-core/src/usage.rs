//! Counting requests: an atomic add each, drained in batches by a worker.
//!
//! A key's counters exist from its first request on. They stand in two banks, for even and odd
//! hours, so that what was counted before the hour and drained after it is still told apart.
//!
//! Written by every request; drained by one worker. A request waits for nobody: where it cannot have
//! a lock at once it leaves out the address and client of the last use, never a count.
//!
//! Bound: 432 bytes for each key that was used since start.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::account::{RateClass, words};
use crate::index::KeySlot;
use crate::record::LastUse;
use crate::time::UnixMillis;

words! {
    /// How a request ended, as far as usage is concerned.
    Outcome {
        Ok = "ok",
        /// 4xx other than those below.
        Invalid = "invalid",
        /// 403.
        Forbidden = "forbidden",
        /// 429.
        Limited = "limited",
        /// 5xx.
        Failed = "failed",
        Expired = "expired",
        Disabled = "disabled",
        Revoked = "revoked",
        Rotated = "rotated",
        /// The key may not be used from that address.
        Address = "address",
        /// No key was sent.
        Missing = "missing",
        /// What was sent has not the form of a key.
        Malformed = "malformed",
        Unknown = "unknown",
    }
}

const OUTCOMES: usize = Outcome::ALL.len();
const CLASSES: usize = RateClass::ALL.len();
const CLIENT_BYTES: usize = 48;

/// Requests of one hour, class and outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UsageCount {
    /// Hours since 1970.
    pub hour: i64,
    pub class: RateClass,
    pub outcome: Outcome,
    pub requests: u32,
}

struct Bank {
    hour: AtomicI64,
    counts: [[AtomicU32; OUTCOMES]; CLASSES],
}

impl Bank {
    fn new() -> Self {
        Self { hour: AtomicI64::new(i64::MIN), counts: Default::default() }
    }

    fn drain_into(&self, counts: &mut Vec<UsageCount>) {
        let hour = self.hour.load(Ordering::Acquire);
        for class in RateClass::ALL {
            for outcome in Outcome::ALL {
                let cell = &self.counts[*class as usize][*outcome as usize];
                if cell.load(Ordering::Relaxed) != 0 {
                    let requests = cell.swap(0, Ordering::AcqRel);
                    counts.push(UsageCount { hour, class: *class, outcome: *outcome, requests });
                }
            }
        }
    }
}

/// The client's name for itself, cut to what fits.
#[derive(Clone, Copy)]
struct ClientName {
    bytes: [u8; CLIENT_BYTES],
    len: u8,
}

struct Seen {
    address: Option<IpAddr>,
    client: ClientName,
    /// Counts of an hour that had to make room for the next one before they were drained.
    spilled: Vec<UsageCount>,
}

/// The counters of one key.
pub struct KeyUsage {
    banks: [Bank; 2],
    is_dirty: AtomicBool,
    last_used_at: AtomicI64,
    seen: Mutex<Seen>,
}

impl Default for KeyUsage {
    fn default() -> Self {
        Self {
            banks: [Bank::new(), Bank::new()],
            is_dirty: AtomicBool::new(false),
            last_used_at: AtomicI64::new(i64::MIN),
            seen: Mutex::new(Seen {
                address: None,
                client: ClientName { bytes: [0; CLIENT_BYTES], len: 0 },
                spilled: vec![],
            }),
        }
    }
}

impl KeyUsage {
    /// Counts one request. Gives true if the key has to be told to the worker.
    pub(crate) fn count(&self, at: UnixMillis, class: RateClass, outcome: Outcome) -> bool {
        let hour = at.hours();
        let bank = &self.banks[usize::from(hour & 1 != 0)];
        if bank.hour.load(Ordering::Acquire) != hour {
            self.turn_over(bank, hour);
        }
        bank.counts[class as usize][outcome as usize].fetch_add(1, Ordering::AcqRel);
        !self.is_dirty.load(Ordering::Relaxed) && !self.is_dirty.swap(true, Ordering::AcqRel)
    }

    /// Remembers who came. Never waits: of two at once, one is remembered.
    pub(crate) fn see(&self, at: UnixMillis, address: IpAddr, client: &[u8]) {
        self.last_used_at.fetch_max(at.0, Ordering::Relaxed);
        if let Ok(mut seen) = self.seen.try_lock() {
            seen.address = Some(address);
            let len = client.len().min(CLIENT_BYTES);
            seen.client.bytes[..len].copy_from_slice(&client[..len]);
            seen.client.len = u8::try_from(len).unwrap_or(0);
        }
    }

    /// The last use since start, if any.
    #[must_use]
    pub fn last_use(&self) -> Option<LastUse> {
        let at = self.last_used_at.load(Ordering::Relaxed);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(LastUse {
            at: (at != i64::MIN).then_some(UnixMillis(at))?,
            address: seen.address?,
            client: String::from_utf8_lossy(&seen.client.bytes[..usize::from(seen.client.len)])
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
        })
    }

    #[cold]
    fn turn_over(&self, bank: &Bank, hour: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if bank.hour.load(Ordering::Acquire) != hour {
            bank.drain_into(&mut seen.spilled);
            bank.hour.store(hour, Ordering::Release);
        }
    }

    /// Takes all counts since the last time.
    pub(crate) fn drain(&self) -> Vec<UsageCount> {
        // Why first: what is counted from here on makes the key known to the worker again.
        self.is_dirty.store(false, Ordering::Release);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = std::mem::take(&mut seen.spilled);
        self.banks.iter().for_each(|bank| bank.drain_into(&mut counts));
        counts
    }
}

/// Which keys have something to drain, and the counters of those who had no known key.
#[derive(Default)]
pub struct Ledger {
    dirty: [Mutex<Vec<KeySlot>>; 8],
    pub(crate) strangers: KeyUsage,
}

impl Ledger {
    /// Held for a push; a key comes here once between two drains.
    pub(crate) fn mark(&self, slot: KeySlot) {
        let shard = &self.dirty[slot.0 as usize % self.dirty.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    pub(crate) fn take_marked(&self) -> Vec<KeySlot> {
        let take = |shard: &Mutex<Vec<_>>| {
            std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.dirty.iter().flat_map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HOUR_MILLIS;

    #[test]
    fn requests_are_drained_once_and_under_the_hour_in_which_they_came() {
        let usage = KeyUsage::default();
        let count = |hour: i64| {
            usage.count(UnixMillis(hour * HOUR_MILLIS), RateClass::Standard, Outcome::Ok)
        };
        assert!(count(10), "the first one makes the key known");
        assert!(!count(10));
        count(11);
        count(12);
        let expect = |hour, requests| UsageCount {
            hour,
            class: RateClass::Standard,
            outcome: Outcome::Ok,
            requests,
        };
        let mut drained = usage.drain();
        drained.sort_by_key(|count| count.hour);
        assert_eq!(drained, [expect(10, 2), expect(11, 1), expect(12, 1)]);
        assert_eq!(usage.drain(), []);
        assert!(count(12));
        assert_eq!(usage.drain(), [expect(12, 1)]);
    }

    #[test]
    fn no_request_is_lost_between_threads_and_drains() {
        let usage = KeyUsage::default();
        let total = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20_000 {
                            usage.count(UnixMillis(0), RateClass::Sensitive, Outcome::Limited);
                        }
                    })
                })
                .collect();
            let mut total = 0;
            while writers.iter().any(|writer| !writer.is_finished()) {
                total += usage.drain().iter().map(|count| count.requests).sum::<u32>();
            }
            total + usage.drain().iter().map(|count| count.requests).sum::<u32>()
        });
        assert_eq!(total, 60_000);
    }

    #[test]
    fn the_last_use_tells_who_it_was() {
        let usage = KeyUsage::default();
        assert_eq!(usage.last_use(), None);
        usage.see(UnixMillis(7), IpAddr::from([192, 0, 2, 1]), b"Sent/Python 0.46.0\x1b[2J");
        let last = usage.last_use().expect("it was used");
        assert_eq!(
            (last.at, last.client.as_str()),
            (UnixMillis(7), "Sent/Python 0.46.0\u{fffd}[2J")
        );
    }
}
