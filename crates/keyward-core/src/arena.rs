//! Strings of bytes in memory that readers look at without a lock, and that is used again.
//!
//! Who changes a string writes another one, publishes its place, and gives the old place back. A reader that
//! is slow may still be copying from there when the next one is written: it sees that a place was used again
//! since it began, and begins anew. So readers never wait for a writer: a change makes one look twice, and none
//! that is under way holds it up (`tests/loom.rs`).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::OnceLock;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

const CHUNKS: usize = 16 * 1024;
#[cfg(not(loom))]
const CHUNK: usize = 64 * 1024;
#[cfg(loom)]
const CHUNK: usize = 16;

/// A string has at most this many bytes.
const LONGEST: usize = (1 << LENGTH_BITS) - 1;
const LENGTH_BITS: u32 = 12;

/// Places that no string has any more, by the power of two of words that they have room for.
#[derive(Default)]
pub struct Spare([Vec<u32>; 11]);

/// Strings of bytes by number, packed in words, each with its length before it.
///
/// Bound: 8 GiB in chunks of 512 KiB; the directory takes 384 KiB. A string has at most 4,095 bytes, and the
/// last words of a chunk may stay empty. One that takes the place of another has room up to the next power of
/// two, and there are as many places of a size as there ever were strings of it at once, and one more: for each
/// string of up to 2,300 bytes, and once for all, 8 KiB at most, however often they are changed. A place that is
/// free takes 4 bytes more, or 8.
pub struct Arena {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    used: AtomicUsize,
    /// How often a place was used again.
    reused: AtomicU64,
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    #[must_use]
    pub fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            used: AtomicUsize::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// Adds a string, in no more words than it needs. Gives its place, or `None` when the arena is full or
    /// the string too long. One writer at a time.
    pub fn push(&self, bytes: &[u8]) -> Option<u32> {
        let head = head(bytes, 0)?;
        let at = self.take(words_of(bytes.len()))?;
        self.write(at, head, bytes)
    }

    /// Adds a string that takes the place of another: where one was before, if there is room. One writer at a
    /// time.
    pub fn push_again(&self, bytes: &[u8], spare: &mut Spare) -> Option<u32> {
        let class = words_of(bytes.len()).next_power_of_two().ilog2();
        let head = head(bytes, class)?;
        let Some(at) = spare.0.get_mut(class as usize)?.pop() else {
            return self.write(self.take(1 << class)?, head, bytes);
        };
        self.reused.fetch_add(1, Ordering::Release);
        // Whoever reads a word of what is written from here on sees that as well.
        fence(Ordering::Release);
        self.write(at, head, bytes)
    }

    /// Takes the place of a string back, when another place was published instead of it.
    pub fn give_back(&self, at: u32, spare: &mut Spare) {
        let Some(head) = self.words(at).and_then(<[_]>::first) else { return };
        let (len, class) = parts(head.load(Ordering::Relaxed));
        let class = if class == 0 { words_of(len).ilog2() } else { class };
        if let Some(places) = spare.0.get_mut(class as usize) {
            places.push(at);
        }
    }

    /// Reads the string at a place that `place` looks up; `read` gets its bytes.
    pub fn get<R>(&self, place: impl Fn() -> u32, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        const SHORT: usize = 16;
        let (mut short, mut long) = ([[0; 8]; SHORT], vec![]);
        loop {
            let reused = self.reused.load(Ordering::Acquire);
            let words = self.words(place())?;
            let (len, _) = parts(words.first()?.load(Ordering::Relaxed));
            // What is being written over may say anything.
            let words = words.get(..words_of(len)).unwrap_or_default();
            // Nearly all are short, and need no memory of their own to be read.
            let to = if words.len() <= SHORT {
                &mut short[..words.len()]
            } else {
                long.resize(words.len(), [0; 8]);
                &mut long[..words.len()]
            };
            for (to, word) in to.iter_mut().zip(words) {
                *to = word.load(Ordering::Relaxed).to_le_bytes();
            }
            fence(Ordering::Acquire);
            if self.reused.load(Ordering::Relaxed) == reused {
                return Some(read(to.as_flattened().get(2..2 + len)?));
            }
        }
    }

    /// The words from a place to the end of its chunk.
    fn words(&self, at: u32) -> Option<&[AtomicU64]> {
        let at = at as usize;
        self.chunks.get(at / CHUNK)?.get()?.get(at % CHUNK..)
    }

    /// Words that nobody had before.
    fn take(&self, n_words: usize) -> Option<u32> {
        let mut at = self.used.load(Ordering::Relaxed);
        if at % CHUNK + n_words > CHUNK {
            at = at.next_multiple_of(CHUNK);
        }
        let chunk = self.chunks.get(at / CHUNK)?;
        chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        self.used.store(at + n_words, Ordering::Release);
        u32::try_from(at).ok()
    }

