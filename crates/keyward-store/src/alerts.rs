//! Alerts: the rules of an account, what was raised by them, and what became of it.

use keyward_core::account::{AccountState, words};
use keyward_core::id::{AccountId, AlertId, KeyId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx};

words! {
    /// What an alert is about.
    AlertKind {
        RotationDue = "rotation_due",
        Expiring = "expiring",
        Expired = "expired",
        NewNetwork = "new_network",
        RefusalsRise = "refusals_rise",
        RequestsRise = "requests_rise",
        FromBrowser = "from_browser",
        PlainHttp = "plain_http",
        WebhookOff = "webhook_off",
        SelfRevoked = "self_revoked",
    }
}

/// A rule of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub kind: AlertKind,
    pub is_on: bool,
    pub is_mailed: bool,
    /// Days for what is due, a multiple of the usual for what rises.
    pub threshold: i64,
}

/// An alert as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub id: AlertId,
    pub account: AccountId,
    pub kind: AlertKind,
    pub key: Option<KeyId>,
    /// What it is about: while one with the same subject is open no other is raised.
    pub subject: String,
    pub text: String,
    pub raised_at: UnixMillis,
    /// Whether its rule asked for a mail.
    pub to_mail: bool,
    pub ended_at: Option<UnixMillis>,
    pub snoozed_until: Option<UnixMillis>,
    pub mailed_at: Option<UnixMillis>,
    /// Why the mail could not be sent.
    pub mail_fault: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT l.id, a.id, l.kind, l.key, l.subject, l.text, l.raised_at, l.ended_at,",
            " l.snoozed_until, l.mailed_at, l.mail_fault, l.to_mail",
            " FROM alerts l JOIN accounts a ON a.number = l.account ",
            $rest
        )
    };
}

fn alert(row: &Row<'_>) -> Result<Alert, StoreError> {
    Ok(Alert {
        id: AlertId::from_bytes(row.bytes(0)?),
        account: AccountId::from_bytes(row.bytes(1)?),
        kind: row.word(2, AlertKind::from_text)?,
        key: row.maybe_bytes(3)?.map(KeyId::from_bytes),
        subject: row.text(4)?.to_owned(),
        text: row.text(5)?.to_owned(),
        raised_at: row.at(6)?,
        ended_at: row.maybe_at(7)?,
        snoozed_until: row.maybe_at(8)?,
        mailed_at: row.maybe_at(9)?,
        mail_fault: row.maybe_text(10)?,
        to_mail: row.int(11)? != 0,
    })
}

/// The rules that an account changed; the others are as they come.
///
/// # Errors
/// What the engine reports.
pub fn rules_of(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<Rule>, StoreError> {
    tx.query(
        "SELECT r.kind, r.is_on, r.is_mailed, r.threshold FROM alert_rules r
         JOIN accounts a ON a.number = r.account WHERE a.id = ?1",
        &[account.as_bytes().into()],
        |row| {
            Ok(Rule {
                kind: row.word(0, AlertKind::from_text)?,
                is_on: row.int(1)? != 0,
                is_mailed: row.int(2)? != 0,
                threshold: row.int(3)?,
            })
        },
    )
}

/// # Errors
/// What the engine reports.
pub fn put_rule(tx: &mut Tx<'_>, account: AccountId, rule: &Rule) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO alert_rules (account, kind, is_on, is_mailed, threshold)
         VALUES ((SELECT number FROM accounts WHERE id = ?1), ?2, ?3, ?4, ?5)
         ON CONFLICT (account, kind) DO UPDATE SET is_on = excluded.is_on,
             is_mailed = excluded.is_mailed, threshold = excluded.threshold",
        &[
            account.as_bytes().into(),
            rule.kind.as_str().into(),
            rule.is_on.into(),
            rule.is_mailed.into(),
            rule.threshold.into(),
        ],
    )?;
    Ok(())
}

