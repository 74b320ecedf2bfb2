//! What can be done, whoever asks. The only code that writes to the store.
//!
//! A function here checks, writes in one transaction, and before it returns has the change put in
//! force wherever keys are verified: in this process, or in the server that runs on the same data.

pub mod accounts;
pub mod actor;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod bodies;
pub mod chance;
pub mod clock;
pub mod contacts;
pub mod error;
pub mod expiry;
pub mod explain;
pub mod factors;
pub mod findings;
pub mod forgetting;
pub mod idempotency;
pub mod import;
pub mod keys;
pub mod notices;
pub mod once;
#[cfg(feature = "passkeys")]
pub mod passkeys;
pub mod passwords;
pub mod people;
pub mod phone;
mod plain_lines;
pub mod reach;
pub mod records;
pub mod requests;
pub mod restore;
pub mod sessions;
mod story;
pub mod throttle;
mod tokens;
pub mod usage;
pub mod vault;
pub mod webhooks;

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use keyward_core::id::{AccountId, AlertId, ContactId, KeyId, SessionId, UserId, WebhookId};
use keyward_core::secret::digests_in;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_store::{Store, StoreError, Tx};
use percent_encoding::percent_decode_str;

use crate::config::Settings;
use crate::mail::Mailer;
use crate::observe::records::Records;
use crate::outbound::Outbound;

pub use actor::{Actor, Holder};
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
    /// Memory for bodies that are being sent.
    pub bodies: Arc<bodies::Bodies>,
    pub vault: vault::Vault,
    /// Changes that name an `Idempotency-Key` and are being made.
    pub in_flight: idempotency::InFlight,
    /// Answers that are kept for each account at most.
    pub idempotency_limit: u64,
    pub outbound: Outbound,
    pub deliveries: webhooks::deliver::Deliveries,
    /// Webhooks that an account may have.
    pub webhook_limit: u64,
    /// For how long a replaced signing secret signs as well.
    pub webhook_secret_grace_millis: i64,
    /// For how long events are kept.
    pub webhook_event_millis: i64,
    /// When what is too old may be deleted.
    pub forgetting: forgetting::Forgetting,
    /// Without it no mail is sent.
    pub mailer: Option<Mailer>,
    /// How requests are remembered.
    pub retention: requests::Retention,
    pub records: Records,
    /// Networks from which keys were used for the first time.
    pub(crate) new_networks: Mutex<requests::NewNetworks>,
    /// Where people reach the dashboard, for links in mails; `None` if nobody said.
    pub public_url: Option<String>,
    /// Other machines reach this server over plain HTTP.
    pub is_open_http: bool,
}

/// The application as one thread that serves holds it: each request takes and drops references to it, and
/// threads that counted those in one place would wait for one another.
pub struct ThreadApp(pub Arc<App>);

impl Deref for ThreadApp {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
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
    /// Reads from the store for an account. Accounts have turns; an organization has them together with its
    /// profiles, which spend its limits.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_for<T, E, F>(
        &self,
        account: impl Into<Option<AccountId>>,
        f: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let owner = account.into().map(|account| self.reach.organization_of(account));
        self.store.read_for(owner, f).await
    }

    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        chance: Chance,
        reach: Reach,
        outbound: Outbound,
        settings: &Settings,
    ) -> Self {
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
            bodies: Arc::new(bodies::Bodies::new(settings.max_body_bytes)),
            vault: vault::Vault::new(&settings.data_dir),
            in_flight: idempotency::InFlight::default(),
            idempotency_limit: settings.idempotency_limit.unsigned_abs(),
            outbound,
            deliveries: webhooks::deliver::Deliveries::default(),
            webhook_limit: settings.webhook_limit.unsigned_abs(),
            webhook_secret_grace_millis: settings.webhook_secret_grace_hours * HOUR_MILLIS,
            webhook_event_millis: settings.webhook_event_days * DAY_MILLIS,
            forgetting: forgetting::Forgetting::default(),
            mailer: None,
            retention: requests::Retention {
                records: settings.request_records.unsigned_abs(),
                days: settings.request_days.unsigned_abs(),
            },
            records: Records::new(settings.request_records > 0),
            new_networks: Mutex::default(),
            public_url: settings.public_url.clone(),
            is_open_http: settings.is_open_http(),
        }
    }

    new_ids! {
        new_account_id -> AccountId;
        new_alert_id -> AlertId;
        new_contact_id -> ContactId;
        new_key_id -> KeyId;
        new_session_id -> SessionId;
        new_user_id -> UserId;
        new_webhook_id -> WebhookId;
    }

    #[cfg(feature = "passkeys")]
    new_ids! { new_passkey_id -> keyward_core::id::PasskeyId; }

    /// A name as it is stored, with no key in it: see [`Self::check_no_key`].
    pub(crate) fn check_name(
        &self,
        field: &str,
        name: &str,
        most: usize,
    ) -> Result<String, AppError> {
        let name = check_name(field, name, most)?;
        self.check_no_key(field, &name)?;
        Ok(name)
    }

    /// Refuses a text that is kept and shown, such as a name, if somebody pasted a key of this server there.
    /// Other UUIDs may stand in it.
    pub(crate) fn check_no_key(&self, field: &str, text: &str) -> Result<(), AppError> {
        let mut digests = spellings(text).flat_map(|text| digests_in(&text).collect::<Vec<_>>());
        if self.reach.knows_any(&self.store, &mut digests)? {
            return Err(AppError::invalid(field, HOLDS_A_KEY));
        }
        Ok(())
    }

    /// Puts what was just committed in force. To be awaited before anything is acknowledged.
    pub(crate) async fn put_in_force(&self) -> Result<(), AppError> {
        self.reach.put_in_force(&self.store).await
    }
}

/// A text, and what it says with its percent signs resolved: once, and again as long as some are left.
pub(crate) fn spellings(text: &str) -> impl Iterator<Item = String> {
    // Nobody who is led there resolves more of them.
    const MOST: usize = 5;
    let again = |text: &String| {
        let resolved = percent_decode_str(text).decode_utf8_lossy().into_owned();
        (resolved != *text).then_some(resolved)
    };
    std::iter::successors(Some(text.to_owned()), again).take(MOST)
}

/// What is told of a text that a key was pasted into.
pub(crate) const HOLDS_A_KEY: &str =
    "must not hold an API key: it would be kept and shown in clear";

/// What follows a change for callers that want what came of it, and nothing else.
pub(crate) fn plain<T>(_: &mut Tx<'_>, made: T) -> Result<T, AppError> {
    Ok(made)
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
