//! Keys as people look through them: a page at a time, filtered, searched and sorted; and which of
//! them need a look.

use keyward_core::account::{Environment, words};
use keyward_core::id::{AccountId, KeyId, UserId};
use keyward_core::record::KeyRecord;
use keyward_core::time::{DAY_MILLIS, UnixMillis};

use crate::error::StoreError;
use crate::keys::{columns, key};
use crate::tx::{Tx, Value};

/// A key expires soon when it does within so many days.
pub const SOON_DAYS: i64 = 14;

words! {
    /// What a key is at the moment, as the list tells it.
    ListStatus {
        Active = "active",
        Expiring = "expiring",
        Rotating = "rotating",
        Disabled = "disabled",
        Expired = "expired",
        Rotated = "rotated",
        Revoked = "revoked",
    }
}

words! {
    /// By what the list is sorted.
    SortBy {
        Created = "created",
        Name = "name",
        LastUsed = "used",
        Expires = "expires",
    }
}

/// Which keys, in which order.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    pub account: AccountId,
    pub environment: Option<Environment>,
    pub status: Option<ListStatus>,
    /// Part of the name, or the hint.
    pub search: Option<String>,
    /// Only what a developer sees.
    pub only_test_or_shared: bool,
    pub sort: SortBy,
    pub is_reversed: bool,
    pub offset: u32,
    pub most: u32,
    pub now: UnixMillis,
}

/// A key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub record: KeyRecord,
    pub status: ListStatus,
    /// Developers see it although it is a production key.
    pub is_shared: bool,
}

/// A page of keys.
#[derive(Clone, Debug)]
pub struct KeyPage {
    pub keys: Vec<Listed>,
    /// How many there are on all pages.
    pub total: u64,
}

/// The status at the time `?2`. `record::KeyRecord::status` says the same; a test compares them.
const STATUS: &str = "CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
    WHEN k.disabled_at IS NOT NULL THEN 'disabled'
    WHEN k.expires_at <= ?2 AND NOT coalesce(k.grace_ends_at < k.expires_at, 0) THEN 'expired'
    WHEN k.grace_ends_at <= ?2 THEN 'rotated'
    WHEN k.grace_ends_at IS NOT NULL THEN 'rotating'
    WHEN k.expires_at <= ?2 + 1209600000 THEN 'expiring'
    ELSE 'active' END";

const _: () = assert!(SOON_DAYS * DAY_MILLIS == 1_209_600_000);

/// A page of keys.
///
/// # Errors
/// What the engine reports.
pub fn page(tx: &mut Tx<'_>, query: &KeyQuery) -> Result<KeyPage, StoreError> {
    let search = query.search.as_deref().map(|text| {
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        format!("%{escaped}%")
    });
    let hint = query.search.as_deref().map(|text| text.trim_start_matches('…').to_lowercase());
    let status = query.status.map(ListStatus::as_str);
    let environment = query.environment.map(Environment::as_str);
    let matching = format!(
        "FROM keys k JOIN accounts a ON a.number = k.account
         WHERE k.account = (SELECT number FROM accounts WHERE id = ?1)
             AND (?3 IS NULL OR k.environment = ?3)
             AND (?4 IS NULL OR {STATUS} = ?4 OR (?4 = 'active' AND {STATUS} = 'expiring'))
             AND (?5 IS NULL OR k.name LIKE ?5 ESCAPE '\\' OR k.hint = ?6)
             AND (?7 = 0 OR k.environment = 'test' OR k.is_shared = 1)"
    );
    let shared: [Value<'_>; 7] = [
        query.account.as_bytes().into(),
        query.now.into(),
        environment.into(),
        status.into(),
        search.as_deref().into(),
        hint.as_deref().into(),
        query.only_test_or_shared.into(),
    ];
    let total = tx.query_one(
        // Why `?2 IS ?2`: every parameter must occur, whatever the filter.
        &format!("SELECT count(*) {matching} AND ?2 IS ?2"),
        &shared,
        |row| row.int(0),
    )?;
    let down = if query.is_reversed { "ASC" } else { "DESC" };
    let up = if query.is_reversed { "DESC" } else { "ASC" };
    let order = match query.sort {
        SortBy::Created => format!("k.created_at {down}, k.number {down}"),
        SortBy::Name => format!("k.name COLLATE NOCASE {up}, k.number {up}"),
        SortBy::LastUsed => format!("k.last_used_at IS NULL, k.last_used_at {down}, k.number DESC"),
        SortBy::Expires => format!("k.expires_at IS NULL, k.expires_at {up}, k.number DESC"),
    };
    let sql = format!(
        "SELECT {}, {STATUS}, k.is_shared {matching} ORDER BY {order} LIMIT ?8 OFFSET ?9",
        columns!()
    );
    let mut parameters = shared.to_vec();
    parameters.extend([Value::from(query.most), Value::from(query.offset)]);
    let keys = tx.query(&sql, &parameters, |row| {
        Ok(Listed {
            record: key(row)?,
            status: row.word(22, ListStatus::from_text)?,
            is_shared: row.int(23)? != 0,
        })
    })?;
    Ok(KeyPage { keys, total: total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0) })
}

