//! Alerts: rules that are on unless somebody says otherwise, and what they find.
//!
//! Most alerts are about a state, such as a key that is too old: they are raised when it begins and
//! end by themselves when it is over, so all one can do is snooze them. Others are about an event,
//! such as a first use from somewhere: they are dismissed, or end after a week.
//!
//! Bound: 200 keys a rule and account are told one by one; the rest are told as a number.

use std::collections::HashSet;

use keyward_core::account::AccountState;
use keyward_core::id::{AccountId, AlertId, KeyId};
use keyward_core::role::Role;
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_core::usage::Outcome;
use keyward_store::alerts::{self, Alert, AlertKind, Rule};
use keyward_store::key_list::{self, Concern, Concerned, ListStatus};
use keyward_store::requests::exposures_of;
use keyward_store::usage::{self, HourSum, is_refusal};
use keyward_store::{StoreError, Tx, accounts};
use serde_json::json;

use super::actor::Person;
use super::audit::Trail;
use super::requests::NewNetworks;
use super::{Actor, App, AppError, Resource};

const MOST: u32 = 200;
/// An event is news for so long.
const EVENT_MILLIS: i64 = 7 * DAY_MILLIS;
/// A key counts as exposed for so long after the last time.
const EXPOSED_MILLIS: i64 = 7 * DAY_MILLIS;
/// Below so many in an hour nothing is a rise.
const FEWEST_REFUSALS: u64 = 50;
const FEWEST_REQUESTS: u64 = 500;
const WEEK_HOURS: i64 = 7 * 24;
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
    matches!(kind, AlertKind::NewNetwork | AlertKind::RefusalsRise | AlertKind::RequestsRise)
}

fn rules_in(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<Rule>, StoreError> {
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
    app.store.read(move |tx| Ok(rules_in(tx, account)?)).await
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
            alerts::put_rule(tx, account, &rule)?;
            let trail = Trail {
                at,
                account: Some(account),
                actor: &actor,
                action: "alert.rule_changed",
                target: format!("rule {}", rule.kind),
                label: rule.kind.as_str(),
                details: json!({
                    "on": rule.is_on,
                    "by_mail": rule.is_mailed,
                    "at": rule.threshold,
                }),
            };
            Ok(trail.append(tx)?)
        })
        .await
}

/// What is wrong now, before it is compared with what was told already.
struct Finding {
    kind: AlertKind,
    key: Option<KeyId>,
    subject: String,
    text: String,
}

