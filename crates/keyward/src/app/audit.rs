//! The audit trail: who did what to what, written in the transaction of the change itself.

use keyward_core::chain::{Broken, Checker, Entry, LinkHash};
use keyward_core::id::{AccountId, KeyId, UserId};
use keyward_core::time::UnixMillis;
use keyward_store::audit::{self, AuditFilter};
use keyward_store::{StoreError, Tx, users};
use serde_json::Value;

use super::{Actor, App, AppError};

/// What was done to what. Written by [`Trail::append`].
pub(crate) struct Trail<'a> {
    pub at: UnixMillis,
    pub account: Option<AccountId>,
    pub actor: &'a Actor,
    /// `key.revoked`: what it was done to, a dot, and what was done.
    pub action: &'static str,
    pub target: String,
    /// The target's name.
    pub label: &'a str,
    /// An object; never a secret.
    pub details: Value,
}

impl Trail<'_> {
    /// Adds the row.
    pub(crate) fn append(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let (name, address) = match self.actor {
            Actor::Person(person) => {
                let user = users::find(tx, person.user)?;
                (user.map(|user| user.name).unwrap_or_default(), person.address.to_string())
            }
            Actor::Key(caller) => {
                let key = keyward_store::keys::find(tx, caller.key())?;
                (key.map(|key| key.name).unwrap_or_default(), String::new())
            }
            Actor::Operator => (String::from("Operator (command line)"), String::new()),
            Actor::System => (String::from("Keyward"), String::new()),
        };
        let entry = Entry {
            number: 0,
            at: self.at,
            account: self.account,
            actor: self.actor.describe(),
            name,
            action: self.action.to_owned(),
            target: self.target,
            label: self.label.to_owned(),
            details: self.details.to_string(),
            address,
        };
        audit::append(tx, entry)
    }
}

/// How the trail names a key.
#[must_use]
pub fn key_target(id: KeyId) -> String {
    format!("key {id}")
}

/// How the trail names a member.
#[must_use]
pub fn user_target(id: UserId) -> String {
    format!("user {id}")
}

/// How the trail names an account.
#[must_use]
pub fn account_target(id: AccountId) -> String {
    format!("account {id}")
}

/// Rows, newest first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(app: &App, filter: AuditFilter) -> Result<Vec<Entry>, AppError> {
    app.store.read(move |tx| Ok(audit::list(tx, &filter)?)).await
}

/// What a check of the whole chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// So many rows, and the hash of the last one.
    Holds { n_rows: i64, head: LinkHash, passes_expected: Option<bool> },
    /// The row with this number was changed, or the one before it.
    Changed(i64),
    /// The row with this number is missing.
    Missing(i64),
    /// Rows after this one were taken off the end; there were so many.
    CutOff { after: i64, of: i64 },
}

/// Checks every link of the chain; `expected` is the head of an earlier check, which the chain must
/// still pass through.
///
/// # Errors
/// If the store does not answer.
pub async fn verify(app: &App, expected: Option<LinkHash>) -> Result<Verified, AppError> {
    app.store
        .read(move |tx| {
            let mut checker = Checker::default();
            let mut broken = None;
            let mut is_passed = expected.map(|expected| expected == keyward_core::chain::ORIGIN);
            audit::for_each_link(tx, |entry, previous, hash| {
                if broken.is_none() {
                    broken = checker.take(&entry, &previous, &hash).err();
                    if expected == Some(hash) {
                        is_passed = Some(true);
                    }
                }
                Ok(())
            })?;
            let (n_rows, head) = checker.head();
            let last = audit::last_number(tx)?;
            Ok(match broken {
                Some(Broken::Changed(number)) => Verified::Changed(number),
                Some(Broken::Missing(number)) => Verified::Missing(number),
                None if last > n_rows => Verified::CutOff { after: n_rows, of: last },
                None => Verified::Holds { n_rows, head, passes_expected: is_passed },
            })
        })
        .await
}
