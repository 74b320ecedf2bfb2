//! Each table: what is put in comes out, and its rules hold.

use std::collections::BTreeSet;

use keyward_core::account::{AccountKind, AccountState, Environment, RateClass};
use keyward_core::id::{ContactId, PasskeyId, UserId};
use keyward_core::record::{KeyRecord, LastUse, Mark};
use keyward_core::role::{Role, UserStatus};
use keyward_core::time::UnixMillis;
use keyward_core::usage::Outcome;
use keyward_store::contacts::{self, Contact, ContactFilter, Scope};
use keyward_store::keys::KeyFilter;
use keyward_store::passkeys::{self, StoredPasskey};
use keyward_store::usage::{self, UsageRow};
use keyward_store::users::{self, User};
use keyward_store::{Constraint, StoreError, Tx, accounts, changes, keys};
use proptest::prelude::*;

use crate::world::{SCOPE, World, account, contact, key};

#[test]
fn an_account_comes_out_as_it_went_in_and_its_name_is_its_own() {
    let world = World::new();
    let (mut first, mut profile) = (account(1), account(2));
    profile.kind = AccountKind::Profile;
    profile.organization = Some(first.id);
    let both = [first.clone(), profile.clone()];
    world
        .write(move |tx| both.iter().try_for_each(|account| accounts::insert(tx, account)))
        .expect("they are new");
    let id = first.id;
    assert_eq!(world.read(move |tx| accounts::find(tx, id)).as_ref(), Some(&first));
    let named = world.read(|tx| accounts::find_by_name(tx, "ACCOUNT 2"));
    assert_eq!(named.as_ref(), Some(&profile));
    assert_eq!(world.read(move |tx| accounts::profiles_of(tx, id)), [profile.clone()]);
    let taken = keyward_core::account::Account { name: String::from("Account 1"), ..account(3) };
    let refused = world.write(move |tx| accounts::insert(tx, &taken));
    assert_eq!(refused, Err(StoreError::Conflict(Constraint::AccountName)));
    first.state = AccountState::Suspended;
    first.limits.standard = None;
    let changed = first.clone();
    world.write(move |tx| accounts::put(tx, &changed)).expect("it is there");
    assert_eq!(world.read(accounts::list), [first, profile]);
    assert_eq!(world.read(accounts::count), 2);
}

#[test]
fn a_user_comes_out_as_it_went_in_and_its_hash_is_not_shown() {
    let world = World::with_account();
    let owner = User {
        id: UserId::from_bytes([9; 16]),
        account: account(1).id,
        environment: Environment::Production,
        name: String::from("Ada"),
        email: String::from("ada@example.com"),
        role: Role::Owner,
        status: UserStatus::Active,
        password_hash: Some(String::from("$argon2id$secret")),
        created_at: UnixMillis(3),
        invited_at: None,
        last_login_at: None,
        updated_at: None,
        totp: None,
        totp_step: 0,
    };
    assert!(!format!("{owner:?}").contains("argon2id"));
    let stored = owner.clone();
    world.write(move |tx| users::insert(tx, &stored)).expect("it is new");
    assert_eq!(world.read(|tx| users::owner_of(tx, account(1).id)), Some(owner.clone()));
    let same =
        User { id: UserId::from_bytes([8; 16]), email: String::from("ADA@example.com"), ..owner };
    let refused = world.write(move |tx| users::insert(tx, &same));
    assert_eq!(refused, Err(StoreError::Conflict(Constraint::UserEmail)));
}

