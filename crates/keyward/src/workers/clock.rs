//! Tells when the clock is set, for what is good until a certain time goes by it.

use std::sync::Arc;

use keyward_core::time::{HOUR_MILLIS, Moment, SECOND_MILLIS, UnixMillis};
use keyward_store::StoreError;
use keyward_store::audit;
use tokio::sync::watch;

use super::{FOLLOW_EVERY, stopped};
use crate::app::App;
use crate::observe::log::{Level, Log};

/// What a clock is kept right with moves it by less at once; so does a leap second.
const STEP_MILLIS: i64 = 5 * SECOND_MILLIS;
/// A clock may have been corrected by as much while no server ran.
const BEHIND_MILLIS: i64 = 60 * SECOND_MILLIS;

/// What follows from a step that may be a mistake.
const HELD: &str = ", and nothing is deleted for its age for a day";

/// By how much the wall clock is ahead of the one that never goes back.
#[derive(Default)]
struct Steps {
    known: Option<i64>,
    /// As it was at the last look, if that was elsewhere: the two are not read at one instant.
    seen: Option<i64>,
}

impl Steps {
    /// By how much the clock was set, when it is seen for the second time.
    fn look(&mut self, now: Moment) -> Option<i64> {
        let ahead = now.wall.0.saturating_sub_unsigned(now.ticks.0);
        let known = *self.known.get_or_insert(ahead);
        let step = ahead.saturating_sub(known);
        if step.abs() < STEP_MILLIS {
            (self.known, self.seen) = (Some(ahead), None);
            return None;
        }
        let seen = self.seen.replace(ahead)?;
        if ahead.saturating_sub(seen).abs() >= STEP_MILLIS {
            return None;
        }
        (self.known, self.seen) = (Some(ahead), None);
        Some(step)
    }
}

/// Warns at the start where the clock is behind what is written down already.
///
/// # Errors
/// If the store does not answer.
pub async fn compare(app: &App, log: &Log) -> Result<(), StoreError> {
    let now = app.clock.wall();
    let last = app.store.read(audit::last_at).await?;
    if let Some(last) = last.filter(|last| *last - now > BEHIND_MILLIS) {
        log.say(now, Level::Warn, &behind(now, last));
    }
    Ok(())
}

fn behind(now: UnixMillis, last: UnixMillis) -> String {
    format!(
        "the clock is behind: it says {}, and the last change was written down at {}. Until it is right \
         keys that expired in between pass again, and who signed in since then has to do so once more",
        crate::when(now),
        crate::when(last)
    )
}

/// Watches until told to stop.
pub async fn watch(app: Arc<App>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut steps = Steps::default();
    loop {
        let now = app.clock.now();
        if let Some(step) = steps.look(now) {
            let (way, seconds) =
                (if step < 0 { "back" } else { "forward" }, step.abs() / SECOND_MILLIS);
            let message = format!(
                "the clock was set {way} by {seconds} s: what expires goes by it, rate limits do not{}",
                if step >= HOUR_MILLIS { HELD } else { "" }
            );
            log.say(now.wall, Level::Warn, &message);
        }
        if stopped(&mut stop, FOLLOW_EVERY).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use keyward_core::time::Ticks;

    use super::*;

    #[test]
    fn a_step_is_told_once_and_time_that_passes_is_none() {
        let mut steps = Steps::default();
        let mut look =
            |wall, ticks| steps.look(Moment { wall: UnixMillis(wall), ticks: Ticks(ticks) });
        assert_eq!(look(1_000_000, 7), None);
        assert_eq!(look(1_060_000, 60_007), None);
        assert_eq!(look(1_059_000, 60_007), None, "a second that is repeated is no step");
        assert_eq!(look(4_659_000, 60_007), None, "it may have been read in between");
        assert_eq!(look(4_659_100, 60_107), Some(3_600_000));
        assert_eq!(look(4_659_200, 60_207), None);
        assert_eq!(look(9_659_200, 60_207), None);
        assert_eq!(look(4_659_300, 60_307), None, "it was");
        assert_eq!(look(-5_000_000, 60_407), None);
        assert_eq!(look(-4_999_000, 61_407), Some(-9_659_400));
        assert_eq!(look(-4_000_000, 1_060_407), None);
    }
}
