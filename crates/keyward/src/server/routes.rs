//! The table of routes. A route that is not here does not exist.
//!
//! It says for each route what it asks for: nothing; a key, with which permission, and which pool it
//! spends; a member, in which role, and whether the password or a code is asked for again. What every kind
//! of caller is answered is compared with it by `tests/api/who.rs`, and `docs/who-may-do-what.md` is it for
//! people. Looked up once for each request, before the limit; what was found travels with the request.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use http::Method;
use keyward_core::account::RateClass;
use keyward_core::permission::Permission;
use keyward_tower::{Access, Routes};

use super::{open, pages};
#[cfg(feature = "passkeys")]
use crate::dashboard::passkeys;
use crate::dashboard::{
    self, ApiRoute, CHARGE, Confirms, EVERYBODY, Entry, Paging, WORKERS, alerts, assets, keys,
    login, overview, profile, requests, team, trail, webhooks,
};
use crate::observe::meter::Area;
use crate::v3::change::Change;
use crate::v3::{self, Answer};

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What answers a request.
#[derive(Clone, Copy)]
pub enum Handler {
    /// For everybody.
    Open(fn(open::Request) -> Answering),
    /// For whoever passed the door.
    V3(fn(v3::Request) -> Answering),
    /// The same for what may change something.
    Change(fn(Change) -> Answering),
    /// A page of the dashboard, for whom it says.
    Page(Entry, fn(dashboard::Request) -> Paging),
}

/// One method of one path.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub method: &'static str,
    pub pattern: &'static str,
    pub access: Access,
    pub permission: Option<Permission>,
    /// For telling requests apart in `/metrics`.
    pub area: Area,
    pub confirms: Confirms,
    pub handler: Handler,
}

impl Endpoint {
    const fn asks(mut self, permission: Permission) -> Self {
        self.permission = Some(permission);
        self
    }

    /// Spends the pool of sensitive operations. Contract 5.
    const fn sensitive(mut self) -> Self {
        self.access = Access::Guarded { class: RateClass::Sensitive, is_account_exempt: false };
        self
    }

    /// Spends the pool of webhook tests. Contract 5.
    const fn webhook_test(mut self) -> Self {
        self.access = Access::Guarded { class: RateClass::WebhookTest, is_account_exempt: false };
        self
    }

    /// Asks members for the password or a code once more.
    const fn confirms(mut self, confirms: Confirms) -> Self {
        self.confirms = confirms;
        self
    }

    /// Answered for an account that may not be used, too. Contract 2.
    const fn exempt_from_account_state(mut self) -> Self {
        if let Access::Guarded { class, .. } = self.access {
            self.access = Access::Guarded { class, is_account_exempt: true };
        }
        self
    }
}

macro_rules! handler {
    (Open, $path:path) => {
        Handler::Open(|request| Box::pin($path(request)))
    };
    (V3, $path:path) => {
        Handler::V3(|request| Box::pin($path(request)))
    };
    (Change, $path:path) => {
        Handler::Change(|change| Box::pin($path(change)))
    };
}

macro_rules! open_get {
    ($pattern:literal, $path:path) => {
        Endpoint {
            method: "GET",
            pattern: $pattern,
            access: Access::Open,
            permission: None,
            area: Area::of($pattern),
            confirms: Confirms::Never,
            handler: handler!(Open, $path),
        }
    };
}

macro_rules! v3 {
    ("GET" $pattern:literal, $path:path) => {
        v3!(V3 "GET" $pattern, $path)
    };
    ($method:literal $pattern:literal, $path:path) => {
        v3!(Change $method $pattern, $path)
    };
    ($kind:ident $method:literal $pattern:literal, $path:path) => {
        Endpoint {
            method: $method,
            pattern: $pattern,
            access: Access::Guarded { class: RateClass::Standard, is_account_exempt: false },
            permission: None,
            area: Area::of($pattern),
            confirms: Confirms::Never,
            handler: handler!($kind, $path),
        }
    };
}

macro_rules! page {
    ($method:literal $pattern:literal, $entry:expr, $path:path) => {
        Endpoint {
            method: $method,
            pattern: $pattern,
            access: Access::Open,
            permission: None,
            area: Area::of($pattern),
            confirms: Confirms::Never,
            handler: Handler::Page($entry, |request| Box::pin($path(request))),
        }
    };
}

