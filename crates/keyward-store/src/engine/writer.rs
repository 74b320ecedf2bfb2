//! The one that writes, and what it does when the disk does not.
//!
//! A commit that fails is undone, but its frames may stand whole in the write-ahead log, where the next
//! program to start would find and believe them. So before anybody is told that a change was refused, its
//! frames are written over by a commit that changes nothing ([`Writer::write_over`]). Where that fails as
//! well, nobody knows, and they are told so. As long as it fails, changes are refused without being
//! tried; it is tried before every batch and once a second.
//!
//! After a sync that failed the system may hold pages for written that are not, and another sync tells
//! nothing. In the log that does no harm: what was not acknowledged is written anew by the next commit. In
//! the database file it does, for the log is begun anew once all of it is copied there. So a copy
//! (checkpoint) that failed is never gone on with: every connection is closed, the log is read from its
//! beginning, and all of it is copied once more, by a connection that is alone ([`Writer::copy_anew`]).
//! `tests/api/disk.rs` of the program shows both with a system that forgets pages after a failed sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::health::{Health, Trouble};
use super::readers::Readers;
use super::sqlite::{Queued, connect, end, turn_to_open_at_once};
use super::{Done, WriteJob};
use crate::error::StoreError;
use crate::files::open_private;
use crate::meter::Meter;
use crate::tx::{Last, Tx, Work};

const JOBS_PER_COMMIT: usize = 256;
/// The most that the writer keeps of the file in memory: enough for the index of a few million
/// digests, which an import reaches into at random.
const CACHE_KIB: i64 = 128 * 1024;
/// The log is copied into the database once so many frames wait, 4 MiB.
const FRAMES_TO_COPY: i64 = 1000;
/// How often it is tried whether the disk is back.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long the copy waits for other programs to be gone; meanwhile nobody reads.
const ALONE_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) most_pages: Option<u32>,
    /// Copies the log, for it stays; others leave that to it.
    pub(super) stays: bool,
    /// `None` if it could not be opened again.
    pub(super) connection: Option<Connection>,
    pub(super) readers: Arc<Readers>,
    pub(super) health: Arc<Health>,
    pub(super) meter: Arc<Meter>,
    pub(super) work: Arc<Work>,
    /// Why nothing is written.
    pub(super) trouble: Option<StoreError>,
    /// The log must be copied from its beginning.
    pub(super) is_copy_in_doubt: bool,
}

