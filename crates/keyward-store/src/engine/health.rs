//! How the disk does: what the writer finds out, and anybody may ask at any time.
//!
//! Each value is one atomic word, written by the writer (and `is_slow` by whoever watches it), read by all.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::error::StoreError;

/// Why nothing can be written at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    ReadOnly,
    Full,
    /// It reports errors.
    Failing,
    /// What is being written takes too long.
    Slow,
}

impl Trouble {
    /// What a change is refused with.
    #[must_use]
    pub const fn error(self) -> StoreError {
        match self {
            Self::ReadOnly => StoreError::ReadOnly,
            Self::Full => StoreError::Full,
            Self::Failing => StoreError::Failing,
            Self::Slow => StoreError::Slow,
        }
    }

    /// The trouble that the system tells of; `None` if it is not the disk's.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Option<Self> {
        Self::of(&StoreError::of_file(Path::new(""), error))
    }

    /// The trouble that an error tells of; `None` if it is not the disk's.
    pub(crate) const fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::ReadOnly => Some(Self::ReadOnly),
            StoreError::Full => Some(Self::Full),
            StoreError::Failing => Some(Self::Failing),
            StoreError::Slow => Some(Self::Slow),
            StoreError::Conflict(_)
            | StoreError::InDoubt
            | StoreError::NotOpened { .. }
            | StoreError::Busy
            | StoreError::Newer { .. }
            | StoreError::Corrupt(_)
            | StoreError::Engine(_) => None,
        }
    }

    const ALL: [Self; 4] = [Self::ReadOnly, Self::Full, Self::Failing, Self::Slow];
}

#[derive(Default)]
pub(crate) struct Health {
    /// 0: none; otherwise one more than the place in `Trouble::ALL`.
    trouble: AtomicU8,
    is_slow: AtomicBool,
    n_faults: AtomicU64,
    n_begun: AtomicU64,
    n_ended: AtomicU64,
}

impl Health {
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let place = usize::from(self.trouble.load(Ordering::Acquire));
        let found = place.checked_sub(1).and_then(|place| Trouble::ALL.get(place).copied());
        found.or_else(|| self.is_slow.load(Ordering::Acquire).then_some(Trouble::Slow))
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Acquire)
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Trouble>) {
        let place = Trouble::ALL.iter().position(|one| Some(*one) == trouble);
        let place = place.map_or(0, |place| u8::try_from(place + 1).unwrap_or(u8::MAX));
        self.trouble.store(place, Ordering::Release);
    }

    pub(crate) fn set_slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Release);
    }

    pub(crate) fn count_fault(&self) {
        self.n_faults.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn faults(&self) -> u64 {
        self.n_faults.load(Ordering::Acquire)
    }

    /// Something is about to be written. Ends when what is given is dropped.
    pub(crate) fn begin(&self) -> Writing<'_> {
        self.n_begun.fetch_add(1, Ordering::AcqRel);
        Writing(self)
    }

    /// The number of what is being written at the moment.
    pub(crate) fn writing(&self) -> Option<u64> {
        let ended = self.n_ended.load(Ordering::Acquire);
        let begun = self.n_begun.load(Ordering::Acquire);
        (begun > ended).then_some(begun)
    }
}

/// Held while something is written.
pub(crate) struct Writing<'a>(&'a Health);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.n_ended.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_as_it_was_found_and_slowness_only_where_there_is_no_worse() {
        let health = Health::default();
        assert_eq!(health.trouble(), None);
        for trouble in Trouble::ALL {
            health.set_trouble(Some(trouble));
            assert_eq!(health.trouble(), Some(trouble));
            assert_eq!(Trouble::of(&trouble.error()), Some(trouble));
        }
        health.set_trouble(Some(Trouble::Full));
        health.set_slow(true);
        assert_eq!(health.trouble(), Some(Trouble::Full));
        health.set_trouble(None);
        assert_eq!(health.trouble(), Some(Trouble::Slow));
    }

    #[test]
    fn what_is_being_written_has_a_number_until_it_is_written() {
        let health = Health::default();
        assert_eq!(health.writing(), None);
        let first = health.begin();
        assert_eq!(health.writing(), Some(1));
        drop(first);
        assert_eq!(health.writing(), None);
        let _second = health.begin();
        assert_eq!(health.writing(), Some(2));
    }
}
