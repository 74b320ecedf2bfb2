//! SQLite: one writer whose jobs share commits, and readers beside it.
//!
//! The writer takes whatever waits, runs each job in a savepoint of one transaction, commits once,
//! and only then answers them all. A job that fails is undone alone; a commit that fails undoes and
//! fails them all. After a failure the next batch starts anew, so when a full disk has room again
//! nothing has to be restarted.
//!
//! Bound: 1,024 jobs wait for the writer and as many for the readers, further ones are refused as
//! busy; a commit holds 256 jobs at most.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Done, ReadJob, WriteJob};
use crate::error::StoreError;
use crate::files::open_private;
use crate::migrate;
use crate::tx::Tx;

/// The file in the data folder.
pub(crate) const DATABASE: &str = "keyward.db";

const WAITING_JOBS: usize = 1024;
const JOBS_PER_COMMIT: usize = 256;
const STATEMENTS_KEPT: usize = 64;
/// How long to wait for another program that writes: an import of a million keys takes half as long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that the writer keeps of the file in memory: enough for the index of a few million
/// digests, which an import reaches into at random.
const WRITER_CACHE_KIB: i64 = 128 * 1024;

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub readers: usize,
    /// The largest size of the database in pages of 4 KiB, if it is to have one.
    pub most_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 2, most_pages: None }
    }
}

pub(crate) struct Engine {
    writer: Option<SyncSender<WriteJob>>,
    readers: Option<SyncSender<ReadJob>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        // Why: SQLite does not wait where another program switches a new file to its write-ahead log.
        let opening = path.with_extension("opening");
        let fault = |error| StoreError::of_file(&opening, &error);
        let turn = open_private(&opening).map_err(fault)?;
        turn.lock().map_err(fault)?;
        // Made here first, so that it is never readable for others; the log beside it follows suit.
        open_private(path).map_err(|error| StoreError::of_file(path, &error))?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        migrate::run(&mut connection, path, migrate::MIGRATIONS)?;
        drop(turn);
        if let Some(pages) = options.most_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        let mut threads = Vec::with_capacity(options.readers + 1);
        let (writer, waiting) = sync_channel(WAITING_JOBS);
        threads.push(spawn("store-writer", move || write_jobs(&waiting, connection))?);
        let (readers, waiting) = sync_channel(WAITING_JOBS);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..options.readers.max(1) {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let waiting = Arc::clone(&waiting);
            threads.push(spawn("store-reader", move || read_jobs(&waiting, &connection))?);
        }
        Ok(Self { writer: Some(writer), readers: Some(readers), threads })
    }

    pub(crate) fn write(&self, job: WriteJob) -> Result<(), StoreError> {
        send(self.writer.as_ref(), job)
    }

    pub(crate) fn read(&self, job: ReadJob) -> Result<(), StoreError> {
        send(self.readers.as_ref(), job)
    }
}

impl Drop for Engine {
    /// Lets the threads finish what waits.
    fn drop(&mut self) {
        self.writer = None;
        self.readers = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

fn send<J>(queue: Option<&SyncSender<J>>, job: J) -> Result<(), StoreError> {
    let queue = queue.ok_or_else(StoreError::stopped)?;
    queue.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => StoreError::Busy,
        TrySendError::Disconnected(_) => StoreError::stopped(),
    })
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(f);
    thread.map_err(|error| StoreError::Engine(error.to_string()))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

fn read_jobs(waiting: &Mutex<Receiver<ReadJob>>, connection: &Connection) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        match connection.execute_batch("BEGIN DEFERRED") {
            Ok(()) => {
                // The job answers by itself; one that panics drops its answer, which tells as much.
                let _ = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut Tx(connection)))));
                end(connection);
            }
            Err(error) => job(Err(error.into())),
        }
    }
}

fn write_jobs(waiting: &Receiver<WriteJob>, connection: Connection) {
    while let Ok(first) = waiting.recv() {
        let more = std::iter::from_fn(|| waiting.try_recv().ok());
        commit(&connection, std::iter::once(first).chain(more).take(JOBS_PER_COMMIT));
    }
    // Best effort: a log that stays is read at the next start.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs jobs in one transaction and answers them after its commit.
fn commit(connection: &Connection, jobs: impl Iterator<Item = WriteJob>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let error = StoreError::from(error);
        for job in jobs {
            let done = job(Err(error.clone()));
            (done.answer)(Ok(()));
        }
        return;
    }
    let mut answers = Vec::new();
    let mut fault = None;
    for job in jobs {
        answers.extend(run(connection, job, &mut fault));
    }
    let committed = match fault {
        None => connection.execute_batch("COMMIT").map_err(StoreError::from),
        Some(error) => Err(error),
    };
    end(connection);
    for answer in answers {
        answer(committed.clone());
    }
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Runs one job in a savepoint. `fault` is set when the whole transaction is lost.
fn run(connection: &Connection, job: WriteJob, fault: &mut Option<StoreError>) -> Option<Answer> {
    if fault.is_none()
        && let Err(error) = connection.execute_batch("SAVEPOINT job")
    {
        *fault = Some(error.into());
    }
    if let Some(error) = fault {
        return Some(job(Err(error.clone())).answer);
    }
    let done = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut Tx(connection)))));
    let is_ok = done.as_ref().is_ok_and(|Done { is_ok, .. }| *is_ok);
    let end = if is_ok { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    // Why: a full disk makes SQLite undo all of the transaction by itself. Then nothing of the
    // other jobs is left either, and they must not be told that all is well.
    if let Err(error) = connection.execute_batch(end) {
        *fault = Some(error.into());
    } else if connection.is_autocommit() {
        *fault = Some(StoreError::Full);
    }
    done.ok().map(|done| done.answer)
}

/// Leaves no transaction behind, whatever happened.
fn end(connection: &Connection) {
    if !connection.is_autocommit() {
        // If this fails too, the next BEGIN says why.
        let _ = connection.execute_batch("ROLLBACK");
    }
}
