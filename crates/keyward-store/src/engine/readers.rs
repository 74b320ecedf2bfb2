//! The ones that read, each with a connection of its own.
//!
//! A connection is behind a mutex, held by its reader while it reads. The writer takes all of them when
//! every connection must be closed; a reader that finds none opens it anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ReadJob;
use super::line::Line;
use super::reading::{Reading, connect_to_read};
use super::sqlite::{Queued, end};
use crate::error::StoreError;
use crate::meter::Jobs;
use crate::tx::{Tx, Work};

pub(super) struct Readers {
    path: PathBuf,
    connections: Vec<Mutex<Option<Reading>>>,
}

/// Nothing is left half done when a job panics, so a poisoned lock is good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub(super) fn open(path: PathBuf, n_readers: usize) -> Result<Self, StoreError> {
        let open = |_| -> Result<_, StoreError> { Ok(Mutex::new(Some(connect_to_read(&path)?))) };
        let connections = (0..n_readers.max(1)).map(open).collect::<Result<_, _>>()?;
        Ok(Self { path, connections })
    }

    pub(super) const fn len(&self) -> usize {
        self.connections.len()
    }

    /// All connections, once nobody reads.
    pub(super) fn hold(&self) -> Vec<MutexGuard<'_, Option<Reading>>> {
        self.connections.iter().map(locked).collect()
    }

    /// Reads with one of the connections until nobody can ask any more.
    pub(super) fn run(&self, number: usize, line: &Line, jobs: &Jobs, work: &Work) {
        let Some(connection) = self.connections.get(number) else { return };
        while let Some((owner, Queued { job, asked })) = line.take() {
            jobs.leave();
            self.read(&mut locked(connection), job, work);
            line.done(owner);
            jobs.answered(asked);
        }
    }

    fn read(&self, connection: &mut Option<Reading>, job: ReadJob, work: &Work) {
        if connection.is_none() {
            match connect_to_read(&self.path) {
                Ok(opened) => *connection = Some(opened),
                Err(error) => return job(Err(error)),
            }
        }
        let Some(connection) = connection else { return };
        match connection.execute_batch("BEGIN DEFERRED") {
            Ok(()) => {
                // The job answers by itself; one that panics drops its answer, which tells as much.
                let _ =
                    catch_unwind(AssertUnwindSafe(|| job(Ok(&mut Tx::reading(connection, work)))));
                end(connection);
            }
            Err(error) => job(Err(error.into())),
        }
    }
}
