//! The surroundings of a door that a test holds in its hands: time, chance, keys, and the service
//! behind the door. Nothing here waits, and the same test always gets the same bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use ipnet::IpNet;
use keyward_core::account::{Limits, RateClass};
use keyward_core::time::{Moment, Ticks, UnixMillis};
use keyward_core::verifier::Verifier;
use keyward_tower::{
    Access, Answered, ApiError, AuthLayer, Door, Observer, Passage, Peer, Routes, Surroundings,
};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::stock::filled_index;

/// 2024-01-01T00:00:00Z, the time of the guide's examples.
pub(crate) const START: i64 = 1_704_067_200_000;

/// Where requests come from unless the test says otherwise.
pub(crate) const CLIENT: &str = "192.0.2.1:50000";

/// Time and chance, moved by the test alone.
pub(crate) struct Clock {
    micros: AtomicU64,
    requests: AtomicU64,
}

impl Clock {
    pub(crate) fn advance_millis(&self, millis: u64) {
        self.advance_micros(millis * 1000);
    }

    pub(crate) fn advance_micros(&self, micros: u64) {
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }

    pub(crate) fn unix_millis(&self) -> i64 {
        let millis = self.micros.load(Ordering::SeqCst) / 1000;
        START + i64::try_from(millis).expect("a test does not last that long")
    }
}

/// What the door is given of a [`Clock`].
pub(crate) struct Held(Arc<Clock>);

impl Surroundings for Held {
    fn now(&self) -> Moment {
        let micros = self.0.micros.load(Ordering::SeqCst);
        Moment {
            wall: UnixMillis(self.0.unix_millis()),
            // Its zero means nothing, so it is another one than that of the wall clock.
            ticks: Ticks(5_000 + micros / 1000),
        }
    }

    fn micros(&self) -> u64 {
        self.0.micros.load(Ordering::SeqCst)
    }

    /// Counts: the n-th request is `req_` and n in 20 decimal digits.
    fn fill_random(&self, bytes: &mut [u8]) {
        let mut left = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        for byte in bytes.iter_mut().rev() {
            let digit = left % 10;
            left /= 10;
            // The least byte that becomes this digit among the 62 characters.
            *byte = u8::try_from((digit * 256).div_ceil(62)).expect("nine is the highest digit");
        }
    }
}

/// A small table: enough for each kind of route.
pub(crate) struct Table;

impl Routes for Table {
    type Route = &'static str;

    fn find(&self, method: &Method, path: &str) -> (Access, Self::Route) {
        let guarded = |class, is_account_exempt| Access::Guarded { class, is_account_exempt };
        match (method.as_str(), path) {
            ("GET", "/healthcheck") => (Access::Open, "healthcheck"),
            ("GET", "/v3/me") => (guarded(RateClass::Standard, true), "me"),
            ("GET", "/v3/contacts") => (guarded(RateClass::Standard, false), "contacts"),
            ("POST", "/v3/contacts") => (guarded(RateClass::Standard, false), "create"),
            ("POST", "/v3/users") => (guarded(RateClass::Sensitive, false), "users"),
            ("POST", "/v3/webhooks/1/test") => (guarded(RateClass::WebhookTest, false), "test"),
            _ => (guarded(RateClass::Standard, false), "nothing"),
        }
    }
}

/// Writes two lines for each answer: what the log is for, and how the key came.
pub(crate) struct Log(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>);

impl Observer<&'static str> for Log {
    fn answered(&self, answered: &Answered<'_, &'static str>) {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| String::from("-"));
        let whose = answered
            .caller
            .map(|caller| (caller.key(), caller.account(), caller.environment()))
            .or_else(|| {
                let known = answered.known?;
                Some((known.key, known.account, known.environment))
            });
        let line = format!(
            "{} {} {} {} reason={} code={} key={} account={} environment={} client={} at={} \
             micros={} browser={} cause={}",
            answered.request_id,
            or_dash(answered.method.map(ToString::to_string)),
            or_dash(answered.route.map(ToString::to_string)),
            answered.status.as_u16(),
            or_dash(answered.reason.map(str::to_owned)),
            or_dash(answered.code.map(|code| code.as_str().to_owned())),
            or_dash(whose.map(|(key, ..)| key.to_string())),
            or_dash(whose.map(|(_, account, _)| account.to_string())),
            or_dash(whose.map(|(.., environment)| environment.to_string())),
            answered.client,
            answered.at.wall.0 - START,
            answered.micros,
            answered.is_from_browser,
            or_dash(answered.cause.map(ToString::to_string)),
        );
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        let left = answered.allowance.map(|left| format!("{}/{}", left.remaining, left.limit));
        let line = format!(
            "guarded={} plain_http={} left={}",
            answered.is_guarded,
            answered.is_over_plain_http,
            or_dash(left),
        );
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

