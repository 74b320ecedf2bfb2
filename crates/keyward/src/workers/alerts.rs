//! Looks once a minute what people must be told, and sweeps what is over.

use std::sync::Arc;
use std::time::Duration;

use keyward_core::time::{HOUR_MILLIS, Ticks};
use tokio::sync::{Mutex, watch};

use super::stopped;
use crate::app::notices::{self, Tries};
use crate::app::webhooks::deliver;
use crate::app::{App, AppError, alerts, expiry, findings, idempotency, sessions};
use crate::observe::log::{Level, Log};

/// How often it is looked.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// What is over is swept this often.
const SWEEP_EVERY_MILLIS: u64 = HOUR_MILLIS.unsigned_abs();

/// Raises alerts, ends them and mails them.
pub struct AlertWorker {
    app: Arc<App>,
    /// Held for a whole turn, so that nobody is told twice.
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    tries: Tries,
    swept_at: Option<Ticks>,
}

impl AlertWorker {
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app, turn: Mutex::default() }
    }

    /// Does one turn.
    ///
    /// # Errors
    /// If the store does not answer or cannot write.
    pub async fn check(&self) -> Result<(), AppError> {
        let mut turn = self.turn.lock().await;
        findings::check(&self.app).await?;
        expiry::check(&self.app).await?;
        notices::send(&self.app, &mut turn.tries).await?;
        let ticks = self.app.clock.now().ticks;
        if turn.swept_at.is_none_or(|at| ticks.0.saturating_sub(at.0) >= SWEEP_EVERY_MILLIS) {
            alerts::forget(&self.app).await?;
            sessions::sweep(&self.app).await?;
            idempotency::forget(&self.app).await?;
            deliver::forget(&self.app).await?;
            turn.swept_at = Some(ticks);
        }
        Ok(())
    }
}

/// Checks until told to stop.
pub async fn watch_alerts(worker: Arc<AlertWorker>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    while !stopped(&mut stop, CHECK_EVERY).await {
        let result = tokio::select! {
            result = worker.check() => result,
            // A mail on its way must not hold up the end of the server.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if let (Err(error), false) = (&result, is_failing) {
            let message = format!("alerts cannot be checked: {error}");
            log.say(worker.app.clock.wall(), Level::Error, &message);
        }
        is_failing = result.is_err();
    }
}