/// All routes. `GET` answers `HEAD` as well.
pub const ENDPOINTS: &[Endpoint] = &[
    open_get!("/healthcheck", open::healthcheck),
    open_get!("/health/live", open::live),
    open_get!("/health/ready", open::ready),
    open_get!("/errors", open::errors),
    open_get!("/errors/{code}", open::error_page),
    open_get!("/docs", pages::start),
    open_get!("/docs/authentication", pages::authentication),
    open_get!("/docs/rate-limits", pages::rate_limits),
    open_get!("/docs/errors", pages::errors),
    open_get!("/docs/reference", pages::reference),
    open_get!("/docs/reference/{name}", pages::reference_group),
    open_get!("/docs/try.js", pages::try_script),
    open_get!("/openapi.json", pages::description),
    page!("GET" "/", Entry::Anyone, login::root),
    page!("GET" "/assets/{name}", Entry::Anyone, assets::file),
    page!("GET" "/favicon.ico", Entry::Anyone, assets::icon),
    page!("GET" "/setup", Entry::Anyone, login::no_setup),
    page!("GET" "/setup/{token}", Entry::Anyone, login::setup),
    page!("POST" "/setup/{token}", Entry::Anyone, login::set_up),
    page!("GET" "/login", Entry::Anyone, login::login),
    page!("POST" "/login", Entry::Anyone, login::sign_in),
    page!("GET" "/login/code", Entry::Anyone, login::code),
    page!("POST" "/login/code", Entry::Anyone, login::take_code),
    #[cfg(feature = "passkeys")]
    page!("POST" "/login/passkey", Entry::Anyone, passkeys::sign_in),
    page!("POST" "/logout", Entry::Anyone, login::sign_out),
    page!("GET" "/forgot", Entry::Anyone, login::forgot),
    page!("POST" "/forgot", Entry::Anyone, login::send_reset),
    page!("GET" "/reset/{token}", Entry::Anyone, login::reset),
    page!("POST" "/reset/{token}", Entry::Anyone, login::take_reset),
    page!("GET" "/invitations/{token}", Entry::Anyone, login::invitation),
    page!("POST" "/invitations/{token}", Entry::Anyone, login::accept),
    page!("GET" "/overview", EVERYBODY, overview::show),
    page!("GET" "/keys", EVERYBODY, keys::list),
    page!("POST" "/keys", WORKERS, keys::issue).confirms(Confirms::Production),
    page!("GET" "/keys/new", WORKERS, keys::new),
    page!("GET" "/keys/{id}", EVERYBODY, keys::show),
    page!("GET" "/keys/{id}/edit", WORKERS, keys::edit),
    page!("POST" "/keys/{id}/edit", WORKERS, keys::change).confirms(Confirms::Production),
    page!("GET" "/keys/{id}/rotate", WORKERS, keys::ask_rotate),
    page!("POST" "/keys/{id}/rotate", WORKERS, keys::rotate).confirms(Confirms::Production),
    page!("POST" "/keys/{id}/disable", WORKERS, keys::disable),
    page!("POST" "/keys/{id}/enable", WORKERS, keys::enable),
    page!("GET" "/keys/{id}/revoke", WORKERS, keys::ask_revoke),
    page!("POST" "/keys/{id}/revoke", WORKERS, keys::revoke).confirms(Confirms::Production),
    page!("POST" "/keys/{id}/share", CHARGE, keys::share),
    page!("POST" "/keys/{id}/unshare", CHARGE, keys::unshare),
    page!("GET" "/webhooks", WORKERS, webhooks::list),
    page!("POST" "/webhooks", WORKERS, webhooks::create),
    page!("GET" "/webhooks/new", WORKERS, webhooks::new),
    page!("GET" "/webhooks/{id}", WORKERS, webhooks::show),
    page!("GET" "/webhooks/{id}/edit", WORKERS, webhooks::edit),
    page!("POST" "/webhooks/{id}/edit", WORKERS, webhooks::change),
    page!("GET" "/webhooks/{id}/rotate", WORKERS, webhooks::ask_rotate),
    page!("POST" "/webhooks/{id}/rotate", WORKERS, webhooks::rotate).confirms(Confirms::Production),
    page!("GET" "/webhooks/{id}/delete", WORKERS, webhooks::ask_delete),
    page!("POST" "/webhooks/{id}/delete", WORKERS, webhooks::delete).confirms(Confirms::Production),
    page!("POST" "/webhooks/{id}/on", WORKERS, webhooks::switch_on),
    page!("POST" "/webhooks/{id}/off", WORKERS, webhooks::switch_off),
    page!("POST" "/webhooks/{id}/test", WORKERS, webhooks::test),
    page!("POST" "/webhooks/{id}/again", WORKERS, webhooks::send_again),
    page!("GET" "/requests", WORKERS, requests::list),
    page!("GET" "/requests/{id}", WORKERS, requests::show),
    page!("GET" "/alerts", WORKERS, alerts::list),
    page!("POST" "/alerts/rules", CHARGE, alerts::save_rules),
    page!("POST" "/alerts/{id}/snooze", CHARGE, alerts::snooze),
    page!("POST" "/alerts/{id}/dismiss", CHARGE, alerts::dismiss),
    page!("GET" "/audit", CHARGE, trail::audit),
    page!("GET" "/audit/export.csv", CHARGE, trail::export_csv),
    page!("GET" "/audit/export.json", CHARGE, trail::export_json),
    page!("GET" "/team", EVERYBODY, team::list),
    page!("POST" "/team", CHARGE, team::invite),
    page!("GET" "/team/{id}", CHARGE, team::member),
    page!("POST" "/team/{id}/role", CHARGE, team::change_role),
    page!("POST" "/team/{id}/suspend", CHARGE, team::suspend),
    page!("POST" "/team/{id}/resume", CHARGE, team::resume),
    page!("POST" "/team/{id}/remove", CHARGE, team::remove),
    page!("POST" "/team/{id}/invite", CHARGE, team::invite_again),
    page!("POST" "/team/{id}/reset", CHARGE, team::reset_link).confirms(Confirms::Always),
    page!("GET" "/profile", EVERYBODY, profile::show),
    page!("POST" "/profile/name", EVERYBODY, profile::rename),
    page!("POST" "/profile/password", EVERYBODY, profile::change_password)
        .confirms(Confirms::Always),
    page!("POST" "/profile/second-factor", EVERYBODY, profile::offer_factor)
        .confirms(Confirms::Always),
    page!("POST" "/profile/second-factor/on", EVERYBODY, profile::switch_on),
    page!("POST" "/profile/second-factor/off", EVERYBODY, profile::switch_off)
        .confirms(Confirms::Always),
    page!("POST" "/profile/second-factor/codes", EVERYBODY, profile::renew_codes)
        .confirms(Confirms::Always),
    #[cfg(feature = "passkeys")]
    page!("GET" "/profile/passkeys/new", EVERYBODY, passkeys::ask),
    #[cfg(feature = "passkeys")]
    page!("POST" "/profile/passkeys/new", EVERYBODY, passkeys::begin).confirms(Confirms::Always),
    #[cfg(feature = "passkeys")]
    page!("POST" "/profile/passkeys", EVERYBODY, passkeys::add),
    #[cfg(feature = "passkeys")]
    page!("GET" "/profile/passkeys/{id}", EVERYBODY, passkeys::show),
    #[cfg(feature = "passkeys")]
    page!("POST" "/profile/passkeys/{id}/name", EVERYBODY, passkeys::rename),
    #[cfg(feature = "passkeys")]
    page!("POST" "/profile/passkeys/{id}/remove", EVERYBODY, passkeys::remove)
        .confirms(Confirms::Always),
    page!("POST" "/profile/sessions/{id}/end", EVERYBODY, profile::end_session),
    page!("POST" "/profile/sessions/end-others", EVERYBODY, profile::end_others),
    v3!("GET" "/v3/me", v3::me::show).exempt_from_account_state(),
    v3!("GET" "/v3/contacts", v3::contacts::list).asks(Permission::ContactsRead),
    v3!("POST" "/v3/contacts", v3::contacts::create).asks(Permission::ContactsWrite),
    v3!("GET" "/v3/contacts/{id}", v3::contacts::show).asks(Permission::ContactsRead),
    v3!("PATCH" "/v3/contacts/{id}", v3::contacts::update).asks(Permission::ContactsWrite),
    v3!("DELETE" "/v3/contacts/{id}", v3::contacts::remove).asks(Permission::ContactsWrite),
    v3!("GET" "/v3/contacts/{id}/message-summary", v3::contacts::message_summary)
        .asks(Permission::ContactsRead),
    v3!("GET" "/v3/users", v3::users::list).asks(Permission::UsersRead),
    v3!("POST" "/v3/users", v3::users::invite).asks(Permission::UsersWrite).sensitive(),
    v3!("GET" "/v3/users/{id}", v3::users::show).asks(Permission::UsersRead),
    v3!("PATCH" "/v3/users/{id}", v3::users::update).asks(Permission::UsersWrite),
    v3!("DELETE" "/v3/users/{id}", v3::users::remove).asks(Permission::UsersWrite),
    v3!("GET" "/v3/webhooks", v3::webhooks::list).asks(Permission::WebhooksRead),
    v3!("POST" "/v3/webhooks", v3::webhooks::create).asks(Permission::WebhooksWrite),
    v3!("GET" "/v3/webhooks/event-types", v3::webhooks::event_types).asks(Permission::WebhooksRead),
    v3!("GET" "/v3/webhooks/{id}", v3::webhooks::show).asks(Permission::WebhooksRead),
    v3!("PUT" "/v3/webhooks/{id}", v3::webhooks::update).asks(Permission::WebhooksWrite),
    v3!("DELETE" "/v3/webhooks/{id}", v3::webhooks::remove).asks(Permission::WebhooksWrite),
    v3!("GET" "/v3/webhooks/{id}/events", v3::webhooks::events).asks(Permission::WebhooksRead),
    v3!("PATCH" "/v3/webhooks/{id}/toggle-status", v3::webhooks::toggle)
        .asks(Permission::WebhooksWrite),
    v3!("POST" "/v3/webhooks/{id}/rotate-secret", v3::webhooks::rotate_secret)
        .asks(Permission::WebhooksRotateSecret)
        .sensitive(),
    v3!("POST" "/v3/webhooks/{id}/test", v3::webhooks::test)
        .asks(Permission::WebhooksWrite)
        .webhook_test(),
    v3!("GET" "/v3/api-keys", v3::api_keys::list).asks(Permission::ApiKeysRead),
    v3!("POST" "/v3/api-keys", v3::api_keys::create).asks(Permission::ApiKeysWrite),
    v3!("DELETE" "/v3/api-keys/self", v3::api_keys::remove_self).exempt_from_account_state(),
    v3!("GET" "/v3/api-keys/{id}", v3::api_keys::show).asks(Permission::ApiKeysRead),
    v3!("PATCH" "/v3/api-keys/{id}", v3::api_keys::update).asks(Permission::ApiKeysWrite),
    v3!("DELETE" "/v3/api-keys/{id}", v3::api_keys::remove).asks(Permission::ApiKeysWrite),
    v3!("POST" "/v3/api-keys/{id}/rotate", v3::api_keys::rotate)
        .asks(Permission::ApiKeysWrite)
        .sensitive(),
    v3!("POST" "/v3/api-keys/{id}/disable", v3::api_keys::disable).asks(Permission::ApiKeysWrite),
    v3!("POST" "/v3/api-keys/{id}/enable", v3::api_keys::enable).asks(Permission::ApiKeysWrite),
];

