//! My account: name, password, second factor, passkeys, sessions.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fast_qr::QRBuilder;
use fast_qr::convert::Builder as _;
use fast_qr::convert::svg::SvgBuilder;
use http::StatusCode;
use keyward_core::id::SessionId;
use zeroize::Zeroizing;

use super::layout::Shell;
use super::login::first;
use super::{Page, Request, Stop, html, passkeys, redirect_with_cookie, show};
use crate::app::factors::{self, Offer};
use crate::app::{AppError, people, sessions};

struct Device {
    id: SessionId,
    name: String,
    address: String,
    seen: String,
    began: String,
    is_this: bool,
}

#[derive(Default)]
struct Wrong {
    name: Option<String>,
    current: Option<String>,
    new: Option<String>,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/profile/profile.html")]
struct ProfilePage {
    shell: Shell,
    name: String,
    email: String,
    role: &'static str,
    meaning: &'static str,
    has_factor: bool,
    codes_left: u64,
    asks: bool,
    devices: Vec<Device>,
    passkeys: Option<passkeys::Section>,
    wrong: Wrong,
}

async fn profile_page(request: &Request, wrong: Wrong, status: StatusCode) -> Page {
    let entered = request.entered()?;
    let devices = sessions::list(&request.app, entered.person).await?;
    let device = |session: keyward_store::sessions::Session| Device {
        id: session.id,
        name: show::device(&session.agent),
        seen: show::ago(session.seen_at, request.at),
        began: show::time(session.created_at),
        is_this: session.id == entered.session.id,
        address: session.address,
    };
    let page = ProfilePage {
        shell: Shell::new(request, "My account", "/profile"),
        name: entered.user.name.clone(),
        email: entered.user.email.clone(),
        role: entered.user.role.as_str(),
        meaning: entered.user.role.meaning(),
        has_factor: entered.user.totp.is_some(),
        codes_left: factors::codes_left(&request.app, entered).await?,
        asks: !entered.is_confirmed(request.at),
        devices: devices.into_iter().map(device).collect(),
        passkeys: passkeys::section(request).await?,
        wrong,
    };
    Ok(html(status, page.render()?))
}

/// `GET /profile`
///
/// # Errors
/// If the store does not answer.
pub async fn show(request: Request) -> Page {
    profile_page(&request, Wrong::default(), StatusCode::OK).await
}

/// `POST /profile/name`
///
/// # Errors
/// If the store cannot write.
pub async fn rename(mut request: Request) -> Page {
    let form = request.form().await?;
    match people::rename(&request.app, request.entered()?, form.text("name")).await {
        Ok(()) => Err(Stop::To(String::from("/profile?done=renamed"))),
        Err(AppError::Invalid(faults)) => {
            let wrong = Wrong { name: first(&faults, "name"), ..Wrong::default() };
            profile_page(&request, wrong, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /profile/password`: the session goes on with a new token, all others end.
///
/// # Errors
/// If the store cannot write.
pub async fn change_password(mut request: Request) -> Page {
    let form = request.form().await?;
    let (current, new) = (form.secret("current_password"), form.secret("new_password"));
    match people::change_password(&request.app, request.entered()?, current, new).await {
        Ok(()) => {
            let entered = request.entered()?;
            let token = sessions::begin(&request.app, entered.user.id, &request.visitor, false);
            let token = token.await?;
            sessions::sign_out(&request.app, entered).await?;
            let cookie = super::cookie::set(&token, &request.site);
            redirect_with_cookie("/profile?done=password", &cookie)
        }
        Err(AppError::WrongCredentials) => {
            let current = Some(String::from("This is not your current password."));
            let wrong = Wrong { current, ..Wrong::default() };
            profile_page(&request, wrong, StatusCode::FORBIDDEN).await
        }
        Err(AppError::Invalid(faults)) => {
            let wrong = Wrong { new: first(&faults, "new_password"), ..Wrong::default() };
            profile_page(&request, wrong, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the password or a code; what is wrong with it is told on the page.
async fn confirmed(request: &mut Request) -> Result<Result<super::Form, Wrong>, Stop> {
    let form = request.form().await?;
    match request.confirm(&form).await {
        Ok(()) => Ok(Ok(form)),
        Err(Stop::App(AppError::NotConfirmed | AppError::WrongCredentials)) => {
            let fault = "The password or code was missing or wrong. Nothing was changed.";
            Ok(Err(Wrong { fault: Some(fault.to_owned()), ..Wrong::default() }))
        }
        Err(other) => Err(other),
    }
}

#[derive(Template)]
#[template(path = "dashboard/profile/factor.html")]
struct FactorPage {
    shell: Shell,
    qr: String,
    secret: Zeroizing<String>,
    sealed: String,
    wrong: Option<String>,
}

fn factor_page(request: &Request, offer: &Offer, wrong: Option<String>) -> Page {
    let qr = QRBuilder::new(offer.url.as_bytes())
        .build()
        .map_err(|error| AppError::internal(format!("{error:?}")))?;
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = FactorPage {
        shell: Shell::new(request, "Second factor", "/profile"),
        qr: SvgBuilder::default().margin(2).to_str(&qr),
        secret: offer.secret.clone(),
        sealed: URL_SAFE_NO_PAD.encode(&offer.sealed),
        wrong,
    };
    Ok(html(status, page.render()?))
}

/// `POST /profile/second-factor`: offers a secret for an authenticator app.
///
/// # Errors
/// If the key file cannot be used.
pub async fn offer_factor(mut request: Request) -> Page {
    if let Err(wrong) = confirmed(&mut request).await? {
        return profile_page(&request, wrong, StatusCode::FORBIDDEN).await;
    }
    let offer = factors::offer(&request.app, &request.entered()?.user)?;
    factor_page(&request, &offer, None)
}

#[derive(Template)]
#[template(path = "dashboard/profile/codes.html")]
struct CodesPage {
    shell: Shell,
    codes: Vec<Zeroizing<String>>,
}

fn codes_page(request: &Request, codes: Vec<Zeroizing<String>>) -> Page {
    let shell = Shell::new(request, "Recovery codes", "/profile");
    Ok(html(StatusCode::CREATED, CodesPage { shell, codes }.render()?))
}

/// `POST /profile/second-factor/on`
///
/// # Errors
/// If the key file cannot be used, or the store cannot write.
pub async fn switch_on(mut request: Request) -> Page {
    let form = request.form().await?;
    let sealed = URL_SAFE_NO_PAD.decode(form.text("sealed").as_bytes());
    let sealed = sealed.map_err(|_| AppError::invalid("form", "is none of this page"))?;
    let entered = request.entered()?;
    // Whoever does not come from the page before did not confirm either.
    let offer = factors::reopen(&request.app, &entered.user, &sealed)
        .map_err(|_| AppError::invalid("form", "is none of this page"))?;
    match factors::switch_on(&request.app, entered, &sealed, form.text("code")).await {
        Ok(codes) => codes_page(&request, codes),
        Err(AppError::Invalid(faults)) => factor_page(&request, &offer, first(&faults, "code")),
        Err(error) => Err(error.into()),
    }
}

/// `POST /profile/second-factor/off`
///
/// # Errors
/// If the store cannot write.
pub async fn switch_off(mut request: Request) -> Page {
    if let Err(wrong) = confirmed(&mut request).await? {
        return profile_page(&request, wrong, StatusCode::FORBIDDEN).await;
    }
    factors::switch_off(&request.app, request.entered()?).await?;
    Err(Stop::To(String::from("/profile?done=factor-off")))
}

/// `POST /profile/second-factor/codes`: new recovery codes; the old ones work no more.
///
/// # Errors
/// If the store cannot write.
pub async fn renew_codes(mut request: Request) -> Page {
    if let Err(wrong) = confirmed(&mut request).await? {
        return profile_page(&request, wrong, StatusCode::FORBIDDEN).await;
    }
    let codes = factors::renew_codes(&request.app, request.entered()?).await?;
    codes_page(&request, codes)
}

/// `POST /profile/sessions/{id}/end`
///
/// # Errors
/// 404 if it is none of the own ones.
pub async fn end_session(request: Request) -> Page {
    let id = request.id::<SessionId>()?;
    sessions::end(&request.app, request.entered()?, id).await?;
    Err(Stop::To(String::from("/profile?done=ended")))
}

/// `POST /profile/sessions/end-others`
///
/// # Errors
/// If the store cannot write.
pub async fn end_others(request: Request) -> Page {
    sessions::end_others(&request.app, request.entered()?).await?;
    Err(Stop::To(String::from("/profile?done=ended")))
}
