//! Answers that are kept for `Idempotency-Key`. Contract 6.

use keyward_core::id::AccountId;
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::Tx;

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of whose key it is, where it was sent, and the `Idempotency-Key`.
    pub digest: [u8; 32],
    pub account: AccountId,
    pub at: UnixMillis,
    /// The request that it answered.
    pub request_id: String,
    pub status: u16,
    pub is_sandbox: bool,
    /// Sealed.
    pub body: Vec<u8>,
}

/// The answer that is kept under a digest, unless it is older than that.
///
/// # Errors
/// What the engine reports.
pub fn find(
    tx: &mut Tx<'_>,
    digest: &[u8; 32],
    older: UnixMillis,
) -> Result<Option<Kept>, StoreError> {
    tx.query_one(
        "SELECT a.id, i.at, i.request_id, i.status, i.is_sandbox, i.body
         FROM idempotency i JOIN accounts a ON a.number = i.account
         WHERE i.digest = ?1 AND i.at > ?2",
        &[digest.into(), older.into()],
        |row| {
            Ok(Kept {
                digest: *digest,
                account: AccountId::from_bytes(row.bytes(0)?),
                at: row.at(1)?,
                request_id: row.text(2)?.to_owned(),
                status: u16::try_from(row.int(3)?).unwrap_or(200),
                is_sandbox: row.int(4)? != 0,
                body: row.maybe_blob(5)?.unwrap_or_default(),
            })
        },
    )
}

/// Keeps an answer. One under the same digest that is older than that gives way.
///
/// # Errors
/// `Conflict(IdempotencyKey)` if one is kept already.
pub fn insert(tx: &mut Tx<'_>, kept: &Kept, older: UnixMillis) -> Result<(), StoreError> {
    let sql = "DELETE FROM idempotency WHERE digest = ?1 AND at <= ?2";
    let n_gone = tx.execute(sql, &[(&kept.digest).into(), older.into()])?;
    tx.execute(
        "INSERT INTO idempotency (digest, account, at, request_id, status, is_sandbox, body)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7)",
        &[
            (&kept.digest).into(),
            kept.account.as_bytes().into(),
            kept.at.into(),
            (&kept.request_id).into(),
            i64::from(kept.status).into(),
            kept.is_sandbox.into(),
            (&kept.body).into(),
        ],
    )?;
    if n_gone == 0 {
        tx.execute(
            "INSERT INTO idempotency_counts (account, kept)
             VALUES ((SELECT number FROM accounts WHERE id = ?1), 1)
             ON CONFLICT (account) DO UPDATE SET kept = kept + 1",
            &[kept.account.as_bytes().into()],
        )?;
    }
    Ok(())
}

/// How many answers are kept for an account.
///
/// # Errors
/// What the engine reports.
pub fn count(tx: &mut Tx<'_>, account: AccountId) -> Result<u64, StoreError> {
    let sql = "SELECT kept FROM idempotency_counts
               WHERE account = (SELECT number FROM accounts WHERE id = ?1)";
    let kept = tx.query_one(sql, &[account.as_bytes().into()], |row| row.int(0))?;
    Ok(kept.and_then(|kept| u64::try_from(kept).ok()).unwrap_or(0))
}

/// Forgets answers that are older than that, so many at most. Gives how many.
///
/// # Errors
/// What the engine reports.
pub fn forget(tx: &mut Tx<'_>, older: UnixMillis, most: u32) -> Result<usize, StoreError> {
    let sql = "SELECT number, account FROM idempotency WHERE at <= ?1 ORDER BY at LIMIT ?2";
    let old = tx.query(sql, &[older.into(), most.into()], |row| Ok((row.int(0)?, row.int(1)?)))?;
    for (number, account) in &old {
        tx.execute("DELETE FROM idempotency WHERE number = ?1", &[(*number).into()])?;
        let sql = "UPDATE idempotency_counts SET kept = kept - 1 WHERE account = ?1";
        tx.execute(sql, &[(*account).into()])?;
    }
    Ok(old.len())
}
