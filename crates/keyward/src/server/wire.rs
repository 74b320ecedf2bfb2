//! The connection below HTTP: answers to what cannot be read, and a close that loses no answer.
//!
//! The HTTP library answers a request that it cannot parse by itself, with a bare status line. Here
//! that answer is replaced by the contract's, since every answer whatsoever carries its headers.
//! It is recognised by what it is: the last thing written on a connection, a head alone, without
//! the request id that all of ours have.
//!
//! A client that sends no head is not waited for. The timer is set once and looked after when it rings:
//! to set it anew for each request would cost more than to verify a key. One that takes no answer is not
//! waited for either: that timer is there only while nothing can be written.
//!
//! A socket that is closed while the client is still sending is reset, and the client may never see
//! the answer. So after the last answer the rest is read and thrown away, within a bound.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keyward_tower::Code;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::places::Activity;

/// How long a head may take. A connection that was used since the timer was set has that time again.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of an answer that waits for it.
pub const TAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Read and thrown away before a connection is closed: at most this much,
const LINGER_BYTES: usize = 32 << 20;
/// for at most this long,
const LINGER: Duration = Duration::from_secs(5);
/// and no longer than until nothing has come for a while: a client that keeps an idle connection
/// must not hold up the end of the server.
const QUIET: Duration = Duration::from_millis(300);

/// Writes the answer to a request that could not be read: status line, headers and body.
pub type Unreadable = Arc<dyn Fn(Code) -> Vec<u8> + Send + Sync>;

pin_project! {
    /// A connection's bytes.
    pub struct Wire<T> {
        #[pin]
        inner: T,
        unreadable: Unreadable,
        patience: Pin<Box<Sleep>>,
        // Set when a request is read, and until its answer is begun.
        activity: Arc<Activity>,
        // Runs while an answer is not taken.
        stuck: Option<Pin<Box<Sleep>>>,
        // Something was written since the timer was set.
        was_used: bool,
        // An answer of ours that replaces the library's, and how much of it is written.
        replaced: Option<(Vec<u8>, usize)>,
        is_shut: bool,
        lingered: usize,
        linger: Option<(Pin<Box<Sleep>>, Instant)>,
    }
}

impl<T> Wire<T> {
    /// The connection's bytes; whoever takes its requests says when one begins.
    pub fn new(inner: T, unreadable: Unreadable, activity: Arc<Activity>) -> Self {
        Self {
            inner,
            unreadable,
            patience: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
            activity,
            stuck: None,
            was_used: false,
            replaced: None,
            is_shut: false,
            lingered: 0,
            linger: None,
        }
    }
}

/// Where the library's own answer begins in what it writes, and what it is about.
fn bare_answer(bytes: &[u8]) -> Option<(usize, Code)> {
    let head_end = bytes.strip_suffix(b"\r\n\r\n")?;
    // Only the last 512 bytes: the library's own answer is shorter.
    let from = head_end.len().saturating_sub(512);
    let start = from + head_end[from..].windows(9).rposition(|window| window == b"HTTP/1.1 ")?;
    let head = &head_end[start..];
    if head.windows(12).any(|window| window.eq_ignore_ascii_case(b"x-request-id")) {
        return None;
    }
    let code = match head.get(9..12)? {
        b"400" => Code::RequestMalformed,
        b"414" => Code::UrlTooLong,
        b"431" => Code::HeadTooLarge,
        _ => return None,
    };
    Some((start, code))
}

/// What came of writing; an error in place of waiting once the client has taken nothing for too long.
fn or_stuck<R>(
    stuck: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
    written: Poll<io::Result<R>>,
) -> Poll<io::Result<R>> {
    if written.is_ready() {
        if stuck.is_some() {
            *stuck = None;
        }
        return written;
    }
    let timer = stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKE_TIMEOUT)));
    timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
}

