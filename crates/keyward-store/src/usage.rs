//! Requests by key, hour, class and outcome; and when a key was last used.

use std::collections::BTreeMap;

use keyward_core::account::{Environment, RateClass};
use keyward_core::id::{AccountId, KeyId};
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
    let mut rows: Vec<&UsageRow> = rows.iter().collect();
    // Rows of a key lie together in every table.
    rows.sort_by_key(|row| (row.key, row.hour));
    let mut sums = Sums::default();
    let mut known: Option<(Option<KeyId>, (i64, i64))> = None;
    for row in rows {
        let (number, account) = match known {
            Some((key, numbers)) if key == row.key => numbers,
            _ => numbers_of(tx, row.key)?,
        };
        known = Some((row.key, (number, account)));
        tx.execute(
            "INSERT INTO usage_hours (key, hour, class, outcome, requests)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key, hour, class, outcome)
                 DO UPDATE SET requests = requests + excluded.requests",
            &[
                number.into(),
                row.hour.into(),
                row.class.as_str().into(),
                row.outcome.as_str().into(),
                i64::try_from(row.requests).unwrap_or(i64::MAX).into(),
            ],
        )?;
        sums.add(row, number, account);
    }
    sums.write(tx)?;
    last_uses.iter().try_for_each(|(key, last_use)| keys::put_last_use(tx, *key, last_use))
}

/// The numbers of a key and its account; 0 for no known key.
fn numbers_of(tx: &mut Tx<'_>, key: Option<KeyId>) -> Result<(i64, i64), StoreError> {
    let Some(key) = key else { return Ok((0, 0)) };
    let sql = "SELECT number, account FROM keys WHERE id = ?1";
    let found =
        tx.query_one(sql, &[key.as_bytes().into()], |row| Ok((row.int(0)?, row.int(1)?)))?;
    Ok(found.unwrap_or((0, 0)))
}

/// What charts are made of: many rows of usage add to one of these.
#[derive(Default)]
struct Sums {
    /// By account, hour and outcome.
    of_accounts: BTreeMap<(i64, i64, &'static str), i64>,
    /// By account, day and key: requests, and how many of them were refused.
    of_keys: BTreeMap<(i64, i64, i64), (i64, i64)>,
}

impl Sums {
    fn add(&mut self, row: &UsageRow, number: i64, account: i64) {
        let requests = i64::try_from(row.requests).unwrap_or(i64::MAX);
        *self.of_accounts.entry((account, row.hour, row.outcome.as_str())).or_default() += requests;
        if number != 0 {
            let day = row.hour.div_euclid(24);
            let (all, refused) = self.of_keys.entry((account, day, number)).or_default();
            *all += requests;
            *refused += if is_refusal(row.outcome) { requests } else { 0 };
        }
    }

    fn write(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for ((account, hour, outcome), requests) in self.of_accounts {
            tx.execute(
                "INSERT INTO account_hours (account, hour, outcome, requests)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (account, hour, outcome)
                     DO UPDATE SET requests = requests + excluded.requests",
                &[account.into(), hour.into(), outcome.into(), requests.into()],
            )?;
        }
        for ((account, day, key), (requests, refused)) in self.of_keys {
            tx.execute(
                "INSERT INTO key_days (account, day, key, requests, refused)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (account, day, key)
                     DO UPDATE SET requests = requests + excluded.requests,
                     refused = refused + excluded.refused",
                &[account.into(), day.into(), key.into(), requests.into(), refused.into()],
            )?;
        }
        Ok(())
    }
}

/// True for what the door refused; what a handler refused was let in.
#[must_use]
pub const fn is_refusal(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Ok | Outcome::Invalid | Outcome::Failed)
}

/// Requests of an hour that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourSum {
    pub hour: i64,
    pub outcome: Outcome,
    pub requests: u64,
}

fn hour_sum(row: &Row<'_>) -> Result<HourSum, StoreError> {
    Ok(HourSum {
        hour: row.int(0)?,
        outcome: row.word(1, Outcome::from_text)?,
        requests: u64::try_from(row.int(2)?).unwrap_or(0),
    })
}

/// The requests of an account since an hour; of nobody known if there is no account.
///
/// # Errors
/// What the engine reports.
pub fn hours_of_account(
    tx: &mut Tx<'_>,
    account: Option<AccountId>,
    from_hour: i64,
) -> Result<Vec<HourSum>, StoreError> {
    tx.query(
        "SELECT hour, outcome, requests FROM account_hours
         WHERE account = coalesce((SELECT number FROM accounts WHERE id = ?1), 0) AND hour >= ?2
         ORDER BY hour",
        &[account.as_ref().map(AccountId::as_bytes).into(), from_hour.into()],
        hour_sum,
    )
}

/// The requests of a key since an hour, all classes together.
///
/// # Errors
/// What the engine reports.
pub fn hours_of_key(
    tx: &mut Tx<'_>,
    key: KeyId,
    from_hour: i64,
) -> Result<Vec<HourSum>, StoreError> {
    tx.query(
        "SELECT hour, outcome, sum(requests) FROM usage_hours
         WHERE key = (SELECT number FROM keys WHERE id = ?1) AND hour >= ?2
         GROUP BY hour, outcome ORDER BY hour",
        &[key.as_bytes().into(), from_hour.into()],
        hour_sum,
    )
}

/// A key with what it was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    pub key: KeyId,
    pub name: String,
    pub environment: Environment,
    pub requests: u64,
    pub refused: u64,
}

/// The busiest keys of an account since a day.
///
/// # Errors
/// What the engine reports.
pub fn busiest(
    tx: &mut Tx<'_>,
    account: AccountId,
    from_day: i64,
    only_test_or_shared: bool,
    most: u32,
) -> Result<Vec<Busy>, StoreError> {
    tx.query(
        "SELECT k.id, k.name, k.environment, sum(d.requests) AS n, sum(d.refused)
         FROM key_days d JOIN keys k ON k.number = d.key
         WHERE d.account = (SELECT number FROM accounts WHERE id = ?1) AND d.day >= ?2
             AND (?3 = 0 OR k.environment = 'test' OR k.is_shared = 1)
         GROUP BY d.key ORDER BY n DESC LIMIT ?4",
        &[account.as_bytes().into(), from_day.into(), only_test_or_shared.into(), most.into()],
        |row| {
            Ok(Busy {
                key: KeyId::from_bytes(row.bytes(0)?),
                name: row.text(1)?.to_owned(),
                environment: row.word(2, Environment::from_text)?,
                requests: u64::try_from(row.int(3)?).unwrap_or(0),
                refused: u64::try_from(row.int(4)?).unwrap_or(0),
            })
        },
    )
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
