//! Two lock-free tables that only grow: a slab of values, and a hash table of positions in it.
//!
//! Readers load an atomic or two and never wait; writers take turns at a mutex that their owner
//! holds. Nothing is ever removed, so that a reader can keep a plain reference.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const CHUNK: usize = 4096;
const CHUNKS: usize = 16 * 1024;

type Chunk<T> = Box<[OnceLock<T>]>;

/// Values by number, in chunks that never move.
///
/// Bound: 67,108,864 values; the directory takes 256 KiB, a chunk 4,096 values.
pub(crate) struct Slab<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
    len: AtomicUsize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), len: AtomicUsize::new(0) }
    }

    pub(crate) fn get(&self, position: u32) -> Option<&T> {
        let position = position as usize;
        self.chunks.get(position / CHUNK)?.get()?[position % CHUNK].get()
    }

    /// Adds a value; gives `None` when the slab is full. One writer at a time.
    pub(crate) fn push(&self, value: T) -> Option<u32> {
        let position = self.len.load(Ordering::Relaxed);
        let chunk = self.chunks.get(position / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        chunk[position % CHUNK].set(value).ok()?;
        self.len.store(position + 1, Ordering::Release);
        u32::try_from(position).ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }
}

/// Positions by hash: open addressing, linear probing, at most five eighths full.
///
/// A cell is one word: 32 bits of the hash and the position plus one, so a probe that meets another
/// value's cell nearly always knows without looking at the value. When the table is full a larger
/// one is filled and then published; readers of the smaller one find what was there before.
///
/// Bound: 8 bytes a cell; all smaller tables together take no more than the present one.
pub(crate) struct Positions {
    tables: [OnceLock<Box<[AtomicU64]>>; 32],
    /// Which of `tables` is the present one: table `n` has 2^n cells.
    present: AtomicUsize,
    used: AtomicUsize,
}

impl Positions {
    /// Room for this many without growing.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let cells = (capacity.saturating_mul(8) / 5 + 1).next_power_of_two().max(64);
        let present = cells.trailing_zeros() as usize;
        let positions = Self {
            tables: [const { OnceLock::new() }; 32],
            present: AtomicUsize::new(present),
            used: AtomicUsize::new(0),
        };
        positions.table(present);
        positions
    }

    /// The position with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let cells = self.table(self.present.load(Ordering::Acquire));
        let mask = cells.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let cell = cells[index].load(Ordering::Acquire);
            if cell == 0 {
                return None;
            }
            let position = (cell as u32).wrapping_sub(1);
            if cell >> 32 == hash >> 32 && is_it(position) {
                return Some(position);
            }
            index = (index + 1) & mask;
        }
    }

    /// Adds a position that is not there yet. One writer at a time; `hash_of` is asked for the hash
    /// of positions added before, when the table has to grow.
    pub(crate) fn insert(&self, hash: u64, position: u32, hash_of: impl Fn(u32) -> Option<u64>) {
        let mut present = self.present.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed) + 1;
        let cells = self.table(present);
        if used * 8 > cells.len() * 5 {
            let larger = self.table(present + 1);
            for cell in cells {
                let cell = cell.load(Ordering::Relaxed);
                let position = (cell as u32).wrapping_sub(1);
                if let Some(hash) = (cell != 0).then(|| hash_of(position)).flatten() {
                    place(larger, hash, position);
                }
            }
            present += 1;
            self.present.store(present, Ordering::Release);
        }
        place(self.table(present), hash, position);
        self.used.store(used, Ordering::Relaxed);
    }

    fn table(&self, exponent: usize) -> &[AtomicU64] {
        self.tables[exponent]
            .get_or_init(|| (0..1usize << exponent).map(|_| AtomicU64::new(0)).collect())
    }
}

fn place(cells: &[AtomicU64], hash: u64, position: u32) {
    let mask = cells.len() - 1;
    let mut index = hash as usize & mask;
    while cells[index].load(Ordering::Relaxed) != 0 {
        index = (index + 1) & mask;
    }
    cells[index].store((hash >> 32) << 32 | u64::from(position + 1), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads small numbers over the word, with collisions in both halves.
    fn hash(number: u32) -> u64 {
        u64::from(number % 977).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn what_was_put_in_is_found_through_every_growth() {
        let slab = Slab::new();
        let positions = Positions::with_capacity(0);
        for number in 0..10_000u32 {
            let position = slab.push(number).expect("there is room");
            positions.insert(hash(number), position, |p| slab.get(p).map(|n| hash(*n)));
            if number % 500 == 0 {
                for earlier in 0..=number {
                    let found = positions.find(hash(earlier), |p| slab.get(p) == Some(&earlier));
                    assert_eq!(found, Some(earlier));
                }
            }
        }
        assert_eq!(positions.find(hash(10_001), |p| slab.get(p) == Some(&10_001)), None);
        assert_eq!(slab.len(), 10_000);
    }

    #[test]
    fn readers_see_all_that_was_there_before_while_a_writer_grows_the_table() {
        let slab = Slab::new();
        let positions = Positions::with_capacity(0);
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..50_000u32 {
                    let position = slab.push(number).expect("there is room");
                    positions.insert(hash(number), position, |p| slab.get(p).map(|n| hash(*n)));
                    written.store(number as usize + 1, Ordering::Release);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 50_000 {
                        seen = written.load(Ordering::Acquire);
                        if let Some(last) = seen.checked_sub(1) {
                            let last = last as u32;
                            let found = positions.find(hash(last), |p| slab.get(p) == Some(&last));
                            assert_eq!(found, Some(last));
                        }
                    }
                });
            }
        });
    }
}
