//! Memory for what is being sent to us, and for answers that wait to be taken over HTTP/2: so much for
//! all, so much for one sender.
//!
//! A body is counted as it arrives, with the memory that it takes and not what it announces, its head
//! and what was read from it as long as the change is being made. Who asks for more than there is gets a
//! 503, and no sender can take more than an eighth: whoever is slow on purpose keeps out nobody else.
//!
//! Bound: 256 MiB for all and 32 MiB for one sender, or four bodies of the largest size where that is
//! more; 64 bytes for each sender that sends at the moment.
//! Locks: one, held to add a number, by requests with a body only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward_core::address::guess_origin;
use keyward_core::id::AccountId;

const LEAST_FOR_ONE: usize = 32 << 20;
const BODIES_FOR_ONE: usize = 4;
const SENDERS: usize = 8;
/// What a line of a head takes beside its text.
const LINE_BYTES: usize = 64;

/// Who sends: with a key the account whose key it is, without one the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Account(AccountId),
    Address(IpAddr),
}

impl Sender {
    /// A sender without a key.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(guess_origin(address))
    }
}

/// What is taken of the memory for bodies.
pub struct Bodies {
    taken: Mutex<Taken>,
    most_of_one: usize,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    by: HashMap<Sender, usize>,
}

/// A part of it, given back when it is dropped.
pub struct Share {
    bodies: Arc<Bodies>,
    sender: Sender,
    bytes: usize,
}

impl Bodies {
    /// Memory for bodies of at most `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        let most_of_one = LEAST_FOR_ONE.max(largest * BODIES_FOR_ONE);
        Self { taken: Mutex::default(), most_of_one }
    }

    /// Nothing yet.
    #[must_use]
    pub fn share(self: &Arc<Self>, sender: Sender) -> Share {
        Share { bodies: Arc::clone(self), sender, bytes: 0 }
    }

    /// Bytes that are taken at the moment.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().bytes
    }

    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes what a head takes, which is kept as long as its body is waited for: false if there is not as
    /// much.
    #[must_use]
    pub fn grow_by_head<'a>(&mut self, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        self.grow(lines.map(|(name, value)| name.len() + value.len() + LINE_BYTES).sum())
    }

    /// Takes so many bytes more: false if there are not as many.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut taken = self.bodies.lock();
        let of_one = taken.by.get(&self.sender).copied().unwrap_or_default() + bytes;
        let of_all = taken.bytes + bytes;
        if of_one > self.bodies.most_of_one || of_all > self.bodies.most_of_one * SENDERS {
            return false;
        }
        taken.bytes = of_all;
        taken.by.insert(self.sender, of_one);
        self.bytes += bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.bodies.lock();
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        if let Some(of_one) = taken.by.get_mut(&self.sender) {
            *of_one = of_one.saturating_sub(self.bytes);
            if *of_one == 0 {
                taken.by.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_gets_an_eighth_and_everything_is_given_back() {
        let bodies = Arc::new(Bodies::new(1 << 20));
        let sender = |n: u8| Sender::at([192, 0, 2, n].into());
        let mut shares = vec![];
        for n in 0..8 {
            let mut share = bodies.share(sender(n));
            assert!(share.grow(20 << 20) && share.grow(12 << 20));
            assert!(!share.grow(1), "more than an eighth");
            shares.push(share);
        }
        let mut ninth = bodies.share(sender(9));
        assert!(!ninth.grow(1), "nothing is left");
        assert_eq!(bodies.taken(), 256 << 20);
        drop(shares.pop());
        assert!(ninth.grow(1));
        let mut again = bodies.share(sender(0));
        assert!(!again.grow(1), "however many bodies one sends");
        drop((shares, ninth, again));
        assert_eq!(bodies.taken(), 0);
        assert!(bodies.lock().by.is_empty(), "nobody is remembered");
    }

    #[test]
    fn four_of_the_largest_bodies_have_room_whatever_their_size() {
        let bodies = Arc::new(Bodies::new(64 << 20));
        let mut share = bodies.share(Sender::at([192, 0, 2, 1].into()));
        assert!(share.grow(256 << 20) && !share.grow(1));
    }
}