#[test]
fn a_passkey_comes_out_as_it_went_in_and_goes_with_its_member() {
    let world = World::with_account();
    let (ada, bob) = (UserId::from_bytes([9; 16]), UserId::from_bytes([8; 16]));
    let first = StoredPasskey {
        id: PasskeyId::from_bytes([1; 16]),
        user: ada,
        credential: vec![1, 2, 3],
        host: String::from("keys.example.com"),
        name: String::from("Laptop"),
        public_key: String::from("{}"),
        added_at: UnixMillis(5),
        used_at: None,
    };
    let second = StoredPasskey {
        id: PasskeyId::from_bytes([2; 16]),
        credential: vec![4],
        added_at: UnixMillis(6),
        ..first.clone()
    };
    let both = [second.clone(), first.clone()];
    world
        .write(move |tx| both.iter().try_for_each(|passkey| passkeys::insert(tx, passkey)))
        .expect("they are new");
    assert_eq!(world.read(move |tx| passkeys::of_user(tx, ada)), [first.clone(), second]);
    let id = first.id;
    assert_eq!(world.read(move |tx| passkeys::find(tx, bob, id)), None, "another's");
    let same = StoredPasskey { id: PasskeyId::from_bytes([3; 16]), user: bob, ..first.clone() };
    let refused = world.write(move |tx| passkeys::insert(tx, &same));
    assert_eq!(refused, Err(StoreError::Conflict(Constraint::PasskeyCredential)));
    let used = StoredPasskey {
        name: String::from("Desk"),
        public_key: String::from("{1}"),
        used_at: Some(UnixMillis(7)),
        ..first
    };
    let changed = used.clone();
    world.write(move |tx| passkeys::put(tx, &changed)).expect("it is there");
    let find = move |tx: &mut Tx<'_>| passkeys::find_by_credential(tx, &[1, 2, 3]);
    assert_eq!(world.read(find), Some(used));
    world.write(move |tx| passkeys::remove(tx, id)).expect("it is there");
    assert_eq!(world.read(find), None);
    world.write(move |tx| users::remove(tx, ada, UnixMillis(8))).expect("it runs");
    assert_eq!(world.read(move |tx| passkeys::of_user(tx, ada)), []);
}

#[test]
fn a_key_comes_out_as_it_went_in_through_all_of_its_life() {
    let world = World::with_account();
    let mark = |at| Mark { at: UnixMillis(at), by: String::from("operator") };
    let successor = key(2);
    let lives = [
        key(1),
        key(1).disable(mark(10)).expect("not revoked"),
        key(1).rotate(mark(11), successor.id, 500).expect("usable"),
        key(1).revoke(mark(12)).expect("not revoked"),
    ];
    world
        .write(move |tx| keys::insert(tx, &key(1)).and_then(|()| keys::insert(tx, &key(2))))
        .expect("new");
    for life in lives {
        let stored = life.clone();
        world.write(move |tx| keys::put(tx, &stored)).expect("it is there");
        let found = world.read(|tx| keys::find(tx, key(1).id));
        assert_eq!(found.as_ref(), Some(&life));
        assert_eq!(world.read(|tx| keys::find_by_digest(tx, &key(1).digest)), Some(life));
    }
    let rotated = key(3).rotate(mark(20), key(4).id, 1).expect("usable");
    let stored = rotated.clone();
    world.write(move |tx| keys::insert(tx, &stored)).expect("it is new");
    assert_eq!(world.read(|tx| keys::predecessor_of(tx, key(4).id)), Some(rotated));
    let again = world.write(|tx| keys::insert(tx, &KeyRecord { id: key(9).id, ..key(1) }));
    assert_eq!(again, Err(StoreError::Conflict(Constraint::KeyDigest)));
    assert!(world.read(|tx| keys::exists(tx, &key(1).digest)));
    assert!(!world.read(|tx| keys::exists(tx, &key(7).digest)));
    let list = |environment| {
        let filter = KeyFilter { account: Some(account(1).id), environment };
        world.read(move |tx| keys::list(tx, &filter)).iter().map(|k| k.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None), [key(3).id, key(2).id, key(1).id]);
    assert_eq!(list(Some(Environment::Production)), []);
    assert_eq!(world.read(keys::count), 3);
}

