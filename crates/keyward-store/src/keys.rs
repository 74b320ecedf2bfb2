//! Keys, by identifier, by digest, and all of them. Digests only: no key is ever here in clear.

use std::borrow::Borrow;
use std::net::IpAddr;

use ipnet::IpNet;
use keyward_core::account::Environment;
use keyward_core::digest::KeyDigest;
use keyward_core::id::{AccountId, KeyId};
use keyward_core::key::KeyHint;
use keyward_core::permission::PermissionSet;
use keyward_core::record::{KeyRecord, LastUse, Mark, Rotation};
use keyward_core::time::UnixMillis;

use crate::changes::next_revision;
use crate::error::StoreError;
use crate::tx::{Row, Tx, Value};

/// The columns that [`key`] reads, in its order.
macro_rules! columns {
    () => {
        concat!(
            "k.id, a.id, k.digest, k.hint, k.name, k.environment, k.permissions,",
            " k.networks, k.created_at, k.created_by, k.expires_at, k.disabled_at, k.disabled_by,",
            " k.revoked_at, k.revoked_by, k.rotated_at, k.rotated_by, k.successor,",
            " k.grace_ends_at, k.last_used_at, k.last_used_address, k.last_used_client"
        )
    };
}
pub(crate) use columns;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM keys k JOIN accounts a ON a.number = k.account ",
            $rest
        )
    };
}

/// Which keys to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFilter {
    pub account: Option<AccountId>,
    pub environment: Option<Environment>,
}

fn mark(row: &Row<'_>, at: usize, by: usize) -> Result<Option<Mark>, StoreError> {
    let Some(at) = row.maybe_at(at)? else { return Ok(None) };
    Ok(Some(Mark { at, by: row.maybe_text(by)?.unwrap_or_default() }))
}

fn rotation(row: &Row<'_>) -> Result<Option<Rotation>, StoreError> {
    let (Some(mark), Some(successor), Some(until)) =
        (mark(row, 15, 16)?, row.maybe_bytes(17)?, row.maybe_at(18)?)
    else {
        return Ok(None);
    };
    Ok(Some(Rotation { mark, successor: KeyId::from_bytes(successor), until }))
}

fn last_use(row: &Row<'_>) -> Result<Option<LastUse>, StoreError> {
    let Some(at) = row.maybe_at(19)? else { return Ok(None) };
    let address = row.maybe_text(20)?.and_then(|text| text.parse::<IpAddr>().ok());
    let client = row.maybe_text(21)?.unwrap_or_default();
    Ok(address.map(|address| LastUse { at, address, client }))
}

/// `[]`, or `["203.0.113.0/24"]`.
fn networks(text: &str) -> Option<Vec<IpNet>> {
    if text == "[]" {
        return Some(vec![]);
    }
    let texts: Vec<String> = serde_json::from_str(text).ok()?;
    texts.iter().map(|text| text.parse().ok()).collect()
}

fn networks_text(networks: &[IpNet]) -> String {
    let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
    serde_json::Value::from(texts).to_string()
}

pub(crate) fn key(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: KeyId::from_bytes(row.bytes(0)?),
        account: AccountId::from_bytes(row.bytes(1)?),
        digest: KeyDigest::from_bytes(row.bytes(2)?),
        hint: KeyHint::from_text(row.text(3)?).unwrap_or(KeyHint::UNKNOWN),
        name: row.text(4)?.to_owned(),
        environment: row.word(5, Environment::from_text)?,
        permissions: PermissionSet::from_bits(u32::try_from(row.int(6)?).unwrap_or(0)),
        networks: row.word(7, networks)?,
        created: Mark { at: row.at(8)?, by: row.text(9)?.to_owned() },
        expires_at: row.maybe_at(10)?,
        disabled: mark(row, 11, 12)?,
        revoked: mark(row, 13, 14)?,
        rotated: rotation(row)?,
        last_used: last_use(row)?,
    })
}

/// Adds a key.
///
/// # Errors
/// `Conflict(KeyDigest)` if it is there already.
pub fn insert(tx: &mut Tx<'_>, key: &KeyRecord) -> Result<(), StoreError> {
    let revision = next_revision(tx)?;
    insert_at(tx, key, revision)
}

/// Adds many keys under one revision.
///
/// # Errors
/// `Conflict(KeyDigest)` if one is there already.
pub fn insert_all(
    tx: &mut Tx<'_>,
    keys: impl Iterator<Item = impl Borrow<KeyRecord>>,
    mut on_each: impl FnMut(),
) -> Result<(), StoreError> {
    let revision = next_revision(tx)?;
    for key in keys {
        insert_at(tx, key.borrow(), revision)?;
        on_each();
    }
    Ok(())
}

