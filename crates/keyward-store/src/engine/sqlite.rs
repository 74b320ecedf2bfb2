//! SQLite: one writer whose jobs share commits, and readers beside it.
//!
//! The writer takes whatever waits, runs each job in a savepoint of one transaction, commits once,
//! and only then answers them all. A job that fails is undone alone; a commit that fails undoes and
//! fails them all. When a full disk has room again nothing has to be restarted (`writer`).
//!
//! Bound: 1,024 jobs wait for the writer and as many for the readers (`line`), further ones are refused
//! as busy; a commit holds 256 jobs at most.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::health::{Health, Trouble};
use super::line::{Line, Owner};
use super::readers::Readers;
use super::reading::connect_to_read;
use super::writer::{Writer, connect_to_write};
use super::{ReadJob, WriteJob};
use crate::error::StoreError;
use crate::files::open_private;
use crate::meter::{Asked, Meter};
use crate::migrate;
use crate::tx::Work;

/// The file in the data folder.
pub const DATABASE: &str = "keyward.db";

pub(super) const WAITING_JOBS: usize = 1024;
const STATEMENTS_KEPT: usize = 256;
/// How long to wait for another program that writes: an import of a million keys takes half as long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that read; one account has one fewer at most.
    pub readers: usize,
    /// The largest size of the database in pages of 4 KiB, if it is to have one.
    pub most_pages: Option<u32>,
    /// It stays open for long, and copies the log into the database as it grows. One in each folder.
    pub stays: bool,
    /// Whether an older database is copied before it is brought up to date.
    pub keeps_copy: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 3, most_pages: None, stays: false, keeps_copy: true }
    }
}

pub(crate) struct Engine {
    writer: Option<SyncSender<Queued<WriteJob>>>,
    line: Arc<Line>,
    reading: Vec<JoinHandle<()>>,
    writing: Option<JoinHandle<()>>,
    health: Arc<Health>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) work: Arc<Work>,
}

/// A job and when it was asked for.
pub(super) struct Queued<J> {
    pub(super) job: J,
    pub(super) asked: Asked,
}

impl Engine {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let (connection, trouble) = match open_to_write(path, options) {
            Ok(connection) => (Some(connection), None),
            // Why: whoever starts a server on a disk that takes nothing still wants keys to be checked.
            Err(error) if options.stays && Trouble::of(&error).is_some() => {
                check_that_it_can_be_read(path, &error)?;
                (None, Some(error))
            }
            Err(error) => return Err(error),
        };
        let readers = Arc::new(Readers::open(path.to_owned(), options.readers)?);
        let (health, meter) = (Arc::<Health>::default(), Arc::<Meter>::default());
        let work = Arc::<Work>::default();
        let mut writer = Writer {
            path: path.to_owned(),
            most_pages: options.most_pages,
            stays: options.stays,
            connection,
            readers: Arc::clone(&readers),
            health: Arc::clone(&health),
            meter: Arc::clone(&meter),
            work: Arc::clone(&work),
            trouble: None,
            is_copy_in_doubt: false,
        };
        writer.begin(trouble);
        let (to_writer, waiting) = sync_channel(WAITING_JOBS);
        let writing = Some(spawn("store-writer", move || writer.run(&waiting))?);
        let mut engine = Self {
            writer: Some(to_writer),
            line: Arc::new(Line::new(readers.len())),
            reading: Vec::with_capacity(readers.len()),
            writing,
            health,
            meter,
            work,
        };
        // Into the engine one by one: should the system have no more threads, those that run end with it.
        for number in 0..readers.len() {
            let (readers, line) = (Arc::clone(&readers), Arc::clone(&engine.line));
            let (meter, work) = (Arc::clone(&engine.meter), Arc::clone(&engine.work));
            let read = move || readers.run(number, &line, &meter.reads, &work);
            engine.reading.push(spawn("store-reader", read)?);
        }
        Ok(engine)
    }

    pub(crate) fn write(&self, job: WriteJob) -> Result<(), StoreError> {
        // Whoever waits behind a disk that does not answer cannot be told how it ends.
        if self.health.is_slow() {
            self.meter.writes.enter();
            self.meter.writes.refuse();
            return Err(StoreError::Slow);
        }
        let jobs = &self.meter.writes;
        let queue = self.writer.as_ref().ok_or_else(StoreError::stopped)?;
        // Why first: the thread that takes it may be faster than this one.
        jobs.enter();
        queue.try_send(Queued { job, asked: Asked::now() }).map_err(|error| {
            jobs.refuse();
            match error {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => StoreError::stopped(),
            }
        })
    }

    pub(crate) fn read(&self, owner: Owner, job: ReadJob) -> Result<(), StoreError> {
        let jobs = &self.meter.reads;
        jobs.enter();
        if self.line.put(owner, Queued { job, asked: Asked::now() }) {
            return Ok(());
        }
        jobs.refuse();
        Err(StoreError::Busy)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }
}

