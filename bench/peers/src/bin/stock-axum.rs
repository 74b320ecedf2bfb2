//! What anybody would write in an afternoon: axum with stock parts. It parses the key, takes its
//! SHA-256, looks it up in a `DashMap`, spends from a `governor` limit of the account, and answers
//! `GET /v3/me` with the headers and the JSON of the guide.
//!
//! It has no usage counts, no request records, no log, no statuses, expiry, permissions, networks or
//! profiles, and forgets everything when it ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use keyward_bench_peers::Arguments;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMIT: u32 = 1_000_000;

struct Known {
    id: Uuid,
    name: String,
    account: usize,
}

struct Door {
    keys: DashMap<[u8; 32], Arc<Known>>,
    limits: DefaultKeyedRateLimiter<usize>,
    clock: DefaultClock,
    account_names: Vec<String>,
}

#[derive(Clone)]
struct Caller {
    key: Arc<Known>,
    request_id: Uuid,
}

#[derive(Serialize)]
struct Meta {
    request_id: String,
    timestamp: u64,
    version: &'static str,
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    message: &'static str,
    doc_url: String,
}

#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    data: Option<T>,
    error: Option<ErrorBody>,
    meta: Meta,
}

#[derive(Serialize)]
struct Key<'a> {
    id: Uuid,
    name: &'a str,
    environment: &'static str,
    permissions: [&'static str; 7],
}

#[derive(Serialize)]
struct Me<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    email: Option<&'a str>,
    icon: Option<&'a str>,
    description: Option<&'a str>,
    created_at: &'static str,
    settings: Option<&'a str>,
    profiles: [u8; 0],
    key: Key<'a>,
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn meta(request_id: Uuid) -> Meta {
    Meta { request_id: format!("req_{}", request_id.simple()), timestamp: seconds(), version: "v3" }
}

fn refused(status: StatusCode, code: &'static str, message: &'static str, id: Uuid) -> Response {
    let doc_url = format!("https://docs.sent.dm/errors/{code}");
    let error = Some(ErrorBody { code, message, doc_url });
    let envelope = Envelope::<()> { success: false, data: None, error, meta: meta(id) };
    (status, axum::Json(envelope)).into_response()
}

async fn authenticate(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let request_id = Uuid::new_v4();
    let known = request
        .headers()
        .get("x-api-key")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| Uuid::try_parse(text).ok())
        .and_then(|key| {
            let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
            door.keys.get(&digest).map(|known| Arc::clone(&known))
        });
    let mut response = match known {
        None => refused(
            StatusCode::UNAUTHORIZED,
            "AUTH_002",
            "Invalid or expired API key",
            request_id,
        ),
        Some(key) => match door.limits.check_key(&key.account) {
            Err(until) => {
                let wait = until.wait_time_from(door.clock.now()).as_secs() + 1;
                let mut response = refused(
                    StatusCode::TOO_MANY_REQUESTS,
                    "BUSINESS_002",
                    "Rate limit exceeded",
                    request_id,
                );
                response.headers_mut().insert("retry-after", HeaderValue::from(wait));
                response
            }
            Ok(()) => {
                request.extensions_mut().insert(Caller { key, request_id });
                let mut response = next.run(request).await;
                let headers = response.headers_mut();
                headers.insert("x-ratelimit-limit", HeaderValue::from(LIMIT));
                headers.insert("x-ratelimit-remaining", HeaderValue::from(LIMIT - 1));
                headers.insert("x-ratelimit-reset", HeaderValue::from(seconds() + 60));
                response
            }
        },
    };
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::from_str(&text).expect("it is ASCII");
    headers.insert("x-request-id", text(format!("req_{}", request_id.simple())));
    headers.insert("x-response-time", text(format!("{}ms", started.elapsed().as_millis())));
    headers.insert("x-api-version", HeaderValue::from_static("v3"));
    response
}

async fn me(State(door): State<Arc<Door>>, Extension(caller): Extension<Caller>) -> Response {
    let account = &door.account_names[caller.key.account];
    let me = Me {
        id: Uuid::from_u128(caller.key.account as u128),
        kind: "organization",
        name: account,
        email: None,
        icon: None,
        description: None,
        created_at: "2026-01-01T00:00:00Z",
        settings: None,
        profiles: [],
        key: Key {
            id: caller.key.id,
            name: &caller.key.name,
            environment: "production",
            permissions: [
                "contacts:read",
                "contacts:write",
                "users:read",
                "users:write",
                "webhooks:read",
                "webhooks:write",
                "webhooks:rotate_secret",
            ],
        },
    };
    let meta = meta(caller.request_id);
    axum::Json(Envelope { success: true, data: Some(me), error: None, meta }).into_response()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::read();
    let keys = DashMap::new();
    let mut n_accounts = 0;
    for (key, account) in keyward_bench_peers::keys(arguments.text("keys")) {
        let key = Uuid::try_parse(&key).expect("keys are UUIDs");
        let known = Known { id: Uuid::now_v7(), name: String::from("bench"), account };
        keys.insert(Sha256::digest(key.as_bytes()).into(), Arc::new(known));
        n_accounts = n_accounts.max(account + 1);
    }
    let quota = Quota::per_minute(NonZeroU32::new(LIMIT).expect("it is not 0"));
    let door = Arc::new(Door {
        keys,
        limits: DefaultKeyedRateLimiter::dashmap(quota),
        clock: DefaultClock::default(),
        account_names: (0..n_accounts).map(|number| format!("bench {number}")).collect(),
    });
    let router = Router::new()
        .route("/v3/me", get(me))
        .layer(middleware::from_fn_with_state(Arc::clone(&door), authenticate))
        .with_state(door);
    let listener = tokio::net::TcpListener::bind(arguments.listen()).await.expect("it can listen");
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    }), router)
    .await
    .expect("it serves until it is killed");
}
