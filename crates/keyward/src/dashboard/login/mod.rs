//! Getting in: setup, sign-in, second factor, forgotten passwords, invitations; and out.

use askama::Template;
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use keyward_core::role::Role;
use keyward_core::secret::holds_a_key;
use keyward_store::sessions::LinkKind;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::error::{sentence, wait};
use super::layout::Shell;
use super::passkeys::{self, Asked};
use super::{Page, Request, Stop, cookie, html, redirect_with_cookie, show};
use crate::app::accounts::{self, Setup};
use crate::app::{AppError, Faults, people, sessions, spellings};
use crate::mail::{Link, password_reset};

/// `GET /`: where somebody goes on.
///
/// # Errors
/// Always: elsewhere goes on.
pub async fn root(request: Request) -> Page {
    let place = if request.entered.is_some() {
        "/overview"
    } else if accounts::count(&request.app).await? == 0 {
        "/setup"
    } else {
        "/login"
    };
    Err(Stop::To(place.to_owned()))
}

#[derive(Template)]
#[template(path = "dashboard/login/login.html")]
struct LoginPage {
    shell: Shell,
    takes_passwords: bool,
    fault: Option<String>,
    next: String,
    email: String,
    /// What a passkey can be asked here.
    asked: Option<Asked>,
}

/// Only a place on this server: anything else would be a way to lead people elsewhere. And only what can
/// stand in a header: our own links write everything else with percent signs.
pub(super) fn own_place(next: &str) -> Option<&str> {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !next.starts_with("/login")
        && next.len() <= 500
        && !spellings(next).any(|next| holds_a_key(&next));
    is_own.then_some(next)
}

