//! Backup and restore: the real program, beside a real server, on real files.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::deliveries::signature;
use crate::faults::Disk;
use crate::program::{Ended, Served, Shell};
use crate::receiver::Receiver;
use crate::support::TestKey;

const TEXT_LINES: usize = 6;

fn back_up(shell: &Shell, name: &str) -> (PathBuf, Value) {
    let path = shell.file(name);
    let told = shell.json(&["backup", text(&path)]);
    (path, told)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn stop(mut served: Served) {
    served.signal(Signal::TERM);
    // The log is written to its end before the server is gone, and a pipe holds only so much of it.
    std::io::copy(&mut served.log, &mut std::io::sink()).expect("it ends");
    assert!(served.child.wait().expect("it was started").success());
}

fn status(served: &Served, key: &TestKey) -> u16 {
    let answer = served.call(&format!("GET /v3/me HTTP/1.1\r\nx-api-key: {}", key.clear), "");
    answer[9..12].parse().expect("a status")
}

fn revoke(shell: &Shell, key: &TestKey) {
    shell.json(&["keys", "revoke", &key.id.to_string()]);
}

/// All files of a folder with their bytes, but for locks and what SQLite makes to read a database.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let entries = entries.map(|entry| entry.expect("it can be read"));
    let entries = entries.filter(|entry| entry.file_type().expect("it is there").is_file());
    let named = entries.map(|entry| {
        let bytes = std::fs::read(entry.path()).expect("it is ours");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    });
    let is_beside = |name: &str, bytes: &[u8]| {
        ["serve.lock", "keyward.opening", "keyward.db-shm"].contains(&name)
            || name == "keyward.db-wal" && bytes.is_empty()
    };
    named.filter(|(name, bytes)| !is_beside(name, bytes)).collect()
}

/// Writes the last line of a backup anew, as somebody would who changed it on purpose.
fn sum_again(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("it is there");
    bytes.truncate(bytes.len() - 72);
    change(&mut bytes);
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.extend_from_slice(format!("sha256 {sum}\n").as_bytes());
    std::fs::write(path, bytes).expect("the folder is ours");
}

