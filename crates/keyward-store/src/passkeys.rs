//! Passkeys of members: public keys, and when they were used. Nothing here is secret.

use keyward_core::id::{PasskeyId, UserId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx};

/// A passkey as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPasskey {
    pub id: PasskeyId,
    pub user: UserId,
    /// What the authenticator calls it.
    pub credential: Vec<u8>,
    /// The host name that it works for.
    pub host: String,
    pub name: String,
    /// What is needed to check its signatures, and how many it made, as JSON.
    pub public_key: String,
    pub added_at: UnixMillis,
    pub used_at: Option<UnixMillis>,
}

fn passkey(row: &Row<'_>) -> Result<StoredPasskey, StoreError> {
    Ok(StoredPasskey {
        id: PasskeyId::from_bytes(row.bytes(0)?),
        user: UserId::from_bytes(row.bytes(1)?),
        credential: row.maybe_blob(2)?.unwrap_or_default(),
        host: row.text(3)?.to_owned(),
        name: row.text(4)?.to_owned(),
        public_key: row.text(5)?.to_owned(),
        added_at: row.at(6)?,
        used_at: row.maybe_at(7)?,
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user, credential, host, name, public_key, added_at, used_at",
            " FROM passkeys ",
            $rest
        )
    };
}

/// # Errors
/// `Conflict(PasskeyCredential)` if somebody has it already.
pub fn insert(tx: &mut Tx<'_>, passkey: &StoredPasskey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO passkeys (id, user, credential, host, name, public_key, added_at, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            passkey.id.as_bytes().into(),
            passkey.user.as_bytes().into(),
            (&passkey.credential).into(),
            (&passkey.host).into(),
            (&passkey.name).into(),
            (&passkey.public_key).into(),
            passkey.added_at.into(),
            passkey.used_at.into(),
        ],
    )?;
    Ok(())
}

/// A member's passkeys, the first one first.
///
/// # Errors
/// What the engine reports.
pub fn of_user(tx: &mut Tx<'_>, user: UserId) -> Result<Vec<StoredPasskey>, StoreError> {
    let sql = select!("WHERE user = ?1 ORDER BY added_at, id");
    tx.query(sql, &[user.as_bytes().into()], passkey)
}

/// A passkey of a member.
///
/// # Errors
/// What the engine reports.
pub fn find(
    tx: &mut Tx<'_>,
    user: UserId,
    id: PasskeyId,
) -> Result<Option<StoredPasskey>, StoreError> {
    let sql = select!("WHERE id = ?1 AND user = ?2");
    tx.query_one(sql, &[id.as_bytes().into(), user.as_bytes().into()], passkey)
}

/// # Errors
/// What the engine reports.
pub fn find_by_credential(
    tx: &mut Tx<'_>,
    credential: &[u8],
) -> Result<Option<StoredPasskey>, StoreError> {
    let sql = select!("WHERE credential = ?1");
    tx.query_one(sql, &[crate::Value::Blob(credential)], passkey)
}

/// Writes what may change of a passkey: the name, and what a signature with it tells.
///
/// # Errors
/// What the engine reports.
pub fn put(tx: &mut Tx<'_>, passkey: &StoredPasskey) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE passkeys SET name = ?2, public_key = ?3, used_at = ?4 WHERE id = ?1",
        &[
            passkey.id.as_bytes().into(),
            (&passkey.name).into(),
            (&passkey.public_key).into(),
            passkey.used_at.into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn remove(tx: &mut Tx<'_>, id: PasskeyId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM passkeys WHERE id = ?1", &[id.as_bytes().into()])?;
    Ok(())
}
