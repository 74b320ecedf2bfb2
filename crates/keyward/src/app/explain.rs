//! Why a key works or does not: the guide's debugging steps as one question.

use keyward_core::account::{Account, RateClass};
use keyward_core::key::{ApiKey, ParseKeyError};
use keyward_core::record::{KeyRecord, KeyStatus, LastUse};
use keyward_core::time::UnixMillis;
use keyward_store::{accounts, keys};

use super::reach::Look;
use super::{App, AppError, Resource};

/// What is known of a text that may be a key.
pub enum Explanation {
    Malformed(ParseKeyError),
    /// Well formed, and not one of ours.
    Unknown {
        uuid_version: u8,
        is_placeholder: bool,
    },
    Known(Box<KnownKey>),
}

/// What is known of a key of ours.
pub struct KnownKey {
    pub key: KeyRecord,
    pub account: Account,
    pub status: KeyStatus,
    pub at: UnixMillis,
    pub last_use: Option<LastUse>,
    /// The key that this one replaced.
    pub predecessor: Option<KeyRecord>,
    /// What is left of the account's windows, if a server is running.
    pub left: Option<Vec<Left>>,
}

/// What is left of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Left {
    /// Its place in [`RateClass::ALL`].
    pub class: u8,
    pub limit: u32,
    pub remaining: u32,
    pub resets_in_millis: u64,
}

impl Left {
    #[must_use]
    pub fn class(&self) -> RateClass {
        RateClass::ALL.get(usize::from(self.class)).copied().unwrap_or(RateClass::Standard)
    }
}

/// Explains a text. The text goes no further than its digest.
///
/// # Errors
/// If the store does not answer.
pub async fn explain(app: &App, text: &[u8]) -> Result<Explanation, AppError> {
    let key = match ApiKey::parse(text) {
        Ok(key) => key,
        Err(error) => return Ok(Explanation::Malformed(error)),
    };
    let (digest, uuid_version, is_placeholder) =
        (key.digest(), key.uuid_version(), key.is_placeholder());
    drop(key);
    let found = app
        .store
        .read(move |tx| {
            let Some(key) = keys::find_by_digest(tx, &digest)? else { return Ok(None) };
            let account = accounts::find(tx, key.account)?;
            let account = account.ok_or(AppError::NotFound(Resource::Account))?;
            let predecessor = keys::predecessor_of(tx, key.id)?;
            Ok::<_, AppError>(Some((key, account, predecessor)))
        })
        .await?;
    let Some((key, account, predecessor)) = found else {
        return Ok(Explanation::Unknown { uuid_version, is_placeholder });
    };
    let at = app.clock.wall();
    let seen = app.reach.look(&Look { digest: *key.digest.as_bytes() }, app.clock.now()).await;
    // The server writes last uses every few seconds; what it still has in memory is newer.
    let last_use = seen.as_ref().and_then(|seen| seen.last_use()).or_else(|| key.last_used.clone());
    Ok(Explanation::Known(Box::new(KnownKey {
        status: key.status(at),
        at,
        last_use,
        predecessor,
        left: seen.map(|seen| seen.left),
        key,
        account,
    })))
}
