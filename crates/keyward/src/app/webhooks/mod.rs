//! Webhooks: where an account hears what happens. Contract 8 and 9; sources 8.4.

pub mod deliver;
mod edit;
pub mod events;
mod signature;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, EventId, WebhookId};
use keyward_core::time::UnixMillis;
use keyward_store::contacts::Scope;
use keyward_store::webhook_events::{self, Attempt, Event};
use keyward_store::webhooks::{self, Webhook, WebhookFilter};
use keyward_store::{StoreError, Tx};
use serde_json::{Value, json};

use super::audit::{Trail, webhook_target};
use super::{Actor, App, AppError, Resource};
use edit::{Checked, check, check_where_it_leads};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use edit::fuzzing;
pub use edit::{LONGEST_NAME, WebhookEdit, draft, example};
pub use signature::Secret;

/// A webhook with its secret in clear.
pub struct Made {
    pub webhook: Webhook,
    pub secret: Secret,
}

/// What the signing secret of a webhook is sealed for.
pub(crate) fn sealed_for(id: WebhookId) -> Vec<u8> {
    [b"webhook ", id.as_bytes().as_slice()].concat()
}

fn seal(app: &App, id: WebhookId, secret: &Secret) -> Result<Vec<u8>, AppError> {
    app.vault.seal(secret.bytes(), &sealed_for(id))
}

fn open(app: &App, id: WebhookId, sealed: &[u8]) -> Result<Secret, AppError> {
    Ok(Secret::from_bytes(app.vault.open(sealed, &sealed_for(id))?))
}

/// Makes a webhook. `finish` gets it with its secret, in the transaction.
///
/// # Errors
/// If something of it makes no sense, or the account has as many as it may.
pub async fn create<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    edit: WebhookEdit,
    finish: impl FnOnce(&mut Tx<'_>, Made) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    actor.check_works_on(scope.account)?;
    let at = app.clock.wall();
    let url = check(app, scope.environment, edit.clone(), true)?.url;
    check_where_it_leads(app, scope.environment, url.as_ref()).await?;
    let made = draft(app, scope, at, edit)?;
    let (actor, limit) = (*actor, app.webhook_limit);
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_works_on(scope.account)?;
            if webhooks::count(tx, scope.account)? >= limit {
                return Err(AppError::Quota(format!(
                    "an account has at most {limit} webhooks: delete one that is no longer needed"
                )));
            }
            webhooks::insert(tx, &made.webhook)?;
            tell(tx, at, &actor, "webhook.created", &made.webhook, settings_of(&made.webhook))?;
            finish(tx, made)
        })
        .await
}

/// What of a webhook's settings stands in the trail. An address may hold a token in its query.
fn settings_of(webhook: &Webhook) -> Value {
    let url = webhook.endpoint_url.split('?').next().unwrap_or_default();
    json!({
        "environment": webhook.environment.as_str(),
        "endpoint_url": url,
        "event_types": webhook.event_types,
        "event_filters": webhook.event_filters,
        "retry_count": webhook.retry_count,
        "timeout_seconds": webhook.timeout_seconds,
    })
}

fn tell(
    tx: &mut Tx<'_>,
    at: UnixMillis,
    actor: &Actor,
    action: &'static str,
    webhook: &Webhook,
    details: Value,
) -> Result<(), StoreError> {
    let (account, target) = (Some(webhook.account), webhook_target(webhook.id));
    Trail { at, account, actor, action, target, label: &webhook.display_name, details }.append(tx)
}

fn found(tx: &mut Tx<'_>, scope: Scope, id: WebhookId) -> Result<Webhook, AppError> {
    let webhook = webhooks::find_in(tx, scope.account, Some(scope.environment), id)?;
    webhook.ok_or(AppError::NotFound(Resource::Webhook))
}

/// # Errors
/// If there is no such webhook.
pub async fn find(app: &App, scope: Scope, id: WebhookId) -> Result<Webhook, AppError> {
    app.read_for(scope.account, move |tx| found(tx, scope, id)).await
}

