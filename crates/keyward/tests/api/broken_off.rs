//! Killed with -9 in the middle of a restore, an upgrade and a backup: at each call that writes, syncs, makes,
//! names or removes a file, and in the middle of each write. Afterwards there is the old state or the new
//! one, whole, and a second try succeeds. [`EVERY`] says how many calls are left out between two kills.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use keyward_store::backup;
use rusqlite::Connection;
use rustix::process::Signal;

use crate::faults::{fail, on_faulty_disk};
use crate::program::{Served, Shell};
use crate::upgrade::{Dump, dump, names, open, shell_of, version};

/// At each call, and in the middle of each write.
const KILLS: [&str; 2] = ["any kill", "write tear"];
/// 1 is each of them, which takes some minutes; the figures in docs/promises.md are of such a run.
const EVERY: usize = 6;

/// A folder with its folders and files; sockets are left out.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is ours");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let kind = entry.file_type().expect("it has one");
        if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("there is room");
        }
    }
}

/// Runs a command on copies of a data folder and of files beside it, killed at each call in turn, until it
/// comes to its end. Gives how often it was killed.
fn killed_everywhere(from: &Shell, arguments: &[&str], check: impl Fn(&Shell, &str)) -> usize {
    let mut n_killed = 0;
    for kill in KILLS {
        for number in (1..).step_by(EVERY) {
            let shell = Shell::new();
            copy(from.folder.path(), shell.folder.path());
            copy(&from.data_dir, &shell.data_dir);
            let control = from.file("faults");
            fail(&control, &format!("{kill} {number} 1 *"));
            // Whole paths, for the layer knows no others.
            let file = shell.file("k.backup");
            let whole = |argument: &&str| match *argument {
                "k.backup" => file.to_str().expect("a plain path").to_owned(),
                other => other.to_owned(),
            };
            let arguments: Vec<String> = arguments.iter().map(whole).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut command = shell.command(&arguments);
            on_faulty_disk(&mut command, shell.folder.path(), &control);
            let output = command.stdin(Stdio::null()).output().expect("the program is built");
            if output.status.success() {
                break;
            }
            let signal = output.status.signal();
            assert_eq!(signal, Some(Signal::KILL.as_raw()), "{kill} {number}: {output:?}");
            n_killed += 1;
            let place = format!("{kill} {number}");
            check(&shell, &place);
            let again = shell.run(&arguments);
            assert_eq!(again.code, 0, "{place}: {again:?}");
            check(&shell, &format!("{place}, and once more"));
        }
    }
    n_killed
}

fn is_sound(database: &Connection) -> bool {
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    check.as_deref() == Ok("ok")
}

