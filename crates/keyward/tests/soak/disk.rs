//! Every single write and sync fails once, and from there on for ever, in every way that a disk has.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;

use crate::faults::Disk;
use crate::program::{Served, Shell};
use crate::{Sizes, say};

/// What a disk does: operation and kind.
const FAULTS: [&str; 5] = ["write eio", "write enospc", "all erofs", "sync eio", "sync lose"];
pub(crate) const LIMITS: [&str; 6] = [
    "--rate-limit-standard",
    "1000000",
    "--rate-limit-sensitive",
    "1000000",
    "--rate-limit-unauthenticated",
    "1000000",
];

#[derive(Default)]
pub(crate) struct Counts {
    faults: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// Refused with the word that nobody knows.
    in_doubt: u64,
    /// Keys that were told apart while the disk failed.
    pub(crate) verified: u64,
}

/// A key that was asked for, by name.
#[derive(Default)]
struct Key {
    id: String,
    /// `None` if it was never shown.
    clear: Option<String>,
    is_dead: bool,
}

/// What a server was asked for, and what it acknowledged.
#[derive(Default)]
pub(crate) struct Asked {
    boss: String,
    contacts: BTreeSet<String>,
    keys: BTreeMap<String, Key>,
    /// What may be there or not: numbers, names of keys, names of keys that were to end.
    in_doubt: [BTreeSet<String>; 3],
    number: u64,
}

