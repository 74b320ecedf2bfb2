//! Keys: issue, rotate, disable, enable, revoke.

use ipnet::IpNet;
use keyward_core::account::Environment;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::key::ApiKey;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::record::{Forbidden, KeyRecord, Mark};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::keys::{self, KeyFilter};
use keyward_store::{StoreError, Tx, accounts, key_list};
use serde_json::{Value, json};

use super::audit::{Trail, key_target};
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
/// If there is no such account, who asks may not, or something of it makes no sense.
pub async fn issue(app: &App, actor: &Actor, new: NewKey) -> Result<Issued, AppError> {
    let at = app.clock.wall();
    check_future(new.expires_at, at)?;
    check_networks(&new.networks)?;
    if !actor.manages_keys_of(new.account, new.environment) {
        return Err(AppError::NotAllowed);
    }
    check_grants(actor, new.permissions)?;
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
    let (stored, actor) = (record.clone(), *actor);
    app.store
        .write(move |tx| {
            if accounts::find(tx, stored.account)?.is_none() {
                return Err(AppError::NotFound(Resource::Account));
            }
            keys::insert(tx, &stored)?;
            Ok(tell(tx, at, &actor, "key.created", &stored, settings_of(&stored))?)
        })
        .await?;
    app.put_in_force().await?;
    Ok(Issued { key, record })
}

fn check_future(expires_at: Option<UnixMillis>, at: UnixMillis) -> Result<(), AppError> {
    if expires_at.is_some_and(|expires_at| expires_at <= at) {
        return Err(AppError::invalid("expires_at", "must be in the future"));
    }
    Ok(())
}

fn check_networks(networks: &[IpNet]) -> Result<(), AppError> {
    if networks.len() > MOST_NETWORKS {
        let sentence = format!("must not name more than {MOST_NETWORKS} networks");
        return Err(AppError::invalid("networks", sentence));
    }
    Ok(())
}

/// Nobody gives a key more than the own role holds. Contract 10.
fn check_grants(actor: &Actor, permissions: PermissionSet) -> Result<(), AppError> {
    match actor {
        Actor::Person(person) if !permissions.is_within(person.role.grants()) => {
            let lacking = permissions.iter().find(|p| !person.role.grants().contains(*p));
            let lacking = lacking.map_or("", |permission| permission.as_str());
            let sentence = format!("must not hold {lacking}: your role does not either");
            Err(AppError::invalid("permissions", sentence))
        }
        _ => Ok(()),
    }
}

/// What of a key's settings stands in the trail.
fn settings_of(key: &KeyRecord) -> Value {
    let permissions: Vec<&str> = key.permissions.iter().map(Permission::as_str).collect();
    let networks: Vec<String> = key.networks.iter().map(ToString::to_string).collect();
    json!({
        "environment": key.environment.as_str(),
        "hint": key.hint.as_str(),
        "permissions": permissions,
        "networks": networks,
        "expires_at": key.expires_at.map(crate::when),
    })
}

fn tell(
    tx: &mut Tx<'_>,
    at: UnixMillis,
    actor: &Actor,
    action: &'static str,
    key: &KeyRecord,
    details: Value,
) -> Result<(), StoreError> {
    let (account, target, label) = (Some(key.account), key_target(key.id), &key.name);
    Trail { at, account, actor, action, target, label, details }.append(tx)
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
    change(app, actor, id, "key.disabled", move |key| Ok((key.disable(mark)?, json!({})))).await
}

/// Switches a disabled key on again. In force when this returns.
///
/// # Errors
/// If there is no such key, or it is not disabled.
pub async fn enable(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    change(app, actor, id, "key.enabled", |key| Ok((key.enable()?, json!({})))).await
}

/// Ends a key for good. In force when this returns: no later request passes with it.
///
/// # Errors
/// If there is no such key, or it is revoked already.
pub async fn revoke(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    change(app, actor, id, "key.revoked", move |key| Ok((key.revoke(mark)?, json!({})))).await
}

/// What of a key is to be changed; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyEdit {
    pub name: Option<String>,
    pub permissions: Option<PermissionSet>,
    pub networks: Option<Vec<IpNet>>,
    /// `Some(None)`: it never expires.
    pub expires_at: Option<Option<UnixMillis>>,
}

