//! Events on their way to webhooks, in the order in which they happened, and each attempt.
//!
//! A webhook's events are tried one after another: the first that is not done holds up the rest, so
//! that they arrive in order.

use keyward_core::account::words;
use keyward_core::id::{EventId, WebhookId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};
use crate::webhooks::{self, Webhook};

words! {
    /// What became of an event.
    EventStatus {
        Pending = "pending",
        Processing = "processing",
        Delivered = "delivered",
        Failed = "failed",
    }
}

/// An event for one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub webhook: WebhookId,
    /// `contact.created`.
    pub event_type: String,
    /// What is sent, byte for byte.
    pub body: String,
    pub status: EventStatus,
    /// Asked for by hand: tried once, and not in the queue.
    pub is_test: bool,
    /// In all.
    pub attempts: u32,
    /// Since it was last queued.
    pub tries: u32,
    pub http_status: Option<u16>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    pub created_at: UnixMillis,
    pub started_at: Option<UnixMillis>,
    pub completed_at: Option<UnixMillis>,
}

/// How one attempt went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub http_status: Option<u16>,
    pub response_body: Option<String>,
    /// Why it did not go well.
    pub error: Option<String>,
    pub millis: u32,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub number: u32,
    pub at: UnixMillis,
    pub http_status: Option<u16>,
    pub error: Option<String>,
    pub millis: u32,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, w.id, e.event_type, e.body, e.status, e.is_test, e.attempts, e.tries,",
            " e.http_status, e.response_body, e.error, e.created_at, e.started_at, e.completed_at",
            " FROM webhook_events e JOIN webhooks w ON w.number = e.webhook ",
            $rest
        )
    };
}

fn small<T: TryFrom<i64> + Default>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    Ok(T::try_from(row.int(column)?).unwrap_or_default())
}

fn http_status(row: &Row<'_>, column: usize) -> Result<Option<u16>, StoreError> {
    Ok(row.maybe_int(column)?.and_then(|status| u16::try_from(status).ok()))
}

fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    Ok(Event {
        id: EventId::from_bytes(row.bytes(0)?),
        webhook: WebhookId::from_bytes(row.bytes(1)?),
        event_type: row.text(2)?.to_owned(),
        body: row.text(3)?.to_owned(),
        status: row.word(4, EventStatus::from_text)?,
        is_test: row.int(5)? != 0,
        attempts: small(row, 6)?,
        tries: small(row, 7)?,
        http_status: http_status(row, 8)?,
        response_body: row.maybe_text(9)?,
        error: row.maybe_text(10)?,
        created_at: row.at(11)?,
        started_at: row.maybe_at(12)?,
        completed_at: row.maybe_at(13)?,
    })
}

/// Adds an event. One that is pending waits for its webhook, behind those that came before.
///
/// # Errors
/// What the engine reports.
pub fn insert(tx: &mut Tx<'_>, event: &Event) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO webhook_events (id, webhook, event_type, body, status, is_test, error,
             created_at, started_at, completed_at)
         VALUES (?1, (SELECT number FROM webhooks WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &[
            event.id.as_bytes().into(),
            event.webhook.as_bytes().into(),
            (&event.event_type).into(),
            (&event.body).into(),
            event.status.as_str().into(),
            event.is_test.into(),
            event.error.as_ref().into(),
            event.created_at.into(),
            event.started_at.into(),
            event.completed_at.into(),
        ],
    )?;
    if event.completed_at.is_none() && !event.is_test {
        // Only the first in the queue says when it may be tried.
        tx.execute(
            "UPDATE webhooks SET next_at = CASE WHEN waiting = 0 THEN ?2 ELSE next_at END,
                 waiting = waiting + 1
             WHERE id = ?1",
            &[event.webhook.as_bytes().into(), event.created_at.into()],
        )?;
    }
    Ok(())
}

/// The event, if it is one of a webhook.
///
/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, webhook: WebhookId, id: EventId) -> Result<Option<Event>, StoreError> {
    let sql = select!("WHERE e.id = ?1 AND w.id = ?2");
    tx.query_one(sql, &[id.as_bytes().into(), webhook.as_bytes().into()], event)
}

