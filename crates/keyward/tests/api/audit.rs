//! `keyward audit`: whoever can write the database changes the log, and it is found out.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::program::{Ended, Shell};

/// A log of five rows: an account with its owner, three keys, one of them revoked.
fn shell_with_a_log() -> Shell {
    let shell = Shell::new();
    shell.set_up();
    for name in ["one", "two", "three"] {
        shell.json(&["keys", "create", "--name", name, "--environment", "test"]);
    }
    let keys = shell.json(&["keys", "list"]);
    let id = keys[0]["id"].as_str().expect("a text");
    assert_eq!(shell.run(&["keys", "revoke", id]).code, 0);
    shell
}

fn database(shell: &Shell) -> Connection {
    Connection::open(shell.data_dir.join("keyward.db")).expect("it is there")
}

/// The same data in a folder of its own.
fn copy(shell: &Shell) -> Shell {
    let other = Shell::new();
    std::fs::create_dir(&other.data_dir).expect("the folder is ours");
    std::fs::set_permissions(&other.data_dir, permissions(&shell.data_dir)).expect("it is ours");
    for file in std::fs::read_dir(&shell.data_dir).expect("it is there") {
        let file = file.expect("it can be read");
        if file.file_type().expect("it is there").is_file() {
            std::fs::copy(file.path(), other.data_dir.join(file.file_name())).expect("it is ours");
        }
    }
    other
}

fn permissions(path: &Path) -> std::fs::Permissions {
    std::fs::metadata(path).expect("it is there").permissions()
}

fn head(shell: &Shell) -> (i64, String) {
    let found = shell.json(&["audit", "verify"]);
    let head = found["head"].as_str().expect("a text").to_owned();
    (found["rows"].as_i64().expect("a number"), head)
}

/// Checks the log after somebody ran `sql` on it.
fn verified_after(shell: &Shell, sql: &str) -> Ended {
    let forged = copy(shell);
    let changed = database(&forged).execute_batch(sql);
    changed.unwrap_or_else(|error| panic!("{error}: {sql}"));
    forged.run(&["audit", "verify"])
}

#[test]
fn whatever_is_changed_in_the_audit_log_is_found() {
    let shell = shell_with_a_log();
    let (n_rows, head) = head(&shell);
    assert!(n_rows >= 5, "{n_rows}");
    let untouched = verified_after(&shell, "");
    assert_eq!((untouched.code, untouched.out.trim()), (0, head.as_str()));
    let changes = [
        "at = at + 1",
        "account = NULL",
        "actor = actor || 'x'",
        "name = 'Somebody Else'",
        "action = 'key.enabled'",
        "target = 'key 1'",
        "label = label || ' '",
        "details = '{\"a\":1}'",
        "address = '203.0.113.7'",
        "hash = zeroblob(32)",
        "previous = zeroblob(32)",
    ];
    let last = n_rows;
    for row in [2, last] {
        for change in changes {
            let sql = format!("UPDATE audit SET {change} WHERE number = {row}");
            let ended = verified_after(&shell, &sql);
            let told = format!("row {row} of the audit log was changed");
            assert!(ended.code == 1 && ended.err.contains(&told), "{sql}: {ended:?}");
        }
    }
    // Text that moves from one column to the next is a change too.
    let sql = "UPDATE audit SET name = name || substr(action, 1, 1), action = substr(action, 2)
         WHERE number = 3";
    let ended = verified_after(&shell, sql);
    assert!(ended.err.contains("row 3 of the audit log was changed"), "{ended:?}");
}