pub(super) fn login_page(
    request: &Request,
    status: StatusCode,
    fault: Option<String>,
    next: &str,
    email: &str,
) -> Page {
    let (asked, cookie) = passkeys::ask_sign_in(request)?.unzip();
    let page = LoginPage {
        shell: Shell::new(request, "Sign in", ""),
        takes_passwords: request.site.takes_passwords,
        fault,
        next: own_place(next).unwrap_or_default().to_owned(),
        email: show::typed(email),
        asked,
    };
    let mut response = html(status, page.render()?);
    if let Some(cookie) = cookie {
        let cookie = HeaderValue::from_str(&cookie).map_err(AppError::internal)?;
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /login`
///
/// # Errors
/// Elsewhere goes on for who is signed in.
pub async fn login(request: Request) -> Page {
    if request.entered.is_some() {
        return Err(Stop::To(String::from("/overview")));
    }
    let next = request.query("next").unwrap_or_default();
    login_page(&request, StatusCode::OK, None, &next, "")
}

/// `POST /login`
///
/// # Errors
/// If passwords are not taken here.
pub async fn sign_in(mut request: Request) -> Page {
    check_takes_passwords(&request)?;
    let form = request.form().await?;
    let (email, next) = (form.text("email").to_owned(), form.text("next").to_owned());
    let password = form.secret("password");
    let result = sessions::sign_in(&request.app, &email, password, &request.visitor).await;
    match result {
        Ok(signed_in) => {
            let place = own_place(&next).unwrap_or("/overview");
            let place = if signed_in.needs_code {
                let next = form_urlencoded::byte_serialize(place.as_bytes()).collect::<String>();
                format!("/login/code?next={next}")
            } else {
                place.to_owned()
            };
            redirect_with_cookie(&place, &cookie::set(&signed_in.token, &request.site))
        }
        Err(AppError::WrongCredentials) => {
            let fault = String::from("The e-mail address or the password is wrong.");
            login_page(&request, StatusCode::FORBIDDEN, Some(fault), &next, &email)
        }
        Err(AppError::TooManyAttempts(seconds)) => {
            let fault = format!("Too many wrong attempts. Try again in {}.", wait(seconds));
            let page =
                login_page(&request, StatusCode::TOO_MANY_REQUESTS, Some(fault), &next, &email);
            page.map(|mut response| {
                response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
                response
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn check_takes_passwords(request: &Request) -> Result<(), Stop> {
    if request.site.takes_passwords {
        return Ok(());
    }
    let why = "Passwords are not taken over plain HTTP from another machine. Use HTTPS.";
    Err(Stop::Bad(StatusCode::FORBIDDEN, why))
}

#[derive(Template)]
#[template(path = "dashboard/login/code.html")]
struct CodePage {
    shell: Shell,
    fault: Option<String>,
    next: String,
}

/// `GET /login/code`
///
/// # Errors
/// If the page cannot be made.
pub async fn code(request: Request) -> Page {
    let next = request.query("next").as_deref().and_then(own_place).unwrap_or_default().to_owned();
    let page = CodePage { shell: Shell::new(&request, "Second factor", ""), fault: None, next };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `POST /login/code`
///
/// # Errors
/// If no password was given before, or too long ago.
pub async fn take_code(mut request: Request) -> Page {
    let form = request.form().await?;
    let next = own_place(form.text("next")).unwrap_or_default().to_owned();
    let token = cookie::session(&request.parts.headers, &request.site).map(ToOwned::to_owned);
    let token = token.ok_or(Stop::To(String::from("/login?done=expired")))?;
    let code = form.secret("code");
    match sessions::take_code(&request.app, &token, code, &request.visitor).await {
        Ok(token) => {
            let place = own_place(&next).unwrap_or("/overview");
            redirect_with_cookie(place, &cookie::set(&token, &request.site))
        }
        Err(AppError::NotFound(_)) => Err(Stop::To(String::from("/login?done=expired"))),
        Err(error) => {
            let (status, fault) = match error {
                AppError::WrongCredentials => (
                    StatusCode::FORBIDDEN,
                    String::from("This code is wrong, or was used already."),
                ),
                AppError::TooManyAttempts(seconds) => {
                    let fault = format!("Too many wrong codes. Try again in {}.", wait(seconds));
                    (StatusCode::TOO_MANY_REQUESTS, fault)
                }
                other => return Err(other.into()),
            };
            let shell = Shell::new(&request, "Second factor", "");
            let page = CodePage { shell, fault: Some(fault), next };
            Ok(html(status, page.render()?))
        }
    }
}

/// `POST /logout`
///
/// # Errors
/// If the store cannot write.
pub async fn sign_out(request: Request) -> Page {
    if let Some(entered) = &request.entered {
        match sessions::sign_out(&request.app, entered).await {
            Ok(()) | Err(AppError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    redirect_with_cookie("/login?done=out", &cookie::clear(&request.site))
}

#[derive(Template)]
#[template(path = "dashboard/login/forgot.html")]
struct ForgotPage {
    shell: Shell,
    sends_mail: bool,
    is_sent: bool,
}

fn forgot_page(request: &Request, is_sent: bool) -> Page {
    let page = ForgotPage {
        shell: Shell::new(request, "Forgot password", ""),
        sends_mail: request.app.mailer.is_some() && request.app.public_url.is_some(),
        is_sent,
    };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `GET /forgot`
///
/// # Errors
/// If the page cannot be made.
pub async fn forgot(request: Request) -> Page {
    forgot_page(&request, false)
}

/// `POST /forgot`: the same answer for everybody; what is to be mailed goes out by itself, so that
/// the time tells nothing either.
///
/// # Errors
/// If it was asked too often.
pub async fn send_reset(mut request: Request) -> Page {
    let form = request.form().await?;
    // Not the address that the browser used: whoever asks for somebody else would choose where the link leads.
    let (Some(mailer), Some(base)) = (request.app.mailer.clone(), request.app.public_url.clone())
    else {
        return forgot_page(&request, false);
    };
    let app = request.app.clone();
    let (email, visitor) = (form.text("email").to_owned(), request.visitor.clone());
    people::check_may_ask(&request.app, &email, &visitor)?;
    let Ok(place) = SENDING.try_acquire() else {
        return Err(AppError::TooManyAttempts(60).into());
    };
    tokio::spawn(async move {
        let _place = place;
        // Nobody who asks may learn whether this worked: it is not told to anybody.
        let Ok(links) = people::forgot(&app, &email).await else { return };
        for linked in links {
            let Ok(account) = accounts::name_of(&app, linked.user.account).await else { continue };
            let url = format!("{base}/reset/{}", linked.token.reveal());
            let letter = password_reset(&account, Link { url: &url, ends_at: linked.ends_at });
            let _ = mailer.send(letter.to(&linked.user.email)).await;
        }
    });
    forgot_page(&request, true)
}

/// Bound: so many mails for forgotten passwords are on their way at once.
static SENDING: Semaphore = Semaphore::const_new(16);

#[derive(Template)]
#[template(path = "dashboard/login/link.html")]
struct LinkPage {
    shell: Shell,
    is_invitation: bool,
    account: String,
    role: Role,
    meaning: &'static str,
    email: String,
    action: String,
    wrong: Option<String>,
}

async fn link_page(
    request: &Request,
    kind: LinkKind,
    status: StatusCode,
    wrong: Option<String>,
) -> Page {
    let token = request.parameter.as_deref().unwrap_or_default();
    let (user, account) = people::find_by_link(&request.app, kind, token).await?;
    let is_invitation = kind == LinkKind::Invitation;
    let title = if is_invitation { "Join" } else { "Set a new password" };
    let mut shell = Shell::around(None, title, "");
    shell.warn_of_server(request);
    let page = LinkPage {
        shell,
        is_invitation,
        account,
        role: user.role,
        meaning: user.role.meaning(),
        email: user.email,
        action: request.parts.uri.path().to_owned(),
        wrong,
    };
    Ok(html(status, page.render()?))
}

async fn take_link(mut request: Request, kind: LinkKind) -> Page {
    check_takes_passwords(&request)?;
    let form = request.form().await?;
    let password = form.secret("password");
    let token = Zeroizing::new(request.parameter.clone().unwrap_or_default());
    match people::take_link(&request.app, kind, &token, password, &request.visitor).await {
        Ok(user) if kind == LinkKind::Invitation => {
            let token = sessions::begin(&request.app, user.id, &request.visitor, false).await?;
            redirect_with_cookie("/overview", &cookie::set(&token, &request.site))
        }
        Ok(_) => redirect_with_cookie("/login?done=reset", &cookie::clear(&request.site)),
        Err(AppError::Invalid(faults)) => {
            let wrong = first(&faults, "password");
            link_page(&request, kind, StatusCode::UNPROCESSABLE_ENTITY, wrong).await
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /invitations/{token}`
///
/// # Errors
/// 404 if the link no longer works.
pub async fn invitation(request: Request) -> Page {
    link_page(&request, LinkKind::Invitation, StatusCode::OK, None).await
}

/// `POST /invitations/{token}`: joins and signs in.
///
/// # Errors
/// 404 if the link no longer works.
pub async fn accept(request: Request) -> Page {
    take_link(request, LinkKind::Invitation).await
}

/// `GET /reset/{token}`
///
/// # Errors
/// 404 if the link no longer works.
pub async fn reset(request: Request) -> Page {
    link_page(&request, LinkKind::Reset, StatusCode::OK, None).await
}

/// `POST /reset/{token}`
///
/// # Errors
/// 404 if the link no longer works.
pub async fn take_reset(request: Request) -> Page {
    take_link(request, LinkKind::Reset).await
}

/// The first sentence about a field, fit to stand beside it.
pub(super) fn first(faults: &Faults, field: &str) -> Option<String> {
    let text = faults.get(field)?.first()?;
    Some(sentence(&format!("it {text}")))
}

#[derive(Default)]
struct Filled {
    account: String,
    owner_name: String,
    owner_email: String,
}

#[derive(Default)]
struct Wrong {
    account: Option<String>,
    owner_name: Option<String>,
    owner_email: Option<String>,
    password: Option<String>,
}

#[derive(Template)]
#[template(path = "dashboard/login/setup.html")]
struct SetupPage {
    shell: Shell,
    action: String,
    fault: Option<String>,
    filled: Filled,
    wrong: Wrong,
}

#[derive(Template)]
#[template(path = "dashboard/login/no-setup.html")]
struct NoSetupPage {
    shell: Shell,
    is_made: bool,
}

/// `GET /setup`: how to get the link.
///
/// # Errors
/// If the store does not answer.
pub async fn no_setup(request: Request) -> Page {
    let is_made = accounts::count(&request.app).await? > 0;
    let page = NoSetupPage { shell: Shell::new(&request, "Setup", ""), is_made };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `GET /setup/{token}`
///
/// # Errors
/// Elsewhere goes on if the link does not work.
pub async fn setup(request: Request) -> Page {
    let token = request.parameter.as_deref().unwrap_or_default();
    if !accounts::is_setup_link(&request.app, token).await? {
        return Err(Stop::To(String::from("/setup")));
    }
    let page = SetupPage {
        shell: Shell::new(&request, "Setup", ""),
        action: request.parts.uri.path().to_owned(),
        fault: None,
        filled: Filled::default(),
        wrong: Wrong::default(),
    };
    Ok(html(StatusCode::OK, page.render()?))
}

/// `POST /setup/{token}`: makes the account, signs its owner in, goes on to the keys.
///
/// # Errors
/// Elsewhere goes on if the link does not work.
pub async fn set_up(mut request: Request) -> Page {
    check_takes_passwords(&request)?;
    let form = request.form().await?;
    let token = request.parameter.clone().unwrap_or_default();
    let filled = Filled {
        account: form.text("account").to_owned(),
        owner_name: form.text("owner_name").to_owned(),
        owner_email: form.text("owner_email").to_owned(),
    };
    let setup = Setup {
        account: filled.account.clone(),
        owner_name: filled.owner_name.clone(),
        owner_email: filled.owner_email.clone(),
        password: form.secret("password"),
    };
    match accounts::set_up(&request.app, setup, Some(&token)).await {
        Ok((_, owner)) => {
            let token = sessions::begin(&request.app, owner.id, &request.visitor, false).await?;
            redirect_with_cookie("/keys", &cookie::set(&token, &request.site))
        }
        Err(AppError::NotFound(_) | AppError::Forbidden(_)) => {
            Err(Stop::To(String::from("/setup")))
        }
        Err(AppError::Invalid(faults)) => {
            let page = SetupPage {
                shell: Shell::new(&request, "Setup", ""),
                action: request.parts.uri.path().to_owned(),
                fault: None,
                filled: Filled {
                    account: show::typed(&filled.account),
                    owner_name: show::typed(&filled.owner_name),
                    owner_email: show::typed(&filled.owner_email),
                },
                wrong: Wrong {
                    account: first(&faults, "account"),
                    owner_name: first(&faults, "owner_name"),
                    owner_email: first(&faults, "owner_email"),
                    password: first(&faults, "password"),
                },
            };
            Ok(html(StatusCode::UNPROCESSABLE_ENTITY, page.render()?))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere_after_signing_in() {
        for own in ["/keys", "/keys?page=2", "/requests/req_1"] {
            assert_eq!(own_place(own), Some(own));
        }
        for other in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "keys",
            "/\t/x",
            "/login",
            "/k\u{e9}ys",
            "/keys ",
            "/\u{7f}",
        ] {
            assert_eq!(own_place(other), None, "{other}");
        }
    }
}
