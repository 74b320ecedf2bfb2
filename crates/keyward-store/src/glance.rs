//! A database as it is: looked at and copied, never written, made or brought up to date.
//!
//! For backups and checks, which must also work on a database that is damaged, older or newer than this
//! program, or that a server writes to meanwhile.

use std::ops::Deref;
use std::path::Path;

use keyward_core::time::UnixMillis;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::engine::reading::{Reading, connect_to_read, uri};
use crate::engine::sqlite::{DATABASE, connect};
use crate::error::StoreError;
use crate::tx::{Tx, Work};

/// Pages that are copied at once; 1 MiB, so that a bar moves.
const PAGES_AT_ONCE: i32 = 256;
/// Faults that are told of one database.
const MOST_FAULTS: usize = 20;

/// A database that is looked at.
pub struct Glance {
    connection: Looking,
}

/// How it is looked at.
enum Looking {
    Live(Reading),
    Still(Connection),
}

impl Deref for Looking {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Live(reading) => reading,
            Self::Still(connection) => connection,
        }
    }
}

impl Glance {
    /// The database of a data folder, which others may be writing, on a disk that may take nothing.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn live(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(DATABASE);
        std::fs::metadata(&path).map_err(|error| StoreError::of_file(&path, &error))?;
        Ok(Self { connection: Looking::Live(connect_to_read(&path)?) })
    }

    /// A file that nobody writes. What follows the database in it is not looked at, and no file is made
    /// beside it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn still(path: &Path) -> Result<Self, StoreError> {
        std::fs::metadata(path).map_err(|error| StoreError::of_file(path, &error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Ok(Self { connection: Looking::Still(connect(&uri(path, "immutable=1"), flags)?) })
    }

    /// The version of its schema; 0 if there is none yet.
    ///
    /// # Errors
    /// If it is damaged or no database.
    pub fn schema(&self) -> Result<i64, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    /// What is wrong with it, in the engine's words; nothing if all is well. Reads all of it.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        let mut faults = vec![];
        let sql = format!("PRAGMA integrity_check({MOST_FAULTS})");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let fault: String = row.get(0)?;
            if fault != "ok" {
                faults.push(fault);
            }
        }
        let mut statement = self.connection.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            if faults.len() < MOST_FAULTS {
                faults.push(format!("a row of {table} belongs to none of {parent}"));
            }
        }
        Ok(faults)
    }

    /// Runs `f` on one snapshot.
    ///
    /// # Errors
    /// What `f` fails with, or what the engine reports.
    pub fn read<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.connection.execute_batch("BEGIN DEFERRED").map_err(StoreError::from)?;
        let result = f(&mut Tx::reading(&self.connection, &Work::default()));
        // Nothing was written, so there is nothing that could fail to be undone.
        let _ = self.connection.execute_batch("ROLLBACK");
        result
    }

    /// Copies the database as it is at this moment into a file that is empty, page by page, while others
    /// go on writing. `on_progress` is told the pages that are copied, and all of them.
    ///
    /// The file is not yet on the disk when this returns.
    ///
    /// # Errors
    /// If one of the two cannot be read or written.
    pub fn copy_to(
        &self,
        path: &Path,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), StoreError> {
        let mut copy = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Why: a copy that was not finished is thrown away, so nothing has to be undone in it.
        copy.pragma_update(None, "journal_mode", "OFF")?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        // Why a transaction: all steps see one snapshot, and none begins anew when somebody writes.
        self.read(|tx| {
            tx.query_one("SELECT count(*) FROM sqlite_master", &[], |_| Ok(()))?;
            let backup = Backup::new(&self.connection, &mut copy)?;
            loop {
                let step = backup.step(PAGES_AT_ONCE)?;
                let progress = backup.progress();
                let count = |pages: i32| u64::from(pages.unsigned_abs());
                on_progress(
                    count(progress.pagecount - progress.remaining),
                    count(progress.pagecount),
                );
                match step {
                    StepResult::Done => return Ok(()),
                    StepResult::More => {}
                    _ => return Err(StoreError::Busy),
                }
            }
        })
    }
}

/// The newest time in a database with this schema, and the table whose row has it.
///
/// # Errors
/// What the engine reports.
pub fn newest_row(
    tx: &mut Tx<'_>,
    schema: i64,
) -> Result<Option<(&'static str, UnixMillis)>, StoreError> {
    let tables: [(i64, &str, &str); 8] = [
        (1, "accounts", "SELECT max(created_at) FROM accounts"),
        (1, "keys", "SELECT max(created_at) FROM keys"),
        (1, "contacts", "SELECT max(created_at) FROM contacts"),
        (2, "audit", "SELECT max(at) FROM audit"),
        (2, "sessions", "SELECT max(seen_at) FROM sessions"),
        // Rows by the hundred thousand, in the order in which they were written.
        (
            2,
            "requests",
            "SELECT max(at) FROM (SELECT at FROM requests ORDER BY number DESC LIMIT 1000)",
        ),
        (4, "webhook_events", "SELECT max(created_at) FROM webhook_events"),
        (4, "idempotency", "SELECT max(at) FROM idempotency"),
    ];
    let mut newest = None;
    for (since, table, sql) in tables {
        if schema < since {
            continue;
        }
        let found = tx.query_one(sql, &[], |row| row.maybe_at(0))?.flatten();
        if let Some(at) = found
            && newest.is_none_or(|(_, newest)| newest < at)
        {
            newest = Some((table, at));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_file_is_called_it_is_that_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["a.db", "a b?c#d%20.db", "ä&mode=rwc.db"] {
            let path = folder.path().join(name);
            let made = Connection::open(&path).expect("the folder is ours");
            made.execute_batch("PRAGMA user_version = 7").expect("it is ours");
            drop(made);
            let glance = Glance::still(&path).expect("it is there");
            assert_eq!(glance.schema(), Ok(7), "{name}");
            assert_eq!(glance.faults(), Ok(vec![]));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("ours").count(), 3);
    }
}
