//! The pages of passkeys. What a browser answers comes in a hidden field of a plain form.

use std::net::IpAddr;

use askama::Template;
use http::StatusCode;
use keyward_core::id::PasskeyId;
use keyward_store::passkeys::StoredPasskey;
use url::{Host, Url};

use super::{Asked, Row, Section};
use crate::app::passkeys::{self, Offer, Place};
use crate::app::{AppError, Resource, Token};
use crate::dashboard::error::wait;
use crate::dashboard::layout::Shell;
use crate::dashboard::login::{first, login_page, own_place};
use crate::dashboard::{
    Page, Request, Stop, assets, cookie, html, redirect_with_cookie, show as say,
};

fn place(request: &Request) -> Option<Place> {
    Place::of(&request.site.base)
}

fn place_or_stop(request: &Request) -> Result<Place, Stop> {
    let why = "Passkeys need HTTPS and a host name: browsers know none for an IP address. Open this \
               page under its host name, or on the server's own machine as http://localhost.";
    place(request).ok_or(Stop::Bad(StatusCode::CONFLICT, why))
}

/// `http://localhost:8080/profile`, for who came by an address of this machine.
fn elsewhere(request: &Request) -> Option<String> {
    let mut url = Url::parse(&request.site.base).ok()?;
    let is_loopback = match url.host()? {
        Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(address).is_loopback(),
        Host::Domain(_) => false,
    };
    if !is_loopback || request.app.public_url.is_some() {
        return None;
    }
    url.set_host(Some("localhost")).ok()?;
    url.set_path("/profile");
    Some(url.into())
}

fn asked(offer: Offer) -> Asked {
    let challenge = offer.challenge.reveal().to_owned();
    Asked { challenge, options: offer.options, version: assets::version() }
}

/// What the page to sign in lets the browser ask, and the cookie that the answer must come with.
pub(in crate::dashboard) fn ask_sign_in(
    request: &Request,
) -> Result<Option<(Asked, String)>, Stop> {
    let Some(place) = place(request).filter(|_| request.site.takes_passwords) else {
        return Ok(None);
    };
    // The same cookie for every page that is open: each has a challenge of its own.
    let known = cookie::login(&request.parts.headers, &request.site).map(ToOwned::to_owned);
    let holder = known.unwrap_or_else(|| Token::new().reveal().to_owned());
    let offer = passkeys::begin_sign_in(&request.app, &place, &holder, &request.visitor)?;
    Ok(Some((asked(offer), cookie::set_login(&holder, &request.site))))
}

/// `POST /login/passkey`
///
/// # Errors
/// If the store does not answer.
pub async fn sign_in(mut request: Request) -> Page {
    let form = request.form().await?;
    let next = form.text("next").to_owned();
    let place = place_or_stop(&request)?;
    let holder = cookie::login(&request.parts.headers, &request.site).unwrap_or_default();
    let (challenge, answer) = (form.text("challenge"), form.text("credential"));
    let app = &request.app;
    let result = passkeys::sign_in(app, &place, holder, challenge, answer, &request.visitor).await;
    let (status, fault) = match result {
        Ok(token) => {
            let to = own_place(&next).unwrap_or("/overview");
            return redirect_with_cookie(to, &cookie::set(&token, &request.site));
        }
        Err(AppError::NotFound(Resource::Challenge)) => {
            let fault = "This took too long, or was tried before. Try once more.";
            (StatusCode::FORBIDDEN, fault.to_owned())
        }
        Err(AppError::WrongCredentials) => {
            let fault = "This passkey opens nothing here: it may have been removed. Sign in with \
                         your password.";
            (StatusCode::FORBIDDEN, fault.to_owned())
        }
        Err(AppError::TooManyAttempts(seconds)) => {
            let fault = format!("Too many passkeys were refused. Try again in {}.", wait(seconds));
            (StatusCode::TOO_MANY_REQUESTS, fault)
        }
        Err(other) => return Err(other.into()),
    };
    login_page(&request, status, Some(fault), &next, "")
}

/// The own passkeys, for my account.
pub(in crate::dashboard) async fn section(request: &Request) -> Result<Option<Section>, Stop> {
    let place = place(request);
    let rows = passkeys::list(&request.app, request.entered()?).await?;
    let row = |row: StoredPasskey| Row {
        id: row.id,
        name: row.name,
        added: say::time(row.added_at),
        used: row.used_at.map(|at| say::ago(at, request.at)),
        host: place.as_ref().is_none_or(|p| p.host() != row.host).then_some(row.host),
    };
    Ok(Some(Section {
        rows: rows.into_iter().map(row).collect(),
        is_possible: place.is_some(),
        elsewhere: elsewhere(request),
    }))
}

#[derive(Template)]
#[template(path = "dashboard/passkeys/new.html")]
struct NewPage {
    shell: Shell,
    /// Nothing while the password is still to be given.
    asked: Option<Asked>,
    has_factor: bool,
    name: String,
    wrong: Option<String>,
    fault: Option<&'static str>,
}

#[derive(Default)]
struct Wrong {
    name: String,
    wrong: Option<String>,
    fault: Option<&'static str>,
}

/// The page that makes a passkey, for who has confirmed; else the one that asks to confirm.
async fn new_page(request: &Request, is_confirmed: bool, status: StatusCode, wrong: Wrong) -> Page {
    let place = place_or_stop(request)?;
    let entered = request.entered()?;
    let asked = if is_confirmed {
        let begun = passkeys::begin_adding(&request.app, &place, entered, &request.visitor).await?;
        Some(asked(begun))
    } else {
        None
    };
    let page = NewPage {
        shell: Shell::new(request, "Add a passkey", "/profile"),
        asked,
        has_factor: entered.user.totp.is_some(),
        name: wrong.name,
        wrong: wrong.wrong,
        fault: wrong.fault,
    };
    Ok(html(status, page.render()?))
}