/// Webhooks with events that may be tried now, those that waited longest first. What is to be tried
/// later than `latest` was put down by a clock that was set back since, and may be tried now as well.
///
/// # Errors
/// What the engine reports.
pub fn due(
    tx: &mut Tx<'_>,
    now: UnixMillis,
    latest: UnixMillis,
    most: u32,
) -> Result<Vec<Webhook>, StoreError> {
    tx.query(
        concat!(
            "SELECT ",
            webhooks::columns!(),
            " FROM webhooks w JOIN accounts a ON a.number = w.account
             WHERE w.waiting > 0 AND w.is_active = 1 AND (w.next_at <= ?1 OR w.next_at > ?2)
             ORDER BY w.next_at LIMIT ?3"
        ),
        &[now.into(), latest.into(), most.into()],
        webhooks::webhook,
    )
}

/// Takes the first event in a webhook's queue for an attempt; none if there is nothing to try.
///
/// # Errors
/// What the engine reports.
pub fn begin(
    tx: &mut Tx<'_>,
    webhook: WebhookId,
    now: UnixMillis,
) -> Result<Option<Event>, StoreError> {
    let first = tx.query_one(
        select!(
            "WHERE w.id = ?1 AND w.is_active = 1 AND e.is_test = 0 AND e.completed_at IS NULL
             ORDER BY e.number LIMIT 1"
        ),
        &[webhook.as_bytes().into()],
        event,
    )?;
    let Some(first) = first else { return Ok(None) };
    begin_attempt(tx, &first, now).map(Some)
}

/// Counts an attempt at an event.
///
/// # Errors
/// What the engine reports.
pub fn begin_attempt(tx: &mut Tx<'_>, event: &Event, now: UnixMillis) -> Result<Event, StoreError> {
    tx.execute(
        "UPDATE webhook_events SET status = 'processing', attempts = attempts + 1,
             tries = tries + 1, started_at = coalesce(started_at, ?2)
         WHERE id = ?1",
        &[event.id.as_bytes().into(), now.into()],
    )?;
    let sql = "UPDATE webhooks SET last_attempt_at = ?2 WHERE id = ?1";
    tx.execute(sql, &[event.webhook.as_bytes().into(), now.into()])?;
    Ok(Event {
        status: EventStatus::Processing,
        attempts: event.attempts + 1,
        tries: event.tries + 1,
        started_at: event.started_at.or(Some(now)),
        ..event.clone()
    })
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Delivered,
    /// To be tried again then.
    Again(UnixMillis),
    Failed,
}

/// Writes down how an attempt went, and what follows from it. Gives false if the event is gone or was
/// finished by another.
///
/// # Errors
/// What the engine reports.
pub fn end_attempt(
    tx: &mut Tx<'_>,
    event: &Event,
    outcome: &Outcome,
    then: Then,
    began: UnixMillis,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let (status, completed_at) = match then {
        Then::Delivered => (EventStatus::Delivered, Some(now)),
        Then::Again(_) => (EventStatus::Pending, None),
        Then::Failed => (EventStatus::Failed, Some(now)),
    };
    let n_changed = tx.execute(
        "UPDATE webhook_events SET status = ?2, http_status = ?3, response_body = ?4, error = ?5,
             completed_at = ?6
         WHERE id = ?1 AND completed_at IS NULL",
        &[
            event.id.as_bytes().into(),
            status.as_str().into(),
            outcome.http_status.map(i64::from).into(),
            outcome.response_body.as_ref().into(),
            outcome.error.as_ref().into(),
            completed_at.into(),
        ],
    )?;
    if n_changed == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO webhook_attempts (event, attempt, at, http_status, error, millis)
         VALUES ((SELECT number FROM webhook_events WHERE id = ?1), ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        &[
            event.id.as_bytes().into(),
            event.attempts.into(),
            began.into(),
            outcome.http_status.map(i64::from).into(),
            outcome.error.as_ref().into(),
            outcome.millis.into(),
        ],
    )?;
    if event.is_test {
        return Ok(true);
    }
    let sql = match then {
        Then::Delivered => {
            "UPDATE webhooks SET waiting = waiting - 1, next_at = ?2, consecutive_failures = 0,
                 last_success_at = ?2 WHERE id = ?1"
        }
        Then::Failed => {
            "UPDATE webhooks SET waiting = waiting - 1, next_at = ?2,
                 consecutive_failures = consecutive_failures + 1 WHERE id = ?1"
        }
        Then::Again(_) => "UPDATE webhooks SET next_at = ?2 WHERE id = ?1",
    };
    let next_at = if let Then::Again(at) = then { at } else { now };
    tx.execute(sql, &[event.webhook.as_bytes().into(), next_at.into()])?;
    Ok(true)
}

