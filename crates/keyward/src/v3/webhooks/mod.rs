//! `/v3/webhooks`: where an account hears what happens. Contract 8 and 9; sources 8.4.

mod view;

use http::StatusCode;
use keyward_core::id::WebhookId;
use keyward_store::Tx;
use keyward_store::contacts::Scope;
use keyward_store::webhooks::{Webhook, WebhookFilter};
use keyward_tower::{ApiError, Code};

use super::change::Change;
use super::extract::{Object, check, fault};
use super::page::{Page, Query};
use super::{Answer, Request};
use crate::app::AppError;
use crate::app::webhooks::deliver;
use crate::app::webhooks::events::EventName;
use crate::app::webhooks::{self, Made, WebhookEdit};
use view::{DELIVERED, event_type_list};

pub(super) use view::{
    EventList, EventTypeList, EventView, NewSecret, TestResult, WebhookList, WebhookView, examples,
};

impl Request {
    /// Whose webhooks the caller sees.
    fn scope(&self) -> Scope {
        Scope { account: self.caller.account(), environment: self.caller.environment() }
    }
}

/// `GET /v3/webhooks`
///
/// # Errors
/// VALIDATION_001, VALIDATION_005.
pub async fn list(request: Request) -> Answer {
    let query = Query::of(&request.parts.uri);
    let page = Page::of(&query)?;
    let is_active = match query.get("is_active") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            let sentence = "is_active must be true or false";
            return Err(ApiError::new(Code::RequestInvalid).about("is_active", sentence));
        }
    };
    let filter = WebhookFilter { search: query.search()?, is_active };
    let (scope, offset, size) = (request.scope(), page.offset(), page.size());
    let (found, total) = webhooks::page(&request.app, scope, filter, offset, size).await?;
    let webhooks = found.iter().map(WebhookView::from).collect();
    request.answer(&WebhookList { webhooks, pagination: page.of_total(total) })
}

/// `GET /v3/webhooks/{id}`
///
/// # Errors
/// VALIDATION_003, RESOURCE_008.
pub async fn show(request: Request) -> Answer {
    let webhook = webhooks::find(&request.app, request.scope(), request.id()?).await?;
    request.answer(&WebhookView::from(&webhook))
}

pub(super) fn read_edit(body: &Object) -> Result<WebhookEdit, ApiError> {
    let mut faults = body.faults();
    let text = |name: &str, faults: &mut _| body.text(name, faults).map(ToOwned::to_owned);
    let edit = WebhookEdit {
        display_name: text("display_name", &mut faults),
        endpoint_url: text("endpoint_url", &mut faults),
        event_types: body.texts("event_types", &mut faults),
        // `null` takes the filters away.
        event_filters: body.has("event_filters").then(|| body.lists("event_filters", &mut faults)),
        retry_count: body.whole("retry_count", &mut faults),
        timeout_seconds: body.whole("timeout_seconds", &mut faults),
    };
    check(faults)?;
    Ok(edit)
}

/// `POST /v3/webhooks`
///
/// # Errors
/// VALIDATION_001, BUSINESS_008.
pub async fn create(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let edit = read_edit(&body)?;
    let scope = request.scope();
    if is_sandbox {
        let made = webhooks::draft(&request.app, scope, request.at, edit)?;
        return writer.pretend(StatusCode::CREATED, &WebhookView::with_secret(&made)).await;
    }
    let finish = |tx: &mut Tx<'_>, made: Made| {
        writer.write(tx, StatusCode::CREATED, &WebhookView::with_secret(&made))
    };
    webhooks::create(&request.app, &request.actor(), scope, edit, finish).await?.answer()
}

/// `PUT /v3/webhooks/{id}`. What is left out stays as it is. Contract 8.
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_008.
pub async fn update(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: WebhookId = request.id()?;
    let edit = read_edit(&body)?;
    let (app, scope) = (&request.app, request.scope());
    if is_sandbox {
        let webhook = webhooks::example(app, scope, request.at, id, edit)?;
        return writer.pretend(StatusCode::OK, &WebhookView::from(&webhook)).await;
    }
    let finish = |tx: &mut Tx<'_>, webhook: Webhook| {
        writer.write(tx, StatusCode::OK, &WebhookView::from(&webhook))
    };
    webhooks::update(app, &request.actor(), scope, id, edit, finish).await?.answer()
}

/// `DELETE /v3/webhooks/{id}`. It knows no sandbox. Contract 6.
///
/// # Errors
/// VALIDATION_003, RESOURCE_008.
pub async fn remove(change: Change) -> Answer {
    let Change { request, writer, .. } = change;
    let finish = |tx: &mut Tx<'_>, _| writer.no_content(tx);
    let (actor, scope, id) = (request.actor(), request.scope(), request.id()?);
    webhooks::remove(&request.app, &actor, scope, id, finish).await?.answer()
}

