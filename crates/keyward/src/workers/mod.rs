//! What runs by itself beside the requests.

pub mod alerts;
pub mod records;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use keyward_store::StoreError;
use tokio::sync::{Mutex, watch};

use crate::app::usage::Pending;
use crate::app::{App, Reach};
use crate::observe::log::{Level, Log};

/// Usage is written this often: a crash loses at most as much,
pub const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// or as this where writing takes long, for many keys are in use at once.
pub const FLUSH_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// The store is asked for changes this often, should nobody have rung.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Writes down what was counted.
pub struct UsageWriter {
    app: Arc<App>,
    pending: Mutex<Pending>,
}

impl UsageWriter {
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, pending: Mutex::default() }
    }

    /// Writes everything that was counted so far.
    ///
    /// # Errors
    /// If the store cannot write; nothing is lost, it is tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let Reach::Here(follower) = &self.app.reach else { return Ok(()) };
        let mut pending = self.pending.lock().await;
        pending.add(follower.verifier.drain_usage());
        pending.flush(&self.app.store).await
    }
}

/// Flushes usage until told to stop.
pub async fn flush_usage(writer: Arc<UsageWriter>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    let mut pause = FLUSH_EVERY;
    while !stopped(&mut stop, pause).await {
        let started = writer.app.clock.micros();
        let result = writer.flush().await;
        let took = writer.app.clock.micros().saturating_sub(started);
        pause = pause_after(took, FLUSH_EVERY, FLUSH_AT_LEAST_EVERY);
        let at = writer.app.clock.wall();
        // Said once when it begins and once when it is over.
        match &result {
            Err(error) if !is_failing => {
                let message = format!("usage cannot be written, it is kept in memory: {error}");
                log.say(at, Level::Error, &message);
            }
            Ok(()) if is_failing => log.say(at, Level::Info, "usage is written again"),
            _ => {}
        }
        is_failing = result.is_err();
    }
}

/// Follows the store's changes until told to stop, in case somebody changed something and did not
/// ring. Asks for one number; only when it has grown are the changes read.
pub async fn follow(app: Arc<App>, log: Log, mut stop: watch::Receiver<bool>) {
    let Reach::Here(follower) = &app.reach else { return };
    let mut is_failing = false;
    while !stopped(&mut stop, FOLLOW_EVERY).await {
        let result = follower.catch_up(&app.store).await;
        if let (Err(error), false) = (&result, is_failing) {
            let message = format!("changes cannot be read from the store: {error}");
            log.say(app.clock.wall(), Level::Error, &message);
        }
        is_failing = result.is_err();
    }
}

/// How long to wait after some work took so many microseconds: so long that it takes one part in fifty
/// of the time, within bounds. What is written down must not crowd out the requests it tells of.
fn pause_after(took_micros: u64, least: Duration, most: Duration) -> Duration {
    Duration::from_micros(took_micros.saturating_mul(50)).clamp(least, most)
}

async fn stopped(stop: &mut watch::Receiver<bool>, after: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(after) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_done_less_often_within_bounds() {
        let pause = |took_micros| {
            let pause = pause_after(took_micros, FLUSH_EVERY, FLUSH_AT_LEAST_EVERY);
            pause.as_millis()
        };
        assert_eq!([0, 40_000, 100_000].map(pause), [2_000, 2_000, 5_000]);
        assert_eq!([1_200_000, 5_000_000, u64::MAX].map(pause), [60_000; 3]);
    }
}
