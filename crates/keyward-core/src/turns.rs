//! What waits to be served: each of those who wait in turn.
//!
//! Served in the order in which they come, a flood of things from a few would let everybody else's wait until
//! all of it has had its turn. So the next one is of the one whose turn is longest ago: an address whose
//! connections wait for a thread, an account whose reads wait for the store. Each has one line, however many
//! stand in it.
//!
//! Bound: that of whoever holds it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What waits, by whose it is.
pub struct Turns<K, T> {
    lines: HashMap<K, VecDeque<T>>,
    /// Each that has a line, the one whose turn is next first.
    order: VecDeque<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, T> Turns<K, T> {
    /// Puts one at the end of the line of its owner.
    pub fn push(&mut self, owner: K, one: T) {
        let line = self.lines.entry(owner).or_default();
        if line.is_empty() {
            self.order.push_back(owner);
        }
        line.push_back(one);
    }

    /// Takes the first one of whoever's turn it is.
    pub fn take(&mut self) -> Option<T> {
        self.take_if(|_| true).map(|(_, one)| one)
    }

    /// The same among those that may have a turn now; the others keep theirs.
    pub fn take_if(&mut self, may: impl Fn(&K) -> bool) -> Option<(K, T)> {
        let place = self.order.iter().position(may)?;
        let owner = self.order.remove(place)?;
        let line = self.lines.get_mut(&owner)?;
        let one = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&owner);
        } else {
            self.order.push_back(owner);
        }
        Some((owner, one))
    }

    /// How many wait in the line of one.
    #[must_use]
    pub fn len_of(&self, owner: &K) -> usize {
        self.lines.get(owner).map_or(0, VecDeque::len)
    }

    /// True if nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_one_waits_for_one_of_each_of_the_others_whatever_they_sent() {
        let mut turns = Turns::default();
        for number in 0..1000 {
            turns.push(1, (1, number));
            turns.push(2, (2, number));
        }
        turns.push(3, (3, 0));
        let first: Vec<_> = (0..5).filter_map(|_| turns.take()).collect();
        assert_eq!(first, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1)]);
        // One that comes again stands behind those that wait.
        turns.push(3, (3, 1));
        let next: Vec<_> = (0..3).filter_map(|_| turns.take()).collect();
        assert_eq!(next, [(1, 2), (2, 2), (3, 1)]);
        let mut rest = 0;
        while turns.take().is_some() {
            rest += 1;
        }
        assert_eq!(rest, 2 * 997);
        assert!(turns.is_empty() && turns.lines.is_empty());
    }

    #[test]
    fn who_may_not_have_a_turn_now_keeps_it() {
        let mut turns = Turns::default();
        for one in [(1, 'a'), (1, 'b'), (2, 'c'), (3, 'd')] {
            turns.push(one.0, one.1);
        }
        assert_eq!(turns.take_if(|owner| *owner != 1), Some((2, 'c')));
        assert_eq!(turns.take_if(|owner| *owner == 4), None);
        assert_eq!((turns.len_of(&1), turns.len_of(&2)), (2, 0));
        assert_eq!(turns.take_if(|_| true), Some((1, 'a')));
        assert_eq!(turns.take_if(|_| true), Some((3, 'd')));
        assert_eq!(turns.take_if(|_| true), Some((1, 'b')));
        assert!(turns.is_empty());
    }
}
