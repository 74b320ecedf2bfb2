//! Another database in the place of the one that is there, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use crate::engine::sqlite::{DATABASE, connect, turn_to_open};
use crate::error::StoreError;
use crate::files::{open_private, sync_folder_of};
use crate::migrate::with_end;

/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Puts the file `new` in the place of a data folder's database. What was there is kept under its name
/// with `end` behind it, and a number if there is one already. Gives that name.
///
/// `new` must be in the same file system, and no program may have opened it. At any moment the folder
/// holds one of the two databases whole.
///
/// # Errors
/// If somebody uses the database that is there, or a file cannot be moved; then it is as it was.
pub fn replace(folder: &Path, new: &Path, end: &str) -> Result<Option<PathBuf>, StoreError> {
    let database = folder.join(DATABASE);
    let fault = |error: io::Error| StoreError::of_file(&database, &error);
    rest(new)?;
    let _turn = turn_to_open(&database)?;
    let kept = if database.exists() {
        put_to_rest(&database)?;
        Some(keep(&database, end)?)
    } else {
        None
    };
    for beside in BESIDE {
        // Of a database that was put to rest nothing is left there; a log without its database, or of
        // one that is damaged, must not be taken for the new one's.
        let (path, kept) = (with_end(&database, beside), kept.as_deref().unwrap_or(&database));
        let kept = with_end(&with_end(kept, if kept == database { end } else { "" }), beside);
        match fs::rename(&path, kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
    }
    fs::rename(new, &database).map_err(fault)?;
    sync_folder_of(&database).map_err(fault)?;
    Ok(kept)
}

/// Writes what is in the log into the database and takes the log away, so that it is one file. Refused as
/// busy while another program has it open.
fn rest(database: &Path) -> Result<(), StoreError> {
    let connection = connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| StoreError::from(error))
}

/// The same for one that is to be kept. One that is damaged stays as it is, with its log.
fn put_to_rest(database: &Path) -> Result<(), StoreError> {
    // Why looked at first: whoever opens a database to write it puts its log into it on leaving.
    let looked = connect(database, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
        Ok(connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?)
    });
    match looked.and_then(|()| rest(database)) {
        Err(error @ (StoreError::Busy | StoreError::ReadOnly | StoreError::Full)) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies a file to a name that is free, or leaves none there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let partial = with_end(to, ".partial");
    let copied = (|| {
        let mut copy = open_private(&partial)?;
        copy.set_len(0)?;
        io::copy(&mut File::open(from)?, &mut copy)?;
        copy.sync_all()?;
        fs::rename(&partial, to)
    })();
    copied.inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// A second name for the database, or a copy of it.
fn keep(database: &Path, end: &str) -> Result<PathBuf, StoreError> {
    let wanted = with_end(database, end);
    let mut kept = wanted.clone();
    let mut number = 2;
    loop {
        match fs::hard_link(database, &kept) {
            Ok(()) => return Ok(kept),
            Err(_) if kept.exists() => {
                kept = with_end(&wanted, &format!(".{number}"));
                number += 1;
            }
            // Some file systems know no second names. Why not renamed: stopped in between, the folder would
            // hold no database, and the next start would make an empty one.
            Err(_) => {
                let copied = copy(database, &kept);
                return copied
                    .map(|()| kept)
                    .map_err(|error| StoreError::of_file(database, &error));
            }
        }
    }
}
