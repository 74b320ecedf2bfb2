//! One server a folder: two would each believe their own rate windows, and write as if they were alone.
//!
//! Two things are locked: the file `serve.lock`, as servers of every version do, and the folder itself. On a
//! disk that takes nothing the file can be locked as well, for that writes nothing; where it was never made,
//! the folder alone must do. Some file systems, such as NFS, lock no folder: there the file is needed.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use keyward_store::Trouble;

/// In the data folder, locked by the server that holds it; its text is the number of its process.
pub const SERVER_LOCK: &str = "serve.lock";

/// A data folder that is held. It ends when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Hold {
    _folder: Option<File>,
    _file: Option<File>,
}

/// Takes hold of a data folder.
///
/// # Errors
/// If another one holds it, or nothing can be locked.
pub fn hold(data_dir: &Path) -> anyhow::Result<Hold> {
    let path = data_dir.join(SERVER_LOCK);
    let folder = File::open(data_dir)
        .with_context(|| format!("the data folder {} cannot be used", data_dir.display()))?;
    let folder = match folder.try_lock() {
        Ok(()) => Some(folder),
        Err(TryLockError::WouldBlock) => bail!(held(data_dir)),
        Err(TryLockError::Error(_)) => None,
    };
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(error) if folder.is_some() && Trouble::of_io(&error).is_some() => {
            return Ok(Hold { _folder: folder, _file: None });
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be opened", path.display()));
        }
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(held(data_dir)),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
        }
    }
    // The number is for a message alone: on a disk that takes nothing there is none, or an old one.
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = writeln!(file, "{}", std::process::id());
    Ok(Hold { _folder: folder, _file: Some(file) })
}

/// True if a server holds a folder.
#[must_use]
pub fn is_held(data_dir: &Path) -> bool {
    [data_dir.to_owned(), data_dir.join(SERVER_LOCK)].iter().any(|path| {
        let is_locked =
            |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        File::open(path).is_ok_and(is_locked)
    })
}

/// Opens the file to write its text, or at least to lock it.
fn open(path: &Path) -> io::Result<File> {
    keyward_store::open_private(path).or_else(|error| match Trouble::of_io(&error) {
        Some(_) => File::open(path).map_err(|_| error),
        None => Err(error),
    })
}

/// That another one holds it, and what to do.
fn held(data_dir: &Path) -> String {
    let mut holder = String::new();
    // Who it is helps; that it is does not depend on it.
    let _ = File::open(data_dir.join(SERVER_LOCK)).and_then(|mut f| f.read_to_string(&mut holder));
    let process = holder.trim().parse::<u32>().map(|pid| format!(" (process {pid})"));
    format!(
        "another server{} holds the data folder {}: stop it, or give this one its own with --data-dir",
        process.unwrap_or_default(),
        data_dir.display()
    )
}
