//! What can be done, whoever asks. The only code that writes to the store.
//!
//! A function here checks, writes in one transaction, and before it returns has the change put in
//! force wherever keys are verified: in this process, or in the server that runs on the same data.

pub mod accounts;
pub mod actor;
pub mod chance;
pub mod clock;
pub mod contacts;
pub mod error;
pub mod explain;
pub mod import;
pub mod keys;
pub mod phone;
pub mod reach;
pub mod usage;

use keyward_core::id::{AccountId, ContactId, KeyId, UserId};
use keyward_core::time::UnixMillis;
use keyward_store::Store;

pub use actor::Actor;
pub use chance::Chance;
pub use clock::Clock;
pub use error::{AppError, Faults, Resource};
pub use reach::Reach;

/// Everything that the application works with.
pub struct App {
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    /// Where keys are verified.
    pub reach: Reach,
}

macro_rules! new_ids {
    ($($function:ident -> $id:ty;)*) => {$(
        pub(crate) fn $function(&self, at: UnixMillis) -> $id {
            let mut random = [0; 10];
            self.chance.fill(&mut random);
            <$id>::new(at, random)
        }
    )*};
}

impl App {
    new_ids! {
        new_account_id -> AccountId;
        new_contact_id -> ContactId;
        new_key_id -> KeyId;
        new_user_id -> UserId;
    }

    /// Puts what was just committed in force. To be awaited before anything is acknowledged.
    pub(crate) async fn put_in_force(&self) -> Result<(), AppError> {
        self.reach.put_in_force(&self.store).await
    }
}

/// A name as it is stored: no space around it, nothing that moves a cursor, not too long.
pub(crate) fn check_name(field: &str, name: &str, most: usize) -> Result<String, AppError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(AppError::invalid(field, "must not be empty"));
    }
    if name.chars().count() > most {
        return Err(AppError::invalid(field, format!("must not be longer than {most} characters")));
    }
    if name.chars().any(char::is_control) {
        return Err(AppError::invalid(field, "must not contain control characters"));
    }
    Ok(name.to_owned())
}
