//! Keys: issue, rotate, disable, enable, revoke.

use ipnet::IpNet;
use keyward_core::account::Environment;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::key::ApiKey;
use keyward_core::permission::PermissionSet;
use keyward_core::record::{Forbidden, KeyRecord, Mark};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::keys::{self, KeyFilter};
use keyward_store::{StoreError, accounts};

use super::{Actor, App, AppError, Resource, chance, check_name};

/// How long a key is good for unless somebody says otherwise: the guide advises to rotate every
/// 90 days.
pub const DEFAULT_LIFE_DAYS: i64 = 90;
pub const LONGEST_NAME: usize = 100;
const MOST_NETWORKS: usize = 100;

/// A key to be issued.
pub struct NewKey {
    pub account: AccountId,
    pub name: String,
    pub environment: Environment,
    pub permissions: PermissionSet,
    pub networks: Vec<IpNet>,
    pub expires_at: Option<UnixMillis>,
}

/// A key that was just made: the one place where its clear text is.
pub struct Issued {
    pub key: ApiKey,
    pub record: KeyRecord,
}

/// Issues a key. It works when this returns.
///
/// # Errors
/// If there is no such account, or something of it makes no sense.
pub async fn issue(app: &App, actor: &Actor, new: NewKey) -> Result<Issued, AppError> {
    let at = app.clock.wall();
    if new.expires_at.is_some_and(|expires_at| expires_at <= at) {
        return Err(AppError::invalid("expires_at", "must be in the future"));
    }
    if new.networks.len() > MOST_NETWORKS {
        let sentence = format!("must not name more than {MOST_NETWORKS} networks");
        return Err(AppError::invalid("networks", sentence));
    }
    let key = ApiKey::from_random(&chance::key_bytes());
    let record = KeyRecord {
        id: app.new_key_id(at),
        account: new.account,
        digest: key.digest(),
        hint: key.hint(),
        name: check_name("name", &new.name, LONGEST_NAME)?,
        environment: new.environment,
        permissions: new.permissions,
        networks: new.networks,
        created: Mark { at, by: actor.describe() },
        expires_at: new.expires_at,
        disabled: None,
        revoked: None,
        rotated: None,
        last_used: None,
    };
    let stored = record.clone();
    app.store
        .write(move |tx| {
            if accounts::find(tx, stored.account)?.is_none() {
                return Err(AppError::NotFound(Resource::Account));
            }
            Ok(keys::insert(tx, &stored)?)
        })
        .await?;
    app.put_in_force().await?;
    Ok(Issued { key, record })
}

/// Keys, newest first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, filter: KeyFilter) -> Result<Vec<KeyRecord>, AppError> {
    app.store.read(move |tx| Ok(keys::list(tx, &filter)?)).await
}

/// # Errors
/// If there is no such key.
pub async fn find(app: &App, id: KeyId) -> Result<KeyRecord, AppError> {
    app.store.read(move |tx| keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))).await
}

/// Switches a key off until it is enabled again. In force when this returns.
///
/// # Errors
/// If there is no such key, or it is off or revoked already.
pub async fn disable(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    change(app, id, move |key| key.disable(mark)).await
}

/// Switches a disabled key on again. In force when this returns.
///
/// # Errors
/// If there is no such key, or it is not disabled.
pub async fn enable(app: &App, _actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    change(app, id, KeyRecord::enable).await
}

/// Ends a key for good. In force when this returns: no later request passes with it.
///
/// # Errors
/// If there is no such key, or it is revoked already.
pub async fn revoke(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    change(app, id, move |key| key.revoke(mark)).await
}

/// Issues a successor with the same settings and lets the old key work for `grace_millis` more.
///
/// The successor lives as long as the old key was meant to live, from now on.
///
/// # Errors
/// If there is no such key, or it no longer works, or was replaced before.
pub async fn rotate(
    app: &App,
    actor: &Actor,
    id: KeyId,
    grace_millis: i64,
) -> Result<(Issued, KeyRecord), AppError> {
    if !(0..=365 * DAY_MILLIS).contains(&grace_millis) {
        return Err(AppError::invalid("grace", "must be between 0s and 365d"));
    }
    let at = app.clock.wall();
    let key = ApiKey::from_random(&chance::key_bytes());
    let (digest, hint) = (key.digest(), key.hint());
    let mark = Mark { at, by: actor.describe() };
    let successor_id = app.new_key_id(at);
    let (successor, old) = app
        .store
        .write(move |tx| {
            let old = keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))?;
            let successor = KeyRecord {
                id: successor_id,
                digest,
                hint,
                created: mark.clone(),
                expires_at: old.expires_at.map(|expires_at| at + (expires_at - old.created.at)),
                last_used: None,
                ..old.clone()
            };
            let old = old.rotate(mark, successor_id, grace_millis).map_err(forbidden)?;
            keys::put(tx, &old)?;
            keys::insert(tx, &successor)?;
            Ok::<_, AppError>((successor, old))
        })
        .await?;
    app.put_in_force().await?;
    Ok((Issued { key, record: successor }, old))
}

async fn change(
    app: &App,
    id: KeyId,
    change: impl FnOnce(KeyRecord) -> Result<KeyRecord, Forbidden> + Send + 'static,
) -> Result<KeyRecord, AppError> {
    let key = app
        .store
        .write(move |tx| {
            let key = keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))?;
            let key = change(key).map_err(forbidden)?;
            keys::put(tx, &key)?;
            Ok::<_, AppError>(key)
        })
        .await?;
    app.put_in_force().await?;
    Ok(key)
}

fn forbidden(rule: Forbidden) -> AppError {
    AppError::Forbidden(match rule {
        Forbidden::Revoked { since } => {
            format!("the key was revoked at {}, which cannot be undone", crate::when(since))
        }
        Forbidden::NothingToDo => String::from("the key is in that state already"),
        Forbidden::AlreadyRotated { since, successor } => {
            format!("the key was replaced by {successor} at {}", crate::when(since))
        }
        Forbidden::NotUsable(status) => format!(
            "the key is {}: there is nothing to replace; issue a new one with 'keyward keys create'",
            status.as_str()
        ),
    })
}

/// The number of keys there are.
///
/// # Errors
/// If the store does not answer.
pub async fn count(app: &App) -> Result<u64, StoreError> {
    app.store.read(keys::count).await
}
