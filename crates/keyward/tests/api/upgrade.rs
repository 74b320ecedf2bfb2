//! Databases of every released version, with rows in them, taken over by today's program.

use std::collections::BTreeMap;
use std::path::Path;

use keyward_core::chain::{Entry, ORIGIN, hash};
use keyward_core::key::ApiKey;
use keyward_core::time::UnixMillis;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::backup::run_with_room;
use crate::program::{Served, Shell};

/// What each version added, as it was released.
const RELEASED: [&str; 5] = [
    include_str!("../../../keyward-store/migrations/sqlite/0001_accounts_keys_contacts_usage.sql"),
    include_str!("../../../keyward-store/migrations/sqlite/0002_people_audit_requests_alerts.sql"),
    include_str!("../../../keyward-store/migrations/sqlite/0003_passkeys.sql"),
    include_str!("../../../keyward-store/migrations/sqlite/0004_webhooks_idempotency.sql"),
    include_str!("../../../keyward-store/migrations/sqlite/0005_long_lists_of_contacts.sql"),
];

const GOOD: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const REVOKED: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// Rows that a database of version 1 may hold; two accounts, one of them a profile of the other.
const ROWS_1: &str = "
    UPDATE counters SET value = 9 WHERE name = 'revision';
    INSERT INTO accounts (number, id, kind, organization, name, email, icon, description, state,
            limit_standard, created_at, revision)
        VALUES (1, x'01000000000000000000000000000001', 'organization', NULL, 'Acme', 'a@example.com',
            'icon', 'ours', 'active', 500, 1700000000000, 1),
        (2, x'01000000000000000000000000000002', 'profile', 1, 'Sales', NULL, NULL, NULL, 'active',
            NULL, 1700000000001, 2);
    INSERT INTO users (number, id, account, name, email, role, status, password_hash, created_at)
        VALUES (1, x'02000000000000000000000000000001', 1, 'Ada', 'ada@example.com', 'owner', 'active',
            'hash', 1700000000002),
        (2, x'02000000000000000000000000000002', 1, 'Bob', 'bob@example.com', 'developer', 'invited',
            NULL, 1700000000003);
    INSERT INTO contacts (number, id, account, environment, phone_number, format_e164,
            format_international, format_national, format_rfc, country_code, region_code,
            available_channels, default_channel, opt_out, created_at, updated_at)
        VALUES (1, x'04000000000000000000000000000001', 1, 'production', '+14155550123',
            '+14155550123', '+1 415-555-0123', '(415) 555-0123', 'tel:+1-415-555-0123', '1', 'US', 'sms',
            'sms', 0, 1700000000004, NULL),
        (2, x'04000000000000000000000000000002', 1, 'production', '+442079460123', '+442079460123',
            '+44 20 7946 0123', '020 7946 0123', 'tel:+44-20-7946-0123', '44', 'GB', 'sms,whatsapp',
            'whatsapp', 1, 1700000000005, 1700000000006),
        (3, x'04000000000000000000000000000003', 1, 'test', '+14155550199', '+14155550199',
            '+1 415-555-0199', '(415) 555-0199', 'tel:+1-415-555-0199', '1', 'US', 'sms', 'sms', 0,
            1700000000007, NULL);
    INSERT INTO usage_hours VALUES (1, 472222, 'standard', 'ok', 40), (1, 472222, 'standard', 'revoked', 2),
        (0, 472222, 'standard', 'missing', 5);";

const ROWS_2: &str = "
    UPDATE users SET totp_secret = x'0102', totp_step = 7, password_changed_at = 1700000000008
        WHERE number = 1;
    INSERT INTO former_users VALUES (x'02000000000000000000000000000009', 1, 'Cy', 'cy@example.com', 5);
    INSERT INTO recovery_codes VALUES (zeroblob(32), x'02000000000000000000000000000001', NULL);
    INSERT INTO sessions VALUES (zeroblob(32), x'05000000000000000000000000000001',
        x'02000000000000000000000000000001', 1700000000009, 1700000000010, 0, 0, '203.0.113.7', 'a');
    INSERT INTO links VALUES (zeroblob(32), 'invitation', x'02000000000000000000000000000002', 1, 2);
    UPDATE keys SET is_shared = 1 WHERE number = 1;
    INSERT INTO requests (at, request_id, account, key, environment, method, route, status, code, reason,
            address, micros, flags)
        VALUES (1700000000011, 'req_1', 1, 1, 'production', 'GET', '/v3/me', 200, NULL, NULL,
            '203.0.113.7', 12, 0);
    INSERT INTO key_exposures VALUES (1, 'browser', 1, 2, 3);
    INSERT INTO key_networks VALUES (1, '203.0.113.0/24', 1, 2);
    INSERT INTO alert_rules VALUES (1, 'key_age', 1, 0, 90);
    INSERT INTO alerts (id, account, kind, subject, text, raised_at, to_mail)
        VALUES (x'06000000000000000000000000000001', 1, 'key_age', 's', 't', 1700000000012, 0);";

