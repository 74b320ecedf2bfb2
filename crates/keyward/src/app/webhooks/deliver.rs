//! Sending events to webhooks. Contract 9.
//!
//! The queue is in the store: a crash loses nothing, and what was written down as delivered is not sent
//! again. Between a receiver's answer and that writing a crash sends an event twice, under the same id.
//! The events of a webhook go out one after another, so that they arrive in order.
//!
//! Bound: so many attempts at once in all, for an account and to a receiver as the constants say; the
//! others wait in the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use keyward_core::id::{AccountId, WebhookId};
use keyward_core::time::UnixMillis;
use keyward_store::Tx;
use keyward_store::contacts::Scope;
use keyward_store::webhook_events::{self, Event, EventStatus, Outcome, Then};
use keyward_store::webhooks::{self, Webhook};
use tokio::sync::Notify;
use url::Url;

use super::events::{self, EventName, Happened, new_event_id};
use super::{found, open};
use crate::app::{Actor, App, AppError, Chance};
use crate::outbound::{self, is_success};

const MOST_AT_ONCE: usize = 256;
const MOST_OF_AN_ACCOUNT: usize = 32;
const MOST_TO_A_RECEIVER: usize = 8;
/// Looked at in one turn.
const MOST_LOOKED_AT: u32 = 4096;
/// After the first attempt, the second, and so on; up to a fifth is added by chance.
const PAUSES_MILLIS: [i64; 5] = [1000, 5000, 30_000, 120_000, 600_000];
/// No event waits longer for its next attempt.
const LONGEST_WAIT_MILLIS: i64 = PAUSES_MILLIS[PAUSES_MILLIS.len() - 1] / 5 * 6;
/// Events in a row that failed.
const FAILURES_TO_TURN_OFF: u32 = 10;
/// When the store cannot be written, an attempt that it does not know of is not repeated at once.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// Forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 1000;

/// What is on its way.
#[derive(Default)]
pub struct Deliveries {
    flights: Mutex<Vec<Flight>>,
    landed: Notify,
    /// Attempts since start: delivered, to be tried again, failed for good. Written down already.
    ended: [AtomicU64; 3],
    /// What a stop left behind was put right. Held while that is done.
    is_recovered: tokio::sync::Mutex<bool>,
}

struct Flight {
    webhook: WebhookId,
    account: AccountId,
    receiver: String,
}

/// Ends with its attempt, however that ends.
struct Seat {
    app: Arc<App>,
    webhook: WebhookId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let deliveries = &self.app.deliveries;
        let mut flights = deliveries.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|flight| flight.webhook != self.webhook);
        drop(flights);
        deliveries.landed.notify_waiters();
    }
}

impl Deliveries {
    /// Returns when an attempt is over.
    pub async fn landed(&self) {
        self.landed.notified().await;
    }

    /// Attempts since start that were delivered, are tried again, and failed for good; without those
    /// that were asked for by hand.
    #[must_use]
    pub fn ended(&self) -> [u64; 3] {
        std::array::from_fn(|how| self.ended[how].load(Ordering::Relaxed))
    }

    fn count(&self, then: Then) {
        let how = match then {
            Then::Delivered => 0,
            Then::Again(_) => 1,
            Then::Failed => 2,
        };
        self.ended[how].fetch_add(1, Ordering::Relaxed);
    }

    /// How many attempts are being made.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes a seat if there is one. A webhook has one flight at a time.
    fn board(app: &Arc<App>, webhook: &Webhook) -> Option<Seat> {
        let url = Url::parse(&webhook.endpoint_url).ok();
        let receiver = url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let flights = &app.deliveries.flights;
        let mut flights = flights.lock().unwrap_or_else(PoisonError::into_inner);
        let of_account = flights.iter().filter(|f| f.account == webhook.account).count();
        let to_receiver = flights.iter().filter(|f| f.receiver == receiver).count();
        let is_room = flights.len() < MOST_AT_ONCE
            && of_account < MOST_OF_AN_ACCOUNT
            && to_receiver < MOST_TO_A_RECEIVER
            && flights.iter().all(|flight| flight.webhook != webhook.id);
        is_room.then(|| {
            flights.push(Flight { webhook: webhook.id, account: webhook.account, receiver });
            Seat { app: Arc::clone(app), webhook: webhook.id }
        })
    }
}

