//! Remembers requests: takes what waits, writes it, forgets what is too old or too much.

use std::sync::Arc;
use std::time::Duration;

use keyward_store::StoreError;
use tokio::sync::{Mutex, watch};

use super::{Portions, spread, stopped};
use crate::app::App;
use crate::app::records::Pending;
use crate::observe::log::{Level, Log};

/// Requests are written this often: a crash loses at most as much,
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// and this where more come than there is time for: writing is then spread over so much time.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Writes requests down.
pub struct RecordWriter {
    app: Arc<App>,
    pending: Mutex<Pending>,
}

impl RecordWriter {
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        let pending = Mutex::new(Pending::new(app.records.is_on()));
        Self { app, pending }
    }

    /// Writes everything that was answered so far.
    ///
    /// # Errors
    /// If the store cannot write; it is tried again.
    pub async fn write(&self) -> Result<(), StoreError> {
        self.pending.lock().await.write(&self.app).await
    }

    /// Writes everything that was answered so far, and forgets all that is too old or too much.
    ///
    /// # Errors
    /// If the store cannot write; it is tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut pending = self.pending.lock().await;
        pending.write(&self.app).await?;
        pending.sweep_all(&self.app).await
    }

    async fn turn(&self, stop: &mut watch::Receiver<bool>) -> Result<(), StoreError> {
        let n_portions = self.pending.lock().await.begin(&self.app);
        spread(self, n_portions, WRITE_WITHIN, stop).await?;
        self.pending.lock().await.sweep(&self.app).await
    }
}

impl Portions for RecordWriter {
    fn app(&self) -> &App {
        &self.app
    }

    async fn write_portion(&self) -> Result<(), StoreError> {
        self.pending.lock().await.write_portion(&self.app).await
    }
}

/// Writes until told to stop.
pub async fn write_records(writer: Arc<RecordWriter>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut failing: Option<u64> = None;
    while !stopped(&mut stop, WRITE_EVERY).await {
        let result = writer.turn(&mut stop).await;
        let at = writer.app.clock.wall();
        let n_dropped = writer.app.records.dropped().total();
        // Said once when it begins and once when it is over.
        match (&result, failing) {
            (Err(error), None) => {
                let message = format!(
                    "requests cannot be remembered, as many as there is room for wait: {error}"
                );
                log.say(at, Level::Error, &message);
                failing = Some(n_dropped);
            }
            (Ok(()), Some(before)) => {
                let message =
                    format!("requests are remembered again; {} were dropped", n_dropped - before);
                log.say(at, Level::Info, &message);
                failing = None;
            }
            _ => {}
        }
    }
}