/// The routes of the API, for pages that tell of them.
#[must_use]
pub fn api_routes() -> &'static [ApiRoute] {
    static ROUTES: LazyLock<Vec<ApiRoute>> = LazyLock::new(|| {
        let guarded = ENDPOINTS.iter().filter(|endpoint| endpoint.access != Access::Open);
        let route = |endpoint: &Endpoint| ApiRoute {
            method: endpoint.method,
            pattern: endpoint.pattern,
            permission: endpoint.permission,
        };
        guarded.map(route).collect()
    });
    &ROUTES
}

/// What was found for a request.
#[derive(Clone, Copy)]
pub enum Found {
    Endpoint {
        endpoint: &'static Endpoint,
        /// Where in the path the parameter stands.
        parameter: Option<(usize, usize)>,
    },
    /// The path exists, with these methods.
    WrongMethod {
        pattern: &'static str,
        allow: &'static str,
    },
    NoPath,
}

impl Found {
    /// The pattern for the log: never what was sent.
    #[must_use]
    pub const fn pattern(&self) -> &'static str {
        match self {
            Self::Endpoint { endpoint, .. } => endpoint.pattern,
            Self::WrongMethod { pattern, .. } => pattern,
            Self::NoPath => "-",
        }
    }

    /// The part of the server that it belongs to.
    #[must_use]
    pub const fn area(&self) -> Area {
        match self {
            Self::Endpoint { endpoint, .. } => endpoint.area,
            Self::WrongMethod { pattern, .. } => Area::of(pattern),
            Self::NoPath => Area::Unknown,
        }
    }

    /// The pool that it spends.
    #[must_use]
    pub const fn class(&self) -> RateClass {
        match self {
            Self::Endpoint {
                endpoint: Endpoint { access: Access::Guarded { class, .. }, .. },
                ..
            } => *class,
            _ => RateClass::Standard,
        }
    }
}