/// One key as the list shows it.
///
/// # Errors
/// What the engine reports.
pub fn find(
    tx: &mut Tx<'_>,
    account: AccountId,
    id: KeyId,
    now: UnixMillis,
) -> Result<Option<Listed>, StoreError> {
    let sql = format!(
        "SELECT {}, {STATUS}, k.is_shared FROM keys k JOIN accounts a ON a.number = k.account
         WHERE a.id = ?1 AND k.id = ?3",
        columns!()
    );
    tx.query_one(&sql, &[account.as_bytes().into(), now.into(), id.as_bytes().into()], |row| {
        Ok(Listed {
            record: key(row)?,
            status: row.word(22, ListStatus::from_text)?,
            is_shared: row.int(23)? != 0,
        })
    })
}

/// Shows a production key to developers, or hides it again.
///
/// # Errors
/// What the engine reports.
pub fn share(tx: &mut Tx<'_>, id: KeyId, is_shared: bool) -> Result<(), StoreError> {
    let sql = "UPDATE keys SET is_shared = ?2 WHERE id = ?1";
    tx.execute(sql, &[id.as_bytes().into(), is_shared.into()])?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn is_shared(tx: &mut Tx<'_>, id: KeyId) -> Result<bool, StoreError> {
    let sql = "SELECT is_shared FROM keys WHERE id = ?1";
    Ok(tx.query_one(sql, &[id.as_bytes().into()], |row| row.int(0))? == Some(1))
}

words! {
    /// Why a key that works needs a look.
    Concern {
        /// It is older than it should be.
        Old = "old",
        Expiring = "expiring",
        /// It was not used for long.
        Unused = "unused",
        /// Whoever made it is no member any more.
        Orphaned = "orphaned",
    }
}

/// A key that needs a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerned {
    pub key: KeyId,
    pub name: String,
    pub environment: Environment,
    pub hint: String,
    /// When it was made, expires or was last used; which of them the concern tells.
    pub at: UnixMillis,
}

/// Working keys that give rise to a concern: those made, last used or expiring before `before`.
/// Gives at most `most` of them, the gravest first, and how many there are.
///
/// # Errors
/// What the engine reports.
pub fn concerned(
    tx: &mut Tx<'_>,
    account: AccountId,
    concern: Concern,
    before: UnixMillis,
    now: UnixMillis,
    only_test_or_shared: bool,
    most: u32,
) -> Result<(Vec<Concerned>, u64), StoreError> {
    let (at, condition) = match concern {
        Concern::Old => ("k.created_at", "k.created_at <= ?3"),
        Concern::Expiring => ("k.expires_at", "k.expires_at <= ?3"),
        Concern::Unused => (
            "coalesce(k.last_used_at, k.created_at)",
            "coalesce(k.last_used_at, k.created_at) <= ?3",
        ),
        Concern::Orphaned => (
            "k.created_at",
            "k.created_at <= ?3 AND EXISTS (SELECT 1 FROM former_users f WHERE f.account = k.account
                 AND 'user ' || lower(substr(hex(f.id), 1, 8) || '-' || substr(hex(f.id), 9, 4)
                 || '-' || substr(hex(f.id), 13, 4) || '-' || substr(hex(f.id), 17, 4) || '-'
                 || substr(hex(f.id), 21)) = k.created_by)",
        ),
    };
    let matching = format!(
        "FROM keys k WHERE k.account = (SELECT number FROM accounts WHERE id = ?1)
             AND {STATUS} IN ('active', 'expiring') AND {condition}
             AND (?4 = 0 OR k.environment = 'test' OR k.is_shared = 1)"
    );
    let shared: [Value<'_>; 4] =
        [account.as_bytes().into(), now.into(), before.into(), only_test_or_shared.into()];
    first_and_total(tx, at, &matching, &shared, most)
}

