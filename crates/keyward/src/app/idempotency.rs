//! `Idempotency-Key`: a change that is sent twice is done once, and answered twice. Contract 6.
//!
//! The answer is kept in the transaction of the change, so there is never one without the other. Of two
//! requests at once the second is refused: by a table of those in flight, and should it slip through,
//! by the store, which keeps one answer under a key and undoes the change that came second.
//!
//! Bound: `limit` answers are kept for each account, for 24 hours; one entry for each request in flight.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use keyward_core::id::AccountId;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_core::verdict::Caller;
use keyward_store::idempotency::{self, Kept};
use keyward_store::{Constraint, StoreError, Tx};
use sha2::{Digest as _, Sha256};

use super::{App, AppError};

/// How long an answer is kept.
const KEPT_MILLIS: i64 = DAY_MILLIS;
/// Forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u32 = 1000;

/// Which changes are being made at the moment.
#[derive(Default)]
pub struct InFlight(Arc<Mutex<HashSet<[u8; 32]>>>);

/// A change that names an `Idempotency-Key`. Others with the same one are refused until it is dropped,
/// which must not be before the change is committed.
pub struct Turn {
    digest: [u8; 32],
    account: AccountId,
    in_flight: Arc<Mutex<HashSet<[u8; 32]>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// An answer to be kept, or that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub request_id: String,
    pub status: u16,
    pub is_sandbox: bool,
    pub body: Bytes,
}

/// What became of asking for a turn.
pub enum Begun {
    First(Turn),
    /// It was answered before.
    Again(Answer),
}

/// Where an answer is kept: whose data, which call, which `Idempotency-Key`; whose key, if it is about
/// keys or shows a secret.
fn digest_of(caller: &Caller, method: &str, path: &str, key: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(caller.own_account().as_bytes());
    hasher.update(caller.account().as_bytes());
    for part in [caller.environment().as_str(), method, path, key] {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    // What is done to keys is done by one of them: another that says the same means itself. And what is shown
    // once is shown to the one that it was made for.
    if is_about_keys(path) || shows_signing_secret(method, path) {
        hasher.update(caller.key().as_bytes());
    }
    hasher.finalize().into()
}

/// True for a call about keys themselves.
pub fn is_about_keys(path: &str) -> bool {
    path.starts_with("/v3/api-keys")
}

/// True for a call that is answered with the signing secret of a webhook.
fn shows_signing_secret(method: &str, path: &str) -> bool {
    method == "POST" && (path == "/v3/webhooks" || path.ends_with("/rotate-secret"))
}

const fn older(at: UnixMillis) -> UnixMillis {
    UnixMillis(at.0 - KEPT_MILLIS)
}

fn purpose(digest: &[u8; 32]) -> Vec<u8> {
    [b"answer ", digest.as_slice()].concat()
}

/// Begins a change, or finds how it was answered.
///
/// # Errors
/// `InProgress` while another one with the same key is.
pub async fn begin(
    app: &App,
    caller: &Caller,
    at: UnixMillis,
    method: &str,
    path: &str,
    key: &str,
) -> Result<Begun, AppError> {
    let digest = digest_of(caller, method, path, key);
    let in_flight = Arc::clone(&app.in_flight.0);
    let is_first = in_flight.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    if !is_first {
        return Err(AppError::InProgress);
    }
    let account = caller.own_account();
    let turn = Turn { digest, account, in_flight };
    let found = app.read_for(account, move |tx| idempotency::find(tx, &digest, older(at))).await?;
    let Some(kept) = found else { return Ok(Begun::First(turn)) };
    let body = app.vault.open(&kept.body, &purpose(&digest))?;
    Ok(Begun::Again(Answer {
        request_id: kept.request_id,
        status: kept.status,
        is_sandbox: kept.is_sandbox,
        body: Bytes::copy_from_slice(&body),
    }))
}

impl Turn {
    /// Keeps the answer, in the transaction of the change.
    ///
    /// # Errors
    /// `InProgress` if another change was faster, `Quota` if the account has too many answers kept. The
    /// change is then undone.
    pub(crate) fn keep(
        &self,
        tx: &mut Tx<'_>,
        app: &App,
        at: UnixMillis,
        answer: &Answer,
    ) -> Result<(), AppError> {
        if idempotency::count(tx, self.account)? >= app.idempotency_limit {
            return Err(AppError::Quota(format!(
                "{} answers are kept for Idempotency-Key in this account: send without one, or wait \
                 until the first is 24 hours old",
                app.idempotency_limit
            )));
        }
        let kept = Kept {
            digest: self.digest,
            account: self.account,
            at,
            request_id: answer.request_id.clone(),
            status: answer.status,
            is_sandbox: answer.is_sandbox,
            body: app.vault.seal(&answer.body, &purpose(&self.digest))?,
        };
        match idempotency::insert(tx, &kept, older(at)) {
            Err(StoreError::Conflict(Constraint::IdempotencyKey)) => Err(AppError::InProgress),
            other => Ok(other?),
        }
    }

    /// Keeps an answer to something that changed nothing.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub(crate) async fn keep_alone(
        self,
        app: Arc<App>,
        at: UnixMillis,
        answer: Answer,
    ) -> Result<(Answer, Self), AppError> {
        let store = app.store.clone();
        store
            .write(move |tx| {
                self.keep(tx, &app, at, &answer)?;
                Ok((answer, self))
            })
            .await
    }
}

/// Forgets answers that are too old.
///
/// # Errors
/// If the store cannot write.
pub async fn forget(app: &App) -> Result<(), AppError> {
    if !app.forgetting.may(app.clock.now()) {
        return Ok(());
    }
    let before = older(app.clock.wall());
    loop {
        let n_gone = app
            .store
            .write(move |tx| Ok::<_, AppError>(idempotency::forget(tx, before, FORGOTTEN_AT_ONCE)?))
            .await?;
        if n_gone == 0 {
            return Ok(());
        }
    }
}
