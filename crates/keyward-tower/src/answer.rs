//! Writing answers: dressed in the headers of the guide, counted, and told to the observer.

use std::any::Any;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use keyward_core::secret::hide_keys;
use keyward_core::time::Moment;
use keyward_core::usage::Outcome;
use keyward_core::verdict::Refusal;

use crate::code::Code;
use crate::envelope;
use crate::error::ApiError;
use crate::headers::{
    X_API_VERSION, X_PROFILE_ID, X_REQUEST_ID, X_RESPONSE_TIME, X_SHOULD_RETRY, number,
    put_allowance, response_time, with_room,
};
use crate::layer::{Answered, Door, Exchange, Observer, Routes, Surroundings};
use crate::request_id::RequestId;

/// What a panic said goes to the log, where it was caught; the answer tells nothing. It may repeat what a
/// request brought, as when a text is cut in the middle of a letter: what looks like a key is hidden.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> ApiError {
    let said = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::new(Code::InternalUnexpected).caused_by(format!("panicked: {}", hide_keys(&said)))
}

impl<S: Surroundings, T: Routes, O: Observer<T::Route>> Door<S, T, O> {
    /// Dresses an answer, counts it and tells the observer.
    pub(crate) fn answer<R>(
        &self,
        exchange: &Exchange<T::Route>,
        refusal: Option<Refusal>,
        result: Result<Response<R>, ApiError>,
    ) -> Response<Either<Full<Bytes>, R>> {
        let mut error = None;
        let mut response = match result {
            Ok(response) => response.map(Either::Right),
            Err(failed) => {
                let response = self.failure(exchange, &failed).map(Either::Left);
                error = Some(failed);
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, exchange.request_id.header_value());
        headers.insert(X_API_VERSION, HeaderValue::from_static("v3"));
        if let Some(allowance) = &exchange.allowance {
            put_allowance(headers, allowance, exchange.at);
        }
        if let Some(profile) = &exchange.profile {
            headers.insert(X_PROFILE_ID, profile.clone());
        }
        let micros = self.surroundings.micros().saturating_sub(exchange.started);
        headers.insert(X_RESPONSE_TIME, response_time(micros));
        let reason = refusal.as_ref().map(Refusal::reason);
        self.record(exchange, response.status(), micros, reason, error.as_ref());
        response
    }

    /// Counts a request whose client went away before it was answered. The status is the one that
    /// proxies log for it.
    pub(crate) fn abandon(&self, exchange: &Exchange<T::Route>) {
        let micros = self.surroundings.micros().saturating_sub(exchange.started);
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        self.record(exchange, status, micros, Some("client_gone"), None);
    }

    /// Counts a request and tells the observer.
    fn record(
        &self,
        exchange: &Exchange<T::Route>,
        status: StatusCode,
        micros: u64,
        reason: Option<&'static str>,
        error: Option<&ApiError>,
    ) {
        if let Some(caller) = &exchange.caller {
            let visit = exchange.visit(false);
            let client_name = exchange.client_name.as_bytes();
            self.verifier.count(caller, &visit, outcome_of(status), client_name);
        }
        self.observer.answered(&Answered {
            request_id: exchange.request_id,
            trace: exchange.trace,
            at: exchange.at,
            method: Some(&exchange.method),
            route: Some(&exchange.route),
            client: exchange.client,
            status,
            micros,
            caller: exchange.caller.as_ref(),
            known: exchange.known,
            reason,
            code: error.map(ApiError::code),
            cause: error.and_then(ApiError::cause),
            is_guarded: exchange.is_guarded,
            allowance: exchange.allowance,
            is_from_browser: exchange.is_from_browser,
            is_over_plain_http: exchange.is_over_plain_http,
        });
    }

    /// The answer to a request that could not be read as HTTP: the bytes to be written before the
    /// connection is closed. `lines` are further lines of its head, each with its end. Contract 1.
    pub fn unreadable(&self, code: Code, client: IpAddr, lines: &str) -> Vec<u8> {
        let at = self.surroundings.now();
        let mut random = [0; 20];
        self.surroundings.fill_random(&mut random);
        let request_id = RequestId::from_random(&random);
        let body = self.failure_body(&ApiError::new(code), request_id, at);
        let status = code.status();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\nx-request-id: {request_id}\r\n\
             x-api-version: v3\r\nx-response-time: 0ms\r\ncontent-length: {}\r\n\
             connection: close\r\n{lines}\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        self.observer.answered(&Answered {
            request_id,
            trace: None,
            at,
            method: None,
            route: None,
            client,
            status,
            micros: 0,
            caller: None,
            known: None,
            reason: None,
            code: Some(code),
            cause: None,
            is_guarded: false,
            allowance: None,
            is_from_browser: false,
            is_over_plain_http: false,
        });
        answer
    }

    fn failure_body(&self, error: &ApiError, id: RequestId, at: Moment) -> Bytes {
        let message = envelope::json_text(error.message());
        envelope::failure(error.code(), &message, &self.docs_url, error.details(), id, at.wall)
    }

    fn failure(&self, exchange: &Exchange<T::Route>, error: &ApiError) -> Response<Full<Bytes>> {
        let code = error.code();
        let body = self.failure_body(error, exchange.request_id, exchange.at);
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = code.status();
        *response.headers_mut() = with_room();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if code.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("ApiKey realm=\"v3\", header=\"x-api-key\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if code.status() == StatusCode::TOO_MANY_REQUESTS
            && let Some(allowance) = &exchange.allowance
        {
            headers.insert(RETRY_AFTER, number(allowance.retry_after_seconds()));
        }
        if code.is_permanent_conflict() {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(Ok(allow)) = error.allow().map(HeaderValue::from_str) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status {
        StatusCode::FORBIDDEN => Outcome::Forbidden,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Limited,
        status if status.is_server_error() => Outcome::Failed,
        status if status.is_client_error() => Outcome::Invalid,
        _ => Outcome::Ok,
    }
}
