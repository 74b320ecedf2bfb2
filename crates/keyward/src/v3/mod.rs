//! The JSON API: handlers and wire types, a resource a file. Contract 8.

pub mod api_keys;
pub mod change;
pub mod contacts;
pub mod description;
pub mod error;
pub mod extract;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod me;
pub mod page;
pub mod users;
pub mod webhooks;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, request};
use http_body_util::Full;
use hyper::body::Incoming;
use keyward_core::id::NotAUuid;
use keyward_core::time::UnixMillis;
use keyward_core::verdict::Caller;
use keyward_tower::headers::{X_SANDBOX, with_room};
use keyward_tower::{ApiError, Code, RequestId, envelope};
use serde::Serialize;

use crate::app::{Actor, Holder, ThreadApp};

/// What a handler gives.
pub type Answer = Result<Response<Full<Bytes>>, ApiError>;

/// One request that has passed the door, with everything that a handler needs.
pub struct Request {
    pub app: Arc<ThreadApp>,
    pub caller: Caller,
    /// Who sent it, behind proxies that are trusted.
    pub address: IpAddr,
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

    /// 200 with data.
    fn answer<T: Serialize>(&self, data: &T) -> Answer {
        let body = envelope::success(self.request_id, self.at, data)
            .map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
        Ok(answer(StatusCode::OK, body, false))
    }

    fn holder(&self) -> Holder {
        Holder { caller: self.caller, request_id: self.request_id, address: self.address }
    }

    fn actor(&self) -> Actor {
        Actor::Key(self.holder())
    }
}

/// A text of known length, as answers have them for identifiers and times: nothing is allocated for it.
#[derive(Clone, Copy)]
struct Short<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Short<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// As [`crate::when`].
fn when(at: UnixMillis) -> Short<20> {
    Short(envelope::timestamp_bytes(at))
}

/// An answer; one without a body has no type either.
fn answer(status: StatusCode, body: Bytes, is_sandbox: bool) -> Response<Full<Bytes>> {
    let has_body = !body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = with_room();
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if is_sandbox {
        headers.insert(X_SANDBOX, HeaderValue::from_static("true"));
    }
    response
}
