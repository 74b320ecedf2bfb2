//! A backup: one file that can be checked before anything is done with it.
//!
//! It is the database, which any SQLite opens, and after it a few lines of text that `tail -n 6` shows:
//! the version of the schema, the size, when and by what it was made, and the SHA-256 of all that stands
//! before that last line. It holds no key file: what is sealed in it stays sealed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::glance::Glance;

const FIRST_LINE: &str = "-- keyward backup 1";
/// `sha256 `, 64 digits, and the end of the line.
const LAST_LINE_BYTES: u64 = 72;
/// Text that follows a database is looked for in so many bytes.
const MOST_TEXT_BYTES: u64 = 1024;
const CHUNK_BYTES: usize = 1 << 20;

/// What is told about a step: what is done, of how much.
pub type OnProgress<'a> = &'a mut dyn FnMut(Step, u64, u64);

/// Where the work on a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pages are copied.
    Copy,
    /// Bytes are read for their checksum.
    Sum,
}

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The version of the schema.
    pub schema: i64,
    /// In words: a time, or before which change.
    pub made: String,
    pub program: String,
    pub database_bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// Why a file is not taken for a backup. Nothing was done with it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "it is a database without the lines that end a backup: it was cut off, or is a plain copy"
    )]
    NoEnd,
    #[error("it is no backup of Keyward")]
    Other,
    #[error("its checksum is {found} and should be {noted}: it was changed or damaged")]
    Changed { noted: String, found: String },
}

/// Copies the database of a glance, as it is at this moment, into an empty file, with the lines that make
/// it a backup. On the disk when this returns.
///
/// # Errors
/// If one of the two cannot be read or written; then the file is the caller's to remove.
pub fn make(
    from: &Glance,
    path: &Path,
    made: &str,
    on_progress: OnProgress<'_>,
) -> Result<Note, BackupError> {
    from.copy_to(path, &mut |done, all| on_progress(Step::Copy, done, all))?;
    let mut file = File::options().read(true).append(true).open(path)?;
    let database_bytes = file.metadata()?.len();
    let mut sum = Sha256::new();
    hash(&mut file, database_bytes, &mut sum, on_progress, |_| Ok(()))?;
    let schema = Glance::still(path)?.schema()?;
    let program = format!("keyward {}", env!("CARGO_PKG_VERSION"));
    let text = format!(
        "\n{FIRST_LINE}\nmade {made}\nprogram {program}\nschema {schema}\n\
         database_bytes {database_bytes}\n"
    );
    sum.update(&text);
    let sha256 = hex(&sum.finalize());
    file.write_all(format!("{text}sha256 {sha256}\n").as_bytes())?;
    file.sync_all()?;
    Ok(Note { schema, made: made.to_owned(), program, database_bytes, sha256 })
}

/// What a file says about itself. Whether it is true is [`check`]ed apart.
///
/// # Errors
/// If it cannot be read or is no backup.
pub fn note(path: &Path) -> Result<Note, BackupError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    (&mut file).take(16).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_TEXT_BYTES)))?;
    let mut end = Vec::new();
    file.take(MOST_TEXT_BYTES).read_to_end(&mut end)?;
    let mark = format!("\n{FIRST_LINE}\n");
    let at = end.windows(mark.len()).rposition(|window| window == mark.as_bytes());
    let lines = at.and_then(|at| std::str::from_utf8(&end[at + 1..]).ok());
    let is_database = head == b"SQLite format 3\0";
    let found = lines.and_then(|lines| read_lines(lines, length));
    found.ok_or(if is_database { BackupError::NoEnd } else { BackupError::Other })
}

/// Reads the lines of a file of so many bytes; `None` if they are not as they must be.
fn read_lines(text: &str, length: u64) -> Option<Note> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let mut next = |name: &str| {
        let line = lines.next()?;
        Some(line.strip_prefix(name)?.strip_prefix(' ').unwrap_or_default().to_owned())
    };
    next(FIRST_LINE)?;
    let made = next("made")?;
    let program = next("program")?;
    let schema = next("schema")?.parse().ok()?;
    let database_bytes: u64 = next("database_bytes")?.parse().ok()?;
    let sha256 = next("sha256")?;
    let is_whole = lines.next().is_none()
        && sha256.len() == 64
        && database_bytes + 1 + u64::try_from(text.len()).ok()? == length;
    is_whole.then_some(Note { schema, made, program, database_bytes, sha256 })
}

/// Reads all of a backup and compares its checksum. `each` gets the bytes of the database on the way.
///
/// # Errors
/// If it cannot be read, is no backup or was changed, or what `each` fails with.
pub fn check(
    path: &Path,
    on_progress: OnProgress<'_>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Note, BackupError> {
    let note = note(path)?;
    let mut file = File::open(path)?;
    let rest = file.metadata()?.len().saturating_sub(LAST_LINE_BYTES + note.database_bytes);
    let mut sum = Sha256::new();
    hash(&mut file, note.database_bytes, &mut sum, on_progress, &mut each)?;
    hash(&mut file, rest, &mut sum, &mut |_, _, _| {}, |_| Ok(()))?;
    let found = hex(&sum.finalize());
    if found == note.sha256 {
        Ok(note)
    } else {
        Err(BackupError::Changed { noted: note.sha256, found })
    }
}

/// Reads so many bytes from where the file stands.
fn hash(
    file: &mut File,
    length: u64,
    sum: &mut Sha256,
    on_progress: OnProgress<'_>,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = file.take(length);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let n_bytes = reader.read(&mut chunk)?;
        if n_bytes == 0 {
            return Ok(());
        }
        sum.update(&chunk[..n_bytes]);
        each(&chunk[..n_bytes])?;
        done += n_bytes as u64;
        on_progress(Step::Sum, done, length);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
