//! Switching keys off and on, and ending them.

use keyward_core::id::KeyId;
use keyward_core::record::{KeyRecord, Mark};
use keyward_store::alerts::{self, Alert, AlertKind};
use keyward_store::{Tx, keys};
use serde_json::json;

use super::{Teller, change};
use crate::app::alerts::rules_in;
use crate::app::{Actor, App, AppError, Holder, Resource, plain};

/// Switches a key off until it is enabled again. In force when this returns.
///
/// # Errors
/// If there is no such key, or it is off or revoked already.
pub async fn disable(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    let disable = move |key: KeyRecord| Ok((key.disable(mark)?, json!({})));
    change(app, actor, id, "key.disabled", plain, disable).await
}

/// [`disable`] or [`enable`], with what follows in the same transaction.
///
/// # Errors
/// As they do, and what `finish` fails with.
pub async fn set_enabled_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    id: KeyId,
    is_enabled: bool,
    finish: impl FnOnce(&mut Tx<'_>, KeyRecord) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    let action = if is_enabled { "key.enabled" } else { "key.disabled" };
    change(app, actor, id, action, finish, move |key| {
        let key = if is_enabled { key.enable()? } else { key.disable(mark)? };
        Ok((key, json!({})))
    })
    .await
}

/// Switches a disabled key on again. In force when this returns.
///
/// # Errors
/// If there is no such key, or it is not disabled.
pub async fn enable(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    change(app, actor, id, "key.enabled", plain, |key| Ok((key.enable()?, json!({})))).await
}

/// Ends a key for good. In force when this returns: no later request passes with it.
///
/// # Errors
/// If there is no such key, or it is revoked already.
pub async fn revoke(app: &App, actor: &Actor, id: KeyId) -> Result<KeyRecord, AppError> {
    revoke_and(app, actor, id, plain).await
}

/// [`revoke`], with what follows in the same transaction.
///
/// # Errors
/// As [`revoke`], and what `finish` fails with.
pub async fn revoke_and<R: Send + 'static>(
    app: &App,
    actor: &Actor,
    id: KeyId,
    finish: impl FnOnce(&mut Tx<'_>, KeyRecord) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let mark = Mark { at: app.clock.wall(), by: actor.describe() };
    let revoke = move |key: KeyRecord| Ok((key.revoke(mark)?, json!({})));
    change(app, actor, id, "key.revoked", finish, revoke).await
}

/// Ends a key for good on the word of whoever holds it, who needs no permission: a key that was found
/// is burnt by the finder. People are told by an alert.
///
/// # Errors
/// If it is revoked already.
pub async fn revoke_self<R: Send + 'static>(
    app: &App,
    holder: &Holder,
    finish: impl FnOnce(&mut Tx<'_>, KeyRecord) -> Result<R, AppError> + Send + 'static,
) -> Result<R, AppError> {
    let (teller, id) = (Teller::new(app, &Actor::Key(*holder)), holder.caller.key());
    let alert_id = app.new_alert_id(teller.at);
    let address = holder.address;
    let made = app
        .store
        .write(move |tx| {
            let at = teller.at;
            let key = keys::find(tx, id)?.ok_or(AppError::NotFound(Resource::ApiKey))?;
            let mark = Mark { at, by: teller.actor.describe() };
            let key = key.revoke(mark)?;
            keys::put(tx, &key)?;
            teller.tell(tx, "key.revoked", &key, json!({ "by": "its holder" }))?;
            let rules = rules_in(tx, key.account)?;
            let rule = rules.iter().find(|rule| rule.kind == AlertKind::SelfRevoked && rule.is_on);
            if let Some(rule) = rule {
                let text = format!(
                    "The key “{}” (…{}, {}) was revoked by its holder, from {address}. Whoever found \
                     it may have burnt it: ask who it was, and look at its requests.",
                    key.name,
                    key.hint.as_str(),
                    key.environment
                );
                let alert = Alert {
                    id: alert_id,
                    account: key.account,
                    kind: AlertKind::SelfRevoked,
                    // Alerts about keys that are revoked end; this one is about just that.
                    key: None,
                    subject: key.id.to_string(),
                    text,
                    raised_at: at,
                    to_mail: rule.is_mailed,
                    ended_at: None,
                    snoozed_until: None,
                    mailed_at: None,
                    mail_fault: None,
                };
                alerts::raise(tx, &alert)?;
            }
            finish(tx, key)
        })
        .await?;
    app.put_in_force().await?;
    Ok(made)
}
