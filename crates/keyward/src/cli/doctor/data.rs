//! The data folder: its files and rights, what is in the database, the key file, the disk, the server.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use keyward_core::time::UnixMillis;
use keyward_store::{DATABASE, Glance, SCHEMA, StoreError, newest_row};
use rustix::fs::{Access, access, statvfs};
use rustix::process::geteuid;

use super::{Failure, Findings, bytes};
use crate::app::audit::{self, Verified};
use crate::app::vault::{self, KEY_FILE, Vault};
use crate::app::{AppError, reach};
use crate::server::hold::{SERVER_LOCK, is_held};

/// Clocks of machines that write to one database differ by less.
const TOLERANCE_MILLIS: i64 = 60_000;
const RESTORE: &str = "stop the server, keep a copy of the data folder, and restore the last good backup: \
                       'keyward restore --force FILE'";

/// What is looked at, and how.
pub(super) struct Look<'a> {
    pub(super) folder: &'a Path,
    pub(super) is_quick: bool,
    pub(super) min_free: u64,
}

pub(super) fn check(
    findings: &mut Findings,
    look: &Look<'_>,
    now: UnixMillis,
) -> Result<(), Failure> {
    let Some(owner) = check_folder(findings, look.folder) else { return Ok(()) };
    check_files(findings, look.folder, owner);
    check_disk(findings, look);
    if look.folder.join(DATABASE).exists() {
        if let Err(error) = check_database(findings, look, now) {
            findings.fail("database", error.to_string(), RESTORE);
        }
    } else {
        let next = "name the right folder with --data-dir, begin with 'keyward setup', or restore a \
                    backup";
        findings.fail("database", format!("there is none in {}", look.folder.display()), next);
    }
    check_server(findings, look.folder)
}

/// Gives the owner of the folder, if there is one.
fn check_folder(findings: &mut Findings, folder: &Path) -> Option<u32> {
    let shown = folder.display();
    let found = match folder.metadata() {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            let next = "name the right one with --data-dir";
            findings.fail("folder", format!("{shown} is no folder"), next);
            return None;
        }
        Err(error) => {
            let next = "name the right folder with --data-dir, or begin with 'keyward setup'";
            findings.fail("folder", format!("{shown}: {error}"), next);
            return None;
        }
    };
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        let finding = format!("others may enter {shown} (mode {mode:o})");
        findings.fail("folder", finding, format!("chmod 700 {shown}"));
    }
    let me = geteuid().as_raw();
    if me != found.uid() {
        let finding = format!("{shown} belongs to user {}, and this is user {me}", found.uid());
        let next = "run keyward as its owner: files that another user makes lock the server out";
        findings.warn("folder", finding, next);
    }
    if access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let next = "check its owner, its rights and that the disk is not mounted read-only";
        findings.fail("folder", format!("{shown} cannot be written"), next);
    }
    findings.ok_unless_told("folder", format!("{shown} is for its owner alone and can be written"));
    Some(found.uid())
}

fn check_files(findings: &mut Findings, folder: &Path, owner: u32) {
    let Ok(entries) = folder.read_dir() else {
        return findings.fail("files", "the folder cannot be listed", "check its rights");
    };
    let mut n_files = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let shown = path.display();
        let Ok(found) = path.symlink_metadata() else { continue };
        let is_usual = found.is_file() || found.is_dir() || found.file_type().is_socket();
        if !is_usual {
            let next = "look where it leads, and put the file itself there";
            findings.warn("files", format!("{shown} is a link or no usual file"), next);
            continue;
        }
        n_files += 1;
        if found.mode() & 0o077 != 0 {
            let mode = found.mode() & 0o777;
            let next = format!("chmod go= {shown}");
            findings.fail("files", format!("others may use {shown} (mode {mode:o})"), next);
        }
        if found.uid() != owner {
            let finding = format!("{shown} belongs to user {}, not to the folder's", found.uid());
            findings.fail("files", finding, format!("chown {owner} {shown}"));
        }
    }
    findings.ok_unless_told("files", format!("{n_files} in the folder, for their owner alone"));
}