impl<T: AsyncWrite> Wire<T> {
    /// Writes what is left of a replaced answer.
    fn poll_replaced(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        while let Some((bytes, written)) = this.replaced {
            if *written == bytes.len() {
                *this.replaced = None;
                break;
            }
            let n = this.inner.as_mut().poll_write(cx, &bytes[*written..]);
            let n = ready!(or_stuck(this.stuck, cx, n))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += n;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        // Why not while stuck: nothing more is answered to a client that takes no answer, and the library
        // must not begin one before the last is written. Whoever writes is woken.
        if this.stuck.is_none()
            && let ready @ Poll::Ready(_) = this.inner.poll_read(cx, buffer)
        {
            this.activity.read();
            return ready;
        }
        while this.patience.as_mut().poll(cx).is_ready() {
            if !std::mem::take(this.was_used) && !this.activity.is_at_work() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.patience.as_mut().reset(Instant::now() + HEAD_TIMEOUT);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_replaced(cx))?;
        let this = self.as_mut().project();
        *this.was_used = true;
        // "100 Continue" is not yet an answer.
        if !bytes.starts_with(b"HTTP/1.1 1") {
            this.activity.rest();
        }
        if let Some((start, code)) = bare_answer(bytes) {
            let this = self.as_mut().project();
            let mut answer = bytes[..start].to_vec();
            answer.extend_from_slice(&(this.unreadable)(code));
            *this.replaced = Some((answer, 0));
            // Taken over whole; the rest is written on flush if not at once.
            if let Poll::Ready(Err(error)) = self.poll_replaced(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        let this = self.project();
        let written = this.inner.poll_write(cx, bytes);
        or_stuck(this.stuck, cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_replaced(cx))?;
        let this = self.project();
        let flushed = this.inner.poll_flush(cx);
        or_stuck(this.stuck, cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_replaced(cx))?;
        let mut this = self.project();
        if !*this.is_shut {
            let shut = this.inner.as_mut().poll_shutdown(cx);
            ready!(or_stuck(this.stuck, cx, shut))?;
            *this.is_shut = true;
            *this.linger = Some((Box::pin(tokio::time::sleep(QUIET)), Instant::now() + LINGER));
        }
        let mut scrap = [0; 16 * 1024];
        while *this.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scrap);
            match this.inner.as_mut().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
                Poll::Ready(Ok(())) => {
                    *this.lingered += buffer.filled().len();
                    if let Some((timer, end)) = this.linger {
                        timer.as_mut().reset((Instant::now() + QUIET).min(*end));
                    }
                }
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {
                    let timer = this.linger.as_mut().map(|(timer, _)| timer.as_mut());
                    return timer.map_or(Poll::Ready(()), |timer| timer.poll(cx)).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Head and body as they are, where copying them together first would cost more. What the library
    /// answers by itself is a head alone, and so a single buffer.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = buffers.iter().filter(|buffer| !buffer.is_empty());
        let (first, second) = (filled.next(), filled.next());
        if second.is_none() {
            return self.poll_write(cx, first.map_or(&[], |buffer| buffer));
        }
        ready!(self.as_mut().poll_replaced(cx))?;
        let this = self.project();
        *this.was_used = true;
        this.activity.rest();
        let written = this.inner.poll_write_vectored(cx, buffers);
        or_stuck(this.stuck, cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn wire() -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Activity>) {
        let (near, far) = tokio::io::duplex(1024);
        let activity = Arc::new(Activity::default());
        let wire = Wire::new(near, Arc::new(|_| vec![]), Arc::clone(&activity));
        (wire, far, activity)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_no_answer_is_not_waited_for_and_who_takes_some_has_time_again() {
        let (mut wire, mut far, _) = wire();
        wire.write_all(&[0; 1024]).await.expect("there is room");
        let started = Instant::now();
        let error = wire.write_all(&[0]).await.expect_err("nothing is taken");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), TAKE_TIMEOUT);
        let (mut wire, mut slow, _) = self::wire();
        std::mem::swap(&mut far, &mut slow);
        let taking = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(TAKE_TIMEOUT - Duration::from_secs(1)).await;
                far.read_u8().await.expect("it is written");
            }
            far
        });
        wire.write_all(&[0; 1034]).await.expect("each byte comes in time");
        taking.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_head_is_not_waited_for() {
        let (mut wire, _far, _) = wire();
        let started = Instant::now();
        let error = wire.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_its_time_and_a_used_connection_waits_once_more() {
        let (mut wire, mut far, activity) = wire();
        activity.work();
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("there is room");
        let reading = tokio::time::timeout(HEAD_TIMEOUT * 10, wire.read_u8());
        assert!(reading.await.is_err(), "a request that is being answered is waited for");
        far.write_all(b"x").await.expect("there is room");
        assert_eq!(wire.read_u8().await.expect("it came"), b'x');
        wire.write_all(b"HTTP/1.1 200 OK\r\nx-request-id: r\r\n\r\n").await.expect("there is room");
        let started = Instant::now();
        let error = wire.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() > HEAD_TIMEOUT && started.elapsed() <= HEAD_TIMEOUT * 2);
    }

    #[test]
    fn only_the_librarys_own_answer_is_taken_for_one() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                     content-length: 0\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";
        assert_eq!(bare_answer(bare), Some((0, Code::HeadTooLarge)));
        let after_another =
            [b"HTTP/1.1 200 OK\r\nx-request-id: r\r\n\r\n{}".as_slice(), bare].concat();
        assert_eq!(bare_answer(&after_another), Some((38, Code::HeadTooLarge)));
        for ours in [
            b"HTTP/1.1 204 No Content\r\nx-request-id: req_1\r\n\r\n".as_slice(),
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nX-Request-Id: req_1\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"\r\n\r\n",
            b"",
        ] {
            assert_eq!(bare_answer(ours), None, "{}", String::from_utf8_lossy(ours));
        }
    }
}
