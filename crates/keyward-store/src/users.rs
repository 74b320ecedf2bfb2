//! Members of accounts.

use std::fmt;

use keyward_core::account::Environment;
use keyward_core::id::{AccountId, UserId};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::{Row, Tx};

/// A member of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub account: AccountId,
    /// Members of test data are seen with test keys alone; they cannot sign in.
    pub environment: Environment,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub status: UserStatus,
    /// Argon2id; never shown.
    pub password_hash: Option<String>,
    pub created_at: UnixMillis,
    pub invited_at: Option<UnixMillis>,
    pub last_login_at: Option<UnixMillis>,
    /// When the role, the name or the status was last changed.
    pub updated_at: Option<UnixMillis>,
    /// The secret of the authenticator app, sealed; `None` without a second factor.
    pub totp: Option<Vec<u8>>,
    /// The last step of the authenticator app that was used: none is good twice.
    pub totp_step: i64,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, a.id, u.name, u.email, u.role, u.status, u.password_hash, u.created_at,",
            " u.totp_secret, u.totp_step, u.environment, u.invited_at, u.last_login_at, u.updated_at",
            " FROM users u JOIN accounts a ON a.number = u.account ",
            $rest
        )
    };
}

fn user(row: &Row<'_>) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::from_bytes(row.bytes(0)?),
        account: AccountId::from_bytes(row.bytes(1)?),
        name: row.text(2)?.to_owned(),
        email: row.text(3)?.to_owned(),
        role: row.word(4, Role::from_text)?,
        status: row.word(5, UserStatus::from_text)?,
        password_hash: row.maybe_text(6)?,
        created_at: row.at(7)?,
        totp: row.maybe_blob(8)?,
        totp_step: row.maybe_int(9)?.unwrap_or(0),
        environment: row.word(10, Environment::from_text)?,
        invited_at: row.maybe_at(11)?,
        last_login_at: row.maybe_at(12)?,
        updated_at: row.maybe_at(13)?,
    })
}

/// Adds a member.
///
/// # Errors
/// `Conflict(UserEmail)` if the account has a member with this address.
pub fn insert(tx: &mut Tx<'_>, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, account, name, email, role, status, password_hash, created_at,
             environment, invited_at, updated_at)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             ?11)",
        &[
            user.id.as_bytes().into(),
            user.account.as_bytes().into(),
            (&user.name).into(),
            (&user.email).into(),
            user.role.as_str().into(),
            user.status.as_str().into(),
            user.password_hash.as_ref().into(),
            user.created_at.into(),
            user.environment.as_str().into(),
            user.invited_at.into(),
            user.updated_at.into(),
        ],
    )?;
    Ok(())
}

/// Writes what may change of a member.
///
/// # Errors
/// `Conflict(UserEmail)` if the account has another member with this address.
pub fn put(tx: &mut Tx<'_>, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET name = ?2, email = ?3, role = ?4, status = ?5, password_hash = ?6,
             totp_secret = ?7, totp_step = ?8, invited_at = ?9, last_login_at = ?10, updated_at = ?11
         WHERE id = ?1",
        &[
            user.id.as_bytes().into(),
            (&user.name).into(),
            (&user.email).into(),
            user.role.as_str().into(),
            user.status.as_str().into(),
            user.password_hash.as_ref().into(),
            user.totp.as_ref().into(),
            user.totp_step.into(),
            user.invited_at.into(),
            user.last_login_at.into(),
            user.updated_at.into(),
        ],
    )?;
    Ok(())
}

/// # Errors
/// What the engine reports.
pub fn find(tx: &mut Tx<'_>, id: UserId) -> Result<Option<User>, StoreError> {
    tx.query_one(select!("WHERE u.id = ?1"), &[id.as_bytes().into()], user)
}