pub(crate) type InnerAnswer = Result<Response<Full<Bytes>>, ApiError>;
type Behaviour<T> = Arc<dyn Fn(Request<()>) -> T + Send + Sync>;

/// The service behind the door: a closure of the test.
#[derive(Clone)]
pub(crate) struct Inner {
    readiness: Arc<dyn Fn() -> Result<(), ApiError> + Send + Sync>,
    answering: Behaviour<BoxFuture<'static, InnerAnswer>>,
}

impl Service<Request<()>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = ApiError;
    type Future = BoxFuture<'static, InnerAnswer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready((self.readiness)())
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        (self.answering)(request)
    }
}

/// A door, what it stands before, and everything around it.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) door: Arc<Door<Held, Table, Log>>,
    inner: Inner,
    lines: Arc<Mutex<Vec<String>>>,
    exposures: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// Behind its door every request is answered with `fine`.
    pub(crate) fn new() -> Self {
        Self::behind_proxies(&[])
    }

    pub(crate) fn behind_proxies(networks: &[&str]) -> Self {
        let clock = Arc::new(Clock { micros: AtomicU64::new(0), requests: AtomicU64::new(0) });
        let lines = Arc::default();
        let exposures = Arc::default();
        let parse = |text: &&str| text.parse::<IpNet>().expect("a network of the test");
        let door = Arc::new(Door {
            verifier: Arc::new(Verifier::new(filled_index(), Limits::GUIDE, 60)),
            surroundings: Held(Arc::clone(&clock)),
            routes: Table,
            observer: Log(Arc::clone(&lines), Arc::clone(&exposures)),
            docs_url: String::from("https://docs.sent.dm/errors"),
            trusted_proxies: networks.iter().map(parse).collect(),
        });
        let inner = Inner {
            readiness: Arc::new(|| Ok(())),
            answering: Arc::new(|_| async { Ok(fine()) }.boxed()),
        };
        Self { clock, door, inner, lines, exposures }
    }

    /// Runs this behind the door while the answer is polled.
    pub(crate) fn answering<F>(mut self, answer: F) -> Self
    where
        F: Fn(Request<()>) -> InnerAnswer + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        self.inner.answering = Arc::new(move |request| {
            let answer = Arc::clone(&answer);
            async move { answer(request) }.boxed()
        });
        self
    }

    /// Runs this behind the door as soon as the request is handed over.
    pub(crate) fn called<F>(mut self, call: F) -> Self
    where
        F: Fn(Request<()>) -> BoxFuture<'static, InnerAnswer> + Send + Sync + 'static,
    {
        self.inner.answering = Arc::new(call);
        self
    }

    /// Asks this whether the service behind the door is ready.
    pub(crate) fn ready_when<F>(mut self, readiness: F) -> Self
    where
        F: Fn() -> Result<(), ApiError> + Send + Sync + 'static,
    {
        self.inner.readiness = Arc::new(readiness);
        self
    }

    /// Sends one request and gives the answer as text: status, headers in the order of their
    /// names, an empty line, body.
    pub(crate) fn send(&self, request: impl Into<Request<()>>) -> String {
        text_of(self.oneshot(request.into()))
    }

    /// As [`send`](Self::send), without the body.
    pub(crate) fn head_of(&self, request: impl Into<Request<()>>) -> String {
        let answer = self.send(request);
        let (head, _) = answer.split_once("\n\n").expect("a head and a body");
        head.to_owned()
    }

    /// The status alone.
    pub(crate) fn status_of(&self, request: impl Into<Request<()>>) -> u16 {
        self.oneshot(request.into()).status().as_u16()
    }

    /// One header of the answer.
    pub(crate) fn header_of(&self, request: impl Into<Request<()>>, name: &str) -> Option<String> {
        let response = self.oneshot(request.into());
        let value = response.headers().get(name)?;
        Some(value.to_str().expect("a header of the test").to_owned())
    }

    /// Sends a request and goes away before it is answered.
    pub(crate) fn send_and_leave(&self, request: impl Into<Request<()>>) {
        let mut service = AuthLayer::new(Arc::clone(&self.door)).layer(self.inner.clone());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        assert!(service.call(request.into()).now_or_never().is_none(), "it was answered");
    }

    fn oneshot(&self, request: Request<()>) -> Response<Bytes> {
        let mut service = AuthLayer::new(Arc::clone(&self.door)).layer(self.inner.clone());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let Ok(response) =
            service.call(request).now_or_never().expect("nothing in the world of a test waits");
        let (parts, body) = response.into_parts();
        let body = body.collect().now_or_never().expect("a body in memory");
        let body = body.map_err(|error| error.to_string()).expect("it is whole");
        Response::from_parts(parts, body.to_bytes())
    }

    /// What the observer was told since it was last asked.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the keys came, and what was left of their windows, since it was last asked.
    pub(crate) fn exposures(&self) -> Vec<String> {
        std::mem::take(&mut *self.exposures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was counted since it was last asked: a line each, with the last eight digits of the
    /// key's identifier.
    pub(crate) fn usage(&self) -> Vec<String> {
        let mut lines = vec![];
        for drained in self.door.verifier.drain_usage() {
            let key = drained.key.map(|key| key.to_string());
            let key = key.as_deref().map_or("stranger", |text| &text[28..]);
            for count in drained.counts {
                assert_eq!(count.hour, START / 3_600_000);
                lines.push(format!("{key} {} {} {}", count.class, count.outcome, count.requests));
            }
        }
        lines.sort();
        lines
    }
}

/// The answer of the service behind the door, unless the test says otherwise.
pub(crate) fn fine() -> Response<Full<Bytes>> {
    said("fine")
}

/// A 200 with this text.
pub(crate) fn said(text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(text.into()))
}

