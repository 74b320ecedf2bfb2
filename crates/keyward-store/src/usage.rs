//! Requests by key, hour, class and outcome; and when a key was last used.

use keyward_core::account::RateClass;
use keyward_core::id::KeyId;
use keyward_core::record::LastUse;
use keyward_core::usage::Outcome;

use crate::error::StoreError;
use crate::keys;
use crate::tx::{Row, Tx};

/// Requests of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// `None` for requests without a known key.
    pub key: Option<KeyId>,
    /// Hours since 1970.
    pub hour: i64,
    pub class: RateClass,
    pub outcome: Outcome,
    pub requests: u64,
}

/// Adds to the counts, and remembers last uses.
///
/// # Errors
/// What the engine reports.
pub fn add(
    tx: &mut Tx<'_>,
    rows: &[UsageRow],
    last_uses: &[(KeyId, LastUse)],
) -> Result<(), StoreError> {
    for row in rows {
        tx.execute(
            "INSERT INTO usage_hours (key, hour, class, outcome, requests)
             VALUES (coalesce((SELECT number FROM keys WHERE id = ?1), 0), ?2, ?3, ?4, ?5)
             ON CONFLICT (key, hour, class, outcome)
                 DO UPDATE SET requests = requests + excluded.requests",
            &[
                row.key.as_ref().map(KeyId::as_bytes).into(),
                row.hour.into(),
                row.class.as_str().into(),
                row.outcome.as_str().into(),
                i64::try_from(row.requests).unwrap_or(i64::MAX).into(),
            ],
        )?;
    }
    last_uses.iter().try_for_each(|(key, last_use)| keys::put_last_use(tx, *key, last_use))
}

/// What a key was used for since an hour.
///
/// # Errors
/// What the engine reports.
pub fn of_key(tx: &mut Tx<'_>, key: KeyId, from_hour: i64) -> Result<Vec<UsageRow>, StoreError> {
    tx.query(
        "SELECT hour, class, outcome, requests FROM usage_hours
         WHERE key = (SELECT number FROM keys WHERE id = ?1) AND hour >= ?2
         ORDER BY hour, class, outcome",
        &[key.as_bytes().into(), from_hour.into()],
        |row| usage_row(row, Some(key)),
    )
}

/// Requests without a known key since an hour.
///
/// # Errors
/// What the engine reports.
pub fn of_strangers(tx: &mut Tx<'_>, from_hour: i64) -> Result<Vec<UsageRow>, StoreError> {
    tx.query(
        "SELECT hour, class, outcome, requests FROM usage_hours WHERE key = 0 AND hour >= ?1
         ORDER BY hour, class, outcome",
        &[from_hour.into()],
        |row| usage_row(row, None),
    )
}

fn usage_row(row: &Row<'_>, key: Option<KeyId>) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        key,
        hour: row.int(0)?,
        class: row.word(1, RateClass::from_text)?,
        outcome: row.word(2, Outcome::from_text)?,
        requests: u64::try_from(row.int(3)?).unwrap_or(0),
    })
}
