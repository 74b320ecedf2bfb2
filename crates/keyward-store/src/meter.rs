//! What the store does, how long it takes and what it refuses, for whoever looks from outside.
//!
//! The store's threads count beside their work, a few relaxed adds a job; anybody reads. The figures
//! of one reading need not be of one moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// Upper bounds of the durations that are counted together, in microseconds.
pub const BOUNDS_MICROS: [u64; 14] = [
    50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000,
    10_000_000,
];

/// Why a commit, or the store as a whole, refused to write.
pub const FAULTS: [&str; 5] = ["full", "read_only", "busy", "damaged", "other"];

/// How long jobs took, from the asking to the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By [`BOUNDS_MICROS`], each without those before it; the last one has no bound.
    pub counts: [u64; BOUNDS_MICROS.len() + 1],
    pub sum_micros: u64,
}

/// Jobs of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobFigures {
    pub took: Durations,
    pub waiting: u64,
    /// Refused because too many waited.
    pub refused: u64,
}

/// The store at one moment. Counts are since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFigures {
    pub reads: JobFigures,
    pub writes: JobFigures,
    /// Commits that failed, by [`FAULTS`].
    pub failed_commits: [u64; FAULTS.len()],
    /// False from a commit that failed to the next one that wrote something.
    pub is_writable: bool,
}

/// Where jobs of one kind are counted.
#[derive(Default)]
pub(crate) struct Jobs {
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
    waiting: AtomicU64,
    refused: AtomicU64,
}

pub(crate) struct Meter {
    pub(crate) reads: Jobs,
    pub(crate) writes: Jobs,
    failed_commits: [AtomicU64; FAULTS.len()],
    is_writable: AtomicBool,
}

/// When a job was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked(Instant);

impl Asked {
    // Why not an argument: nothing is decided by it, and it is the machine's time that counts, also
    // where a test holds the clock.
    #[expect(clippy::disallowed_methods, reason = "a duration that is told and nothing else")]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Jobs {
    /// A job is on its way to the queue.
    pub(crate) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread took it.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// The queue was full.
    pub(crate) fn refuse(&self) {
        self.leave();
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, asked: Asked) {
        self.note(asked.0.elapsed());
    }

    fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS_MICROS.len())].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn figures(&self) -> JobFigures {
        let took = Durations {
            counts: std::array::from_fn(|bucket| read(&self.counts[bucket])),
            sum_micros: read(&self.sum_micros),
        };
        JobFigures { took, waiting: read(&self.waiting), refused: read(&self.refused) }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            reads: Jobs::default(),
            writes: Jobs::default(),
            failed_commits: <_>::default(),
            is_writable: AtomicBool::new(true),
        }
    }
}

impl Meter {
    /// A commit is over; `has_written` tells whether it had anything to write.
    pub(crate) fn committed(&self, result: &Result<(), StoreError>, has_written: bool) {
        let fault = match result {
            Ok(()) => {
                if has_written {
                    self.is_writable.store(true, Ordering::Relaxed);
                }
                return;
            }
            Err(StoreError::Full) => 0,
            Err(StoreError::ReadOnly) => 1,
            Err(StoreError::Busy) => 2,
            Err(StoreError::Corrupt(_) | StoreError::Newer { .. }) => 3,
            Err(
                StoreError::Conflict(_)
                | StoreError::Failing
                | StoreError::Slow
                | StoreError::InDoubt
                | StoreError::NotOpened { .. }
                | StoreError::Engine(_),
            ) => 4,
        };
        self.failed_commits[fault].fetch_add(1, Ordering::Relaxed);
        self.is_writable.store(false, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> StoreFigures {
        StoreFigures {
            reads: self.reads.figures(),
            writes: self.writes.figures(),
            failed_commits: std::array::from_fn(|fault| read(&self.failed_commits[fault])),
            is_writable: self.is_writable.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_under_the_bound_that_it_does_not_exceed() {
        let jobs = Jobs::default();
        for micros in [0, 50, 51, 10_000_000, 10_000_001] {
            jobs.note(Duration::from_micros(micros));
        }
        let took = jobs.figures().took;
        let mut expected = [0; 15];
        (expected[0], expected[1], expected[13], expected[14]) = (2, 1, 1, 1);
        assert_eq!((took.counts, took.sum_micros), (expected, 20_000_102));
    }

    #[test]
    fn it_is_writable_again_once_something_was_written() {
        let meter = Meter::default();
        let mut seen = vec![meter.figures().is_writable];
        let full = Err(StoreError::Full);
        for (result, has_written) in [(&full, true), (&Ok(()), false), (&Ok(()), true)] {
            meter.committed(result, has_written);
            seen.push(meter.figures().is_writable);
        }
        assert_eq!(seen, [true, false, false, true]);
        assert_eq!(meter.figures().failed_commits, [1, 0, 0, 0, 0]);
    }
}
