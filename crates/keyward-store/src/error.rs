//! Why the store did not do something.

use std::io;
use std::path::Path;

use rusqlite::ffi::ErrorCode;

/// What the system says when a disk reports errors, for which there is no kind.
const EIO: i32 = 5;

/// A rule of the database that a change would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    AccountName,
    ContactNumber,
    IdempotencyKey,
    KeyDigest,
    PasskeyCredential,
    UserEmail,
    Other,
}

/// A variant exists if somebody acts on it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("it exists already ({0:?})")]
    Conflict(Constraint),
    #[error(
        "the data folder cannot be written: check its owner, its rights and that the disk is not \
         mounted read-only"
    )]
    ReadOnly,
    #[error("the disk is full: make room on the disk of the data folder")]
    Full,
    #[error(
        "the disk reports errors: look at the system's log, and check the disk of the data folder \
         and its limits"
    )]
    Failing,
    #[error("the disk does not keep up: look what else uses the disk of the data folder")]
    Slow,
    #[error(
        "the disk failed when all was written: whether the change was made shows after the next start"
    )]
    InDoubt,
    /// It cannot even be read, and what hinders it is named.
    #[error("{why}, and {because}")]
    NotOpened { why: String, because: Box<Self> },
    #[error("the store is busy: try again")]
    Busy,
    #[error(
        "the database has version {found}, this program knows up to {known}: use the newer program \
         that made it, or restore a backup"
    )]
    Newer { found: i64, known: i64 },
    #[error("the database is damaged or no database: restore a backup ({0})")]
    Corrupt(String),
    #[error("the database reports: {0}")]
    Engine(String),
}

impl StoreError {
    pub(crate) fn stopped() -> Self {
        Self::Engine(String::from("the store was closed"))
    }

    pub(crate) fn of_file(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            _ if error.raw_os_error() == Some(EIO) => Self::Failing,
            _ => Self::Engine(format!("{}: {error}", path.display())),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return Self::Engine(error.to_string());
        };
        match failure.code {
            ErrorCode::ConstraintViolation => {
                Self::Conflict(constraint(message.as_deref().unwrap_or_default()))
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                Self::ReadOnly
            }
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::SystemIoFailure => Self::Failing,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::Corrupt(message.clone().unwrap_or_default())
            }
            _ => Self::Engine(error.to_string()),
        }
    }
}

/// SQLite names the columns: `UNIQUE constraint failed: keys.digest`.
fn constraint(message: &str) -> Constraint {
    let known = [
        ("accounts.name", Constraint::AccountName),
        ("contacts.format_e164", Constraint::ContactNumber),
        ("idempotency.digest", Constraint::IdempotencyKey),
        ("keys.digest", Constraint::KeyDigest),
        ("passkeys.credential", Constraint::PasskeyCredential),
        ("users.email", Constraint::UserEmail),
    ];
    let found = known.into_iter().find(|(columns, _)| message.contains(columns));
    found.map_or(Constraint::Other, |(_, constraint)| constraint)
}