const ROWS_3: &str = "
    INSERT INTO passkeys VALUES (x'07000000000000000000000000000001',
        x'02000000000000000000000000000001', x'0a0b', 'keys.example.com', 'laptop', '{}', 5, NULL);";

const ROWS_4: &str = "
    INSERT INTO users (number, id, account, environment, name, email, role, status, created_at)
        VALUES (3, x'02000000000000000000000000000003', 1, 'test', 'Ada', 'ada@example.com', 'admin',
            'active', 1700000000013);
    INSERT INTO idempotency VALUES (1, zeroblob(32), 1, 1700000000014, 'req_2', 201, 0, x'0c');
    INSERT INTO idempotency_counts VALUES (1, 1);
    INSERT INTO webhooks (number, id, account, environment, display_name, endpoint_url, event_types,
            is_active, secret, retry_count, timeout_seconds, created_at)
        VALUES (1, x'08000000000000000000000000000001', 1, 'test', 'hook', 'http://127.0.0.1:9/',
            '[\"contact\"]', 0, x'0d', 5, 10, 1700000000015);
    INSERT INTO webhook_events (number, id, webhook, event_type, body, status, is_test, attempts,
            created_at, completed_at)
        VALUES (1, x'09000000000000000000000000000001', 1, 'contact.created', '{}', 'delivered', 0, 1,
            1700000000016, 1700000000017);
    INSERT INTO webhook_attempts VALUES (1, 1, 1700000000017, 200, NULL, 3);";

const ROWS_5: &str = "
    INSERT INTO contact_blocks VALUES (2, 'test', 1, x'04000000000000000000000000000001', 0);";

fn digest(key: &str) -> [u8; 32] {
    *ApiKey::parse(key.as_bytes()).expect("a key").digest().as_bytes()
}

/// A log of three rows that holds.
fn write_audit(database: &Connection) {
    let mut previous = ORIGIN;
    for number in 1..=3 {
        let entry = Entry {
            number,
            at: UnixMillis(1_700_000_000_000 + number),
            account: None,
            actor: String::from("operator"),
            name: String::from("Operator (command line)"),
            action: String::from("key.created"),
            target: String::from("key 1"),
            label: String::from("job"),
            details: String::from("{}"),
            address: String::new(),
        };
        let link = hash(&previous, &entry);
        let sql = "INSERT INTO audit VALUES (?1, ?2, NULL, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let e = &entry;
        let row = (
            e.number, e.at.0, &e.actor, &e.name, &e.action, &e.target, &e.label, &e.details,
            &e.address, previous, link,
        );
        database.execute(sql, row).expect("the table is there");
        previous = link;
    }
    let count = "INSERT INTO counters (name, value) VALUES ('audit', 3)";
    database.execute(count, []).expect("the table is there");
}

