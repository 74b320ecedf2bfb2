//! Accounts.

use keyward_core::account::{Account, AccountKind, AccountState, OwnLimits};
use keyward_core::id::AccountId;

use crate::changes::next_revision;
use crate::error::StoreError;
use crate::tx::{Row, Tx};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.kind, o.id, a.name, a.email, a.icon, a.description, a.state,",
            " a.limit_standard, a.limit_sensitive, a.limit_webhook_test, a.created_at",
            " FROM accounts a LEFT JOIN accounts o ON o.number = a.organization ",
            $rest
        )
    };
}

fn limit(row: &Row<'_>, column: usize) -> Result<Option<u32>, StoreError> {
    Ok(row.maybe_int(column)?.and_then(|limit| u32::try_from(limit).ok()))
}

fn account(row: &Row<'_>) -> Result<Account, StoreError> {
    Ok(Account {
        id: AccountId::from_bytes(row.bytes(0)?),
        kind: row.word(1, AccountKind::from_text)?,
        organization: row.maybe_bytes(2)?.map(AccountId::from_bytes),
        name: row.text(3)?.to_owned(),
        email: row.maybe_text(4)?,
        icon: row.maybe_text(5)?,
        description: row.maybe_text(6)?,
        state: row.word(7, AccountState::from_text)?,
        limits: OwnLimits {
            standard: limit(row, 8)?,
            sensitive: limit(row, 9)?,
            webhook_test: limit(row, 10)?,
        },
        created_at: row.at(11)?,
    })
}

/// Adds an account.
///
/// # Errors
/// `Conflict(AccountName)` if another has the name.
pub fn insert(tx: &mut Tx<'_>, account: &Account) -> Result<(), StoreError> {
    let revision = next_revision(tx)?;
    tx.execute(
        "INSERT INTO accounts (id, kind, organization, name, email, icon, description, state,
             limit_standard, limit_sensitive, limit_webhook_test, created_at, revision)
         VALUES (?1, ?2, (SELECT number FROM accounts WHERE id = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             ?11, ?12, ?13)",
        &[
            account.id.as_bytes().into(),
            account.kind.as_str().into(),
            account.organization.as_ref().map(AccountId::as_bytes).into(),
            (&account.name).into(),
            account.email.as_ref().into(),
            account.icon.as_ref().into(),
            account.description.as_ref().into(),
            account.state.as_str().into(),
            account.limits.standard.into(),
            account.limits.sensitive.into(),
            account.limits.webhook_test.into(),
            account.created_at.into(),
            revision.into(),
        ],
    )?;
    Ok(())
}

/// Writes what may change of an account.
///
/// # Errors
/// `Conflict(AccountName)` if another has the name.
pub fn put(tx: &mut Tx<'_>, account: &Account) -> Result<(), StoreError> {
    let revision = next_revision(tx)?;
    tx.execute(
        "UPDATE accounts SET name = ?2, email = ?3, icon = ?4, description = ?5, state = ?6,
             limit_standard = ?7, limit_sensitive = ?8, limit_webhook_test = ?9, revision = ?10
         WHERE id = ?1",
        &[
            account.id.as_bytes().into(),
            (&account.name).into(),
            account.email.as_ref().into(),
            account.icon.as_ref().into(),
            account.description.as_ref().into(),
            account.state.as_str().into(),
            account.limits.standard.into(),
            account.limits.sensitive.into(),
            account.limits.webhook_test.into(),
            revision.into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, id: AccountId) -> Result<Option<Account>, StoreError> {
    tx.query_one(select!("WHERE a.id = ?1"), &[id.as_bytes().into()], account)
}

/// The letter case of the name does not matter.
///
/// # Errors
/// What the engine reports.
pub fn find_by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Account>, StoreError> {
    tx.query_one(select!("WHERE a.name = ?1"), &[name.into()], account)
}

/// All accounts, in the order in which they were made.
///
/// # Errors
/// What the engine reports.
pub fn list(tx: &mut Tx<'_>) -> Result<Vec<Account>, StoreError> {
    tx.query(select!("ORDER BY a.number"), &[], account)
}

/// The profiles of an organization, in the order in which they were made.
///
/// # Errors
/// What the engine reports.
pub fn profiles_of(tx: &mut Tx<'_>, organization: AccountId) -> Result<Vec<Account>, StoreError> {
    let sql = select!("WHERE o.id = ?1 ORDER BY a.number");
    tx.query(sql, &[organization.as_bytes().into()], account)
}

/// The account that was made first.
///
/// # Errors
/// What the engine reports.
pub fn first(tx: &mut Tx<'_>) -> Result<Option<AccountId>, StoreError> {
    let sql = "SELECT id FROM accounts ORDER BY number LIMIT 1";
    tx.query_one(sql, &[], |row| Ok(AccountId::from_bytes(row.bytes(0)?)))
}

/// # Errors
/// What the engine reports.
pub fn count(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let count = tx.query_one("SELECT count(*) FROM accounts", &[], |row| row.int(0))?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

pub(crate) fn changed_since(
    tx: &mut Tx<'_>,
    revision: i64,
    on_account: &mut impl FnMut(Account),
) -> Result<(), StoreError> {
    // By number, so that an organization comes before its profiles.
    let sql = select!("WHERE a.revision > ?1 ORDER BY a.number");
    tx.for_each(sql, &[revision.into()], |row| {
        on_account(account(row)?);
        Ok(())
    })
}