    fn write(&self, at: u32, head: u16, bytes: &[u8]) -> Option<u32> {
        let mut all = head.to_le_bytes().into_iter().chain(bytes.iter().copied());
        for word in &self.words(at)?[..words_of(bytes.len())] {
            let next: [u8; 8] = std::array::from_fn(|_| all.next().unwrap_or(0));
            word.store(u64::from_le_bytes(next), Ordering::Relaxed);
        }
        Some(at)
    }
}

/// The words that a string takes, with its head.
const fn words_of(len: usize) -> usize {
    (2 + len).div_ceil(8)
}

/// What stands before a string; `None` for one that is too long.
fn head(bytes: &[u8], class: u32) -> Option<u16> {
    let len = u16::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LONGEST)?;
    Some(len | u16::try_from(class << LENGTH_BITS).ok()?)
}

/// The length of a string, and the power of two of words that its place has, or 0 where it has no more than it
/// needs.
fn parts(head: u64) -> (usize, u32) {
    let [low, high, ..] = head.to_le_bytes();
    let head = u16::from_le_bytes([low, high]);
    (usize::from(head) & LONGEST, u32::from(head >> LENGTH_BITS))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn text(n: usize) -> Vec<u8> {
        (0..n).map(|byte| (byte * 7 + n) as u8).collect()
    }

    #[test]
    fn strings_of_any_length_are_read_back_across_chunks() {
        let arena = Arena::new();
        let lengths: Vec<usize> = (0..2000).chain([4095, 0, 3000, 4088]).collect();
        let places: Vec<u32> =
            lengths.iter().map(|n| arena.push(&text(*n)).expect("there is room")).collect();
        let mut spare = Spare::default();
        let again = lengths.iter().map(|n| arena.push_again(&text(*n), &mut spare));
        let again: Vec<u32> = again.map(|place| place.expect("there is room")).collect();
        for (n, places) in lengths.into_iter().zip(places.into_iter().zip(again)) {
            for place in [places.0, places.1] {
                let found = arena.get(|| place, <[u8]>::to_vec).expect("it is there");
                assert_eq!(found, text(n), "{n}");
            }
        }
        assert_eq!(arena.push(&[0; 4096]), None);
        assert_eq!(arena.push_again(&[0; 4096], &mut Spare::default()), None);
        assert!(arena.get(|| u32::MAX, <[u8]>::len).is_none());
    }

    #[test]
    fn strings_that_are_changed_without_end_take_no_more_than_their_bound() {
        let (arena, mut spare) = (Arena::new(), Spare::default());
        let mut strings: Vec<(u32, usize)> =
            (0..20).map(|n| (arena.push(&text(n * 9)).expect("there is room"), n * 9)).collect();
        let first = arena.used.load(Ordering::Relaxed);
        let mut number = 1_usize;
        for round in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let (which, n) = ((number >> 33) % 20, (number >> 40) % 2301);
            // Short ones for a while, then long ones.
            let n = if round % 1000 < 500 { n % 60 } else { n };
            let (old, _) = strings[which];
            let place = arena.push_again(&text(n), &mut spare).expect("there is room");
            strings[which] = (place, n);
            arena.give_back(old, &mut spare);
            if round % 1000 == 0 {
                for (place, n) in &strings {
                    assert_eq!(arena.get(|| *place, <[u8]>::to_vec), Some(text(*n)));
                }
            }
            assert_eq!(arena.get(|| place, <[u8]>::to_vec), Some(text(n)));
        }
        let taken = (arena.used.load(Ordering::Relaxed) - first) * 8;
        assert!(taken <= 21 * 8192, "{taken}");
        for (place, n) in strings {
            assert_eq!(arena.get(|| place, <[u8]>::to_vec), Some(text(n)));
        }
    }

    #[test]
    fn readers_get_whole_strings_while_a_writer_uses_their_places_again() {
        const CHANGES: usize = 50_000;
        let arena = Arena::new();
        let place = AtomicU32::new(arena.push(&text(300)).expect("there is room"));
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Acquire) {
                        let found =
                            arena.get(|| place.load(Ordering::Acquire), |it| it == text(it.len()));
                        assert_eq!(found, Some(true));
                    }
                });
            }
            let mut spare = Spare::default();
            for change in 0..CHANGES {
                let bytes = text(290 + change % 20);
                let new = arena.push_again(&bytes, &mut spare).expect("there is room");
                let old = place.swap(new, Ordering::Release);
                arena.give_back(old, &mut spare);
            }
            is_over.store(true, Ordering::Release);
        });
        assert_eq!(arena.reused.load(Ordering::Relaxed), CHANGES as u64 - 2);
    }
}
