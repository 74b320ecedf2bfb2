//! What people must be told: looks for it, raises alerts about it and ends them when it is over.
//!
//! Accounts are looked at some at a time, on one snapshot, and only what changed is written. What was
//! decided on a snapshot may be a moment old when it is written; the next look puts that right.
//!
//! Bound: 75 alerts of a kind are open in an account, one tells how many more there are, and a rise
//! is told once a day: fewer than 500 together.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use ipnet::IpNet;
use keyward_core::account::{Account, AccountState, Environment};
use keyward_core::id::{AccountId, AlertId, KeyId};
use keyward_core::time::{DAY_MILLIS, HOUR_MILLIS, UnixMillis};
use keyward_store::alerts::{self, Alert, AlertKind, Horizon, Rule};
use keyward_store::key_list::{self, Concern, Concerned};
use keyward_store::usage::{self, HourSum, is_refusal};
use keyward_store::{StoreError, Tx, accounts, keys, webhooks};
use serde_json::json;

use super::alerts::{default_rule, is_event, rules_in};
use super::requests::NewNetworks;
use super::webhooks::events::{self, EventName, Happened};
use super::{App, AppError, Chance};

/// Told one by one, of each kind.
const MOST: u32 = 75;
/// Looked at on one snapshot, and written at once.
const ACCOUNTS_AT_ONCE: usize = 32;
/// An event is news for so long, and so is a key that expired.
const EVENT_MILLIS: i64 = 7 * DAY_MILLIS;
/// A key counts as exposed for so long after the last time.
const EXPOSED_MILLIS: i64 = 7 * DAY_MILLIS;
/// Below so many in an hour nothing is a rise.
const FEWEST_REFUSALS: u64 = 50;
const FEWEST_REQUESTS: u64 = 500;
const WEEK_HOURS: i64 = 7 * 24;
/// As much of a key's name as fits into a line of a mail with all the rest.
const MOST_OF_A_NAME: usize = 60;
/// The subject of the alert that tells how many more there are.
const MORE: &str = "more";

/// What is wrong now, before it is compared with what was told already.
struct Finding {
    kind: AlertKind,
    key: Option<KeyId>,
    subject: String,
    told: Told,
}

enum Told {
    Text(String),
    /// So many more, and what is to be said of one and of several.
    More(u64, [String; 2]),
}

impl Told {
    fn text(&self, raised_at: UnixMillis) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::More(n, [one, several]) => {
                let what = if *n == 1 { format!("key {one}") } else { format!("keys {several}") };
                let since = crate::when(raised_at);
                format!("{n} more {what}, told since {since}. Look through the list of keys.")
            }
        }
    }
}

/// The first use of a key from a network.
struct FirstUse {
    key: KeyId,
    name: String,
    network: IpNet,
    at: UnixMillis,
}

/// An account that may have to be told something.
struct ToLookAt {
    account: AccountId,
    state: AccountState,
    first_uses: Vec<FirstUse>,
}

/// What is to be written for an account.
struct Change {
    account: AccountId,
    over: Vec<AlertId>,
    reworded: Vec<(AlertId, String)>,
    /// With whether it is to be mailed.
    new: Vec<(Finding, bool)>,
}

impl Change {
    fn is_none(&self) -> bool {
        self.over.is_empty() && self.reworded.is_empty() && self.new.is_empty()
    }
}

/// Raises what is due and ends what is over, for all accounts.
///
/// # Errors
/// If the store does not answer or cannot write. What was done until then stays, and first uses from
/// networks are told the next time.
pub async fn check(app: &App) -> Result<(), AppError> {
    let lock = || app.new_networks.lock().unwrap_or_else(PoisonError::into_inner);
    let networks = std::mem::take(&mut *lock());
    let result = check_with(app, &networks).await;
    if result.is_err() {
        let mut waiting = lock();
        // Bound: what came in the meantime has its place, and nothing is put before it.
        if waiting.is_empty() {
            *waiting = networks;
        }
    }
    result
}