/// Starts an attempt for each webhook that has something due, as far as there is room.
///
/// # Errors
/// If the store does not answer.
pub async fn turn(app: &Arc<App>) -> Result<(), AppError> {
    recover(app).await?;
    let now = app.clock.wall();
    let due = app
        .store
        .read(move |tx| {
            let latest = now + LONGEST_WAIT_MILLIS;
            Ok::<_, AppError>(webhook_events::due(tx, now, latest, MOST_LOOKED_AT)?)
        })
        .await?;
    for webhook in due {
        let Some(seat) = Deliveries::board(app, &webhook) else { continue };
        tokio::spawn(async move {
            // What is wrong with the store is told by the worker, whose next turn fails as well.
            if attempt(&seat.app, seat.webhook).await.is_err() {
                tokio::time::sleep(FAULT_PAUSE).await;
            }
            drop(seat);
        });
    }
    Ok(())
}

/// Tries the first event in a webhook's queue once.
async fn attempt(app: &Arc<App>, id: WebhookId) -> Result<(), AppError> {
    let began = app.clock.wall();
    let taken = app
        .store
        .write(move |tx| {
            let Some(event) = webhook_events::begin(tx, id, began)? else { return Ok(None) };
            Ok::<_, AppError>(webhooks::find(tx, id)?.map(|webhook| (webhook, event)))
        })
        .await?;
    let Some((webhook, event)) = taken else { return Ok(()) };
    let outcome = send(app, &webhook, &event).await;
    let (now, chance) = (app.clock.wall(), app.chance.clone());
    let then = app
        .store
        .write(move |tx| {
            let then = what_then(&webhook, &event, &outcome, now, &chance);
            let is_ours = webhook_events::end_attempt(tx, &event, &outcome, then, began, now)?;
            if is_ours && then == Then::Failed {
                turn_off(tx, id, now)?;
            }
            Ok::<_, AppError>(then)
        })
        .await?;
    app.deliveries.count(then);
    Ok(())
}

fn what_then(
    webhook: &Webhook,
    event: &Event,
    outcome: &Outcome,
    now: UnixMillis,
    chance: &Chance,
) -> Then {
    if outcome.error.is_none() {
        return Then::Delivered;
    }
    if event.is_test || event.tries > webhook.retry_count {
        return Then::Failed;
    }
    let n_tried = usize::try_from(event.tries).unwrap_or(usize::MAX);
    let longest = PAUSES_MILLIS[PAUSES_MILLIS.len() - 1];
    let pause = PAUSES_MILLIS.get(n_tried.saturating_sub(1)).copied().unwrap_or(longest);
    let mut byte = [0];
    chance.fill(&mut byte);
    Then::Again(now + pause + pause * i64::from(byte[0]) / (5 * 256))
}

/// Switches a webhook off that failed too often. Sources 9.5.
fn turn_off(tx: &mut Tx<'_>, id: WebhookId, now: UnixMillis) -> Result<(), AppError> {
    let Some(mut webhook) = webhooks::find(tx, id)? else { return Ok(()) };
    if !webhook.is_active || webhook.consecutive_failures < FAILURES_TO_TURN_OFF {
        return Ok(());
    }
    webhook.is_active = false;
    webhook.turned_off_at = Some(now);
    webhooks::put(tx, &webhook)?;
    let details = serde_json::json!({ "failed_events": webhook.consecutive_failures });
    Ok(super::tell(tx, now, &Actor::System, "webhook.turned_off", &webhook, details)?)
}

/// Sends an event now, signed as of now.
async fn send(app: &App, webhook: &Webhook, event: &Event) -> Outcome {
    let began = app.clock.micros();
    let posted = post(app, webhook, event).await;
    let millis = app.clock.micros().saturating_sub(began) / 1000;
    let millis = u32::try_from(millis).unwrap_or(u32::MAX);
    match posted {
        Ok(posted) => {
            let error = (!is_success(posted.status)).then(|| match posted.status {
                300..400 => format!("answered {}; redirects are not followed", posted.status),
                status => format!("answered {status}"),
            });
            let (http_status, response_body) = (Some(posted.status), Some(posted.body));
            Outcome { http_status, response_body, error, millis }
        }
        Err(error) => {
            Outcome { http_status: None, response_body: None, error: Some(error), millis }
        }
    }
}

