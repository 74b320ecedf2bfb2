//! Alerts: rules that are on unless somebody says otherwise, and what they find.
//!
//! Most alerts are about a state, such as a key that is too old: they are raised when it begins and
//! end by themselves when it is over, so all one can do is snooze them. Others are about an event,
//! such as a first use from somewhere: they are dismissed, or end after a week.
//! What is found and when it is over, `findings` says; who is mailed, `notices`.

use keyward_core::id::{AccountId, AlertId};
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, UnixMillis};
use keyward_store::alerts::{self, Alert, AlertKind, Rule};
use keyward_store::{StoreError, Tx, accounts, key_list};
use serde_json::{Value, json};

use super::actor::Person;
use super::audit::Trail;
use super::{Actor, App, AppError, Resource};

/// For how many days an alert can be kept quiet.
const SNOOZE_DAYS: [i64; 3] = [1, 7, 30];
/// More than can be open at once.
const MOST_LISTED: u32 = 500;
/// Ended alerts are kept for so long.
const KEPT_MILLIS: i64 = 90 * DAY_MILLIS;

/// A rule as it comes.
#[must_use]
pub const fn default_rule(kind: AlertKind) -> Rule {
    let threshold = match kind {
        AlertKind::RotationDue => 90,
        AlertKind::Expiring => 14,
        AlertKind::RefusalsRise | AlertKind::RequestsRise => 5,
        _ => 0,
    };
    Rule { kind, is_on: true, is_mailed: true, threshold }
}

/// True for what happened once; the others end when their cause does.
#[must_use]
pub const fn is_event(kind: AlertKind) -> bool {
    matches!(
        kind,
        AlertKind::NewNetwork
            | AlertKind::RefusalsRise
            | AlertKind::RequestsRise
            | AlertKind::SelfRevoked
    )
}

