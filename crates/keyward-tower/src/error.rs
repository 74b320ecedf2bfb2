//! What an answer fails with: one half for the caller, one for the log.

use std::convert::Infallible;
use std::error::Error;

use crate::code::Code;
use crate::envelope::Details;

/// A failed request. It has no `Serialize`: only [`envelope`](crate::envelope) writes it out.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    message: Option<String>,
    details: Details,
    allow: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self { code, message: None, details: Details::new(), allow: None, cause: None }
    }

    /// Says it in other words than the catalogue. Not for the guide's three messages.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds a sentence about a field.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>, sentence: impl Into<String>) -> Self {
        self.details.entry(field.into()).or_default().push(sentence.into());
        self
    }

    /// Names the methods that would be allowed: the `Allow` header of a 405.
    #[must_use]
    pub fn allowing(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    /// Keeps what went wrong, for the log alone.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    #[must_use]
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(self.code.message())
    }

    #[must_use]
    pub const fn details(&self) -> &Details {
        &self.details
    }

    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        self.allow.as_deref()
    }

    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.cause.as_deref()
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<Infallible> for ApiError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
