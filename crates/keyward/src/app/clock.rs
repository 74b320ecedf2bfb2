//! The only "now".

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use keyward_core::time::{Moment, Ticks, UnixMillis};

/// The system's clock, or one that a test holds and moves.
#[derive(Clone)]
pub enum Clock {
    System { started: Instant },
    Held(Arc<HeldClock>),
}

/// A clock that stands still until it is moved.
pub struct HeldClock {
    wall_millis: AtomicI64,
    micros: AtomicU64,
}

impl HeldClock {
    #[must_use]
    pub const fn at(wall: UnixMillis) -> Self {
        Self { wall_millis: AtomicI64::new(wall.0), micros: AtomicU64::new(1_000_000) }
    }

    /// Lets time pass, by both clocks.
    pub fn advance(&self, millis: u64) {
        self.micros.fetch_add(millis * 1000, Ordering::SeqCst);
        self.wall_millis.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator might: no time passes by it.
    pub fn set_wall(&self, wall: UnixMillis) {
        self.wall_millis.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn system() -> Self {
        Self::System { started: Instant::now() }
    }

    /// Both clocks at once.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now_with_micros().0
    }

    /// Both clocks at once, and the microseconds of [`Clock::micros`], of which one is made.
    #[must_use]
    pub fn now_with_micros(&self) -> (Moment, u64) {
        let micros = self.micros();
        // Why the addition: a window that opened at tick 0 could not be told from an unopened one.
        (Moment { wall: self.wall(), ticks: Ticks(micros / 1000 + 1) }, micros)
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn wall(&self) -> UnixMillis {
        match self {
            Self::System { .. } => {
                let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
                    Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                    Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(0),
                };
                UnixMillis(millis)
            }
            Self::Held(clock) => UnixMillis(clock.wall_millis.load(Ordering::SeqCst)),
        }
    }

    /// Microseconds since some point, never going back.
    #[must_use]
    pub fn micros(&self) -> u64 {
        match self {
            Self::System { started } => {
                u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
            }
            Self::Held(clock) => clock.micros.load(Ordering::SeqCst),
        }
    }
}