/// The first keys that match, by a time and then by number, and how many match.
fn first_and_total(
    tx: &mut Tx<'_>,
    at: &str,
    matching: &str,
    parameters: &[Value<'_>],
    most: u32,
) -> Result<(Vec<Concerned>, u64), StoreError> {
    let sql = format!(
        "SELECT k.id, k.name, k.environment, k.hint, {at} {matching}
         ORDER BY 5, k.number LIMIT ?{}",
        parameters.len() + 1
    );
    let with_most = [parameters, &[most.into()]].concat();
    let keys = tx.query(&sql, &with_most, |row| {
        Ok(Concerned {
            key: KeyId::from_bytes(row.bytes(0)?),
            name: row.text(1)?.to_owned(),
            environment: row.word(2, Environment::from_text)?,
            hint: row.text(3)?.to_owned(),
            at: row.at(4)?,
        })
    })?;
    let n_found = u64::try_from(keys.len()).unwrap_or(0);
    // Why: where not all places are taken there is nothing left to count.
    if n_found < u64::from(most) {
        return Ok((keys, n_found));
    }
    let sql = format!("SELECT count(*) {matching}");
    let total = tx.query_one(&sql, parameters, |row| row.int(0))?;
    Ok((keys, total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)))
}

/// Keys that expired since a time although they were in use until then. Gives at most `most` of them,
/// the first to expire first, and how many there are.
///
/// # Errors
/// What the engine reports.
pub fn expired_in_use(
    tx: &mut Tx<'_>,
    account: AccountId,
    since: UnixMillis,
    now: UnixMillis,
    most: u32,
) -> Result<(Vec<Concerned>, u64), StoreError> {
    let matching = format!(
        "FROM keys k WHERE k.account = (SELECT number FROM accounts WHERE id = ?1)
             AND k.expires_at > ?3 AND {STATUS} = 'expired'
             AND k.last_used_at >= k.expires_at - ?4"
    );
    let in_use = 30 * DAY_MILLIS;
    let parameters = [account.as_bytes().into(), now.into(), since.into(), in_use.into()];
    first_and_total(tx, "k.expires_at", &matching, &parameters, most)
}

/// Working keys that were exposed in a way since a time. Gives at most `most` of them with when it was
/// first seen, the first first, and how many there are.
///
/// # Errors
/// What the engine reports.
pub fn exposed(
    tx: &mut Tx<'_>,
    account: AccountId,
    kind: &str,
    since: UnixMillis,
    now: UnixMillis,
    most: u32,
) -> Result<(Vec<Concerned>, u64), StoreError> {
    let matching = format!(
        "FROM keys k JOIN key_exposures e ON e.key = k.number
         WHERE k.account = (SELECT number FROM accounts WHERE id = ?1)
             AND e.kind = ?3 AND e.last_at >= ?4
             AND {STATUS} IN ('active', 'expiring', 'rotating')"
    );
    let parameters = [account.as_bytes().into(), now.into(), kind.into(), since.into()];
    first_and_total(tx, "e.first_at", &matching, &parameters, most)
}

/// Working keys that a member made.
///
/// # Errors
/// What the engine reports.
pub fn made_by(tx: &mut Tx<'_>, user: UserId, now: UnixMillis) -> Result<u64, StoreError> {
    let by = format!("user {user}");
    let sql = format!(
        "SELECT count(*) FROM keys k WHERE k.created_by = ?1
             AND {STATUS} IN ('active', 'expiring', 'rotating')"
    );
    let count = tx.query_one(&sql, &[(&by).into(), now.into()], |row| row.int(0))?;
    Ok(count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// True if an account has, or had, a key.
///
/// # Errors
/// What the engine reports.
pub fn has_any(tx: &mut Tx<'_>, account: AccountId) -> Result<bool, StoreError> {
    let sql =
        "SELECT 1 FROM keys WHERE account = (SELECT number FROM accounts WHERE id = ?1) LIMIT 1";
    Ok(tx.query_one(sql, &[account.as_bytes().into()], |_| Ok(()))?.is_some())
}