/// A connection to write with.
pub(super) fn connect_to_write(
    path: &std::path::Path,
    most_pages: Option<u32>,
) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Why: the engine opens to read what it may not write, and such a connection would never recover.
    if connection.is_readonly("main")? {
        return Err(StoreError::ReadOnly);
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Why not by itself: it would keep to itself that a copy failed.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    if let Some(pages) = most_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

impl Writer {
    /// Finds out how the disk does before anybody asks, or notes what is wrong with it already.
    pub(super) fn begin(&mut self, trouble: Option<StoreError>) {
        let tried = match trouble {
            Some(error) => Err(error),
            // One that stays is asked by many, who shall be told from the first moment on.
            None if self.stays => self.write_over(),
            None => return,
        };
        if let Err(error) = tried
            && Trouble::of(&error).is_some()
        {
            let error = self.note(error);
            self.meter.committed(&Err(error), false);
        }
    }

    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, waiting: &Receiver<Queued<WriteJob>>) {
        loop {
            let first = if self.trouble.is_none() {
                waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                waiting.recv_timeout(TRY_EVERY)
            };
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                break;
            }
            if self.trouble.is_some() {
                self.try_again();
            }
            let Ok(first) = first else { continue };
            let more = std::iter::from_fn(|| waiting.try_recv().ok());
            let batch = std::iter::once(first).chain(more).take(JOBS_PER_COMMIT);
            let meter = Arc::clone(&self.meter);
            self.commit(batch.inspect(|_| meter.writes.leave()));
            self.copy_if_due();
        }
        for reader in &mut self.readers.hold() {
            **reader = None;
        }
        // Whoever closes last copies the log, unless that must not be believed; a log that stays is read
        // at the next start.
        if let (Some(connection), true) = (&self.connection, self.is_copy_in_doubt) {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// Notes what is wrong with the disk, if it is the disk.
    fn note(&mut self, error: StoreError) -> StoreError {
        let error = self.look_closer(error);
        if let Some(trouble) = Trouble::of(&error) {
            if self.trouble.is_none() {
                self.health.count_fault();
            }
            self.health.set_trouble(Some(trouble));
            self.trouble = Some(error.clone());
        }
        error
    }

    /// The engine says of many faults no more than that there was one: a file of our own gets the reason.
    fn look_closer(&self, error: StoreError) -> StoreError {
        if error != StoreError::Failing {
            return error;
        }
        let path = self.path.with_extension("probe");
        let tried = open_private(&path).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &[0; 65_536])?;
            file.sync_all()
        });
        let _ = std::fs::remove_file(&path);
        match tried.map_err(|fault| StoreError::of_file(&path, &fault)) {
            Err(reason @ (StoreError::ReadOnly | StoreError::Full)) => reason,
            _ => error,
        }
    }

    /// Looks whether the disk is back.
    fn try_again(&mut self) {
        let health = Arc::clone(&self.health);
        let _writing = health.begin();
        let tried = if self.is_copy_in_doubt { self.copy_anew() } else { Ok(()) };
        match tried.and_then(|()| self.write_over()) {
            Ok(()) => {
                self.trouble = None;
                self.health.set_trouble(None);
                self.meter.committed(&Ok(()), true);
            }
            Err(error) => {
                // Another program that writes does not make the disk good.
                self.note(error);
            }
        }
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        if self.connection.is_none() {
            // Why: what reads without an index of the log would not see what is written from now on, and
            // the engine lets no connection of this process write while another has that index to read.
            let mut readers = self.readers.hold();
            for reader in &mut readers {
                **reader = None;
            }
            let _turn = turn_to_open_at_once(&self.path)?;
            self.connection = Some(connect_to_write(&self.path, self.most_pages)?);
        }
        self.connection.as_ref().ok_or_else(StoreError::stopped)
    }

    /// Commits something that changes nothing, where the log went wrong last.
    fn write_over(&mut self) -> Result<(), StoreError> {
        let connection = self.connection()?;
        let tried = (|| {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            // The same number again makes SQLite write the first page.
            let version: i64 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            connection.pragma_update(None, "user_version", version)?;
            connection.execute_batch("COMMIT")
        })();
        end(connection);
        Ok(tried?)
    }

    /// Copies the log into the database as it grows.
    fn copy_if_due(&mut self) {
        let (true, None, Some(connection)) = (self.stays, &self.trouble, &self.connection) else {
            return;
        };
        // How many frames there are, and how many of them are copied; nothing is done.
        let frames = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?);
        let waiting = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], frames);
        if waiting.is_ok_and(|waiting| waiting < FRAMES_TO_COPY) {
            return;
        }
        let health = Arc::clone(&self.health);
        let _writing = health.begin();
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            self.is_copy_in_doubt = true;
            // Whatever it calls it: nothing more goes into a log that cannot be copied.
            let error = StoreError::from(error);
            let is_disk = Trouble::of(&error).is_some();
            self.note(if is_disk { error } else { StoreError::Failing });
        }
    }

    /// Copies all of the log, whatever was copied of it before. Nobody else may have the database open,
    /// for then nobody remembers how far that was.
    fn copy_anew(&mut self) -> Result<(), StoreError> {
        let mut readers = self.readers.hold();
        for reader in &mut readers {
            **reader = None;
        }
        if let Some(connection) = self.connection.take() {
            // Closing must not copy: it would go on where the last one failed.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        let alone = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        alone.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        alone.busy_timeout(ALONE_WITHIN)?;
        alone.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // From the first read on it is alone, or fails as busy.
        alone.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        let is_busy =
            alone.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
        drop(alone);
        drop(readers);
        if is_busy {
            return Err(StoreError::Busy);
        }
        self.is_copy_in_doubt = false;
        self.connection().map(|_| ())
    }

    /// Runs jobs in one transaction and answers them after its commit.
    fn commit(&mut self, jobs: impl Iterator<Item = Queued<WriteJob>>) {
        let begun = match &self.trouble {
            Some(error) => Err(error.clone()),
            None => self
                .connection()
                .and_then(|connection| Ok(connection.execute_batch("BEGIN IMMEDIATE")?)),
        };
        let connection = match (begun, &self.connection) {
            (Ok(()), Some(connection)) => connection,
            (begun, _) => {
                let error = begun.err().unwrap_or_else(StoreError::stopped);
                let error = if self.trouble.is_some() { error } else { self.note(error) };
                self.meter.committed(&Err(error.clone()), false);
                for Queued { job, asked } in jobs {
                    let done = job(Err(error.clone()));
                    self.meter.writes.answered(asked);
                    (done.answer)(Ok(()));
                }
                return;
            }
        };
        let health = Arc::clone(&self.health);
        let writing = health.begin();
        let mut answers = Vec::new();
        let mut fault = None;
        let mut last = Vec::new();
        let before = connection.total_changes();
        for Queued { job, asked } in jobs {
            answers.push((run(connection, &self.work, job, &mut last, &mut fault), asked));
        }
        let mut may_be_whole = false;
        let committed = match fault {
            None => last.into_iter().try_for_each(|last| last.execute(connection)).and_then(|()| {
                commit_all(connection).map_err(|error| {
                    may_be_whole = is_of_sync(&error);
                    StoreError::from(error)
                })
            }),
            Some(error) => Err(error),
        };
        end(connection);
        let has_written = connection.total_changes() != before;
        let committed = committed.map_err(|error| self.note(error));
        self.meter.committed(&committed, has_written);
        let committed = committed.map_err(|error| {
            if self.trouble.is_some() {
                // Before anybody is told that nothing was changed.
                self.try_again();
            }
            if may_be_whole && self.trouble.is_some() { StoreError::InDoubt } else { error }
        });
        drop(writing);
        for (answer, asked) in answers {
            self.meter.writes.answered(asked);
            // A job that panicked has none.
            if let Some(answer) = answer {
                answer(committed.clone());
            }
        }
    }
}