/// Raises an alert. Gives false if one about the same is open.
///
/// # Errors
/// What the engine reports.
pub fn raise(tx: &mut Tx<'_>, alert: &Alert) -> Result<bool, StoreError> {
    let n_raised = tx.execute(
        "INSERT INTO alerts (id, account, kind, key, subject, text, raised_at, to_mail)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO NOTHING",
        &[
            alert.id.as_bytes().into(),
            alert.account.as_bytes().into(),
            alert.kind.as_str().into(),
            alert.key.as_ref().map(KeyId::as_bytes).into(),
            (&alert.subject).into(),
            (&alert.text).into(),
            alert.raised_at.into(),
            alert.to_mail.into(),
        ],
    )?;
    Ok(n_raised > 0)
}

/// An account's alerts, newest first.
///
/// # Errors
/// What the engine reports.
pub fn list(
    tx: &mut Tx<'_>,
    account: AccountId,
    is_open: Option<bool>,
    most: u32,
) -> Result<Vec<Alert>, StoreError> {
    tx.query(
        select!(
            "WHERE a.id = ?1 AND (?2 IS NULL OR (l.ended_at IS NULL) = ?2)
             ORDER BY l.number DESC LIMIT ?3"
        ),
        &[account.as_bytes().into(), is_open.map(i64::from).into(), most.into()],
        alert,
    )
}

/// The alert, if it is of an account.
///
/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, account: AccountId, id: AlertId) -> Result<Option<Alert>, StoreError> {
    let sql = select!("WHERE l.id = ?1 AND a.id = ?2");
    tx.query_one(sql, &[id.as_bytes().into(), account.as_bytes().into()], alert)
}

/// # Errors
/// What the engine reports.
pub fn end(tx: &mut Tx<'_>, id: AlertId, at: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE alerts SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL";
    tx.execute(sql, &[id.as_bytes().into(), at.into()])?;
    Ok(())
}

/// Until then it is neither shown as open nor mailed.
///
/// # Errors
/// What the engine reports.
pub fn snooze(tx: &mut Tx<'_>, id: AlertId, until: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE alerts SET snoozed_until = ?2 WHERE id = ?1 AND ended_at IS NULL";
    tx.execute(sql, &[id.as_bytes().into(), until.into()])?;
    Ok(())
}

/// Says it in other words: how many there are has changed.
///
/// # Errors
/// What the engine reports.
pub fn reword(tx: &mut Tx<'_>, id: AlertId, text: &str) -> Result<(), StoreError> {
    let sql = "UPDATE alerts SET text = ?2 WHERE id = ?1 AND ended_at IS NULL";
    tx.execute(sql, &[id.as_bytes().into(), text.into()])?;
    Ok(())
}

/// True if an account had an alert of a kind raised since a time, whatever became of it.
///
/// # Errors
/// What the engine reports.
pub fn was_raised_since(
    tx: &mut Tx<'_>,
    account: AccountId,
    kind: AlertKind,
    since: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM alerts WHERE account = (SELECT number FROM accounts WHERE id = ?1)
                   AND kind = ?2 AND raised_at >= ?3 LIMIT 1";
    let parameters = [account.as_bytes().into(), kind.as_str().into(), since.into()];
    Ok(tx.query_one(sql, &parameters, |_| Ok(()))?.is_some())
}

/// Open alerts of an account about keys that are revoked.
///
/// # Errors
/// What the engine reports.
pub fn of_revoked_keys(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<AlertId>, StoreError> {
    tx.query(
        "SELECT l.id FROM alerts l JOIN keys k ON k.id = l.key
         WHERE l.account = (SELECT number FROM accounts WHERE id = ?1)
             AND l.ended_at IS NULL AND k.revoked_at IS NOT NULL",
        &[account.as_bytes().into()],
        |row| Ok(AlertId::from_bytes(row.bytes(0)?)),
    )
}

/// The smallest and the largest number that any account gave a rule.
///
/// # Errors
/// What the engine reports.
pub fn thresholds(tx: &mut Tx<'_>, kind: AlertKind) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "SELECT min(threshold), max(threshold) FROM alert_rules WHERE kind = ?1";
    let found = tx.query_one(sql, &[kind.as_str().into()], |row| {
        Ok(row.maybe_int(0)?.zip(row.maybe_int(1)?))
    })?;
    Ok(found.flatten())
}

/// What makes it worth looking at an account.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// A key was made at or before this time,
    pub made_before: UnixMillis,
    /// or expires between these,
    pub expires_from: UnixMillis,
    pub expires_to: UnixMillis,
    /// or was exposed since this time,
    pub exposed_since: UnixMillis,
    /// or there were requests in this hour. Open alerts make it so as well.
    pub hour: i64,
}

