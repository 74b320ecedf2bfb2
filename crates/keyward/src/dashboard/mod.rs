//! The dashboard: pages for members, rendered here, that work before any script runs.
//!
//! Every page enters through [`answer`]: session, role, and for changes that the request came from
//! one of our own pages. What one may do with a key or a member is decided in `app` once more.

pub mod assets;
mod chart;
mod cookie;
mod error;
mod form;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod origin;
mod show;

pub mod alerts;
pub mod keys;
pub mod login;
pub mod overview;
pub mod passkeys;
pub mod profile;
pub mod requests;
pub mod team;
pub mod trail;
pub mod webhooks;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE,
    USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body_util::Full;
use hyper::body::Incoming;
use keyward_core::permission::Permission;
use keyward_core::role::Role;
use keyward_core::secret::holds_a_key;
use keyward_core::time::UnixMillis;
use keyward_tower::ApiError;

use crate::app::actor::Person;
use crate::app::bodies::Sender;
use crate::app::sessions::{self, Entered, Visitor};
use crate::app::{Actor, App, AppError, spellings};

pub use error::no_such_page;
use form::Form;
use origin::Site;

/// What a handler gives: a page, whatever it tells.
pub type Page = Result<Response<Full<Bytes>>, Stop>;
/// A handler of a page on its way.
pub type Paging = Pin<Box<dyn Future<Output = Page> + Send>>;

/// Who may enter a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Anyone,
    /// Members with one of these roles.
    Members(&'static [Role]),
}

/// When a page asks for the password once more, or for a code of the second factor, unless one of them
/// was given within the last ten minutes. A page that asks says so here, or it cannot ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    Never,
    /// Where it is about a key or a webhook of production.
    Production,
    Always,
}

/// Every role.
pub const EVERYBODY: Entry =
    Entry::Members(&[Role::Owner, Role::Admin, Role::Developer, Role::Billing]);
/// Those who work with keys.
pub const WORKERS: Entry = Entry::Members(&[Role::Owner, Role::Admin, Role::Developer]);
/// Those who run the account.
pub const CHARGE: Entry = Entry::Members(&[Role::Owner, Role::Admin]);

