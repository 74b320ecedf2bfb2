//! Webhooks: the list, one with its deliveries, adding, changing, switching, testing, sending again.

mod edit;
mod show;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use edit::fuzzing;
pub use edit::{change, create, edit, new};
pub use show::show;

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::{EventId, WebhookId};
use keyward_core::time::HOUR_MILLIS;
use keyward_store::contacts::Scope;
use keyward_store::webhooks::Webhook;
use zeroize::Zeroizing;

use super::keys::{asks_confirmation, confirmed};
use super::layout::Shell;
use super::{Page, Request, Stop, html, show as words};
use crate::app::once::Begun;
use crate::app::webhooks::events::{EventName, FAMILIES};
use crate::app::webhooks::{self, Made, deliver};
use crate::app::{AppError, plain};

/// A webhook in the list, and at the head of its page.
struct Row {
    id: WebhookId,
    name: String,
    url: String,
    environment: Environment,
    is_active: bool,
    status: &'static str,
    tone: &'static str,
    hears_of: String,
    delivered: String,
    waiting: String,
}

fn row(webhook: &Webhook, request: &Request) -> Row {
    let (status, tone) = match (webhook.is_active, webhook.turned_off_at) {
        (true, _) if webhook.consecutive_failures > 0 => ("Failing", "warn"),
        (true, _) => ("On", "good"),
        (false, Some(_)) => ("Switched off by failures", "bad"),
        (false, None) => ("Off", "plain"),
    };
    let name_of = |family: &String| {
        let known = FAMILIES.iter().find(|(known, ..)| known == family);
        known.map_or(family.as_str(), |(_, name, _)| *name).to_owned()
    };
    Row {
        id: webhook.id,
        name: webhook.display_name.clone(),
        url: webhook.endpoint_url.clone(),
        environment: webhook.environment,
        is_active: webhook.is_active,
        status,
        tone,
        hears_of: webhook.event_types.iter().map(name_of).collect::<Vec<_>>().join(", "),
        delivered: webhook
            .last_success_at
            .map_or_else(|| String::from("never"), |at| words::ago(at, request.at)),
        waiting: match webhook.waiting {
            0 => String::from("none"),
            n => words::count(u64::from(n), "event", "events"),
        },
    }
}

/// Whose webhook the path names, and in which environment it is.
async fn scope_of(request: &Request) -> Result<(Scope, WebhookId), Stop> {
    let (id, account) = (request.id::<WebhookId>()?, request.person()?.account);
    Ok((webhooks::scope_of(&request.app, account, id).await?, id))
}

async fn find(request: &Request) -> Result<(Scope, Webhook), Stop> {
    let (scope, id) = scope_of(request).await?;
    Ok((scope, webhooks::find(&request.app, scope, id).await?))
}

#[derive(Template)]
#[template(path = "dashboard/webhooks/list.html")]
struct ListPage {
    shell: Shell,
    rows: Vec<Row>,
}

/// `GET /webhooks`
///
/// # Errors
/// If the store does not answer.
pub async fn list(request: Request) -> Page {
    let all = webhooks::list_all(&request.app, request.person()?.account).await?;
    let rows = all.iter().map(|webhook| row(webhook, &request)).collect();
    let page = ListPage { shell: Shell::new(&request, "Webhooks", "/webhooks"), rows };
    Ok(html(StatusCode::OK, page.render()?))
}

#[derive(Template)]
#[template(path = "dashboard/webhooks/secret.html")]
struct SecretPage {
    shell: Shell,
    id: WebhookId,
    name: String,
    environment: Environment,
    secret: Zeroizing<String>,
    /// Until when the one before signs as well.
    until: Option<String>,
}

/// The page that shows a signing secret, once.
fn secret_page(request: &Request, made: &Made) -> Page {
    let previous = made.webhook.previous.as_ref();
    let page = SecretPage {
        shell: Shell::new(request, "Signing secret", "/webhooks"),
        id: made.webhook.id,
        name: made.webhook.display_name.clone(),
        environment: made.webhook.environment,
        secret: made.secret.reveal(),
        until: previous.map(|(_, until)| words::time(*until)),
    };
    Ok(html(StatusCode::CREATED, page.render()?))
}

#[derive(Template)]
#[template(path = "dashboard/webhooks/ask.html")]
struct AskPage {
    shell: Shell,
    id: WebhookId,
    name: String,
    environment: Environment,
    is_rotation: bool,
    grace_hours: i64,
    waiting: u64,
    once: String,
    fault: Option<String>,
    asks: bool,
    has_factor: bool,
}