/// A database as a program of this version left it, which had come from version 1 step by step.
pub(crate) fn database_of(version: usize, path: &Path) -> Connection {
    let database = Connection::open(path).expect("the folder is ours");
    database.pragma_update(None, "journal_mode", "WAL").expect("it is known");
    database.pragma_update(None, "foreign_keys", "ON").expect("it is known");
    for (step, rows) in
        [ROWS_1, ROWS_2, ROWS_3, ROWS_4, ROWS_5].into_iter().enumerate().take(version)
    {
        database.execute_batch(RELEASED[step]).expect("it was released");
        database.execute_batch(rows).unwrap_or_else(|error| panic!("{}: {error}", step + 1));
        match step {
            0 => {
                let insert = "INSERT INTO keys (number, id, account, digest, hint, name, environment,
                        permissions, networks, created_at, created_by, revoked_at, revoked_by, revision)
                    VALUES (?1, ?2, 1, ?3, 'a1b2', ?4, 'production', 511, '[]', 1700000000000,
                        'operator', ?5, ?6, ?1)";
                let mut id = [3u8; 16];
                database
                    .execute(insert, (1, id, digest(GOOD), "job", None::<i64>, None::<&str>))
                    .expect("it is new");
                id[15] = 4;
                database
                    .execute(
                        insert,
                        (2, id, digest(REVOKED), "old job", 1_700_000_000_001i64, "operator"),
                    )
                    .expect("it is new");
            }
            1 => write_audit(&database),
            _ => {}
        }
    }
    database.pragma_update(None, "user_version", version as i64).expect("it is known");
    database
}

/// A folder with a database of this version and nothing else.
pub(crate) fn shell_of(version: usize) -> Shell {
    let shell = Shell::new();
    keyward_store::create_folder(&shell.data_dir).expect("the folder is ours");
    drop(database_of(version, &shell.data_dir.join("keyward.db")));
    shell
}

/// All rows of all tables, by table and column names, in words of SQL.
pub(crate) type Dump = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

fn texts(database: &Connection, sql: &str) -> Vec<String> {
    let mut statement = database.prepare(sql).expect(sql);
    let rows = statement.query_map([], |row| row.get(0)).expect(sql);
    rows.collect::<Result<_, _>>().expect(sql)
}

fn rows(database: &Connection, table: &str, columns: &[String]) -> Vec<Vec<String>> {
    let quoted: Vec<_> = columns.iter().map(|column| format!("quote({column})")).collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY {}", quoted.join(", "), quoted.join(", "));
    let mut statement = database.prepare(&sql).expect("the columns are there");
    let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Vec<String>> {
        (0..columns.len()).map(|at| row.get(at)).collect()
    };
    statement.query_map([], row).expect("they are").collect::<Result<_, _>>().expect("they are")
}

pub(crate) fn dump(database: &Connection) -> Dump {
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
        AND name NOT LIKE 'contact_numbers%'";
    let of = |table: String| {
        let columns = texts(database, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let rows = rows(database, &table, &columns);
        (table, (columns, rows))
    };
    texts(database, tables).into_iter().map(of).collect()
}

pub(crate) fn open(shell: &Shell, name: &str) -> Connection {
    Connection::open(shell.data_dir.join(name)).expect("it is there")
}

pub(crate) fn version(database: &Connection) -> i64 {
    database.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it has one")
}

pub(crate) fn names(shell: &Shell) -> Vec<String> {
    let entries = std::fs::read_dir(&shell.data_dir).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("it is").file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name.contains("before"));
    names.sort();
    names
}