/// True if everything had been written when it failed.
fn is_of_sync(error: &rusqlite::Error) -> bool {
    let failure = error.sqlite_error();
    failure.is_some_and(|failure| failure.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC)
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A statement that is the same each time, so that it is read once.
fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn commit_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("COMMIT")?.execute([]).map(|_| ())
}

/// Runs one job in a savepoint. What it leaves for the end of the transaction is added to `last`; `fault`
/// is set when the whole transaction is lost.
fn run(
    connection: &Connection,
    work: &Work,
    job: WriteJob,
    last: &mut Vec<Last>,
    fault: &mut Option<StoreError>,
) -> Option<Answer> {
    if fault.is_none() {
        *fault = execute(connection, "SAVEPOINT job").err();
    }
    let n_before = last.len();
    if let Some(error) = fault {
        return Some(job(Err(error.clone())).answer);
    }
    let done = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut Tx::writing(connection, work, last)))));
    let is_ok = done.as_ref().is_ok_and(|Done { is_ok, .. }| *is_ok);
    let mut ended = Ok(());
    if !is_ok {
        last.truncate(n_before);
        ended = execute(connection, "ROLLBACK TO job");
    }
    // Why: a disk that is full or fails makes SQLite undo all of the transaction by itself. Then nothing
    // of the other jobs is left either, and they must not be told that all is well.
    if let Err(error) = ended.and_then(|()| execute(connection, "RELEASE job")) {
        *fault = Some(error);
    } else if connection.is_autocommit() {
        *fault = Some(StoreError::Failing);
    }
    done.ok().map(|done| done.answer)
}
