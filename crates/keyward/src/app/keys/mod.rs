//! Keys: issue, change, rotate; what ends them is in `ending`, what a key may give to another in `bounds`.

mod bounds;
mod ending;

use ipnet::IpNet;
use keyward_core::account::Environment;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::key::ApiKey;
use keyward_core::permission::{Permission, PermissionSet};
use keyward_core::record::{Forbidden, KeyRecord, Mark};
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_core::verdict::Caller;
use keyward_store::key_list::{self, KeyPage, KeyQuery, Listed};
use keyward_store::keys::{self, KeyFilter};
use keyward_store::{StoreError, Tx, accounts};
use serde_json::{Value, json};

use super::audit::{Trail, key_target};
use super::webhooks::events;
use super::{Actor, App, AppError, Chance, Holder, Resource, chance, plain};
use bounds::Bounds;

pub use bounds::{Usual, usual};

pub use ending::{disable, enable, revoke, revoke_and, revoke_self, set_enabled_and};

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
    issue_and(app, actor, new, plain).await
}

/// [`issue`], with what follows in the same transaction.
///
/// # Errors
/// As [`issue`], and what `finish` fails with.
pub async fn issue_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    new: NewKey,
    finish: impl FnOnce(&mut Tx<'_>, Issued) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let Issued { key, record } = draft(app, actor, new)?;
    let (teller, at) = (Teller::new(app, actor), app.clock.wall());
    let made = app
        .store
        .write(move |tx| {
            let actor = teller.actor.refreshed(tx, at)?;
            if !actor.manages_keys_of(record.account, record.environment) {
                return Err(AppError::NotAllowed);
            }
            check_grants(&actor, record.permissions)?;
            if accounts::find(tx, record.account)?.is_none() {
                return Err(AppError::NotFound(Resource::Account));
            }
            Bounds::of(tx, &actor)?.check(&record)?;
            keys::insert(tx, &record)?;
            teller.tell(tx, "key.created", &record, settings_of(&record))?;
            finish(tx, Issued { key, record })
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}

/// Checks a key against the bounds of who would make it, and makes nothing.
///
/// # Errors
/// As [`issue`].
pub async fn rehearse(app: &App, actor: &Actor, new: NewKey) -> Result<Issued, AppError> {
    let (account, actor) = (new.account, *actor);
    let issued = draft(app, &actor, new)?;
    app.read_for(account, move |tx| {
        Bounds::of(tx, &actor)?.check(&issued.record)?;
        Ok(issued)
    })
    .await
}

/// A key in clear for an answer that only shows what a rotation would give.
#[must_use]
pub fn pretend_to_rotate(record: KeyRecord) -> Issued {
    let key = ApiKey::from_random(&chance::key_bytes());
    let record = KeyRecord { digest: key.digest(), hint: key.hint(), ..record };
    Issued { key, record }
}

/// A key as it would be issued: everything but the writing, and what only the store knows.
///
/// # Errors
/// As [`issue`].
pub fn draft(app: &App, actor: &Actor, new: NewKey) -> Result<Issued, AppError> {
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
        name: app.check_name("name", &new.name, LONGEST_NAME)?,
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

/// Writes down what was done to a key, and tells the webhooks that asked.
struct Teller {
    at: UnixMillis,
    actor: Actor,
    chance: Chance,
}

impl Teller {
    fn new(app: &App, actor: &Actor) -> Self {
        Self { at: app.clock.wall(), actor: *actor, chance: app.chance.clone() }
    }

    fn tell(
        &self,
        tx: &mut Tx<'_>,
        action: &'static str,
        key: &KeyRecord,
        details: Value,
    ) -> Result<(), StoreError> {
        let Self { at, actor, chance } = self;
        let (account, target, label) = (Some(key.account), key_target(key.id), &key.name);
        Trail { at: *at, account, actor, action, target, label, details }.append(tx)?;
        events::key(tx, chance, *at, actor, action, key)
    }
}

/// Keys, newest first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, filter: KeyFilter) -> Result<Vec<KeyRecord>, AppError> {
    app.read_for(filter.account, move |tx| Ok(keys::list(tx, &filter)?)).await
}

/// One page of the keys that a key sees: those of its account and environment.
///
/// # Errors
/// If the store does not answer.
pub async fn seen_by_key(app: &App, query: KeyQuery) -> Result<KeyPage, AppError> {
    app.read_for(query.account, move |tx| Ok(key_list::page(tx, &query)?)).await
}

/// The key, if a key sees it.
///
/// # Errors
/// If there is none in its account and environment.
pub async fn find_for_key(app: &App, caller: &Caller, id: KeyId) -> Result<KeyRecord, AppError> {
    let (account, environment) = (caller.account(), caller.environment());
    app.read_for(account, move |tx| {
        let key = keys::find_in(tx, account, environment, id)?;
        key.ok_or(AppError::NotFound(Resource::ApiKey))
    })
    .await
}

/// # Errors
/// If there is no such key.
pub async fn find(app: &App, id: KeyId) -> Result<KeyRecord, AppError> {
    app.store.read(move |tx| keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))).await
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
    edit_and(app, actor, id, edit, plain).await
}

