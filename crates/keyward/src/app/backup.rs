//! Backups: made while a server runs, checked before they are called one.
//!
//! A backup is written under a temporary name, read again as a whole (the engine's own check, the chain of
//! the audit log), and only then gets its name. Whatever goes wrong before that leaves nothing.
//!
//! Who copied the database, and when, stands in the audit log before the copy has its name or leaves over
//! stdout: there may be a row of a backup that came to nothing, and none is made without a row unless it
//! says so. Where no row can be written, on a disk that takes nothing, the backup is made all the same.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keyward_core::time::UnixMillis;
use keyward_store::backup::{self, BackupError, Note, OnProgress};
use keyward_store::{DATABASE, Glance, Options, SCHEMA, Store, StoreError, accounts, keys};
use serde_json::json;

use super::Actor;
use super::audit::{self, Trail, Verified};
use super::vault::{self, KEY_FILE, Vault};

/// Why there is no backup, or none was restored: a sentence that says what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Where a backup goes.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    File {
        path: &'a Path,
        /// One that is there may be written over.
        is_forced: bool,
    },
    Stdout,
}

/// What is in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub accounts: u64,
    pub keys: u64,
    /// `None` for a database of before there was an audit log.
    pub audit: Option<Verified>,
    /// Secrets that only `keyward.key` opens, and whether the file in the data folder does.
    pub sealed: vault::Sealed,
}

impl Contents {
    /// What is wrong with the audit log, in words.
    #[must_use]
    pub fn audit_fault(&self) -> Option<String> {
        self.audit.as_ref().and_then(Verified::fault)
    }
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub note: Note,
    pub file_bytes: u64,
    pub contents: Contents,
    /// Why the audit log of the database has no row of it, in words, if it has none.
    pub not_logged: Option<String>,
}

/// Reads what is in a database with this schema.
///
/// # Errors
/// If it cannot be read.
pub(super) fn contents(
    glance: &Glance,
    schema: i64,
    data_dir: &Path,
) -> Result<Contents, StoreError> {
    glance.read(|tx| {
        Ok(Contents {
            accounts: accounts::count(tx)?,
            keys: keys::count(tx)?,
            audit: if schema >= 2 { Some(audit::verify_in(tx, None)?) } else { None },
            sealed: vault::try_all(tx, schema, &Vault::new(data_dir))?,
        })
    })
}

/// Makes a backup of a data folder's database as it is now, `at` a time.
///
/// # Errors
/// If there is none, it is damaged or newer than this program, or the file cannot be written.
pub fn make(
    data_dir: &Path,
    target: Target<'_>,
    at: UnixMillis,
    on_progress: OnProgress<'_>,
) -> Result<Made, Refusal> {
    let (path, is_forced) = match target {
        Target::File { path, is_forced } => {
            check_target(data_dir, path, is_forced)?;
            (path.to_owned(), is_forced)
        }
        // A file is needed in between, for nobody can go back in a stream.
        Target::Stdout => (data_dir.join("backup-to-stdout"), true),
    };
    let damaged = |why: &str| {
        Refusal(format!(
            "the database is damaged, so no backup of it was made: {why}. See 'keyward doctor', and \
             restore the last good backup"
        ))
    };
    let of_store = |error: StoreError| match error {
        StoreError::Corrupt(why) => damaged(&why),
        other => Refusal(other.to_string()),
    };
    let glance = Glance::live(data_dir).map_err(of_store)?;
    let schema = glance.schema().map_err(of_store)?;
    if schema == 0 || schema > SCHEMA {
        return Err(Refusal(format!(
            "the database has version {schema}, this program knows 1 to {SCHEMA}: use the program \
             that made it"
        )));
    }
    let partial = Partial::take(&path)?;
    let fault = |error: BackupError| match error {
        BackupError::Store(StoreError::Corrupt(why)) => damaged(&why),
        BackupError::Io(error) => partial.refusal(&error),
        // The database can be read, or it would not have been opened: it is the copy that cannot be written.
        BackupError::Store(StoreError::Full) => {
            partial.refusal(&io::Error::from(io::ErrorKind::StorageFull))
        }
        BackupError::Store(StoreError::Failing) => Refusal(format!(
            "{} cannot be written ({}): make room there, or choose another disk. Nothing was left",
            path.display(),
            StoreError::Failing
        )),
        other => Refusal(format!("the backup could not be written: {other}")),
    };
    let note =
        backup::make(&glance, &partial.path, &crate::when(at), on_progress).map_err(fault)?;
    drop(glance);
    let copy = Glance::still(&partial.path).map_err(of_store)?;
    let faults = copy.faults().map_err(of_store)?;
    if let Some(first) = faults.first() {
        return Err(damaged(first));
    }
    let contents = contents(&copy, note.schema, data_dir).map_err(of_store)?;
    let file_bytes = partial.file.metadata().map_err(|error| partial.refusal(&error))?.len();
    let not_logged = log(data_dir, target, at, &note, file_bytes).err();
    match target {
        Target::File { .. } => partial.finish(&path, is_forced)?,
        Target::Stdout => {
            let mut file = File::open(&partial.path).map_err(|error| partial.refusal(&error))?;
            let mut out = io::stdout().lock();
            io::copy(&mut file, &mut out).and_then(|_| out.flush()).map_err(|error| {
                Refusal(format!("the backup could not be written to stdout: {error}"))
            })?;
        }
    }
    Ok(Made { note, file_bytes, contents, not_logged })
}

