//! The audit trail: rows that are added and never changed, chained by hashes.

use keyward_core::chain::{self, Entry, LinkHash, ORIGIN};
use keyward_core::id::AccountId;
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT number, at, account, actor, name, action, target, label, details, address",
            " FROM audit ",
            $rest
        )
    };
}

/// Which rows to list. Texts must match whole; `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub account: Option<AccountId>,
    /// `key` for all of `key.created`, `key.revoked`…, or one of them.
    pub action: Option<String>,
    pub actor: Option<String>,
    pub target: Option<String>,
    /// Older than the row with this number.
    pub before: Option<i64>,
    pub from_at: Option<i64>,
    pub until_at: Option<i64>,
    pub most: u32,
}

fn entry(row: &Row<'_>) -> Result<Entry, StoreError> {
    Ok(Entry {
        number: row.int(0)?,
        at: row.at(1)?,
        account: row.maybe_bytes(2)?.map(AccountId::from_bytes),
        actor: row.text(3)?.to_owned(),
        name: row.text(4)?.to_owned(),
        action: row.text(5)?.to_owned(),
        target: row.text(6)?.to_owned(),
        label: row.text(7)?.to_owned(),
        details: row.text(8)?.to_owned(),
        address: row.text(9)?.to_owned(),
    })
}

/// Adds a row; its number is set here.
///
/// # Errors
/// What the engine reports.
pub fn append(tx: &mut Tx<'_>, mut entry: Entry) -> Result<(), StoreError> {
    let last =
        tx.query_one("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1", &[], |row| {
            Ok((row.int(0)?, row.bytes::<32>(1)?))
        })?;
    let (number, previous) = last.unwrap_or((0, ORIGIN));
    entry.number = number + 1;
    let hash = chain::hash(&previous, &entry);
    tx.execute(
        "INSERT INTO audit (number, at, account, actor, name, action, target, label, details,
             address, previous, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            entry.number.into(),
            entry.at.into(),
            entry.account.as_ref().map(AccountId::as_bytes).into(),
            (&entry.actor).into(),
            (&entry.name).into(),
            (&entry.action).into(),
            (&entry.target).into(),
            (&entry.label).into(),
            (&entry.details).into(),
            (&entry.address).into(),
            (&previous).into(),
            (&hash).into(),
        ],
    )?;
    // Why a second place: rows taken off the end break no hash.
    tx.execute(
        "INSERT INTO counters (name, value) VALUES ('audit', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[entry.number.into()],
    )?;
    Ok(())
}

/// Rows, newest first.
///
/// # Errors
/// What the engine reports.
pub fn list(tx: &mut Tx<'_>, filter: &AuditFilter) -> Result<Vec<Entry>, StoreError> {
    let prefix = filter.action.as_deref().map(|action| format!("{action}."));
    let parameters: [Value<'_>; 9] = [
        filter.account.as_ref().map(AccountId::as_bytes).into(),
        filter.action.as_deref().into(),
        prefix.as_deref().into(),
        filter.actor.as_deref().into(),
        filter.target.as_deref().into(),
        filter.before.unwrap_or(i64::MAX).into(),
        filter.from_at.unwrap_or(i64::MIN).into(),
        filter.until_at.unwrap_or(i64::MAX).into(),
        filter.most.into(),
    ];
    // One text a way in: with an index for each, and none that has to guess.
    let sql = match (&filter.target, &filter.account) {
        (Some(_), _) => select!(
            "WHERE target = ?5 AND (?1 IS NULL OR account = ?1)
             AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?3)) = ?3)
             AND (?4 IS NULL OR actor = ?4) AND number < ?6 AND at >= ?7 AND at < ?8
             ORDER BY number DESC LIMIT ?9"
        ),
        (None, Some(_)) => select!(
            "WHERE account = ?1 AND (?5 IS NULL OR target = ?5)
             AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?3)) = ?3)
             AND (?4 IS NULL OR actor = ?4) AND number < ?6 AND at >= ?7 AND at < ?8
             ORDER BY number DESC LIMIT ?9"
        ),
        (None, None) => select!(
            "WHERE (?1 IS NULL OR account = ?1) AND (?5 IS NULL OR target = ?5)
             AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?3)) = ?3)
             AND (?4 IS NULL OR actor = ?4) AND number < ?6 AND at >= ?7 AND at < ?8
             ORDER BY number DESC LIMIT ?9"
        ),
    };
    tx.query(sql, &parameters, entry)
}

/// Runs `each` for every link, oldest first, with the two hashes stored beside it.
///
/// # Errors
/// What the engine reports.
pub fn for_each_link(
    tx: &mut Tx<'_>,
    mut each: impl FnMut(Entry, LinkHash, LinkHash) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT number, at, account, actor, name, action, target, label, details, address,
                   previous, hash
               FROM audit ORDER BY number";
    tx.for_each(sql, &[], |row| each(entry(row)?, row.bytes(10)?, row.bytes(11)?))
}

/// The number of the last row that was ever added.
///
/// # Errors
/// What the engine reports.
pub fn last_number(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM counters WHERE name = 'audit'";
    Ok(tx.query_one(sql, &[], |row| row.int(0))?.unwrap_or(0))
}

/// When the last row was written, by the clock of then.
///
/// # Errors
/// What the engine reports.
pub fn last_at(tx: &mut Tx<'_>) -> Result<Option<UnixMillis>, StoreError> {
    tx.query_one("SELECT at FROM audit ORDER BY number DESC LIMIT 1", &[], |row| row.at(0))
}

/// True if an actor did this from that address, the last 64 times that it did it.
///
/// # Errors
/// What the engine reports.
pub fn has_done(
    tx: &mut Tx<'_>,
    actor: &str,
    action: &str,
    address: &str,
) -> Result<bool, StoreError> {
    // Bounded: how much is looked at must not tell of how long somebody has been a member.
    let sql = "SELECT 1 FROM (SELECT address FROM audit WHERE actor = ?1 AND action = ?2
                   ORDER BY number DESC LIMIT 64) AS recent WHERE address = ?3 LIMIT 1";
    let parameters = [actor.into(), action.into(), address.into()];
    Ok(tx.query_one(sql, &parameters, |_| Ok(()))?.is_some())
}
