//! Restoring: a backup is checked whole before anything is touched, and takes its place at once.
//!
//! The new database is put together in a folder of its own within the data folder, brought up to date
//! there, and then renamed. What was there is kept. Sessions of members end: one that was ended since the
//! backup must not live again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use keyward_core::id::KeyId;
use keyward_core::time::UnixMillis;
use keyward_store::backup::{self, BackupError, Note, OnProgress};
use keyward_store::{DATABASE, Glance, Options, SCHEMA, Store, StoreError, keys, sessions};
use serde_json::json;

use super::audit::Trail;
use super::backup::{Contents, Refusal, contents, is_beside_data, is_database, of_file};
use super::vault::{self, Vault};
use super::{Actor, AppError};

/// In the data folder, while a backup is being restored.
pub(super) const STAGING: &str = "restore.partial";

/// A backup that may be restored.
#[derive(Clone, Debug)]
pub struct Checked {
    pub path: PathBuf,
    pub note: Note,
    pub contents: Contents,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Where what was there is.
    pub kept: Option<PathBuf>,
    /// Sessions that were in the backup and have ended.
    pub ended_sessions: usize,
    /// Keys that were ended in the database that was replaced, and are good again.
    pub revived: Vec<(KeyId, String)>,
    pub sealed: vault::Sealed,
}

/// Reads a whole backup and touches nothing.
///
/// # Errors
/// If it is no backup, was damaged or changed, was made by a newer program, or its audit log does not
/// hold and that is not accepted.
pub fn check(
    path: &Path,
    data_dir: &Path,
    accepts_audit: bool,
    on_progress: OnProgress<'_>,
) -> Result<Checked, Refusal> {
    let other = "Nothing was touched. Take another backup";
    let refusal = |why: String| Refusal(format!("{}: {why}. {other}", path.display()));
    let note = backup::note(path).map_err(|error| refusal(error.to_string()))?;
    if note.schema > SCHEMA {
        return Err(Refusal(format!(
            "{}: it was made by {} with schema {}, and this program knows up to {SCHEMA}. Nothing was \
             touched. Restore it with the program that made it, or a newer one",
            path.display(),
            note.program,
            note.schema
        )));
    }
    backup::check(path, on_progress, |_| Ok(())).map_err(|error| refusal(error.to_string()))?;
    let damaged = |error: StoreError| refusal(error.to_string());
    let glance = Glance::still(path).map_err(damaged)?;
    if glance.schema().map_err(damaged)? != note.schema {
        return Err(refusal(String::from("it says another version of its schema than it has")));
    }
    if let Some(first) = glance.faults().map_err(damaged)?.first() {
        return Err(refusal(format!("the database in it is damaged: {first}")));
    }
    let contents = contents(&glance, note.schema, data_dir).map_err(damaged)?;
    if let Some(fault) = contents.audit_fault()
        && !accepts_audit
    {
        return Err(Refusal(format!(
            "{}: {fault}. Nothing was touched. Somebody wrote the database behind Keyward's back: take \
             another backup, or accept it with --accept-audit",
            path.display()
        )));
    }
    Ok(Checked { path: path.to_owned(), note, contents })
}

