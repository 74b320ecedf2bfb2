//! What changed, by revision: what a server follows to keep its index true.

use keyward_core::account::Account;
use keyward_core::record::KeyRecord;

use crate::error::StoreError;
use crate::tx::Tx;
use crate::{accounts, keys};

/// Takes the next revision, for a change that is about to be written.
///
/// # Errors
/// What the engine reports.
pub fn next_revision(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value";
    let revision = tx.query_one(sql, &[], |row| row.int(0))?;
    revision.ok_or_else(|| StoreError::Corrupt(String::from("the revision is missing")))
}

/// The revision of the last change.
///
/// # Errors
/// What the engine reports.
pub fn current(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM counters WHERE name = 'revision'";
    let revision = tx.query_one(sql, &[], |row| row.int(0))?;
    revision.ok_or_else(|| StoreError::Corrupt(String::from("the revision is missing")))
}

/// Tells of every account and key that changed after a revision: accounts first, for keys name
/// them. Gives the current revision. From 0 it tells of everything there is.
///
/// # Errors
/// What the engine reports.
pub fn since(
    tx: &mut Tx<'_>,
    revision: i64,
    mut on_account: impl FnMut(Account),
    mut on_key: impl FnMut(KeyRecord),
) -> Result<i64, StoreError> {
    let current = current(tx)?;
    if current > revision {
        accounts::changed_since(tx, revision, &mut on_account)?;
        keys::changed_since(tx, revision, &mut on_key)?;
    }
    Ok(current)
}
