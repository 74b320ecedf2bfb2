//! The door as a tower layer.
//!
//! For each request, in the order of contract 2: identifier and clock, key, account, limit,
//! profile; then the inner service, which looks after route, permission, body and resource. What
//! comes back, answer or error or panic, leaves with the headers of the guide.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::CatchUnwind;
use http::header::{ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use ipnet::IpNet;
use keyward_core::account::RateClass;
use keyward_core::time::Moment;
use keyward_core::verdict::{Caller, Granted, Known, Refusal, Refused};
use keyward_core::verifier::{Presented, Verifier, Visit};
use keyward_core::window::Allowance;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::answer::panicked;
use crate::client_addr::{client_address, is_over_plain_http};
use crate::code::Code;
use crate::error::ApiError;
use crate::headers::{X_API_KEY, X_PROFILE_ID};
use crate::request_id::RequestId;
use crate::trace::TraceParent;

/// Time and chance, which the layer does not have by itself.
pub trait Surroundings: Send + Sync + 'static {
    /// Both clocks, read once for each request.
    fn now(&self) -> Moment;
    /// Microseconds on a clock that never goes back, for the time an answer took.
    fn micros(&self) -> u64;
    /// Both of the above at once, where that costs less.
    fn arrival(&self) -> (Moment, u64) {
        (self.now(), self.micros())
    }
    /// Unguessable bytes.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// What a route asks of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Answered without a key.
    Open,
    /// Asks for a key and spends from this pool.
    Guarded { class: RateClass, is_account_exempt: bool },
}

/// The table of routes, as far as the door needs it: the limit comes before the 404, so the class
/// must be known first. Looked up once for each request.
pub trait Routes: Send + Sync + 'static {
    type Route: Clone + Send + Sync + 'static;

    fn find(&self, method: &Method, path: &str) -> (Access, Self::Route);
}

/// Is told of every answer: for the log.
pub trait Observer<R>: Send + Sync + 'static {
    fn answered(&self, answered: &Answered<'_, R>);
}

/// One answered request.
pub struct Answered<'a, R> {
    pub request_id: RequestId,
    /// The trace that the caller says it belongs to.
    pub trace: Option<TraceParent>,
    pub at: Moment,
    /// There is none where the request could not be read.
    pub method: Option<&'a Method>,
    pub route: Option<&'a R>,
    pub client: IpAddr,
    pub status: StatusCode,
    pub micros: u64,
    pub caller: Option<&'a Caller>,
    /// A key that was recognised and refused.
    pub known: Option<Known>,
    /// One word for why it was refused.
    pub reason: Option<&'static str>,
    pub code: Option<Code>,
    /// What went wrong inside. Never told to the caller.
    pub cause: Option<&'a (dyn std::error::Error + Send + Sync)>,
    /// It was for a route that asks for a key.
    pub is_guarded: bool,
    /// What is left of the window that it was counted in, if it was counted in one.
    pub allowance: Option<Allowance>,
    /// The request came from a web page: its key is exposed there.
    pub is_from_browser: bool,
    /// The key travelled over plain HTTP from another machine: whoever is on the way can read it.
    pub is_over_plain_http: bool,
}

/// The connection that a request came over; the server tells it of the connection ([`Auth::for_peer`]) or
/// puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address at the other end.
    pub address: SocketAddr,
    pub is_encrypted: bool,
}

/// What the inner service is told of a request: an extension of it.
#[derive(Clone)]
pub struct Passage<R> {
    pub request_id: RequestId,
    pub at: Moment,
    /// The connection, where it is known.
    pub peer: Option<Peer>,
    pub client: IpAddr,
    pub route: R,
    /// There is none on an open route only.
    pub caller: Option<Caller>,
}

/// What stands behind a door. Any tower service does, and finds the [`Passage`] among the extensions of
/// its requests; one that takes it by hand spares every request the map that holds them.
pub trait Inner<B, R> {
    type Body;
    type Error: Into<ApiError>;
    type Future: Future<Output = Result<Response<Self::Body>, Self::Error>>;

    /// As [`Service::poll_ready`].
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;
    /// Answers a request that the door let in.
    fn admit(&mut self, request: Request<B>, passage: Passage<R>) -> Self::Future;
}

impl<I, B, R, T> Inner<B, R> for I
where
    I: Service<Request<B>, Response = Response<T>>,
    I::Error: Into<ApiError>,
    R: Clone + Send + Sync + 'static,
{
    type Body = T;
    type Error = I::Error;
    type Future = I::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(self, cx)
    }

    fn admit(&mut self, mut request: Request<B>, passage: Passage<R>) -> Self::Future {
        request.extensions_mut().insert(passage);
        self.call(request)
    }
}

