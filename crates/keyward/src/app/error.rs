//! Why something was not done, in the product's words. The faces translate it.

use std::collections::BTreeMap;
use std::error::Error;

use keyward_core::id::NotAUuid;
use keyward_store::StoreError;

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Account,
    ApiKey,
    Contact,
    User,
    Session,
    Alert,
    /// A request that is remembered.
    Request,
    /// A link that works once: setup, invitation, reset.
    Link,
    Passkey,
    /// What a passkey is asked to sign.
    Challenge,
    Webhook,
    /// What was or is to be sent to a webhook.
    Event,
}

impl Resource {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::ApiKey => "key",
            Self::Contact => "contact",
            Self::User => "member",
            Self::Session => "session",
            Self::Alert => "alert",
            Self::Request => "request",
            Self::Link => "link",
            Self::Passkey => "passkey",
            Self::Challenge => "challenge",
            Self::Webhook => "webhook",
            Self::Event => "event",
        }
    }
}

/// Sentences by field.
pub type Faults = BTreeMap<String, Vec<String>>;

/// Why something was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("there is no such {}", .0.as_str())]
    NotFound(Resource),
    /// It exists already.
    #[error("{0}")]
    Taken(String),
    #[error("{}", sentences(.0))]
    Invalid(Faults),
    /// The one fault is a phone number that is not E.164.
    #[error("{0}")]
    PhoneNumber(String),
    /// The role or the permissions of who asks do not allow it.
    #[error("your role does not allow this")]
    NotAllowed,
    /// The same for an unknown name and a wrong password.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// A password or a second factor must be given first.
    #[error("confirm with your password first")]
    NotConfirmed,
    /// Too many wrong attempts: to be tried again after so many seconds.
    #[error("too many wrong attempts: try again in {0} s")]
    TooManyAttempts(u64),
    /// A rule forbids it.
    #[error("{0}")]
    Forbidden(String),
    /// There are as many as there may be.
    #[error("{0}")]
    Quota(String),
    /// Another request with the same Idempotency-Key is being answered.
    #[error("another request with this Idempotency-Key is in progress")]
    InProgress,
    /// The store cannot do it at the moment.
    #[error(transparent)]
    Unavailable(StoreError),
    #[error("internal error: {0}")]
    Internal(Box<dyn Error + Send + Sync>),
}

fn sentences(faults: &Faults) -> String {
    let lines = faults.iter().flat_map(|(field, sentences)| {
        sentences.iter().map(move |text| format!("{field}: {text}"))
    });
    lines.collect::<Vec<_>>().join("; ")
}

impl AppError {
    #[must_use]
    pub fn invalid(field: &str, sentence: impl Into<String>) -> Self {
        Self::Invalid(Faults::from([(field.to_owned(), vec![sentence.into()])]))
    }

    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl From<NotAUuid> for AppError {
    fn from(error: NotAUuid) -> Self {
        Self::invalid("id", error.to_string())
    }
}