const NOT_CONFIRMED: &str = "The password or code was missing or wrong. Nothing was changed.";

/// `GET /profile/passkeys/new`
///
/// # Errors
/// If there can be none here.
pub async fn ask(request: Request) -> Page {
    let is_confirmed = request.entered()?.is_confirmed(request.at);
    new_page(&request, is_confirmed, StatusCode::OK, Wrong::default()).await
}

/// `POST /profile/passkeys/new`: takes the password, and lets the browser ask.
///
/// # Errors
/// If there can be none here.
pub async fn begin(mut request: Request) -> Page {
    let form = request.form().await?;
    match request.confirm(&form).await {
        Ok(()) => new_page(&request, true, StatusCode::OK, Wrong::default()).await,
        Err(Stop::App(AppError::NotConfirmed | AppError::WrongCredentials)) => {
            let wrong = Wrong { fault: Some(NOT_CONFIRMED), ..Wrong::default() };
            new_page(&request, false, StatusCode::FORBIDDEN, wrong).await
        }
        Err(other) => Err(other),
    }
}

/// `POST /profile/passkeys`: takes what the browser made. That somebody confirmed is told by the
/// challenge, which nobody else gets.
///
/// # Errors
/// If the store cannot write.
pub async fn add(mut request: Request) -> Page {
    let form = request.form().await?;
    let place = place_or_stop(&request)?;
    let entered = request.entered()?;
    let (challenge, answer) = (form.text("challenge"), form.text("credential"));
    let name = form.text("name");
    let wrong = |fault| Wrong { name: say::typed(name), fault: Some(fault), wrong: None };
    let (status, wrong) =
        match passkeys::add(&request.app, &place, entered, challenge, answer, name).await {
            Ok(()) => return Err(Stop::To(String::from("/profile?done=passkey"))),
            Err(AppError::Invalid(faults)) => {
                let wrong = Wrong { wrong: first(&faults, "name"), ..wrong("") };
                (StatusCode::UNPROCESSABLE_ENTITY, Wrong { fault: None, ..wrong })
            }
            Err(AppError::NotFound(Resource::Challenge)) => {
                let fault = "This took too long, or was tried before. Nothing was added; try once \
                             more.";
                (StatusCode::CONFLICT, wrong(fault))
            }
            Err(AppError::WrongCredentials) => {
                let fault = "What came is no passkey for this server. Nothing was added.";
                (StatusCode::UNPROCESSABLE_ENTITY, wrong(fault))
            }
            Err(other) => return Err(other.into()),
        };
    let is_confirmed = entered.is_confirmed(request.at);
    new_page(&request, is_confirmed, status, wrong).await
}

#[derive(Template)]
#[template(path = "dashboard/passkeys/show.html")]
struct ShowPage {
    shell: Shell,
    id: PasskeyId,
    name: String,
    host: String,
    added: String,
    used: Option<String>,
    asks: bool,
    has_factor: bool,
    wrong: Option<String>,
    fault: Option<&'static str>,
}

async fn show_page(request: &Request, status: StatusCode, wrong: Wrong) -> Page {
    let id = request.id::<PasskeyId>()?;
    let entered = request.entered()?;
    let passkey = passkeys::find(&request.app, entered, id).await?;
    let page = ShowPage {
        shell: Shell::new(request, &passkey.name, "/profile"),
        id,
        added: say::time(passkey.added_at),
        used: passkey.used_at.map(|at| say::ago(at, request.at)),
        name: passkey.name,
        host: passkey.host,
        asks: !entered.is_confirmed(request.at),
        has_factor: entered.user.totp.is_some(),
        wrong: wrong.wrong,
        fault: wrong.fault,
    };
    Ok(html(status, page.render()?))
}

/// `GET /profile/passkeys/{id}`
///
/// # Errors
/// 404 if it is none of the own ones.
pub async fn show(request: Request) -> Page {
    show_page(&request, StatusCode::OK, Wrong::default()).await
}

/// `POST /profile/passkeys/{id}/name`
///
/// # Errors
/// 404 if it is none of the own ones.
pub async fn rename(mut request: Request) -> Page {
    let form = request.form().await?;
    let id = request.id::<PasskeyId>()?;
    match passkeys::rename(&request.app, request.entered()?, id, form.text("name")).await {
        Ok(()) => Err(Stop::To(String::from("/profile?done=saved-passkey"))),
        Err(AppError::Invalid(faults)) => {
            let wrong = Wrong { wrong: first(&faults, "name"), ..Wrong::default() };
            show_page(&request, StatusCode::UNPROCESSABLE_ENTITY, wrong).await
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /profile/passkeys/{id}/remove`
///
/// # Errors
/// 404 if it is none of the own ones.
pub async fn remove(mut request: Request) -> Page {
    let form = request.form().await?;
    let id = request.id::<PasskeyId>()?;
    match request.confirm(&form).await {
        Ok(()) => {
            passkeys::remove(&request.app, request.entered()?, id).await?;
            Err(Stop::To(String::from("/profile?done=no-passkey")))
        }
        Err(Stop::App(AppError::NotConfirmed | AppError::WrongCredentials)) => {
            let wrong = Wrong { fault: Some(NOT_CONFIRMED), ..Wrong::default() };
            show_page(&request, StatusCode::FORBIDDEN, wrong).await
        }
        Err(other) => Err(other),
    }
}
