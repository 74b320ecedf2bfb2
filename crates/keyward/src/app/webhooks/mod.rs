//! Webhooks: where an account hears what happens. Contract 8 and 9; sources 8.4.

pub mod deliver;
pub mod events;
mod signature;

use std::time::Duration;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, EventId, WebhookId};
use keyward_core::time::UnixMillis;
use keyward_store::contacts::Scope;
use keyward_store::webhook_events::{self, Attempt, Event};
use keyward_store::webhooks::{self, Filters, Webhook, WebhookFilter};
use keyward_store::{StoreError, Tx};
use serde_json::{Value, json};
use url::Url;

use super::audit::{Trail, webhook_target};
use super::{Actor, App, AppError, Faults, Resource, check_name};
use crate::outbound;
use events::{EventName, FAMILIES};

pub use signature::Secret;

pub const LONGEST_NAME: usize = 100;
pub const RETRIES: std::ops::RangeInclusive<u32> = 1..=5;
pub const TIMEOUTS: std::ops::RangeInclusive<u32> = 5..=120;
const USUAL_RETRIES: u32 = 3;
const USUAL_TIMEOUT: u32 = 30;
/// A name that leads nowhere in this time is not waited for: it is checked again at each delivery.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);

/// What of a webhook somebody chooses; `None` leaves it as it is, or as it usually is.
#[derive(Clone, Debug, Default)]
pub struct WebhookEdit {
    pub display_name: Option<String>,
    pub endpoint_url: Option<String>,
    pub event_types: Option<Vec<String>>,
    /// `Some(None)`: none any more.
    pub event_filters: Option<Option<Filters>>,
    pub retry_count: Option<u32>,
    pub timeout_seconds: Option<u32>,
}

/// A webhook with its secret in clear.
pub struct Made {
    pub webhook: Webhook,
    pub secret: Secret,
}

fn add(faults: &mut Faults, field: &str, sentence: impl Into<String>) {
    faults.entry(field.to_owned()).or_default().push(sentence.into());
}

/// An edit that makes sense, and where it leads.
struct Checked {
    edit: WebhookEdit,
    url: Option<Url>,
}

/// Reads an edit without asking anybody anything.
fn check(
    app: &App,
    environment: Environment,
    mut edit: WebhookEdit,
    is_new: bool,
) -> Result<Checked, AppError> {
    let mut faults = Faults::new();
    if is_new {
        let required = [
            ("display_name", "Display name is required", edit.display_name.is_none()),
            ("endpoint_url", "Endpoint URL is required", edit.endpoint_url.is_none()),
            ("event_types", "Event types are required", edit.event_types.is_none()),
        ];
        for (field, sentence, is_missing) in required {
            if is_missing {
                add(&mut faults, field, sentence);
            }
        }
    }
    if let Some(name) = &mut edit.display_name {
        match check_name("display_name", name, LONGEST_NAME) {
            Ok(checked) => *name = checked,
            Err(AppError::Invalid(wrong)) => faults.extend(wrong),
            Err(other) => return Err(other),
        }
    }
    let mut url = None;
    if let Some(text) = &edit.endpoint_url {
        match app.outbound.guard.read(text, environment) {
            Ok(read) => url = Some(read),
            Err(sentence) => add(&mut faults, "endpoint_url", sentence),
        }
    }
    if let Some(types) = &mut edit.event_types {
        check_types(types, &mut faults);
    }
    if let Some(Some(filters)) = &mut edit.event_filters {
        check_filters(filters, edit.event_types.as_deref(), &mut faults);
    }
    if edit.retry_count.is_some_and(|n| !RETRIES.contains(&n)) {
        add(&mut faults, "retry_count", "must be between 1 and 5");
    }
    if edit.timeout_seconds.is_some_and(|n| !TIMEOUTS.contains(&n)) {
        add(&mut faults, "timeout_seconds", "must be between 5 and 120");
    }
    if faults.is_empty() { Ok(Checked { edit, url }) } else { Err(AppError::Invalid(faults)) }
}

fn families() -> String {
    FAMILIES.map(|(family, ..)| family).join(", ")
}

fn check_types(types: &mut Vec<String>, faults: &mut Faults) {
    let mut seen = vec![];
    for family in types.drain(..) {
        if !FAMILIES.iter().any(|(known, ..)| *known == family) {
            let shown: String = family.chars().take(64).collect();
            let sentence = format!("there is no '{shown}': expected one of {}", families());
            add(faults, "event_types", sentence);
            return;
        }
        if !seen.contains(&family) {
            seen.push(family);
        }
    }
    if seen.is_empty() {
        add(faults, "event_types", format!("must name at least one of {}", families()));
    }
    *types = seen;
}

fn check_filters(filters: &mut Filters, types: Option<&[String]>, faults: &mut Faults) {
    for (family, suffixes) in filters {
        let shown: String = family.chars().take(64).collect();
        if !FAMILIES.iter().any(|(known, ..)| known == family) {
            let sentence = format!("there is no '{shown}': expected one of {}", families());
            add(faults, "event_filters", sentence);
            continue;
        }
        if types.is_some_and(|types| !types.contains(family)) {
            add(faults, "event_filters", format!("'{shown}' is none of the event_types"));
        }
        let of_family = EventName::ALL.iter().filter(|name| name.family() == family);
        let known: Vec<&str> = of_family.map(|name| name.suffix()).collect();
        let unknown = suffixes.iter().find(|suffix| !known.contains(&suffix.as_str()));
        if suffixes.is_empty() || unknown.is_some() {
            let sentence = format!("of '{shown}' must be some of {}", known.join(", "));
            add(faults, "event_filters", sentence);
        }
        suffixes.sort();
        suffixes.dedup();
    }
}

