//! The JSON API: handlers and wire types, a resource a file. Contract 8.

pub mod contacts;
pub mod description;
pub mod error;
pub mod extract;
pub mod me;
pub mod page;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, request};
use http_body_util::Full;
use hyper::body::Incoming;
use keyward_core::id::NotAUuid;
use keyward_core::time::UnixMillis;
use keyward_core::verdict::Caller;
use keyward_tower::headers::X_SANDBOX;
use keyward_tower::{ApiError, Code, RequestId, envelope};
use serde::Serialize;

use crate::app::App;

/// What a handler gives.
pub type Answer = Result<Response<Full<Bytes>>, ApiError>;

/// One request that has passed the door, with everything that a handler needs.
pub struct Request {
    pub app: Arc<App>,
    pub caller: Caller,
    pub request_id: RequestId,
    /// The clock, read once for the request.
    pub at: UnixMillis,
    pub parts: request::Parts,
    pub body: Incoming,
    /// What stands in the path for `{id}`, as it was sent.
    pub id: Option<String>,
    pub max_body_bytes: usize,
}

impl Request {
    /// The identifier in the path.
    fn id<T: std::str::FromStr<Err = NotAUuid>>(&self) -> Result<T, ApiError> {
        let id = self.id.as_deref().unwrap_or_default();
        id.parse().map_err(|_| ApiError::new(Code::UuidInvalid))
    }

    /// An answer with data.
    fn answer<T: Serialize>(&self, status: StatusCode, data: &T, is_sandbox: bool) -> Answer {
        let body = envelope::success(self.request_id, self.at, data)
            .map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if is_sandbox {
            headers.insert(X_SANDBOX, HeaderValue::from_static("true"));
        }
        Ok(response)
    }
}

/// 204: no body, the same headers.
fn no_content(is_sandbox: bool) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if is_sandbox {
        response.headers_mut().insert(X_SANDBOX, HeaderValue::from_static("true"));
    }
    Ok(response)
}