async fn check_with(app: &App, networks: &NewNetworks) -> Result<(), AppError> {
    let now = app.clock.wall();
    let networks = networks.clone();
    let to_look_at = app.store.read(move |tx| to_look_at(tx, &networks, now)).await?;
    let mut to_look_at = to_look_at.into_iter().peekable();
    while to_look_at.peek().is_some() {
        let seen: Vec<ToLookAt> = to_look_at.by_ref().take(ACCOUNTS_AT_ONCE).collect();
        let changes = app
            .store
            .read(move |tx| {
                let mut changes = vec![];
                for account in &seen {
                    changes.push(look(tx, account, now)?);
                }
                Ok::<_, AppError>(changes)
            })
            .await?;
        let changes: Vec<_> = changes.into_iter().filter(|change| !change.is_none()).collect();
        if changes.is_empty() {
            continue;
        }
        let raised = changes.iter().flat_map(|change| {
            change.new.iter().map(|(finding, to_mail)| Alert {
                id: app.new_alert_id(now),
                account: change.account,
                kind: finding.kind,
                key: finding.key,
                subject: finding.subject.clone(),
                text: finding.told.text(now),
                raised_at: now,
                to_mail: *to_mail,
                ended_at: None,
                snoozed_until: None,
                mailed_at: None,
                mail_fault: None,
            })
        });
        let raised: Vec<Alert> = raised.collect();
        let chance = app.chance.clone();
        app.store
            .write(move |tx| {
                for change in &changes {
                    change.over.iter().try_for_each(|id| alerts::end(tx, *id, now))?;
                    let mut reworded = change.reworded.iter();
                    reworded.try_for_each(|(id, text)| alerts::reword(tx, *id, text))?;
                }
                for alert in &raised {
                    if alerts::raise(tx, alert)? {
                        tell_webhooks(tx, &chance, alert)?;
                    }
                }
                Ok::<_, AppError>(())
            })
            .await?;
    }
    Ok(())
}

/// What concerns a key goes to the webhooks of its environment, and the rest to those of production.
fn tell_webhooks(tx: &mut Tx<'_>, chance: &Chance, alert: &Alert) -> Result<(), StoreError> {
    let key = alert.key.map(|id| keys::find(tx, id)).transpose()?.flatten();
    let happened = Happened {
        account: alert.account,
        environment: key.as_ref().map_or(Environment::Production, |key| key.environment),
        name: EventName::KeyAlert,
        at: alert.raised_at,
        request_id: None,
        payload: json!({
            "account_id": alert.account.to_string(),
            "alert_id": alert.id.to_string(),
            "kind": alert.kind.as_str(),
            "text": alert.text,
            "api_key_id": alert.key.map(|id| id.to_string()),
        }),
    };
    events::emit(tx, chance, &happened)
}

/// Leaves out the many accounts of which nothing can be due: one question instead of a dozen each.
fn to_look_at(
    tx: &mut Tx<'_>,
    networks: &NewNetworks,
    now: UnixMillis,
) -> Result<Vec<ToLookAt>, StoreError> {
    let mut first_uses: HashMap<AccountId, Vec<FirstUse>> = HashMap::new();
    for (id, network, at) in networks {
        let found = keys::find(tx, *id)?.filter(|key| key.revoked.is_none());
        let Some(key) = found else { continue };
        let name = named(&key.name, key.hint.as_str(), key.environment.as_str());
        let first_use = FirstUse { key: *id, name, network: *network, at: *at };
        first_uses.entry(key.account).or_default().push(first_use);
    }
    let mut widest = |kind, of: fn(i64, i64, i64) -> i64| {
        let usual = default_rule(kind).threshold;
        let own = alerts::thresholds(tx, kind)?;
        Ok::<_, StoreError>(own.map_or(usual, |(least, most)| of(usual, least, most)))
    };
    let days_old = widest(AlertKind::RotationDue, |usual, least, _| usual.min(least))?;
    let days_left = widest(AlertKind::Expiring, |usual, _, most| usual.max(most))?;
    let horizon = Horizon {
        made_before: UnixMillis(now.0 - days_old * DAY_MILLIS),
        expires_from: UnixMillis(now.0 - EVENT_MILLIS),
        expires_to: now + days_left * DAY_MILLIS,
        exposed_since: UnixMillis(now.0 - EXPOSED_MILLIS),
        hour: now.hours() - 1,
    };
    let mut all = vec![];
    for (account, state) in alerts::accounts_within(tx, &horizon)? {
        let first_uses = first_uses.remove(&account).unwrap_or_default();
        all.push(ToLookAt { account, state, first_uses });
    }
    for (account, first_uses) in first_uses {
        if let Some(Account { state, .. }) = accounts::find(tx, account)? {
            all.push(ToLookAt { account, state, first_uses });
        }
    }
    Ok(all)
}

