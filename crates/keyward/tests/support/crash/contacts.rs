//! A client that makes, changes and deletes contacts, and asks for some that must not come about.

use std::collections::BTreeMap;
use std::io;

use super::World;
use super::client::{Ask, Model};
use super::line::{Answer, Line, Rng};
use super::truth::Truth;

const SAMPLE: usize = 5;

struct Contact {
    id: String,
    opt_out: bool,
    is_deleted: bool,
}

/// Contacts by number.
pub(super) struct Contacts {
    /// `+1415`: each client has its own.
    prefix: &'static str,
    contacts: BTreeMap<String, Contact>,
    /// Numbers that can be changed.
    living: Vec<String>,
    touched: Vec<String>,
}

impl Contacts {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, contacts: BTreeMap::new(), living: vec![], touched: vec![] }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Intent {
    Create(String),
    OptOut(String, bool),
    Delete(String),
    /// Refused, with this status; or pretended.
    Never(u16),
}

impl Model for Contacts {
    type Intent = Intent;

    fn think(&mut self, world: &World, rng: &mut Rng, number: u64) -> (Ask, Intent) {
        let fresh = format!("{}{}", self.prefix, 2_000_000 + number);
        let create = |number: &str, key: &str, more: &str| Ask {
            method: "POST",
            path: String::from("/v3/contacts"),
            body: format!("{{\"phone_number\":\"{number}\"{more}}}"),
            key: key.to_owned(),
        };
        let boss = world.boss.as_str();
        let known = rng.pick(&self.living).cloned();
        let at = |number: &str| format!("/v3/contacts/{}", self.contacts[number].id);
        let ask = |method, path, body: String| Ask { method, path, body, key: boss.to_owned() };
        match (rng.below(12), known) {
            (0 | 1, Some(known)) => {
                let opt_out = !self.contacts[&known].opt_out;
                let body = format!("{{\"opt_out\":{opt_out}}}");
                (ask("PATCH", at(&known), body), Intent::OptOut(known, opt_out))
            }
            (2 | 3, Some(known)) => {
                (ask("DELETE", at(&known), String::from("{}")), Intent::Delete(known))
            }
            (4, Some(known)) => (create(&known, boss, ""), Intent::Never(409)),
            (5, _) => (create(&fresh, &world.weak, ""), Intent::Never(403)),
            (6, _) => (create(&fresh, &world.dead, ""), Intent::Never(401)),
            (7, _) => (create(&fresh, boss, ",\"sandbox\":true"), Intent::Never(201)),
            (8, _) => (create(&fresh, boss, ",\"sandbox\":7"), Intent::Never(400)),
            _ => (create(&fresh, boss, ""), Intent::Create(fresh)),
        }
    }

    fn learn(&mut self, _: &World, intent: Intent, answer: &Answer) -> Option<Vec<&'static str>> {
        if answer.status == 503 {
            return None;
        }
        let (status, events) = match intent {
            Intent::Create(number) => {
                let id = answer.data("id");
                let contact = Contact { id, opt_out: false, is_deleted: false };
                let before = self.contacts.insert(number.clone(), contact);
                assert!(before.is_none(), "{number} was made twice");
                self.living.push(number.clone());
                self.touched.push(number);
                (201, Some(vec!["contact.created"]))
            }
            Intent::OptOut(number, opt_out) => {
                let contact = self.contacts.get_mut(&number).expect("it was made");
                contact.opt_out = opt_out;
                self.touched.push(number);
                let event = if opt_out { "contact.opt_out" } else { "contact.opt_in" };
                (200, Some(vec!["contact.updated", event]))
            }
            Intent::Delete(number) => {
                self.contacts.get_mut(&number).expect("it was made").is_deleted = true;
                self.living.retain(|living| *living != number);
                self.touched.push(number);
                (204, Some(vec!["contact.deleted"]))
            }
            Intent::Never(status) => (status, None),
        };
        assert_eq!(answer.status, status, "{answer:?}");
        events
    }

    fn check(&mut self, world: &World, rng: &mut Rng, line: &mut Line) -> io::Result<()> {
        let older = (0..SAMPLE).filter_map(|_| rng.pick(&self.living).cloned());
        let numbers: Vec<String> = older.collect();
        for number in self.touched.drain(..).chain(numbers) {
            let contact = &self.contacts[&number];
            let answer = line.get(&format!("/v3/contacts/{}", contact.id), &world.boss)?;
            if contact.is_deleted {
                assert_eq!(answer.status, 404, "{number}: {answer:?}");
            } else {
                assert_eq!(answer.status, 200, "{number}: {answer:?}");
                assert_eq!(answer.data("phone_number"), number);
                let opt_out = format!("\"opt_out\":{}", contact.opt_out);
                assert!(answer.body.contains(&opt_out), "{number}: {answer:?}");
            }
            world.counts.looked_at.up();
        }
        Ok(())
    }

    fn tell(&self, truth: &mut Truth) {
        let living = self.contacts.iter().filter(|(_, contact)| !contact.is_deleted);
        truth.contacts.extend(living.map(|(number, contact)| (number.clone(), contact.opt_out)));
    }
}
