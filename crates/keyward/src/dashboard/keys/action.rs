//! What is done to a key: rotate, disable and enable, revoke, share.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use keyward_core::account::Environment;
use keyward_core::id::KeyId;
use keyward_core::record::KeyRecord;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS};
use keyward_store::key_list::Listed;

use super::issue::{Old, issued_page};
use super::{asks_confirmation, confirmed, find_to_change};
use crate::app::keys::Issued;
use crate::app::once::Begun;
use crate::app::{AppError, keys};
use crate::dashboard::layout::Shell;
use crate::dashboard::{Page, Request, Stop, html, show};

/// How long an old key may work on, and what that is called.
const GRACES: [(&str, &str, i64); 6] = [
    ("0", "Not at all: it is refused at once", 0),
    ("1h", "1 hour", HOUR_MILLIS),
    ("24h", "24 hours", DAY_MILLIS),
    ("7d", "7 days", 7 * DAY_MILLIS),
    ("30d", "30 days", 30 * DAY_MILLIS),
    ("90d", "90 days", 90 * DAY_MILLIS),
];

#[derive(Template)]
#[template(path = "dashboard/keys/rotate.html")]
struct RotatePage {
    shell: Shell,
    id: KeyId,
    name: String,
    hint: String,
    environment: Environment,
    once: String,
    graces: Vec<(&'static str, &'static str)>,
    grace: String,
    fault: Option<String>,
    asks: bool,
    has_factor: bool,
}

fn rotate_page(
    request: &Request,
    listed: Listed,
    grace: &str,
    fault: Option<String>,
    status: StatusCode,
) -> Page {
    let record = listed.record;
    let page = RotatePage {
        shell: Shell::new(request, "Rotate key", "/keys"),
        id: record.id,
        hint: record.hint.as_str().to_owned(),
        environment: record.environment,
        once: request.app.once.new_form(),
        graces: GRACES.map(|(value, name, _)| (value, name)).into(),
        grace: grace.to_owned(),
        fault,
        asks: asks_confirmation(request, record.environment)?,
        has_factor: request.entered()?.user.totp.is_some(),
        name: record.name,
    };
    Ok(html(status, page.render()?))
}

/// `GET /keys/{id}/rotate`
///
/// # Errors
/// 404, 403.
pub async fn ask_rotate(request: Request) -> Page {
    let listed = find_to_change(&request).await?;
    rotate_page(&request, listed, "24h", None, StatusCode::OK)
}

/// `POST /keys/{id}/rotate`: shows the successor, once.
///
/// # Errors
/// 404, 403, 409 if there is nothing to replace.
pub async fn rotate(mut request: Request) -> Page {
    let listed = find_to_change(&request).await?;
    let form = request.form().await?;
    let turn = match request.app.once.begin(request.person()?.user, form.text("once")).await? {
        Begun::First(turn) => turn,
        Begun::Again(place) => return Err(Stop::To(place)),
    };
    let chosen = form.text("grace").to_owned();
    let Some((_, _, grace)) = GRACES.into_iter().find(|(value, _, _)| *value == chosen) else {
        let fault = Some(String::from("Choose how long the old key works on."));
        return rotate_page(&request, listed, "", fault, StatusCode::UNPROCESSABLE_ENTITY);
    };
    if let Err(fault) = confirmed(&request, &form, listed.record.environment).await? {
        return rotate_page(&request, listed, &chosen, Some(fault), StatusCode::FORBIDDEN);
    }
    let (app, actor, id) = (Arc::clone(&request.app), request.actor()?, listed.record.id);
    let work = async move { keys::rotate(&app, &actor, id, grace).await };
    let place = |(issued, _): &(Issued, KeyRecord)| format!("/keys/{}", issued.record.id);
    match turn.carry_out(work, place).await {
        Ok((issued, old)) => {
            let until = old.rotated.as_ref().map(|rotation| rotation.until);
            let old = Old {
                id: old.id,
                hint: old.hint.as_str().to_owned(),
                works_on: grace > 0,
                until: until.map(show::time).unwrap_or_default(),
            };
            issued_page(&request, &issued, Some(old))
        }
        Err(AppError::Invalid(faults)) => {
            let sentences = AppError::Invalid(faults).to_string();
            let fault = Some(crate::dashboard::error::sentence(&sentences));
            rotate_page(&request, listed, &chosen, fault, StatusCode::UNPROCESSABLE_ENTITY)
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "dashboard/keys/revoke.html")]
struct RevokePage {
    shell: Shell,
    id: KeyId,
    name: String,
    hint: String,
    environment: Environment,
    used: String,
    fault: Option<String>,
    asks: bool,
    has_factor: bool,
}

fn revoke_page(
    request: &Request,
    listed: Listed,
    fault: Option<String>,
    status: StatusCode,
) -> Page {
    let record = listed.record;
    let used = match &record.last_used {
        Some(used) => format!("It was last used {}.", show::ago(used.at, request.at)),
        None => String::from("It was never used."),
    };
    let page = RevokePage {
        shell: Shell::new(request, "Revoke key", "/keys"),
        id: record.id,
        hint: record.hint.as_str().to_owned(),
        environment: record.environment,
        used,
        fault,
        asks: asks_confirmation(request, record.environment)?,
        has_factor: request.entered()?.user.totp.is_some(),
        name: record.name,
    };
    Ok(html(status, page.render()?))
}

/// `GET /keys/{id}/revoke`
///
/// # Errors
/// 404, 403.
pub async fn ask_revoke(request: Request) -> Page {
    let listed = find_to_change(&request).await?;
    revoke_page(&request, listed, None, StatusCode::OK)
}

/// `POST /keys/{id}/revoke`
///
/// # Errors
/// 404, 403, 409 if it is revoked already.
pub async fn revoke(mut request: Request) -> Page {
    let listed = find_to_change(&request).await?;
    let form = request.form().await?;
    if form.text("name") != listed.record.name.trim() {
        let fault = Some(String::from("The name is not the one of this key. Nothing was changed."));
        return revoke_page(&request, listed, fault, StatusCode::UNPROCESSABLE_ENTITY);
    }
    if let Err(fault) = confirmed(&request, &form, listed.record.environment).await? {
        return revoke_page(&request, listed, Some(fault), StatusCode::FORBIDDEN);
    }
    let key = keys::revoke(&request.app, &request.actor()?, listed.record.id).await?;
    Err(Stop::To(format!("/keys/{}?done=revoked", key.id)))
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident => $change:expr, $done:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// 404, 403, 409 if there is nothing to do.
        pub async fn $name(request: Request) -> Page {
            let (actor, id) = (request.actor()?, request.id::<KeyId>()?);
            let key = $change(&request.app, &actor, id).await?;
            Err(Stop::To(format!(concat!("/keys/{}?done=", $done), key.id)))
        }
    )*};
}

switches! {
    /// `POST /keys/{id}/disable`
    disable => keys::disable, "disabled";
    /// `POST /keys/{id}/enable`
    enable => keys::enable, "enabled";
    /// `POST /keys/{id}/share`
    share => async |app, actor, id| keys::share(app, actor, id, true).await, "shared";
    /// `POST /keys/{id}/unshare`
    unshare => async |app, actor, id| keys::share(app, actor, id, false).await, "unshared";
}