/// What ends a handler early.
#[derive(Debug)]
pub enum Stop {
    /// Something was not done; the page says what.
    App(AppError),
    /// Elsewhere goes on.
    To(String),
    /// The request is none that a page of ours sends.
    Bad(StatusCode, &'static str),
}

impl From<AppError> for Stop {
    fn from(error: AppError) -> Self {
        Self::App(error)
    }
}

impl From<keyward_store::StoreError> for Stop {
    fn from(error: keyward_store::StoreError) -> Self {
        Self::App(error.into())
    }
}

impl From<askama::Error> for Stop {
    fn from(error: askama::Error) -> Self {
        Self::App(AppError::internal(error))
    }
}

/// A request to a page, with everything that a handler needs.
pub struct Request {
    pub app: Arc<App>,
    pub at: UnixMillis,
    pub parts: request::Parts,
    body: Option<Incoming>,
    /// What stands in the path for the parameter.
    pub parameter: Option<String>,
    entered: Option<Entered>,
    site: Site,
    pub visitor: Visitor,
    routes: &'static [ApiRoute],
    confirms: Confirms,
}

/// A route of the API, as pages tell of it.
#[derive(Clone, Copy, Debug)]
pub struct ApiRoute {
    pub method: &'static str,
    pub pattern: &'static str,
    pub permission: Option<Permission>,
}

/// What the server hands over for a page.
pub struct Arrival {
    pub app: Arc<App>,
    pub at: UnixMillis,
    pub parts: request::Parts,
    pub body: Incoming,
    pub parameter: Option<String>,
    pub routes: &'static [ApiRoute],
    pub client: IpAddr,
    /// A trusted proxy says that the browser came by HTTPS.
    pub is_https: bool,
}

/// Lets a request in and answers it.
///
/// # Errors
/// Faults of the store and of ourselves, for those who are no browsers: a page tells everything else.
pub async fn answer(
    arrival: Arrival,
    entry: Entry,
    confirms: Confirms,
    handler: fn(Request) -> Paging,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let Arrival { app, at, parts, body, parameter, routes, client, is_https } = arrival;
    let site = Site::of(&parts, app.public_url.as_deref(), is_https, client);
    let agent = parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let agent = String::from_utf8_lossy(agent).into_owned();
    let visitor = Visitor { address: client, agent };
    let mut request = Request {
        app,
        at,
        parts,
        body: Some(body),
        parameter,
        entered: None,
        site,
        visitor,
        routes,
        confirms,
    };
    let site = request.site.clone();
    let page = match request.enter(entry).await {
        Ok(()) => {
            let shell = request.entered.clone();
            handler(request).await.map_err(|stop| (stop, shell))
        }
        Err(stop) => Err((stop, request.entered)),
    };
    let mut response = match page {
        Ok(response) => response,
        Err((Stop::To(place), _)) => redirect(&place)?,
        Err((stop, shell)) => error::page(stop, shell.as_ref(), &site)?,
    };
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(site.referrer_policy()));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// No inline script or style, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

fn redirect(place: &str) -> Result<Response<Full<Bytes>>, AppError> {
    let place = HeaderValue::from_str(place).map_err(AppError::internal)?;
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// An HTML page.
fn html(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Elsewhere goes on, with a cookie set or taken back.
fn redirect_with_cookie(place: &str, cookie: &str) -> Page {
    let mut response = redirect(place)?;
    let cookie = HeaderValue::from_str(cookie).map_err(AppError::internal)?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

impl Request {
    async fn enter(&mut self, entry: Entry) -> Result<(), Stop> {
        let is_change = self.parts.method != Method::GET && self.parts.method != Method::HEAD;
        if is_change && !self.site.is_own(&self.parts.headers) {
            let why = "This form was not sent from a page of this server. Go back, load the page \
                       again and try once more.";
            return Err(Stop::Bad(StatusCode::FORBIDDEN, why));
        }
        if let Some(token) = cookie::session(&self.parts.headers, &self.site) {
            self.entered = sessions::enter(&self.app, token, self.visitor.address).await?;
        }
        let Entry::Members(roles) = entry else { return Ok(()) };
        let Some(entered) = &self.entered else {
            if is_change {
                return Err(Stop::To(String::from("/login?done=expired")));
            }
            let place = self.parts.uri.path_and_query().map_or("/", |place| place.as_str());
            if spellings(place).any(|place| holds_a_key(&place)) {
                // It stays in the address that was asked for, and goes into no other.
                return Err(Stop::To(String::from("/login")));
            }
            let next = form_urlencoded::byte_serialize(place.as_bytes()).collect::<String>();
            return Err(Stop::To(format!("/login?next={next}")));
        };
        if roles.contains(&entered.user.role) {
            Ok(())
        } else {
            Err(Stop::App(AppError::NotAllowed))
        }
    }

    /// Whose session it is. Only for pages that ask for one.
    fn entered(&self) -> Result<&Entered, Stop> {
        self.entered.as_ref().ok_or_else(|| Stop::To(String::from("/login")))
    }

    fn person(&self) -> Result<Person, Stop> {
        Ok(self.entered()?.person)
    }

    fn actor(&self) -> Result<Actor, Stop> {
        Ok(self.entered()?.actor())
    }

    /// The identifier in the path; one that is none names nothing.
    fn id<T: std::str::FromStr>(&self) -> Result<T, Stop> {
        let id = self.parameter.as_deref().unwrap_or_default();
        id.parse().map_err(|_| Stop::Bad(StatusCode::NOT_FOUND, "There is no such page."))
    }

    /// A value of the query.
    fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let value = pairs.find(|(key, _)| key == name)?.1;
        let value: String = value.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        (!value.is_empty()).then_some(value)
    }

    async fn form(&mut self) -> Result<Form, Stop> {
        let body = self.body.take().ok_or(Stop::Bad(StatusCode::BAD_REQUEST, "No form came."))?;
        let share = self.app.bodies.share(Sender::at(self.visitor.address));
        let form = Form::read(&self.parts.headers, body, share).await?;
        // It may have been held back for as long as forms are waited for: a session that ended meanwhile, or
        // the password of before, does nothing any more.
        if self.entered.is_some() {
            let token = cookie::session(&self.parts.headers, &self.site).unwrap_or_default();
            self.entered = sessions::enter(&self.app, token, self.visitor.address).await?;
            if self.entered.is_none() {
                return Err(Stop::To(String::from("/login?done=expired")));
            }
        }
        Ok(form)
    }

    /// Takes the password or code that a form brought, if what it asks for needs one.
    async fn confirm(&self, form: &Form) -> Result<(), Stop> {
        let entered = self.entered()?;
        if self.confirms == Confirms::Never {
            let why = "a page asks for a confirmation of which its row says nothing";
            return Err(AppError::internal(why).into());
        }
        if entered.is_confirmed(self.at) {
            return Ok(());
        }
        let secret = form.secret("confirmation");
        if secret.is_empty() {
            return Err(AppError::NotConfirmed.into());
        }
        Ok(sessions::confirm(&self.app, entered, secret).await?)
    }
}
