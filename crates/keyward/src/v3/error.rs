//! From the product's words to the contract's codes: the one place.

use keyward_core::secret::hide_keys;
use keyward_store::StoreError;
use keyward_tower::{ApiError, Code};

use crate::app::{AppError, Resource};

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::NotFound(resource) => Self::new(match resource {
                Resource::Contact => Code::ContactNotFound,
                Resource::Account => Code::CustomerNotFound,
                Resource::User => Code::UserNotFound,
                Resource::ApiKey => Code::KeyNotFound,
                Resource::Session
                | Resource::Alert
                | Resource::Request
                | Resource::Link
                | Resource::Passkey
                | Resource::Challenge
                | Resource::Event => Code::EndpointNotFound,
                Resource::Webhook => Code::WebhookNotFound,
            }),
            AppError::Taken(message) => Self::new(Code::AlreadyExists).saying(message),
            AppError::Invalid(faults) => {
                let pairs = faults.into_iter().flat_map(|(field, sentences)| {
                    // A sentence may repeat a word that was sent.
                    let shown = |sentence: String| hide_keys(&sentence).into_owned();
                    sentences.into_iter().map(move |sentence| (field.clone(), shown(sentence)))
                });
                pairs.fold(Self::new(Code::RequestInvalid), |error, (field, sentence)| {
                    error.about(field, sentence)
                })
            }
            AppError::PhoneNumber(sentence) => {
                Self::new(Code::PhoneNumberInvalid).about("phone_number", sentence)
            }
            AppError::Forbidden(rule) => Self::new(Code::RequestInvalid).saying(sentence(&rule)),
            AppError::Quota(rule) => Self::new(Code::QuotaExceeded).saying(sentence(&rule)),
            AppError::InProgress => Self::new(Code::IdempotencyConflict),
            AppError::NotAllowed
            | AppError::NotConfirmed
            | AppError::WrongCredentials
            | AppError::TooManyAttempts(_) => Self::new(Code::PermissionMissing),
            AppError::Unavailable(cause) => match cause {
                StoreError::ReadOnly => unavailable("the data of the server is read-only"),
                StoreError::Full => unavailable("the disk of the server is full"),
                StoreError::Failing => unavailable("the disk of the server reports errors"),
                StoreError::Slow => unavailable("the disk of the server does not keep up"),
                StoreError::Busy => unavailable("too much is being changed"),
                StoreError::NotOpened { .. } => {
                    unavailable("the data of the server cannot be read")
                }
                StoreError::InDoubt => Self::new(Code::InternalUnavailable).saying(IN_DOUBT),
                // A conflict that nobody expected, and what the engine reports of itself.
                StoreError::Conflict(_)
                | StoreError::Newer { .. }
                | StoreError::Corrupt(_)
                | StoreError::Engine(_) => Self::new(Code::DatabaseFailed),
            }
            .caused_by(cause),
            AppError::Internal(cause) => Self::new(Code::InternalUnexpected).caused_by(cause),
        }
    }
}

const IN_DOUBT: &str = "Service temporarily unavailable: the disk of the server failed. Whether this was \
                        changed is not known: look, or send it again with its Idempotency-Key";

/// The reason as far as it helps who asks; the operator finds the whole in the log.
fn unavailable(reason: &str) -> ApiError {
    ApiError::new(Code::InternalUnavailable)
        .saying(format!("Service temporarily unavailable: {reason}. Nothing was changed"))
}

/// A rule as a sentence.
fn sentence(rule: &str) -> String {
    let mut characters = rule.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
