//! What is answered without a key: health, error pages, a greeting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::{HeaderValue, Response, StatusCode, request};
use http_body_util::Full;
use keyward_tower::{ApiError, Code};

use crate::app::App;
use crate::config::is_host;
use crate::docs;
use crate::v3::Answer;

/// A request to an open route.
pub struct Request {
    pub app: Arc<App>,
    pub parts: request::Parts,
    /// What stands in the path for a parameter.
    pub parameter: Option<String>,
    /// Set when the keys are loaded, and taken back when the server stops.
    pub is_ready: Arc<AtomicBool>,
    /// The connection is encrypted, or a trusted proxy says that the one before it is.
    pub is_https: bool,
    /// What error answers point at.
    pub docs_url: Arc<str>,
}

fn status(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

pub(super) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn page(status: StatusCode, html: Result<impl Into<Bytes>, askama::Error>) -> Answer {
    let html = html.map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
    let mut response = text("text/html; charset=utf-8", html);
    *response.status_mut() = status;
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// `GET /healthcheck`: 200, as the vendor's own check expects. Contract 8.
///
/// # Errors
/// None.
pub async fn healthcheck(_: Request) -> Answer {
    Ok(text("text/plain; charset=utf-8", "ok\n"))
}

/// `GET /health/live`: 204 as long as requests are answered at all.
///
/// # Errors
/// None.
pub async fn live(_: Request) -> Answer {
    status(StatusCode::NO_CONTENT)
}

/// `GET /health/ready`: 204 when the keys are loaded and the store answers.
///
/// # Errors
/// INTERNAL_005 otherwise.
pub async fn ready(request: Request) -> Answer {
    if !request.is_ready.load(Ordering::Acquire) {
        return Err(ApiError::new(Code::InternalUnavailable));
    }
    let asked = request.app.store.read(keyward_store::changes::current).await;
    asked.map_err(|error| ApiError::new(Code::InternalUnavailable).caused_by(error))?;
    status(StatusCode::NO_CONTENT)
}

/// `GET /errors`
///
/// # Errors
/// INTERNAL_001 if the page cannot be made.
pub async fn errors(request: Request) -> Answer {
    page(StatusCode::OK, docs::errors::index(&base(&request)))
}

/// `GET /errors/{code}`, and the style sheet beside the pages.
///
/// # Errors
/// INTERNAL_001 if the page cannot be made.
pub async fn error_page(request: Request) -> Answer {
    let wanted = request.parameter.as_deref().unwrap_or_default();
    if wanted == "style.css" {
        let mut response = text("text/css; charset=utf-8", docs::errors::STYLE);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        return Ok(response);
    }
    match Code::from_text(wanted) {
        Some(code) => {
            page(StatusCode::OK, docs::errors::page(code, &base(&request), &request.docs_url))
        }
        None => page(StatusCode::NOT_FOUND, docs::errors::not_found(&base(&request))),
    }
}

/// This server's address as the reader sees it, for the commands on the pages.
///
/// Only a host that looks like one is repeated.
pub(super) fn base(request: &Request) -> String {
    let host = request.parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let scheme = if request.is_https { "https" } else { "http" };
    format!("{scheme}://{}", host.filter(|host| is_host(host)).unwrap_or("127.0.0.1:8080"))
}