/// Whether a webhook is to be at work.
pub(super) fn read_active(body: &Object) -> Result<bool, ApiError> {
    let mut faults = body.faults();
    let is_active = body.flag("is_active", &mut faults);
    if is_active.is_none() && !faults.contains_key("is_active") {
        fault(&mut faults, "is_active", "is_active is required");
    }
    check(faults)?;
    Ok(is_active.unwrap_or(true))
}

/// `PATCH /v3/webhooks/{id}/toggle-status`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_008.
pub async fn toggle(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: WebhookId = request.id()?;
    let is_active = read_active(&body)?;
    let (app, scope) = (&request.app, request.scope());
    if is_sandbox {
        let edit = WebhookEdit::default();
        let webhook = webhooks::example(app, scope, request.at, id, edit)?;
        let webhook = Webhook { is_active, ..webhook };
        return writer.pretend(StatusCode::OK, &WebhookView::from(&webhook)).await;
    }
    let finish = |tx: &mut Tx<'_>, webhook: Webhook| {
        writer.write(tx, StatusCode::OK, &WebhookView::from(&webhook))
    };
    webhooks::set_active(app, &request.actor(), scope, id, is_active, finish).await?.answer()
}

/// `POST /v3/webhooks/{id}/rotate-secret`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_008.
pub async fn rotate_secret(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: WebhookId = request.id()?;
    check(body.faults())?;
    if is_sandbox {
        let secret = NewSecret::of(&webhooks::new_secret());
        return writer.pretend(StatusCode::OK, &secret).await;
    }
    let finish = |tx: &mut Tx<'_>, made: Made| {
        writer.write(tx, StatusCode::OK, &NewSecret::of(&made.secret))
    };
    let (actor, scope) = (request.actor(), request.scope());
    webhooks::rotate_secret(&request.app, &actor, scope, id, finish).await?.answer()
}

/// The event that a webhook is tried with; there is one if this gives no error.
pub(super) fn read_event(body: &Object) -> Result<Option<EventName>, ApiError> {
    let mut faults = body.faults();
    let text = body.text("event_type", &mut faults);
    let name = text.and_then(EventName::from_text);
    if name.is_none() && !faults.contains_key("event_type") {
        let names: Vec<&str> = EventName::ALL.iter().map(|name| name.as_str()).collect();
        let sentence = match text {
            None | Some("") => String::from("Event type is required"),
            Some(_) => format!("event_type must be one of: {}", names.join(", ")),
        };
        fault(&mut faults, "event_type", sentence);
    }
    check(faults)?;
    Ok(name)
}

/// `POST /v3/webhooks/{id}/test`: sends an example once. That the receiver fails is told, and no error.
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, RESOURCE_008.
pub async fn test(change: Change) -> Answer {
    let Change { request, body, is_sandbox, writer } = change;
    let id: WebhookId = request.id()?;
    let name = read_event(&body)?;
    let delivered = TestResult { success: true, message: DELIVERED.to_owned() };
    let Some(name) = name.filter(|_| !is_sandbox) else {
        return writer.pretend(StatusCode::OK, &delivered).await;
    };
    let (scope, request_id) = (request.scope(), request.request_id.as_str().to_owned());
    let event =
        deliver::test(&request.app, &request.actor(), scope, id, name, Some(request_id)).await?;
    let result = match event.error {
        None => delivered,
        Some(error) => {
            TestResult { success: false, message: format!("Test event was not delivered: {error}") }
        }
    };
    writer.tell(&result).await
}

/// `GET /v3/webhooks/event-types`: all of them, on one page.
///
/// # Errors
/// None of its own.
pub async fn event_types(request: Request) -> Answer {
    request.answer(&event_type_list(Page::whole()))
}

/// `GET /v3/webhooks/{id}/events`
///
/// # Errors
/// VALIDATION_001, VALIDATION_003, VALIDATION_005, RESOURCE_008.
pub async fn events(request: Request) -> Answer {
    let query = Query::of(&request.parts.uri);
    let page = Page::of(&query)?;
    let (app, scope, search) = (&request.app, request.scope(), query.search()?);
    let id = request.id()?;
    let (found, total) =
        webhooks::events_page(app, scope, id, search, page.offset(), page.size()).await?;
    let events = found.iter().map(EventView::try_from).collect::<Result<_, _>>();
    let events = events.map_err(|error| ApiError::from(AppError::internal(error)))?;
    request.answer(&EventList { events, pagination: page.of_total(total) })
}