#[test]
fn a_database_of_every_released_version_is_brought_up_to_date_and_loses_nothing() {
    assert_eq!(RELEASED.len() as i64, keyward_store::SCHEMA, "each released version is tried");
    for old in 1..=RELEASED.len() {
        let shell = shell_of(old);
        let before = dump(&open(&shell, "keyward.db"));
        assert!(before["keys"].1.len() == 2 && before["contacts"].1.len() == 3);
        assert_eq!(shell.json(&["keys", "list"]).as_array().map(Vec::len), Some(2), "{old}");
        let database = open(&shell, "keyward.db");
        assert_eq!(version(&database), keyward_store::SCHEMA);
        // Every row that was there is there, with every column that it had.
        for (table, (columns, rows_before)) in &before {
            assert_eq!(&rows(&database, table, columns), rows_before, "{old}: {table}");
        }
        // What is new says what follows from what was there.
        let one = |sql: &str| texts(&database, sql).join(", ");
        assert_eq!(
            one(
                "SELECT name || ' ' || ifnull(invited_at, '-') || ' ' || ifnull(last_login_at, '-')
                 FROM users WHERE environment = 'production' ORDER BY number"
            ),
            // Sessions came with version 2, and were there before version 4 was.
            match old {
                1 => "Ada - -, Bob 1700000000003 -",
                _ => "Ada - 1700000000009, Bob 1700000000003 -",
            }
        );
        assert_eq!(
            one(
                "SELECT account || ' ' || outcome || ' ' || requests FROM account_hours ORDER BY 1"
            ),
            "0 missing 5, 1 ok 40, 1 revoked 2"
        );
        assert_eq!(one("SELECT requests || ' ' || refused FROM key_days"), "42 2");
        assert_eq!(
            one(
                "SELECT environment || ' ' || contacts FROM contact_blocks WHERE contacts > 0 ORDER BY 1"
            ),
            "production 2, test 1"
        );
        assert_eq!(
            one("SELECT format_e164 FROM contact_numbers WHERE format_e164 MATCH '\"946012\"'"),
            "+442079460123"
        );
        assert_eq!(one("PRAGMA integrity_check"), "ok");
        assert_eq!(one("SELECT 'lost' FROM pragma_foreign_key_check"), "");
        drop(database);

        // The copy is the old database, whole, and a backup that can be checked.
        let copy = format!("keyward.db.before-{:04}", old + 1);
        if old == RELEASED.len() {
            assert_eq!(names(&shell), Vec::<String>::new());
        } else {
            assert_eq!(names(&shell), std::slice::from_ref(&copy));
            let path = shell.data_dir.join(&copy);
            let told = shell.json(&["restore", "--check-only", path.to_str().expect("UTF-8")]);
            assert_eq!(
                (&told["schema"], &told["keys"], &told["made"]),
                (&json!(old), &json!(2), &json!(format!("before the upgrade from schema {old}")))
            );
            assert_eq!(dump(&open(&shell, &copy)), before);
        }

        let served = Served::start(&shell);
        let call = |key: &str, path: &str| {
            served.call(&format!("GET {path} HTTP/1.1\r\nx-api-key: {key}"), "")
        };
        let me = call(GOOD, "/v3/me");
        assert!(me.starts_with("HTTP/1.1 200") && me.contains("\"Acme\""), "{old}: {me}");
        assert!(me.contains("x-ratelimit-limit: 500"), "its own limit is in force: {me}");
        assert!(call(REVOKED, "/v3/me").starts_with("HTTP/1.1 401"));
        let found = call(GOOD, "/v3/contacts?search=79460123");
        let body = found.split("\r\n\r\n").nth(1).expect("it has a body");
        let body: Value = serde_json::from_str(body).expect("it is JSON");
        assert_eq!(body["data"]["contacts"][0]["format_e164"], "+442079460123", "{old}: {found}");
        drop(served);
        let rows = shell.json(&["audit", "verify"])["rows"].as_i64();
        assert_eq!(rows, Some(if old == 1 { 0 } else { 3 }), "{old}: the log holds");
    }
}