fn check_disk(findings: &mut Findings, look: &Look<'_>) {
    let Ok(disk) = statvfs(look.folder) else {
        return findings.warn("disk", "its free space cannot be read", "look with 'df'");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let database = look.folder.join(DATABASE).metadata().map_or(0, |file| file.len());
    let next =
        "make room, or move the data folder to a larger disk: on a full one changes are refused";
    let told = format!("{} free, the database takes {}", bytes(free), bytes(database));
    if free < look.min_free / 10 || disk.f_files > 0 && disk.f_favail == 0 {
        findings.fail("disk", told, next);
    } else if free < look.min_free || free < database {
        let next = format!("{next}, and an upgrade needs room for a copy");
        findings.warn("disk", told, next);
    } else {
        findings.ok("disk", told);
    }
}

fn check_database(
    findings: &mut Findings,
    look: &Look<'_>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let glance = Glance::live(look.folder)?;
    let schema = glance.schema()?;
    if schema > SCHEMA {
        let finding = format!("version {schema}, and this program knows up to {SCHEMA}");
        findings.fail("schema", finding, "use the newer program that made it");
        return Ok(());
    }
    if schema == 0 {
        let next = "begin with 'keyward setup', or restore a backup";
        findings.fail("schema", "the database is empty", next);
        return Ok(());
    }
    if schema < SCHEMA {
        let next =
            "'keyward backup', then start the new server: it keeps a copy and brings it up to date";
        findings.warn(
            "schema",
            format!("version {schema}, this program brings it to {SCHEMA}"),
            next,
        );
    } else {
        findings.ok("schema", format!("version {schema}, the newest that this program knows"));
    }
    if look.is_quick {
        findings.ok("database", "can be opened; not read as a whole (--quick)");
    } else {
        let faults = glance.faults()?;
        match faults.first() {
            None => findings.ok("database", "sound, every page and index of it"),
            Some(first) => {
                let more = faults.len() - 1;
                findings.fail("database", format!("damaged: {first} (and {more} more)"), RESTORE);
                return Ok(());
            }
        }
        if schema >= 2 {
            check_audit(findings, &glance.read(|tx| audit::verify_in(tx, None))?);
        }
    }
    glance.read(|tx| {
        match newest_row(tx, schema)? {
            Some((table, newest)) if newest - now > TOLERANCE_MILLIS => {
                let finding = format!(
                    "a row of {table} is of {}, and the clock says {}",
                    crate::when(newest),
                    crate::when(now)
                );
                let next = "set the clock (timedatectl): while it is behind, keys and sessions last longer";
                findings.fail("clock", finding, next);
            }
            _ => findings.ok("clock", format!("{}, no row is newer", crate::when(now))),
        }
        let sealed = vault::try_all(tx, schema, &Vault::new(look.folder))?;
        check_key_file(findings, look.folder, sealed);
        Ok(())
    })
}

fn check_audit(findings: &mut Findings, found: &Verified) {
    match (found, found.fault()) {
        (_, Some(fault)) => {
            let next = "compare with a backup ('keyward restore --check-only'), and find out who could \
                        write the database";
            findings.fail("audit", fault, next);
        }
        (Verified::Holds { n_rows, .. }, None) => {
            findings.ok("audit", format!("{n_rows} rows, none changed or removed"));
        }
        (_, None) => {}
    }
}

fn check_key_file(findings: &mut Findings, folder: &Path, sealed: vault::Sealed) {
    let file = folder.join(KEY_FILE);
    let shown = file.display();
    let vault::Sealed { there, opened } = sealed;
    let put_back = "put back the copy that is kept apart from the backups; without it webhooks do not sign \
                    and second factors do not work";
    match file.metadata() {
        Err(_) if there == 0 => findings.ok("key file", "none yet, and nothing is sealed"),
        Err(_) => {
            let finding = format!("{shown} is missing, and {there} secrets are sealed with it");
            findings.fail("key file", finding, put_back);
        }
        Ok(found) if found.len() != 32 => {
            let finding = format!("{shown} has {} bytes in place of 32", found.len());
            findings.fail("key file", finding, put_back);
        }
        Ok(_) if opened < there => {
            let finding = format!("{shown} opens {opened} of {there} sealed secrets");
            findings.fail("key file", finding, put_back);
        }
        Ok(_) => findings.ok("key file", format!("{shown} opens all {there} sealed secrets")),
    }
}

fn check_server(findings: &mut Findings, folder: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered: Result<bool, AppError> = runtime.block_on(reach::is_answered(folder));
    let lock = folder.join(SERVER_LOCK);
    let process = std::fs::read_to_string(&lock).unwrap_or_default();
    let process = process.trim().to_owned();
    match answered {
        Ok(true) => findings.ok("server", format!("process {process} runs on it and answers")),
        Ok(false) if !is_held(folder) => findings.ok("server", "none runs on this folder"),
        other => {
            let why = other.err().map(|error| format!(" ({error})")).unwrap_or_default();
            let finding = format!("process {process} holds the folder and does not answer{why}");
            let next = "look at its log; if it hangs, end it and start it again: nothing acknowledged is \
                        lost";
            findings.fail("server", finding, next);
        }
    }
    Ok(())
}
