//! A start on a disk that takes nothing: keys are checked, changes refused and made up for, and whatever
//! could not be read safely is not read. The real thing, on file systems that are full and read-only, is in
//! `make soak ARGS="disk"`.

use rustix::process::Signal;

use crate::disk::{LIMITS, Scene, refusal};
use crate::program::{self, Served};
use crate::receiver::{Behave, Receiver};

/// What a disk does, what a caller is told, and what the operator.
const FAULTS: [(&str, &str, &str); 3] = [
    ("all enospc 1 0 *", "the disk of the server is full", "the disk is full: make room"),
    ("all erofs 1 0 *", "the data of the server is read-only", "cannot be written: check its"),
    ("write eio 1 0 *", "the disk of the server reports errors", "look at the system's log"),
];

/// Everything that is logged until a line has this text.
fn logged_until(served: &mut Served, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        all.push_str(&served.wait_for_log("\n"));
    }
    all
}

#[test]
fn a_start_on_a_disk_that_takes_nothing_checks_keys_and_makes_up_for_the_rest_later() {
    for (signal, (fault, reason, advice)) in [Signal::KILL, Signal::TERM]
        .into_iter()
        .flat_map(|signal| FAULTS.map(|fault| (signal, fault)))
    {
        let scene = Scene::new();
        let served = scene.serve();
        scene.fill(&served, 0..3);
        served.signal(signal);
        drop_ended(served);
        scene.disk.fail(fault);
        let mut served = scene.serve();
        let told = logged_until(&mut served, "changes are refused");
        assert!(told.contains(advice), "{fault}: {told}");
        scene.goes_on(&served, 3);
        let expected = format!("Service temporarily unavailable: {reason}. Nothing was changed");
        assert_eq!(refusal(&scene.create(&served, 3)), expected, "{fault}");
        let rest = told.split("metrics are on http://").nth(1).expect("it says where");
        let metrics = rest.split('/').next().expect("an address");
        let figures = || program::call(metrics, "GET /metrics HTTP/1.1", "");
        assert!(figures().contains("\nkeyward_store_writable 0\n"), "{fault}: {}", figures());
        let ready = served.call("GET /health/ready HTTP/1.1", "");
        assert!(ready.starts_with("HTTP/1.1 204"), "{fault}: {ready}");
        // A second one finds the folder held, as on a disk that is well.
        let second = scene.disk.shell.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(second.err.contains("another server"), "{fault}: {second:?}");
        scene.disk.work_again();
        served.wait_for_log("changes are taken again");
        assert!(figures().contains("\nkeyward_store_writable 1\n"), "{fault}: {}", figures());
        scene.fill(&served, 3..5);
        scene.goes_on(&served, 5);
        // What a command changes is in force when it returns.
        let (key, _) = scene.disk.shell.issue(&[]);
        let head = format!("GET /v3/me HTTP/1.1\r\nx-api-key: {}", key.clear);
        assert!(served.call(&head, "").starts_with("HTTP/1.1 200"), "{fault}");
        scene.is_whole_after_a_kill(served, 5);
    }
}

/// Waits until a process that was told to end has ended.
fn drop_ended(mut served: Served) {
    served.child.wait().expect("it was started");
}

#[test]
fn what_cannot_be_read_without_being_written_is_refused_with_what_to_do() {
    let refused = |scene: &Scene, fault: &str| {
        scene.disk.fail(fault);
        let mut command = scene.disk.command(&LIMITS);
        let output = command.output().expect("it was started");
        scene.disk.work_again();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("it writes text")
    };
    let scene = Scene::new();
    let database = scene.disk.shell.data_dir.join("keyward.db");
    // One of an earlier version.
    let set_version = |version: i64| {
        let database = rusqlite::Connection::open(&database).expect("it is there");
        database.pragma_update(None, "user_version", version).expect("it is ours");
    };
    let known: i64 = keyward_store::SCHEMA;
    set_version(known - 1);
    let told = refused(&scene, "all enospc 1 0 *");
    let expected =
        format!("must be brought from version {} to {known} before it is used", known - 1);
    assert!(told.contains(&expected) && told.contains("the disk is full: make room"), "{told}");
    set_version(known + 1);
    let told = refused(&scene, "all erofs 1 0 *");
    assert!(told.contains("use the newer program"), "{told}");
    set_version(known);
    // A log without room for its index: an older state must not be taken for the newest.
    let served = scene.serve();
    scene.fill(&served, 0..1);
    served.signal(Signal::KILL);
    drop_ended(served);
    let index = scene.disk.shell.data_dir.join("keyward.db-shm");
    std::fs::remove_file(&index).expect("it was left");
    let told = refused(&scene, "all erofs 1 0 *");
    assert!(told.contains("can be read only with room for keyward.db-shm"), "{told}");
    scene.goes_on(&scene.serve(), 1);
    // None at all.
    for entry in std::fs::read_dir(&scene.disk.shell.data_dir).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.to_string_lossy().contains("keyward.db") {
            std::fs::remove_file(path).expect("it is ours");
        }
    }
    let told = refused(&scene, "all enospc 1 0 *");
    assert!(told.contains("there is no database to read yet, and the disk is full"), "{told}");
}

#[tokio::test]
async fn a_test_of_a_webhook_that_a_kill_cut_off_is_put_right_when_the_disk_is_back() {
    let mut receiver = Receiver::start().await;
    receiver.will([Behave::Hang]);
    let scene = Scene::new();
    let key = ["keys", "create", "--name", "hook", "--environment", "test"];
    let key = scene.disk.shell.json(&key)["key"].as_str().expect("it is shown").to_owned();
    let call = |served: &Served, line: &str, body: &str| {
        served.call(&format!("{line} HTTP/1.1\r\nx-api-key: {key}"), body)
    };
    let served = scene.serve();
    let body = format!(
        "{{\"endpoint_url\":\"{}\",\"display_name\":\"Hook\",\"event_types\":[\"contact\"]}}",
        receiver.url()
    );
    let made = call(&served, "POST /v3/webhooks", &body);
    let id = made.split("\"id\":\"").nth(1).unwrap_or_else(|| panic!("{made}"));
    let id = id[..36].to_owned();
    let line = format!("POST /v3/webhooks/{id}/test");
    let address = served.address.clone();
    let head = format!("{line} HTTP/1.1\r\nx-api-key: {key}\r\ncontent-type: application/json");
    let testing = tokio::task::spawn_blocking(move || {
        std::panic::catch_unwind(|| {
            program::call(&address, &head, "{\"event_type\":\"contact.created\"}")
        })
    });
    receiver.next().await;
    served.signal(Signal::KILL);
    drop_ended(served);
    let _ = testing.await.expect("whatever it got, it is over");
    scene.disk.fail("all enospc 1 0 *");
    let mut served = scene.serve();
    let events = format!("GET /v3/webhooks/{id}/events");
    served.wait_for_log("changes are refused");
    let before = call(&served, &events, "");
    assert!(before.contains("processing") && !before.contains("the server stopped"), "{before}");
    scene.disk.work_again();
    served.wait_for_log("changes are taken again");
    while !call(&served, &events, "").contains("the server stopped before there was an answer") {
        std::thread::yield_now();
    }
}
