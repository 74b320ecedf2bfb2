//! Answered requests on their way to whoever collects traces.
//!
//! As with those that are remembered: a request is copied into a buffer that exists, and a worker takes
//! the buffer away. A caller that says that its trace is not recorded is heard.
//!
//! Bound: 8,192 requests of 136 bytes, 1.1 MB, and as much that is being sent; one that does not fit is
//! dropped and counted. Off, it holds nothing.
//! Locks: one mutex, held to copy a request into the buffer or to take it away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward_core::time::UnixMillis;
use keyward_tower::trace::TraceParent;

/// Requests that wait at most.
pub const WAITING: usize = 8192;

const _: () = assert!(size_of::<Span>() <= 136);

/// One answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What the caller says it belongs to; otherwise it begins a trace.
    pub parent: Option<TraceParent>,
    pub request_id: [u8; 24],
    pub at: UnixMillis,
    pub micros: u64,
    pub method: &'static str,
    /// The pattern, never the path that was sent.
    pub route: &'static str,
    pub status: u16,
    pub code: Option<&'static str>,
    pub reason: Option<&'static str>,
}

/// What became of requests since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFigures {
    pub exported: u64,
    /// Dropped because too many waited.
    pub dropped: u64,
    /// Sent, and not taken.
    pub failed: u64,
}

/// Takes requests from anywhere; its clones share their buffer.
#[derive(Clone)]
pub struct Spans {
    is_on: bool,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    spans: Vec<Span>,
    figures: SpanFigures,
}

impl Spans {
    /// `is_on`: whether anybody collects them.
    #[must_use]
    pub fn new(is_on: bool) -> Self {
        let spans = if is_on { Vec::with_capacity(WAITING) } else { vec![] };
        let waiting = Waiting { spans, figures: SpanFigures::default() };
        Self { is_on, waiting: Arc::new(Mutex::new(waiting)) }
    }

    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Hands a request over, or drops it.
    pub fn push(&self, span: Span) {
        if !self.is_on || span.parent.is_some_and(|parent| !parent.is_sampled) {
            return;
        }
        let mut waiting = self.locked();
        if waiting.spans.len() < WAITING {
            waiting.spans.push(span);
        } else {
            waiting.figures.dropped += 1;
        }
    }

    /// Takes what waits, and leaves the room of `batch`, which is emptied, for what comes.
    pub fn drain(&self, batch: &mut Vec<Span>) {
        batch.clear();
        if self.is_on {
            std::mem::swap(&mut self.locked().spans, batch);
        }
    }

    /// Counts requests that were sent.
    pub fn sent(&self, n: usize, is_taken: bool) {
        let (n, mut waiting) = (u64::try_from(n).unwrap_or(u64::MAX), self.locked());
        let counter =
            if is_taken { &mut waiting.figures.exported } else { &mut waiting.figures.failed };
        *counter = counter.saturating_add(n);
    }

    #[must_use]
    pub fn figures(&self) -> SpanFigures {
        self.locked().figures
    }

    /// Nothing that can panic happens while the lock is held, so a poisoned one is good.
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(at: i64) -> Span {
        Span {
            parent: None,
            request_id: [b'x'; 24],
            at: UnixMillis(at),
            micros: 1,
            method: "GET",
            route: "/v3/me",
            status: 200,
            code: None,
            reason: None,
        }
    }

    #[test]
    fn so_many_wait_and_what_does_not_fit_is_counted() {
        let (spans, mut batch) = (Spans::new(true), Vec::with_capacity(WAITING));
        let most = i64::try_from(WAITING).expect("it is small");
        for at in 0..most + 3 {
            spans.push(span(at));
        }
        spans.drain(&mut batch);
        assert_eq!((batch.len(), batch.last().map(|span| span.at.0)), (WAITING, Some(most - 1)));
        spans.push(span(9));
        spans.drain(&mut batch);
        assert_eq!(batch, [span(9)]);
        spans.sent(5, true);
        spans.sent(2, false);
        assert_eq!(spans.figures(), SpanFigures { exported: 5, dropped: 3, failed: 2 });
    }

    #[test]
    fn where_nobody_collects_nothing_is_held() {
        let (spans, mut batch) = (Spans::new(false), vec![]);
        spans.push(span(1));
        spans.drain(&mut batch);
        assert_eq!((batch, spans.locked().spans.capacity()), (vec![], 0));
        assert_eq!(spans.figures(), SpanFigures::default());
    }
}
