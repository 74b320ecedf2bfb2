//! When a certificate is ordered, and when again after it did not come. Time and chance are arguments.
//!
//! The bounds are those of Let's Encrypt, which takes five failures for a name and then one every twelve
//! minutes: doubling from a minute stays below that.

use std::time::Duration;

use keyward_core::time::{MINUTE_MILLIS, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::app::Chance;
use crate::server::certificate::Validity;

/// The first wait after a failure; each further one is twice as long,
const FIRST_WAIT: i64 = MINUTE_MILLIS;
/// up to this.
const LONGEST_WAIT: i64 = 6 * 60 * MINUTE_MILLIS;
/// A server that asks for more patience is obeyed up to this.
const MOST_PATIENCE: Duration = Duration::from_secs(2 * 24 * 3600);

/// The orders that failed since one was filled. It is kept in a file, so that a server which is started
/// again and again does not order again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// What was ordered, and where.
    pub of: String,
    pub n_failed: u32,
    /// In milliseconds since 1970, as the next.
    pub last_at: i64,
    pub next_at: i64,
    /// What is known about the last failure.
    pub why: String,
}

impl Attempts {
    /// One more, which has failed unless something else is written down.
    pub(super) fn begin(before: Option<&Self>, of: &str, now: UnixMillis, chance: &Chance) -> Self {
        let n_failed = before.filter(|before| before.of == of).map_or(0, |before| before.n_failed);
        let n_failed = n_failed.saturating_add(1);
        Self {
            of: of.to_owned(),
            n_failed,
            last_at: now.0,
            next_at: now.0 + wait(n_failed, chance),
            why: String::from("it was cut off when the server ended"),
        }
    }

    /// It failed at a time, for a reason, and the server asked for patience.
    pub(super) fn fail(&mut self, now: UnixMillis, why: String, patience: Option<Duration>) {
        let wait = self.next_at - self.last_at;
        let patience = patience.map_or(0, |patience| patience.min(MOST_PATIENCE).as_millis());
        self.next_at = now.0 + wait.max(i64::try_from(patience).unwrap_or(0));
        self.why = why;
    }
}

/// How long to wait after so many failures: with a quarter more or less by chance, so that many servers
/// which lost their certificate authority at once do not come back at once.
fn wait(n_failed: u32, chance: &Chance) -> i64 {
    let doublings = n_failed.saturating_sub(1).min(16);
    let wait = (FIRST_WAIT << doublings).min(LONGEST_WAIT);
    let mut drawn = [0; 1];
    chance.fill(&mut drawn);
    wait + wait / 4 * i64::from(drawn[0]) / 255
}

/// From when on one is renewed: when a third of its life is left.
pub(super) fn renew_at(validity: Validity) -> UnixMillis {
    validity.ends_at + -((validity.ends_at - validity.begins_at) / 3)
}

/// Whether one is to be ordered now. `stored` is the life of the one that is there, if it is what is wanted.
pub(super) fn is_due(
    stored: Option<Validity>,
    attempts: Option<&Attempts>,
    of: &str,
    now: UnixMillis,
) -> bool {
    let is_wanted = stored.is_none_or(|validity| renew_at(validity) <= now);
    // Why the second condition: after a clock that was ahead is set right, nobody waits for that time.
    let must_wait = attempts.is_some_and(|attempts| {
        attempts.of == of && attempts.last_at <= now.0 && now.0 < attempts.next_at
    });
    is_wanted && !must_wait
}

#[cfg(test)]
mod tests {
    use keyward_core::time::DAY_MILLIS;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_704_067_200_000);

    #[test]
    fn one_is_renewed_when_a_third_of_its_life_is_left() {
        let validity = Validity { begins_at: NOW, ends_at: NOW + 90 * DAY_MILLIS };
        let is_due = |at| is_due(Some(validity), None, "a", at);
        assert!(!is_due(NOW + (60 * DAY_MILLIS - 1)));
        assert!(is_due(NOW + 60 * DAY_MILLIS));
        assert!(is_due(NOW + 100 * DAY_MILLIS), "one that has ended as well");
        assert!(!is_due(NOW + -DAY_MILLIS), "one of tomorrow is for the clock to be set right");
        let day = Validity { begins_at: NOW, ends_at: NOW + DAY_MILLIS };
        assert_eq!(renew_at(day), NOW + DAY_MILLIS / 3 * 2);
        assert!(super::is_due(None, None, "a", NOW), "there is none");
    }

    #[test]
    fn who_fails_waits_a_minute_then_twice_as_long_each_time_up_to_six_hours() {
        let chance = Chance::counting();
        let (mut attempts, mut waits) = (None, vec![]);
        let mut now = NOW;
        for _ in 0..12 {
            let mut next = Attempts::begin(attempts.as_ref(), "a", now, &chance);
            next.fail(now, String::from("refused"), None);
            assert!(!is_due(None, Some(&next), "a", now));
            assert!(!is_due(None, Some(&next), "a", UnixMillis(next.next_at - 1)));
            assert!(is_due(None, Some(&next), "a", UnixMillis(next.next_at)));
            assert!(is_due(None, Some(&next), "b", now), "what is wanted has changed");
            assert!(is_due(None, Some(&next), "a", now + -1), "the clock was set back");
            waits.push((next.next_at - now.0) / MINUTE_MILLIS);
            now = UnixMillis(next.next_at);
            attempts = Some(next);
        }
        for (wait, least) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]) {
            assert!((least..=least + least / 4).contains(wait), "{waits:?}");
        }
        let fresh = Attempts::begin(attempts.as_ref(), "b", now, &chance);
        assert_eq!(fresh.n_failed, 1, "failures of what was wanted before do not count");
    }

    #[test]
    fn a_server_that_asks_for_patience_gets_it_up_to_two_days() {
        let fail = |patience| {
            let mut attempts = Attempts::begin(None, "a", NOW, &Chance::counting());
            attempts.fail(NOW, String::new(), Some(Duration::from_secs(patience)));
            attempts.next_at - NOW.0
        };
        assert!((60_000..=75_000).contains(&fail(5)));
        assert_eq!(fail(3600), 3_600_000);
        assert_eq!(fail(u64::MAX), 2 * DAY_MILLIS);
    }

    #[test]
    fn an_order_that_was_cut_off_counts_as_one_that_failed() {
        let cut_off = Attempts::begin(None, "a", NOW, &Chance::counting());
        assert!(!is_due(None, Some(&cut_off), "a", NOW + 1));
        assert_eq!(cut_off.n_failed, 1);
    }
}
