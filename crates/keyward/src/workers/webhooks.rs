//! Sends events to webhooks until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::app::webhooks::deliver;
use crate::observe::log::{Level, Log};

/// The queue is looked at this often, and whenever an attempt is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is on its way when the server stops has so long to be answered; then it is sent again after the
/// next start.
const LAND_WITHIN: Duration = Duration::from_secs(5);

/// Delivers until told to stop.
pub async fn deliver(app: Arc<App>, log: Log, mut stop: watch::Receiver<bool>) {
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = app.deliveries.landed() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let result = deliver::turn(&app).await;
        match &result {
            Err(error) if !is_failing => {
                let message = format!("webhooks get nothing: {error}");
                log.say(app.clock.wall(), Level::Error, &message);
            }
            Ok(()) if is_failing => {
                log.say(app.clock.wall(), Level::Info, "webhooks get their events again");
            }
            _ => {}
        }
        is_failing = result.is_err();
    }
    let landing = async {
        while app.deliveries.in_flight() > 0 {
            tokio::select! {
                () = app.deliveries.landed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    };
    // Whoever has not answered by then gets it again, under the same id.
    let _ = tokio::time::timeout(LAND_WITHIN, landing).await;
}