#[test]
fn whatever_is_taken_out_of_or_put_into_the_audit_log_is_found() {
    let shell = shell_with_a_log();
    let (last, head) = head(&shell);
    let ended = verified_after(&shell, "DELETE FROM audit WHERE number = 1");
    assert!(
        ended.code == 1 && ended.err.contains("row 1 of the audit log is missing"),
        "{ended:?}"
    );
    let ended = verified_after(&shell, "DELETE FROM audit WHERE number = 3");
    assert!(
        ended.code == 1 && ended.err.contains("row 3 of the audit log is missing"),
        "{ended:?}"
    );
    let ended = verified_after(&shell, &format!("DELETE FROM audit WHERE number = {last}"));
    let told = format!("ends after row {}; there were {last}", last - 1);
    assert!(ended.code == 1 && ended.err.contains(&told), "{ended:?}");
    let ended = verified_after(&shell, "DELETE FROM audit");
    let told = format!("ends after row 0; there were {last}");
    assert!(ended.code == 1 && ended.err.contains(&told), "{ended:?}");
    // A row that nobody wrote, at the end and in between.
    let insert = format!(
        "INSERT INTO audit SELECT {} , at, account, actor, name, action, target, label, details,
             address, hash, hash FROM audit WHERE number = {last}",
        last + 1
    );
    let ended = verified_after(&shell, &insert);
    let told = format!("row {} of the audit log was changed", last + 1);
    assert!(ended.code == 1 && ended.err.contains(&told), "{ended:?}");
    let swap = "UPDATE audit SET number = 1000 WHERE number = 2;
         UPDATE audit SET number = 2 WHERE number = 3;
         UPDATE audit SET number = 3 WHERE number = 1000";
    let ended = verified_after(&shell, swap);
    assert!(
        ended.code == 1 && ended.err.contains("row 2 of the audit log was changed"),
        "{ended:?}"
    );

    // Who takes rows off the end and mends the counter too leaves a log that holds; a head that was
    // kept elsewhere tells.
    let forged = copy(&shell);
    let sql = format!(
        "DELETE FROM audit WHERE number = {last};
         UPDATE counters SET value = {} WHERE name = 'audit'",
        last - 1
    );
    database(&forged).execute_batch(&sql).expect("the database is ours");
    assert_eq!(forged.run(&["audit", "verify"]).code, 0);
    let ended = forged.run(&["audit", "verify", "--expect", &head]);
    assert!(ended.code == 1 && ended.err.contains("does not pass through"), "{ended:?}");
    // The log that grew since then still passes through it.
    shell.json(&["keys", "create", "--name", "four", "--environment", "test"]);
    let ended = shell.run(&["audit", "verify", "--expect", &head]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = shell.run(&["audit", "verify", "--expect", "no hash"]);
    assert!(ended.code == 2 && ended.err.contains("64 hexadecimal digits"), "{ended:?}");
}

#[test]
fn the_audit_log_is_listed_and_exported_whole() {
    let shell = shell_with_a_log();
    let (n_rows, _) = head(&shell);
    let listed = shell.json(&["audit", "list", "--limit", "10000"]);
    let listed = listed.as_array().expect("a list");
    assert_eq!(i64::try_from(listed.len()), Ok(n_rows));
    assert_eq!(listed[0]["action"], "key.revoked", "the newest first");
    let json = shell.run(&["audit", "export", "--format", "json"]);
    let rows: Vec<Value> =
        json.out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(&rows, listed, "an export is the same");
    let csv = shell.run(&["audit", "export"]);
    assert_eq!(csv.out.lines().count(), listed.len() + 1, "and a head line");
    assert!(csv.out.starts_with("number,at,account_id,"), "{}", csv.out);
    let keys = shell.json(&["audit", "list", "--action", "key.created"]);
    assert_eq!(keys.as_array().map(Vec::len), Some(3));
    let keys = shell.json(&["audit", "list", "--action", "key"]);
    assert_eq!(keys.as_array().map(Vec::len), Some(4));
    assert_eq!(
        shell.json(&["audit", "list", "--account", "Acme", "--limit", "2"])[1]["action"],
        "key.created"
    );
    let ended = shell.run(&["audit", "list", "--account", "Nobody"]);
    assert_eq!(ended.code, 1, "{ended:?}");
}
