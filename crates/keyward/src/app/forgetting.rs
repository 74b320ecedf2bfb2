//! When what is too old may be deleted.
//!
//! What is deleted does not come back when the clock was wrong. So after it was set forward by an hour or
//! more, nothing is deleted for its age for a day, by the clock that only moves forward: time to see it and
//! set it right. The same holds after a start long after anything was written down, for the machine may have
//! been off, or its clock is ahead. Bounds by number go on to hold.

use std::sync::{Mutex, PoisonError};

use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, Moment, UnixMillis};

const STEP_MILLIS: i64 = HOUR_MILLIS;
const HELD_MILLIS: u64 = DAY_MILLIS.unsigned_abs();
/// A start so long after the newest row is one whose clock may be ahead.
const QUIET_MILLIS: i64 = DAY_MILLIS;

/// The lock is held to compare two numbers.
#[derive(Debug, Default)]
pub struct Forgetting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By how much the wall clock was ahead of the other one at the last look.
    known: Option<i64>,
    /// Nothing is deleted before.
    held_until: u64,
}

impl Forgetting {
    /// A start: the newest row is of this time.
    pub fn begin(&self, now: Moment, newest: Option<UnixMillis>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.known = Some(ahead(now));
        if newest.is_some_and(|newest| now.wall - newest >= QUIET_MILLIS) {
            state.held_until = now.ticks.0.saturating_add(HELD_MILLIS);
        }
    }

    /// Whether something may be deleted for its age now.
    #[must_use]
    pub fn may(&self, now: Moment) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.known.replace(ahead(now));
        if before.is_some_and(|before| ahead(now).saturating_sub(before) >= STEP_MILLIS) {
            state.held_until = now.ticks.0.saturating_add(HELD_MILLIS);
        }
        now.ticks.0 >= state.held_until
    }
}

fn ahead(now: Moment) -> i64 {
    now.wall.0.saturating_sub_unsigned(now.ticks.0)
}

#[cfg(test)]
mod tests {
    use keyward_core::time::Ticks;

    use super::*;

    const DAY: u64 = HELD_MILLIS;

    fn at(wall: i64, ticks: u64) -> Moment {
        Moment { wall: UnixMillis(wall), ticks: Ticks(ticks) }
    }

    #[test]
    fn for_a_day_after_a_step_forward_nothing_is_deleted_and_time_that_passes_is_no_step() {
        let forgetting = Forgetting::default();
        forgetting.begin(at(0, 7), Some(UnixMillis(0)));
        let year = 365 * DAY_MILLIS;
        assert!(forgetting.may(at(10 * DAY_MILLIS, 10 * DAY + 7)), "time that passes");
        assert!(
            forgetting.may(at(10 * DAY_MILLIS + HOUR_MILLIS - 1, 10 * DAY + 7)),
            "a small step"
        );
        assert!(!forgetting.may(at(year, 10 * DAY + 8)));
        assert!(!forgetting.may(at(10 * DAY_MILLIS, 10 * DAY + 9)), "set back it is held as well");
        assert!(!forgetting.may(at(11 * DAY_MILLIS - 2, 11 * DAY + 7)));
        assert!(forgetting.may(at(11 * DAY_MILLIS, 11 * DAY + 8)));
    }

    #[test]
    fn a_start_long_after_the_newest_row_deletes_nothing_for_a_day() {
        for (newest, is_held) in [(None, false), (Some(0), true), (Some(1), false)] {
            let forgetting = Forgetting::default();
            forgetting.begin(at(DAY_MILLIS, 1), newest.map(UnixMillis));
            assert_eq!(forgetting.may(at(DAY_MILLIS + 1, 2)), !is_held, "{newest:?}");
            assert!(forgetting.may(at(2 * DAY_MILLIS, DAY + 1)));
        }
    }
}
