//! The audit chain: each link carries the hash of the one before.
//!
//! Whoever changes, removes, adds or reorders a link breaks every hash after it. Whoever can write
//! the database can also write a whole new chain; against that one keeps the head somewhere else and
//! asks whether the chain still passes through it.

use sha2::{Digest as _, Sha256};

use crate::id::AccountId;
use crate::time::UnixMillis;

/// The hash of a link.
pub type LinkHash = [u8; 32];

/// What the first link has for the one before.
pub const ORIGIN: LinkHash = [0; 32];

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub number: i64,
    pub at: UnixMillis,
    /// `None` for what concerns the whole server.
    pub account: Option<AccountId>,
    /// `operator`, `system`, `user …` or `key …`.
    pub actor: String,
    /// The actor's name at that time.
    pub name: String,
    /// `key.revoked`, for example.
    pub action: String,
    /// What it was done to, and its name at that time.
    pub target: String,
    pub label: String,
    /// JSON.
    pub details: String,
    /// Where the actor was; empty where that makes no sense.
    pub address: String,
}

/// The hash of a link: of the one before and everything that this one says.
///
/// Each text is preceded by its length, so that no two different links read the same.
#[must_use]
pub fn hash(previous: &LinkHash, entry: &Entry) -> LinkHash {
    let mut sha = Sha256::new();
    sha.update(b"keyward audit 1");
    sha.update(previous);
    sha.update(entry.number.to_be_bytes());
    sha.update(entry.at.0.to_be_bytes());
    sha.update(entry.account.as_ref().map_or(&[0; 16], AccountId::as_bytes));
    for text in [
        &entry.actor,
        &entry.name,
        &entry.action,
        &entry.target,
        &entry.label,
        &entry.details,
        &entry.address,
    ] {
        sha.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        sha.update(text.as_bytes());
    }
    sha.finalize().into()
}

/// Why a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The link that should have this number is missing.
    Missing(i64),
    /// What this link says is not what was hashed, or the one before it is another.
    Changed(i64),
}

/// Checks links in order.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    number: i64,
    head: LinkHash,
}

impl Default for Checker {
    fn default() -> Self {
        Self { number: 0, head: ORIGIN }
    }
}

impl Checker {
    /// Takes the next link, with the two hashes that are stored beside it.
    ///
    /// # Errors
    /// If it does not follow the one before.
    pub fn take(
        &mut self,
        entry: &Entry,
        previous: &LinkHash,
        stored: &LinkHash,
    ) -> Result<(), Broken> {
        if entry.number != self.number + 1 {
            return Err(Broken::Missing(self.number + 1));
        }
        if *previous != self.head || hash(previous, entry) != *stored {
            return Err(Broken::Changed(entry.number));
        }
        (self.number, self.head) = (entry.number, *stored);
        Ok(())
    }

    /// How many links were taken, and the hash of the last one.
    #[must_use]
    pub const fn head(&self) -> (i64, LinkHash) {
        (self.number, self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64) -> Entry {
        Entry {
            number,
            at: UnixMillis(number * 1000),
            account: Some(AccountId::from_bytes([7; 16])),
            actor: String::from("operator"),
            name: String::from("operator"),
            action: String::from("key.revoked"),
            target: format!("key {number}"),
            label: String::from("billing job"),
            details: String::from("{}"),
            address: String::new(),
        }
    }

    fn chain(n: i64) -> Vec<(Entry, LinkHash, LinkHash)> {
        let mut previous = ORIGIN;
        let link = |number| {
            let entry = entry(number);
            let (before, hash) = (previous, hash(&previous, &entry));
            previous = hash;
            (entry, before, hash)
        };
        (1..=n).map(link).collect()
    }

    fn check(links: &[(Entry, LinkHash, LinkHash)]) -> Result<i64, Broken> {
        let mut checker = Checker::default();
        for (entry, previous, hash) in links {
            checker.take(entry, previous, hash)?;
        }
        Ok(checker.head().0)
    }

    #[test]
    fn an_untouched_chain_holds() {
        assert_eq!(check(&chain(0)), Ok(0));
        assert_eq!(check(&chain(5)), Ok(5));
    }

    #[test]
    fn each_change_to_each_link_is_found() {
        let changes: [fn(&mut Entry); 8] = [
            |e| e.at = UnixMillis(e.at.0 + 1),
            |e| e.account = None,
            |e| e.actor.push('x'),
            |e| e.name = String::from("somebody else"),
            |e| e.action = String::from("key.created"),
            |e| e.target.clear(),
            |e| {
                // The same bytes in a row, cut elsewhere.
                let first = e.label.remove(0);
                e.target.push(first);
            },
            |e| e.details = String::from("{\"a\":1}"),
        ];
        for at in 0..5 {
            for change in changes {
                let mut links = chain(5);
                change(&mut links[at].0);
                assert_eq!(check(&links), Err(Broken::Changed(links[at].0.number)));
            }
        }
    }

    #[test]
    fn a_link_taken_out_put_in_or_moved_is_found() {
        let mut without = chain(5);
        without.remove(2);
        assert_eq!(check(&without), Err(Broken::Missing(3)));
        let mut renumbered = without;
        for (link, number) in renumbered.iter_mut().zip(1..) {
            link.0.number = number;
        }
        assert_eq!(check(&renumbered), Err(Broken::Changed(3)));
        let mut swapped = chain(5);
        swapped.swap(1, 2);
        assert!(check(&swapped).is_err());
        let mut twice = chain(5);
        twice.insert(1, twice[1].clone());
        assert!(check(&twice).is_err());
    }
}
