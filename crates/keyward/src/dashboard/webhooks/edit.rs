//! Adding a webhook, and changing one.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::WebhookId;
use keyward_store::contacts::Scope;
use keyward_store::webhooks::{Filters, Webhook};

use super::{find, secret_page};
use crate::app::once::Begun;
use crate::app::webhooks::events::{EventName, FAMILIES};
use crate::app::webhooks::{self, Made, WebhookEdit};
use crate::app::{AppError, Faults, plain};
use crate::config::HttpRule;
use crate::dashboard::error::sentence;
use crate::dashboard::form::Form;
use crate::dashboard::layout::Shell;
use crate::dashboard::{Page, Request, Stop, html, show};

const TIMEOUTS: [u32; 6] = [5, 10, 20, 30, 60, 120];

/// What stands in the form.
#[derive(Default)]
struct Filled {
    name: String,
    environment: String,
    url: String,
    families: Vec<String>,
    /// Whole names of events.
    only: Vec<String>,
    retries: String,
    timeout: String,
}

/// A family with a box to tick, and those of its events.
struct Tick {
    value: &'static str,
    name: &'static str,
    text: &'static str,
    is_checked: bool,
    is_narrow: bool,
    suffixes: Vec<One>,
}

struct One {
    name: &'static str,
    text: &'static str,
    is_checked: bool,
}

#[derive(Template)]
#[template(path = "dashboard/webhooks/form.html")]
struct FormPage {
    shell: Shell,
    /// None: it is a new one.
    id: Option<WebhookId>,
    old_name: String,
    action: String,
    once: String,
    rule: &'static str,
    filled: Filled,
    ticks: Vec<Tick>,
    timeouts: Vec<u32>,
    fault: Option<String>,
    wrong_name: Option<String>,
    wrong_url: Option<String>,
    wrong_events: Option<String>,
}

impl Filled {
    fn of(webhook: &Webhook) -> Self {
        let only = webhook.event_filters.iter().flatten().flat_map(|(family, suffixes)| {
            suffixes.iter().map(move |suffix| format!("{family}.{suffix}"))
        });
        Self {
            name: webhook.display_name.clone(),
            environment: webhook.environment.to_string(),
            url: webhook.endpoint_url.clone(),
            families: webhook.event_types.clone(),
            only: only.collect(),
            retries: webhook.retry_count.to_string(),
            timeout: webhook.timeout_seconds.to_string(),
        }
    }

    /// As the page repeats what somebody typed.
    fn repeated(self) -> Self {
        Self { name: show::typed(&self.name), url: show::typed(&self.url), ..self }
    }

    fn read(form: &Form) -> Self {
        let all = |name: &str| form.all(name).into_iter().map(ToOwned::to_owned).collect();
        Self {
            name: form.text("name").to_owned(),
            environment: form.text("environment").to_owned(),
            url: form.text("url").to_owned(),
            families: all("event"),
            only: all("only"),
            retries: form.text("retries").to_owned(),
            timeout: form.text("timeout").to_owned(),
        }
    }

    fn edit(&self) -> WebhookEdit {
        let mut filters = Filters::new();
        for name in &self.only {
            let Some((family, suffix)) = name.split_once('.') else { continue };
            // What is ticked below a family that is not ticked itself means nothing.
            if self.families.iter().any(|ticked| ticked == family) {
                filters.entry(family.to_owned()).or_default().push(suffix.to_owned());
            }
        }
        WebhookEdit {
            display_name: Some(self.name.clone()),
            endpoint_url: Some(self.url.clone()),
            event_types: Some(self.families.clone()),
            event_filters: Some(Some(filters).filter(|filters| !filters.is_empty())),
            retry_count: self.retries.parse().ok(),
            timeout_seconds: self.timeout.parse().ok(),
        }
    }

    fn ticks(&self) -> Vec<Tick> {
        let tick = |(value, name, text): (&'static str, &'static str, &'static str)| {
            let of_family = EventName::ALL.iter().filter(|name| name.family() == value);
            let suffixes: Vec<One> = of_family
                .map(|name| One {
                    name: name.as_str(),
                    text: name.meaning(),
                    is_checked: self.only.iter().any(|only| only == name.as_str()),
                })
                .collect();
            Tick {
                value,
                name,
                text,
                is_checked: self.families.iter().any(|family| family == value),
                is_narrow: suffixes.iter().any(|one| one.is_checked),
                suffixes,
            }
        };
        FAMILIES.map(tick).into()
    }
}