/// Queues an event that is done once more, at its old place. Gives false if it is not done.
///
/// # Errors
/// What the engine reports.
pub fn queue_again(tx: &mut Tx<'_>, event: &Event, now: UnixMillis) -> Result<bool, StoreError> {
    let n_queued = tx.execute(
        "UPDATE webhook_events SET status = 'pending', is_test = 0, tries = 0, completed_at = NULL
         WHERE id = ?1 AND completed_at IS NOT NULL",
        &[event.id.as_bytes().into()],
    )?;
    if n_queued > 0 {
        let sql = "UPDATE webhooks SET waiting = waiting + 1, next_at = ?2 WHERE id = ?1";
        tx.execute(sql, &[event.webhook.as_bytes().into(), now.into()])?;
    }
    Ok(n_queued > 0)
}

/// One page of a webhook's events, newest first; and how many there are in all.
///
/// # Errors
/// What the engine reports.
pub fn page(
    tx: &mut Tx<'_>,
    webhook: WebhookId,
    search: Option<&str>,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Event>, u64), StoreError> {
    let search = search.map(|text| text.trim().to_lowercase());
    let mut parameters: Vec<Value<'_>> = vec![webhook.as_bytes().into(), search.as_ref().into()];
    macro_rules! matching {
        () => {
            "e.webhook = (SELECT number FROM webhooks WHERE id = ?1)
                 AND (?2 IS NULL OR instr(e.event_type, ?2) > 0 OR e.status = ?2
                     OR instr(lower(e.body), ?2) > 0)"
        };
    }
    let sql = concat!("SELECT count(*) FROM webhook_events e WHERE ", matching!());
    let total = tx.query_one(sql, &parameters, |row| row.int(0))?;
    parameters.push(limit.into());
    parameters.push(i64::try_from(offset).unwrap_or(i64::MAX).into());
    let sql = concat!(
        "SELECT e.id, w.id, e.event_type, e.body, e.status, e.is_test, e.attempts, e.tries,",
        " e.http_status, e.response_body, e.error, e.created_at, e.started_at, e.completed_at",
        " FROM webhook_events e JOIN webhooks w ON w.number = e.webhook WHERE ",
        matching!(),
        " ORDER BY e.number DESC LIMIT ?3 OFFSET ?4"
    );
    let found = tx.query(sql, &parameters, event)?;
    Ok((found, total.and_then(|total| u64::try_from(total).ok()).unwrap_or(0)))
}

/// The attempts at an event, in order.
///
/// # Errors
/// What the engine reports.
pub fn attempts(tx: &mut Tx<'_>, id: EventId) -> Result<Vec<Attempt>, StoreError> {
    tx.query(
        "SELECT attempt, at, http_status, error, millis FROM webhook_attempts
         WHERE event = (SELECT number FROM webhook_events WHERE id = ?1) ORDER BY attempt",
        &[id.as_bytes().into()],
        |row| {
            Ok(Attempt {
                number: small(row, 0)?,
                at: row.at(1)?,
                http_status: http_status(row, 2)?,
                error: row.maybe_text(3)?,
                millis: small(row, 4)?,
            })
        },
    )
}

/// Fails tests that a stop of the server cut off.
///
/// # Errors
/// What the engine reports.
pub fn fail_cut_off_tests(tx: &mut Tx<'_>, now: UnixMillis) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE webhook_events SET status = 'failed', completed_at = ?1,
             error = 'the server stopped before there was an answer'
         WHERE is_test = 1 AND completed_at IS NULL",
        &[now.into()],
    )?;
    Ok(())
}

/// Forgets events made before a time, so many at most. Gives how many.
///
/// # Errors
/// What the engine reports.
pub fn forget(tx: &mut Tx<'_>, before: UnixMillis, most: u32) -> Result<usize, StoreError> {
    let sql = "SELECT number, webhook, is_test = 0 AND completed_at IS NULL FROM webhook_events
               WHERE created_at < ?1 ORDER BY created_at LIMIT ?2";
    let old = tx.query(sql, &[before.into(), most.into()], |row| {
        Ok((row.int(0)?, row.int(1)?, row.int(2)? != 0))
    })?;
    for (number, webhook, is_waiting) in &old {
        tx.execute("DELETE FROM webhook_events WHERE number = ?1", &[(*number).into()])?;
        if *is_waiting {
            let sql = "UPDATE webhooks SET waiting = waiting - 1 WHERE number = ?1";
            tx.execute(sql, &[(*webhook).into()])?;
        }
    }
    Ok(old.len())
}
