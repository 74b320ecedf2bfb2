//! What somebody chooses of a webhook, and whether it makes sense.

use std::time::Duration;

use keyward_core::account::Environment;
use keyward_core::id::WebhookId;
use keyward_core::time::UnixMillis;
use keyward_store::contacts::Scope;
use keyward_store::webhooks::{Filters, Webhook};
use url::Url;

use super::events::{EventName, FAMILIES};
use super::{Made, Secret, seal};
use crate::app::{App, AppError, Faults};
use crate::outbound;

pub const LONGEST_NAME: usize = 100;
const RETRIES: std::ops::RangeInclusive<u32> = 1..=5;
const TIMEOUTS: std::ops::RangeInclusive<u32> = 5..=120;
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

fn add(faults: &mut Faults, field: &str, sentence: impl Into<String>) {
    faults.entry(field.to_owned()).or_default().push(sentence.into());
}

/// An edit that makes sense, and where it leads.
pub(super) struct Checked {
    pub(super) edit: WebhookEdit,
    pub(super) url: Option<Url>,
}

/// Reads an edit without asking anybody anything.
pub(super) fn check(
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
        match app.check_name("display_name", name, LONGEST_NAME) {
            Ok(checked) => *name = checked,
            Err(AppError::Invalid(wrong)) => faults.extend(wrong),
            Err(other) => return Err(other),
        }
    }
    let mut url = None;
    if let Some(text) = &edit.endpoint_url {
        match app.outbound.guard.read(text, environment) {
            Ok(read) => match app.check_no_key("endpoint_url", text) {
                Ok(()) => url = Some(read),
                Err(AppError::Invalid(wrong)) => faults.extend(wrong),
                Err(other) => return Err(other),
            },
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
pub(super) async fn check_where_it_leads(
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

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{Faults, WebhookEdit, check_filters, check_types};

    /// The part of a check that asks nobody.
    pub fn check(edit: &mut WebhookEdit) -> Faults {
        let mut faults = Faults::new();
        if let Some(types) = &mut edit.event_types {
            check_types(types, &mut faults);
        }
        if let Some(Some(filters)) = &mut edit.event_filters {
            check_filters(filters, edit.event_types.as_deref(), &mut faults);
        }
        faults
    }
}
