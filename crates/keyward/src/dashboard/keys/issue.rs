//! Generating a key, the page that shows it once, and changing its settings.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use ipnet::IpNet;
use keyward_core::account::Environment;
use keyward_core::id::KeyId;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use zeroize::Zeroizing;

use super::{asks_confirmation, confirmed, expiry, find_to_change};
use crate::app::keys::{self, Issued, KeyEdit, NewKey};
use crate::app::once::Begun;
use crate::app::{AppError, Faults};
use crate::config;
use crate::dashboard::form::Form;
use crate::dashboard::layout::Shell;
use crate::dashboard::login::first;
use crate::dashboard::{Page, Request, Stop, html, show};
use crate::samples::{self, Call, Sample};

struct Tick {
    permission: Permission,
    is_checked: bool,
    is_locked: bool,
}

#[derive(Default)]
struct Filled {
    name: String,
    environment: String,
    access: String,
    permissions: Vec<String>,
    expiry: String,
    date: String,
    networks: String,
}

impl Filled {
    /// As the page repeats what somebody typed.
    fn repeated(self) -> Self {
        let [name, date, networks] =
            [&self.name, &self.date, &self.networks].map(|text| show::typed(text));
        Self { name, date, networks, ..self }
    }
}

#[derive(Default)]
struct Wrong {
    name: Option<String>,
    environment: Option<String>,
    permissions: Option<String>,
    expires_at: Option<String>,
    networks: Option<String>,
    confirmation: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/keys/form.html")]
struct FormPage {
    shell: Shell,
    /// The key that is changed; none when one is made.
    id: Option<KeyId>,
    old_name: String,
    action: String,
    once: String,
    filled: Filled,
    wrong: Wrong,
    is_wrong: bool,
    boxes: Vec<Tick>,
    may_production: bool,
    may_full: bool,
    kept_expiry: String,
    today: String,
    address: String,
    asks_confirmation: bool,
    has_factor: bool,
}

/// What is changed: nothing when a key is made.
struct Changed {
    id: KeyId,
    name: String,
    environment: Environment,
    expires_at: Option<UnixMillis>,
}

fn form_page(
    request: &Request,
    changed: Option<Changed>,
    filled: Filled,
    wrong: Wrong,
    status: StatusCode,
) -> Page {
    let entered = request.entered()?;
    let filled = if status == StatusCode::OK { filled } else { filled.repeated() };
    let role = entered.user.role;
    let asks = match &changed {
        Some(changed) => asks_confirmation(request, changed.environment)?,
        None => {
            role.manages_keys_of(Environment::Production)
                && asks_confirmation(request, Environment::Production)?
        }
    };
    let tick = |permission: Permission| Tick {
        permission,
        is_checked: filled.permissions.iter().any(|text| text == permission.as_str()),
        is_locked: !role.grants().contains(permission),
    };
    let title = if changed.is_some() { "Edit key" } else { "Generate New API Key" };
    let page = FormPage {
        shell: Shell::new(request, title, "/keys"),
        action: changed.as_ref().map_or(String::from("/keys"), |c| format!("/keys/{}/edit", c.id)),
        id: changed.as_ref().map(|changed| changed.id),
        kept_expiry: expiry(changed.as_ref().and_then(|changed| changed.expires_at)),
        old_name: changed.map(|changed| changed.name).unwrap_or_default(),
        once: request.app.once.new_form(),
        boxes: Permission::ALL.map(tick).into(),
        may_production: role.manages_keys_of(Environment::Production),
        may_full: PermissionSet::FULL.is_within(role.grants()),
        today: crate::when(request.at).get(..10).unwrap_or_default().to_owned(),
        address: request.visitor.address.to_string(),
        asks_confirmation: asks,
        has_factor: entered.user.totp.is_some(),
        is_wrong: status != StatusCode::OK,
        filled,
        wrong,
    };
    Ok(html(status, page.render()?))
}

/// `GET /keys/new`
///
/// # Errors
/// If the page cannot be made.
pub async fn new(request: Request) -> Page {
    let role = request.person()?.role;
    let filled = Filled {
        environment: String::from(if role == Role::Developer { "test" } else { "" }),
        access: String::from(if role == Role::Developer { "read" } else { "full" }),
        expiry: String::from("90"),
        ..Filled::default()
    };
    form_page(&request, None, filled, Wrong::default(), StatusCode::OK)
}

fn filled(form: &Form) -> Filled {
    let text = |name: &str| form.text(name).chars().take(20_000).collect::<String>();
    Filled {
        name: text("name"),
        environment: text("environment"),
        access: text("access"),
        permissions: form.all("permission").into_iter().map(ToOwned::to_owned).collect(),
        expiry: text("expiry"),
        date: text("date"),
        networks: text("networks"),
    }
}

/// What a form asks for, with a sentence for each field that makes no sense.
struct Asked {
    permissions: PermissionSet,
    /// `None` leaves it as it is.
    expires_at: Option<Option<UnixMillis>>,
    networks: Vec<IpNet>,
}

fn read(filled: &Filled, now: UnixMillis, faults: &mut Faults) -> Asked {
    let mut fault = |field: &str, sentence: String| {
        faults.entry(field.to_owned()).or_default().push(sentence);
    };
    let permissions = match filled.access.as_str() {
        "full" => PermissionSet::FULL,
        "read" => PermissionSet::READ_ONLY,
        "custom" => {
            let known = filled.permissions.iter().filter_map(|text| text.parse().ok());
            let set: PermissionSet = known.collect();
            if set == PermissionSet::default() {
                fault(
                    "permissions",
                    String::from("must name at least one: tick what the key needs"),
                );
            }
            set
        }
        _ => {
            fault("permissions", String::from("must be chosen"));
            PermissionSet::default()
        }
    };
    let expires_at = match filled.expiry.as_str() {
        "keep" => None,
        "never" => Some(None),
        "date" => match end_of_day(&filled.date) {
            Some(at) if at > now => Some(Some(at)),
            Some(_) => {
                fault("expires_at", String::from("must be in the future"));
                None
            }
            None => {
                fault("expires_at", String::from("must be a date such as 2030-12-31"));
                None
            }
        },
        days @ ("30" | "60" | "90") => {
            Some(Some(now + days.parse::<i64>().unwrap_or(90) * DAY_MILLIS))
        }
        _ => {
            fault("expires_at", String::from("must be chosen"));
            None
        }
    };
    let lines: Vec<&str> = filled.networks.split([',', '\n', '\r', ' ']).collect();
    let networks = config::networks(&lines.join(",")).unwrap_or_else(|sentence| {
        fault("networks", format!("must be addresses or networks: {sentence}"));
        vec![]
    });
    Asked { permissions, expires_at, networks }
}

/// The moment after a day.
fn end_of_day(date: &str) -> Option<UnixMillis> {
    let date: jiff::civil::Date = date.parse().ok()?;
    show::midnight(date.tomorrow().ok()?)
}

fn wrong(faults: &Faults) -> Wrong {
    let sentence = |field: &str| first(faults, field);
    Wrong {
        name: sentence("name"),
        environment: sentence("environment"),
        permissions: sentence("permissions"),
        expires_at: sentence("expires_at"),
        networks: sentence("networks"),
        confirmation: None,
    }
}

/// `POST /keys`: issues a key and shows it, once.
///
/// # Errors
/// If the role does not allow it, or the store cannot write.
pub async fn issue(mut request: Request) -> Page {
    let form = request.form().await?;
    let filled = filled(&form);
    let turn = match request.app.once.begin(request.person()?.user, form.text("once")).await? {
        Begun::First(turn) => turn,
        Begun::Again(place) => return Err(Stop::To(place)),
    };
    let mut faults = Faults::new();
    let asked = read(&filled, request.at, &mut faults);
    let Some(environment) = Environment::from_text(&filled.environment) else {
        faults.insert(String::from("environment"), vec![String::from("must be chosen")]);
        let wrong = wrong(&faults);
        return form_page(&request, None, filled, wrong, StatusCode::UNPROCESSABLE_ENTITY);
    };
    if !request.person()?.role.manages_keys_of(environment) {
        return Err(AppError::NotAllowed.into());
    }
    if !faults.is_empty() {
        let wrong = wrong(&faults);
        return form_page(&request, None, filled, wrong, StatusCode::UNPROCESSABLE_ENTITY);
    }
    if let Err(sentence) = confirmed(&request, &form, environment).await? {
        let wrong = Wrong { confirmation: Some(sentence), ..Wrong::default() };
        return form_page(&request, None, filled, wrong, StatusCode::FORBIDDEN);
    }
    let new = NewKey {
        account: request.person()?.account,
        name: filled.name.clone(),
        environment,
        permissions: asked.permissions,
        networks: asked.networks,
        expires_at: asked.expires_at.flatten(),
    };
    let (app, actor) = (Arc::clone(&request.app), request.actor()?);
    let work = async move { keys::issue(&app, &actor, new).await };
    let place = |issued: &Issued| format!("/keys/{}", issued.record.id);
    match turn.carry_out(work, place).await {
        Ok(issued) => issued_page(&request, &issued, None),
        Err(AppError::Invalid(faults)) => {
            let wrong = wrong(&faults);
            form_page(&request, None, filled, wrong, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error.into()),
    }
}

/// The key that was replaced.
pub(super) struct Old {
    pub(super) id: KeyId,
    pub(super) hint: String,
    pub(super) works_on: bool,
    pub(super) until: String,
}

#[derive(Template)]
#[template(path = "dashboard/keys/issued.html")]
struct IssuedPage<'a> {
    shell: Shell,
    id: KeyId,
    name: &'a str,
    environment: Environment,
    permissions: String,
    expiry: String,
    /// In clear, here and nowhere else.
    key: Zeroizing<String>,
    old: Option<Old>,
    base: &'a str,
    samples: Vec<Sample>,
}

/// The one page that shows a key.
pub(super) fn issued_page(request: &Request, issued: &Issued, old: Option<Old>) -> Page {
    let record = &issued.record;
    let call = Call { name: "me.retrieve", ..Call::get("/v3/me") };
    let page = IssuedPage {
        shell: Shell::new(request, "Your new API key", "/keys"),
        id: record.id,
        name: &record.name,
        environment: record.environment,
        permissions: show::permissions(record.permissions),
        expiry: expiry(record.expires_at),
        key: issued.key.reveal(),
        old,
        base: &request.site.base,
        // The first is curl, which stands above with the key filled in.
        samples: samples::of(&call, &request.site.base).split_off(1),
    };
    Ok(html(StatusCode::CREATED, page.render()?))
}

/// `GET /keys/{id}/edit`
///
/// # Errors
/// 404, 403.
pub async fn edit(request: Request) -> Page {
    let record = find_to_change(&request).await?.record;
    let access = match record.permissions {
        PermissionSet::FULL => "full",
        PermissionSet::READ_ONLY => "read",
        _ => "custom",
    };
    let networks: Vec<String> = record.networks.iter().map(ToString::to_string).collect();
    let filled = Filled {
        name: record.name.clone(),
        access: access.to_owned(),
        permissions: record.permissions.iter().map(|p| p.as_str().to_owned()).collect(),
        expiry: String::from("keep"),
        networks: networks.join("\n"),
        ..Filled::default()
    };
    let changed = Changed {
        id: record.id,
        name: record.name,
        environment: record.environment,
        expires_at: record.expires_at,
    };
    form_page(&request, Some(changed), filled, Wrong::default(), StatusCode::OK)
}

/// `POST /keys/{id}/edit`
///
/// # Errors
/// 404, 403, or if the store cannot write.
pub async fn change(mut request: Request) -> Page {
    let record = find_to_change(&request).await?.record;
    let form = request.form().await?;
    let filled = filled(&form);
    let mut faults = Faults::new();
    let asked = read(&filled, request.at, &mut faults);
    let changed = Changed {
        id: record.id,
        name: record.name,
        environment: record.environment,
        expires_at: record.expires_at,
    };
    if !faults.is_empty() {
        let wrong = wrong(&faults);
        return form_page(&request, Some(changed), filled, wrong, StatusCode::UNPROCESSABLE_ENTITY);
    }
    if let Err(sentence) = confirmed(&request, &form, record.environment).await? {
        let wrong = Wrong { confirmation: Some(sentence), ..Wrong::default() };
        return form_page(&request, Some(changed), filled, wrong, StatusCode::FORBIDDEN);
    }
    let edit = KeyEdit {
        name: Some(filled.name.clone()),
        permissions: Some(asked.permissions),
        networks: Some(asked.networks),
        expires_at: asked.expires_at,
    };
    match keys::edit(&request.app, &request.actor()?, record.id, edit).await {
        Ok(key) => Err(Stop::To(format!("/keys/{}?done=saved", key.id))),
        Err(AppError::Invalid(faults)) => {
            let wrong = wrong(&faults);
            form_page(&request, Some(changed), filled, wrong, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error.into()),
    }
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use super::{Faults, Form, IpNet, PermissionSet, UnixMillis, filled};

    /// What the form of a key asks for.
    #[derive(Debug)]
    pub struct Read {
        pub permissions: PermissionSet,
        pub expires_at: Option<Option<UnixMillis>>,
        pub networks: Vec<IpNet>,
    }

    pub(in crate::dashboard) fn read(form: &Form, now: UnixMillis, faults: &mut Faults) -> Read {
        let super::Asked { permissions, expires_at, networks } =
            super::read(&filled(form), now, faults);
        Read { permissions, expires_at, networks }
    }
}
