//! The connection below HTTP: answers to what cannot be read, and a close that loses no answer.
//!
//! The HTTP library answers a request that it cannot parse by itself, with a bare status line. Here
//! that answer is replaced by the contract's, since every answer whatsoever carries its headers.
//! It is recognised by what it is: the last thing written on a connection, a head alone, without
//! the request id that all of ours have.
//!
//! A client that sends no head is not waited for. The timer is set once and looked after when it rings:
//! to set it anew for each request would cost more than to verify a key.
//!
//! A socket that is closed while the client is still sending is reset, and the client may never see
//! the answer. So after the last answer the rest is read and thrown away, within a bound.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keyward_tower::Code;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a head may take. A connection that was used since the timer was set has that time again.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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
        is_answering: Arc<AtomicBool>,
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
    /// The connection's bytes; `is_answering` is set by whoever takes its requests.
    pub fn new(inner: T, unreadable: Unreadable, is_answering: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            unreadable,
            patience: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
            is_answering,
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

impl<T: AsyncWrite> Wire<T> {
    /// Writes what is left of a replaced answer.
    fn poll_replaced(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        while let Some((bytes, written)) = this.replaced {
            if *written == bytes.len() {
                *this.replaced = None;
                break;
            }
            let n = ready!(this.inner.as_mut().poll_write(cx, &bytes[*written..]))?;
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
        if let ready @ Poll::Ready(_) = this.inner.poll_read(cx, buffer) {
            return ready;
        }
        while this.patience.as_mut().poll(cx).is_ready() {
            if !std::mem::take(this.was_used) && !this.is_answering.load(Ordering::Relaxed) {
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
            this.is_answering.store(false, Ordering::Relaxed);
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
        self.project().inner.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_replaced(cx))?;
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_replaced(cx))?;
        let mut this = self.project();
        if !*this.is_shut {
            ready!(this.inner.as_mut().poll_shutdown(cx))?;
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

    /// One buffer at a time, so that an answer can be recognised.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn wire() -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<AtomicBool>) {
        let (near, far) = tokio::io::duplex(1024);
        let is_answering = Arc::new(AtomicBool::new(false));
        let wire = Wire::new(near, Arc::new(|_| vec![]), Arc::clone(&is_answering));
        (wire, far, is_answering)
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
        let (mut wire, mut far, is_answering) = wire();
        is_answering.store(true, Ordering::Relaxed);
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