/// Everything that a door needs.
pub struct Door<S, T, O> {
    pub verifier: Arc<Verifier>,
    pub surroundings: S,
    pub routes: T,
    pub observer: O,
    /// `https://docs.sent.dm/errors`: the code follows after a slash.
    pub docs_url: String,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Puts a [`Door`] before a service.
pub struct AuthLayer<S, T, O>(Arc<Door<S, T, O>>);

impl<S, T, O> AuthLayer<S, T, O> {
    pub fn new(door: Arc<Door<S, T, O>>) -> Self {
        Self(door)
    }
}

impl<S, T, O> Clone for AuthLayer<S, T, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I, S, T, O> Layer<I> for AuthLayer<S, T, O> {
    type Service = Auth<I, S, T, O>;

    fn layer(&self, inner: I) -> Self::Service {
        Auth { inner, unready: None, peer: None, door: Arc::clone(&self.0) }
    }
}

/// A service behind a door.
pub struct Auth<I, S, T, O> {
    inner: I,
    /// Why the inner service could not be made ready: the answer to the next request.
    unready: Option<ApiError>,
    peer: Option<Peer>,
    door: Arc<Door<S, T, O>>,
}

impl<I: Clone, S, T, O> Clone for Auth<I, S, T, O> {
    fn clone(&self) -> Self {
        let Self { inner, unready: _, peer, door } = self;
        Self { inner: inner.clone(), unready: None, peer: *peer, door: Arc::clone(door) }
    }
}

impl<I, S, T, O> Auth<I, S, T, O> {
    /// The service for one connection, whose requests then need not carry a [`Peer`] each.
    #[must_use]
    pub fn for_peer(mut self, peer: Peer) -> Self {
        self.peer = Some(peer);
        self
    }
}

impl<I, S, T, O, B> Service<Request<B>> for Auth<I, S, T, O>
where
    I: Inner<B, T::Route>,
    S: Surroundings,
    T: Routes,
    O: Observer<T::Route>,
{
    type Response = Response<Either<Full<Bytes>, I::Body>>;
    type Error = std::convert::Infallible;
    type Future = AuthFuture<I::Future, S, T, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.unready = ready!(self.inner.poll_ready(cx)).err().map(Into::into);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let door = &self.door;
        let (at, started) = door.surroundings.arrival();
        let mut random = [0; 20];
        door.surroundings.fill_random(&mut random);
        let (access, route) = door.routes.find(request.method(), request.uri().path());
        let peer = self.peer.or_else(|| request.extensions().get().copied());
        let headers = request.headers();
        let address = peer.map_or([0, 0, 0, 0].into(), |peer| peer.address.ip());
        let client = client_address(address, headers, &door.trusted_proxies);
        // A page of ours that sends a form has no key with it that could be exposed.
        let is_guarded = access != Access::Open;
        let mut exchange = Exchange {
            request_id: RequestId::from_random(&random),
            trace: TraceParent::of(headers),
            at,
            started,
            method: request.method().clone(),
            route,
            client,
            client_name: ClientName::of(headers),
            is_guarded,
            is_from_browser: is_guarded && headers.contains_key(ORIGIN),
            is_over_plain_http: is_guarded
                && peer.is_some_and(|peer| {
                    is_over_plain_http(&peer, headers, &door.trusted_proxies, client)
                }),
            class: RateClass::Standard,
            caller: None,
            known: None,
            allowance: None,
            profile: None,
        };
        let refusal = match access {
            Access::Open => None,
            Access::Guarded { class, is_account_exempt } => {
                exchange.pass(door, request.headers(), class, is_account_exempt).err()
            }
        };
        let state = match refusal {
            Some(refusal) => State::Refused { refusal },
            None if self.unready.is_some() => State::Failed { error: self.unready.take() },
            None => {
                // Nobody behind the door needs the key, so nobody behind it can show it.
                request.headers_mut().remove(X_API_KEY);
                let passage = Passage {
                    request_id: exchange.request_id,
                    at,
                    peer,
                    client: exchange.client,
                    route: exchange.route.clone(),
                    caller: exchange.caller,
                };
                // Why twice: a service may panic before it has made its future.
                let inner = &mut self.inner;
                match catch_unwind(AssertUnwindSafe(|| inner.admit(request, passage))) {
                    Ok(inner) => State::Inner { inner: AssertUnwindSafe(inner).catch_unwind() },
                    Err(panic) => State::Failed { error: Some(panicked(&*panic)) },
                }
            }
        };
        AuthFuture { state, exchange: Some(exchange), door: Arc::clone(door) }
    }
}

/// The first bytes of `User-Agent`, for "last used by".
#[derive(Clone, Copy)]
pub(crate) struct ClientName {
    bytes: [u8; 48],
    len: usize,
}

