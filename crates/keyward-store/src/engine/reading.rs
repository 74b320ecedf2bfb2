//! How a database is opened to be read, also where nothing can be written beside it.
//!
//! Whoever reads a database with a write-ahead log needs an index of that log (`-shm`), which is made by
//! writing. Where the disk takes nothing there are two more ways, tried in this order:
//!
//! 1. An index that is there is not written: the engine makes one in memory from the log, and notices by
//!    itself when somebody else begins to write (`readonly_shm`).
//! 2. A database without a log, as a server leaves it that was stopped, needs no index: it is read as a file
//!    that nobody changes (`immutable`). The engine would not notice a writer then, so the turn to open it
//!    is held with others who read so, and whoever wants to write waits until they are gone.
//!
//! A log without room for an index is not read, for without it there would be an older state: keys that
//! were revoked would be let in.

use std::fmt::Write as _;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::health::Trouble;
use super::sqlite::{connect, opening};
use crate::error::StoreError;
use crate::migrate::with_end;

/// A connection that reads.
pub(crate) struct Reading {
    connection: Connection,
    /// Held where a writer would not be noticed.
    _turn: Option<File>,
}

impl Deref for Reading {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Opens a database that is there, to read it.
///
/// # Errors
/// If it cannot be opened, or there is no safe way to read it.
pub(crate) fn connect_to_read(path: &Path) -> Result<Reading, StoreError> {
    let usual = opened(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let Err(error) = usual else {
        return usual.map(|connection| Reading { connection, _turn: None });
    };
    if Trouble::of(&error).is_none() {
        return Err(error);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    if with_end(path, "-shm").exists()
        && let Ok(connection) = opened(&uri(path, "readonly_shm=1"), flags)
    {
        return Ok(Reading { connection, _turn: None });
    }
    let fault = |error: std::io::Error| StoreError::of_file(path, &error);
    let turn = File::open(opening(path)).map_err(fault)?;
    turn.lock_shared().map_err(fault)?;
    // Why only now: whoever had the turn may have written.
    if std::fs::metadata(with_end(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(StoreError::NotOpened {
            why: String::from(
                "what stands in its log (keyward.db-wal) can be read only with room for \
                 keyward.db-shm beside it",
            ),
            because: Box::new(error),
        });
    }
    let connection = opened(&uri(path, "immutable=1"), flags)?;
    Ok(Reading { connection, _turn: Some(turn) })
}

/// Opens it and reads something: only then it shows whether it can be read.
fn opened(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = connect(path, flags)?;
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(connection)
}

/// Under this name the engine opens a file in the way that the parameter says.
pub(crate) fn uri(path: &Path, parameter: &str) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    PathBuf::from(format!("{uri}?{parameter}"))
}