fn look(tx: &mut Tx<'_>, to_look_at: &ToLookAt, now: UnixMillis) -> Result<Change, StoreError> {
    let ToLookAt { account, state, first_uses } = to_look_at;
    let account = *account;
    let rules = rules_in(tx, account)?;
    let open = alerts::list(tx, account, Some(true), u32::MAX)?;
    let of_revoked = alerts::of_revoked_keys(tx, account)?;
    let mut findings = vec![];
    if *state != AccountState::Suspended {
        for rule in rules.iter().filter(|rule| rule.is_on) {
            match rule.kind {
                AlertKind::NewNetwork => first_used(rule.kind, first_uses, &open, &mut findings),
                _ => find(tx, account, rule, now, &mut findings)?,
            }
        }
    }
    let found: HashMap<(AlertKind, &str), &Finding> =
        findings.iter().map(|found| ((found.kind, found.subject.as_str()), found)).collect();
    let (mut over, mut reworded) = (vec![], vec![]);
    for alert in &open {
        let is_off = !rules.iter().any(|rule| rule.kind == alert.kind && rule.is_on);
        let still = found.get(&(alert.kind, alert.subject.as_str()));
        let is_past = if is_event(alert.kind) {
            now >= alert.raised_at + EVENT_MILLIS
        } else {
            still.is_none()
        };
        if is_off || is_past || of_revoked.contains(&alert.id) {
            over.push(alert.id);
        } else if let Some(Finding { told: told @ Told::More(..), .. }) = still {
            let text = told.text(alert.raised_at);
            if text != alert.text {
                reworded.push((alert.id, text));
            }
        }
    }
    let told: HashSet<(AlertKind, &str)> =
        open.iter().map(|alert| (alert.kind, alert.subject.as_str())).collect();
    let is_mailed = |kind| rules.iter().any(|rule| rule.kind == kind && rule.is_mailed);
    let new = findings
        .into_iter()
        .filter(|finding| !told.contains(&(finding.kind, finding.subject.as_str())))
        .map(|finding| {
            let to_mail = is_mailed(finding.kind);
            (finding, to_mail)
        });
    Ok(Change { account, over, reworded, new: new.collect() })
}

fn find(
    tx: &mut Tx<'_>,
    account: AccountId,
    rule: &Rule,
    now: UnixMillis,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    match rule.kind {
        AlertKind::RotationDue => {
            let before = UnixMillis(now.0 - rule.threshold * DAY_MILLIS);
            let found = key_list::concerned(tx, account, Concern::Old, before, now, false, MOST)?;
            let more = ["is", "are"].map(|be| format!("{be} older than {} days", rule.threshold));
            each(rule.kind, found, more, findings, |name, at| {
                format!("The key {name} was made on {at} and not rotated since. Rotate it.")
            });
        }
        AlertKind::Expiring => {
            let before = UnixMillis(now.0 + rule.threshold * DAY_MILLIS);
            let found =
                key_list::concerned(tx, account, Concern::Expiring, before, now, false, MOST)?;
            let more = ["expires", "expire"].map(|w| format!("{w} within {} days", rule.threshold));
            each(rule.kind, found, more, findings, |name, at| {
                format!("The key {name} expires on {at}. Rotate it before, so nobody is refused.")
            });
        }
        AlertKind::Expired => {
            let since = UnixMillis(now.0 - EVENT_MILLIS);
            let found = key_list::expired_in_use(tx, account, since, now, MOST)?;
            let more = ["expired in use"; 2].map(String::from);
            each(rule.kind, found, more, findings, |name, at| {
                format!(
                    "The key {name} expired on {at} in use: its holder is refused since. Give out \
                     another, or change its expiry."
                )
            });
        }
        AlertKind::FromBrowser => {
            let since = UnixMillis(now.0 - EXPOSED_MILLIS);
            let found = key_list::exposed(tx, account, "browser", since, now, MOST)?;
            let more = ["is", "are"].map(|be| format!("{be} used from web pages"));
            each(rule.kind, found, more, findings, |name, at| {
                format!(
                    "The key {name} is used from web pages since {at}: anybody can read it there. \
                     Call from a server, and rotate it."
                )
            });
        }
        AlertKind::PlainHttp => {
            let since = UnixMillis(now.0 - EXPOSED_MILLIS);
            let found = key_list::exposed(tx, account, "plain_http", since, now, MOST)?;
            let more = ["is", "are"].map(|be| format!("{be} sent over plain HTTP"));
            each(rule.kind, found, more, findings, |name, at| {
                format!(
                    "The key {name} is sent over plain HTTP since {at}: it can be read on the way. \
                     Use HTTPS, and rotate it."
                )
            });
        }
        AlertKind::RefusalsRise | AlertKind::RequestsRise => {
            rise(tx, account, rule, now, findings)?;
        }
        AlertKind::WebhookOff => {
            let (found, total) = webhooks::turned_off(tx, account, MOST)?;
            let n_told = u64::try_from(found.len()).unwrap_or(0);
            findings.extend(found.iter().map(|webhook| {
                let since = webhook.turned_off_at.map(crate::when).unwrap_or_default();
                let name: String = webhook.display_name.chars().take(MOST_OF_A_NAME).collect();
                let text = format!(
                    "The webhook “{name}” ({}) was switched off at {since}, after ten events in a row \
                     that failed. Mend its receiver and switch it on: {} events wait.",
                    webhook.environment, webhook.waiting
                );
                let told = Told::Text(text);
                Finding { kind: rule.kind, key: None, subject: webhook.id.to_string(), told }
            }));
            if total > n_told {
                let text =
                    String::from("More webhooks were switched off than are told one by one.");
                let (subject, told) = (MORE.to_owned(), Told::Text(text));
                findings.push(Finding { kind: rule.kind, key: None, subject, told });
            }
        }
        // Raised where it happens.
        AlertKind::NewNetwork | AlertKind::SelfRevoked => {}
    }
    Ok(())
}