fn refused(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in parts {
        assert!(ended.err.contains(part), "{part}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_server_lets_in_the_same_keys_and_its_webhooks_sign() {
    let shell = Shell::new();
    shell.set_up();
    let (good, _) = shell.issue(&[]);
    let (revoked, _) = shell.issue(&[]);
    let (revoked_later, _) = shell.issue(&[]);
    revoke(&shell, &revoked);
    let test = shell.json(&["keys", "create", "--name", "ci", "--environment", "test"]);
    let test = test["key"].as_str().expect("it is shown").to_owned();
    let mut receiver = Receiver::start().await;
    let served = Served::start(&shell);
    let hook = json!({
        "display_name": "a", "endpoint_url": receiver.url(), "event_types": ["contact"],
    });
    let head = |line: &str| format!("{line} HTTP/1.1\r\nx-api-key: {test}");
    let made = served.call(&head("POST /v3/webhooks"), &hook.to_string());
    let body = made.split("\r\n\r\n").nth(1).expect("it has a body");
    let made: Value = serde_json::from_str(body).expect("it is JSON");
    let secret = made["data"]["signing_secret"].as_str().expect("it is shown").to_owned();

    let (backup, told) = back_up(&shell, "k.backup");
    // What happens after it is not in it.
    revoke(&shell, &revoked_later);
    let (later, _) = shell.issue(&[]);
    assert_eq!(
        [&good, &revoked, &revoked_later, &later].map(|key| status(&served, key)),
        [200, 401, 401, 200]
    );
    stop(served);

    assert_eq!(
        (&told["accounts"], &told["keys"], &told["sealed"], &told["schema"]),
        (&json!(1), &json!(4), &json!(1), &json!(keyward_store::SCHEMA))
    );
    let bytes = std::fs::read(&backup).expect("it is there");
    let mode = backup.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Whoever has no Keyward at hand reads the version and checks the sum.
    let lines = String::from_utf8_lossy(&bytes[bytes.len() - 300..]).into_owned();
    let lines: Vec<&str> = lines.lines().rev().take(TEXT_LINES).collect();
    let sum: String =
        Sha256::digest(&bytes[..bytes.len() - 72]).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(lines[0], format!("sha256 {sum}"));
    assert_eq!(told["sha256"], sum);
    assert_eq!(lines[2], format!("schema {}", keyward_store::SCHEMA));
    assert_eq!(lines[5], "-- keyward backup 1");

    // Elsewhere, and first without the key file.
    let other = Shell::new();
    let ended = other.run(&["restore", text(&backup)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("Still needed: ") && ended.err.contains("keyward.key"), "{ended:?}");
    assert!(!other.data_dir.join("keyward.key").exists(), "none is made that opens nothing");
    let forced = ["restore", "--force", text(&backup)];
    std::fs::write(other.data_dir.join("keyward.key"), [7; 32]).expect("the folder is ours");
    let ended = other.run(&forced);
    assert!(ended.err.contains("it is not the file that belongs to this backup"), "{ended:?}");
    std::fs::copy(shell.data_dir.join("keyward.key"), other.data_dir.join("keyward.key"))
        .expect("both folders are ours");
    let ended = other.run(&forced);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("opens all 1 sealed secrets"), "{ended:?}");

    let served = Served::start(&other);
    assert_eq!(
        [&good, &revoked, &revoked_later, &later].map(|key| status(&served, key)),
        [200, 401, 200, 401]
    );
    let contact = "{\"phone_number\":\"+14155550123\"}";
    let made = served.call(&head("POST /v3/contacts"), contact);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let received = receiver.next().await;
    let expected = signature(&secret, &received);
    assert_eq!(received.header("x-webhook-signature"), Some(expected.as_str()));
    stop(served);
    // The log goes on, and says whence it comes.
    let rows = other.json(&["audit", "list", "--action", "database.restored"]);
    assert_eq!(rows[0]["details"]["sha256"], sum);
    assert_eq!(other.run(&["audit", "verify"]).code, 0);
}

#[test]
fn what_was_there_is_kept_and_keys_that_live_again_are_named() {
    let shell = Shell::new();
    shell.set_up();
    let (stays, _) = shell.issue(&[]);
    let (revived, _) = shell.issue(&[]);
    let (backup, _) = back_up(&shell, "k.backup");
    revoke(&shell, &revived);
    let (later, _) = shell.issue(&[]);
    let ended = shell.run(&["restore", text(&backup)]);
    refused(&ended, &["is not empty, there is a database", "--force", "kept under another name"]);
    let told = shell.json(&["restore", "--force", text(&backup)]);
    assert_eq!(told["revived_keys"], json!([revived.id.to_string()]));
    let kept = PathBuf::from(told["kept"].as_str().expect("a path"));
    assert!(text(&kept).contains("keyward.db.before-restore-2"), "{told}");
    let kept = Connection::open(kept).expect("it opens");
    let row = |sql: &str| kept.query_row(sql, [], |row| row.get::<_, i64>(0)).expect(sql);
    assert_eq!(
        (row("SELECT count(*) FROM keys"), row("SELECT count(revoked_at) FROM keys")),
        (3, 1)
    );
    let served = Served::start(&shell);
    assert_eq!([&stays, &revived, &later].map(|key| status(&served, key)), [200, 200, 401]);
    stop(served);
    // A second one in the same second, or later, writes over nothing that was kept.
    let again = shell.json(&["restore", "--force", text(&backup)]);
    assert_ne!(again["kept"], told["kept"]);
    let n_kept =
        files(&shell.data_dir).keys().filter(|name| name.contains("before-restore")).count();
    assert_eq!(n_kept, 2);
}

#[test]
fn sessions_that_were_in_a_backup_have_ended() {
    let shell = Shell::new();
    shell.set_up();
    let database = Connection::open(shell.data_dir.join("keyward.db")).expect("it is there");
    let session =
        "INSERT INTO sessions SELECT randomblob(32), randomblob(16), id, 1, 2, 3, 0, '', ''
        FROM users";
    assert_eq!(database.execute(session, []), Ok(1));
    drop(database);
    let (backup, _) = back_up(&shell, "k.backup");
    let told = shell.json(&["restore", "--force", text(&backup)]);
    assert_eq!(told["ended_sessions"], 1);
    let database = Connection::open(shell.data_dir.join("keyward.db")).expect("it is there");
    let left = database.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0));
    assert_eq!(left, Ok(0));
}