#[test]
fn a_migration_that_fails_in_the_middle_leaves_the_old_database_and_no_copy() {
    for old in 1..=3 {
        let shell = shell_of(old);
        let database = open(&shell, "keyward.db");
        // Something that somebody else put there stands in the way of the fourth, after users were
        // moved to a table of another form.
        database.execute_batch("CREATE TABLE webhooks (x)").expect("the name is free");
        let before = dump(&database);
        drop(database);
        for _ in 0..2 {
            let ended = shell.run(&["keys", "list"]);
            assert!(ended.code == 1 && ended.err.contains("webhooks already exists"), "{ended:?}");
            let database = open(&shell, "keyward.db");
            assert_eq!((version(&database), dump(&database)), (old as i64, before.clone()));
            assert_eq!(names(&shell), Vec::<String>::new());
        }
        // Its old program would go on with it; so does the new one when the way is free.
        open(&shell, "keyward.db").execute_batch("DROP TABLE webhooks").expect("it is there");
        assert_eq!(shell.json(&["keys", "list"]).as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_disk_that_fills_up_during_an_upgrade_leaves_the_old_database() {
    let shell = shell_of(4);
    // Numbers as long as nobody has: the index of their digits is larger than the rest, so that there may
    // be room for the copy and none for what comes after it.
    let many = "
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500)
        INSERT INTO contacts (id, account, environment, phone_number, format_e164,
            format_international, format_national, format_rfc, country_code, region_code,
            available_channels, default_channel, opt_out, created_at)
        SELECT randomblob(16), 1, 'production', '', hex(randomblob(150)), '', '', '', '1', 'US', 'sms',
            'sms', 0, n FROM n";
    open(&shell, "keyward.db").execute(many, []).expect("the table is there");
    let before = dump(&open(&shell, "keyward.db"));
    let (mut n_refused, mut last) = (0, 0);
    for blocks in (0u32..).step_by(256) {
        let ended = run_with_room(&shell, blocks, &["accounts", "list"]);
        if ended.code == 0 {
            break;
        }
        (n_refused, last) = (n_refused + 1, blocks);
        assert!(ended.err.contains("disk"), "{ended:?}");
        let database = open(&shell, "keyward.db");
        assert_eq!((version(&database), dump(&database)), (4, before.clone()), "{blocks}");
        assert_eq!(names(&shell), Vec::<String>::new());
    }
    assert!(n_refused >= 10, "it failed at many places: {n_refused}");
    let copy = shell.data_dir.join("keyward.db.before-0005").metadata().expect("it is kept");
    assert!(u64::from(last) * 512 > copy.len(), "and also after the copy was made");
    assert_eq!(version(&open(&shell, "keyward.db")), keyward_store::SCHEMA);
    assert_eq!(dump(&open(&shell, "keyward.db.before-0005")), before);
}

#[test]
fn a_copy_that_was_kept_once_is_never_written_over() {
    let shell = shell_of(4);
    let half = shell.data_dir.join("keyward.db.before-0005.partial");
    std::fs::write(&half, "half a copy, of a program that was killed").expect("the folder is ours");
    assert_eq!(shell.run(&["keys", "list"]).code, 0);
    let first = shell.data_dir.join("keyward.db.before-0005");
    let bytes = std::fs::read(&first).expect("it is kept");
    // Back to the old version, some work there, and up again.
    let path = first.to_str().expect("UTF-8");
    let elsewhere = shell.file("elsewhere");
    std::fs::copy(path, &elsewhere).expect("the folder is ours");
    for name in ["keyward.db", "keyward.db-wal", "keyward.db-shm"] {
        let _ = std::fs::remove_file(shell.data_dir.join(name));
    }
    std::fs::copy(elsewhere, shell.data_dir.join("keyward.db")).expect("the folder is ours");
    open(&shell, "keyward.db")
        .execute_batch("UPDATE keys SET name = 'renamed'")
        .expect("it is there");
    assert_eq!(shell.run(&["keys", "list"]).code, 0);
    assert_eq!(names(&shell), ["keyward.db.before-0005", "keyward.db.before-0005.2"]);
    assert_eq!(std::fs::read(&first).expect("it is kept"), bytes);
    let second = open(&shell, "keyward.db.before-0005.2");
    assert_eq!(texts(&second, "SELECT DISTINCT name FROM keys"), ["renamed"]);
}

#[test]
fn no_command_changes_the_database_under_a_server_of_an_older_version() {
    let shell = shell_of(4);
    let before = dump(&open(&shell, "keyward.db"));
    // What such a server does: it holds the folder.
    let lock = std::fs::File::create(shell.data_dir.join("serve.lock")).expect("it is ours");
    lock.lock().expect("nobody holds it");
    let ended = shell.run(&["keys", "list"]);
    assert!(ended.code == 1 && ended.err.contains("a server of an older version"), "{ended:?}");
    assert_eq!(dump(&open(&shell, "keyward.db")), before);
    // A backup changes nothing, and is just what is needed before the upgrade.
    let backup = shell.file("k.backup");
    let told = shell.json(&["backup", backup.to_str().expect("UTF-8")]);
    assert_eq!(told["schema"], 4);
    drop(lock);
    assert_eq!(shell.run(&["keys", "list"]).code, 0);
    // The backup of before is brought up to date where it is restored.
    let other = Shell::new();
    assert_eq!(other.run(&["restore", backup.to_str().expect("UTF-8")]).code, 0);
    assert_eq!(version(&open(&other, "keyward.db")), keyward_store::SCHEMA);
    assert_eq!(other.json(&["keys", "list"]).as_array().map(Vec::len), Some(2));
    assert_eq!(names(&other), Vec::<String>::new());
}