#[test]
fn the_change_feed_tells_what_changed_and_nothing_else() {
    let world = World::with_account();
    let told = |from: i64| {
        world.read(move |tx| {
            let (mut accounts, mut keys) = (vec![], vec![]);
            let current = changes::since(
                tx,
                from,
                |account| accounts.push(account.name),
                |key| keys.push(key.name),
            )?;
            Ok((current, accounts, keys))
        })
    };
    let (start, accounts, _) = told(0);
    assert_eq!(accounts, ["account 1"]);
    assert_eq!(told(start), (start, vec![], vec![]));
    let many: Vec<_> = (1..=3).map(key).collect();
    let mut n_told = 0;
    world
        .write(move |tx| {
            keys::insert_all(tx, many.iter(), || n_told += 1)?;
            assert_eq!(n_told, 3);
            Ok(())
        })
        .expect("they are new");
    let (imported, accounts, mut keys_told) = told(start);
    keys_told.sort();
    assert_eq!(
        (accounts.len(), keys_told),
        (0, vec!["key 1".into(), "key 2".into(), "key 3".into()])
    );
    assert_eq!(imported, start + 1, "one revision for all of them");
    let mark = Mark { at: UnixMillis(1), by: String::new() };
    let revoked = key(2).revoke(mark).expect("not revoked");
    world.write(move |tx| keys::put(tx, &revoked)).expect("it is there");
    assert_eq!(told(imported), (imported + 1, vec![], vec![String::from("key 2")]));
    let failed = world.write(|tx| keys::insert(tx, &key(1)));
    assert!(failed.is_err());
    assert_eq!(world.read(changes::current), imported + 1, "what failed takes no revision");
}

#[test]
fn counts_add_up_and_a_last_use_only_moves_forward() {
    let world = World::with_account();
    world.write(|tx| keys::insert(tx, &key(1))).expect("it is new");
    let row = |key, hour, outcome, requests| UsageRow {
        key,
        hour,
        class: RateClass::Standard,
        outcome,
        requests,
    };
    let id = Some(key(1).id);
    let last = |at, client: &str| LastUse {
        at: UnixMillis(at),
        address: [192, 0, 2, 1].into(),
        client: client.to_owned(),
    };
    let add = |rows: Vec<UsageRow>, last: LastUse| {
        world.write(move |tx| usage::add(tx, &rows, &[(key(1).id, last)])).expect("it is there");
    };
    add(vec![row(id, 5, Outcome::Ok, 2), row(None, 5, Outcome::Unknown, 7)], last(100, "new"));
    add(vec![row(id, 5, Outcome::Ok, 3), row(id, 6, Outcome::Limited, 1)], last(99, "old"));
    assert_eq!(
        world.read(|tx| usage::of_key(tx, key(1).id, 0)),
        [row(id, 5, Outcome::Ok, 5), row(id, 6, Outcome::Limited, 1)]
    );
    assert_eq!(world.read(|tx| usage::of_key(tx, key(1).id, 6)).len(), 1);
    assert_eq!(world.read(|tx| usage::of_strangers(tx, 0)), [row(None, 5, Outcome::Unknown, 7)]);
    let stored = world.read(|tx| keys::find(tx, key(1).id)).expect("it is there");
    assert_eq!(stored.last_used, Some(last(100, "new")));
}

fn with_contacts(n_contacts: u32) -> World {
    let world = World::with_account();
    world
        .write(move |tx| (0..n_contacts).try_for_each(|n| contacts::insert(tx, &contact(n))))
        .expect("they are new");
    world
}