/// The environment of a webhook of an account, for people, who see both.
///
/// # Errors
/// If there is no such webhook.
pub async fn scope_of(app: &App, account: AccountId, id: WebhookId) -> Result<Scope, AppError> {
    app.read_for(account, move |tx| {
        let webhook = webhooks::find_in(tx, account, None, id)?;
        let webhook = webhook.ok_or(AppError::NotFound(Resource::Webhook))?;
        Ok(Scope { account, environment: webhook.environment })
    })
    .await
}

/// One page of webhooks, newest first, and how many there are in all.
///
/// # Errors
/// If the store does not answer.
pub async fn page(
    app: &App,
    scope: Scope,
    filter: WebhookFilter,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Webhook>, u64), AppError> {
    app.read_for(scope.account, move |tx| Ok(webhooks::page(tx, &scope, &filter, offset, limit)?))
        .await
}

async fn change<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    action: &'static str,
    finish: impl FnOnce(&mut Tx<'_>, Webhook) -> Result<R, AppError> + Send + 'static,
    change: impl FnOnce(&mut Webhook, UnixMillis) -> Result<Value, AppError> + Send + 'static,
) -> Result<R, AppError> {
    actor.check_works_on(scope.account)?;
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_works_on(scope.account)?;
            let mut webhook = found(tx, scope, id)?;
            let details = change(&mut webhook, at)?;
            webhook.updated_at = Some(at);
            webhooks::put(tx, &webhook)?;
            tell(tx, at, &actor, action, &webhook, details)?;
            finish(tx, webhook)
        })
        .await
}

/// Changes a webhook; what is left out stays.
///
/// # Errors
/// If there is no such webhook, or something of it makes no sense.
pub async fn update<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    edit: WebhookEdit,
    finish: impl FnOnce(&mut Tx<'_>, Webhook) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let Checked { edit, url } = check(app, scope.environment, edit, false)?;
    check_where_it_leads(app, scope.environment, url.as_ref()).await?;
    change(app, actor, scope, id, "webhook.changed", finish, move |webhook, _| {
        let before = settings_of(webhook);
        let name = webhook.display_name.clone();
        if let Some(Some(filters)) = &edit.event_filters {
            let types = edit.event_types.as_ref().unwrap_or(&webhook.event_types);
            if let Some(other) = filters.keys().find(|family| !types.contains(family)) {
                let sentence = format!("'{other}' is none of the event_types");
                return Err(AppError::invalid("event_filters", sentence));
            }
        }
        webhook.display_name = edit.display_name.unwrap_or(name.clone());
        webhook.endpoint_url = edit.endpoint_url.unwrap_or(webhook.endpoint_url.clone());
        webhook.event_types = edit.event_types.unwrap_or(webhook.event_types.clone());
        webhook.event_filters = match edit.event_filters {
            Some(filters) => filters,
            // Filters of families that it no longer hears of mean nothing.
            None => webhook.event_filters.take().map(|mut filters| {
                filters.retain(|family, _| webhook.event_types.contains(family));
                filters
            }),
        };
        webhook.retry_count = edit.retry_count.unwrap_or(webhook.retry_count);
        webhook.timeout_seconds = edit.timeout_seconds.unwrap_or(webhook.timeout_seconds);
        let after = settings_of(webhook);
        let mut changed = serde_json::Map::new();
        if name != webhook.display_name {
            let pair = json!({ "from": name, "to": webhook.display_name });
            changed.insert("display_name".to_owned(), pair);
        }
        for (field, from) in before.as_object().into_iter().flatten() {
            if *from != after[field] {
                changed.insert(field.clone(), json!({ "from": from, "to": after[field] }));
            }
        }
        Ok(Value::Object(changed))
    })
    .await
}

/// Switches a webhook on or off. Switched on, its failures count from 0 again, and what waited for it
/// is sent.
///
/// # Errors
/// If there is no such webhook.
pub async fn set_active<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    is_active: bool,
    finish: impl FnOnce(&mut Tx<'_>, Webhook) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let action = if is_active { "webhook.switched_on" } else { "webhook.switched_off" };
    let at = app.clock.wall();
    let finish = move |tx: &mut Tx<'_>, webhook: Webhook| {
        if is_active {
            webhooks::try_from(tx, id, at)?;
        }
        finish(tx, webhook)
    };
    change(app, actor, scope, id, action, finish, move |webhook, _| {
        if is_active && !webhook.is_active {
            webhook.consecutive_failures = 0;
        }
        webhook.is_active = is_active;
        webhook.turned_off_at = None;
        Ok(json!({}))
    })
    .await
}

