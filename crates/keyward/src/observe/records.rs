//! Requests on their way to where they are remembered.
//!
//! An answered request is copied into a buffer, and a worker takes the buffer away: nobody waits for
//! the store, and nothing is allocated, for the worker brings an empty buffer along. Refusals have one
//! of their own, so that a flood of good requests does not push out what somebody will ask about.
//!
//! Bound: 16,384 requests of 208 bytes in each buffer, 7 MB, and as much that is being written; one
//! that does not fit is dropped and counted. Off, it holds nothing.
//! Locks: one mutex around both, held to copy a request into one or to take both away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward_store::requests::NewRequest;

/// Requests that wait in each buffer at most.
pub const WAITING: usize = 16_384;

const _: () = assert!(size_of::<NewRequest>() <= 208);

/// Takes requests from anywhere; its clones share their buffers.
#[derive(Clone)]
pub struct Records {
    is_on: bool,
    waiting: Arc<Mutex<Waiting>>,
}

struct Waiting {
    batch: Batch,
    dropped: Dropped,
}

/// Requests by kind, in the order in which they were answered.
#[derive(Default)]
pub struct Batch {
    /// Answered with 400 or more.
    refused: Vec<NewRequest>,
    passed: Vec<NewRequest>,
}

/// How many requests were dropped since start, because too many waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Answered with 400 or more.
    pub refused: u64,
    pub passed: u64,
}

impl Batch {
    /// An empty one with room for all that may wait.
    #[must_use]
    pub fn with_room() -> Self {
        Self { refused: Vec::with_capacity(WAITING), passed: Vec::with_capacity(WAITING) }
    }

    /// Moves everything to the end of `all`, the oldest first. The room stays.
    pub fn empty_into(&mut self, all: &mut Vec<NewRequest>) {
        let from = all.len();
        all.append(&mut self.refused);
        all.append(&mut self.passed);
        // Stable, so that those of one millisecond stay in order.
        all[from..].sort_by_key(|request| request.at);
    }
}

impl Records {
    /// `is_on`: whether requests are remembered at all.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        let batch = if is_on { Batch::with_room() } else { Batch::default() };
        let waiting = Waiting { batch, dropped: Dropped::default() };
        Self { is_on, waiting: Arc::new(Mutex::new(waiting)) }
    }

    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Hands a request over, or drops it.
    pub fn push(&self, request: NewRequest) {
        if !self.is_on {
            return;
        }
        let mut waiting = self.locked();
        let Waiting { batch, dropped } = &mut *waiting;
        let (buffer, dropped) = if request.status < 400 {
            (&mut batch.passed, &mut dropped.passed)
        } else {
            (&mut batch.refused, &mut dropped.refused)
        };
        if buffer.len() < WAITING {
            buffer.push(request);
        } else {
            *dropped += 1;
        }
    }

    /// Takes what waits, and leaves the room of `batch`, which must be empty, for what comes.
    pub fn drain(&self, batch: &mut Batch) {
        if self.is_on {
            debug_assert!(batch.refused.is_empty() && batch.passed.is_empty());
            std::mem::swap(&mut self.locked().batch, batch);
        }
    }

    /// Requests that wait, refused ones and others.
    #[must_use]
    pub fn waiting(&self) -> [usize; 2] {
        let waiting = self.locked();
        [waiting.batch.refused.len(), waiting.batch.passed.len()]
    }

    /// What was dropped since start.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.locked().dropped
    }

    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dropped {
    #[must_use]
    pub const fn total(self) -> u64 {
        self.refused.saturating_add(self.passed)
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

    fn drained(records: &Records, batch: &mut Batch) -> Vec<(i64, u16)> {
        let mut all = vec![];
        records.drain(batch);
        batch.empty_into(&mut all);
        all.iter().map(|request| (request.at.0, request.status)).collect()
    }

    #[test]
    fn what_was_pushed_is_drained_once_and_the_oldest_first() {
        let (records, mut batch) = (Records::new(true), Batch::with_room());
        for (at, status) in [(1, 200), (2, 401), (2, 204), (3, 500), (4, 200)] {
            records.clone().push(request(at, status));
        }
        let all = [(1, 200), (2, 401), (2, 204), (3, 500), (4, 200)];
        assert_eq!(drained(&records, &mut batch), all);
        assert_eq!(drained(&records, &mut batch), []);
    }

    #[test]
    fn a_flood_of_good_requests_pushes_out_no_refusal_and_drops_are_counted_by_kind() {
        let (records, mut batch) = (Records::new(true), Batch::with_room());
        for at in 0..20_000 {
            records.push(request(at, 200));
        }
        records.push(request(7, 401));
        let expected = Dropped { refused: 0, passed: 20_000 - 16_384 };
        assert_eq!(records.dropped(), expected);
        let taken = drained(&records, &mut batch);
        assert_eq!(taken.len(), WAITING + 1);
        assert_eq!(taken[8], (7, 200), "the first ones are kept");
        assert_eq!(taken[7], (7, 401));
        for at in 0..16_386 {
            records.push(request(at, 429));
        }
        assert_eq!(records.dropped(), Dropped { refused: 2, ..expected });
        assert_eq!(records.dropped().total(), 3_618);
    }

    #[test]
    fn buffers_go_back_and_forth_and_never_grow() {
        let (records, mut batch) = (Records::new(true), Batch::with_room());
        let rooms = |batch: &Batch| (batch.refused.capacity(), batch.passed.capacity());
        let mut all = vec![];
        for _ in 0..4 {
            for at in 0..20_000 {
                records.push(request(at, 200));
                records.push(request(at, 404));
            }
            records.drain(&mut batch);
            assert_eq!(rooms(&batch), (WAITING, WAITING));
            batch.empty_into(&mut all);
            assert_eq!(rooms(&batch), (WAITING, WAITING));
        }
    }

    #[test]
    fn off_nothing_is_taken_and_nothing_is_held() {
        let (records, mut batch) = (Records::new(false), Batch::with_room());
        records.push(request(1, 401));
        assert!(drained(&records, &mut batch).is_empty());
        assert_eq!(records.dropped(), Dropped::default());
        assert_eq!(records.locked().batch.refused.capacity(), 0);
    }
}
