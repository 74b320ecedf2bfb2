//! Connections that wait for a thread: each address in turn.
//!
//! Served in the order in which they come, a flood of connections from a few addresses would let everybody
//! else's wait until all of it has had its turn. So the next one is of the address whose turn is longest
//! ago; an address has one line, however many connections stand in it.
//!
//! Bound: as many connections as have a place (`places`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// What waits, by who sent it.
pub struct Turns<T> {
    lines: HashMap<IpAddr, VecDeque<T>>,
    /// Each address that has a line, the one whose turn is next first.
    order: VecDeque<IpAddr>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Puts one at the end of the line of its address.
    pub fn push(&mut self, address: IpAddr, one: T) {
        let line = self.lines.entry(address).or_default();
        if line.is_empty() {
            self.order.push_back(address);
        }
        line.push_back(one);
    }

    /// Takes the first one of the address whose turn it is.
    pub fn take(&mut self) -> Option<T> {
        let address = self.order.pop_front()?;
        let line = self.lines.get_mut(&address)?;
        let one = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&address);
        } else {
            self.order.push_back(address);
        }
        one
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

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn who_sends_one_waits_for_one_of_each_of_the_others_whatever_they_sent() {
        let mut turns = Turns::default();
        for number in 0..1000 {
            turns.push(address(1), (1, number));
            turns.push(address(2), (2, number));
        }
        turns.push(address(3), (3, 0));
        let first: Vec<_> = (0..5).filter_map(|_| turns.take()).collect();
        assert_eq!(first, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1)]);
        // An address that comes again stands behind those that wait.
        turns.push(address(3), (3, 1));
        let next: Vec<_> = (0..3).filter_map(|_| turns.take()).collect();
        assert_eq!(next, [(1, 2), (2, 2), (3, 1)]);
        let mut rest = 0;
        while turns.take().is_some() {
            rest += 1;
        }
        assert_eq!(rest, 2 * 997);
        assert!(turns.is_empty() && turns.lines.is_empty());
    }
}
