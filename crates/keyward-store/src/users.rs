//! Members of accounts.

use std::fmt;

use keyward_core::id::{AccountId, UserId};
use keyward_core::time::UnixMillis;

use crate::error::StoreError;
use crate::tx::Tx;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),* }

        impl $name {
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// What a member may do. Contract 10.
    Role { Owner = "owner", Admin = "admin", Developer = "developer", Billing = "billing" }
}

words! {
    /// Whether a member can sign in. Sources 8.3.
    UserStatus {
        Active = "active",
        Invited = "invited",
        Suspended = "suspended",
        Rejected = "rejected",
    }
}

/// A member of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub account: AccountId,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub status: UserStatus,
    /// Argon2id; never shown.
    pub password_hash: Option<String>,
    pub created_at: UnixMillis,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Adds a member.
///
/// # Errors
/// `Conflict(UserEmail)` if the account has a member with this address.
pub fn insert(tx: &mut Tx<'_>, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, account, name, email, role, status, password_hash, created_at)
         VALUES (?1, (SELECT number FROM accounts WHERE id = ?2), ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            user.id.as_bytes().into(),
            user.account.as_bytes().into(),
            (&user.name).into(),
            (&user.email).into(),
            user.role.as_str().into(),
            user.status.as_str().into(),
            user.password_hash.as_ref().into(),
            user.created_at.into(),
        ],
    )?;
    Ok(())
}

/// The owner of an account.
///
/// # Errors
/// What the engine reports.
pub fn owner_of(tx: &mut Tx<'_>, account: AccountId) -> Result<Option<User>, StoreError> {
    tx.query_one(
        "SELECT u.id, u.name, u.email, u.role, u.status, u.password_hash, u.created_at
         FROM users u JOIN accounts a ON a.number = u.account
         WHERE a.id = ?1 AND u.role = 'owner'",
        &[account.as_bytes().into()],
        |row| {
            Ok(User {
                id: UserId::from_bytes(row.bytes(0)?),
                account,
                name: row.text(1)?.to_owned(),
                email: row.text(2)?.to_owned(),
                role: row.word(3, Role::from_text)?,
                status: row.word(4, UserStatus::from_text)?,
                password_hash: row.maybe_text(5)?,
                created_at: row.at(6)?,
            })
        },
    )
}
