//! What runs by itself beside the requests.

pub mod alerts;
pub mod clock;
pub mod disk;
pub mod records;
pub mod traces;
pub mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyward_store::StoreError;
use tokio::sync::{Mutex, watch};

use crate::app::usage::Pending;
use crate::app::{App, Reach};
use crate::observe::log::{Level, Log};

/// Usage is written this often: a crash loses at most as much,
pub const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// and this where many keys are in use at once: writing is then spread over so much time.
pub const FLUSH_WITHIN: Duration = Duration::from_secs(56);
/// The store is asked for changes this often, should nobody have rung.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Writes down what was counted.
pub struct UsageWriter {
    app: Arc<App>,
    pending: Mutex<Pending>,
    /// A copy for whoever must not wait until something is written.
    dropped: AtomicU64,
}

impl UsageWriter {
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, pending: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// Writes everything that was counted so far.
    ///
    /// # Errors
    /// If the store cannot write; nothing is lost, it is tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let Reach::Here(follower) = &self.app.reach else { return Ok(()) };
        let mut pending = self.pending.lock().await;
        pending.add(follower.verifier.drain_usage());
        self.dropped.store(pending.dropped, Ordering::Relaxed);
        pending.flush(&self.app.store).await
    }

    /// Requests whose count was dropped since start, because too much could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes over what was counted so far; gives the portions in which it is to be written.
    async fn begin(&self) -> usize {
        let Reach::Here(follower) = &self.app.reach else { return 0 };
        let mut pending = self.pending.lock().await;
        pending.add(follower.verifier.drain_usage());
        self.dropped.store(pending.dropped, Ordering::Relaxed);
        pending.begin()
    }
}

impl Portions for UsageWriter {
    fn app(&self) -> &App {
        &self.app
    }

    async fn write_portion(&self) -> Result<(), StoreError> {
        self.pending.lock().await.write_portion(&self.app.store).await
    }
}

/// Flushes usage until told to stop.
pub async fn flush_usage(writer: Arc<UsageWriter>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    while !stopped(&mut stop, FLUSH_EVERY).await {
        let n_portions = writer.begin().await;
        let result = spread(&*writer, n_portions, FLUSH_WITHIN, &mut stop).await;
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

/// Something that is written down in portions.
trait Portions {
    fn app(&self) -> &App;
    fn write_portion(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Writes portion after portion, until all are written, one fails or all is to stop. What is written down
/// must not crowd out the requests it tells of.
async fn spread(
    writer: &impl Portions,
    n_portions: usize,
    within: Duration,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let clock = &writer.app().clock;
    for n_left in (0..n_portions).rev() {
        let started = clock.micros();
        writer.write_portion().await?;
        let took = clock.micros().saturating_sub(started);
        if n_left > 0 && stopped(stop, pause_after(took, within, n_portions)).await {
            break;
        }
    }
    Ok(())
}

/// How long to wait after a portion took so many microseconds: so long that writing takes one part in
/// fifty of the time, unless all of it would take too long then.
fn pause_after(took_micros: u64, within: Duration, n_portions: usize) -> Duration {
    let most = within / u32::try_from(n_portions).unwrap_or(u32::MAX).max(1);
    Duration::from_micros(took_micros.saturating_mul(50)).min(most)
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
    fn writing_takes_one_part_in_fifty_of_the_time_unless_there_is_too_much() {
        let pause = |took_micros, n_portions| {
            pause_after(took_micros, Duration::from_secs(28), n_portions).as_millis()
        };
        assert_eq!([pause(0, 1), pause(2_000, 1), pause(2_000, 100)], [0, 100, 100]);
        assert_eq!([pause(2_000, 400), pause(u64::MAX, 4)], [70, 7_000]);
    }
}