/// What hinders a restore into a folder, if anything does. It need not be there.
///
/// # Errors
/// If the folder holds something and that was not forced.
pub fn check_folder(data_dir: &Path, is_forced: bool) -> Result<(), Refusal> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Refusal(format!("{} cannot be read: {error}", data_dir.display())));
        }
    };
    for entry in entries {
        let entry = entry.map_err(|error| of_file(data_dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_beside_data(&name) || is_forced {
            continue;
        }
        let what = if is_database(&name) { "a database" } else { &name };
        return Err(Refusal(format!(
            "{} is not empty, there is {what}. Name an empty folder with --data-dir, or put the backup \
             in its place with --force: what is there is kept under another name",
            data_dir.display()
        )));
    }
    Ok(())
}

/// Puts a backup in the place of a data folder's database. The folder must be held by this process.
///
/// # Errors
/// If something cannot be written, or another program uses the database; then all is as it was.
pub fn restore(
    checked: &Checked,
    data_dir: &Path,
    at: UnixMillis,
    on_progress: OnProgress<'_>,
) -> Result<Restored, Refusal> {
    let staging = Staging::make(data_dir)?;
    let database = staging.0.join(DATABASE);
    let mut file = keyward_store::open_private(&database).map_err(|e| of_file(&database, &e))?;
    let copied = backup::check(&checked.path, on_progress, |bytes| file.write_all(bytes));
    match copied {
        Ok(note) if note == checked.note => {}
        Ok(_) | Err(BackupError::Changed { .. }) => {
            return Err(Refusal(format!(
                "{} was changed while it was read. Nothing was touched; try again",
                checked.path.display()
            )));
        }
        Err(BackupError::Io(error)) => return Err(of_file(&database, &error)),
        Err(error) => return Err(Refusal(error.to_string())),
    }
    file.sync_all().map_err(|error| of_file(&database, &error))?;
    drop(file);
    let untouched = |why: String| {
        Refusal(format!("the backup was not restored, and nothing was touched: {why}"))
    };
    let ended_sessions =
        bring_up_to_date(&staging.0, checked, at).map_err(|error| untouched(error.to_string()))?;
    let revived = revived(data_dir, &staging.0).map_err(|error| untouched(error.to_string()))?;
    let end = format!(".before-restore-{}", crate::when(at).replace([':', '-'], ""));
    let kept = keyward_store::replace(data_dir, &database, &end).map_err(|error| match error {
        StoreError::Busy => untouched(String::from(
            "another program uses the database that is there: wait until it has ended",
        )),
        other => untouched(other.to_string()),
    })?;
    drop(staging);
    let sealed = Glance::live(data_dir)
        .and_then(|glance| glance.read(|tx| vault::try_all(tx, SCHEMA, &Vault::new(data_dir))))
        .map_err(|error| Refusal(format!("restored, but it cannot be opened: {error}")))?;
    Ok(Restored { kept, ended_sessions, revived, sealed })
}

/// Migrates the new database, ends its sessions and writes into its audit log whence it comes.
fn bring_up_to_date(staging: &Path, checked: &Checked, at: UnixMillis) -> Result<usize, AppError> {
    let store = Store::open_with(staging, Options { keeps_copy: false, ..Options::default() })?;
    let label = checked.note.made.clone();
    let details = json!({
        "made": checked.note.made,
        "schema": checked.note.schema,
        "sha256": checked.note.sha256,
        "audit_accepted": checked.contents.audit_fault(),
    });
    store.write_blocking(move |tx| {
        let n_ended = sessions::end_of_all(tx)?;
        let trail = Trail {
            at,
            account: None,
            actor: &Actor::Operator,
            action: "database.restored",
            target: String::from("database"),
            label: &label,
            details,
        };
        trail.append(tx)?;
        Ok::<_, AppError>(n_ended)
    })
}

/// Keys that were ended since the backup, as far as the database that is replaced can be read.
fn revived(data_dir: &Path, staging: &Path) -> Result<Vec<(KeyId, String)>, StoreError> {
    let old = Glance::live(data_dir).and_then(|old| old.read(keys::ended));
    let Ok(ended) = old else { return Ok(vec![]) };
    Glance::live(staging)?.read(|tx| {
        let mut revived = vec![];
        for old in ended {
            let Some(key) = keys::find(tx, old.id)? else { continue };
            if old.is_revoked && key.revoked.is_none()
                || old.is_disabled && key.disabled.is_none()
                || old.is_rotated && key.rotated.is_none()
            {
                revived.push((key.id, key.name));
            }
        }
        Ok(revived)
    })
}

/// A folder in the data folder, gone when this is.
struct Staging(PathBuf);

impl Staging {
    fn make(data_dir: &Path) -> Result<Self, Refusal> {
        let path = data_dir.join(STAGING);
        // What one that was killed left. The data folder is held, so it is nobody's any more.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(of_file(&path, &error));
            }
            _ => {}
        }
        keyward_store::create_folder(&path).map_err(|error| of_file(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