fn head(line: &str, key: &str) -> String {
    format!("{line} HTTP/1.1\r\nx-api-key: {key}")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn data(answer: &str, name: &str) -> String {
    let body = answer.split("\r\n\r\n").nth(1).expect("it has a body");
    let body: Value = serde_json::from_str(body).expect("it is JSON");
    body["data"][name].as_str().expect("a text").to_owned()
}

/// Whether it was done; nothing if nobody knows. A refusal must be one of the contract.
fn is_done(answer: &str, expected: u16, counts: &mut Counts) -> Option<bool> {
    if status(answer) == expected {
        counts.acknowledged += 1;
        return Some(true);
    }
    assert_eq!(status(answer), 503, "{answer}");
    assert!(answer.contains("INTERNAL_005"), "{answer}");
    if answer.contains("changed is not known") {
        counts.in_doubt += 1;
        return None;
    }
    assert!(answer.contains("Nothing was changed"), "{answer}");
    counts.refused += 1;
    Some(false)
}

impl Asked {
    pub(crate) fn by(boss: String) -> Self {
        Self { boss, ..Self::default() }
    }

    /// A contact, a key, and the end of a key.
    pub(crate) fn change(&mut self, served: &Served, counts: &mut Counts) {
        self.number += 1;
        let [contacts, keys, ends] = &mut self.in_doubt;
        let number = format!("+1415{}", 2_000_000 + self.number);
        let body = format!("{{\"phone_number\":\"{number}\"}}");
        let made = served.call(&head("POST /v3/contacts", &self.boss), &body);
        match is_done(&made, 201, counts) {
            Some(true) => drop(self.contacts.insert(number)),
            Some(false) => {}
            None => drop(contacts.insert(number)),
        }
        let name = format!("job {}", self.number);
        let body = format!("{{\"name\":\"{name}\",\"permissions\":[\"contacts:read\"]}}");
        let issued = served.call(&head("POST /v3/api-keys", &self.boss), &body);
        match is_done(&issued, 201, counts) {
            Some(true) => {
                let (id, clear) = (data(&issued, "id"), Some(data(&issued, "key")));
                self.keys.insert(name, Key { id, clear, is_dead: false });
            }
            Some(false) => {}
            None => drop(keys.insert(name)),
        }
        let living = self.keys.iter_mut().find(|(name, key)| !key.is_dead && !ends.contains(*name));
        if let Some((name, key)) = living {
            let line = format!("DELETE /v3/api-keys/{}", key.id);
            let ended = served.call(&head(&line, &self.boss), "{}");
            match is_done(&ended, 204, counts) {
                Some(is_dead) => key.is_dead = is_dead,
                None => drop(ends.insert(name.clone())),
            }
        }
        self.verify(served, counts);
    }

    /// Good keys pass, dead and unknown ones do not.
    pub(crate) fn verify(&self, served: &Served, counts: &mut Counts) {
        let unknown = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let known = self.keys.iter().filter(|(name, _)| !self.in_doubt[2].contains(*name));
        let lately = known.rev().take(4).filter_map(|(_, key)| {
            Some((key.clear.as_deref()?, if key.is_dead { 401 } else { 200 }))
        });
        for (key, expected) in lately.chain([(self.boss.as_str(), 200), (unknown, 401)]) {
            let answer = served.call(&head("GET /v3/me", key), "");
            assert_eq!(status(&answer), expected, "{answer}");
            counts.verified += 1;
        }
    }

    /// Everything that was acknowledged is there, and nothing else but what nobody knew.
    pub(crate) fn check(&mut self, shell: &Shell) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = shell.data_dir.join("keyward.db");
        let database = Connection::open_with_flags(path, flags).expect("it is there");
        let check: String = database
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("it can be read");
        assert_eq!(check, "ok");
        let rows = |sql: &str| {
            let mut statement = database.prepare(sql).expect("the tables are there");
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            let rows = rows.expect("it can be read");
            rows.collect::<Result<BTreeMap<String, String>, _>>().expect("it can be read")
        };
        let contacts = rows("SELECT format_e164, '' FROM contacts");
        let keys = rows(
            "SELECT name, lower(hex(id)) || ' ' || (revoked_at IS NOT NULL) FROM keys
             WHERE name LIKE 'job %'",
        );
        let [new_contacts, new_keys, ends] = std::mem::take(&mut self.in_doubt);
        self.contacts
            .extend(new_contacts.into_iter().filter(|number| contacts.contains_key(number)));
        for name in new_keys {
            let Some(found) = keys.get(&name) else { continue };
            let id = dashed(found.split(' ').next().unwrap_or_default());
            self.keys.insert(name, Key { id, ..Key::default() });
        }
        for name in ends {
            let key = self.keys.get_mut(&name).expect("it was issued");
            key.is_dead = keys[&name].ends_with('1');
        }
        assert_eq!(contacts.into_keys().collect::<BTreeSet<_>>(), self.contacts);
        let known = self.keys.iter().map(|(name, key)| {
            (name.clone(), format!("{} {}", key.id.replace('-', ""), u8::from(key.is_dead)))
        });
        assert_eq!(keys, known.collect::<BTreeMap<_, _>>());
        let verified = shell.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
}

/// 32 digits as identifiers are written.
fn dashed(digits: &str) -> String {
    let part = |range| &digits[range];
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

pub(crate) fn boss(shell: &Shell) -> String {
    let permissions = ["contacts:read", "contacts:write", "api_keys:read", "api_keys:write"];
    let first = ["keys", "create", "--name", "boss", "--environment", "test"];
    let permissions = permissions.iter().flat_map(|name| ["--permission", name]);
    let issued = shell.json(&first.into_iter().chain(permissions).collect::<Vec<_>>());
    issued["key"].as_str().expect("it is shown").to_owned()
}

pub(crate) fn run(sizes: &Sizes) -> String {
    let most = sizes.get("calls").unwrap_or(60);
    let disk = Disk::new();
    let boss = boss(&disk.shell);
    let mut asked = Asked::by(boss);
    let mut counts = Counts::default();
    for fault in FAULTS {
        for count in [1, 0] {
            let mut reached = 0;
            for from in 1..=most {
                let served = disk.serve(&LIMITS);
                disk.fail(&format!("{fault} {from} {count} *"));
                let before = disk.failed();
                asked.change(&served, &mut counts);
                asked.change(&served, &mut counts);
                let has_failed = disk.failed() > before;
                if from % 2 == 0 {
                    // It is well again, and without a restart everything is taken.
                    disk.work_again();
                    let before = counts.acknowledged;
                    asked.change(&served, &mut counts);
                    assert!(counts.acknowledged >= before + 2, "{fault} {from} {count} stays");
                }
                served.signal(Signal::KILL);
                drop(served);
                disk.work_again();
                let served = disk.serve(&LIMITS);
                asked.check(&disk.shell);
                asked.verify(&served, &mut counts);
                if !has_failed {
                    break;
                }
                counts.faults += 1;
                reached = from;
            }
            let times = if count == 1 { "once" } else { "from there on" };
            say(&format!("{fault}: each of the first {reached} calls, {times}"));
        }
    }
    let Counts { faults, acknowledged, refused, in_doubt, verified } = counts;
    format!(
        "{faults} faults; {acknowledged} changes acknowledged and all there, {refused} refused and \
         none there, {in_doubt} of which nobody could know; {verified} keys told apart meanwhile"
    )
}
