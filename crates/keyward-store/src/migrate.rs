//! Migrations: forward only, each once, all or none, with a copy kept before the first that changes data.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::backup::{self, BackupError};
use crate::error::StoreError;
use crate::files::{open_private, sync_folder_of};
use crate::glance::Glance;

/// All migrations in order; the first is number 1. One that was released is never edited.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/0001_accounts_keys_contacts_usage.sql"),
    include_str!("../migrations/sqlite/0002_people_audit_requests_alerts.sql"),
    include_str!("../migrations/sqlite/0003_passkeys.sql"),
    include_str!("../migrations/sqlite/0004_webhooks_idempotency.sql"),
    include_str!("../migrations/sqlite/0005_long_lists_of_contacts.sql"),
];

/// The version of the schema that this program makes and knows.
pub const SCHEMA: i64 = MIGRATIONS.len().cast_signed() as i64;

/// Brings a database to the newest version.
///
/// Two programs may come at once: the second waits for the first and finds nothing to do. If anything
/// fails, the database is what it was.
pub(crate) fn run(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
    keeps_copy: bool,
) -> Result<(), StoreError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let found = version(connection)?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    // Why within the transaction: nobody writes between the copy and the change.
    let copy = if found > 0 && keeps_copy { Some(Copy::make(path, found)?) } else { None };
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    // Why before the commit: a database that was changed has its copy under its name, whenever the
    // machine stops.
    let kept = copy.map(Copy::keep).transpose()?;
    let committed = transaction.commit();
    if committed.is_err()
        && let Some(kept) = kept
    {
        // The database is what it was: its copy is of no use, and each attempt would leave one.
        let _ = std::fs::remove_file(kept);
    }
    Ok(committed?)
}

pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// What the database is before it is changed, in a backup beside it.
struct Copy {
    /// `keyward.db.before-0002`
    path: PathBuf,
    /// The same with `.partial`, until it is kept.
    partial: PathBuf,
}

impl Copy {
    fn make(database: &Path, found: i64) -> Result<Self, StoreError> {
        let path = with_end(database, &format!(".before-{:04}", found + 1));
        let copy = Self { partial: with_end(&path, ".partial"), path };
        let fault = |error: io::Error| StoreError::of_file(&copy.partial, &error);
        // What a copy that was cut off by a kill left is written over.
        open_private(&copy.partial).and_then(|file| file.set_len(0)).map_err(fault)?;
        let folder = database.parent().unwrap_or(database);
        let made = format!("before the upgrade from schema {found}");
        let glance = Glance::live(folder)?;
        let note = backup::make(&glance, &copy.partial, &made, &mut |_, _, _| {});
        note.map_err(|error| match error {
            BackupError::Store(error) => error,
            BackupError::Io(error) => StoreError::of_file(&copy.partial, &error),
            other => StoreError::Engine(other.to_string()),
        })?;
        Ok(copy)
    }

