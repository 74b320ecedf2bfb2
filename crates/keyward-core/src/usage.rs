//! Counting requests: noted by the thread that answers, added up in batches, drained by a worker.
//!
//! Each thread notes what it answers on a sheet of its own, so that threads do not take each other's
//! cache lines and a request touches no memory of its key. A full sheet is added up, all of it at
//! once, by key, hour, class and outcome; the worker takes the sums.
//!
//! A request without a known key is noted like any other, for the time of a refusal must not tell whether
//! a key ever was.
//!
//! Bound: a sheet of 256 requests (12 KB) for each of at most 64 threads, about 150 bytes for each key
//! that was used since the last drain and for each thread that answered it, 16 more for each other class and
//! outcome of an hour, and 1,024 names of clients a sheet, half of which are for
//! clients with a known key.
//! Locks: one mutex a sheet, which its thread has for itself until the worker drains it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::account::{RateClass, words};
use crate::id::KeyId;
use crate::record::LastUse;
use crate::secret::hide_keys;
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

const CLIENT_BYTES: usize = 48;
const SHEETS: usize = 64;
const SHEET: usize = 256;
const CLIENTS: u16 = 1024;
const CLIENTS_OF_STRANGERS: u16 = CLIENTS / 2;

/// In the place of a key where none is known. No key has it: they are made of time and chance.
const NOBODY: KeyId = KeyId::from_bytes([0; 16]);

/// Requests of one hour, class and outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UsageCount {
    /// Hours since 1970.
    pub hour: i64,
    pub class: RateClass,
    pub outcome: Outcome,
    pub requests: u32,
}

/// One answered request.
#[derive(Clone, Copy)]
struct Note {
    key: KeyId,
    at: UnixMillis,
    address: IpAddr,
    class: RateClass,
    outcome: Outcome,
    client: u16,
}

/// What a key did since the last drain, and who came last.
struct Tally {
    hour: i64,
    /// What ended otherwise or came in another hour: nothing, for most keys.
    #[expect(clippy::box_collection, reason = "a third of the size, and there is none mostly")]
    more: Option<Box<Vec<UsageCount>>>,
    at: UnixMillis,
    requests: u32,
    address: IpAddr,
    class: RateClass,
    outcome: Outcome,
    client: u16,
}

const _: () = assert!(size_of::<Note>() <= 48 && size_of::<(KeyId, Tally)>() <= 72);

impl Tally {
    fn of(note: &Note) -> Self {
        Self {
            hour: note.at.hours(),
            more: None,
            at: note.at,
            requests: 1,
            address: note.address,
            class: note.class,
            outcome: note.outcome,
            client: note.client,
        }
    }

    fn add(&mut self, note: &Note) {
        let hour = note.at.hours();
        if (self.hour, self.class, self.outcome) == (hour, note.class, note.outcome) {
            self.requests += 1;
        } else {
            count_one(self.more.get_or_insert_default(), hour, note.class, note.outcome);
        }
        if note.at >= self.at {
            (self.at, self.address, self.client) = (note.at, note.address, note.client);
        }
    }

    fn into_counts(self) -> Vec<UsageCount> {
        let Self { hour, class, outcome, requests, more, .. } = self;
        let mut counts = more.map_or_else(Vec::new, |more| *more);
        counts.push(UsageCount { hour, class, outcome, requests });
        counts
    }
}

fn count_one(counts: &mut Vec<UsageCount>, hour: i64, class: RateClass, outcome: Outcome) {
    let is_like = |count: &&mut UsageCount| {
        (count.hour, count.class, count.outcome) == (hour, class, outcome)
    };
    match counts.iter_mut().find(is_like) {
        Some(like) => like.requests += 1,
        None => counts.push(UsageCount { hour, class, outcome, requests: 1 }),
    }
}

/// What clients call themselves, cut to what fits, by number.
#[derive(Default)]
struct Clients {
    names: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u16>,
    /// The one that came last comes again, mostly.
    last: u16,
}

impl Clients {
    /// `most`: how many names there may be with a new one.
    fn number_of(&mut self, name: &[u8], most: u16) -> u16 {
        let name = &name[..name.len().min(CLIENT_BYTES)];
        if self.names.get(usize::from(self.last)).is_none_or(|last| **last != *name) {
            self.last = self.numbers.get(name).copied().unwrap_or_else(|| self.add(name, most));
        }
        self.last
    }

    #[cold]
    fn add(&mut self, name: &[u8], most: u16) -> u16 {
        match u16::try_from(self.names.len()) {
            Ok(number) if number < most => {
                self.names.push(name.into());
                self.numbers.insert(name.into(), number);
                number
            }
            _ => CLIENTS,
        }
    }