/// The accounts that are worth looking at, in the order in which they were made.
///
/// # Errors
/// What the engine reports.
pub fn accounts_within(
    tx: &mut Tx<'_>,
    horizon: &Horizon,
) -> Result<Vec<(AccountId, AccountState)>, StoreError> {
    tx.query(
        "SELECT a.id, a.state FROM accounts a
         WHERE a.number IN (SELECT account FROM alerts WHERE ended_at IS NULL)
             OR a.number IN (SELECT account FROM keys
                 WHERE revoked_at IS NULL AND disabled_at IS NULL AND grace_ends_at IS NULL
                     AND coalesce(expires_at, ?2) >= ?2 AND (created_at <= ?1 OR expires_at <= ?3))
             OR a.number IN (SELECT k.account FROM key_exposures e JOIN keys k ON k.number = e.key
                 WHERE e.last_at >= ?4)
             OR a.number IN (SELECT account FROM webhooks WHERE turned_off_at IS NOT NULL)
             OR EXISTS (SELECT 1 FROM account_hours h WHERE h.account = a.number AND h.hour = ?5)
         ORDER BY a.number",
        &[
            horizon.made_before.into(),
            horizon.expires_from.into(),
            horizon.expires_to.into(),
            horizon.exposed_since.into(),
            horizon.hour.into(),
        ],
        |row| Ok((AccountId::from_bytes(row.bytes(0)?), row.word(1, AccountState::from_text)?)),
    )
}

/// Accounts that are not suspended and have open alerts that are neither mailed nor snoozed, in the
/// order in which they were made.
///
/// # Errors
/// What the engine reports.
pub fn accounts_to_mail(tx: &mut Tx<'_>, now: UnixMillis) -> Result<Vec<AccountId>, StoreError> {
    tx.query(
        "SELECT a.id FROM accounts a WHERE a.state <> 'suspended' AND EXISTS (
             SELECT 1 FROM alerts l WHERE l.account = a.number AND l.ended_at IS NULL
                 AND l.mailed_at IS NULL AND l.to_mail = 1 AND coalesce(l.snoozed_until, 0) <= ?1)
         ORDER BY a.number",
        &[now.into()],
        |row| Ok(AccountId::from_bytes(row.bytes(0)?)),
    )
}

/// Open alerts of an account that are neither mailed nor snoozed, oldest first.
///
/// # Errors
/// What the engine reports.
pub fn unmailed(
    tx: &mut Tx<'_>,
    account: AccountId,
    now: UnixMillis,
) -> Result<Vec<Alert>, StoreError> {
    tx.query(
        select!(
            "WHERE a.id = ?1 AND l.ended_at IS NULL AND l.mailed_at IS NULL AND l.to_mail = 1
                 AND coalesce(l.snoozed_until, 0) <= ?2 ORDER BY l.number LIMIT 1000"
        ),
        &[account.as_bytes().into(), now.into()],
        alert,
    )
}

/// Remembers that an alert was mailed, or why it could not be; with both, that it was given up.
///
/// # Errors
/// What the engine reports.
pub fn put_mailed(
    tx: &mut Tx<'_>,
    id: AlertId,
    at: Option<UnixMillis>,
    fault: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "UPDATE alerts SET mailed_at = ?2, mail_fault = ?3 WHERE id = ?1";
    tx.execute(sql, &[id.as_bytes().into(), at.into(), fault.into()])?;
    Ok(())
}

/// Forgets alerts that ended before a time.
///
/// # Errors
/// What the engine reports.
pub fn forget(tx: &mut Tx<'_>, before: UnixMillis) -> Result<(), StoreError> {
    tx.execute("DELETE FROM alerts WHERE ended_at < ?1", &[before.into()])?;
    Ok(())
}
