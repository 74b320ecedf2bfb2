//! The store as a whole: shared commits, crashes, full disks, rights, other programs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use keyward_core::id::AccountId;
use keyward_store::contacts;
use keyward_store::{Constraint, Options, Store, StoreError, Tx, accounts, changes, keys};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{World, account, contact, key};

/// More than any machine needs: what takes longer never ends.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_at_once_one_wins_and_the_others_are_told_of_the_conflict() {
    let world = tokio::task::spawn_blocking(World::with_account).await.expect("no panic");
    let mut writes = JoinSet::new();
    for number in 0..50u8 {
        let store = world.store.clone();
        let mut contact = contact(1);
        contact.id = keyward_core::id::ContactId::from_bytes([number; 16]);
        writes.spawn(async move { store.write(move |tx| contacts::insert(tx, &contact)).await });
    }
    let results = writes.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let conflict = Err(StoreError::Conflict(Constraint::ContactNumber));
    assert_eq!(results.iter().filter(|result| **result == conflict).count(), 49);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_or_panics_is_undone_alone() {
    let world = tokio::task::spawn_blocking(World::with_account).await.expect("no panic");
    let mut writes = JoinSet::new();
    for number in 0..60u32 {
        let store = world.store.clone();
        writes.spawn(async move {
            let written = store.write(move |tx| {
                contacts::insert(tx, &contact(number))?;
                match number % 3 {
                    0 => Ok(()),
                    1 => Err(StoreError::Busy),
                    _ => panic!("a job that panics"),
                }
            });
            (number, written.await)
        });
    }
    for (number, result) in writes.join_all().await {
        assert_eq!(result.is_ok(), number % 3 == 0, "{number}: {result:?}");
    }
    let none = contacts::ContactFilter::default();
    let page = world.store.read(move |tx| contacts::page(tx, &crate::world::SCOPE, &none, 0, 100));
    let (found, total) = page.await.expect("reading works");
    assert_eq!(total, 20);
    assert!(
        found
            .iter()
            .all(|contact| contact.phone_number[5..].parse::<u32>().expect("digits") % 3 == 0)
    );
    // Nor is there anything of them in the index of numbers, which is written when all are through.
    for number in 0..60 {
        let search = Some(contact(number).format_e164);
        let filter = contacts::ContactFilter { search, channel: None };
        let page =
            world.store.read(move |tx| contacts::page(tx, &crate::world::SCOPE, &filter, 0, 100));
        let (found, total) = page.await.expect("reading works");
        assert_eq!((found.len(), total), if number % 3 == 0 { (1, 1) } else { (0, 0) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_come_and_go_within_one_commit_leave_an_index_that_is_whole() {
    let world = tokio::task::spawn_blocking(World::with_account).await.expect("no panic");
    let scope = crate::world::SCOPE;
    // The first one keeps the writer busy until all others wait, so that they share a commit.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut writes = JoinSet::new();
    let store = world.store.clone();
    writes.spawn(async move {
        let held = store.write(move |_| wait.recv().map_err(|_| StoreError::Busy));
        held.await.is_ok()
    });
    tokio::task::yield_now().await;
    for number in 0..90u32 {
        let store = world.store.clone();
        writes.spawn(async move {
            let (added, id) = (contact(number / 3), contact(number / 3).id);
            let written = store.write(move |tx| match number % 3 {
                0 => contacts::insert(tx, &added),
                1 => contacts::remove(tx, &scope, id).map(|_| ()),
                _ => contacts::remove(tx, &scope, id).and_then(|_| contacts::insert(tx, &added)),
            });
            written.await.is_ok()
        });
    }
    go.send(()).expect("it waits");
    writes.join_all().await;
    let check = "INSERT INTO contact_numbers (contact_numbers, rank) VALUES ('integrity-check', 1)";
    let checked = world.store.write(move |tx| tx.execute(check, &[]).map(|_| ())).await;
    assert_eq!(checked, Ok(()), "the index holds the numbers that are there and no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_one_account_that_take_long_make_no_other_account_wait() {
    let world = tokio::task::spawn_blocking(World::with_account).await.expect("no panic");
    let id = |number: u8| AccountId::from_bytes([number; 16]);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let begun = Arc::new(AtomicU32::new(0));
    let mut reads = JoinSet::new();
    for _ in 0..20 {
        let (store, wait) = (world.store.clone(), Arc::clone(&wait));
        let begun = Arc::clone(&begun);
        reads.spawn(async move {
            let held = move |_: &mut Tx<'_>| {
                begun.fetch_add(1, Ordering::SeqCst);
                let told = wait.lock().map_err(|_| StoreError::Busy)?.recv();
                told.map_err(|_| StoreError::Busy)
            };
            store.read_for(id(1), held).await
        });
    }
    // All of them wait for the store or have a reader, and none is answered.
    let all_wait = async {
        while begun.load(Ordering::SeqCst) < 2 || world.store.figures().reads.waiting != 18 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_wait).await.expect("two have readers");
    for number in 2..10 {
        let read = world.store.read_for(id(number), move |_| Ok::<_, StoreError>(number));
        assert_eq!(timeout(PATIENCE, read).await.expect("it has a turn"), Ok(number));
    }
    let read = world.store.read(|_| Ok::<_, StoreError>(0));
    assert_eq!(timeout(PATIENCE, read).await.expect("it has a turn"), Ok(0));
    assert_eq!(world.store.figures().reads.waiting, 18, "two of three readers are what it has");
    for _ in 0..20 {
        go.send(()).expect("they wait");
    }
    assert!(reads.join_all().await.iter().all(Result::is_ok));
}

#[test]
fn a_full_disk_refuses_changes_whole_while_reading_goes_on() {
    let world = World::with(Options { most_pages: Some(60), ..Options::default() });
    world.write(|tx| accounts::insert(tx, &account(1))).expect("there is room yet");
    let mut n_written = 0;
    let refused = loop {
        let from = n_written;
        let result = world.write(move |tx| {
            (from..from + 50).try_for_each(|number| keys::insert(tx, &key(number)))
        });
        match result {
            Ok(()) => n_written += 50,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert_eq!(world.read(keys::count), u64::from(n_written), "nothing is half written");
    let again = world.write(move |tx| {
        (n_written..n_written + 50).try_for_each(|number| keys::insert(tx, &key(number)))
    });
    assert_eq!(again, Err(StoreError::Full));
    // With room again it goes on by itself: here, by opening it without the bound.
    let World { folder, store } = world;
    drop(store);
    let store = Store::open(&folder.path().join("data")).expect("it is whole");
    let written = store.write_blocking(move |tx| keys::insert(tx, &key(n_written)));
    assert_eq!(written, Ok(()));
}

#[test]
fn the_folder_and_its_files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("deep/data");
    std::fs::create_dir_all(&data).expect("the folder is ours");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&data, open).expect("the folder is ours");
    let store = Store::open(&data).expect("it is new");
    store.write_blocking(|tx| accounts::insert(tx, &account(1))).expect("it is new");
    let mode =
        |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut n_files = 0;
    for file in std::fs::read_dir(&data).expect("it is there") {
        let path = file.expect("it can be read").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        n_files += 1;
    }
    assert!(n_files >= 2, "the database and its log");
}

#[test]
fn two_programs_write_to_one_folder() {
    let world = World::with_account();
    let other = Store::open(&world.folder.path().join("data")).expect("it is there");
    std::thread::scope(|scope| {
        for (store, from) in [(&world.store, 0), (&other, 100)] {
            scope.spawn(move || {
                for number in from..from + 50 {
                    let written = store.write_blocking(move |tx| keys::insert(tx, &key(number)));
                    assert_eq!(written, Ok(()));
                }
            });
        }
    });
    assert_eq!(world.read(keys::count), 100);
    assert_eq!(world.read(changes::current), 101);
}

#[test]
fn two_programs_can_make_one_folder_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Store::open(folder.path()).expect("it waits for the other"));
        }
    });
    let store = Store::open(folder.path()).expect("it is there");
    assert_eq!(store.read_blocking(accounts::count), Ok(0));
}