/// Changes the settings of a key. In force when this returns.
///
/// # Errors
/// If there is no such key, it is revoked, or something of it makes no sense.
pub async fn edit(
    app: &App,
    actor: &Actor,
    id: KeyId,
    edit: KeyEdit,
) -> Result<KeyRecord, AppError> {
    let at = app.clock.wall();
    let name = edit.name.map(|name| check_name("name", &name, LONGEST_NAME)).transpose()?;
    check_networks(edit.networks.as_deref().unwrap_or_default())?;
    let actor_of_change = *actor;
    change(app, actor, id, "key.changed", move |key| {
        if let Some(mark) = &key.revoked {
            return Err(forbidden(Forbidden::Revoked { since: mark.at }));
        }
        let before = key.clone();
        let key = KeyRecord {
            name: name.unwrap_or(key.name),
            permissions: edit.permissions.unwrap_or(key.permissions),
            networks: edit.networks.unwrap_or(key.networks),
            expires_at: edit.expires_at.unwrap_or(key.expires_at),
            ..key
        };
        if key.expires_at != before.expires_at {
            check_future(key.expires_at, at)?;
        }
        if key.permissions != before.permissions {
            check_grants(&actor_of_change, key.permissions)?;
        }
        let (from, mut to) = (settings_of(&before), settings_of(&key));
        let mut changed = serde_json::Map::new();
        if before.name != key.name {
            changed.insert("name".to_owned(), json!({ "from": before.name, "to": key.name }));
        }
        for field in ["permissions", "networks", "expires_at"] {
            if from[field] != to[field] {
                let pair = json!({ "from": from[field], "to": to[field].take() });
                changed.insert(field.to_owned(), pair);
            }
        }
        Ok((key, Value::Object(changed)))
    })
    .await
}

/// Shows a production key to developers, or hides it from them again. Contract 10.
///
/// # Errors
/// If there is no such key, or who asks does not run the account.
pub async fn share(
    app: &App,
    actor: &Actor,
    id: KeyId,
    is_shared: bool,
) -> Result<KeyRecord, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let key = manageable(tx, &actor, id)?;
            actor.check_in_charge_of(key.account)?;
            key_list::share(tx, id, is_shared)?;
            let action = if is_shared { "key.shared" } else { "key.unshared" };
            tell(tx, at, &actor, action, &key, json!({}))?;
            Ok(key)
        })
        .await
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
    let (actor, at) = (*actor, app.clock.wall());
    let key = ApiKey::from_random(&chance::key_bytes());
    let (digest, hint) = (key.digest(), key.hint());
    let mark = Mark { at, by: actor.describe() };
    let successor_id = app.new_key_id(at);
    let (successor, old) = app
        .store
        .write(move |tx| {
            let old = manageable(tx, &actor, id)?;
            // Who gets the new key in clear must be somebody who could have made it.
            check_grants(&actor, old.permissions)?;
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
            if key_list::is_shared(tx, id)? {
                key_list::share(tx, successor_id, true)?;
            }
            let until = old.rotated.as_ref().map(|rotation| crate::when(rotation.until));
            let details = json!({ "successor": successor_id.to_string(), "works_until": until });
            tell(tx, at, &actor, "key.rotated", &old, details)?;
            let mut details = settings_of(&successor);
            details["predecessor"] = json!(id.to_string());
            tell(tx, at, &actor, "key.created", &successor, details)?;
            Ok::<_, AppError>((successor, old))
        })
        .await?;
    app.put_in_force().await?;
    Ok((Issued { key, record: successor }, old))
}

/// The key, if this actor sees it and may change it. One of another account is not there.
fn manageable(tx: &mut Tx<'_>, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    let key = keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))?;
    if let Actor::Person(person) = actor {
        let is_shared = key_list::is_shared(tx, id)?;
        if person.account != key.account || !person.role.sees_keys_of(key.environment, is_shared) {
            return Err(AppError::NotFound(Resource::ApiKey));
        }
    }
    if !actor.manages_keys_of(key.account, key.environment) {
        return Err(AppError::NotAllowed);
    }
    Ok(key)
}

async fn change(
    app: &App,
    actor: &Actor,
    id: KeyId,
    action: &'static str,
    change: impl FnOnce(KeyRecord) -> Result<(KeyRecord, Value), AppError> + Send + 'static,
) -> Result<KeyRecord, AppError> {
    let (actor, at) = (*actor, app.clock.wall());
    let key = app
        .store
        .write(move |tx| {
            let key = manageable(tx, &actor, id)?;
            let (key, details) = change(key)?;
            keys::put(tx, &key)?;
            tell(tx, at, &actor, action, &key, details)?;
            Ok::<_, AppError>(key)
        })
        .await?;
    app.put_in_force().await?;
    Ok(key)
}

impl From<Forbidden> for AppError {
    fn from(rule: Forbidden) -> Self {
        forbidden(rule)
    }
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
