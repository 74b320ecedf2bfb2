//! Requests of an HTTP/2 connection, by when they began: none may last for ever.
//!
//! A client can leave a window shut and never take an answer, and go on answering pings. So each request
//! is counted in the period in which it began, until the last byte of its answer was handed over. One
//! that is still there when its fourth period begins ends the connection: 90 s to 120 s after it began,
//! which is longer than any body, store or honest line takes. A connection that asks nothing within the
//! first period is ended as well, and one on which nothing was asked for four.
//!
//! What waits to be taken counts as memory of the address that asked (`app` `bodies`).
//!
//! Bound: five counters a connection.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::places::Activity;
use crate::app::bodies::Share;

pub const PERIOD: Duration = Duration::from_secs(30);
const PERIODS: usize = 4;
/// What an answer takes beside its body.
const ANSWER_BYTES: usize = 4096;

/// The requests of one connection.
pub struct Streams {
    period: AtomicU32,
    n_begun: AtomicU32,
    began: [AtomicU32; PERIODS],
    activity: Arc<Activity>,
}

/// A request, until its answer is gone.
pub struct Stream {
    streams: Arc<Streams>,
    slot: usize,
}

/// Looks after the requests of one connection.
pub struct Watch {
    streams: Arc<Streams>,
    n_begun: u32,
    quiet: usize,
}

impl Streams {
    #[must_use]
    pub fn new(activity: Arc<Activity>) -> Self {
        let zero = || AtomicU32::new(0);
        let began = [zero(), zero(), zero(), zero()];
        Self { period: zero(), n_begun: zero(), began, activity }
    }

    /// A request begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Stream {
        let slot = self.period.load(Ordering::Relaxed) as usize % PERIODS;
        self.began[slot].fetch_add(1, Ordering::Relaxed);
        self.n_begun.fetch_add(1, Ordering::Relaxed);
        self.activity.begin();
        Stream { streams: Arc::clone(self), slot }
    }
}

impl Watch {
    #[must_use]
    pub fn new(streams: Arc<Streams>) -> Self {
        Self { streams, n_begun: 0, quiet: 0 }
    }

    /// A period is over: false if the connection is to be ended.
    pub fn turn(&mut self) -> bool {
        let streams = &self.streams;
        let next = streams.period.load(Ordering::Relaxed).wrapping_add(1);
        streams.period.store(next, Ordering::Relaxed);
        if streams.began[next as usize % PERIODS].load(Ordering::Relaxed) > 0 {
            return false;
        }
        let n_begun = streams.n_begun.load(Ordering::Relaxed);
        let is_quiet = n_begun == self.n_begun && !streams.activity.is_at_work();
        let is_first = next == 1;
        self.n_begun = n_begun;
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
        self.quiet < PERIODS && !(is_first && is_quiet)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.began[self.slot].fetch_sub(1, Ordering::Relaxed);
        self.streams.activity.end();
    }
}

/// What an answer holds until its last byte was handed to the connection: its request, and memory.
struct Hold {
    _stream: Stream,
    _share: Share,
}

/// A part of an answer, which the library may keep as long as the client takes nothing.
struct Held {
    bytes: Bytes,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pin_project! {
    /// The body of an answer, whose request is over when the last of its bytes is gone.
    pub struct Answering<B> {
        #[pin]
        body: B,
        hold: Arc<Hold>,
        has_room: bool,
    }
}

impl<B: Body> Answering<B> {
    /// One for which there is no memory, since its client takes no answers, is broken off.
    pub fn new(body: B, stream: Stream, mut share: Share) -> Self {
        let bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let has_room = share.grow(bytes.saturating_add(ANSWER_BYTES));
        let hold = Arc::new(Hold { _stream: stream, _share: share });
        Self { body, hold, has_room }
    }
}

type Fault = Box<dyn Error + Send + Sync>;

impl<B: Body<Data = Bytes, Error: Into<Fault>>> Body for Answering<B> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.project();
        if !*this.has_room {
            return Poll::Ready(Some(Err("answers are not taken".into())));
        }
        let frame = ready!(this.body.poll_frame(cx));
        let hold = |bytes| Bytes::from_owner(Held { bytes, _hold: Arc::clone(this.hold) });
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(hold)),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.has_room && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Arc<Streams>, Watch) {
        let streams = Arc::new(Streams::new(Arc::default()));
        (Arc::clone(&streams), Watch::new(streams))
    }

    #[test]
    fn a_request_that_never_ends_is_seen_in_its_fourth_period_and_one_that_ends_is_not() {
        let (streams, mut watch) = connection();
        let stuck = streams.begin();
        assert!(streams.activity.is_at_work());
        for _ in 0..3 {
            let passing = streams.begin();
            assert!(watch.turn(), "it has time");
            drop(passing);
        }
        assert!(!watch.turn(), "it had its time");
        drop(stuck);
        assert!(!streams.activity.is_at_work());
        for _ in 0..20 {
            let passing = streams.begin();
            assert!(watch.turn() && watch.turn() && watch.turn());
            drop(passing);
        }
    }

    #[test]
    fn a_connection_that_asks_nothing_is_ended_at_once_and_a_used_one_after_a_while() {
        let (_, mut watch) = connection();
        assert!(!watch.turn());
        let (streams, mut watch) = connection();
        drop(streams.begin());
        assert!(watch.turn() && watch.turn() && watch.turn() && watch.turn());
        assert!(!watch.turn());
    }
}
