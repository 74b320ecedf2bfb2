//! `keyward doctor`: what is well is said to be, and each thing that can be wrong is found.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::program::{Served, Shell};

const CHECKS: [&str; 11] = [
    "settings",
    "certificate",
    "folder",
    "files",
    "disk",
    "schema",
    "database",
    "audit",
    "clock",
    "key file",
    "server",
];

struct Told {
    code: i32,
    findings: Vec<Value>,
}

impl Told {
    /// The findings of a check that have this state, with what to do next.
    fn of(&self, check: &str, state: &str) -> String {
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or("").to_owned();
        let matching = self.findings.iter().filter(|f| f["check"] == check && f["state"] == state);
        let lines = matching.map(|f| format!("{} | {}", text(f, "finding"), text(f, "next")));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn doctor_with(shell: &Shell, more: &[&str], variables: &[(&str, &str)]) -> Told {
    let arguments = [&["doctor", "--json"], more].concat();
    let mut command = shell.command(&arguments);
    let output = command.envs(variables.iter().copied()).output().expect("the program is built");
    let findings = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Told { code: output.status.code().unwrap_or(-1), findings }
}

fn doctor(shell: &Shell, more: &[&str]) -> Told {
    doctor_with(shell, more, &[])
}

/// Checks that an error was found, and that it says what to do.
fn finds(told: &Told, check: &str, parts: &[&str]) {
    let found = told.of(check, "error");
    assert!(!found.is_empty() && told.code == 1, "{check}: {:?}", told.findings);
    for part in parts {
        assert!(found.contains(part), "{check}: {part}: {found}");
    }
}

fn warns(told: &Told, check: &str, parts: &[&str]) {
    let found = told.of(check, "warning");
    assert!(!found.is_empty(), "{check}: {:?}", told.findings);
    for part in parts {
        assert!(found.contains(part), "{check}: {part}: {found}");
    }
}

fn shell() -> Shell {
    let shell = Shell::new();
    shell.set_up();
    shell.issue(&[]);
    shell
}

fn database(shell: &Shell) -> Connection {
    Connection::open(shell.data_dir.join("keyward.db")).expect("it is there")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Makes a webhook, whose secret is sealed.
fn seal_something(shell: &Shell) {
    let test = shell.json(&["keys", "create", "--name", "ci", "--environment", "test"]);
    let key = test["key"].as_str().expect("it is shown");
    let served = Served::start(shell);
    let hook = "{\"display_name\":\"a\",\"endpoint_url\":\"http://127.0.0.1:9/\",\
                \"event_types\":[\"contact\"]}";
    let made = served.call(&format!("POST /v3/webhooks HTTP/1.1\r\nx-api-key: {key}"), hook);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
}

#[test]
fn a_healthy_installation_is_told_so_with_a_server_and_without() {
    let shell = shell();
    let told = doctor(&shell, &[]);
    assert_eq!(told.code, 0, "{:?}", told.findings);
    for check in CHECKS {
        assert!(!told.of(check, "ok").is_empty(), "{check}: {:?}", told.findings);
    }
    assert_eq!(told.findings.len(), CHECKS.len());
    assert!(told.of("server", "ok").contains("none runs"));
    seal_something(&shell);
    let served = Served::start(&shell);
    let told = doctor(&shell, &[]);
    assert_eq!(told.code, 0, "{:?}", told.findings);
    let process = format!("process {} runs on it and answers", served.child.id());
    assert!(told.of("server", "ok").contains(&process), "{:?}", told.findings);
    assert!(told.of("key file", "ok").contains("opens all 1 sealed secrets"));
    // For people: one line a finding, and the exit code.
    let ended = shell.run(&["doctor"]);
    assert_eq!((ended.code, ended.out.lines().count()), (0, 1 + CHECKS.len()), "{ended:?}");
    assert!(ended.err.contains("No error"), "{ended:?}");
    assert!(served.call("GET /healthcheck HTTP/1.1", "").contains("ok"), "it goes on");
}

#[test]
fn a_folder_that_is_missing_or_open_to_others_is_found() {
    let none = Shell::new();
    finds(&doctor(&none, &[]), "folder", &["No such file", "--data-dir", "keyward setup"]);
    assert!(!none.data_dir.exists(), "nothing is made");
    std::fs::write(&none.data_dir, "a file").expect("the folder is ours");
    finds(&doctor(&none, &[]), "folder", &["is no folder"]);
    let shell = shell();
    set_mode(&shell.data_dir, 0o755);
    finds(&doctor(&shell, &[]), "folder", &["mode 755", "chmod 700"]);
    set_mode(&shell.data_dir, 0o700);
    set_mode(&shell.data_dir.join("keyward.db"), 0o640);
    finds(&doctor(&shell, &[]), "files", &["keyward.db (mode 640)", "chmod go="]);
    set_mode(&shell.data_dir.join("keyward.db"), 0o600);
    let link = shell.data_dir.join("keyward.db.link");
    std::os::unix::fs::symlink("/dev/null", &link).expect("the folder is ours");
    warns(&doctor(&shell, &[]), "files", &["keyward.db.link is a link"]);
    std::fs::remove_file(link).expect("it is ours");
    assert_eq!(doctor(&shell, &[]).code, 0);
}

#[test]
fn a_database_that_is_missing_damaged_or_of_another_version_is_found() {
    let shell = shell();
    let path = shell.data_dir.join("keyward.db");
    let good = std::fs::read(&path).expect("it is there");
    let write = |bytes: &[u8]| std::fs::write(&path, bytes).expect("the folder is ours");
    // A page in the middle, another each time.
    let mut n_found = 0;
    for page in [3, 9, 21] {
        let mut bytes = good.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xA5);
        write(&bytes);
        let told = doctor(&shell, &[]);
        finds(&told, "database", &["keyward restore"]);
        n_found += 1;
    }
    assert_eq!(n_found, 3);
    write(b"this is no database, whatever its name says");
    finds(&doctor(&shell, &[]), "database", &["damaged or no database"]);
    let mut bytes = good.clone();
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    write(&bytes);
    finds(&doctor(&shell, &[]), "schema", &["version 99", "the newer program"]);
    bytes[60..64].copy_from_slice(&0u32.to_be_bytes());
    write(&bytes);
    finds(&doctor(&shell, &[]), "schema", &["is empty"]);
    write(&good);
    assert_eq!(doctor(&shell, &[]).code, 0);
    // An index that lacks a row, and a row that belongs to none.
    database(&shell)
        .execute_batch("PRAGMA foreign_keys = OFF; UPDATE keys SET account = 77")
        .expect("it is ours");
    finds(&doctor(&shell, &[]), "database", &["keys belongs to none of accounts"]);
    std::fs::remove_file(&path).expect("it is ours");
    finds(&doctor(&shell, &[]), "database", &["there is none", "restore"]);
}

#[test]
fn an_older_version_is_told_and_not_changed() {
    let shell = Shell::new();
    keyward_store::create_folder(&shell.data_dir).expect("the folder is ours");
    for version in 1..keyward_store::SCHEMA {
        let path = shell.data_dir.join("keyward.db");
        let _ = std::fs::remove_file(&path);
        let old = usize::try_from(version).expect("small");
        drop(crate::upgrade::database_of(old, &path));
        set_mode(&path, 0o600);
        let told = doctor(&shell, &[]);
        warns(&told, "schema", &[&format!("version {version}"), "keyward backup"]);
        assert!(!told.of("database", "ok").is_empty(), "{:?}", told.findings);
        let found = database(&shell);
        let now: i64 =
            found.pragma_query_value(None, "user_version", |row| row.get(0)).expect("it has one");
        assert_eq!(now, version);
    }
}

#[test]
fn an_audit_log_that_was_changed_is_found() {
    let shell = shell();
    database(&shell).execute_batch("UPDATE audit SET label = 'x' WHERE number = 2").expect("ours");
    finds(
        &doctor(&shell, &[]),
        "audit",
        &["row 2 of the audit log was changed", "who could write"],
    );
    assert_eq!(doctor(&shell, &["--quick"]).code, 0, "that is what --quick leaves out");
}

#[test]
fn a_clock_that_is_behind_what_was_written_is_found() {
    let shell = shell();
    for (change, table) in [
        ("UPDATE keys SET created_at = created_at + 3600000", "keys"),
        ("INSERT INTO sessions VALUES (zeroblob(32), zeroblob(16), zeroblob(16), 1, 9999999999999, 1, 0,
            '', '')", "sessions"),
    ] {
        database(&shell).execute_batch(change).expect("the database is ours");
        finds(&doctor(&shell, &[]), "clock", &[&format!("a row of {table}"), "set the clock"]);
    }
}

#[test]
fn a_key_file_that_is_missing_cut_off_or_another_one_is_found() {
    let shell = shell();
    assert!(doctor(&shell, &[]).of("key file", "ok").contains("none yet"));
    seal_something(&shell);
    let path = shell.data_dir.join("keyward.key");
    let good = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, [7; 32]).expect("it is ours");
    finds(&doctor(&shell, &[]), "key file", &["opens 0 of 1 sealed", "put back the copy"]);
    std::fs::write(&path, &good[..31]).expect("it is ours");
    finds(&doctor(&shell, &[]), "key file", &["has 31 bytes"]);
    std::fs::write(&path, b"").expect("it is ours");
    finds(&doctor(&shell, &[]), "key file", &["has 0 bytes"]);
    std::fs::remove_file(&path).expect("it is ours");
    finds(&doctor(&shell, &[]), "key file", &["is missing, and 1 secrets are sealed"]);
    assert!(!path.exists(), "none is made");
    // A server says so at its start, and makes none that would hide it.
    let listen = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let mut command = shell.command(&listen);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("it is built");
    let mut line = String::new();
    let mut log = std::io::BufReader::new(child.stderr.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut log, &mut line).expect("it writes text");
    child.kill().and_then(|()| child.wait()).expect("it runs");
    assert!(line.contains("error") && line.contains("keyward.key"), "{line}");
    assert!(!path.exists(), "none is made");
    std::fs::write(&path, good).expect("the folder is ours");
    set_mode(&path, 0o600);
    assert_eq!(doctor(&shell, &[]).code, 0);
}

#[test]
fn a_disk_with_too_little_room_is_found() {
    let shell = shell();
    finds(&doctor(&shell, &["--min-free", "900000T"]), "disk", &["free", "make room"]);
    let disk = rustix::fs::statvfs(&shell.data_dir).expect("it is there");
    let twice = (disk.f_bavail * disk.f_frsize * 2).to_string();
    let told = doctor(&shell, &["--min-free", &twice]);
    warns(&told, "disk", &["make room", "an upgrade needs room"]);
    assert_eq!(told.code, 0);
    assert_eq!(shell.run(&["doctor", "--min-free", "much"]).code, 2);
}

#[test]
fn a_server_that_holds_the_folder_and_does_not_answer_is_found() {
    let shell = shell();
    let lock = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(shell.data_dir.join("serve.lock"))
        .expect("it is ours");
    set_mode(&shell.data_dir.join("serve.lock"), 0o600);
    lock.lock().expect("nobody holds it");
    std::fs::write(shell.data_dir.join("serve.lock"), "4711\n").expect("it is ours");
    finds(
        &doctor(&shell, &[]),
        "server",
        &["process 4711", "does not answer", "nothing acknowledged"],
    );
    drop(lock);
    assert!(doctor(&shell, &[]).of("server", "ok").contains("none runs"));
}

#[test]
fn settings_that_are_unknown_or_contradict_one_another_are_found() {
    let shell = shell();
    let told = doctor_with(&shell, &[], &[("KEYWARD_LISTN", "x")]);
    warns(&told, "settings", &["KEYWARD_LISTN is no setting", "keyward config"]);
    let told = doctor_with(&shell, &[], &[("KEYWARD_THREADS", "many")]);
    finds(&told, "settings", &["KEYWARD_THREADS", "expected a number"]);
    assert!(!told.of("database", "ok").is_empty(), "the rest is looked at all the same");
    let file = shell.file("keyward.toml");
    let with = |text: &str| {
        std::fs::write(&file, text).expect("the folder is ours");
        doctor(&shell, &[])
    };
    finds(&with("listn = 1\n"), "settings", &["line 1: unknown setting 'listn'", "did you mean"]);
    finds(&with("smtp_url = \"smtp://u@localhost\"\n"), "settings", &["mail: "]);
    finds(&with("webhook_ca_file = \"no/such.pem\"\n"), "settings", &["webhooks: ", "no/such.pem"]);
    finds(&with("trusted_proxies = \"0.0.0.0/0\"\n"), "settings", &["any address"]);
    warns(
        &with("public_url = \"https://keys.example.com\"\n"),
        "settings",
        &["no proxy is trusted"],
    );
    let secret = shell.file("password");
    std::fs::write(&secret, "x").expect("the folder is ours");
    set_mode(&secret, 0o644);
    let mail = "smtp_from = \"a@example.com\"\nsmtp_url = \"smtps://u@mail.example.com\"\n\
                smtp_password_file = \"password\"\n";
    finds(&with(mail), "settings", &["others can read password", "chmod 600"]);
    let mail = "smtp_from = \"a@example.com\"\nsmtp_url = \"smtps://u:pw7x@mail.example.com\"\n";
    set_mode(&file, 0o644);
    let told = with(mail);
    finds(&told, "settings", &["smtp_url holds a password", "keyward.toml"]);
    assert!(!format!("{:?}", told.findings).contains("pw7x"), "it is not shown");
    set_mode(&file, 0o600);
    assert_eq!(with(mail).code, 0);
}

#[test]
fn plain_http_to_others_is_found_unless_a_proxy_is_named() {
    let shell = shell();
    let open = ["--listen", "0.0.0.0:8080"];
    finds(&doctor(&shell, &open), "certificate", &["can be reached from other machines"]);
    let told = doctor(&shell, &[&open[..], &["--insecure-http"]].concat());
    warns(&told, "certificate", &["plain HTTP", "tls_cert"]);
    assert_eq!(told.code, 0);
    let metrics = doctor(&shell, &["--metrics-listen", "0.0.0.0:9464"]);
    warns(&metrics, "settings", &["metrics_listen is 0.0.0.0:9464", "firewall"]);
    assert_eq!(metrics.code, 0);
    let told = doctor(&shell, &[&open[..], &["--trusted-proxies", "10.0.0.1"]].concat());
    assert!(!told.of("certificate", "ok").is_empty(), "{:?}", told.findings);
}

#[test]
fn what_acme_lacks_is_found() {
    let shell = shell();
    let name = ["--acme-domains", "keys.example.com"];
    let agreed = [&name[..], &["--acme-agree-tos"]].concat();
    finds(&doctor(&shell, &name), "certificate", &["terms of service", "acme_agree_tos"]);
    warns(&doctor(&shell, &["--acme-agree-tos"]), "settings", &["no acme_domains"]);
    let two = [&agreed[..], &["--tls-self-signed"]].concat();
    finds(&doctor(&shell, &two), "certificate", &["leave one of the two"]);
    let untrusted = [&agreed[..], &["--acme-ca-file", "no/ca.pem"]].concat();
    finds(&doctor(&shell, &untrusted), "certificate", &["acme_ca_file cannot be used"]);
    let none_yet = ["there is none yet for keys.example.com", "start the server"];
    warns(&doctor(&shell, &agreed), "certificate", &none_yet);
    // One that was ordered a while ago, as the server keeps it.
    let folder = shell.data_dir.join("acme");
    std::fs::create_dir(&folder).expect("the folder is ours");
    set_mode(&folder, 0o700);
    let keep = |from: i32, until: i32| {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["keys.example.com".to_owned()]).expect("a name");
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("chance is there");
        let made = parameters.self_signed(&key).expect("it is whole").pem();
        let of = "For keys.example.com from https://acme-v02.api.letsencrypt.org/directory";
        let text = format!("{of}\n{}{made}", key.serialize_pem());
        std::fs::write(folder.join("certificate.pem"), text).expect("ours");
    };
    keep(2020, 2999);
    let told = doctor(&shell, &agreed);
    assert!(told.of("certificate", "ok").contains("good until 2999-01-01"), "{:?}", told.findings);
    let other = ["--acme-domains", "api.example.com", "--acme-agree-tos"];
    warns(&doctor(&shell, &other), "certificate", &["there is none yet for api.example.com"]);
    keep(2020, 2021);
    finds(&doctor(&shell, &agreed), "certificate", &["it ended 2021-01-01", "server's log"]);
    keep(1990, 2030);
    warns(&doctor(&shell, &agreed), "certificate", &["it ends 2030-01-01", "only while it runs"]);
    std::fs::write(folder.join("certificate.pem"), "cut off").expect("ours");
    finds(
        &doctor(&shell, &agreed),
        "certificate",
        &["certificate.pem cannot be used", "remove it"],
    );
}