/// Opens it to write, making and migrating what is needed.
fn open_to_write(path: &Path, options: Options) -> Result<Connection, StoreError> {
    let turn = turn_to_open(path)?;
    // Made here first, so that it is never readable for others; the log beside it follows suit.
    open_private(path).map_err(|error| StoreError::of_file(path, &error))?;
    let mut connection = connect_to_write(path, None)?;
    migrate::run(&mut connection, path, migrate::MIGRATIONS, options.keeps_copy)?;
    drop(turn);
    if let Some(pages) = options.most_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

/// Looks whether a database that cannot be written is there, can be read and is of this version; otherwise
/// the error says what hinders it.
fn check_that_it_can_be_read(path: &Path, trouble: &StoreError) -> Result<(), StoreError> {
    let not_opened = |why| StoreError::NotOpened { why, because: Box::new(trouble.clone()) };
    let is_there = std::fs::metadata(path).is_ok_and(|database| database.len() > 0);
    let found = if is_there { migrate::version(&*connect_to_read(path)?)? } else { 0 };
    match (found, migrate::SCHEMA) {
        (0, _) => Err(not_opened(String::from("there is no database to read yet"))),
        (found, known) if found > known => Err(StoreError::Newer { found, known }),
        (found, known) if found < known => Err(not_opened(format!(
            "the database must be brought from version {found} to {known} before it is used"
        ))),
        _ => Ok(()),
    }
}

/// The file that is locked by whoever has the turn to open a database.
pub(super) fn opening(path: &Path) -> PathBuf {
    path.with_extension("opening")
}

/// Held while a database is opened, or another is put in its place.
///
/// Why: SQLite does not wait where another program switches a new file to its write-ahead log.
pub(crate) fn turn_to_open(path: &Path) -> Result<File, StoreError> {
    let opening = opening(path);
    let fault = |error| StoreError::of_file(&opening, &error);
    let turn = open_private(&opening).map_err(fault)?;
    turn.lock().map_err(fault)?;
    Ok(turn)
}

/// The same for somebody for whom others wait.
pub(super) fn turn_to_open_at_once(path: &Path) -> Result<File, StoreError> {
    let opening = opening(path);
    let fault = |error| StoreError::of_file(&opening, &error);
    let turn = open_private(&opening).map_err(fault)?;
    turn.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Busy,
        TryLockError::Error(error) => fault(error),
    })?;
    Ok(turn)
}

impl Drop for Engine {
    /// Lets the threads finish what waits, the writer last: whoever closes last copies the log.
    fn drop(&mut self) {
        self.line.close();
        for thread in self.reading.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
        self.writer = None;
        if let Some(thread) = self.writing.take() {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(f);
    thread.map_err(|error| StoreError::Engine(error.to_string()))
}

pub(crate) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Why: otherwise a statement is read and planned again whenever other values are bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// Leaves no transaction behind, whatever happened.
pub(super) fn end(connection: &Connection) {
    if !connection.is_autocommit() {
        // If this fails too, the next BEGIN says why.
        let _ = connection.execute_batch("ROLLBACK");
    }
}