/// Writes into the database that it was copied; why not, in words, if that cannot be done.
fn log(
    data_dir: &Path,
    target: Target<'_>,
    at: UnixMillis,
    note: &Note,
    file_bytes: u64,
) -> Result<(), String> {
    if note.schema != SCHEMA {
        return Err(format!("it has version {} and was not brought to {SCHEMA}", note.schema));
    }
    let label = match target {
        Target::File { path, .. } => path.display().to_string(),
        Target::Stdout => String::from("stdout"),
    };
    let details = json!({ "sha256": note.sha256, "file_bytes": file_bytes });
    let options = Options { readers: 1, ..Options::default() };
    let store = Store::open_with(data_dir, options).map_err(|error| error.to_string())?;
    let written = store.write_blocking(move |tx| {
        let trail = Trail {
            at,
            account: None,
            actor: &Actor::Operator,
            action: "database.backed_up",
            target: String::from("database"),
            label: &label,
            details,
        };
        trail.append(tx)
    });
    written.map_err(|error| error.to_string())
}

fn check_target(data_dir: &Path, path: &Path, is_forced: bool) -> Result<(), Refusal> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(Refusal(format!(
            "{} is a folder: name a file in it, such as {}",
            path.display(),
            path.join("keyward.backup").display()
        )));
    }
    let folder = folder_of(path);
    let real = folder.canonicalize().map_err(|error| {
        Refusal(format!("the folder {} cannot be used: {error}; make it first", folder.display()))
    })?;
    if data_dir.canonicalize().is_ok_and(|data_dir| real.starts_with(data_dir)) {
        return Err(Refusal(format!(
            "{} is in the data folder, with which it would be lost: name a file elsewhere, best on \
             another machine",
            path.display()
        )));
    }
    if !is_forced && path.symlink_metadata().is_ok() {
        return Err(there_already(path));
    }
    Ok(())
}

fn there_already(path: &Path) -> Refusal {
    Refusal(format!(
        "{} is there already: choose another name, or write over it with --force",
        path.display()
    ))
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// A file in the making, taken away unless it is finished.
struct Partial {
    path: PathBuf,
    /// Locked, so that no two backups write to one file.
    file: File,
}

impl Partial {
    fn take(path: &Path) -> Result<Self, Refusal> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let path = PathBuf::from(partial);
        let refusal = |error: io::Error| of_file(&path, &error);
        let file = keyward_store::open_private(&path).map_err(refusal)?;
        if file.try_lock().is_err() {
            return Err(Refusal(format!(
                "another backup is being written to {}: wait for it, or choose another name",
                path.display()
            )));
        }
        // What one that was killed left is written over.
        file.set_len(0).map_err(|error| of_file(&path, &error))?;
        Ok(Self { path, file })
    }

    fn refusal(&self, error: &io::Error) -> Refusal {
        of_file(&self.path, error)
    }

    fn finish(self, path: &Path, is_forced: bool) -> Result<(), Refusal> {
        let put = || {
            if is_forced {
                return fs::rename(&self.path, path);
            }
            // Why not renamed: that would write over what somebody else put there meanwhile.
            match fs::hard_link(&self.path, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
                    // Some file systems know no second names.
                    fs::rename(&self.path, path)
                }
                other => other,
            }
        };
        put().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => there_already(path),
            _ => of_file(path, &error),
        })?;
        let _ = fs::remove_file(&self.path);
        keyward_store::sync_folder_of(path).map_err(|error| of_file(path, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it is finished there is nothing under this name.
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn of_file(path: &Path, error: &io::Error) -> Refusal {
    let next = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room there, or choose another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "check the rights of its folder, or choose another one"
        }
        _ => "choose another name or disk",
    };
    Refusal(format!("{} cannot be written ({error}): {next}. Nothing was left", path.display()))
}

/// What belongs to an installation and is in no backup of its database.
#[must_use]
pub fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_FILE)
}

/// Names of files in a data folder that are none of anybody's data.
pub(super) fn is_beside_data(name: &str) -> bool {
    let beside = ["serve.lock", "keyward.opening", super::reach::SOCKET, KEY_FILE];
    beside.contains(&name) || name.starts_with("self-signed.") || name == super::restore::STAGING
}

/// True for the database and what SQLite keeps beside it.
pub(super) fn is_database(name: &str) -> bool {
    name.strip_prefix(DATABASE).is_some_and(|end| ["", "-wal", "-shm"].contains(&end))
}