/// Writes a certificate for `localhost` that is good between two years, and its key.
fn certificate(shell: &Shell, from: i32, until: i32) {
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    write_certificate(shell, &parameters);
}

fn write_certificate(shell: &Shell, parameters: &rcgen::CertificateParams) {
    let key = rcgen::KeyPair::generate().expect("chance is there");
    let made = parameters.self_signed(&key).expect("it is complete");
    std::fs::write(shell.file("chain.pem"), made.pem()).expect("the folder is ours");
    std::fs::write(shell.file("key.pem"), key.serialize_pem()).expect("the folder is ours");
    set_mode(&shell.file("key.pem"), 0o600);
}

#[test]
fn a_certificate_that_has_ended_ends_soon_or_goes_with_no_key_is_found() {
    let shell = shell();
    let tls = ["--tls-cert", "chain.pem", "--tls-key", "key.pem"];
    let look = |more: &[&str]| doctor(&shell, &[&tls[..], more].concat());
    finds(&look(&[]), "certificate", &["chain.pem cannot be read"]);
    certificate(&shell, 2020, 2999);
    let told = look(&[]);
    assert!(told.of("certificate", "ok").contains("good until 2999-01-01"), "{:?}", told.findings);
    let told = look(&["--public-url", "https://keys.example.com"]);
    warns(&told, "certificate", &["not for keys.example.com"]);
    let told = look(&["--public-url", "https://localhost"]);
    assert!(!told.of("certificate", "ok").is_empty(), "{:?}", told.findings);
    set_mode(&shell.file("key.pem"), 0o644);
    finds(&look(&[]), "settings", &["tls_key: others can read key.pem"]);
    let key = std::fs::read(shell.file("key.pem")).expect("it is there");
    certificate(&shell, 2020, 2021);
    finds(&look(&[]), "certificate", &["it ended 2021-01-01", "renew it"]);
    certificate(&shell, 2900, 2999);
    finds(&look(&[]), "certificate", &["it is good from 2900-01-01T", "clock"]);
    std::fs::write(shell.file("key.pem"), key).expect("the folder is ours");
    finds(&look(&[]), "certificate", &["do not go together"]);
    // One that ends in ten days.
    let end = jiff::Timestamp::now() + std::time::Duration::from_secs(10 * 86_400);
    let end = end.to_string();
    let number = |part: usize| {
        let part = end.split(['-', 'T']).nth(part).expect("a date begins it");
        part.parse::<u8>().expect("two digits")
    };
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let year = end[..4].parse().expect("four digits");
    parameters.not_after = rcgen::date_time_ymd(year, number(1), number(2));
    write_certificate(&shell, &parameters);
    let told = look(&[]);
    warns(&told, "certificate", &["it ends 20", "days", "renew it"]);
    assert_eq!(told.code, 0);
    finds(&doctor(&shell, &tls[..2]), "certificate", &["go together", "is missing"]);
    let both = [&tls[..], &["--tls-self-signed"]].concat();
    finds(&doctor(&shell, &both), "certificate", &["are both set"]);
    warns(&doctor(&shell, &["--tls-self-signed"]), "certificate", &["self-signed"]);
    assert!(!shell.data_dir.join("self-signed.key").exists(), "none is made");
}