#[test]
fn a_contact_is_its_scopes_alone() {
    let world = with_contacts(1);
    let id = contact(0).id;
    assert_eq!(world.read(move |tx| contacts::find(tx, &SCOPE, id)), Some(contact(0)));
    let others = [
        Scope { environment: Environment::Test, ..SCOPE },
        Scope { account: account(2).id, ..SCOPE },
    ];
    for scope in others {
        assert_eq!(world.read(move |tx| contacts::find(tx, &scope, id)), None);
        assert_eq!(
            world.read(move |tx| contacts::find_by_number(tx, &scope, "+14150000000")),
            None
        );
        assert_eq!(world.write(move |tx| contacts::remove(tx, &scope, id)), Ok(false));
        let none = ContactFilter::default();
        assert_eq!(world.read(move |tx| contacts::page(tx, &scope, &none, 0, 10)), (vec![], 0));
    }
    let changed = Contact {
        opt_out: true,
        default_channel: String::from("whatsapp"),
        updated_at: Some(UnixMillis(77)),
        ..contact(0)
    };
    let stored = changed.clone();
    world.write(move |tx| contacts::put(tx, &stored)).expect("it is there");
    assert_eq!(
        world.read(|tx| contacts::find_by_number(tx, &SCOPE, "+14150000000")),
        Some(changed)
    );
    assert_eq!(world.write(move |tx| contacts::remove(tx, &SCOPE, id)), Ok(true));
    world.write(|tx| contacts::insert(tx, &contact(0))).expect("the number is free again");
}

#[test]
fn a_search_takes_every_character_for_itself() {
    let world = with_contacts(20);
    let search = |text: &str, channel: Option<&str>| {
        let filter = ContactFilter {
            search: Some(text.to_owned()),
            channel: channel.map(ToOwned::to_owned),
        };
        world.read(move |tx| contacts::page(tx, &SCOPE, &filter, 0, 100)).1
    };
    assert_eq!(search("0000013", None), 1);
    assert_eq!(search("+1 (415) 0000013", None), 1);
    assert_eq!(search("+1415", None), 20);
    assert_eq!(search("tel:+1-415-0000013", None), 1);
    for text in ["%", "_", "%415%", "\\", "'", "x415"] {
        assert_eq!(search(text, None), 0, "{text}");
    }
    assert_eq!(search("415", Some("whatsapp")), 10);
    assert_eq!(search("415", Some("what")), 0);
    let far = world.read(|tx| contacts::page(tx, &SCOPE, &ContactFilter::default(), u64::MAX, 100));
    assert_eq!(far, (vec![], 20));
}

/// However much of however written a number is searched for: what is found is what a look at all of
/// them finds.
#[test]
fn a_search_finds_by_its_index_what_a_look_at_all_contacts_finds() {
    let world = World::with_account();
    let forms = [
        ["+4930901820", "+49 30 901820", "030 901820", "tel:+49-30-901820"],
        ["+5491123456789", "+54 9 11 2345-6789", "011 15-2345-6789", "tel:+54-9-11-2345-6789"],
        ["+3612345678", "+36 1 234 5678", "06 1 234 5678", "tel:+36-1-234-5678"],
        ["+79161234567", "+7 916 123-45-67", "8 (916) 123-45-67", "tel:+7-916-123-45-67"],
        ["+14155550123", "+1 415-555-0123", "(415) 555-0123", "tel:+1-415-555-0123"],
        ["+33123456789", "+33 1 23 45 67 89", "01 23 45 67 89", "tel:+33-1-23-45-67-89"],
    ];
    let text = |form: &str| form.to_owned();
    let all = forms.iter().zip(1..).map(|([e164, international, national, rfc], n)| Contact {
        phone_number: text(e164),
        format_e164: text(e164),
        format_international: text(international),
        format_national: text(national),
        format_rfc: text(rfc),
        ..contact(n)
    });
    let all: Vec<Contact> = all.collect();
    world
        .write(move |tx| all.iter().try_for_each(|contact| contacts::insert(tx, contact)))
        .expect("they are new");
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let holds = |forms: &[&str; 4], part: &str| {
        let is_number = !part.contains([':', 't', 'e', 'l']) && !digits(part).is_empty();
        forms.iter().any(|form| form.contains(part))
            || is_number && !part.contains('+') && forms[0].contains(&digits(part))
    };
    let parts: BTreeSet<&str> = forms
        .iter()
        .flatten()
        .flat_map(|form| {
            (0..form.len())
                .flat_map(move |from| (from + 1..=form.len()).map(move |to| &form[from..to]))
        })
        .filter(|part| part.trim() == *part)
        .collect();
    assert!(parts.len() > 1000);
    for part in parts {
        let filter = ContactFilter { search: Some(text(part)), channel: None };
        let (found, total) = world.read(move |tx| contacts::page(tx, &SCOPE, &filter, 0, 100));
        let found: BTreeSet<String> =
            found.into_iter().map(|contact| contact.format_e164).collect();
        let expected: BTreeSet<String> =
            forms.iter().filter(|forms| holds(forms, part)).map(|forms| text(forms[0])).collect();
        if part.contains('+') {
            // With a plus, digits count as well; at least what holds the text is found.
            assert!(found.is_superset(&expected), "{part}: {found:?} {expected:?}");
        } else {
            assert_eq!(found, expected, "{part}");
        }
        assert_eq!(total, found.len() as u64, "{part}");
    }
}