/// Asks where a name leads now, so that a mistake is told at once. What counts is the check at each
/// connection.
async fn check_where_it_leads(
    app: &App,
    environment: Environment,
    url: Option<&Url>,
) -> Result<(), AppError> {
    let Some(url) = url else { return Ok(()) };
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Ok(()) };
    let resolving = outbound::resolve(&host, port);
    let Ok(Ok(found)) = tokio::time::timeout(RESOLVE_WITHIN, resolving).await else {
        return Ok(());
    };
    let is_plain = url.scheme() == "http";
    for address in found {
        let guard = &app.outbound.guard;
        guard
            .check(address.ip(), is_plain, environment)
            .map_err(|reason| AppError::invalid("endpoint_url", reason))?;
    }
    Ok(())
}

fn purpose(id: WebhookId) -> Vec<u8> {
    [b"webhook ", id.as_bytes().as_slice()].concat()
}

fn seal(app: &App, id: WebhookId, secret: &Secret) -> Result<Vec<u8>, AppError> {
    app.vault.seal(secret.bytes(), &purpose(id))
}

fn open(app: &App, id: WebhookId, sealed: &[u8]) -> Result<Secret, AppError> {
    Ok(Secret::from_bytes(app.vault.open(sealed, &purpose(id))?))
}

/// A webhook as it would be made: everything but asking where its name leads, and the writing.
///
/// # Errors
/// If something of it makes no sense.
pub fn draft(app: &App, scope: Scope, at: UnixMillis, edit: WebhookEdit) -> Result<Made, AppError> {
    let Checked { edit, .. } = check(app, scope.environment, edit, true)?;
    let id = app.new_webhook_id(at);
    let secret = Secret::new();
    let webhook = Webhook {
        id,
        account: scope.account,
        environment: scope.environment,
        display_name: edit.display_name.unwrap_or_default(),
        endpoint_url: edit.endpoint_url.unwrap_or_default(),
        event_types: edit.event_types.unwrap_or_default(),
        event_filters: edit.event_filters.flatten(),
        is_active: true,
        secret: seal(app, id, &secret)?,
        previous: None,
        retry_count: edit.retry_count.unwrap_or(USUAL_RETRIES),
        timeout_seconds: edit.timeout_seconds.unwrap_or(USUAL_TIMEOUT),
        consecutive_failures: 0,
        last_attempt_at: None,
        last_success_at: None,
        created_at: at,
        updated_at: None,
        turned_off_at: None,
        waiting: 0,
    };
    Ok(Made { webhook, secret })
}

/// A webhook to answer a sandbox with: what was asked for, and for the rest an example.
///
/// # Errors
/// If something of it makes no sense.
pub fn example(
    app: &App,
    scope: Scope,
    at: UnixMillis,
    id: WebhookId,
    edit: WebhookEdit,
) -> Result<Webhook, AppError> {
    let Checked { edit, .. } = check(app, scope.environment, edit, false)?;
    let WebhookEdit { display_name, endpoint_url, event_types, event_filters, .. } = edit;
    let whole = WebhookEdit {
        display_name: display_name.or_else(|| Some(String::from("Example"))),
        endpoint_url: endpoint_url.or_else(|| Some(String::from("https://example.com/hook"))),
        event_types: event_types.or_else(|| Some(vec![String::from("contact")])),
        event_filters: None,
        retry_count: edit.retry_count,
        timeout_seconds: edit.timeout_seconds,
    };
    let webhook = draft(app, scope, at, whole)?.webhook;
    let event_filters = event_filters.flatten();
    Ok(Webhook { id, event_filters, updated_at: Some(at), ..webhook })
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
    let is_there = |w: &Webhook| w.account == scope.account && w.environment == scope.environment;
    webhooks::find(tx, id)?.filter(is_there).ok_or(AppError::NotFound(Resource::Webhook))
}

/// # Errors
/// If there is no such webhook.
pub async fn find(app: &App, scope: Scope, id: WebhookId) -> Result<Webhook, AppError> {
    app.store.read(move |tx| found(tx, scope, id)).await
}

/// The environment of a webhook of an account, for people, who see both.
///
/// # Errors
/// If there is no such webhook.
pub async fn scope_of(app: &App, account: AccountId, id: WebhookId) -> Result<Scope, AppError> {
    app.store
        .read(move |tx| {
            let webhook = webhooks::find(tx, id)?.filter(|webhook| webhook.account == account);
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
    app.store.read(move |tx| Ok(webhooks::page(tx, &scope, &filter, offset, limit)?)).await
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
    app.store
        .read(move |tx| {
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
    app.store
        .read(move |tx| {
            let webhook = found(tx, scope, id)?;
            let event = webhook_events::find(tx, event)?.filter(|event| event.webhook == id);
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
            let webhook = found(tx, scope, id)?;
            let event = webhook_events::find(tx, event)?.filter(|event| event.webhook == id);
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
