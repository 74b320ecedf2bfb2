//! What stands behind the door: routes, permissions, handlers.
//!
//! By the time a request gets here it has an identifier and a time, its key is good, its account may
//! be used, its limit is spent and its profile is chosen. Then, in the order of contract 2: route
//! and method, permission, and the rest in the handler.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use ipnet::IpNet;
use keyward_core::account::RateClass;
use keyward_core::time::{Moment, UnixMillis};
use keyward_store::requests::{FROM_BROWSER, NewRequest, OVER_PLAIN_HTTP};
use keyward_tower::client_addr::came_by_https;
use keyward_tower::{Answered, ApiError, Code, Inner, Observer, Passage, Surroundings};
use percent_encoding::percent_decode_str;

use super::open;
use super::routes::{Endpoint, Found, Handler, api_routes};
use crate::app::{App, Chance, Clock, ThreadApp};
use crate::dashboard::{self, Arrival};
use crate::observe::log::{Log, RequestLine, Whose};
use crate::observe::meter::{Area, Counted, Meter};
use crate::observe::records::Records;
use crate::observe::spans::{Span, Spans};
use crate::v3;

/// Time and chance for the door.
pub struct Around {
    pub clock: Clock,
    pub chance: Chance,
}

impl Surroundings for Around {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn micros(&self) -> u64 {
        self.clock.micros()
    }

    fn arrival(&self) -> (Moment, u64) {
        self.clock.now_with_micros()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.chance.fill(bytes);
    }
}

/// Writes a line for each answer, counts it, hands it to whoever collects traces, and remembers those
/// below `/v3`.
pub struct RequestLog {
    pub log: Log,
    pub records: Records,
    pub meter: Meter,
    pub spans: Spans,
}

impl Observer<Found> for RequestLog {
    fn answered(&self, answered: &Answered<'_, Found>) {
        let known = answered.known.as_ref();
        let caller = answered.caller;
        let of_caller = caller.map(|caller| Whose {
            key: caller.key(),
            account: caller.account(),
            environment: caller.environment(),
        });
        let of_known = known.map(|known| Whose {
            key: known.key,
            account: known.account,
            environment: known.environment,
        });
        self.remember(answered);
        self.trace(answered);
        self.meter.count(&Counted {
            area: answered.route.map_or(Area::Unreadable, Found::area),
            status: answered.status.as_u16(),
            code: answered.code,
            reason: answered.reason,
            class: answered.route.map_or(RateClass::Standard, Found::class),
            micros: answered.micros,
        });
        self.log.request(&RequestLine {
            at: answered.at.wall,
            request_id: answered.request_id.as_str(),
            trace: answered.trace.map(|parent| parent.trace),
            method: answered.method.map_or("-", known_method),
            route: answered.route.map_or("-", Found::pattern),
            status: answered.status.as_u16(),
            reason: answered.reason,
            code: answered.code.map(Code::as_str),
            whose: of_caller.or(of_known),
            client: Some(answered.client),
            micros: answered.micros,
            is_from_browser: answered.is_from_browser,
            cause: answered.cause.map(chain),
        });
    }
}

impl RequestLog {
    fn trace(&self, answered: &Answered<'_, Found>) {
        if !self.spans.is_on() {
            return;
        }
        self.spans.push(Span {
            parent: answered.trace,
            request_id: *answered.request_id.as_bytes(),
            at: answered.at.wall,
            micros: answered.micros,
            method: answered.method.map_or("-", known_method),
            route: answered.route.map_or("-", Found::pattern),
            status: answered.status.as_u16(),
            code: answered.code.map(Code::as_str),
            reason: answered.reason,
        });
    }

    fn remember(&self, answered: &Answered<'_, Found>) {
        if !answered.is_guarded || !self.records.is_on() {
            return;
        }
        let (known, caller) = (answered.known.as_ref(), answered.caller);
        let environment = caller.map(|c| c.environment()).or_else(|| known.map(|k| k.environment));
        let limited = answered.allowance.filter(|_| answered.status.as_u16() == 429);
        let mut flags = 0;
        if answered.is_from_browser {
            flags |= FROM_BROWSER;
        }
        if answered.is_over_plain_http {
            flags |= OVER_PLAIN_HTTP;
        }
        self.records.push(NewRequest {
            at: answered.at.wall,
            request_id: *answered.request_id.as_bytes(),
            // Whose key it is, also where it acts for a profile: the owner looks for its requests.
            account: caller.map(|c| c.own_account()).or_else(|| known.map(|k| k.account)),
            key: caller.map(|c| c.key()).or_else(|| known.map(|k| k.key)),
            environment: environment.map(|environment| environment.as_str()),
            method: answered.method.map_or("-", known_method),
            route: answered.route.map_or("-", Found::pattern),
            status: answered.status.as_u16(),
            code: answered.code.map(Code::as_str),
            reason: answered.reason,
            limited: limited.map(|allowance| {
                // The second that the headers told.
                let resets_at = allowance.reset_at_seconds(answered.at).saturating_mul(1000);
                (allowance.limit, UnixMillis(resets_at))
            }),
            address: answered.client,
            micros: u32::try_from(answered.micros).unwrap_or(u32::MAX),
            flags,
        });
    }
}

