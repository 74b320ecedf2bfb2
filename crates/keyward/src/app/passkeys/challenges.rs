//! Challenges that a passkey has still to answer: each once, within five minutes, by the browser that
//! it was made for.
//!
//! Bound: 4,096 in all and 256 of one address, the oldest forgotten first; about 1 KiB each, and up to
//! 24 KiB for a member who adds a passkey and has many: 96 MiB. Who asks for thousands crowds out nobody at
//! another address before 16 addresses do so.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyward_core::time::Ticks;

use crate::app::throttle::place;
use crate::app::tokens::{Token, digest_of};

/// A challenge must be answered within this time.
pub const CHALLENGE_MILLIS: u64 = 5 * 60_000;
const MOST: usize = 4096;
const MOST_OF_ADDRESS: usize = 256;

struct Waiting<S> {
    digest: [u8; 32],
    holder: [u8; 32],
    address: String,
    ends: u64,
    state: S,
}

/// Challenges in the order in which they were made, and so in which they end.
///
/// Whoever makes or takes one holds the lock for a walk over at most 4,096 of them.
pub(super) struct Challenges<S>(Mutex<VecDeque<Waiting<S>>>);

impl<S> Default for Challenges<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Challenges<S> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what an answer is to be checked against. `holder` is the digest of a cookie: an answer
    /// without that cookie is none. Gives the name under which to take it.
    pub(super) fn put(&self, state: S, holder: [u8; 32], address: IpAddr, now: Ticks) -> Token {
        let (token, address) = (Token::new(), place(address));
        let mut waiting = self.lock();
        let n_over = waiting.partition_point(|one| one.ends <= now.0);
        waiting.drain(..n_over);
        if waiting.iter().filter(|one| one.address == address).count() >= MOST_OF_ADDRESS
            && let Some(oldest) = waiting.iter().position(|one| one.address == address)
        {
            waiting.remove(oldest);
        }
        if waiting.len() >= MOST {
            waiting.pop_front();
        }
        let (digest, ends) = (token.digest(), now.0 + CHALLENGE_MILLIS);
        waiting.push_back(Waiting { digest, holder, address, ends, state });
        token
    }

    /// Takes a challenge out, whoever asks: what was tried once is gone. Gives it to its holder alone,
    /// and in time.
    pub(super) fn take(&self, token: &str, holder: [u8; 32], now: Ticks) -> Option<S> {
        let digest = digest_of(token);
        let mut waiting = self.lock();
        let found = waiting.iter().position(|one| one.digest == digest)?;
        let one = waiting.remove(found)?;
        (one.holder == holder && now.0 < one.ends).then_some(one.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ME: [u8; 32] = [1; 32];

    #[test]
    fn a_challenge_is_answered_once_by_its_holder_and_within_five_minutes() {
        let challenges = Challenges::default();
        let begin = Ticks(1000);
        let put = || challenges.put(7, ME, HOME, begin);
        let take = |token: &Token, holder, now| challenges.take(token.reveal(), holder, Ticks(now));
        let token = put();
        assert_eq!(take(&token, ME, 1000 + CHALLENGE_MILLIS - 1), Some(7));
        assert_eq!(take(&token, ME, 1000), None, "a second time");
        assert_eq!(take(&put(), ME, 1000 + CHALLENGE_MILLIS), None, "too late");
        let token = put();
        assert_eq!(take(&token, [2; 32], 1000), None, "another browser");
        assert_eq!(take(&token, ME, 1000), None, "and it is gone");
        assert_eq!(challenges.take("", ME, begin), None);
    }

    #[test]
    fn challenges_stay_within_their_bound_and_one_address_crowds_out_nobody() {
        let challenges = Challenges::default();
        let first = challenges.put(0, ME, HOME, Ticks(1));
        let greedy = IpAddr::from([198, 51, 100, 1]);
        let oldest = challenges.put(0, ME, greedy, Ticks(1));
        for n in 0..5000 {
            challenges.put(n, ME, greedy, Ticks(1));
        }
        assert_eq!(challenges.lock().len(), 1 + MOST_OF_ADDRESS);
        assert_eq!(challenges.take(oldest.reveal(), ME, Ticks(1)), None);
        assert_eq!(challenges.take(first.reveal(), ME, Ticks(1)), Some(0));
        for n in 0..5000_u32 {
            let [_, _, high, low] = n.to_be_bytes();
            challenges.put(n, ME, IpAddr::from([10, 0, high, low]), Ticks(1));
        }
        assert_eq!(challenges.lock().len(), MOST);
        challenges.put(0, ME, HOME, Ticks(1 + CHALLENGE_MILLIS));
        assert_eq!(challenges.lock().len(), 1, "what is over is forgotten");
    }
}