/// Runs `each` for every sealed secret of an authenticator app.
///
/// # Errors
/// What `each` fails with, or what the engine reports.
pub fn for_each_sealed(
    tx: &mut Tx<'_>,
    mut each: impl FnMut(UserId, Vec<u8>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT id, totp_secret FROM users WHERE totp_secret IS NOT NULL";
    tx.for_each(sql, &[], |row| {
        each(UserId::from_bytes(row.bytes(0)?), row.maybe_blob(1)?.unwrap_or_default())
    })
}

/// The member, if it is one of an account and environment.
///
/// # Errors
/// What the engine reports.
pub fn find_in(
    tx: &mut Tx<'_>,
    account: AccountId,
    environment: Environment,
    id: UserId,
) -> Result<Option<User>, StoreError> {
    let sql = select!("WHERE u.id = ?1 AND a.id = ?2 AND u.environment = ?3");
    let parameters = [id.as_bytes().into(), account.as_bytes().into(), environment.as_str().into()];
    tx.query_one(sql, &parameters, user)
}

/// Members with an address that are found, in so many accounts.
pub const MOST_WITH_EMAIL: usize = 8;

/// The members with an address, in whatever account; letter case does not matter.
///
/// # Errors
/// What the engine reports.
pub fn with_email(tx: &mut Tx<'_>, email: &str) -> Result<Vec<User>, StoreError> {
    let most = i64::try_from(MOST_WITH_EMAIL).unwrap_or(i64::MAX);
    tx.query(
        select!("WHERE u.email = ?1 AND u.environment = 'production' ORDER BY u.number LIMIT ?2"),
        &[email.into(), most.into()],
        user,
    )
}

/// The members of an account: the owner, then by when they came.
///
/// # Errors
/// What the engine reports.
pub fn of_account(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<User>, StoreError> {
    of_environment(tx, account, Environment::Production)
}

/// The members of an account, or of its test data.
///
/// # Errors
/// What the engine reports.
pub fn of_environment(
    tx: &mut Tx<'_>,
    account: AccountId,
    environment: Environment,
) -> Result<Vec<User>, StoreError> {
    let sql =
        select!("WHERE a.id = ?1 AND u.environment = ?2 ORDER BY u.role <> 'owner', u.number");
    tx.query(sql, &[account.as_bytes().into(), environment.as_str().into()], user)
}

/// The owner of an account.
///
/// # Errors
/// What the engine reports.
pub fn owner_of(tx: &mut Tx<'_>, account: AccountId) -> Result<Option<User>, StoreError> {
    let sql = select!("WHERE a.id = ?1 AND u.role = 'owner'");
    tx.query_one(sql, &[account.as_bytes().into()], user)
}

/// Removes a member with the sessions, links, codes and passkeys; the name is kept for what the member made.
///
/// # Errors
/// What the engine reports.
pub fn remove(tx: &mut Tx<'_>, id: UserId, at: UnixMillis) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO former_users (id, account, name, email, removed_at)
         SELECT id, account, name, email, ?2 FROM users
         WHERE id = ?1 AND environment = 'production'",
        &[id.as_bytes().into(), at.into()],
    )?;
    for sql in [
        "DELETE FROM sessions WHERE user = ?1",
        "DELETE FROM links WHERE user = ?1",
        "DELETE FROM recovery_codes WHERE user = ?1",
        "DELETE FROM passkeys WHERE user = ?1",
        "DELETE FROM users WHERE id = ?1",
    ] {
        tx.execute(sql, &[id.as_bytes().into()])?;
    }
    Ok(())
}

/// A name to show for a member, and whether that member is still one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: UserId,
    pub name: String,
    pub is_former: bool,
}

/// The names of all members an account has and had.
///
/// # Errors
/// What the engine reports.
pub fn names_of(tx: &mut Tx<'_>, account: AccountId) -> Result<Vec<Named>, StoreError> {
    tx.query(
        "SELECT u.id, u.name, 0 FROM users u JOIN accounts a ON a.number = u.account WHERE a.id = ?1
             AND u.environment = 'production'
         UNION ALL
         SELECT f.id, f.name, 1 FROM former_users f JOIN accounts a ON a.number = f.account
         WHERE a.id = ?1",
        &[account.as_bytes().into()],
        |row| {
            Ok(Named {
                id: UserId::from_bytes(row.bytes(0)?),
                name: row.text(1)?.to_owned(),
                is_former: row.int(2)? != 0,
            })
        },
    )
}
