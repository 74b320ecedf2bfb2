//! A disk that is full, read-only, slow or broken: what is refused, what goes on, and that nothing that
//! was acknowledged is lost, whatever the system forgets.

use std::thread;

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;

use crate::faults::Disk;
use crate::program::{self, Served};

pub(crate) const LIMITS: [&str; 4] =
    ["--rate-limit-standard", "1000000", "--rate-limit-unauthenticated", "1000000"];

const IN_DOUBT: &str = "Service temporarily unavailable: the disk of the server failed. Whether this was \
                        changed is not known: look, or send it again with its Idempotency-Key";

pub(crate) struct Scene {
    pub(crate) disk: Disk,
    key: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let disk = Disk::new();
        let (key, _) = disk.shell.issue(&[]);
        Self { disk, key: key.clear }
    }

    pub(crate) fn serve(&self) -> Served {
        self.disk.serve(&LIMITS)
    }

    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nx-api-key: {}", self.key)
    }

    pub(crate) fn create(&self, served: &Served, number: u32) -> String {
        let body = format!("{{\"phone_number\":\"+1415{}\"}}", 2_000_000 + number);
        served.call(&self.head("POST /v3/contacts"), &body)
    }

    /// Creates contacts that must be taken.
    pub(crate) fn fill(&self, served: &Served, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let answer = self.create(served, number);
            assert!(answer.starts_with("HTTP/1.1 201"), "{number}: {answer}");
        }
    }

    /// Keys are told apart, and what is stored can be read.
    pub(crate) fn goes_on(&self, served: &Served, n_contacts: u32) {
        let good = served.call(&self.head("GET /v3/me"), "");
        assert!(good.starts_with("HTTP/1.1 200"), "{good}");
        let unknown = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let wrong = served.call(&format!("GET /v3/me HTTP/1.1\r\nx-api-key: {unknown}"), "");
        assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
        let list = served.call(&self.head("GET /v3/contacts"), "");
        assert!(list.contains(&format!("\"total_count\":{n_contacts},")), "{list}");
    }

    fn database(&self) -> Connection {
        let path = self.disk.shell.data_dir.join("keyward.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags).expect("it is there")
    }

    /// Killed and started again, it has these contacts, and all of it is sound.
    pub(crate) fn is_whole_after_a_kill(&self, served: Served, n_contacts: u32) {
        served.signal(Signal::KILL);
        drop(served);
        let served = Served::start(&self.disk.shell);
        self.goes_on(&served, n_contacts);
        let check: String = self
            .database()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("it can be read");
        assert_eq!(check, "ok");
        let verified = self.disk.shell.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
}

/// The message of an answer, and that it is one of the contract.
pub(crate) fn refusal(answer: &str) -> String {
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).expect("it has a body");
    let body: Value = serde_json::from_str(body).expect("it is JSON");
    assert_eq!((&body["success"], &body["error"]["code"]), (&false.into(), &"INTERNAL_005".into()));
    assert!(body["meta"]["request_id"].is_string(), "{body}");
    body["error"]["message"].as_str().expect("a text").to_owned()
}

pub(crate) fn sign_in(served: &Served) -> String {
    let body = "email=ada@example.com&password=correct+horse+battery+staple";
    let head = "POST /login HTTP/1.1\r\nsec-fetch-site: same-origin\r\ncontent-type: \
                application/x-www-form-urlencoded";
    let answer = program::call(&served.address, head, body);
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.unwrap_or_else(|| panic!("a session: {answer}"));
    cookie.split(';').next().expect("a name and a value").to_owned()
}

