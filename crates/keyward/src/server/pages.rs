//! The documents at `/docs` and the description at `/openapi.json`, for everybody.
//!
//! To write one takes a hundred times as long as to check a key, and anybody may ask for it: so they are
//! kept as they were written.
//!
//! Bound: 64 documents, about 20 MB; then all are forgotten and written anew when they are asked for.
//! Locks: one, held to copy a pointer, by requests for documents only.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http::{HeaderValue, StatusCode};
use keyward_tower::{ApiError, Code};

use super::open::{Request, base, page, text};
use super::openapi;
use crate::docs::{guide, reference};
use crate::v3::Answer;

/// What a page may do: show itself, and call this server from its own script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const MOST_KEPT: usize = 64;

/// By path, by this server's address as the reader sees it, and by what error answers point at.
type Kept = HashMap<[Box<str>; 3], Bytes>;
static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// Nothing that can panic happens while the lock is held, so a poisoned one is good.
fn lock() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A document as it was written before, or is now.
fn kept<E>(request: &Request, write: impl FnOnce(&str) -> Result<String, E>) -> Result<Bytes, E> {
    let base = base(request);
    let key = [request.parts.uri.path(), &base, &request.docs_url].map(Box::from);
    if let Some(document) = lock().get(&key) {
        return Ok(document.clone());
    }
    let document = Bytes::from(write(&base)?);
    let mut kept = lock();
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
    kept.insert(key, document.clone());
    Ok(document)
}

fn document(html: Result<Bytes, askama::Error>) -> Answer {
    let mut response = page(StatusCode::OK, html)?;
    let policy = HeaderValue::from_static(POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

macro_rules! guides {
    ($($(#[$doc:meta])* $name:ident => $page:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// INTERNAL_001 if the page cannot be made.
        pub async fn $name(request: Request) -> Answer {
            document(kept(&request, |base| guide::page($page, base, &request.docs_url)))
        }
    )*};
}

guides! {
    /// `GET /docs`
    start => guide::Page::Start;
    /// `GET /docs/authentication`
    authentication => guide::Page::Authentication;
    /// `GET /docs/rate-limits`
    rate_limits => guide::Page::RateLimits;
    /// `GET /docs/errors`
    errors => guide::Page::Errors;
}

/// `GET /docs/reference`: the list of all endpoints, from the description.
///
/// # Errors
/// INTERNAL_001 if the page cannot be made.
pub async fn reference(request: Request) -> Answer {
    let places: Vec<_> = openapi::groups().collect();
    let write = |base: &str| reference::page(openapi::description(), base, &places, None);
    document(kept(&request, write))
}

/// `GET /docs/reference/{name}`: the endpoints of a group.
///
/// # Errors
/// REQUEST_001 if there is no such group, INTERNAL_001 if the page cannot be made.
pub async fn reference_group(request: Request) -> Answer {
    let places: Vec<_> = openapi::groups().collect();
    let wanted = request.parameter.as_deref();
    let shown = places.iter().map(|(_, place)| *place).find(|place| Some(*place) == wanted);
    let Some(shown) = shown else { return Err(ApiError::new(Code::EndpointNotFound)) };
    let write = |base: &str| reference::page(openapi::description(), base, &places, Some(shown));
    document(kept(&request, write))
}

/// `GET /docs/try.js`: what sends a call from the reference.
///
/// # Errors
/// None.
pub async fn try_script(_: Request) -> Answer {
    let mut response = text("text/javascript; charset=utf-8", reference::SCRIPT);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Ok(response)
}

/// `GET /openapi.json`
///
/// # Errors
/// None.
pub async fn description(request: Request) -> Answer {
    let Ok(json) =
        kept(&request, |base| Ok::<_, Infallible>(openapi::text(base, &request.docs_url)));
    Ok(text("application/json; charset=utf-8", json))
}