    /// Whoever came when there were too many has no name.
    fn text_of(&self, number: u16) -> String {
        let name = self.names.get(usize::from(number)).map_or(b"other".as_slice(), |name| name);
        hide_keys(&String::from_utf8_lossy(name))
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    }
}

/// Keys' identifiers are random in their second half, and nobody chooses one.
#[derive(Default)]
struct Second(u64);

impl Hasher for Second {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let second = bytes.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let product = u128::from(second) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, _: usize) {}
}

type Tallies = HashMap<KeyId, Tally, BuildHasherDefault<Second>>;

/// What a key was used for, since it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainedUsage {
    /// `None` for requests without a known key.
    pub key: Option<KeyId>,
    pub counts: Vec<UsageCount>,
    pub last_use: Option<LastUse>,
}

/// What one thread noted.
#[derive(Default)]
struct Sheet {
    notes: Vec<Note>,
    tallies: Tallies,
    clients: Clients,
}

impl Sheet {
    fn add_up(&mut self) {
        for note in self.notes.drain(..) {
            match self.tallies.entry(note.key) {
                Entry::Occupied(mut tally) => tally.get_mut().add(&note),
                Entry::Vacant(place) => {
                    place.insert(Tally::of(&note));
                }
            }
        }
    }

    fn last_use_of(&self, tally: &Tally) -> LastUse {
        LastUse { at: tally.at, address: tally.address, client: self.clients.text_of(tally.client) }
    }
}

/// Apart from each other, so that two threads do not share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Apart(Mutex<Sheet>);

/// What all threads noted.
pub(crate) struct Ledger {
    sheets: Box<[Apart]>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { sheets: (0..SHEETS).map(|_| Apart::default()).collect() }
    }
}

impl Ledger {
    /// Notes one request, of a key or of nobody's. Waits for a drain at most.
    pub(crate) fn note(
        &self,
        key: Option<KeyId>,
        at: UnixMillis,
        (class, outcome): (RateClass, Outcome),
        (address, client): (IpAddr, &[u8]),
    ) {
        let mut sheet = locked(self.sheet());
        let most = if key.is_some() { CLIENTS } else { CLIENTS_OF_STRANGERS };
        let client = sheet.clients.number_of(client, most);
        if sheet.notes.len() == SHEET {
            sheet.add_up();
        } else if sheet.notes.capacity() == 0 {
            sheet.notes.reserve_exact(SHEET);
        }
        let key = key.unwrap_or(NOBODY);
        sheet.notes.push(Note { key, at, address, class, outcome, client });
    }

    /// The sheet of this thread.
    fn sheet(&self) -> &Apart {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SEAT: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        &self.sheets[SEAT.with(|seat| seat % SHEETS)]
    }

    /// Takes what was noted since the last time. A key that several threads served comes several times.
    pub(crate) fn drain(&self) -> Vec<DrainedUsage> {
        let mut all = vec![];
        for sheet in &self.sheets {
            let mut taken = {
                let mut sheet = locked(sheet);
                sheet.add_up();
                // The next ones will be about as many.
                let n_keys = sheet.tallies.len();
                let tallies = Tallies::with_capacity_and_hasher(n_keys, <_>::default());
                std::mem::replace(&mut *sheet, Sheet { tallies, ..Sheet::default() })
            };
            all.reserve(taken.tallies.len());
            for (key, tally) in std::mem::take(&mut taken.tallies) {
                let key = (key != NOBODY).then_some(key);
                let last_use = key.map(|_| taken.last_use_of(&tally));
                all.push(DrainedUsage { key, counts: tally.into_counts(), last_use });
            }
        }
        all
    }

    /// The last use of a key since the last drain.
    pub(crate) fn last_use(&self, key: KeyId) -> Option<LastUse> {
        let last_uses = self.sheets.iter().filter_map(|sheet| {
            let mut sheet = locked(sheet);
            sheet.add_up();
            let tally = sheet.tallies.get(&key)?;
            Some(sheet.last_use_of(tally))
        });
        last_uses.max_by_key(|last_use| last_use.at)
    }
}