fn ask_page(
    request: &Request,
    webhook: Webhook,
    is_rotation: bool,
    fault: Option<String>,
    status: StatusCode,
) -> Page {
    let title = if is_rotation { "Rotate the signing secret" } else { "Delete this webhook" };
    let page = AskPage {
        shell: Shell::new(request, title, "/webhooks"),
        id: webhook.id,
        environment: webhook.environment,
        is_rotation,
        grace_hours: request.app.webhook_secret_grace_millis / HOUR_MILLIS,
        waiting: u64::from(webhook.waiting),
        once: request.app.once.new_form(),
        fault,
        asks: asks_confirmation(request, webhook.environment)?,
        has_factor: request.entered()?.user.totp.is_some(),
        name: webhook.display_name,
    };
    Ok(html(status, page.render()?))
}

/// `GET /webhooks/{id}/rotate`
///
/// # Errors
/// 404.
pub async fn ask_rotate(request: Request) -> Page {
    let (_, webhook) = find(&request).await?;
    ask_page(&request, webhook, true, None, StatusCode::OK)
}

/// `POST /webhooks/{id}/rotate`: shows the new secret, once.
///
/// # Errors
/// 404, 403.
pub async fn rotate(mut request: Request) -> Page {
    let (scope, webhook) = find(&request).await?;
    let form = request.form().await?;
    let turn = match request.app.once.begin(request.person()?.user, form.text("once")).await? {
        Begun::First(turn) => turn,
        Begun::Again(place) => return Err(Stop::To(place)),
    };
    if let Err(fault) = confirmed(&request, &form, scope.environment).await? {
        return ask_page(&request, webhook, true, Some(fault), StatusCode::FORBIDDEN);
    }
    let (app, actor, id) = (Arc::clone(&request.app), request.actor()?, webhook.id);
    let work = async move { webhooks::rotate_secret(&app, &actor, scope, id, plain).await };
    let made = turn.carry_out(work, move |_: &Made| format!("/webhooks/{id}")).await?;
    secret_page(&request, &made)
}

/// `GET /webhooks/{id}/delete`
///
/// # Errors
/// 404.
pub async fn ask_delete(request: Request) -> Page {
    let (_, webhook) = find(&request).await?;
    ask_page(&request, webhook, false, None, StatusCode::OK)
}

/// `POST /webhooks/{id}/delete`: asks for the name to be typed.
///
/// # Errors
/// 404, 403.
pub async fn delete(mut request: Request) -> Page {
    let (scope, webhook) = find(&request).await?;
    let form = request.form().await?;
    if form.text("name") != webhook.display_name.trim() {
        let fault =
            Some(String::from("The name is not the one of this webhook. Nothing was changed."));
        return ask_page(&request, webhook, false, fault, StatusCode::UNPROCESSABLE_ENTITY);
    }
    if let Err(fault) = confirmed(&request, &form, scope.environment).await? {
        return ask_page(&request, webhook, false, Some(fault), StatusCode::FORBIDDEN);
    }
    webhooks::remove(&request.app, &request.actor()?, scope, webhook.id, plain).await?;
    Err(Stop::To(String::from("/webhooks?done=webhook-deleted")))
}

async fn switch(request: &Request, is_active: bool) -> Page {
    let ((scope, id), actor) = (scope_of(request).await?, request.actor()?);
    webhooks::set_active(&request.app, &actor, scope, id, is_active, plain).await?;
    let done = if is_active { "webhook-on" } else { "webhook-off" };
    Err(Stop::To(format!("/webhooks/{id}?done={done}")))
}

/// `POST /webhooks/{id}/on`
///
/// # Errors
/// 404.
pub async fn switch_on(request: Request) -> Page {
    switch(&request, true).await
}

/// `POST /webhooks/{id}/off`
///
/// # Errors
/// 404.
pub async fn switch_off(request: Request) -> Page {
    switch(&request, false).await
}

/// `POST /webhooks/{id}/test`: sends an example and shows what came of it.
///
/// # Errors
/// 404, 422 for an event that does not exist.
pub async fn test(mut request: Request) -> Page {
    let (scope, id) = scope_of(&request).await?;
    let form = request.form().await?;
    let name = EventName::from_text(form.text("event"));
    let name = name.ok_or_else(|| AppError::invalid("event", "must be chosen"))?;
    let event = deliver::test(&request.app, &request.actor()?, scope, id, name, None).await?;
    let done = if event.error.is_none() { "tested" } else { "test-failed" };
    Err(Stop::To(format!("/webhooks/{id}?event={}&done={done}", event.id)))
}

/// `POST /webhooks/{id}/again`: queues an event once more.
///
/// # Errors
/// 404, 409 if it is on its way already.
pub async fn send_again(mut request: Request) -> Page {
    let (scope, id) = scope_of(&request).await?;
    let form = request.form().await?;
    let event: EventId = form.text("event").parse().map_err(AppError::from)?;
    webhooks::send_again(&request.app, &request.actor()?, scope, id, event).await?;
    Err(Stop::To(format!("/webhooks/{id}?event={event}&done=sent-again")))
}