fn form_page(
    request: &Request,
    webhook: Option<&Webhook>,
    filled: Filled,
    error: Option<AppError>,
) -> Page {
    let (mut fault, mut faults) = (None, Faults::new());
    let filled = if error.is_none() { filled } else { filled.repeated() };
    let status = match error {
        None => StatusCode::OK,
        Some(AppError::Invalid(found)) => {
            faults = found;
            fault = Some(String::from("Something is not right; it says so beside the field."));
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Some(AppError::Quota(text)) => {
            fault = Some(sentence(&text));
            StatusCode::CONFLICT
        }
        Some(other) => return Err(other.into()),
    };
    let first = |field: &str| Some(sentence(faults.get(field)?.first()?));
    let page = FormPage {
        shell: Shell::new(
            request,
            if webhook.is_some() { "Edit webhook" } else { "Add a webhook" },
            "/webhooks",
        ),
        id: webhook.map(|webhook| webhook.id),
        old_name: webhook.map(|webhook| webhook.display_name.clone()).unwrap_or_default(),
        action: match webhook {
            Some(webhook) => format!("/webhooks/{}/edit", webhook.id),
            None => String::from("/webhooks"),
        },
        once: request.app.once.new_form(),
        rule: match request.app.outbound.guard.http {
            HttpRule::Never => "It must begin with https:// and be on the public internet.",
            HttpRule::TestLoopback => {
                "It must begin with https:// and be on the public internet. A test webhook may go to \
                 this machine as well, such as http://127.0.0.1:8000/."
            }
            HttpRule::Always => "It must be on the public internet.",
        },
        ticks: filled.ticks(),
        filled,
        timeouts: TIMEOUTS.into(),
        fault,
        wrong_name: first("display_name"),
        wrong_url: first("endpoint_url"),
        wrong_events: first("event_types").or_else(|| first("event_filters")),
    };
    Ok(html(status, page.render()?))
}

/// `GET /webhooks/new`
///
/// # Errors
/// None of its own.
pub async fn new(request: Request) -> Page {
    let filled = Filled {
        families: FAMILIES.map(|(family, ..)| family.to_owned()).into(),
        retries: String::from("3"),
        timeout: String::from("30"),
        environment: request.query("environment").unwrap_or_default(),
        ..Filled::default()
    };
    form_page(&request, None, filled, None)
}

/// `POST /webhooks`: shows the signing secret, once.
///
/// # Errors
/// 422 if something of it makes no sense, 409 if there are too many.
pub async fn create(mut request: Request) -> Page {
    let form = request.form().await?;
    let turn = match request.app.once.begin(request.person()?.user, form.text("once")).await? {
        Begun::First(turn) => turn,
        Begun::Again(place) => return Err(Stop::To(place)),
    };
    let filled = Filled::read(&form);
    let Some(environment) = Environment::from_text(&filled.environment) else {
        let error = AppError::invalid("environment", "must be chosen");
        return form_page(&request, None, filled, Some(error));
    };
    let scope = Scope { account: request.person()?.account, environment };
    let (app, actor, edit) = (Arc::clone(&request.app), request.actor()?, filled.edit());
    let work = async move { webhooks::create(&app, &actor, scope, edit, plain).await };
    let place = |made: &Made| format!("/webhooks/{}", made.webhook.id);
    match turn.carry_out(work, place).await {
        Ok(made) => secret_page(&request, &made),
        Err(error) => form_page(&request, None, filled, Some(error)),
    }
}

/// `GET /webhooks/{id}/edit`
///
/// # Errors
/// 404.
pub async fn edit(request: Request) -> Page {
    let (_, webhook) = find(&request).await?;
    form_page(&request, Some(&webhook), Filled::of(&webhook), None)
}

/// `POST /webhooks/{id}/edit`
///
/// # Errors
/// 404, 422 if something of it makes no sense.
pub async fn change(mut request: Request) -> Page {
    let (scope, webhook) = find(&request).await?;
    let form = request.form().await?;
    let filled = Filled::read(&form);
    let (actor, edit) = (request.actor()?, filled.edit());
    match webhooks::update(&request.app, &actor, scope, webhook.id, edit, plain).await {
        Ok(webhook) => Err(Stop::To(format!("/webhooks/{}?done=saved", webhook.id))),
        Err(error) => form_page(&request, Some(&webhook), filled, Some(error)),
    }
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{Filled, Form, WebhookEdit};

    /// What the form of a webhook asks for.
    pub(in crate::dashboard) fn read(form: &Form) -> WebhookEdit {
        Filled::read(form).edit()
    }
}