async fn post(app: &App, webhook: &Webhook, event: &Event) -> Result<outbound::Posted, String> {
    let url = app.outbound.guard.read(&webhook.endpoint_url, webhook.environment)?;
    let now = app.clock.wall();
    let sealed = |_| String::from("the signing secret cannot be opened: see the server's log");
    let signed = |secret: &[u8]| {
        let secret = open(app, webhook.id, secret).map_err(sealed)?;
        Ok::<_, String>(secret.sign(webhook.id, now.seconds(), event.body.as_bytes()))
    };
    let mut headers = vec![
        ("x-webhook-id", webhook.id.to_string()),
        ("x-webhook-timestamp", now.seconds().to_string()),
        ("x-webhook-signature", signed(&webhook.secret)?),
        ("x-webhook-event-id", event.id.to_string()),
        ("x-webhook-event-type", event.event_type.clone()),
    ];
    if let Some((previous, until)) = &webhook.previous
        && now < *until
    {
        headers.push(("x-webhook-signature-previous", signed(previous)?));
    }
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        Ok((HeaderName::from_static(name), value))
    };
    let headers = headers.into_iter().map(header).collect::<Result<Vec<_>, String>>()?;
    let within = Duration::from_secs(u64::from(webhook.timeout_seconds));
    let body = Bytes::copy_from_slice(event.body.as_bytes());
    app.outbound.post(&url, webhook.environment, headers, body, within).await
}

/// Sends an example of an event once, at once, whether or not the webhook is switched on. It is written
/// down, but counts neither as a success nor as a failure.
///
/// # Errors
/// If there is no such webhook, or who asks may not. That it was not delivered is no error.
pub async fn test(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    name: EventName,
    request_id: Option<String>,
) -> Result<Event, AppError> {
    // Why first: later it would be taken for one of those that a stop cut off.
    recover(app).await?;
    let at = app.clock.wall();
    let event_id = new_event_id(&app.chance, at);
    let actor = *actor;
    let (webhook, event) = app
        .store
        .write(move |tx| {
            actor.refreshed(tx, at)?.check_works_on(scope.account)?;
            let webhook = found(tx, scope, id)?;
            let payload = events::sample(name, &webhook);
            let Scope { account, environment } = scope;
            let happened = Happened { account, environment, name, at, request_id, payload };
            let event = Event {
                id: event_id,
                webhook: id,
                event_type: name.as_str().to_owned(),
                body: events::body_of(&happened),
                status: EventStatus::Processing,
                is_test: true,
                attempts: 0,
                tries: 0,
                http_status: None,
                response_body: None,
                error: None,
                created_at: at,
                started_at: Some(at),
                completed_at: None,
            };
            webhook_events::insert(tx, &event)?;
            let event = webhook_events::begin_attempt(tx, &event, at)?;
            Ok::<_, AppError>((webhook, event))
        })
        .await?;
    let outcome = send(app, &webhook, &event).await;
    let (now, chance) = (app.clock.wall(), app.chance.clone());
    app.store
        .write(move |tx| {
            let then = what_then(&webhook, &event, &outcome, now, &chance);
            webhook_events::end_attempt(tx, &event, &outcome, then, at, now)?;
            let Outcome { http_status, response_body, error, .. } = outcome;
            Ok(Event { http_status, response_body, error, ..event })
        })
        .await
}

/// Puts right what a stop left behind, once.
///
/// # Errors
/// If the store cannot write; then it is for the next one who asks.
pub async fn recover(app: &App) -> Result<(), AppError> {
    let mut is_recovered = app.deliveries.is_recovered.lock().await;
    if !*is_recovered {
        let now = app.clock.wall();
        let fail =
            move |tx: &mut Tx<'_>| Ok::<_, AppError>(webhook_events::fail_cut_off_tests(tx, now)?);
        app.store.write(fail).await?;
        *is_recovered = true;
    }
    Ok(())
}

/// Forgets events that are too old.
///
/// # Errors
/// If the store cannot write.
pub async fn forget(app: &App) -> Result<(), AppError> {
    if !app.forgetting.may(app.clock.now()) {
        return Ok(());
    }
    let before = UnixMillis(app.clock.wall().0 - app.webhook_event_millis);
    loop {
        let n_gone = app
            .store
            .write(move |tx| {
                Ok::<_, AppError>(webhook_events::forget(tx, before, FORGOTTEN_AT_ONCE)?)
            })
            .await?;
        if n_gone == 0 {
            return Ok(());
        }
    }
}