impl ClientName {
    fn of(headers: &HeaderMap) -> Self {
        let mut name = Self { bytes: [0; 48], len: 0 };
        if let Some(value) = headers.get(USER_AGENT) {
            let text = value.as_bytes();
            name.len = text.len().min(name.bytes.len());
            name.bytes[..name.len].copy_from_slice(&text[..name.len]);
        }
        name
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What the door knows of one request until it is answered.
pub(crate) struct Exchange<R> {
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<TraceParent>,
    pub(crate) at: Moment,
    pub(crate) started: u64,
    pub(crate) method: Method,
    pub(crate) route: R,
    pub(crate) client: IpAddr,
    pub(crate) client_name: ClientName,
    pub(crate) is_guarded: bool,
    pub(crate) is_from_browser: bool,
    pub(crate) is_over_plain_http: bool,
    pub(crate) class: RateClass,
    pub(crate) caller: Option<Caller>,
    pub(crate) known: Option<Known>,
    pub(crate) allowance: Option<Allowance>,
    pub(crate) profile: Option<HeaderValue>,
}

impl<R> Exchange<R> {
    pub(crate) const fn visit(&self, is_account_exempt: bool) -> Visit {
        Visit { now: self.at, client: self.client, class: self.class, is_account_exempt }
    }

    /// Lets the request in, or says why not.
    fn pass<S, T, O>(
        &mut self,
        door: &Door<S, T, O>,
        headers: &HeaderMap,
        class: RateClass,
        is_account_exempt: bool,
    ) -> Result<(), Refusal> {
        self.class = class;
        let mut keys = headers.get_all(X_API_KEY).iter();
        let presented = match (keys.next(), keys.next()) {
            (None, _) => Presented::Nothing,
            (Some(key), None) => Presented::One(key.as_bytes()),
            (Some(_), Some(_)) => Presented::Several,
        };
        let visit = self.visit(is_account_exempt);
        match door.verifier.verify(presented, &visit) {
            Ok(Granted { caller, allowance }) => {
                self.caller = Some(caller);
                self.allowance = Some(allowance);
                self.choose_profile(door, headers, &caller)
            }
            Err(refused) => {
                door.verifier.count_refused(&refused, &visit, self.client_name.as_bytes());
                let Refused { refusal, known, allowance, .. } = refused;
                self.known = known;
                self.allowance = allowance;
                Err(refusal)
            }
        }
    }

    /// `x-profile-id`: the request acts for a profile of the organization. Contract 2.
    fn choose_profile<S, T, O>(
        &mut self,
        door: &Door<S, T, O>,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        let mut profiles = headers.get_all(X_PROFILE_ID).iter();
        let Some(profile) = profiles.next() else {
            return Ok(());
        };
        if profiles.next().is_some() {
            return Err(Refusal::ProfileMalformed);
        }
        let caller = door.verifier.act_for(caller, profile.as_bytes())?;
        self.profile = HeaderValue::try_from(caller.account().to_string()).ok();
        self.caller = Some(caller);
        Ok(())
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Refused { refusal: Refusal },
        Failed { error: Option<ApiError> },
        Inner { #[pin] inner: CatchUnwind<AssertUnwindSafe<F>> },
    }
}

pin_project! {
    /// The answer of a service behind a door.
    ///
    /// Dropped before it is ready, because the client went away, it is still counted and told of.
    pub struct AuthFuture<F, S, T, O>
    where
        S: Surroundings,
        T: Routes,
        O: Observer<T::Route>,
    {
        #[pin]
        state: State<F>,
        exchange: Option<Exchange<T::Route>>,
        door: Arc<Door<S, T, O>>,
    }

    impl<F, S, T, O> PinnedDrop for AuthFuture<F, S, T, O>
    where
        S: Surroundings,
        T: Routes,
        O: Observer<T::Route>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(exchange) = this.exchange.take() {
                this.door.abandon(&exchange);
            }
        }
    }
}

impl<F, S, T, O, R, E> Future for AuthFuture<F, S, T, O>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<ApiError>,
    S: Surroundings,
    T: Routes,
    O: Observer<T::Route>,
{
    type Output = Result<Response<Either<Full<Bytes>, R>>, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (refusal, result) = match this.state.project() {
            StateProjection::Refused { refusal } => {
                (Some(*refusal), Err(ApiError::new(Code::of(refusal))))
            }
            StateProjection::Failed { error } => {
                (None, Err(error.take().unwrap_or(Code::InternalUnavailable.into())))
            }
            StateProjection::Inner { inner } => match ready!(inner.poll(cx)) {
                Ok(result) => (None, result.map_err(Into::into)),
                Err(panic) => (None, Err(panicked(&*panic))),
            },
        };
        let exchange = this.exchange.take().expect("a future is not polled after it was ready");
        Poll::Ready(Ok(this.door.answer(&exchange, refusal, result)))
    }
}
