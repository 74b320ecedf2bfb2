//! The audit chain: two links that say something else have other hashes, however their texts are cut, and
//! a chain in which anything was changed is found out.
#![no_main]

use keyward_core::chain::{Checker, Entry, ORIGIN, hash};
use keyward_core::id::AccountId;
use keyward_core::time::UnixMillis;
use keyward_fuzz_door::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

fn entry(pieces: &mut Pieces<'_>, number: i64) -> Entry {
    let mut text = || String::from_utf8_lossy(pieces.line()).into_owned();
    let (actor, name, action, target) = (text(), text(), text(), text());
    let (label, details, address, account) = (text(), text(), text(), text());
    Entry {
        number,
        at: UnixMillis(number * 1000),
        account: account.parse::<AccountId>().ok(),
        actor,
        name,
        action,
        target,
        label,
        details,
        address,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = Pieces::of(data);
    let mut links = vec![];
    let (mut head, mut checker) = (ORIGIN, Checker::default());
    while !pieces.is_empty() && links.len() < 3 {
        let link = entry(&mut pieces, i64::try_from(links.len()).expect("few") + 1);
        let next = hash(&head, &link);
        checker.take(&link, &head, &next).expect("it follows");
        links.push((link, head));
        head = next;
    }
    for (number, (a, _)) in links.iter().enumerate() {
        for (b, _) in &links[..number] {
            // Under the same number and time, so that only what they say can tell them apart.
            let b = Entry { number: a.number, at: a.at, ..b.clone() };
            assert_eq!(hash(&ORIGIN, a) == hash(&ORIGIN, &b), *a == b);
        }
    }
    let Some((first, _)) = links.first() else { return };
    let changed = Entry { label: format!("{}x", first.label), ..first.clone() };
    assert!(Checker::default().take(&changed, &ORIGIN, &hash(&ORIGIN, first)).is_err());
    let moved = Entry { number: 2, ..first.clone() };
    assert!(Checker::default().take(&moved, &ORIGIN, &hash(&ORIGIN, &moved)).is_err());
});