/// Contacts come and go, also with clocks set back, against a list in memory.
#[test]
fn every_page_is_the_one_of_a_list_in_memory_however_contacts_came_and_went() {
    let world = World::with_account();
    let mut draw = 7_u64;
    let mut next = |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    let mut all: Vec<(UnixMillis, ContactId)> = vec![];
    let mut number = 0;
    for round in 0..6 {
        // Rounds of a steady clock, of one that jumps, and of many removals.
        let (n_new, n_gone) = if round % 3 == 2 { (0, all.len() / 2) } else { (2_500, 40) };
        let new: Vec<Contact> = (0..n_new)
            .map(|_| {
                number += 1;
                let at = if round == 1 { next(5_000) } else { u64::from(number) };
                Contact {
                    created_at: UnixMillis(i64::try_from(at).expect("it is small")),
                    ..contact(number)
                }
            })
            .collect();
        all.extend(new.iter().map(|contact| (contact.created_at, contact.id)));
        all.sort_unstable_by(|a, b| b.cmp(a));
        let added = new.clone();
        world
            .write(move |tx| added.iter().try_for_each(|contact| contacts::insert(tx, contact)))
            .expect("they are new");
        let gone: Vec<ContactId> = (0..n_gone)
            .map(|_| all.remove(usize::try_from(next(all.len() as u64)).expect("it is small")).1)
            .collect();
        let removed = world.write(move |tx| {
            gone.iter().try_fold(true, |all, id| Ok(contacts::remove(tx, &SCOPE, *id)? && all))
        });
        assert_eq!(removed, Ok(true));
        for _ in 0..60 {
            let (offset, size) = (next(all.len() as u64 + 3), 1 + next(100));
            let size = u32::try_from(size).expect("it is small");
            let none = ContactFilter::default();
            let (page, total) =
                world.read(move |tx| contacts::page(tx, &SCOPE, &none, offset, size));
            let from = usize::try_from(offset).expect("it is small").min(all.len());
            let until = (from + size as usize).min(all.len());
            let found: Vec<_> =
                page.iter().map(|contact| (contact.created_at, contact.id)).collect();
            assert_eq!((found.as_slice(), total), (&all[from..until], all.len() as u64));
        }
    }
}

#[test]
fn pages_cover_the_list_exactly_once_newest_first() {
    let world = with_contacts(61);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(40));
    let covered = runner.run(&(1u32..=70), |size| {
        let mut seen: Vec<Contact> = vec![];
        loop {
            let offset = seen.len() as u64;
            let none = ContactFilter::default();
            let (page, total) =
                world.read(move |tx| contacts::page(tx, &SCOPE, &none, offset, size));
            prop_assert_eq!(total, 61);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        let ids: BTreeSet<_> = seen.iter().map(|contact| contact.id).collect();
        prop_assert_eq!((ids.len(), seen.len()), (61, 61));
        prop_assert!(seen.is_sorted_by_key(|c| std::cmp::Reverse((c.created_at, c.id))));
        Ok(())
    });
    covered.expect("no size of page skips or repeats");
}
