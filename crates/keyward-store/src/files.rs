//! The folder and the files in it, for their owner alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a folder that only its owner can enter, with those above it. One that is there is tightened.
///
/// # Errors
/// If it cannot be made, or is something else. That one on a read-only disk is not tightened is no error.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = folder.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        match std::fs::set_permissions(folder, Permissions::from_mode(0o700)) {
            // Nobody gets in who did not before, and what is there must be readable all the same.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            other => other?,
        }
    }
    Ok(())
}

/// Opens a file for reading and writing that only its owner can read, making it if needed.
///
/// # Errors
/// If it cannot be opened.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Makes sure that a name that was given or taken away in the folder of a file is on the disk.
///
/// # Errors
/// If the folder cannot be opened.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