struct Path {
    pattern: &'static str,
    endpoints: Vec<&'static Endpoint>,
    allow: String,
}

struct Table {
    router: matchit::Router<usize>,
    paths: Vec<Path>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { router: matchit::Router::new(), paths: vec![] };
    for endpoint in ENDPOINTS {
        let known = table.paths.iter_mut().find(|path| path.pattern == endpoint.pattern);
        if let Some(path) = known {
            path.endpoints.push(endpoint);
            continue;
        }
        let number = table.paths.len();
        table
            .router
            .insert(endpoint.pattern, number)
            .expect("the table is constant, and a test looks up every route of it");
        let path =
            Path { pattern: endpoint.pattern, endpoints: vec![endpoint], allow: String::new() };
        table.paths.push(path);
    }
    for path in &mut table.paths {
        let methods = path.endpoints.iter().map(|endpoint| endpoint.method);
        path.allow = methods.collect::<Vec<_>>().join(", ").replacen("GET", "GET, HEAD", 1);
    }
    table
});

/// The table, as the door sees it.
pub struct RouteTable;

impl Routes for RouteTable {
    type Route = Found;

    fn find(&self, method: &Method, path: &str) -> (Access, Found) {
        let standard = Access::Guarded { class: RateClass::Standard, is_account_exempt: false };
        // Nobody without a key learns which routes exist below /v3. Contract 2.
        let elsewhere =
            if path == "/v3" || path.starts_with("/v3/") { standard } else { Access::Open };
        let table = &*TABLE;
        let Ok(found) = table.router.at(path) else { return (elsewhere, Found::NoPath) };
        let Some(known) = table.paths.get(*found.value) else { return (elsewhere, Found::NoPath) };
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        let Some(endpoint) = known.endpoints.iter().find(|endpoint| endpoint.method == method)
        else {
            let found = Found::WrongMethod { pattern: known.pattern, allow: &known.allow };
            return (elsewhere, found);
        };
        let parameter = found.params.iter().next().map(|(_, value)| {
            let start = value.as_ptr().addr() - path.as_ptr().addr();
            (start, start + value.len())
        });
        (endpoint.access, Found::Endpoint { endpoint, parameter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_under_its_own_pattern() {
        for endpoint in ENDPOINTS {
            let path = ["{id}", "{code}", "{token}", "{name}"]
                .iter()
                .fold(endpoint.pattern.to_owned(), |path, part| path.replace(part, "x-1"));
            let method: Method = endpoint.method.parse().expect("a method");
            let (access, found) = RouteTable.find(&method, &path);
            let Found::Endpoint { endpoint: other, parameter } = found else {
                panic!("{} {} is not found", endpoint.method, endpoint.pattern);
            };
            assert_eq!((other.method, other.pattern), (endpoint.method, endpoint.pattern));
            assert_eq!(access, endpoint.access);
            assert_eq!(
                parameter.map(|(start, end)| &path[start..end]),
                path.contains("x-1").then_some("x-1")
            );
        }
    }

    #[test]
    fn whatever_is_below_v3_asks_for_a_key() {
        for endpoint in ENDPOINTS {
            let is_open = endpoint.access == Access::Open;
            assert_eq!(is_open, !endpoint.pattern.starts_with("/v3/"), "{}", endpoint.pattern);
        }
        for path in ["/v3", "/v3/", "/v3/nothing", "/v3//me", "/v3/me/"] {
            assert_ne!(RouteTable.find(&Method::GET, path).0, Access::Open, "{path}");
        }
        assert_eq!(RouteTable.find(&Method::GET, "/v33").0, Access::Open);
    }

    #[test]
    fn a_wrong_method_is_told_from_a_wrong_path() {
        let allow = |path: &str| match RouteTable.find(&Method::PUT, path).1 {
            Found::WrongMethod { allow, .. } => Some(allow),
            _ => None,
        };
        assert_eq!(allow("/v3/contacts"), Some("GET, HEAD, POST"));
        assert_eq!(allow("/v3/contacts/1"), Some("GET, HEAD, PATCH, DELETE"));
        assert_eq!(allow("/v3/contact"), None);
        assert!(matches!(RouteTable.find(&Method::HEAD, "/v3/me").1, Found::Endpoint { .. }));
    }
}