/// [`edit`], with what follows in the same transaction.
///
/// # Errors
/// As [`edit`], and what `finish` fails with.
pub async fn edit_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    id: KeyId,
    edit: KeyEdit,
    finish: impl FnOnce(&mut Tx<'_>, KeyRecord) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let at = app.clock.wall();
    let name = edit.name.map(|name| app.check_name("name", &name, LONGEST_NAME)).transpose()?;
    check_networks(edit.networks.as_deref().unwrap_or_default())?;
    let actor_of_change = *actor;
    change(app, actor, id, "key.changed", finish, move |key| {
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
    let teller = Teller::new(app, actor);
    app.store
        .write(move |tx| {
            let actor = teller.actor.refreshed(tx, teller.at)?;
            let key = manageable(tx, &actor, id, teller.at)?;
            actor.check_in_charge_of(key.account)?;
            key_list::share(tx, id, is_shared)?;
            let action = if is_shared { "key.shared" } else { "key.unshared" };
            teller.tell(tx, action, &key, json!({}))?;
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
    rotate_and(app, actor, id, grace_millis, plain).await
}

/// [`rotate`], with what follows in the same transaction.
///
/// # Errors
/// As [`rotate`], and what `finish` fails with.
pub async fn rotate_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    id: KeyId,
    grace_millis: i64,
    finish: impl FnOnce(&mut Tx<'_>, (Issued, KeyRecord)) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    if !(0..=365 * DAY_MILLIS).contains(&grace_millis) {
        return Err(AppError::invalid("grace", "must be between 0s and 365d"));
    }
    let teller = Teller::new(app, actor);
    let at = teller.at;
    let key = ApiKey::from_random(&chance::key_bytes());
    let (digest, hint) = (key.digest(), key.hint());
    let mark = Mark { at, by: actor.describe() };
    let successor_id = app.new_key_id(at);
    let made = app
        .store
        .write(move |tx| {
            let actor = teller.actor.refreshed(tx, at)?;
            let old = manageable(tx, &actor, id, teller.at)?;
            // Who gets the new key in clear must be somebody who could have made it.
            check_grants(&actor, old.permissions)?;
            let bounds = Bounds::of(tx, &actor)?;
            let successor = KeyRecord {
                id: successor_id,
                digest,
                hint,
                created: mark.clone(),
                expires_at: bounds.cap(old.expires_at.map(|end| at + (end - old.created.at))),
                last_used: None,
                ..old.clone()
            };
            bounds.check(&successor)?;
            let old = old.rotate(mark, successor_id, grace_millis).map_err(forbidden)?;
            keys::put(tx, &old)?;
            keys::insert(tx, &successor)?;
            if key_list::is_shared(tx, id)? {
                key_list::share(tx, successor_id, true)?;
            }
            let until = old.rotated.as_ref().map(|rotation| crate::when(rotation.until));
            let details = json!({ "successor": successor_id.to_string(), "works_until": until });
            teller.tell(tx, "key.rotated", &old, details)?;
            let mut details = settings_of(&successor);
            details["predecessor"] = json!(id.to_string());
            teller.tell(tx, "key.created", &successor, details)?;
            finish(tx, (Issued { key, record: successor }, old))
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}

/// The key, if this actor sees it and may change it. One of another account is not there: it is not
/// even read, so that asking for it is the same work as asking for one that never was.
fn manageable(
    tx: &mut Tx<'_>,
    actor: &Actor,
    id: KeyId,
    at: UnixMillis,
) -> Result<KeyRecord, AppError> {
    let found = match actor {
        Actor::Person(person) => {
            let listed = key_list::find(tx, person.account, id, at)?;
            let sees = |listed: &Listed| {
                person.role.sees_keys_of(listed.record.environment, listed.is_shared)
            };
            listed.filter(sees).map(|listed| listed.record)
        }
        Actor::Key(Holder { caller, .. }) => {
            keys::find_in(tx, caller.account(), caller.environment(), id)?
        }
        Actor::Operator | Actor::System => keys::find(tx, id)?,
    };
    let key = found.ok_or(AppError::NotFound(Resource::ApiKey))?;
    if !actor.manages_keys_of(key.account, key.environment) {
        return Err(AppError::NotAllowed);
    }
    Ok(key)
}

async fn change<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    id: KeyId,
    action: &'static str,
    finish: impl FnOnce(&mut Tx<'_>, KeyRecord) -> Result<R, AppError> + Send + 'static,
    change: impl FnOnce(KeyRecord) -> Result<(KeyRecord, Value), AppError> + Send + 'static,
) -> Result<R, AppError> {
    let teller = Teller::new(app, actor);
    let made = app
        .store
        .write(move |tx| {
            let actor = teller.actor.refreshed(tx, teller.at)?;
            let key = manageable(tx, &actor, id, teller.at)?;
            let (key, details) = change(key)?;
            // To switch a stronger key off is no gain for whoever does it; anything else may be.
            if !matches!(action, "key.disabled" | "key.revoked") {
                Bounds::of(tx, &actor)?.check(&key)?;
            }
            keys::put(tx, &key)?;
            teller.tell(tx, action, &key, details)?;
            finish(tx, key)
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
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
