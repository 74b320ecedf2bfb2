//! What must be in the database, no more and no less, and looking whether it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keyward_core::id::KeyId;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, Row};

/// What was done to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyState {
    pub(super) is_disabled: bool,
    pub(super) is_revoked: bool,
    pub(super) is_rotated: bool,
}

impl KeyState {
    /// It never works again.
    pub(super) fn is_dead(self) -> bool {
        self.is_revoked || self.is_rotated
    }

    pub(super) fn is_good(self) -> bool {
        self == Self::default()
    }
}

/// Everything that clients were told they had done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// By number: opted out?
    pub(super) contacts: BTreeMap<String, bool>,
    /// By id.
    pub(super) keys: BTreeMap<String, KeyState>,
    /// By id: name, and switched on?
    pub(super) hooks: BTreeMap<String, (String, bool)>,
}

impl Truth {
    pub(super) fn contacts(&self) -> usize {
        self.contacts.len()
    }
}

/// A key as the database has it.
#[derive(Debug)]
pub(super) struct StoredKey {
    pub(super) id: String,
    pub(super) state: KeyState,
    pub(super) successor: Option<String>,
}

/// The database of a server, opened beside it, to read.
pub(super) struct Database(Connection);

fn id(bytes: [u8; 16]) -> String {
    KeyId::from_bytes(bytes).to_string()
}

fn key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let is_set = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.is_some());
    let state =
        KeyState { is_disabled: is_set(1)?, is_revoked: is_set(2)?, is_rotated: is_set(3)? };
    Ok(StoredKey {
        id: id(row.get(0)?),
        state,
        successor: row.get::<_, Option<[u8; 16]>>(4)?.map(id),
    })
}

const KEYS: &str = "SELECT id, disabled_at, revoked_at, rotated_at, successor FROM keys";

impl Database {
    pub(super) fn open(data_dir: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(data_dir.join("keyward.db"), flags);
        Self(connection.expect("it is there"))
    }

    fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.0.prepare(sql).expect("the tables are there");
        let rows = statement.query_map([], read).expect("it can be read");
        rows.collect::<Result<_, _>>().expect("it can be read")
    }

    fn one<T: FromSql>(&self, sql: &str) -> T {
        self.0.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    pub(super) fn keys_named(&self, name: &str) -> Vec<StoredKey> {
        self.rows(&format!("{KEYS} WHERE name = '{name}' ORDER BY number"), key)
    }

    pub(super) fn key(&self, wanted: &str) -> StoredKey {
        let wanted = wanted.replace('-', "");
        let mut found = self.rows(&format!("{KEYS} WHERE id = x'{wanted}'"), key);
        found.pop().expect("it was issued")
    }

    /// The whole, but for keys and webhooks that were there before.
    fn truth(&self, apart_from: &BTreeSet<String>) -> Truth {
        let contacts = "SELECT format_e164, opt_out <> 0 FROM contacts";
        let contacts = self.rows(contacts, |row| Ok((row.get(0)?, row.get(1)?)));
        let keys = self.rows(KEYS, key).into_iter().map(|key| (key.id, key.state));
        let hooks = self.rows("SELECT id, display_name, is_active <> 0 FROM webhooks", |row| {
            Ok((id(row.get(0)?), (row.get(1)?, row.get(2)?)))
        });
        Truth {
            contacts: contacts.into_iter().collect(),
            keys: keys.filter(|(id, _)| !apart_from.contains(id)).collect(),
            hooks: hooks.into_iter().filter(|(id, _)| !apart_from.contains(id)).collect(),
        }
    }

    /// Panics if anything is missing, is there that should not be, or is damaged.
    pub(super) fn check(&self, expected: &Truth, apart_from: &BTreeSet<String>) {
        assert_eq!(self.one::<String>("PRAGMA integrity_check"), "ok");
        assert_eq!(self.one::<i64>("SELECT count(*) FROM pragma_foreign_key_check"), 0);
        let found = self.truth(apart_from);
        assert_same("contact", &expected.contacts, &found.contacts);
        assert_same("key", &expected.keys, &found.keys);
        assert_same("webhook", &expected.hooks, &found.hooks);
        // What ends a key is written down with it.
        let revoked = expected.keys.values().filter(|state| state.is_revoked).count();
        let told = "SELECT count(DISTINCT target) FROM audit WHERE action = 'key.revoked'";
        let told: i64 = self.one(told);
        // One was revoked before the first kill.
        assert_eq!(usize::try_from(told), Ok(revoked + 1), "revocations in the audit log");
    }
}

/// Compares without printing thousands of what is right.
fn assert_same<V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<String, V>,
    found: &BTreeMap<String, V>,
) {
    let missing: Vec<_> =
        expected.iter().filter(|(name, value)| found.get(*name) != Some(value)).collect();
    let unasked: Vec<_> =
        found.iter().filter(|(name, value)| expected.get(*name) != Some(value)).collect();
    assert!(
        missing.is_empty() && unasked.is_empty(),
        "{what}: missing {missing:?}, there {unasked:?}"
    );
}
