//! Watches whether the disk takes what is written, and tells the operator when it does not, and when it
//! does again.

use std::sync::Arc;
use std::time::Duration;

use keyward_core::time::Ticks;
use keyward_store::{Store, Trouble};
use tokio::sync::watch;

use super::stopped;
use crate::app::App;
use crate::observe::log::{Level, Log};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A disk that takes so long for what is being written does not keep up: changes are then refused
/// rather than left to wait for nobody knows how long.
const SLOW_AFTER_MILLIS: u64 = 5_000;

/// Watches until told to stop.
pub async fn watch_disk(app: Arc<App>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut told = Told::default();
    while !stopped(&mut stop, LOOK_EVERY).await {
        let now = app.clock.now();
        if let Some((level, text)) = told.look(&app.store, now.ticks) {
            log.say(now.wall, level, &text);
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    trouble: Option<(Trouble, Ticks)>,
    n_faults: u64,
    /// What is being written, and since when at least.
    writing: Option<(u64, Ticks)>,
}

impl Told {
    /// Looks how the store does. Gives what is new for the operator.
    fn look(&mut self, store: &Store, now: Ticks) -> Option<(Level, String)> {
        self.writing = store.writing().map(|number| match self.writing {
            Some((known, since)) if known == number => (number, since),
            _ => (number, now),
        });
        let millis = |since: Ticks| now.0.saturating_sub(since.0);
        store.set_slow(self.writing.is_some_and(|(_, since)| millis(since) >= SLOW_AFTER_MILLIS));
        let n_faults = store.faults();
        let is_new_fault = std::mem::replace(&mut self.n_faults, n_faults) != n_faults;
        let before = self.trouble;
        let trouble = store.trouble();
        self.trouble = trouble.map(|trouble| (trouble, before.map_or(now, |(_, since)| since)));
        match (before, trouble) {
            (None, Some(trouble)) => Some((Level::Error, begins(trouble))),
            (Some((known, _)), Some(trouble)) if known != trouble => {
                Some((Level::Error, begins(trouble)))
            }
            (Some((_, since)), None) => {
                let text = format!("changes are taken again, after {} s", millis(since) / 1000);
                Some((Level::Info, text))
            }
            (None, None) if is_new_fault => {
                let text = "the disk of the data folder failed once, and took the next write: what \
                            was refused then can be sent again; look at the system's log";
                Some((Level::Warn, text.to_owned()))
            }
            _ => None,
        }
    }
}

/// What happened, what it means, what to do.
fn begins(trouble: Trouble) -> String {
    format!(
        "changes are refused: {}. Keys are checked as before, and changes are taken again as soon as \
         the disk takes them; no restart is needed",
        trouble.error()
    )
}
