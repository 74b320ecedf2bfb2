//! Lock-free stores that only grow: a slab of values and a hash table of positions.
//!
//! Readers load an atomic or two and never wait; writers take turns at a mutex that their owner
//! holds. Nothing is ever removed, so that a reader can keep a plain reference.
//!
//! What is filled in is made of atomics, or of cells that are set once, and is written before its
//! position is published: whoever finds the position finds it whole.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const CHUNK: usize = 4096;
const CHUNKS: usize = 16 * 1024;

/// Values by number, in chunks that never move.
///
/// Bound: 67,108,864 values; the directory takes 384 KiB, a chunk 4,096 values.
pub(crate) struct Slab<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
    len: AtomicUsize,
}

impl<T: Default> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), len: AtomicUsize::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, position: u32) -> Option<&T> {
        let position = position as usize;
        self.chunks.get(position / CHUNK)?.get()?.get(position % CHUNK)
    }

    /// Fills in the next value; gives `None` when the slab is full. One writer at a time.
    pub(crate) fn push(&self, fill: impl FnOnce(&T)) -> Option<u32> {
        let position = self.len.load(Ordering::Relaxed);
        let chunk = self.chunks.get(position / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
        fill(&chunk[position % CHUNK]);
        self.len.store(position + 1, Ordering::Release);
        u32::try_from(position).ok()
    }
}

/// Positions by hash: open addressing, linear probing, at most five eighths full.
///
/// A cell is half a word: the position plus one in as many bits as the table has, and a part of the
/// hash in the rest, so a probe that meets another value's cell nearly always knows without looking at
/// the value, and the whole table is small enough to stay near. When it is full a larger one is filled
/// and then published; readers of the smaller one find what was there before.
///
/// Bound: 4 bytes a cell; all smaller tables together take no more than the present one.
pub(crate) struct Positions {
    tables: [OnceLock<Table>; 32],
    /// Which of `tables` is the present one: table `n` has 2^n cells.
    present: AtomicUsize,
    used: AtomicUsize,
}

struct Table {
    cells: Box<[AtomicU32]>,
    exponent: u32,
}

impl Table {
    fn new(exponent: u32) -> Self {
        Self { cells: (0..1usize << exponent).map(|_| AtomicU32::new(0)).collect(), exponent }
    }

    fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    /// The bits of a cell that hold a position.
    fn position_bits(&self) -> u32 {
        (1u32 << self.exponent) - 1
    }

    /// The part of the hash that a cell holds: not the bits that chose the cell.
    fn tag(&self, hash: u64) -> u32 {
        (hash >> 32) as u32 & !self.position_bits()
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (tag, position_bits) = (self.tag(hash), self.position_bits());
        let mut index = hash as usize & self.mask();
        loop {
            let cell = self.cells[index].load(Ordering::Acquire);
            if cell == 0 {
                return None;
            }
            let position = (cell & position_bits) - 1;
            if cell & !position_bits == tag && is_it(position) {
                return Some(position);
            }
            index = (index + 1) & self.mask();
        }
    }

    fn place(&self, hash: u64, position: u32) {
        let mut index = hash as usize & self.mask();
        while self.cells[index].load(Ordering::Relaxed) != 0 {
            index = (index + 1) & self.mask();
        }
        self.cells[index].store(self.tag(hash) | (position + 1), Ordering::Release);
    }
}

impl Positions {
    /// Room for this many without growing.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let cells = (capacity.saturating_mul(8) / 5 + 1).next_power_of_two().max(64);
        let positions = Self {
            tables: [const { OnceLock::new() }; 32],
            present: AtomicUsize::new(cells.trailing_zeros() as usize),
            used: AtomicUsize::new(0),
        };
        positions.table(positions.present.load(Ordering::Relaxed));
        positions
    }

    /// The position with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.table(self.present.load(Ordering::Acquire)).find(hash, is_it)
    }

    /// Adds a position that is not there yet; positions come in their order, from 0 on. One writer at a
    /// time; `hash_of` is asked for the hash of positions added before, when the table has to grow.
    pub(crate) fn insert(&self, hash: u64, position: u32, hash_of: impl Fn(u32) -> Option<u64>) {
        let mut present = self.present.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed) + 1;
        if used * 8 > self.table(present).cells.len() * 5 {
            present += 1;
            let larger = self.table(present);
            for earlier in 0..position {
                if let Some(hash) = hash_of(earlier) {
                    larger.place(hash, earlier);
                }
            }
            self.present.store(present, Ordering::Release);
        }
        self.table(present).place(hash, position);
        self.used.store(used, Ordering::Relaxed);
    }

    fn table(&self, exponent: usize) -> &Table {
        self.tables[exponent].get_or_init(|| Table::new(exponent as u32))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Spreads small numbers over the word, with collisions in both halves.
    fn hash(number: u32) -> u64 {
        u64::from(number % 977).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn push(slab: &Slab<AtomicU64>, number: u32) -> u32 {
        let place = |place: &AtomicU64| place.store(u64::from(number), Ordering::Relaxed);
        slab.push(place).expect("there is room")
    }

    fn number_at(slab: &Slab<AtomicU64>, position: u32) -> Option<u32> {
        u32::try_from(slab.get(position)?.load(Ordering::Relaxed)).ok()
    }

    #[test]
    fn what_was_put_in_is_found_through_every_growth() {
        let slab = Slab::new();
        let positions = Positions::with_capacity(0);
        for number in 0..10_000u32 {
            let position = push(&slab, number);
            positions.insert(hash(number), position, |p| number_at(&slab, p).map(hash));
            if number % 500 == 0 {
                for earlier in 0..=number {
                    let is_it = |p| number_at(&slab, p) == Some(earlier);
                    let found = positions.find(hash(earlier), is_it);
                    assert_eq!(found, Some(earlier));
                }
            }
        }
        let is_it = |p| number_at(&slab, p) == Some(10_001);
        assert_eq!(positions.find(hash(10_001), is_it), None);
    }

    #[test]
    fn readers_see_all_that_was_there_before_while_a_writer_grows_the_table() {
        let slab = Slab::new();
        let positions = Positions::with_capacity(0);
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..50_000u32 {
                    let position = push(&slab, number);
                    positions.insert(hash(number), position, |p| number_at(&slab, p).map(hash));
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
                            let is_it = |p| number_at(&slab, p) == Some(last);
                            let found = positions.find(hash(last), is_it);
                            assert_eq!(found, Some(last));
                        }
                    }
                });
            }
        });
    }
}
