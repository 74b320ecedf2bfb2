//! Portable SQL in, rows out: the seam of engines.
//!
//! Parameters are `?1`, `?2`; a dollar sign and a number would be a name to SQLite, which numbers names
//! by first appearance.

use std::sync::atomic::{AtomicU64, Ordering};

use keyward_core::time::UnixMillis;
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};

use crate::error::StoreError;

/// A parameter. Borrowed, for nothing is kept.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Value<'_> {
    fn to_owned(self) -> Owned {
        match self {
            Self::Null => Owned::Null,
            Self::Int(number) => Owned::Integer(number),
            Self::Text(text) => Owned::Text(text.to_owned()),
            Self::Blob(bytes) => Owned::Blob(bytes.to_vec()),
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<bool> for Value<'_> {
    fn from(is_set: bool) -> Self {
        Self::Int(i64::from(is_set))
    }
}

impl From<UnixMillis> for Value<'_> {
    fn from(at: UnixMillis) -> Self {
        Self::Int(at.0)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer; columns count from 0.
pub struct Row<'a>(&'a rusqlite::Row<'a>);

impl Row<'_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>, StoreError> {
        Ok(self.0.get_ref(column)?)
    }

    fn unexpected(column: usize) -> StoreError {
        StoreError::Corrupt(format!("column {column} has a value that it must not have"))
    }

    /// # Errors
    /// If it is no whole number.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.value(column)?.as_i64().map_err(|_| Self::unexpected(column))
    }

    /// # Errors
    /// If it is neither a whole number nor null.
    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.value(column)?.as_i64_or_null().map_err(|_| Self::unexpected(column))
    }

    /// # Errors
    /// If it is no text.
    pub fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.value(column)?.as_str().map_err(|_| Self::unexpected(column))
    }

    /// # Errors
    /// If it is neither a text nor null.
    pub fn maybe_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        let text = self.value(column)?.as_str_or_null().map_err(|_| Self::unexpected(column))?;
        Ok(text.map(ToOwned::to_owned))
    }

    /// # Errors
    /// If it is not exactly so many bytes.
    pub fn bytes<const N: usize>(&self, column: usize) -> Result<[u8; N], StoreError> {
        let bytes = self.value(column)?.as_blob().map_err(|_| Self::unexpected(column))?;
        bytes.try_into().map_err(|_| Self::unexpected(column))
    }

    /// # Errors
    /// If it is neither exactly so many bytes nor null.
    pub fn maybe_bytes<const N: usize>(
        &self,
        column: usize,
    ) -> Result<Option<[u8; N]>, StoreError> {
        let bytes = self.value(column)?.as_blob_or_null().map_err(|_| Self::unexpected(column))?;
        bytes.map(|bytes| bytes.try_into().map_err(|_| Self::unexpected(column))).transpose()
    }

    /// # Errors
    /// If it is neither bytes nor null.
    pub fn maybe_blob(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.value(column)?.as_blob_or_null().map_err(|_| Self::unexpected(column))?;
        Ok(bytes.map(<[u8]>::to_vec))
    }

    /// # Errors
    /// If it is no whole number.
    pub fn at(&self, column: usize) -> Result<UnixMillis, StoreError> {
        self.int(column).map(UnixMillis)
    }

    /// # Errors
    /// If it is neither a whole number nor null.
    pub fn maybe_at(&self, column: usize) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.maybe_int(column)?.map(UnixMillis))
    }

    /// A word of a fixed list.
    ///
    /// # Errors
    /// If it is none of the list.
    pub fn word<T>(
        &self,
        column: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        read(self.text(column)?).ok_or_else(|| Self::unexpected(column))
    }
}

/// What was asked of the engine since it was opened: a measure of work that no clock disturbs.
///
/// Written by the store's threads, read by anybody; the numbers are not of one instant.
#[derive(Debug, Default)]
pub struct Work {
    statements: AtomicU64,
    rows: AtomicU64,
}

impl Work {
    /// Statements that were run, those that changed something included.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Rows that were read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

/// A transaction, or a snapshot to read from.
pub struct Tx<'a> {
    connection: &'a Connection,
    work: &'a Work,
    last: Option<&'a mut Vec<Last>>,
}

/// A statement that waits for the end of the transaction.
pub(crate) struct Last {
    sql: &'static str,
    parameters: Vec<Owned>,
}

impl Last {
    pub(crate) fn execute(self, connection: &Connection) -> Result<(), StoreError> {
        let parameters = rusqlite::params_from_iter(self.parameters);
        connection.prepare_cached(self.sql)?.execute(parameters)?;
        Ok(())
    }
}

impl<'a> Tx<'a> {
    pub(crate) const fn reading(connection: &'a Connection, work: &'a Work) -> Self {
        Self { connection, work, last: None }
    }

    /// A transaction that executes `last` before it commits.
    pub(crate) const fn writing(
        connection: &'a Connection,
        work: &'a Work,
        last: &'a mut Vec<Last>,
    ) -> Self {
        Self { connection, work, last: Some(last) }
    }

    fn prepare(&self, sql: &str) -> Result<rusqlite::CachedStatement<'a>, StoreError> {
        self.work.statements.fetch_add(1, Ordering::Relaxed);
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Executes a statement that nothing in the transaction reads, when all that share its commit are
    /// through, in this order. It must be able to fail for the engine's reasons alone: then nobody's change
    /// is kept.
    ///
    /// Why: a full-text index writes what was added to it at each savepoint, and each change has one.
    ///
    /// # Errors
    /// If this is no transaction that writes.
    pub(crate) fn execute_last(
        &mut self,
        sql: &'static str,
        parameters: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let last = self.last.as_mut().ok_or(StoreError::ReadOnly)?;
        last.push(Last {
            sql,
            parameters: parameters.iter().copied().map(Value::to_owned).collect(),
        });
        Ok(())
    }

    /// Runs `each` for every row, without holding them all.
    ///
    /// # Errors
    /// What `each` fails with, or what the engine reports.
    pub fn for_each(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            self.work.rows.fetch_add(1, Ordering::Relaxed);
            each(&Row(row))?;
        }
        Ok(())
    }

    /// # Errors
    /// What `map` fails with, or what the engine reports.
    pub fn query<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        map: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.for_each(sql, parameters, |row| {
            found.push(map(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// What `map` fails with, or what the engine reports.
    pub fn query_one<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        map: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        self.work.rows.fetch_add(1, Ordering::Relaxed);
        map(&Row(row)).map(Some)
    }

    /// Gives the number of rows that were changed.
    ///
    /// # Errors
    /// What the engine reports.
    pub fn execute(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<usize, StoreError> {
        Ok(self.prepare(sql)?.execute(rusqlite::params_from_iter(parameters))?)
    }
}
