//! What Keyward remembers. One store: SQLite, embedded.
//!
//! A function of this crate takes a [`Tx`] and runs plain SQL; it is synchronous and written once.
//! [`Store::read`] and [`Store::write`] are the only doors: they run a closure on a thread of the
//! engine, where async ends.
//!
//! Durable means: when `write` returns `Ok`, the change is on the disk (write-ahead log,
//! `synchronous=FULL`). Waiting writers share one commit; none is answered before it.

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod changes;
mod contact_blocks;
pub mod contacts;
mod engine;
mod error;
mod files;
mod glance;
pub mod idempotency;
pub mod key_list;
pub mod keys;
pub mod meter;
mod migrate;
pub mod passkeys;
mod replace;
pub mod requests;
pub mod sessions;
mod tx;
pub mod usage;
pub mod users;
pub mod webhook_events;
pub mod webhooks;

use std::path::Path;
use std::sync::Arc;

use keyward_core::id::AccountId;

pub use engine::health::Trouble;
pub use engine::sqlite::{DATABASE, Options};
pub use error::{Constraint, StoreError};
pub use files::{create_folder, open_private, sync_folder_of};
pub use glance::{Glance, newest_row};
pub use migrate::SCHEMA;
pub use replace::replace;
pub use tx::{Row, Tx, Value, Work};

use engine::sqlite::Engine;

/// The store. Cloning it is cheap; dropping the last clone writes what waits and closes the file.
#[derive(Clone)]
pub struct Store(Arc<Engine>);

impl Store {
    /// Opens the store in a folder, making and migrating what is needed.
    ///
    /// # Errors
    /// If the folder cannot be used, or holds something else or something newer.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Options::default())
    }

    /// True if a folder holds a store.
    #[must_use]
    pub fn is_there(folder: &Path) -> bool {
        folder.join(DATABASE).exists()
    }

    /// Opens the store with other bounds than the usual ones.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: &Path, options: Options) -> Result<Self, StoreError> {
        create_folder(folder).map_err(|error| StoreError::of_file(folder, &error))?;
        Ok(Self(Arc::new(Engine::open(&folder.join(DATABASE), options)?)))
    }

    /// What it did since it was opened, and what waits.
    #[must_use]
    pub fn figures(&self) -> meter::StoreFigures {
        let mut figures = self.0.meter.figures();
        figures.is_writable &= self.trouble().is_none();
        figures
    }

    /// Why nothing can be written at the moment, if it is the disk's fault. Read at any time; waits for
    /// nobody.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.health().trouble()
    }

    /// How often the disk began to fail since the start.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.0.health().faults()
    }

    /// The number of what is being written at the moment.
    #[must_use]
    pub fn writing(&self) -> Option<u64> {
        self.0.health().writing()
    }

    /// While it is slow, what is to be written is refused at once.
    pub fn set_slow(&self, is_slow: bool) {
        self.0.health().set_slow(is_slow);
    }

    /// What was asked of the engine since it was opened.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.0.work
    }

    /// Runs `f` on one snapshot of the data.
    ///
    /// # Errors
    /// What `f` fails with, or why it could not be run.
    pub async fn read<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.read_for(None, f).await
    }

    /// [`read`](Self::read) for an account. Accounts have turns, and none has all readers: what takes long
    /// makes no other account wait.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_for<T, E, F>(
        &self,
        account: impl Into<Option<AccountId>>,
        f: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, job) = engine::read_job(f);
        self.0.read(account.into(), job)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::stopped().into()))
    }

    /// Runs `f` in a transaction. Durable when this returns `Ok`; undone when `f` fails.
    ///
    /// # Errors
    /// What `f` fails with, or why nothing could be written.
    pub async fn write<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, job) = engine::write_job(f);
        self.0.write(job)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::stopped().into()))
    }

    /// [`read`](Self::read) for threads that may wait. Not to be called from async code.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_blocking<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, job) = engine::read_job(f);
        self.0.read(None, job)?;
        answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::stopped().into()))
    }

    /// [`write`](Self::write) for threads that may wait. Not to be called from async code.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_blocking<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, job) = engine::write_job(f);
        self.0.write(job)?;
        answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::stopped().into()))
    }
}