/// A 200 that repeats the headers of a request, and what the door says of it.
pub(crate) fn echo(request: &Request<()>) -> Response<Full<Bytes>> {
    let passage =
        request.extensions().get::<Passage<&'static str>>().expect("the door leaves a passage");
    let mut text = format!("{} {} {}\n", passage.request_id, passage.client, passage.route);
    if let Some(caller) = passage.caller {
        text += &format!(
            "key {} of {} for {} in {}\n",
            caller.key(),
            caller.own_account(),
            caller.account(),
            caller.environment()
        );
    }
    let mut headers: Vec<_> = request.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    said(text)
}

fn text_of(response: Response<Bytes>) -> String {
    let status: StatusCode = response.status();
    let mut text = format!("{status}\n");
    let mut headers: Vec<_> = response.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    text + "\n" + &String::from_utf8_lossy(response.body())
}

/// A request in the making.
pub(crate) struct Asking(Request<()>);

pub(crate) fn get(path: &str) -> Asking {
    ask(Method::GET, path)
}

pub(crate) fn post(path: &str) -> Asking {
    ask(Method::POST, path)
}

fn ask(method: Method, path: &str) -> Asking {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path of the test");
    Asking(request).from(CLIENT)
}

impl Asking {
    pub(crate) fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.header("x-api-key", key)
    }

    /// Adds a header; those of the same name stay.
    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header of the test");
        self.0.headers_mut().append(HeaderName::from_static(name), value);
        self
    }

    /// Comes over a connection from this address.
    pub(crate) fn from(mut self, peer: &str) -> Self {
        let address: SocketAddr = peer.parse().expect("an address of the test");
        self.0.extensions_mut().insert(Peer { address, is_encrypted: false });
        self
    }
}

impl From<Asking> for Request<()> {
    fn from(asking: Asking) -> Self {
        asking.0
    }
}