/// A data folder as a server that was killed leaves it, with what was changed after a backup, and the backup.
fn scene() -> (Shell, PathBuf) {
    let shell = Shell::new();
    shell.set_up();
    shell.issue(&[]);
    let path = shell.file("k.backup");
    shell.json(&["backup", path.to_str().expect("a plain path")]);
    let (key, _) = shell.issue(&[]);
    let served = Served::start(&shell);
    let head = format!("POST /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    let made = served.call(&head, "{\"phone_number\":\"+14155550123\"}");
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    served.signal(Signal::KILL);
    drop(served);
    (shell, path)
}

/// A database without what a restore adds to it: its row in the audit log.
fn without_log(mut dump: Dump) -> Dump {
    dump.retain(|table, _| {
        !table.starts_with("audit") && table != "counters" && table != "sessions"
    });
    dump
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_database_or_the_new_one() {
    let (shell, backup) = scene();
    // Looked at elsewhere, for whoever closes a database puts its log into it.
    let elsewhere = Shell::new();
    copy(&shell.data_dir, &elsewhere.data_dir);
    let old = dump(&open(&elsewhere, "keyward.db"));
    let new = without_log(dump(&Connection::open(&backup).expect("any SQLite opens it")));
    let arguments = ["restore", "--force", "k.backup"];
    let n_killed = killed_everywhere(&shell, &arguments, |shell, place| {
        let database = open(shell, "keyward.db");
        assert!(is_sound(&database), "{place}");
        let found = dump(&database);
        drop(database);
        let is_new = without_log(found.clone()) == new;
        assert!(is_new || found == old, "{place}: it is neither");
        if is_new {
            // What was there is kept, whole.
            let is_kept = names(shell).iter().any(|name| dump(&open(shell, name)) == old);
            assert!(is_kept, "{place}: {:?}", names(shell));
        }
        if place.contains("once more") {
            assert!(is_new, "{place}");
            assert!(!shell.data_dir.join("restore.partial").exists(), "{place}");
            assert_eq!(shell.run(&["audit", "verify"]).code, 0, "{place}");
        }
    });
    assert!(n_killed > 30 / EVERY, "{n_killed}");
}

#[test]
fn a_restore_where_files_have_no_second_names_keeps_a_copy() {
    let (shell, _) = scene();
    let old = dump(&open(&shell, "keyward.db"));
    let control = shell.file("faults");
    fail(&control, "link eperm 1 0 *");
    for n_kept in 1..3 {
        let mut command = shell.command(&["restore", "--force", "k.backup"]);
        on_faulty_disk(&mut command, shell.folder.path(), &control);
        let output = command.output().expect("the program is built");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(names(&shell).len(), n_kept);
        assert!(names(&shell).iter().any(|name| dump(&open(&shell, name)) == old));
    }
}

#[test]
fn an_upgrade_that_is_killed_leaves_the_old_database_or_the_new_one() {
    let shell = shell_of(4);
    let old = dump(&open(&shell, "keyward.db"));
    let n_killed = killed_everywhere(&shell, &["keys", "list"], |shell, place| {
        let database = open(shell, "keyward.db");
        assert!(is_sound(&database), "{place}");
        let is_new = version(&database) == keyward_store::SCHEMA;
        if is_new {
            let n_rows = database.query_row("SELECT count(*) FROM contacts", [], |row| row.get(0));
            assert_eq!(n_rows, Ok(i64::try_from(old["contacts"].1.len()).expect("few")), "{place}");
        } else {
            assert_eq!((version(&database), dump(&database)), (4, old.clone()), "{place}");
        }
        drop(database);
        // What was changed has its copy; one that is not whole has another name.
        let kept = names(shell);
        let whole = kept.iter().filter(|name| !name.ends_with(".partial"));
        for name in whole.clone() {
            assert_eq!(dump(&open(shell, name)), old, "{place}: {name}");
        }
        assert!(!is_new || whole.count() > 0, "{place}: {kept:?}");
        if place.contains("once more") {
            assert!(
                is_new && !kept.iter().any(|name| name.ends_with(".partial")),
                "{place}: {kept:?}"
            );
        }
    });
    assert!(n_killed > 30 / EVERY, "{n_killed}");
}

#[test]
fn a_backup_that_is_killed_leaves_the_one_before_or_the_new_one() {
    let (shell, _) = scene();
    let n_killed = killed_everywhere(&shell, &["backup", "--force", "k.backup"], |shell, place| {
        let path = shell.file("k.backup");
        let whole = backup::check(&path, &mut |_, _, _| {}, |_| Ok(()));
        assert!(whole.is_ok(), "{place}: {whole:?}");
        assert!(is_sound(&open(shell, "keyward.db")), "{place}");
        if place.contains("once more") {
            assert!(!shell.file("k.backup.partial").exists(), "{place}");
            let rows = shell.json(&["audit", "list", "--action", "database.backed_up"]);
            // The one that was killed had one as well if it came so far.
            assert!(rows.as_array().is_some_and(|rows| rows.len() >= 2), "{place}: {rows}");
        }
    });
    assert!(n_killed > 30 / EVERY, "{n_killed}");
}
