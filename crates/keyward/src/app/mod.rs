//! What can be done, whoever asks. The only code that writes to the store.
//!
//! A function here checks, writes in one transaction, and before it returns has the change put in
//! force wherever keys are verified: in this process, or in the server that runs on the same data.

pub mod accounts;
pub mod actor;
pub mod alerts;
pub mod audit;
pub mod chance;
pub mod clock;
pub mod contacts;
pub mod error;
pub mod explain;
pub mod factors;
pub mod findings;
pub mod import;
pub mod keys;
pub mod notices;
pub mod once;
#[cfg(feature = "passkeys")]
pub mod passkeys;
pub mod passwords;
pub mod people;
pub mod phone;
pub mod reach;
pub mod records;
pub mod requests;
pub mod sessions;
mod story;
pub mod throttle;
mod tokens;
pub mod usage;
pub mod vault;

use std::path::Path;
use std::sync::Mutex;

use keyward_core::id::{AccountId, AlertId, ContactId, KeyId, SessionId, UserId};
use keyward_core::time::UnixMillis;
use keyward_store::Store;

use crate::mail::Mailer;
use crate::observe::records::Records;

pub use actor::Actor;
pub use chance::Chance;
pub use clock::Clock;
pub use error::{AppError, Faults, Resource};
pub use reach::Reach;
pub use tokens::Token;

/// Everything that the application works with.
pub struct App {
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    /// Where keys are verified.
    pub reach: Reach,
    pub passwords: passwords::Passwords,
    pub throttle: throttle::Throttle,
    #[cfg(feature = "passkeys")]
    pub passkeys: passkeys::Passkeys,
    pub once: once::Once,
    pub vault: vault::Vault,
    /// Without it no mail is sent.
    pub mailer: Option<Mailer>,
    /// How requests are remembered.
    pub retention: requests::Retention,
    pub records: Records,
    /// Networks from which keys were used for the first time.
    pub(crate) new_networks: Mutex<requests::NewNetworks>,
    /// Where people reach the dashboard, for links in mails; `None` if nobody said.
    pub public_url: Option<String>,
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
    #[must_use]
    pub fn new(store: Store, clock: Clock, chance: Chance, reach: Reach, data_dir: &Path) -> Self {
        Self {
            store,
            clock,
            chance,
            reach,
            passwords: passwords::Passwords::default(),
            throttle: throttle::Throttle::default(),
            #[cfg(feature = "passkeys")]
            passkeys: passkeys::Passkeys::default(),
            once: once::Once::default(),
            vault: vault::Vault::new(data_dir),
            mailer: None,
            retention: requests::Retention { records: 0, days: 0 },
            records: Records::new(false),
            new_networks: Mutex::default(),
            public_url: None,
        }
    }

    new_ids! {
        new_account_id -> AccountId;
        new_alert_id -> AlertId;
        new_contact_id -> ContactId;
        new_key_id -> KeyId;
        new_session_id -> SessionId;
        new_user_id -> UserId;
    }

    #[cfg(feature = "passkeys")]
    new_ids! { new_passkey_id -> keyward_core::id::PasskeyId; }

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
