//! Requests that may change something: the body is read, and one that names an `Idempotency-Key` is
//! carried out once. Contract 6.
//!
//! A handler hands [`Writer`] to the application, which calls it in the transaction of the change: the
//! answer is written there, and kept there if it is to be kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use keyward_core::time::UnixMillis;
use keyward_store::Tx;
use keyward_tower::headers::{IDEMPOTENT_REPLAYED, X_ORIGINAL_REQUEST_ID};
use keyward_tower::{ApiError, Code, RequestId, envelope};
use serde::Serialize;

use super::extract::{Object, idempotency_key};
use super::{Answer, Request, answer};
use crate::app::idempotency::{self, Begun, Turn};
use crate::app::{AppError, Faults, ThreadApp};

/// A request that may change something.
pub struct Change {
    pub request: Request,
    pub body: Object,
    /// Nothing is to be changed: `"sandbox": true`.
    pub is_sandbox: bool,
    pub writer: Writer,
}

/// Writes the answer.
pub struct Writer {
    app: Arc<ThreadApp>,
    request_id: RequestId,
    at: UnixMillis,
    turn: Option<Turn>,
}

/// An answer that is written, and kept if it was to be.
pub struct Written {
    answer: idempotency::Answer,
    /// Held until the change is committed: a twin that comes before must not take it for not made.
    _turn: Option<Turn>,
}

impl Written {
    /// The answer as it is sent.
    ///
    /// # Errors
    /// None; an answer is what a handler gives.
    pub fn answer(self) -> Answer {
        let idempotency::Answer { status, is_sandbox, body, .. } = self.answer;
        Ok(answer(status_of(status), body, is_sandbox))
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Reads what every change has and lets the handler carry it out; or repeats the answer to one that was
/// carried out before.
///
/// # Errors
/// 413, 415, 400, VALIDATION_007, CONFLICT_001, and what the handler fails with.
pub async fn carry_out(mut request: Request, handler: fn(Change) -> Answering) -> Answer {
    let body = request.object().await?;
    let key = idempotency_key(&request.parts.headers)?;
    let Request { app, caller, at, parts, .. } = &request;
    let mut turn = None;
    if let Some(key) = key {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        match idempotency::begin(app, caller, *at, method, path, key).await? {
            Begun::First(first) => turn = Some(first),
            Begun::Again(kept) => {
                // Whoever hung up before may have left it written and not yet in force.
                if idempotency::is_about_keys(path) {
                    app.put_in_force().await?;
                }
                return replay(kept);
            }
        }
    }
    // What is wrong with the switch is told with what is wrong with the fields.
    let is_sandbox = body.flag("sandbox", &mut Faults::new()).unwrap_or(false);
    let writer = Writer { app: Arc::clone(app), request_id: request.request_id, at: *at, turn };
    handler(Change { request, body, is_sandbox, writer }).await
}

/// The same status and body, byte for byte, and whose answer it was.
fn replay(kept: idempotency::Answer) -> Answer {
    let original = HeaderValue::try_from(kept.request_id.as_str())
        .map_err(|error| ApiError::new(Code::InternalUnexpected).caused_by(error))?;
    let mut response = answer(status_of(kept.status), kept.body, kept.is_sandbox);
    let headers = response.headers_mut();
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    headers.insert(X_ORIGINAL_REQUEST_ID, original);
    Ok(response)
}

impl Writer {
    fn render<T: Serialize>(
        &self,
        status: StatusCode,
        data: &T,
        is_sandbox: bool,
    ) -> Result<idempotency::Answer, AppError> {
        let body = envelope::success(self.request_id, self.at, data).map_err(AppError::internal)?;
        Ok(self.answer(status, body, is_sandbox))
    }

    fn answer(&self, status: StatusCode, body: Bytes, is_sandbox: bool) -> idempotency::Answer {
        let request_id = self.request_id.as_str().to_owned();
        idempotency::Answer { request_id, status: status.as_u16(), is_sandbox, body }
    }

    fn keep(self, tx: &mut Tx<'_>, answer: idempotency::Answer) -> Result<Written, AppError> {
        if let Some(turn) = &self.turn {
            turn.keep(tx, &self.app, self.at, &answer)?;
        }
        Ok(Written { answer, _turn: self.turn })
    }

    /// Writes an answer with data, in the transaction of the change.
    ///
    /// # Errors
    /// If it cannot be kept; the change is then undone.
    pub fn write<T: Serialize>(
        self,
        tx: &mut Tx<'_>,
        status: StatusCode,
        data: &T,
    ) -> Result<Written, AppError> {
        let answer = self.render(status, data, false)?;
        self.keep(tx, answer)
    }

    /// Writes 204, in the transaction of the change.
    ///
    /// # Errors
    /// If it cannot be kept; the change is then undone.
    pub fn no_content(self, tx: &mut Tx<'_>) -> Result<Written, AppError> {
        let answer = self.answer(StatusCode::NO_CONTENT, Bytes::new(), false);
        self.keep(tx, answer)
    }

    /// Answers as a change would be, of which there was none.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn pretend<T: Serialize>(self, status: StatusCode, data: &T) -> Answer {
        let answer = self.render(status, data, true)?;
        self.keep_alone(answer).await
    }

    /// Answers 204 as if something had been deleted.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn pretend_no_content(self) -> Answer {
        let answer = self.answer(StatusCode::NO_CONTENT, Bytes::new(), true);
        self.keep_alone(answer).await
    }

    /// Answers something that was done elsewhere than in the store.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn tell<T: Serialize>(self, data: &T) -> Answer {
        let answer = self.render(StatusCode::OK, data, false)?;
        self.keep_alone(answer).await
    }

    async fn keep_alone(self, answer: idempotency::Answer) -> Answer {
        let Self { app, at, turn, .. } = self;
        let written = match turn {
            Some(turn) => {
                let (answer, turn) = turn.keep_alone(Arc::clone(&app.0), at, answer).await?;
                Written { answer, _turn: Some(turn) }
            }
            None => Written { answer, _turn: None },
        };
        written.answer()
    }
}
