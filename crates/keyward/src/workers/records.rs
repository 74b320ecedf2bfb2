//! Remembers requests: takes what waits, writes it, forgets what is too old.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::stopped;
use crate::app::requests::{self, Noted};
use crate::app::{App, AppError};
use crate::observe::log::{Level, Log};
use crate::observe::records::Records;

/// Requests are written this often: a crash loses at most as much.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// Chunks that are forgotten in one turn at most.
const CHUNKS: usize = 4;

/// Writes requests down.
pub struct RecordWriter {
    app: Arc<App>,
    records: Records,
    noted: Mutex<Noted>,
}

impl RecordWriter {
    #[must_use]
    pub fn new(app: Arc<App>, records: Records) -> Self {
        Self { app, records, noted: Mutex::default() }
    }

    /// Writes everything that waits, and forgets what is too old or too much.
    ///
    /// # Errors
    /// If the store cannot write: what waited is dropped and counted, since more is coming.
    pub async fn flush(&self) -> Result<(), AppError> {
        let mut noted = self.noted.lock().await;
        let waiting = self.records.take();
        let has_written = !waiting.is_empty();
        if let Err((error, n_lost)) = requests::remember(&self.app, waiting, &mut noted).await {
            self.records.count_dropped(n_lost);
            return Err(error);
        }
        if has_written {
            for _ in 0..CHUNKS {
                if !requests::forget(&self.app).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Forgets what has become too old while nothing came.
    async fn forget(&self) -> Result<(), AppError> {
        requests::forget(&self.app).await.map(|_| ())
    }
}

/// Writes until told to stop.
pub async fn write_records(writer: Arc<RecordWriter>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    let mut turns = 0_u32;
    while !stopped(&mut stop, WRITE_EVERY).await {
        turns = turns.wrapping_add(1);
        let mut result = writer.flush().await;
        if result.is_ok() && turns.is_multiple_of(600) {
            result = writer.forget().await;
        }
        let at = writer.app.clock.wall();
        // Said once when it begins and once when it is over.
        match &result {
            Err(error) if !is_failing => {
                let message = format!("requests cannot be remembered, they are dropped: {error}");
                log.say(at, Level::Error, &message);
            }
            Ok(()) if is_failing => log.say(at, Level::Info, "requests are remembered again"),
            _ => {}
        }
        is_failing = result.is_err();
    }
}