#[test]
fn what_is_no_database_is_told_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "this is no database, whatever its name says; it goes on for a while";
    std::fs::write(folder.path().join("keyward.db"), text.repeat(100)).expect("ours");
    let refused = Store::open(folder.path()).err();
    assert!(matches!(refused, Some(StoreError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn the_store_can_be_let_go_of_inside_a_runtime() {
    let world = tokio::task::spawn_blocking(World::with_account).await.expect("no panic");
    let store = world.store.clone();
    drop(world.store);
    assert_eq!(store.read(accounts::count).await, Ok(1));
    drop(store);
    let again = Store::open(&world.folder.path().join("data")).expect("it was closed whole");
    assert_eq!(again.read(accounts::count).await, Ok(1));
}

/// Where the child that is to be killed writes; it says each number once it is acknowledged.
const CHILD: &str = "KEYWARD_STORE_CHILD";

#[test]
#[expect(clippy::disallowed_methods, reason = "the child of this test is told its folder so")]
fn what_was_acknowledged_is_there_after_a_kill() {
    if let Ok(folder) = std::env::var(CHILD) {
        let store = Store::open(folder.as_ref()).expect("the parent made it");
        let mut out = std::io::stdout();
        for number in 0.. {
            store.write_blocking(move |tx| keys::insert(tx, &key(number))).expect("it is new");
            writeln!(out, "acknowledged {number}").expect("the parent reads");
        }
    }
    for n_lines in [1, 20, 150] {
        let world = World::with_account();
        let data = world.folder.path().join("data");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "whole::what_was_acknowledged_is_there_after_a_kill", "--nocapture"])
            .env(CHILD, &data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test can be started again");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let lines = lines.map(|line| line.expect("it writes text"));
        let told: Vec<u32> = lines
            .filter_map(|line| line.split_once("acknowledged ")?.1.parse().ok())
            .take(n_lines)
            .collect();
        child.kill().expect("it runs");
        child.wait().expect("it was started");
        let last = told.last().copied().expect("it wrote something");
        let found = world.read(keys::count);
        assert!(found > u64::from(last), "{found} of {last}");
        for number in told {
            assert!(world.read(move |tx| keys::find(tx, key(number).id)).is_some(), "{number}");
        }
        let check = world
            .read(|tx| tx.query("PRAGMA integrity_check", &[], |row| Ok(row.text(0)?.to_owned())));
        assert_eq!(check, ["ok"]);
    }
}
