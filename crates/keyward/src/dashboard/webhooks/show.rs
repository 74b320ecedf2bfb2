//! A webhook with its deliveries.

use askama::Template;
use http::StatusCode;
use keyward_core::id::EventId;
use keyward_store::webhook_events::{Attempt, Event, EventStatus};

use super::{Row, find, row};
use crate::app::webhooks;
use crate::app::webhooks::events::{EventName, pretty};
use crate::dashboard::layout::Shell;
use crate::dashboard::{Page, Request, html, show as words};

const EVENTS: u32 = 50;

/// An event in the list, and on its own.
struct EventLine {
    id: EventId,
    name: String,
    at: String,
    status: &'static str,
    tone: &'static str,
    is_done: bool,
    is_test: bool,
    attempts: u32,
    answer_word: String,
    error: Option<String>,
    body: String,
    answer: Option<String>,
}

struct AttemptLine {
    number: u32,
    at: String,
    answer: String,
    tone: &'static str,
    error: Option<String>,
    millis: u32,
}

#[derive(Template)]
#[template(path = "dashboard/webhooks/show.html")]
struct ShowPage {
    shell: Shell,
    row: Row,
    turned_off: Option<String>,
    only: Vec<String>,
    attempts_most: u32,
    timeout: u32,
    failures: u32,
    tried: String,
    made: String,
    previous: Option<String>,
    names: Vec<&'static str>,
    chosen: Option<EventLine>,
    attempts: Vec<AttemptLine>,
    events: Vec<EventLine>,
    shown: String,
    newer: Option<String>,
    older: Option<String>,
}

fn line(event: Event) -> EventLine {
    let (status, tone) = match event.status {
        EventStatus::Pending if event.attempts > 0 => ("Trying again", "warn"),
        EventStatus::Pending => ("Waiting", "plain"),
        EventStatus::Processing => ("On its way", "plain"),
        EventStatus::Delivered => ("Delivered", "good"),
        EventStatus::Failed => ("Failed", "bad"),
    };
    EventLine {
        id: event.id,
        at: words::time(event.created_at),
        status,
        tone,
        is_done: event.completed_at.is_some(),
        is_test: event.is_test,
        attempts: event.attempts,
        answer_word: match (event.http_status, &event.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(_)) => String::from("none"),
            (None, None) => String::new(),
        },
        error: event.error,
        body: pretty(&event.body),
        answer: event.response_body,
        name: event.event_type,
    }
}

fn attempt_line(attempt: Attempt) -> AttemptLine {
    AttemptLine {
        number: attempt.number,
        at: words::time(attempt.at),
        answer: attempt.http_status.map_or_else(|| String::from("none"), |s| s.to_string()),
        tone: if attempt.error.is_none() { "good" } else { "bad" },
        error: attempt.error,
        millis: attempt.millis,
    }
}

/// `GET /webhooks/{id}`; with `event` in the query one of its events is shown whole.
///
/// # Errors
/// 404.
pub async fn show(request: Request) -> Page {
    let (scope, webhook) = find(&request).await?;
    let (app, id) = (&request.app, webhook.id);
    let number = request.query("page").and_then(|text| text.parse().ok()).unwrap_or(1_u64).max(1);
    let offset = number.saturating_sub(1).saturating_mul(u64::from(EVENTS));
    let (events, total) = webhooks::events_page(app, scope, id, None, offset, EVENTS).await?;
    let (mut chosen, mut attempts) = (None, vec![]);
    if let Some(event) = request.query("event").and_then(|text| text.parse::<EventId>().ok()) {
        let (_, event, tried) = webhooks::find_event(app, scope, id, event).await?;
        chosen = Some(line(event));
        attempts = tried.into_iter().map(attempt_line).collect();
    }
    let n_shown = u64::try_from(events.len()).unwrap_or(0);
    let only = webhook.event_filters.iter().flatten().flat_map(|(family, suffixes)| {
        suffixes.iter().map(move |suffix| format!("{family}.{suffix}"))
    });
    let previous = webhook.previous.as_ref().filter(|(_, until)| request.at < *until);
    let place = |number: u64| format!("/webhooks/{id}?page={number}");
    let page = ShowPage {
        shell: Shell::new(&request, &webhook.display_name, "/webhooks"),
        row: row(&webhook, &request),
        turned_off: webhook.turned_off_at.map(|at| words::ago(at, request.at)),
        only: only.collect(),
        attempts_most: webhook.retry_count + 1,
        timeout: webhook.timeout_seconds,
        failures: webhook.consecutive_failures,
        tried: webhook
            .last_attempt_at
            .map_or_else(|| String::from("never"), |at| words::ago(at, request.at)),
        made: words::time(webhook.created_at),
        previous: previous.map(|(_, until)| words::time(*until)),
        names: EventName::ALL.iter().map(|name| name.as_str()).collect(),
        chosen,
        attempts,
        events: events.into_iter().map(line).collect(),
        shown: format!("{} of {}", words::number(offset + n_shown), words::number(total)),
        newer: (number > 1).then(|| place(number - 1)),
        older: (offset + n_shown < total).then(|| place(number + 1)),
    };
    Ok(html(StatusCode::OK, page.render()?))
}