/// A secret as a rotation would make it, for a sandbox.
#[must_use]
pub fn new_secret() -> Secret {
    Secret::new()
}

/// Gives a webhook a new signing secret. The one before signs as well until the grace period is over.
///
/// # Errors
/// If there is no such webhook.
pub async fn rotate_secret<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    finish: impl FnOnce(&mut Tx<'_>, Made) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let secret = Secret::new();
    let sealed = seal(app, id, &secret)?;
    let grace = app.webhook_secret_grace_millis;
    let finish = move |tx: &mut Tx<'_>, webhook| finish(tx, Made { webhook, secret });
    change(app, actor, scope, id, "webhook.secret_rotated", finish, move |webhook, at| {
        let before = std::mem::replace(&mut webhook.secret, sealed);
        webhook.previous = (grace > 0).then(|| (before, at + grace));
        let until = webhook.previous.as_ref().map(|(_, until)| crate::when(*until));
        Ok(json!({ "previous_signs_until": until }))
    })
    .await
}

/// Removes a webhook with its events.
///
/// # Errors
/// If there is no such webhook.
pub async fn remove<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    finish: impl FnOnce(&mut Tx<'_>, Webhook) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    actor.check_works_on(scope.account)?;
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_works_on(scope.account)?;
            let webhook = found(tx, scope, id)?;
            let details = json!({ "waiting_events": webhook.waiting });
            tell(tx, at, &actor, "webhook.deleted", &webhook, details)?;
            webhooks::remove(tx, id)?;
            finish(tx, webhook)
        })
        .await
}

/// One page of a webhook's events, newest first, and how many there are in all.
///
/// # Errors
/// If there is no such webhook.
pub async fn events_page(
    app: &App,
    scope: Scope,
    id: WebhookId,
    search: Option<String>,
    offset: u64,
    limit: u32,
) -> Result<(Vec<Event>, u64), AppError> {
    app.read_for(scope.account, move |tx| {
        found(tx, scope, id)?;
        Ok(webhook_events::page(tx, id, search.as_deref(), offset, limit)?)
    })
    .await
}

/// An event of a webhook, with its attempts.
///
/// # Errors
/// If there is no such event.
pub async fn find_event(
    app: &App,
    scope: Scope,
    id: WebhookId,
    event: EventId,
) -> Result<(Webhook, Event, Vec<Attempt>), AppError> {
    app.read_for(scope.account, move |tx| {
        let webhook = found(tx, scope, id)?;
        let event = webhook_events::find(tx, id, event)?;
        let event = event.ok_or(AppError::NotFound(Resource::Event))?;
        let attempts = webhook_events::attempts(tx, event.id)?;
        Ok((webhook, event, attempts))
    })
    .await
}

/// Queues an event once more.
///
/// # Errors
/// If there is no such event, or it is on its way already.
pub async fn send_again(
    app: &App,
    actor: &Actor,
    scope: Scope,
    id: WebhookId,
    event: EventId,
) -> Result<Event, AppError> {
    actor.check_works_on(scope.account)?;
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_works_on(scope.account)?;
            let webhook = found(tx, scope, id)?;
            let event = webhook_events::find(tx, id, event)?;
            let event = event.ok_or(AppError::NotFound(Resource::Event))?;
            if !webhook_events::queue_again(tx, &event, at)? {
                return Err(AppError::Forbidden(String::from("the event is on its way already")));
            }
            let details = json!({ "event": event.id.to_string(), "type": event.event_type });
            tell(tx, at, &actor, "webhook.event_sent_again", &webhook, details)?;
            Ok(event)
        })
        .await
}

/// All webhooks of an account, for people, who see both environments; newest first in each.
///
/// # Errors
/// If the store does not answer.
pub async fn list_all(app: &App, account: AccountId) -> Result<Vec<Webhook>, AppError> {
    let mut all = vec![];
    for environment in Environment::ALL {
        let scope = Scope { account, environment: *environment };
        let limit = u32::try_from(app.webhook_limit).unwrap_or(u32::MAX);
        all.extend(page(app, scope, WebhookFilter::default(), 0, limit).await?.0);
    }
    Ok(all)
}