pub(super) fn rules_in(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<Rule>, StoreError> {
    let stored = alerts::rules_of(tx, account)?;
    let rule = |kind: &AlertKind| {
        let own = stored.iter().find(|rule| rule.kind == *kind);
        own.copied().unwrap_or(default_rule(*kind))
    };
    Ok(AlertKind::ALL.iter().map(rule).collect())
}

/// All rules of an account.
///
/// # Errors
/// If the store does not answer.
pub async fn rules(app: &App, account: AccountId) -> Result<Vec<Rule>, AppError> {
    app.read_for(account, move |tx| Ok(rules_in(tx, account)?)).await
}

/// Changes a rule.
///
/// # Errors
/// If who asks does not run the account, or the number makes no sense.
pub async fn set_rule(
    app: &App,
    actor: &Actor,
    account: AccountId,
    rule: Rule,
) -> Result<(), AppError> {
    actor.check_in_charge_of(account)?;
    let range = match rule.kind {
        AlertKind::RotationDue | AlertKind::Expiring => 1..=3650,
        AlertKind::RefusalsRise | AlertKind::RequestsRise => 2..=1000,
        _ => 0..=0,
    };
    if !range.contains(&rule.threshold) {
        let sentence = format!(
            "of {} must be between {} and {}",
            rule.kind.as_str().replace('_', " "),
            range.start(),
            range.end()
        );
        return Err(AppError::invalid("number", sentence));
    }
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_in_charge_of(account)?;
            if accounts::find(tx, account)?.is_none() {
                return Err(AppError::NotFound(Resource::Account));
            }
            let before = rules_in(tx, account)?.into_iter().find(|own| own.kind == rule.kind);
            let before = before.unwrap_or(default_rule(rule.kind));
            if before == rule {
                return Ok(());
            }
            alerts::put_rule(tx, account, &rule)?;
            let trail = Trail {
                at,
                account: Some(account),
                actor: &actor,
                action: "alert.rule_changed",
                target: format!("rule {}", rule.kind),
                label: rule.kind.as_str(),
                details: changes_of(&before, &rule),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

/// What of a rule was changed, as the trail tells it.
fn changes_of(before: &Rule, after: &Rule) -> Value {
    let settings = |rule: &Rule| {
        [
            ("on", json!(rule.is_on)),
            ("by_mail", json!(rule.is_mailed)),
            ("at", json!(rule.threshold)),
        ]
    };
    let both = settings(before).into_iter().zip(settings(after));
    let changed = both.filter(|((_, from), (_, to))| from != to);
    changed.map(|((name, from), (_, to))| (name, json!({ "from": from, "to": to }))).collect()
}

/// Forgets alerts that ended long ago.
///
/// # Errors
/// If the store cannot write.
pub async fn forget(app: &App) -> Result<(), AppError> {
    if !app.forgetting.may(app.clock.now()) {
        return Ok(());
    }
    let before = UnixMillis(app.clock.wall().0 - KEPT_MILLIS);
    app.store.write(move |tx| Ok(alerts::forget(tx, before)?)).await
}

/// Alerts, newest first, as far as a member may see them. Those that are snoozed are not open.
///
/// # Errors
/// If the role does not allow it.
pub async fn list(
    app: &App,
    person: &Person,
    only_open: Option<bool>,
) -> Result<Vec<Alert>, AppError> {
    if person.role == Role::Billing {
        return Err(AppError::NotAllowed);
    }
    let (person, now) = (*person, app.clock.wall());
    app.read_for(person.account, move |tx| {
        let mut found = alerts::list(tx, person.account, only_open, MOST_LISTED)?;
        if only_open == Some(true) {
            found.retain(|alert| alert.snoozed_until.is_none_or(|until| until <= now));
        }
        if person.role == Role::Developer {
            let mut seen = vec![];
            for alert in found {
                let sees = match alert.key {
                    // What concerns the whole account tells of keys that are not theirs.
                    None => false,
                    Some(id) => key_list::find(tx, person.account, id, now)?.is_some_and(|l| {
                        person.role.sees_keys_of(l.record.environment, l.is_shared)
                    }),
                };
                if sees {
                    seen.push(alert);
                }
            }
            found = seen;
        }
        Ok(found)
    })
    .await
}

async fn change(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: AlertId,
    action: &'static str,
    change: impl FnOnce(&mut Tx<'_>, &Alert, UnixMillis) -> Result<(), AppError> + Send + 'static,
) -> Result<(), AppError> {
    actor.check_in_charge_of(account)?;
    let (actor, at) = (*actor, app.clock.wall());
    app.store
        .write(move |tx| {
            let actor = actor.refreshed(tx, at)?;
            actor.check_in_charge_of(account)?;
            let alert = alerts::find(tx, account, id)?;
            let alert = alert.ok_or(AppError::NotFound(Resource::Alert))?;
            if alert.ended_at.is_some() {
                return Err(AppError::Forbidden(String::from("the alert is over already")));
            }
            change(tx, &alert, at)?;
            let trail = Trail {
                at,
                account: Some(account),
                actor: &actor,
                action,
                target: format!("alert {id}"),
                label: alert.kind.as_str(),
                details: json!({ "text": alert.text }),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

/// Keeps an alert quiet for some days.
///
/// # Errors
/// If there is no such alert, or who asks does not run the account.
pub async fn snooze(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: AlertId,
    days: i64,
) -> Result<(), AppError> {
    if !SNOOZE_DAYS.contains(&days) {
        return Err(AppError::invalid("days", "must be 1, 7 or 30"));
    }
    change(app, actor, account, id, "alert.snoozed", move |tx, alert, at| {
        Ok(alerts::snooze(tx, alert.id, at + days * DAY_MILLIS)?)
    })
    .await
}

/// Ends an alert about an event.
///
/// # Errors
/// If there is no such alert, who asks does not run the account, or its cause is still there.
pub async fn dismiss(
    app: &App,
    actor: &Actor,
    account: AccountId,
    id: AlertId,
) -> Result<(), AppError> {
    change(app, actor, account, id, "alert.dismissed", |tx, alert, at| {
        if !is_event(alert.kind) {
            let rule = "it ends by itself when its cause does; it can be snoozed until then";
            return Err(AppError::Forbidden(rule.to_owned()));
        }
        Ok(alerts::end(tx, alert.id, at)?)
    })
    .await
}