    /// Gives it its name, or that with a number behind it: what was kept once is never written over.
    fn keep(self) -> Result<PathBuf, StoreError> {
        let mut path = self.path.clone();
        let mut number = 2;
        // Nobody else makes one: the database is locked.
        while path.exists() {
            path = with_end(&self.path, &format!(".{number}"));
            number += 1;
        }
        let fault = |error: io::Error| StoreError::of_file(&path, &error);
        std::fs::rename(&self.partial, &path).map_err(fault)?;
        sync_folder_of(&path).map_err(fault)?;
        Ok(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // After it was kept there is nothing under this name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

pub(crate) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::engine::sqlite::DATABASE;

    const FIRST: &str = "CREATE TABLE a (x); INSERT INTO a VALUES (7);";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y DEFAULT 8;";

    fn sum(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    #[test]
    fn a_copy_is_kept_before_data_is_changed_and_each_migration_runs_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(DATABASE);
        let mut connection = Connection::open(&path).expect("the folder is ours");
        run(&mut connection, &path, &[FIRST], true).expect("new");
        let copy = folder.path().join("keyward.db.before-0002");
        assert!(!copy.exists(), "a new database needs no copy");
        for _ in 0..2 {
            run(&mut connection, &path, &[FIRST, SECOND], true).expect("one to run, then none");
        }
        assert_eq!(sum(&connection, "SELECT sum(x) + sum(y) FROM a"), 15);
        let mode = copy.metadata().expect("it was kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = Connection::open(&copy).expect("it is a database");
        assert_eq!(sum(&kept, "SELECT sum(x) FROM a"), 7);
        assert_eq!(version(&kept), Ok(1));
    }

    #[test]
    fn a_migration_that_fails_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(DATABASE);
        let mut connection = Connection::open(&path).expect("the folder is ours");
        let broken = "CREATE TABLE b (x); CREATE TABLE b (x);";
        assert!(run(&mut connection, &path, &[FIRST, broken], true).is_err());
        assert_eq!(version(&connection), Ok(0));
        assert_eq!(sum(&connection, "SELECT count(*) FROM sqlite_master"), 0);
    }

    #[test]
    fn contacts_of_before_are_counted_in_blocks_and_found_by_their_digits() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(DATABASE);
        let mut connection = Connection::open(&path).expect("the folder is ours");
        run(&mut connection, &path, &MIGRATIONS[..4], true).expect("new");
        // 2,000 contacts in production and one test contact, in an order that is not that of the list.
        let data = "
            INSERT INTO accounts (number, id, kind, name, state, created_at, revision)
                VALUES (1, randomblob(16), 'organization', 'Acme', 'active', 1, 1);
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2001)
            INSERT INTO contacts (id, account, environment, phone_number, format_e164,
                format_international, format_national, format_rfc, country_code, region_code,
                available_channels, default_channel, opt_out, created_at)
            SELECT randomblob(16), 1, iif(n = 2001, 'test', 'production'), '', '+1415' || (5550000 + n),
                '', '', '', '1', 'US', 'sms', 'sms', 0, n * 7 % 500 FROM n;";
        connection.execute_batch(data).expect("the tables are there");
        run(&mut connection, &path, MIGRATIONS, true).expect("it goes on from there");
        let text = |sql: &str| -> String {
            connection.query_row(sql, [], |row| row.get(0)).expect("the tables are there")
        };
        let blocks = "SELECT group_concat(environment || ' ' || contacts, ', ') FROM
            (SELECT * FROM contact_blocks ORDER BY environment, created_at, id)";
        assert_eq!(text(blocks), "production 768, production 768, production 464, test 1");
        // Each block has as many as lie between its beginning and that of the next.
        let wrong = "SELECT count(*) FROM contact_blocks b WHERE contacts <> (
            SELECT count(*) FROM contacts c WHERE c.account = b.account
                AND c.environment = b.environment AND (c.created_at, c.id) >= (b.created_at, b.id)
                AND NOT EXISTS (SELECT 1 FROM contact_blocks n WHERE n.account = b.account
                    AND n.environment = b.environment
                    AND (n.created_at, n.id) > (b.created_at, b.id)
                    AND (n.created_at, n.id) <= (c.created_at, c.id)))";
        assert_eq!(sum(&connection, wrong), 0);
        let found = "SELECT group_concat(format_e164) FROM contact_numbers
            WHERE format_e164 MATCH '\"51234\"'";
        assert_eq!(text(found), "+14155551234");
        assert_eq!(text("PRAGMA integrity_check"), "ok");
    }

    #[test]
    fn members_of_before_the_test_data_are_production_and_keep_what_they_had() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(DATABASE);
        let mut connection = Connection::open(&path).expect("the folder is ours");
        connection.pragma_update(None, "foreign_keys", "ON").expect("it is known");
        run(&mut connection, &path, &MIGRATIONS[..3], true).expect("new");
        let data = "
            INSERT INTO accounts (number, id, kind, name, state, created_at, revision)
                VALUES (1, randomblob(16), 'organization', 'Acme', 'active', 1, 1);
            INSERT INTO users (id, account, name, email, role, status, created_at, totp_step)
                VALUES (x'01010101010101010101010101010101', 1, 'Ada', 'a@example.com', 'owner',
                    'active', 5, 9),
                (x'02020202020202020202020202020202', 1, 'Bob', 'b@example.com', 'admin', 'invited',
                    6, NULL);
            INSERT INTO sessions VALUES (randomblob(32), randomblob(16),
                x'01010101010101010101010101010101', 77, 78, 79, 0, '', '');";
        connection.execute_batch(data).expect("the tables are there");
        run(&mut connection, &path, MIGRATIONS, true).expect("it goes on from there");
        let found = "SELECT group_concat(name || ' ' || environment || ' ' || ifnull(invited_at, '-')
            || ' ' || ifnull(last_login_at, '-') || ' ' || ifnull(totp_step, '-'), ', ') FROM users";
        let found: String =
            connection.query_row(found, [], |row| row.get(0)).expect("the columns are there");
        assert_eq!(found, "Ada production - 77 9, Bob production 6 - -");
        // The same address is free in the test data, and taken where it was.
        let insert = |environment: &str| {
            connection.execute(
                "INSERT INTO users (id, account, environment, name, email, role, status, created_at)
                 VALUES (randomblob(16), 1, ?1, 'A', 'A@example.com', 'admin', 'invited', 1)",
                [environment],
            )
        };
        assert_eq!(insert("test"), Ok(1));
        assert!(insert("production").is_err());
        let check: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it runs");
        assert_eq!(check, "ok");
    }
}