fn named(name: &str, hint: &str, environment: &str) -> String {
    let mut short = name.to_owned();
    if name.chars().count() > MOST_OF_A_NAME {
        short = name.chars().take(MOST_OF_A_NAME - 1).chain(['…']).collect();
    }
    format!("“{short}” (…{hint}, {environment})")
}

/// One finding a key, and one for those that are too many to tell.
fn each(
    kind: AlertKind,
    (keys, total): (Vec<Concerned>, u64),
    more: [String; 2],
    findings: &mut Vec<Finding>,
    told: impl Fn(&str, &str) -> String,
) {
    let n_told = u64::try_from(keys.len()).unwrap_or(0);
    findings.extend(keys.iter().map(|key| {
        let name = named(&key.name, &key.hint, key.environment.as_str());
        let told = Told::Text(told(&name, &crate::when(key.at)));
        Finding { kind, key: Some(key.key), subject: key.key.to_string(), told }
    }));
    if total > n_told {
        let told = Told::More(total - n_told, more);
        findings.push(Finding { kind, key: None, subject: MORE.to_owned(), told });
    }
}

/// First uses from networks, as far as there is room beside those that are told already.
fn first_used(
    kind: AlertKind,
    first_uses: &[FirstUse],
    open: &[Alert],
    findings: &mut Vec<Finding>,
) {
    let is_told = |subject: &str| open.iter().any(|a| a.kind == kind && a.subject == subject);
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let mut room = most.saturating_sub(open.iter().filter(|alert| alert.kind == kind).count());
    for FirstUse { key, name, network, at } in first_uses {
        let subject = format!("{key} {network}");
        if is_told(&subject) {
            continue;
        }
        let at = crate::when(*at);
        if room == 0 {
            let text = format!(
                "Keys are used from more new networks than are told one by one, since {at}. Look \
                 at the requests, and rotate the keys that others have."
            );
            let told = Told::Text(text);
            findings.push(Finding { kind, key: None, subject: MORE.to_owned(), told });
            return;
        }
        room -= 1;
        let text = format!(
            "The key {name} was used from {network} for the first time, at {at}. If that is not \
             you, rotate it."
        );
        findings.push(Finding { kind, key: Some(*key), subject, told: Told::Text(text) });
    }
}

/// The last full hour against the usual one of the week before.
fn rise(
    tx: &mut Tx<'_>,
    account: AccountId,
    rule: &Rule,
    now: UnixMillis,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let hour = now.hours() - 1;
    let is_refusals = rule.kind == AlertKind::RefusalsRise;
    let sum = |sums: &[HourSum], from: i64, to: i64| -> u64 {
        let within = sums.iter().filter(|sum| sum.hour >= from && sum.hour < to);
        within.filter(|sum| is_refusal(sum.outcome) == is_refusals).map(|sum| sum.requests).sum()
    };
    let (fewest, what) = if is_refusals {
        (FEWEST_REFUSALS, "requests were refused")
    } else {
        (FEWEST_REQUESTS, "requests were let in")
    };
    let last = sum(&usage::hours_of_account(tx, Some(account), hour)?, hour, hour + 1);
    // Why: few accounts are so busy, and a week is read for those only.
    if last < fewest {
        return Ok(());
    }
    let week = usage::hours_of_account(tx, Some(account), hour - WEEK_HOURS)?;
    let week = sum(&week, hour - WEEK_HOURS, hour);
    let factor = rule.threshold.unsigned_abs();
    // Without a week before there is nothing usual; then the fewest decide.
    let is_rise = last.saturating_mul(WEEK_HOURS.unsigned_abs()) >= factor.saturating_mul(week);
    // Why the second question: one that was dismissed must not come back for the same hour.
    let this_hour = UnixMillis((hour + 1) * HOUR_MILLIS);
    if !is_rise || alerts::was_raised_since(tx, account, rule.kind, this_hour)? {
        return Ok(());
    }
    let from = crate::when(UnixMillis(hour * HOUR_MILLIS));
    let usual = week / WEEK_HOURS.unsigned_abs();
    findings.push(Finding {
        kind: rule.kind,
        key: None,
        subject: from.get(..10).unwrap_or_default().to_owned(),
        told: Told::Text(format!(
            "{last} {what} in the hour from {from}; {usual} are usual. Look at the requests."
        )),
    });
    Ok(())
}