#[test]
fn a_backup_that_is_not_whole_or_not_ours_is_refused_before_anything_is_touched() {
    let shell = Shell::new();
    shell.set_up();
    shell.issue(&[]);
    let (good, _) = back_up(&shell, "good.backup");
    let bytes = std::fs::read(&good).expect("it is there");
    let target = Shell::new();
    target.set_up();
    let before = files(&target.data_dir);
    let empty = Shell::new();
    let check = |name: &str, change: &dyn Fn(&Path), parts: &[&str]| {
        let path = shell.file(name);
        std::fs::write(&path, &bytes).expect("the folder is ours");
        change(&path);
        refused(&target.run(&["restore", "--force", text(&path)]), parts);
        assert_eq!(files(&target.data_dir), before, "{name}: something was touched");
        refused(&empty.run(&["restore", text(&path)]), parts);
        assert!(!empty.data_dir.exists(), "{name}: a folder was made");
    };
    let write = |change: fn(&mut Vec<u8>)| {
        move |path: &Path| {
            let mut bytes = std::fs::read(path).expect("it is there");
            change(&mut bytes);
            std::fs::write(path, bytes).expect("the folder is ours");
        }
    };
    check("changed", &write(|bytes| bytes[5000] ^= 1), &["its checksum is", "Take another backup"]);
    check(
        "note",
        &write(|bytes| {
            let at = bytes.len() - 72 - 40;
            let digit = bytes[at..].iter().position(u8::is_ascii_digit).expect("a number") + at;
            bytes[digit] ^= 1;
        }),
        &["Nothing was touched"],
    );
    check("cut", &write(|bytes| bytes.truncate(bytes.len() - 1)), &["it was cut off"]);
    check("half", &write(|bytes| bytes.truncate(bytes.len() / 2)), &["it was cut off"]);
    check("longer", &write(|bytes| bytes.push(b'\n')), &["cut off, or is a plain copy"]);
    check("empty", &write(Vec::clear), &["no backup of Keyward"]);
    check("text", &write(|bytes| *bytes = b"hello".to_vec()), &["no backup of Keyward"]);
    // Changed by somebody who knows how to make the sum right again.
    check(
        "newer",
        &|path| {
            sum_again(path, |bytes| {
                bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
                let text = String::from_utf8_lossy(&bytes[bytes.len() - 200..]).into_owned();
                let text = text.split("-- keyward backup").nth(1).expect("it ends so").to_owned();
                bytes.truncate(bytes.len() - text.len());
                let now = format!("schema {}", keyward_store::SCHEMA);
                bytes.extend_from_slice(text.replace(&now, "schema 99").as_bytes());
            })
        },
        &["with schema 99", "a newer one"],
    );
    // The first page of a table's rows is written over.
    check(
        "damaged",
        &|path| {
            sum_again(path, |bytes| {
                for page in bytes.chunks_mut(4096).skip(5).take(10) {
                    page.fill(0xA5);
                }
            })
        },
        &["damaged"],
    );
    check("missing", &|path| std::fs::remove_file(path).expect("ours"), &["No such file"]);
}

