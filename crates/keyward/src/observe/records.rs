//! Requests on their way to where they are remembered.
//!
//! An answered request is copied into a buffer, and a worker takes the buffer away: nobody waits for
//! the store. Refusals have a buffer of their own, so that a flood of good requests does not push
//! out what somebody will ask about.
//!
//! Bound: 16,384 requests of 184 bytes wait in each of the two buffers, 6 MB together; one that does not
//! fit is dropped and counted. Locks: a mutex around each, held to copy a request into it or to take
//! the buffer away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyward_store::requests::NewRequest;

const WAITING: usize = 16_384;

/// Takes requests from anywhere.
#[derive(Clone)]
pub struct Records(Arc<Buffers>);

struct Buffers {
    is_on: bool,
    answered: Mutex<Vec<NewRequest>>,
    refused: Mutex<Vec<NewRequest>>,
    n_dropped: AtomicU64,
}

impl Records {
    /// `is_on`: whether requests are remembered at all.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        Self(Arc::new(Buffers {
            is_on,
            answered: Mutex::default(),
            refused: Mutex::default(),
            n_dropped: AtomicU64::new(0),
        }))
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_on
    }

    /// Hands a request over, or drops it.
    pub fn push(&self, request: NewRequest) {
        let buffer = if request.status < 400 { &self.0.answered } else { &self.0.refused };
        let mut waiting = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(request);
        } else {
            self.0.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what waits, in the order in which it was answered.
    #[must_use]
    pub fn take(&self) -> Vec<NewRequest> {
        let take = |buffer: &Mutex<Vec<NewRequest>>| {
            let mut waiting = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            // Why the room is kept: the next requests must not grow a vector step by step.
            let room = waiting.capacity();
            std::mem::replace(&mut *waiting, Vec::with_capacity(room.min(WAITING)))
        };
        let mut all = take(&self.0.refused);
        all.append(&mut take(&self.0.answered));
        all.sort_by_key(|request| request.at);
        all
    }

    /// Requests that were dropped since start.
    #[must_use]
    pub fn n_dropped(&self) -> u64 {
        self.0.n_dropped.load(Ordering::Relaxed)
    }

    /// Counts requests that were lost later on.
    pub fn count_dropped(&self, n: u64) {
        self.0.n_dropped.fetch_add(n, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use keyward_core::time::UnixMillis;

    use super::*;

    fn request(at: i64, status: u16) -> NewRequest {
        NewRequest {
            at: UnixMillis(at),
            request_id: [b'x'; 24],
            account: None,
            key: None,
            environment: None,
            method: "GET",
            route: "/v3/me",
            status,
            code: None,
            reason: None,
            limited: None,
            address: std::net::IpAddr::from([192, 0, 2, 1]),
            micros: 1,
            flags: 0,
        }
    }

    #[test]
    fn a_flood_of_good_requests_pushes_out_no_refusal() {
        let records = Records::new(true);
        for at in 0..20_000 {
            records.push(request(at, 200));
        }
        records.push(request(7, 401));
        let taken = records.take();
        assert_eq!(taken.len(), WAITING + 1);
        assert_eq!(taken.iter().filter(|request| request.status == 401).count(), 1);
        assert!(taken.is_sorted_by_key(|request| request.at));
        assert_eq!(records.n_dropped(), 20_000 - 16_384);
        assert!(records.take().is_empty());
    }

    #[test]
    fn its_bound_in_bytes_is_what_the_file_says() {
        assert!(size_of::<NewRequest>() <= 184, "{}", size_of::<NewRequest>());
    }
}