fn insert_at(tx: &mut Tx<'_>, key: &KeyRecord, revision: i64) -> Result<(), StoreError> {
    let networks = networks_text(&key.networks);
    tx.execute(
        "INSERT INTO keys (id, account, digest, hint, name, environment, permissions, networks,
             created_at, created_by, expires_at, revision)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             ?11, ?12)",
        &[
            key.id.as_bytes().into(),
            key.account.as_bytes().into(),
            key.digest.as_bytes().into(),
            key.hint.as_str().into(),
            (&key.name).into(),
            key.environment.as_str().into(),
            key.permissions.bits().into(),
            (&networks).into(),
            key.created.at.into(),
            (&key.created.by).into(),
            key.expires_at.into(),
            revision.into(),
        ],
    )?;
    if key.disabled.is_some() || key.revoked.is_some() || key.rotated.is_some() {
        put_at(tx, key, revision)?;
    }
    Ok(())
}

/// Writes what may change of a key. Its last use is left alone.
///
/// # Errors
/// What the engine reports.
pub fn put(tx: &mut Tx<'_>, key: &KeyRecord) -> Result<(), StoreError> {
    let revision = next_revision(tx)?;
    put_at(tx, key, revision)
}

fn put_at(tx: &mut Tx<'_>, key: &KeyRecord, revision: i64) -> Result<(), StoreError> {
    let networks = networks_text(&key.networks);
    let at = |mark: Option<&Mark>| Value::from(mark.map(|mark| mark.at));
    let rotated = key.rotated.as_ref();
    let rotation = rotated.map(|rotation| &rotation.mark);
    tx.execute(
        "UPDATE keys SET name = ?2, permissions = ?3, networks = ?4, expires_at = ?5,
             disabled_at = ?6, disabled_by = ?7, revoked_at = ?8, revoked_by = ?9, rotated_at = ?10,
             rotated_by = ?11, successor = ?12, grace_ends_at = ?13, revision = ?14
         WHERE id = ?1",
        &[
            key.id.as_bytes().into(),
            (&key.name).into(),
            key.permissions.bits().into(),
            (&networks).into(),
            key.expires_at.into(),
            at(key.disabled.as_ref()),
            key.disabled.as_ref().map(|mark| &mark.by).into(),
            at(key.revoked.as_ref()),
            key.revoked.as_ref().map(|mark| &mark.by).into(),
            at(rotation),
            rotation.map(|mark| &mark.by).into(),
            rotated.map(|rotation| rotation.successor.as_bytes()).into(),
            rotated.map(|rotation| rotation.until).into(),
            revision.into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    tx.query_one(select!("WHERE k.id = ?1"), &[id.as_bytes().into()], key)
}

/// The key, if it is of an account and environment.
///
/// # Errors
/// What the engine reports.
pub fn find_in(
    tx: &mut Tx<'_>,
    account: AccountId,
    environment: Environment,
    id: KeyId,
) -> Result<Option<KeyRecord>, StoreError> {
    let sql = select!("WHERE k.id = ?1 AND a.id = ?2 AND k.environment = ?3");
    let parameters = [id.as_bytes().into(), account.as_bytes().into(), environment.as_str().into()];
    tx.query_one(sql, &parameters, key)
}

/// # Errors
/// What the engine reports.
pub fn find_by_digest(
    tx: &mut Tx<'_>,
    digest: &KeyDigest,
) -> Result<Option<KeyRecord>, StoreError> {
    tx.query_one(select!("WHERE k.digest = ?1"), &[digest.as_bytes().into()], key)
}

/// # Errors
/// What the engine reports.
pub fn exists(tx: &mut Tx<'_>, digest: &KeyDigest) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM keys WHERE digest = ?1";
    Ok(tx.query_one(sql, &[digest.as_bytes().into()], |_| Ok(()))?.is_some())
}

/// The key that this one replaced.
///
/// # Errors
/// What the engine reports.
pub fn predecessor_of(tx: &mut Tx<'_>, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
    tx.query_one(select!("WHERE k.successor = ?1"), &[id.as_bytes().into()], key)
}

/// Keys, newest first.
///
/// # Errors
/// What the engine reports.
pub fn list(tx: &mut Tx<'_>, filter: &KeyFilter) -> Result<Vec<KeyRecord>, StoreError> {
    tx.query(
        select!(
            "WHERE (?1 IS NULL OR a.id = ?1) AND (?2 IS NULL OR k.environment = ?2)
             ORDER BY k.created_at DESC, k.number DESC"
        ),
        &[
            filter.account.as_ref().map(AccountId::as_bytes).into(),
            filter.environment.map(Environment::as_str).into(),
        ],
        key,
    )
}

/// # Errors
/// What the engine reports.
pub fn count(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let count = tx.query_one("SELECT count(*) FROM keys", &[], |row| row.int(0))?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

/// Which ends of a key are marked in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: KeyId,
    pub is_revoked: bool,
    pub is_disabled: bool,
    pub is_rotated: bool,
}

/// All keys that were revoked, disabled or replaced.
///
/// # Errors
/// What the engine reports.
pub fn ended(tx: &mut Tx<'_>) -> Result<Vec<Ended>, StoreError> {
    let sql = "SELECT id, revoked_at IS NOT NULL, disabled_at IS NOT NULL, rotated_at IS NOT NULL
               FROM keys
               WHERE revoked_at IS NOT NULL OR disabled_at IS NOT NULL OR rotated_at IS NOT NULL
               ORDER BY number";
    tx.query(sql, &[], |row| {
        Ok(Ended {
            id: KeyId::from_bytes(row.bytes(0)?),
            is_revoked: row.int(1)? != 0,
            is_disabled: row.int(2)? != 0,
            is_rotated: row.int(3)? != 0,
        })
    })
}

/// Remembers a last use, unless a later one is known.
pub(crate) fn put_last_use(
    tx: &mut Tx<'_>,
    id: KeyId,
    last_use: &LastUse,
) -> Result<(), StoreError> {
    let address = last_use.address.to_string();
    tx.execute(
        "UPDATE keys SET last_used_at = ?2, last_used_address = ?3, last_used_client = ?4
         WHERE id = ?1 AND coalesce(last_used_at, ?5) < ?2",
        &[
            id.as_bytes().into(),
            last_use.at.into(),
            (&address).into(),
            (&last_use.client).into(),
            UnixMillis(i64::MIN).into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn changed_since(
    tx: &mut Tx<'_>,
    revision: i64,
    on_key: &mut impl FnMut(KeyRecord),
) -> Result<(), StoreError> {
    tx.for_each(select!("WHERE k.revision > ?1"), &[revision.into()], |row| {
        on_key(key(row)?);
        Ok(())
    })
}

/// Up to which expiry, and within it which key, something was told of keys.
///
/// # Errors
/// What the engine reports.
pub fn expiry_told(tx: &mut Tx<'_>, cursor: &str) -> Result<Option<(UnixMillis, i64)>, StoreError> {
    let sql = "SELECT value FROM counters WHERE name = ?1";
    let at = tx.query_one(sql, &[cursor.into()], |row| row.at(0))?;
    let within = format!("{cursor}_within");
    let number = tx.query_one(sql, &[(&within).into()], |row| row.int(0))?;
    Ok(at.zip(number))
}

/// # Errors
/// What the engine reports.
pub fn put_expiry_told(
    tx: &mut Tx<'_>,
    cursor: &str,
    at: UnixMillis,
    number: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO counters (name, value) VALUES (?1, ?2)
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.execute(sql, &[cursor.into(), at.into()])?;
    let within = format!("{cursor}_within");
    tx.execute(sql, &[(&within).into(), number.into()])?;
    Ok(())
}

/// Keys with their numbers that expire after a point and until a time, are neither revoked nor disabled,
/// and whose account has webhooks for them; those that expire first, first.
///
/// # Errors
/// What the engine reports.
pub fn expiring_with_webhooks(
    tx: &mut Tx<'_>,
    (after, within): (UnixMillis, i64),
    until: UnixMillis,
    most: u32,
) -> Result<Vec<(i64, KeyRecord)>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        ", k.number FROM keys k JOIN accounts a ON a.number = k.account
         WHERE k.expires_at IS NOT NULL AND (k.expires_at, k.number) > (?1, ?2)
             AND k.expires_at <= ?3 AND k.revoked_at IS NULL AND k.disabled_at IS NULL
             AND EXISTS (SELECT 1 FROM webhooks w WHERE w.account = k.account
                 AND w.environment = k.environment AND w.is_active = 1)
         ORDER BY k.expires_at, k.number LIMIT ?4"
    );
    let parameters = [after.into(), within.into(), until.into(), most.into()];
    tx.query(sql, &parameters, |row| Ok((row.int(22)?, key(row)?)))
}
