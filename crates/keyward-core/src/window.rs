//! Fixed rate windows, one atomic word each.
//!
//! A window opens with its first request and lasts 60 s. The word holds its start and its count, so
//! that a request is admitted by one compare-and-swap and no reader ever sees a half-made window.
//!
//! Invariant: no interleaving admits more than `limit` requests in one window (`tests/loom.rs`).
//! Bound: 8 bytes for each account, environment and class. Contract 5.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::{Moment, Ticks};

/// How long a window lasts. Contract 5.
pub const WINDOW_MILLIS: u64 = 60_000;

/// The highest limit that a window can count to.
pub const HIGHEST_LIMIT: u32 = 1_000_000;

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// What a caller is told about its window: the three rate-limit headers of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a window.
    pub limit: u32,
    /// Requests left in this window.
    pub remaining: u32,
    /// Until the window is over: 1 to 60,000.
    pub resets_in_millis: u64,
}

impl Allowance {
    /// The first whole Unix second at which the window is over.
    #[must_use]
    pub fn reset_at_seconds(&self, now: Moment) -> i64 {
        let left = i64::try_from(self.resets_in_millis).unwrap_or(i64::MAX);
        let over = (now.wall + left).0;
        over.div_euclid(1000) + i64::from(over.rem_euclid(1000) != 0)
    }

    /// Whole seconds after which the window is over: 1 to 60.
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        self.resets_in_millis.div_ceil(1000).max(1)
    }
}

/// The window was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted(pub Allowance);

/// One pool of requests.
///
/// Written by every request that spends from it, read by anybody; nothing is ever held.
#[derive(Debug, Default)]
pub struct RateWindow(AtomicU64);

impl RateWindow {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one request out of the window, opening a new one if none is open.
    ///
    /// # Errors
    /// If `limit` requests were admitted already.
    pub fn admit(&self, now: Ticks, limit: u32) -> Result<Allowance, Exhausted> {
        // Relaxed is enough: the word is all there is, nothing else is published through it.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let state = State::at(word, now);
            if state.count >= limit {
                return Err(Exhausted(state.allowance(limit)));
            }
            let next = State { count: state.count + 1, ..state };
            match self.0.compare_exchange_weak(
                word,
                next.to_word(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(next.allowance(limit)),
                Err(newer) => word = newer,
            }
        }
    }

    /// What the window looks like, without taking from it.
    #[must_use]
    pub fn peek(&self, now: Ticks, limit: u32) -> Allowance {
        State::at(self.0.load(Ordering::Relaxed), now).allowance(limit)
    }
}

#[derive(Clone, Copy)]
struct State {
    start: u64,
    elapsed: u64,
    count: u32,
}

impl State {
    /// The window that `word` describes, or a fresh one where that is over or was never opened.
    ///
    /// A thread that was held up may come with a `now` before the start; for it no time has passed.
    fn at(word: u64, now: Ticks) -> Self {
        let start = word >> COUNT_BITS;
        let elapsed = now.0.saturating_sub(start);
        let count = u32::try_from(word & COUNT_MASK).unwrap_or(u32::MAX);
        if count == 0 || elapsed >= WINDOW_MILLIS {
            Self { start: now.0, elapsed: 0, count: 0 }
        } else {
            Self { start, elapsed, count }
        }
    }

    fn to_word(self) -> u64 {
        self.start << COUNT_BITS | u64::from(self.count)
    }

    fn allowance(self, limit: u32) -> Allowance {
        Allowance {
            limit,
            remaining: limit.saturating_sub(self.count),
            resets_in_millis: WINDOW_MILLIS - self.elapsed,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::UnixMillis;

    #[test]
    fn a_window_opens_with_its_first_request_and_closes_sixty_seconds_later() {
        let window = RateWindow::new();
        let expect =
            |remaining, resets_in_millis| Allowance { limit: 2, remaining, resets_in_millis };
        assert_eq!(window.peek(Ticks(5), 2), expect(2, 60_000));
        assert_eq!(window.admit(Ticks(1_000), 2), Ok(expect(1, 60_000)));
        assert_eq!(window.admit(Ticks(31_000), 2), Ok(expect(0, 30_000)));
        assert_eq!(window.admit(Ticks(60_999), 2), Err(Exhausted(expect(0, 1))));
        assert_eq!(window.admit(Ticks(61_000), 2), Ok(expect(1, 60_000)));
    }

    #[test]
    fn a_limit_that_changes_counts_for_the_open_window() {
        let window = RateWindow::new();
        for _ in 0..5 {
            window.admit(Ticks(1), 5).expect("within the limit");
        }
        assert!(window.admit(Ticks(2), 5).is_err());
        assert_eq!(window.admit(Ticks(2), 7).map(|a| a.remaining), Ok(1));
        assert_eq!(window.peek(Ticks(2), 3).remaining, 0);
    }

    #[test]
    fn the_highest_limit_can_be_counted_to() {
        let window = RateWindow::new();
        for _ in 0..HIGHEST_LIMIT {
            window.admit(Ticks(1), HIGHEST_LIMIT).expect("within the limit");
        }
        assert!(window.admit(Ticks(1), HIGHEST_LIMIT).is_err());
    }

    #[test]
    fn the_headers_round_up_so_that_a_request_at_reset_passes() {
        let at = |wall, resets_in_millis| {
            let now = Moment { wall: UnixMillis(wall), ticks: Ticks(0) };
            let allowance = Allowance { limit: 1, remaining: 0, resets_in_millis };
            (allowance.reset_at_seconds(now), allowance.retry_after_seconds())
        };
        assert_eq!(at(1_704_067_200_000, 60_000), (1_704_067_260, 60));
        assert_eq!(at(1_704_067_200_001, 60_000), (1_704_067_261, 60));
        assert_eq!(at(1_704_067_200_000, 1), (1_704_067_201, 1));
        assert_eq!(at(1_704_067_200_000, 1_001), (1_704_067_202, 2));
    }
}