/// Nothing that can panic happens while the lock is held, so a poisoned one is good.
fn locked(sheet: &Apart) -> MutexGuard<'_, Sheet> {
    sheet.0.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::time::HOUR_MILLIS;

    const FROM: (IpAddr, &[u8]) = (IpAddr::V4(Ipv4Addr::LOCALHOST), b"Sent/Python 0.46.0\x1b[2J");

    fn key(number: u8) -> KeyId {
        KeyId::from_bytes([number; 16])
    }

    fn drained(ledger: &Ledger) -> Vec<(Option<KeyId>, UsageCount)> {
        let counts = ledger.drain().into_iter().flat_map(|DrainedUsage { key, counts, .. }| {
            counts.into_iter().map(move |count| (key, count))
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort_by_key(|(key, count)| (*key, count.hour, count.outcome as u8));
        counts
    }

    #[test]
    fn requests_are_drained_once_and_under_the_hour_in_which_they_came() {
        let ledger = Ledger::default();
        let class = RateClass::Standard;
        let note = |number: u8, hour: i64, outcome| {
            ledger.note(Some(key(number)), UnixMillis(hour * HOUR_MILLIS), (class, outcome), FROM);
        };
        note(1, 10, Outcome::Ok);
        note(1, 10, Outcome::Ok);
        note(2, 10, Outcome::Ok);
        note(1, 11, Outcome::Ok);
        note(1, 11, Outcome::Limited);
        note(1, 11, Outcome::Ok);
        ledger.note(None, UnixMillis(12 * HOUR_MILLIS), (class, Outcome::Unknown), FROM);
        let count = |hour, outcome, requests| UsageCount { hour, class, outcome, requests };
        let expected = [
            (None, count(12, Outcome::Unknown, 1)),
            (Some(key(1)), count(10, Outcome::Ok, 2)),
            (Some(key(1)), count(11, Outcome::Ok, 2)),
            (Some(key(1)), count(11, Outcome::Limited, 1)),
            (Some(key(2)), count(10, Outcome::Ok, 1)),
        ];
        assert_eq!(drained(&ledger), expected);
        assert_eq!(drained(&ledger), []);
        note(2, 12, Outcome::Ok);
        assert_eq!(drained(&ledger), [(Some(key(2)), count(12, Outcome::Ok, 1))]);
    }

    #[test]
    fn no_request_is_lost_between_threads_and_drains() {
        let ledger = Ledger::default();
        let sum = || drained(&ledger).iter().map(|(_, count)| count.requests).sum::<u32>();
        let total = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let how = (RateClass::Sensitive, Outcome::Limited);
                        for number in 0..20_000_u32 {
                            ledger.note(Some(key(number as u8)), UnixMillis(0), how, FROM);
                        }
                    })
                })
                .collect();
            let mut total = 0;
            while writers.iter().any(|writer| !writer.is_finished()) {
                total += sum();
            }
            total + sum()
        });
        assert_eq!(total, 60_000);
    }

    #[test]
    fn the_last_use_tells_who_it_was() {
        let ledger = Ledger::default();
        assert_eq!(ledger.last_use(key(7)), None);
        let note = |number, at, address: [u8; 4], client| {
            let from = (IpAddr::from(address), client);
            let how = (RateClass::Standard, Outcome::Ok);
            ledger.note(Some(key(number)), UnixMillis(at), how, from);
        };
        note(7, 7, [192, 0, 2, 1], FROM.1);
        note(8, 9, [192, 0, 2, 2], b"curl");
        // Answered later, though it came before.
        note(7, 6, [192, 0, 2, 3], b"curl");
        let last = ledger.last_use(key(7)).expect("it was used");
        assert_eq!(
            (last.at, last.address, last.client.as_str()),
            (UnixMillis(7), IpAddr::from([192, 0, 2, 1]), "Sent/Python 0.46.0\u{fffd}[2J")
        );
        assert_eq!(ledger.drain().len(), 2);
        assert_eq!(ledger.last_use(key(7)), None);
    }

    #[test]
    fn names_of_clients_are_cut_and_bounded() {
        let ledger = Ledger::default();
        let long = [b'x'; 60];
        let how = (RateClass::Standard, Outcome::Ok);
        let note = |number, client: &[u8]| {
            ledger.note(Some(key(number)), UnixMillis(0), how, (FROM.0, client));
            ledger.last_use(key(number)).expect("it was used").client
        };
        assert_eq!(note(1, &long), "x".repeat(48));
        for number in 0..1023 {
            let name = format!("client {number}");
            assert_eq!(note(2, name.as_bytes()), name);
        }
        assert_eq!(note(3, b"one too many"), "other");
        assert_eq!(note(4, b"client 7"), "client 7");
    }
    #[test]
    fn strangers_have_no_last_use_and_leave_names_for_clients_with_a_key() {
        let ledger = Ledger::default();
        let how = (RateClass::Standard, Outcome::Unknown);
        for number in 0..2000 {
            let name = format!("stranger {number}");
            ledger.note(None, UnixMillis(0), how, (FROM.0, name.as_bytes()));
        }
        for number in 0..512 {
            let name = format!("client {number}");
            ledger.note(Some(key(1)), UnixMillis(number), how, (FROM.0, name.as_bytes()));
            assert_eq!(ledger.last_use(key(1)).expect("it was used").client, name);
        }
        let last_uses: Vec<_> = ledger.drain().into_iter().map(|usage| usage.last_use).collect();
        assert_eq!(last_uses.len(), 2);
        assert_eq!(last_uses.iter().flatten().count(), 1);
    }
}
