//! The door with a service behind it: any method, path and headers. Each answer has the guide's headers and
//! a body that is JSON where it says so; the key that was sent is in none of them, and reaches nobody
//! behind the door.
#![no_main]

use std::cell::Cell;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{Ready, ready};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use keyward_core::account::{Limits, RateClass};
use keyward_core::key::ApiKey;
use keyward_core::time::Moment;
use keyward_fuzz_door::pieces::Pieces;
use keyward_fuzz_door::world::{self, Kind};
use keyward_tower::{
    Access, Answered, ApiError, AuthLayer, Code, Door, Observer, Passage, Peer, Routes,
    Surroundings, envelope,
};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer as _;
use tower_service::Service;

struct Held;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static TOLD: Cell<Option<(StatusCode, bool)>> = const { Cell::new(None) };
}

impl Surroundings for Held {
    fn now(&self) -> Moment {
        world::moment(NOW.get())
    }

    fn micros(&self) -> u64 {
        NOW.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = NOW.get().to_be_bytes()[place % 8];
        }
    }
}

struct Table;

impl Routes for Table {
    type Route = ();

    fn find(&self, method: &Method, path: &str) -> (Access, ()) {
        let guarded = |class, is_account_exempt| Access::Guarded { class, is_account_exempt };
        let access = match (method.as_str(), path) {
            (_, "/open") => Access::Open,
            ("GET", "/v3/me") => guarded(RateClass::Standard, true),
            ("POST", "/v3/users") => guarded(RateClass::Sensitive, false),
            _ => guarded(RateClass::Standard, false),
        };
        (access, ())
    }
}

struct Told;

impl Observer<()> for Told {
    fn answered(&self, answered: &Answered<'_, ()>) {
        assert!(TOLD.get().is_none(), "told twice");
        TOLD.set(Some((answered.status, answered.caller.is_some())));
    }
}

/// What is behind the door.
#[derive(Clone)]
struct Inner;

impl Service<Request<Full<Bytes>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = ApiError;
    type Future = Ready<Result<Self::Response, ApiError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(!request.headers().contains_key("x-api-key"), "the key came past the door");
        let passage = request.extensions().get::<Passage<()>>().expect("the door leaves one");
        let is_open = request.uri().path() == "/open";
        assert!(is_open || passage.caller.is_some(), "nobody enters without a key");
        // Whatever a caller sends can end up in what is said about a field.
        let said = request.headers().get("said").map(|v| String::from_utf8_lossy(v.as_bytes()));
        let said = said.unwrap_or_default();
        ready(match request.uri().path() {
            "/v3/fail" => Err(ApiError::new(Code::RequestInvalid)
                .about(said.clone(), said.clone())
                .saying(said)),
            _ => envelope::success(passage.request_id, passage.at.wall, &said.as_ref())
                .map(|body| Response::new(Full::new(body)))
                .map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error)),
        })
    }
}

/// Whether a key stands in what was written, in any letter case.
fn shows(part: &[u8], key: &str) -> bool {
    String::from_utf8_lossy(part).to_ascii_lowercase().contains(key)
}

type Guard = Door<Held, Table, Told>;

static DOOR: LazyLock<Arc<Guard>> = LazyLock::new(|| {
    Arc::new(Door {
        verifier: Arc::new(world::verifier(Limits::GUIDE, 60)),
        surroundings: Held,
        routes: Table,
        observer: Told,
        docs_url: String::from("https://docs.sent.dm/errors"),
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
    })
});

fn request(pieces: &mut Pieces<'_>) -> Option<Request<Full<Bytes>>> {
    let peer = Peer { address: (pieces.address(), 50_000).into(), is_encrypted: false };
    let method = Method::from_bytes(pieces.line()).ok()?;
    let mut request = Request::builder().method(method).uri(pieces.text()?).extension(peer);
    while !pieces.is_empty() {
        let line = pieces.line();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            request = request.header(name, value);
        }
    }
    request.body(Full::default()).ok()
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    NOW.set(pieces.number());
    let Some(request) = request(&mut pieces) else { return };
    let keys: Vec<Vec<u8>> =
        request.headers().get_all("x-api-key").iter().map(|key| key.as_bytes().to_vec()).collect();
    // What has the form of a key, and was not sent in another header as well.
    let secrets: Vec<String> = keys
        .iter()
        .filter_map(|key| Some((*ApiKey::parse(key).ok()?.reveal()).clone()))
        .filter(|key| {
            let others = request.headers().iter().filter(|(name, _)| *name != "x-api-key");
            !others.into_iter().any(|(_, value)| shows(value.as_bytes(), key))
        })
        .collect();
    let is_open = request.uri().path() == "/open";
    let is_fail = request.uri().path() == "/v3/fail";
    TOLD.set(None);
    let mut door = AuthLayer::new(Arc::clone(&DOOR)).layer(Inner);
    let answer = door.call(request).now_or_never().expect("nothing here waits").expect("no error");
    let (head, body) = answer.into_parts();
    let body = body.collect().now_or_never().expect("it is whole").expect("no error").to_bytes();
    let (status, had_caller) = TOLD.take().expect("it was told");
    assert_eq!(status, head.status);
    for name in ["x-request-id", "x-api-version", "x-response-time"] {
        assert!(head.headers.contains_key(name), "{name}");
    }
    let json: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
    assert_eq!(json["meta"]["version"], "v3");
    let id = json["meta"]["request_id"].as_str().expect("there is one");
    assert_eq!(id.as_bytes(), head.headers["x-request-id"].as_bytes());
    assert_eq!(json["success"], head.status.is_success());
    if !is_open && !had_caller {
        assert!([401, 403, 404, 429, 400].contains(&head.status.as_u16()), "{status}");
        assert!(!head.status.is_success());
    }
    if had_caller {
        assert!(!is_open && keys.len() == 1 && Kind::of(&keys[0]).is_some());
        assert_eq!(head.headers.get_all("x-ratelimit-remaining").iter().count(), 1);
        if is_fail && head.status == 400 && json["error"]["code"] == "VALIDATION_001" {
            assert!(json["error"]["details"].is_object());
        }
    }
    for secret in secrets {
        let mut written = head.headers.iter().map(|(_, value)| value.as_bytes()).chain([&*body]);
        assert!(!written.any(|part| shows(part, &secret)), "a key was shown");
    }
});