/// Raises what is due and ends what is over, for all accounts.
///
/// # Errors
/// If the store does not answer or cannot write.
pub async fn check(app: &App) -> Result<(), AppError> {
    let all = app.store.read(|tx| Ok::<_, AppError>(accounts::list(tx)?)).await?;
    let networks = std::mem::take(
        &mut *app.new_networks.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    for account in all {
        if account.state == AccountState::Suspended {
            continue;
        }
        check_account(app, account.id, &networks).await?;
    }
    let before = UnixMillis(app.clock.wall().0 - KEPT_MILLIS);
    app.store.write(move |tx| Ok(alerts::forget(tx, before)?)).await
}

async fn check_account(
    app: &App,
    account: AccountId,
    networks: &NewNetworks,
) -> Result<(), AppError> {
    let now = app.clock.wall();
    let networks = networks.clone();
    let (rules, open, findings) = app
        .store
        .read(move |tx| {
            let rules = rules_in(tx, account)?;
            let mut findings = vec![];
            for rule in rules.iter().filter(|rule| rule.is_on) {
                find(tx, account, rule, now, &networks, &mut findings)?;
            }
            Ok::<_, AppError>((rules, alerts::list(tx, account, Some(true), u32::MAX)?, findings))
        })
        .await?;
    let told: HashSet<(AlertKind, &str)> =
        open.iter().map(|alert| (alert.kind, alert.subject.as_str())).collect();
    let due: HashSet<(AlertKind, &str)> =
        findings.iter().map(|finding| (finding.kind, finding.subject.as_str())).collect();
    let is_over = |alert: &&Alert| {
        let is_off = !rules.iter().any(|rule| rule.kind == alert.kind && rule.is_on);
        let is_old = now >= alert.raised_at + EVENT_MILLIS;
        let is_due = due.contains(&(alert.kind, alert.subject.as_str()));
        is_off || if is_event(alert.kind) { is_old } else { !is_due }
    };
    let over: Vec<AlertId> = open.iter().filter(is_over).map(|alert| alert.id).collect();
    let is_mailed = |kind| rules.iter().any(|rule| rule.kind == kind && rule.is_mailed);
    let new: Vec<Alert> = findings
        .iter()
        .filter(|finding| !told.contains(&(finding.kind, finding.subject.as_str())))
        .map(|finding| Alert {
            id: app.new_alert_id(now),
            account,
            kind: finding.kind,
            key: finding.key,
            subject: finding.subject.clone(),
            text: finding.text.clone(),
            raised_at: now,
            to_mail: is_mailed(finding.kind),
            ended_at: None,
            snoozed_until: None,
            mailed_at: None,
            mail_fault: None,
        })
        .collect();
    if over.is_empty() && new.is_empty() {
        return Ok(());
    }
    app.store
        .write(move |tx| {
            over.iter().try_for_each(|id| alerts::end(tx, *id, now))?;
            for alert in &new {
                alerts::raise(tx, alert)?;
            }
            Ok(())
        })
        .await
}

fn find(
    tx: &mut Tx<'_>,
    account: AccountId,
    rule: &Rule,
    now: UnixMillis,
    networks: &NewNetworks,
    findings: &mut Vec<Finding>,
) -> Result<(), AppError> {
    match rule.kind {
        AlertKind::RotationDue => {
            let before = UnixMillis(now.0 - rule.threshold * DAY_MILLIS);
            let found = key_list::concerned(tx, account, Concern::Old, before, now, false, MOST)?;
            let told = |key: &Concerned| {
                format!(
                    "The key {} was made on {} and not rotated since. Rotate it.",
                    name(key),
                    crate::when(key.at)
                )
            };
            let more = format!("are older than {} days", rule.threshold);
            each(rule.kind, found, told, &more, findings);
        }
        AlertKind::Expiring => {
            let before = UnixMillis(now.0 + rule.threshold * DAY_MILLIS);
            let found =
                key_list::concerned(tx, account, Concern::Expiring, before, now, false, MOST)?;
            let told = |key: &Concerned| {
                format!(
                    "The key {} expires on {}. Rotate it before, so that nobody is refused.",
                    name(key),
                    crate::when(key.at)
                )
            };
            let more = format!("expire within {} days", rule.threshold);
            each(rule.kind, found, told, &more, findings);
        }
        AlertKind::Expired => {
            let since = UnixMillis(now.0 - EVENT_MILLIS);
            let found = key_list::expired_in_use(tx, account, since, now, MOST)?;
            let n_found = u64::try_from(found.len()).unwrap_or(0);
            let told = |key: &Concerned| {
                format!(
                    "The key {} expired on {} while it was in use. Whoever uses it is refused: \
                     give them another, or change its expiry.",
                    name(key),
                    crate::when(key.at)
                )
            };
            each(rule.kind, (found, n_found), told, "expired", findings);
        }
        AlertKind::FromBrowser | AlertKind::PlainHttp => {
            exposed(tx, account, rule.kind, now, findings)?;
        }
        AlertKind::NewNetwork => {
            for (id, network, at) in networks {
                let Some(listed) = key_list::find(tx, account, *id, now)? else { continue };
                findings.push(Finding {
                    kind: rule.kind,
                    key: Some(*id),
                    subject: format!("{id} {network}"),
                    text: format!(
                        "The key “{}” (…{}) was used from {network} for the first time, at {}. If \
                         that is not you, rotate it.",
                        listed.record.name,
                        listed.record.hint.as_str(),
                        crate::when(*at)
                    ),
                });
            }
        }
        AlertKind::RefusalsRise | AlertKind::RequestsRise => {
            rise(tx, account, rule, now, findings)?;
        }
    }
    Ok(())
}

fn name(key: &Concerned) -> String {
    format!("“{}” (…{}, {})", key.name, key.hint, key.environment)
}

/// One finding a key, and one for those that are too many to tell.
fn each(
    kind: AlertKind,
    (keys, total): (Vec<Concerned>, u64),
    told: impl Fn(&Concerned) -> String,
    more: &str,
    findings: &mut Vec<Finding>,
) {
    let n_told = u64::try_from(keys.len()).unwrap_or(0);
    findings.extend(keys.iter().map(|key| Finding {
        kind,
        key: Some(key.key),
        subject: key.key.to_string(),
        text: told(key),
    }));
    if total > n_told {
        findings.push(Finding {
            kind,
            key: None,
            subject: String::from("more"),
            text: format!("{} more keys {more}: see the list of keys.", total - n_told),
        });
    }
}

fn exposed(
    tx: &mut Tx<'_>,
    account: AccountId,
    kind: AlertKind,
    now: UnixMillis,
    findings: &mut Vec<Finding>,
) -> Result<(), AppError> {
    let (word, what) = if kind == AlertKind::FromBrowser {
        (
            "browser",
            "is used from web pages, where anybody can read it. Call your API from a server",
        )
    } else {
        ("plain_http", "is sent over plain HTTP, where it can be read on the way. Use HTTPS")
    };
    let since = UnixMillis(now.0 - EXPOSED_MILLIS);
    for exposure in exposures_of(tx, account, since)? {
        if exposure.kind != word {
            continue;
        }
        let Some(listed) = key_list::find(tx, account, exposure.key, now)? else { continue };
        let works = [ListStatus::Active, ListStatus::Expiring, ListStatus::Rotating];
        if works.contains(&listed.status) {
            findings.push(Finding {
                kind,
                key: Some(exposure.key),
                subject: exposure.key.to_string(),
                text: format!("The key “{}” {what}, and rotate this key.", exposure.name),
            });
        }
    }
    Ok(())
}

/// The last full hour against the usual one of the week before.
fn rise(
    tx: &mut Tx<'_>,
    account: AccountId,
    rule: &Rule,
    now: UnixMillis,
    findings: &mut Vec<Finding>,
) -> Result<(), AppError> {
    let hour = now.hours() - 1;
    let sums = usage::hours_of_account(tx, Some(account), hour - WEEK_HOURS)?;
    let is_refusals = rule.kind == AlertKind::RefusalsRise;
    let counts = |sum: &&HourSum| {
        let is_refused = is_refusal(sum.outcome) || sum.outcome == Outcome::Limited;
        is_refused == is_refusals
    };
    let of = |from: i64, to: i64| -> u64 {
        let within = sums.iter().filter(|sum| sum.hour >= from && sum.hour < to);
        within.filter(counts).map(|sum| sum.requests).sum()
    };
    let (last, usual) =
        (of(hour, hour + 1), of(hour - WEEK_HOURS, hour) / WEEK_HOURS.unsigned_abs());
    let (fewest, what) = if is_refusals {
        (FEWEST_REFUSALS, "requests were refused")
    } else {
        (FEWEST_REQUESTS, "requests were let in")
    };
    let factor = rule.threshold.unsigned_abs();
    // Without a week before there is nothing usual; then the fewest decide.
    if last >= fewest && last >= factor * usual.max(1) {
        let from = UnixMillis(hour * HOUR_MILLIS);
        findings.push(Finding {
            kind: rule.kind,
            key: None,
            subject: crate::when(from).get(..10).unwrap_or_default().to_owned(),
            text: format!(
                "{last} {what} in the hour from {}; {usual} are usual. Look at the requests.",
                crate::when(from)
            ),
        });
    }
    Ok(())
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
    app.store
        .read(move |tx| {
            let mut found = alerts::list(tx, person.account, only_open, 500)?;
            if only_open == Some(true) {
                found.retain(|alert| alert.snoozed_until.is_none_or(|until| until <= now));
            }
            if person.role == Role::Developer {
                let mut seen = vec![];
                for alert in found {
                    let sees = match alert.key {
                        None => true,
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
            let alert = alerts::find(tx, id)?.filter(|alert| alert.account == account);
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
    if !(1..=90).contains(&days) {
        return Err(AppError::invalid("days", "must be between 1 and 90"));
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
