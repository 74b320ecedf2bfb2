//! Keys by digest: hash tables with the entries in them, that only grow.
//!
//! A place is chosen by the digest, which is random already. Beside the entries stands one byte for each
//! place: 0 where it is free, else a part of the digest. Those bytes are few enough to stay near, so that
//! a key that is there costs one look far away, and one that is not costs none.
//!
//! A table never moves and never grows. When it is four fifths full the next one is begun, half as large
//! as all before it: readers look through the tables in their order. The first has room for everything
//! that was there at the start.
//!
//! Readers load atomics and never wait; writers take turns at a mutex that their owner holds. An entry is
//! filled in before its byte is published: whoever sees the byte sees it whole.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// Enough for 2^32 places, whatever there was at the start.
const TABLES: usize = 40;
/// Places of the smallest table.
const SMALLEST: usize = 4096;

/// Entries by hash, and by number once they are found.
pub(crate) struct Tables<T> {
    tables: [OnceLock<Table<T>>; TABLES],
    n_tables: AtomicUsize,
    len: AtomicUsize,
}

struct Table<T> {
    /// The number of its first place.
    base: u32,
    tags: Box<[AtomicU8]>,
    entries: Box<[T]>,
    /// A number for each entry that is seldom asked for.
    notes: Box<[AtomicU32]>,
    used: AtomicUsize,
}

impl<T: Default> Table<T> {
    fn new(base: u32, n_places: usize) -> Self {
        Self {
            base,
            tags: (0..n_places).map(|_| AtomicU8::new(0)).collect(),
            entries: (0..n_places).map(|_| T::default()).collect(),
            notes: (0..n_places).map(|_| AtomicU32::new(0)).collect(),
            used: AtomicUsize::new(0),
        }
    }
}

/// A byte for a taken place: never 0.
fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

impl<T> Table<T> {
    fn first_place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.tags.len() as u128) >> 64) as usize
    }

    /// The places that a hash may be in, with their bytes.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u8)> {
        let (before, after) = self.tags.split_at(self.first_place(hash));
        let places = after.iter().enumerate().map(|(n, tag)| (before.len() + n, tag));
        places
            .chain(before.iter().enumerate())
            .map(|(place, tag)| (place, tag.load(Ordering::Acquire)))
    }

    fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let found = self
            .places(hash)
            .take_while(|(_, found)| *found != 0)
            .find(|(place, found)| *found == tag && is_it(&self.entries[*place]));
        found.map(|(place, _)| self.base + place as u32)
    }
}

impl<T: Default> Tables<T> {
    /// Room for this many in the first table.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let tables = Self {
            tables: [const { OnceLock::new() }; TABLES],
            n_tables: AtomicUsize::new(1),
            len: AtomicUsize::new(0),
        };
        let n_places = (capacity + capacity / 4 + 1).max(SMALLEST);
        tables.tables[0].get_or_init(|| Table::new(0, n_places));
        tables
    }

    fn tables(&self) -> impl Iterator<Item = &Table<T>> {
        let n_tables = self.n_tables.load(Ordering::Acquire);
        self.tables[..n_tables].iter().filter_map(OnceLock::get)
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The number of the entry with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        self.tables().find_map(|table| table.find(hash, &is_it))
    }

    /// An entry for a hash under which none is: the one where the search begins, whether it is taken or
    /// free.
    pub(crate) fn stand_in(&self, hash: u64) -> Option<(u32, &T)> {
        let table = self.tables().next()?;
        let place = table.first_place(hash);
        Some((table.base + place as u32, &table.entries[place]))
    }

    fn table_of(&self, number: u32) -> Option<(&Table<T>, usize)> {
        self.tables().find_map(|table| {
            let place = number.checked_sub(table.base)? as usize;
            (place < table.entries.len()).then_some((table, place))
        })
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.table_of(number).map(|(table, place)| &table.entries[place])
    }

    pub(crate) fn note(&self, number: u32) -> Option<&AtomicU32> {
        self.table_of(number).map(|(table, place)| &table.notes[place])
    }

    /// Fills in an entry that is not there yet; gives `None` when no more fit. One writer at a time.
    pub(crate) fn insert(&self, hash: u64, note: u32, fill: impl FnOnce(&T)) -> Option<()> {
        let n_tables = self.n_tables.load(Ordering::Relaxed);
        let mut table = self.tables[n_tables - 1].get()?;
        if table.used.load(Ordering::Relaxed) * 5 >= table.tags.len() * 4 {
            let base = table.base as usize + table.tags.len();
            let n_places = (base / 2).max(SMALLEST);
            u32::try_from(base + n_places).ok()?;
            let next = self.tables.get(n_tables)?;
            table = next.get_or_init(|| Table::new(base as u32, n_places));
            self.n_tables.store(n_tables + 1, Ordering::Release);
        }
        let (place, _) = table.places(hash).find(|(_, tag)| *tag == 0)?;
        fill(&table.entries[place]);
        table.notes[place].store(note, Ordering::Relaxed);
        table.tags[place].store(tag_of(hash), Ordering::Release);
        table.used.fetch_add(1, Ordering::Relaxed);
        self.len.fetch_add(1, Ordering::Release);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Spreads small numbers over the word, with collisions in both halves.
    fn hash(number: u64) -> u64 {
        (number % 977).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn insert(tables: &Tables<AtomicU64>, number: u64) {
        let fill = |entry: &AtomicU64| entry.store(number, Ordering::Relaxed);
        tables.insert(hash(number), number as u32, fill).expect("there is room");
    }

    fn find(tables: &Tables<AtomicU64>, number: u64) -> Option<u64> {
        let is_it = |entry: &AtomicU64| entry.load(Ordering::Relaxed) == number;
        let found = tables.find(hash(number), is_it)?;
        let note = tables.note(found).expect("it was found").load(Ordering::Relaxed);
        let entry = tables.get(found).expect("it was found").load(Ordering::Relaxed);
        assert_eq!(u64::from(note), entry);
        Some(entry)
    }

    #[test]
    fn what_was_put_in_is_found_through_every_growth() {
        for capacity in [0, 9_000] {
            let tables = Tables::with_capacity(capacity);
            for number in 0..10_000 {
                insert(&tables, number);
                if number % 1000 == 0 {
                    for earlier in 0..=number {
                        assert_eq!(find(&tables, earlier), Some(earlier));
                    }
                }
            }
            assert_eq!(find(&tables, 10_001), None);
            assert_eq!(tables.len(), 10_000);
            assert!(tables.get(u32::MAX).is_none());
        }
    }

    #[test]
    fn readers_see_all_that_was_there_before_while_a_writer_adds() {
        let tables = Tables::with_capacity(0);
        let written = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=20_000 {
                    insert(&tables, number);
                    written.store(number, Ordering::Release);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 20_000 {
                        seen = written.load(Ordering::Acquire);
                        if seen > 0 {
                            assert_eq!(find(&tables, seen), Some(seen));
                        }
                    }
                });
            }
        });
    }
}