#[test]
fn a_disk_that_takes_nothing_stops_changes_alone_and_is_told_until_it_takes_them_again() {
    let scene = Scene::new();
    let mut served = scene.serve();
    let cookie = sign_in(&served);
    let page =
        |served: &Served| served.call(&format!("GET /overview HTTP/1.1\r\ncookie: {cookie}"), "");
    let faults = [
        ("all enospc 1 0 *", "the disk of the server is full", "the disk is full: make room"),
        ("all erofs 1 0 *", "the data of the server is read-only", "cannot be written: check its"),
        (
            "write eio 1 0 db-wal",
            "the disk of the server reports errors",
            "look at the system's log",
        ),
        // All is written, and nobody can say whether it is on the disk.
        ("sync eio 1 0 db-wal", "", "look at the system's log"),
    ];
    for (number, (fault, reason, advice)) in (0..).zip(faults) {
        scene.disk.fail(fault);
        let refused = refusal(&scene.create(&served, 1000 + number));
        let known = format!("Service temporarily unavailable: {reason}. Nothing was changed");
        let expected = if reason.is_empty() { IN_DOUBT } else { &known };
        assert_eq!(refused, expected, "{fault}");
        scene.goes_on(&served, number);
        let told = served.wait_for_log("changes are refused");
        assert!(told.contains(" error ") && told.contains(advice), "{fault}: {told}");
        let warned = page(&served);
        assert!(warned.contains("<p>Nothing can be changed: this server"), "{fault}: {warned}");
        // Others find it so as well.
        let again = scene.create(&served, 1000 + number);
        assert!(refusal(&again).ends_with("Nothing was changed"), "{fault}: {again}");
        scene.disk.work_again();
        served.wait_for_log("changes are taken again");
        let well = page(&served);
        assert!(well.starts_with("HTTP/1.1 200") && !well.contains("Nothing can be"), "{well}");
        scene.fill(&served, number..number + 1);
        scene.goes_on(&served, number + 1);
    }
    scene.is_whole_after_a_kill(served, 4);
}

#[test]
fn a_change_that_was_refused_because_of_a_failed_sync_is_not_there_after_a_kill() {
    for fault in ["sync eio 1 1 db-wal", "sync eio 1 0 db-wal", "sync lose 1 0 db-wal"] {
        let scene = Scene::new();
        let served = scene.serve();
        scene.fill(&served, 0..1);
        scene.disk.fail(fault);
        let failed = scene.disk.failed();
        assert!(scene.create(&served, 1).starts_with("HTTP/1.1 503"), "{fault}");
        assert!(scene.disk.failed() > failed, "{fault} was no fault");
        scene.is_whole_after_a_kill(served, 1);
    }
}

/// The log is copied into the database in two parts, for somebody reads an old state meanwhile. The sync
/// of the second fails, and the system forgets both. Whoever went on with the third part would begin a new
/// log over changes that are nowhere.
#[test]
fn a_copy_of_the_log_whose_sync_failed_is_made_anew_from_its_beginning() {
    let scene = Scene::new();
    let mut served = scene.serve();
    scene.disk.fail("sync lose 1 1 keyward.db");
    let mut n_contacts = 0;
    let frames = || {
        let log = scene.disk.shell.data_dir.join("keyward.db-wal");
        log.metadata().map_or(0, |metadata| metadata.len() / 4120)
    };
    let mut fill_until = |served: &Served, is_enough: &dyn Fn() -> bool| {
        while !is_enough() {
            scene.fill(served, n_contacts..n_contacts + 1);
            n_contacts += 1;
        }
        n_contacts
    };
    fill_until(&served, &|| frames() > 800);
    let reader = scene.database();
    reader.execute_batch("BEGIN; SELECT count(*) FROM contacts").expect("it can be read");
    // What the reader may see is copied, and the rest not: nothing is synced yet.
    fill_until(&served, &|| frames() > 1100);
    assert_eq!(scene.disk.failed(), 0);
    reader.execute_batch("COMMIT").expect("it has read");
    drop(reader);
    let mut n = fill_until(&served, &|| scene.disk.failed() > 0);
    // It may be well again before anybody looked.
    let told = served.wait_for_log("the disk");
    assert!(told.contains("reports errors") || told.contains("failed once"), "{told}");
    scene.disk.work_again();
    // So much that the log is begun anew.
    scene.fill(&served, n..n + 300);
    n += 300;
    scene.is_whole_after_a_kill(served, n);
}

#[test]
fn behind_a_slow_disk_changes_are_refused_and_the_one_that_waits_is_answered_as_it_went() {
    let scene = Scene::new();
    let mut served = scene.serve();
    scene.disk.fail("sync hold 1 1 db-wal");
    let address = served.address.clone();
    thread::scope(|scope| {
        let scene = &scene;
        let waiting = scope.spawn(move || {
            let body = "{\"phone_number\":\"+14155550123\"}";
            let head = scene.head("POST /v3/contacts") + "\r\ncontent-type: application/json";
            program::call(&address, &head, body)
        });
        served.wait_for_log("the disk does not keep up");
        let refused = refusal(&scene.create(&served, 1));
        assert!(refused.contains("the disk of the server does not keep up"), "{refused}");
        scene.goes_on(&served, 0);
        scene.disk.work_again();
        served.wait_for_log("changes are taken again");
        let answer = waiting.join().expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    });
    scene.fill(&served, 2..3);
    scene.is_whole_after_a_kill(served, 2);
}