/// The method for the log. One that a stranger made up is not repeated.
fn known_method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| method == *known).unwrap_or("other")
}

/// An error and what is behind it.
fn chain(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, ApiError>> + Send>>;

/// The service behind the door. Shared, for each request has a copy.
#[derive(Clone)]
pub struct Dispatch(pub Arc<Inside>);

/// What requests are answered with. One for each thread that serves.
pub struct Inside {
    pub app: Arc<App>,
    /// The same, for requests of this thread.
    pub thread_app: Arc<ThreadApp>,
    pub is_ready: Arc<AtomicBool>,
    pub max_body_bytes: usize,
    pub docs_url: Arc<str>,
    pub trusted_proxies: Arc<[IpNet]>,
}

impl Inner<Incoming, Found> for Dispatch {
    type Body = Full<Bytes>;
    type Error = ApiError;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready(Ok(()))
    }

    fn admit(&mut self, request: http::Request<Incoming>, passage: Passage<Found>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.0.choose(&passage, parts, body) {
            Ok(answering) => answering,
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}

/// People at a browser get a page, everybody else the contract's answer.
fn no_path(passage: &Passage<Found>, parts: &http::request::Parts) -> Result<Answering, ApiError> {
    let accept = parts.headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    if passage.caller.is_some() || !is_browser || parts.method != http::Method::GET {
        return Err(ApiError::new(Code::EndpointNotFound));
    }
    Ok(Box::pin(async { dashboard::no_such_page() }))
}

impl Inside {
    /// Whether the connection is encrypted, or a trusted proxy says so of the one before it.
    fn came_by_https(&self, passage: &Passage<Found>, parts: &http::request::Parts) -> bool {
        let peer = passage.peer.as_ref();
        peer.is_some_and(|peer| came_by_https(peer, &parts.headers, &self.trusted_proxies))
    }

    fn choose(
        &self,
        passage: &Passage<Found>,
        parts: http::request::Parts,
        body: Incoming,
    ) -> Result<Answering, ApiError> {
        let (endpoint, parameter) = match passage.route {
            Found::Endpoint { endpoint, parameter } => (endpoint, parameter),
            Found::WrongMethod { allow, .. } => {
                return Err(ApiError::new(Code::MethodNotAllowed).allowing(allow));
            }
            Found::NoPath => return no_path(passage, &parts),
        };
        let parameter = parameter
            .and_then(|(start, end)| parts.uri.path().get(start..end))
            .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let Endpoint { permission, confirms, handler, .. } = endpoint;
        match (handler, passage.caller) {
            (Handler::Open(handler), _) => {
                let (app, is_ready) = (Arc::clone(&self.app), Arc::clone(&self.is_ready));
                let docs_url = Arc::clone(&self.docs_url);
                let is_https = self.came_by_https(passage, &parts);
                Ok(handler(open::Request { app, parts, parameter, is_ready, is_https, docs_url }))
            }
            (Handler::V3(_) | Handler::Change(_), Some(caller)) => {
                if permission.is_some_and(|permission| !caller.may(permission)) {
                    return Err(ApiError::new(Code::PermissionMissing));
                }
                let request = v3::Request {
                    app: Arc::clone(&self.thread_app),
                    caller,
                    address: passage.client,
                    request_id: passage.request_id,
                    at: passage.at.wall,
                    parts,
                    body,
                    id: parameter,
                    max_body_bytes: self.max_body_bytes,
                };
                Ok(match handler {
                    Handler::Change(handler) => Box::pin(v3::change::carry_out(request, *handler)),
                    Handler::V3(handler) => handler(request),
                    _ => return Err(ApiError::new(Code::InternalUnexpected)),
                })
            }
            (Handler::Page(entry, handler), _) => {
                let arrival = Arrival {
                    app: Arc::clone(&self.app),
                    at: passage.at.wall,
                    is_https: self.came_by_https(passage, &parts),
                    parts,
                    body,
                    parameter,
                    routes: api_routes(),
                    client: passage.client,
                };
                Ok(Box::pin(dashboard::answer(arrival, *entry, *confirms, *handler)))
            }
            (Handler::V3(_) | Handler::Change(_), None) => {
                Err(ApiError::new(Code::NotAuthenticated))
            }
        }
    }
}
