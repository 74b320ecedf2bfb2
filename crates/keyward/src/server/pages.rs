//! The documents at `/docs` and the description at `/openapi.json`, for everybody.

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

fn document(html: Result<String, askama::Error>) -> Answer {
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
            document(guide::page($page, &base(&request), &request.docs_url))
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
    document(reference::page(openapi::description(), &base(&request), &places, None))
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
    document(reference::page(openapi::description(), &base(&request), &places, Some(shown)))
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
    Ok(text("application/json; charset=utf-8", openapi::text(&base(&request), &request.docs_url)))
}