#[test]
fn a_backup_with_a_changed_audit_log_is_told_and_restored_only_if_that_is_accepted() {
    let shell = Shell::new();
    shell.set_up();
    shell.issue(&[]);
    let database = Connection::open(shell.data_dir.join("keyward.db")).expect("it is there");
    let forged = "UPDATE audit SET name = 'Somebody Else' WHERE number = 2";
    assert_eq!(database.execute(forged, []), Ok(1));
    drop(database);
    let path = shell.file("k.backup");
    let ended = shell.run(&["backup", text(&path)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("Warning: row 2 of the audit log was changed"), "{ended:?}");
    let other = Shell::new();
    let ended = other.run(&["restore", text(&path)]);
    refused(&ended, &["row 2 of the audit log was changed", "--accept-audit"]);
    assert!(!other.data_dir.exists());
    let ended = other.run(&["restore", "--accept-audit", text(&path)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = other.json(&["audit", "list", "--action", "database.restored"]);
    assert_eq!(rows[0]["details"]["audit_accepted"], "row 2 of the audit log was changed");
}

#[test]
fn a_backup_writes_over_nothing_and_lies_where_it_is_not_lost_with_the_data() {
    let shell = Shell::new();
    let path = shell.file("k.backup");
    refused(&shell.run(&["backup", text(&path)]), &["there is no data", "--data-dir"]);
    assert!(!path.exists() && !shell.data_dir.exists());
    shell.set_up();
    std::fs::write(&path, "precious").expect("the folder is ours");
    refused(&shell.run(&["backup", text(&path)]), &["is there already", "--force"]);
    assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
    assert_eq!(shell.run(&["backup", "--force", text(&path)]).code, 0);
    assert_eq!(shell.run(&["restore", "--check-only", text(&path)]).code, 0);
    let inside = shell.data_dir.join("keyward.db");
    let ended = shell.run(&["backup", "--force", text(&inside)]);
    refused(&ended, &["is in the data folder, with which it would be lost"]);
    assert_eq!(shell.run(&["keys", "list"]).code, 0, "the database is untouched");
    refused(&shell.run(&["backup", text(&shell.file(""))]), &["is a folder"]);
    let nowhere = shell.file("no/such.backup");
    refused(&shell.run(&["backup", text(&nowhere)]), &["cannot be used", "make it first"]);
    // What one that was killed left under the temporary name is written over, and one that is being
    // written is not.
    let path = shell.file("second.backup");
    let partial = shell.file("second.backup.partial");
    std::fs::write(&partial, [9; 100_000]).expect("the folder is ours");
    let other = std::fs::File::open(&partial).expect("it is there");
    other.lock().expect("nobody holds it");
    refused(&shell.run(&["backup", text(&path)]), &["another backup is being written"]);
    drop(other);
    assert_eq!(shell.run(&["backup", text(&path)]).code, 0);
    assert!(!partial.exists());
    assert_eq!(shell.run(&["restore", "--check-only", text(&path)]).code, 0);
}

#[test]
fn a_backup_goes_through_a_pipe_as_well() {
    let shell = Shell::new();
    shell.set_up();
    let mut command = shell.command(&["backup", "-"]);
    let output = command.output().expect("the program is built");
    assert!(output.status.success(), "{output:?}");
    let path = shell.file("piped.backup");
    std::fs::write(&path, output.stdout).expect("the folder is ours");
    assert_eq!(shell.run(&["restore", "--check-only", text(&path)]).code, 0);
    let left = files(&shell.data_dir);
    assert!(left.keys().all(|name| !name.contains("stdout")), "{:?}", left.keys());
    assert_eq!(shell.run(&["backup", "-", "--json"]).code, 2);
}

/// Runs a command that may make no file larger than so many blocks of 512 bytes, as on a full disk.
pub(crate) fn run_with_room(shell: &Shell, blocks: u32, arguments: &[&str]) -> Ended {
    let real = shell.command(arguments);
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", "ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
    command.arg(real.get_program()).args(real.get_args()).current_dir(shell.file(""));
    let output = command.stdout(Stdio::piped()).output().expect("there is a shell");
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_full_disk_leaves_neither_half_a_backup_nor_half_a_restore() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let (backup, told) = back_up(&shell, "good.backup");
    let blocks =
        u32::try_from(told["file_bytes"].as_u64().expect("a number") / 512).expect("small");
    let path = shell.file("full.backup");
    for room in [0, 64, blocks / 2, blocks - 1] {
        let ended = run_with_room(&shell, room, &["backup", text(&path)]);
        assert_eq!(ended.code, 1, "{ended:?}");
        // With less there is not even room to read the database.
        if room >= 64 {
            refused(&ended, &["cannot be written", "make room there", "Nothing was left"]);
        }
        assert!(!path.exists() && !shell.file("full.backup.partial").exists());
    }
    let before = files(&shell.data_dir);
    for room in [0, 64, blocks / 2, blocks - 4] {
        let ended = run_with_room(&shell, room, &["restore", "--force", text(&backup)]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert_eq!(files(&shell.data_dir), before, "something was touched");
        assert!(!shell.data_dir.join("restore.partial").exists());
    }
    let served = Served::start(&shell);
    assert_eq!(status(&served, &key), 200);
}

#[test]
fn a_backup_leaves_a_row_in_the_audit_log_unless_nothing_can_be_written() {
    let disk = Disk::new();
    let rows = || disk.shell.json(&["audit", "list", "--action", "database.backed_up"]);
    let (first, told) = back_up(&disk.shell, "first.backup");
    assert_eq!(told["not_logged"], Value::Null);
    let row = &rows()[0];
    assert_eq!(row["details"]["sha256"], told["sha256"]);
    assert_eq!(row["label"], text(&first));
    for (number, (fault, why)) in
        [("all enospc 1 0 *", "the disk is full"), ("all erofs 1 0 *", "cannot be written")]
            .into_iter()
            .enumerate()
    {
        disk.fail(fault);
        let path = disk.shell.file(&format!("{number}.backup"));
        let mut command = disk.shell.command(&["backup", text(&path)]);
        disk.fails_under(&mut command);
        let output = command.output().expect("the program is built");
        let err = String::from_utf8(output.stderr).expect("it writes text");
        assert!(output.status.success(), "{fault}: {err}");
        assert!(err.contains("has no row of this backup") && err.contains(why), "{fault}: {err}");
        assert_eq!(disk.shell.run(&["restore", "--check-only", text(&path)]).code, 0);
        assert_eq!(rows().as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn nothing_is_restored_under_a_running_server_or_command() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let (backup, _) = back_up(&shell, "k.backup");
    let served = Served::start(&shell);
    let ended = shell.run(&["restore", "--force", text(&backup)]);
    refused(&ended, &["nothing can be restored while it is in use", "another server (process "]);
    assert_eq!(status(&served, &key), 200);
    stop(served);
    // A command that is at work on the database, such as a long import.
    let other = Connection::open(shell.data_dir.join("keyward.db")).expect("it is there");
    let n_keys = other.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0));
    assert_eq!(n_keys, Ok(1));
    let ended = shell.run(&["restore", "--force", text(&backup)]);
    refused(&ended, &["another program uses the database", "nothing was touched"]);
    drop(other);
    assert_eq!(shell.run(&["restore", "--force", text(&backup)]).code, 0);
}

#[test]
fn a_damaged_database_is_kept_with_its_log_and_replaced() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let (backup, _) = back_up(&shell, "k.backup");
    let served = Served::start(&shell);
    let head = format!("POST /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    let made = served.call(&head, "{\"phone_number\":\"+14155550123\"}");
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    served.signal(Signal::KILL);
    drop(served);
    let path = shell.data_dir.join("keyward.db");
    let log = std::fs::read(shell.data_dir.join("keyward.db-wal")).expect("it was killed");
    assert!(!log.is_empty());
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes.fill(0xA5);
    std::fs::write(&path, &bytes).expect("it is ours");
    let taken = shell.run(&["backup", text(&shell.file("bad.backup"))]);
    refused(&taken, &["damaged", "restore the last good backup"]);
    assert!(!shell.file("bad.backup").exists() && !shell.file("bad.backup.partial").exists());
    let told = shell.json(&["restore", "--force", text(&backup)]);
    let kept = PathBuf::from(told["kept"].as_str().expect("a path"));
    assert_eq!(std::fs::read(&kept).expect("it is kept"), bytes);
    let kept_log = format!("{}-wal", kept.display());
    assert_eq!(std::fs::read(kept_log).expect("its log is kept"), log);
    let served = Served::start(&shell);
    assert_eq!(status(&served, &key), 200);
    let list = format!("GET /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    assert!(served.call(&list, "").contains("\"total_count\":0"), "of the log nothing came along");
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let shell = Shell::new();
    shell.set_up();
    std::fs::write(shell.file("keyward.toml"), "rate_limit_standard = 1000000\n").expect("ours");
    let (key, _) = shell.issue(&[]);
    let served = Served::start(&shell);
    let head = format!("POST /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    let made = served.call(&head, "{\"phone_number\":\"+14155559999\"}");
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicU32::new(1));
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (is_over, acknowledged, served, head) = (&is_over, &acknowledged, &served, &head);
            scope.spawn(move || {
                for number in 0..2000 {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let body = format!(
                        "{{\"phone_number\":\"+1415{:07}\"}}",
                        5_550_000 + writer * 2000 + number
                    );
                    let answer = served.call(head, &body);
                    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 0..5 {
            let before = acknowledged.load(Ordering::SeqCst);
            let (backup, _) = back_up(&shell, &format!("{number}.backup"));
            let after = acknowledged.load(Ordering::SeqCst) + 3;
            assert_eq!(shell.run(&["restore", "--check-only", text(&backup)]).code, 0);
            let found = Connection::open(&backup).expect("any SQLite opens it");
            let count =
                |sql: &str| found.query_row(sql, [], |row| row.get::<_, u32>(0)).expect(sql);
            let contacts = count("SELECT count(*) FROM contacts");
            assert!((before..=after).contains(&contacts), "{before} {contacts} {after}");
            // What belongs together is there together.
            assert_eq!(count("SELECT sum(contacts) FROM contact_blocks"), contacts);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    stop(served);
}

#[test]
fn no_secret_in_clear_and_no_key_file_is_in_a_backup() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let test = shell.json(&["keys", "create", "--name", "ci", "--environment", "test"]);
    let test = test["key"].as_str().expect("it is shown").to_owned();
    let served = Served::start(&shell);
    let hook = "{\"display_name\":\"a\",\"endpoint_url\":\"http://127.0.0.1:9/\",\"event_types\":[\"contact\"]}";
    let made = served.call(&format!("POST /v3/webhooks HTTP/1.1\r\nx-api-key: {test}"), hook);
    let secret = made.split("whsec_").nth(1).and_then(|rest| rest.split('"').next());
    let secret = secret.unwrap_or_else(|| panic!("it is shown: {made}"));
    let (backup, _) = back_up(&shell, "k.backup");
    stop(served);
    let bytes = std::fs::read(&backup).expect("it is there");
    let has = |what: &[u8]| bytes.windows(what.len()).any(|found| found == what);
    let raw = |key: &str| *uuid(key);
    assert!(has(b"Ada Lovelace"), "the search finds what is there");
    use base64::Engine as _;
    let secret_bytes = base64::engine::general_purpose::STANDARD.decode(secret).expect("base64");
    let key_file = std::fs::read(shell.data_dir.join("keyward.key")).expect("it is there");
    for what in [
        key.clear.as_bytes(),
        test.as_bytes(),
        &raw(&key.clear),
        &raw(&test),
        secret.as_bytes(),
        &secret_bytes,
        &key_file,
        b"correct horse",
    ] {
        assert!(!has(what), "a secret is in the backup");
    }
}

fn uuid(text: &str) -> Box<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
    Box::new(std::array::from_fn(byte))
}
