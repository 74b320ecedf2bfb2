//! The audit trail: who did what to what, written in the transaction of the change itself.

use keyward_core::chain::{Broken, Checker, Entry, LinkHash};
use keyward_core::id::{AccountId, KeyId, UserId, WebhookId};
use keyward_core::time::UnixMillis;
use keyward_store::audit::{self, AuditFilter};
use keyward_store::{StoreError, Tx, users};
use serde_json::{Value, json};

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
            Actor::Key(holder) => {
                let key = keyward_store::keys::find(tx, holder.caller.key())?;
                (key.map(|key| key.name).unwrap_or_default(), holder.address.to_string())
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

/// How the trail names a webhook.
#[must_use]
pub fn webhook_target(id: WebhookId) -> String {
    format!("webhook {id}")
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
    app.read_for(filter.account, move |tx| Ok(audit::list(tx, &filter)?)).await
}

/// The first line of an export as CSV.
pub const CSV_HEAD: &str =
    "number,at,account_id,actor,name,action,target,label,details,address\r\n";

fn cells(entry: &Entry) -> [String; 10] {
    [
        entry.number.to_string(),
        crate::when(entry.at),
        entry.account.map(|id| id.to_string()).unwrap_or_default(),
        entry.actor.clone(),
        entry.name.clone(),
        entry.action.clone(),
        entry.target.clone(),
        entry.label.clone(),
        entry.details.clone(),
        entry.address.clone(),
    ]
}

/// What a formula begins with.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A line of an export as CSV.
///
/// A cell that a spreadsheet would take for a formula begins with an apostrophe: names are chosen by
/// people who may not be friends. Some take the wide forms of East Asia for the same.
#[must_use]
pub fn csv_row(entry: &Entry) -> String {
    let cell = |text: &String| {
        let is_formula = text.starts_with(FORMULA);
        let text = if is_formula { format!("'{text}") } else { text.clone() };
        format!("\"{}\"", text.replace('"', "\"\""))
    };
    format!("{}\r\n", cells(entry).iter().map(cell).collect::<Vec<_>>().join(","))
}

/// A row as JSON.
#[must_use]
pub fn json_value(entry: &Entry) -> Value {
    json!({
        "number": entry.number,
        "at": crate::when(entry.at),
        "account_id": entry.account.map(|id| id.to_string()),
        "actor": entry.actor,
        "name": entry.name,
        "action": entry.action,
        "target": entry.target,
        "label": entry.label,
        "details": serde_json::from_str::<Value>(&entry.details).unwrap_or(Value::Null),
        "address": entry.address,
    })
}

/// A line of an export as JSON.
#[must_use]
pub fn json_row(entry: &Entry) -> String {
    format!("{}\n", json_value(entry))
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

impl Verified {
    /// What is wrong with the log, in words; nothing if it holds.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Holds { .. } => None,
            Self::Changed(number) => Some(format!("row {number} of the audit log was changed")),
            Self::Missing(number) => Some(format!("row {number} of the audit log is missing")),
            Self::CutOff { after, of } => {
                Some(format!("the audit log ends after row {after}; there were {of}"))
            }
        }
    }
}

/// Checks every link of the chain; `expected` is the head of an earlier check, which the chain must
/// still pass through.
///
/// # Errors
/// If the store does not answer.
pub async fn verify(app: &App, expected: Option<LinkHash>) -> Result<Verified, AppError> {
    app.store.read(move |tx| Ok(verify_in(tx, expected)?)).await
}

/// The same in a transaction.
///
/// # Errors
/// If the store does not answer.
pub fn verify_in(tx: &mut Tx<'_>, expected: Option<LinkHash>) -> Result<Verified, StoreError> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_text_and_never_a_formula() {
        let entry = Entry {
            number: 7,
            at: UnixMillis(0),
            account: None,
            actor: String::from("operator"),
            name: String::from("=HYPERLINK(\"http://evil.example\")"),
            action: String::from("key.created"),
            target: String::from("key 1"),
            label: String::from("a,\"b\"\n"),
            details: String::from("{\"a\":1}"),
            address: String::from("-1"),
        };
        assert_eq!(
            csv_row(&entry),
            "\"7\",\"1970-01-01T00:00:00Z\",\"\",\"operator\",\
             \"'=HYPERLINK(\"\"http://evil.example\"\")\",\"key.created\",\"key 1\",\
             \"a,\"\"b\"\"\n\",\"{\"\"a\"\":1}\",\"'-1\"\r\n"
        );
        assert_eq!(json_value(&entry)["details"]["a"], 1);
        assert_eq!(CSV_HEAD.split(',').count(), cells(&entry).len());
        for begin in FORMULA {
            let entry = Entry { label: format!("{begin}1+1"), ..entry.clone() };
            assert!(csv_row(&entry).contains(&format!("\"'{begin}1+1\"")), "{begin:?}");
        }
    }
}
