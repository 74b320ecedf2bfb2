//! Points in time and durations, with their units in their names.
//!
//! Nothing here can ask for "now": who needs the time is given a [`Moment`]. It carries two readings,
//! because two questions are asked of a clock. *When* is asked of the wall clock, which an operator
//! may set back; *how long* is asked of a clock that only moves forward.

use std::ops::{Add, Sub};

/// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole hours since 1970, rounded down: the unit in which usage is counted.
    #[must_use]
    pub const fn hours(self) -> i64 {
        self.0.div_euclid(3_600_000)
    }
}

impl Add<i64> for UnixMillis {
    type Output = Self;

    /// Adds milliseconds; stays at the end of the range instead of wrapping.
    fn add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Sub for UnixMillis {
    type Output = i64;

    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds on a clock that never goes back. Its zero means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

/// One reading of both clocks, taken once for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock: expiry, time stamps, the second in which a window resets.
    pub wall: UnixMillis,
    /// By the clock that never goes back: how far a rate window has come.
    pub ticks: Ticks,
}

pub const SECOND_MILLIS: i64 = 1000;
pub const MINUTE_MILLIS: i64 = 60 * SECOND_MILLIS;
pub const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
pub const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
