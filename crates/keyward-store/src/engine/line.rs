//! Reads that wait, each account's in turn.
//!
//! One account must not make the others wait: a search that looks at all of its contacts may take a second, and
//! it may ask for many at once. So accounts have turns, and one that reads never has all of the readers.
//!
//! Bound: 1,024 reads wait, 256 of one account and 512 of nobody's; further ones are refused as busy.
//! Locks: one mutex around all of it, held to put a read in or to take one out.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use keyward_core::id::AccountId;
use keyward_core::turns::Turns;

use super::ReadJob;
use super::sqlite::{Queued, WAITING_JOBS};

const OF_ONE: usize = 256;
/// What is read before it is known for whom, as at a sign-in, leaves places for accounts.
const OF_NOBODY: usize = 512;

/// For whom something is read; nobody's reads are the program's own, and have a line as well.
pub(super) type Owner = Option<AccountId>;

pub(super) struct Line {
    inside: Mutex<Inside>,
    /// Told when something was put in, and when it closes.
    changed: Condvar,
    /// How many readers one account may have at once.
    most_of_one: usize,
}

#[derive(Default)]
struct Inside {
    waiting: Turns<Owner, Queued<ReadJob>>,
    n_waiting: usize,
    /// Readers that each account has now.
    reading: HashMap<AccountId, usize>,
    is_closed: bool,
}

impl Line {
    pub(super) fn new(n_readers: usize) -> Self {
        let most_of_one = n_readers.saturating_sub(1).max(1);
        Self { inside: Mutex::default(), changed: Condvar::new(), most_of_one }
    }

    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn locked(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if too many wait already.
    pub(super) fn put(&self, owner: Owner, read: Queued<ReadJob>) -> bool {
        let mut inside = self.locked();
        let most = if owner.is_some() { OF_ONE } else { OF_NOBODY };
        let is_full = inside.n_waiting >= WAITING_JOBS || inside.waiting.len_of(&owner) >= most;
        if !is_full {
            inside.waiting.push(owner, read);
            inside.n_waiting += 1;
            self.changed.notify_one();
        }
        !is_full
    }

    /// Waits for the next read that may begin. `None` when the line is closed and nothing waits.
    pub(super) fn take(&self) -> Option<(Owner, Queued<ReadJob>)> {
        let mut inside = self.locked();
        loop {
            let Inside { waiting, reading, .. } = &mut *inside;
            let may = |owner: &Owner| {
                let n_reading = owner.and_then(|owner| reading.get(&owner)).copied();
                n_reading.unwrap_or(0) < self.most_of_one
            };
            if let Some((owner, read)) = waiting.take_if(may) {
                if let Some(owner) = owner {
                    *reading.entry(owner).or_default() += 1;
                }
                inside.n_waiting -= 1;
                return Some((owner, read));
            }
            if inside.is_closed && inside.n_waiting == 0 {
                self.changed.notify_all();
                return None;
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A read is over. Whoever says so takes the next one.
    pub(super) fn done(&self, owner: Owner) {
        let Some(owner) = owner else { return };
        let mut inside = self.locked();
        if let Some(n_reading) = inside.reading.get_mut(&owner) {
            *n_reading -= 1;
            if *n_reading == 0 {
                inside.reading.remove(&owner);
            }
        }
    }

    /// What waits is still read.
    pub(super) fn close(&self) {
        self.locked().is_closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Asked;

    fn account(number: u8) -> Owner {
        Some(AccountId::from_bytes([number; 16]))
    }

    fn put(line: &Line, owner: Owner) -> bool {
        line.put(owner, Queued { job: Box::new(|_| {}), asked: Asked::now() })
    }

    fn take(line: &Line) -> Owner {
        line.take().expect("something may be read").0
    }

    #[test]
    fn accounts_have_turns_and_none_has_all_readers() {
        let line = Line::new(3);
        for _ in 0..3 {
            assert!(put(&line, account(1)));
        }
        assert!(put(&line, None) && put(&line, account(2)));
        let first = [take(&line), take(&line), take(&line)];
        assert_eq!(first, [account(1), None, account(2)]);
        assert_eq!(take(&line), account(1));
        // Two of three readers are its own: its third read waits, and what came later does not.
        assert!(put(&line, account(2)) && put(&line, None));
        assert_eq!([take(&line), take(&line)], [account(2), None]);
        line.done(account(1));
        assert_eq!(take(&line), account(1));
        line.close();
        assert!(line.take().is_none());
    }

    #[test]
    fn with_one_reader_everybody_has_it() {
        let line = Line::new(1);
        assert!(put(&line, account(1)));
        assert_eq!(take(&line), account(1));
    }

    #[test]
    fn one_account_fills_its_part_of_the_line_and_no_more() {
        let line = Line::new(2);
        let taken_of = |owner| (0..2000).filter(|_| put(&line, owner)).count();
        assert_eq!([taken_of(account(1)), taken_of(None)], [OF_ONE, OF_NOBODY]);
        assert_eq!(taken_of(account(2)), WAITING_JOBS - OF_ONE - OF_NOBODY);
        assert!(!put(&line, account(3)));
    }
}
