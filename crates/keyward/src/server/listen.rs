//! Sockets: accept, serve, and stop without losing an answer.
//!
//! Each thread that serves has a runtime of its own and keeps the connections that it was given, in
//! turn: no request ever moves between threads (`lanes`); among those that wait for it, addresses take turns
//! (`turns` of the core). They share the index and the queues of log and
//! records. Who may be connected, `places` says.
//!
//! Bound: 16,384 connections, each with at most 64 KiB of head in memory; a head must arrive within
//! 30 s, and a connection that was used before may wait twice as long for the next one; an answer of
//! which nothing is taken for 30 s is given up. Over TLS: 10 s for the handshake. HTTP/2: 100 requests at
//! once, 64 KiB of a body and 256 KiB of all that nobody has read yet, none longer than two minutes
//! (`streams`); a client that answers no ping within 30 s is gone, and one that resets requests faster
//! than they are answered is sent away by the library.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{HOST, STRICT_TRANSPORT_SECURITY};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use keyward_core::time::UnixMillis;
use keyward_core::turns::Turns;
use keyward_tower::{Code, Peer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

use super::Guarded;
use super::lanes::{Accepted, Handed, Lanes, Work};
use super::places::{Activity, Places};
use super::streams::{self, Answering, Streams, Watch};
use super::tls::Tls;
use super::wire::{HEAD_TIMEOUT, Unreadable, Wire};
use crate::app::Clock;
use crate::app::bodies::Sender;
use crate::observe::log::{Level, Log};

const HEAD_BYTES: usize = 64 * 1024;
const HEAD_LINES: usize = 256;

/// Requests of one HTTP/2 connection that are answered at once,
const STREAMS: u32 = 100;
/// how large a head may be there, each line counted with 32 bytes on top,
const HEAD_BYTES_HTTP2: u32 = 64 * 1024;
/// how much of a body, and of all bodies of a connection, waits in memory until it is read,
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// and how much of an answer waits in memory for a slow reader.
const SEND_BYTES: usize = 64 * 1024;

/// What the system keeps for a connection in each direction; it takes twice that for its own needs. Left
/// to itself it would keep megabytes for whoever reads no answers.
const SOCKET_BYTES: u32 = 128 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Connections that a thread begins to serve at once, before those that it serves have their turn; and
/// requests out of piles that it answers before all others have theirs.
pub(super) const AT_ONCE: usize = 16;
/// Connections that a thread looks at for that: to close one whose client has gone costs little.
const LOOKED_AT_ONCE: usize = 256;

/// A flood is told of once a minute.
const TOLD_EVERY_MILLIS: i64 = 60_000;

/// Listens on an address. Connections have the bounds of the socket that they came to.
///
/// # Errors
/// If the address is taken, not this machine's, or not for this user.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is started again need not wait for connections of the last one.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves the connections that come until no more can, and lets requests in flight finish for `grace`.
pub(super) fn serve_lane(work: Work, guarded: &Guarded, grace: Duration) {
    let Work { runtime, mut accepted, finished } = work;
    let is_finished = runtime.block_on(async {
        let graceful = GracefulShutdown::new();
        let begin = |accepted: Accepted| {
            let handle = accepted.1.handle();
            let (guarded, watcher) = (guarded.clone(), graceful.watcher());
            // Why two tasks: one without TLS takes less memory.
            let task = match guarded.tls.clone() {
                Some(tls) => tokio::spawn(serve_tls(tls, accepted, guarded, watcher)),
                #[cfg(feature = "fuzzing")]
                None if fuzzing::speaks_http2() => {
                    tokio::spawn(fuzzing::serve(accepted, guarded, watcher))
                }
                None => tokio::spawn(serve_plain(accepted, guarded, watcher)),
            };
            handle.may_end(task.abort_handle());
        };
        let mut turns = Turns::default();
        let mut is_open = true;
        while is_open || !turns.is_empty() {
            if turns.is_empty() {
                match accepted.recv().await {
                    Some(accepted) => turns.push(accepted.1.origin(), accepted),
                    None => is_open = false,
                }
            }
            while let Ok(accepted) = accepted.try_recv() {
                turns.push(accepted.1.origin(), accepted);
            }
            let looked_at = (0..LOOKED_AT_ONCE).map_while(|_| turns.take());
            for accepted in looked_at.filter(|(stream, _)| !is_gone(stream)).take(AT_ONCE) {
                begin(accepted);
            }
            // Connections that are there already have their turn before more of them begin.
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(grace, graceful.shutdown()).await.is_ok()
    });
    // Nobody listens when the server is dropped and not stopped.
    let _ = finished.send(is_finished);
}

/// True if a client has closed its connection before it asked anything. A flood of such, from however many
/// addresses, is put away faster than it comes.
fn is_gone(stream: &std::net::TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(n_bytes) => n_bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// The socket, and who is at its other end.
fn open(stream: std::net::TcpStream) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::from_std(stream)?;
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    stream.set_nodelay(true)?;
    let address = stream.peer_addr()?;
    Ok((stream, address))
}

// A connection that fails concerns its client alone, who knows.

async fn serve_plain((stream, place): Accepted, guarded: Guarded, watcher: Watcher) {
    let Ok((stream, address)) = open(stream) else { return };
    let activity = Arc::clone(&place.activity);
    let _ = watcher.watch(connect(stream, &guarded, address, false, activity)).await;
}

async fn serve_tls(tls: Arc<Tls>, (stream, place): Accepted, guarded: Guarded, watcher: Watcher) {
    let Ok((stream, address)) = open(stream) else { return };
    let Some(stream) = tls.accept(stream).await else { return };
    let activity = Arc::clone(&place.activity);
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        let _ = watcher.watch(connect(stream, &guarded, address, true, activity)).await;
        return;
    }
    let streams = Arc::new(Streams::new(activity));
    let mut watch = Watch::new(Arc::clone(&streams));
    let mut connection = pin!(watcher.watch(connect_http2(stream, &guarded, address, streams)));
    let mut periods = tokio::time::interval_at(Instant::now() + streams::PERIOD, streams::PERIOD);
    loop {
        tokio::select! {
            _ = &mut connection => return,
            _ = periods.tick() => if !watch.turn() { return },
        }
    }
}

/// Accepts until told to stop and hands connections to the lanes in turn, then waits for them.
///
/// Gives true if all requests in flight were answered.
pub async fn serve(
    listener: TcpListener,
    mut lanes: Lanes,
    places: Places,
    mut voice: Voice,
    mut stop: watch::Receiver<bool>,
) -> bool {
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places, &mut voice) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(Some(accepted)) => match lanes.hand_over(accepted) {
                Handed::Over => {}
                Handed::ToAnother(number) => voice.say(
                    Level::Error,
                    &format!(
                        "the thread serve-{number} died and its connections with it; another one \
                         serves in its place. The line before this tells where it panicked"
                    ),
                ),
                Handed::ToNobody(number, error) => voice.say(
                    Level::Error,
                    &format!("the thread serve-{number} died and no other can be started: {error}"),
                ),
            },
            Err(error) if is_exhausted(&error) => {
                // Nothing can be done but wait until a connection closes.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(None) | Err(_) => {}
        }
    }
    drop(listener);
    lanes.finish().await
}

/// The next connection, with its place. One whose address has as many as it may is closed.
async fn accept(
    listener: &TcpListener,
    places: &Places,
    voice: &mut Voice,
) -> io::Result<Option<Accepted>> {
    let (stream, address) = listener.accept().await?;
    let Some(place) = places.enter(address.ip()).await else {
        voice.refused(address);
        return Ok(None);
    };
    Ok(Some((stream.into_std()?, place)))
}

/// Tells the operator.
pub struct Voice {
    log: Log,
    clock: Clock,
    refused: u64,
    told_at: Option<UnixMillis>,
}

impl Voice {
    #[must_use]
    pub fn new(log: Log, clock: Clock) -> Self {
        Self { log, clock, refused: 0, told_at: None }
    }

    fn say(&self, level: Level, text: &str) {
        self.log.say(self.clock.wall(), level, text);
    }

    fn refused(&mut self, address: SocketAddr) {
        self.refused += 1;
        let now = self.clock.wall();
        if self.told_at.is_some_and(|last| (now - last).abs() < TOLD_EVERY_MILLIS) {
            return;
        }
        self.told_at = Some(now);
        let message = format!(
            "{} has as many connections as one address may have (connections_per_address); {} refused \
             so far",
            address.ip(),
            self.refused
        );
        self.say(Level::Warn, &message);
    }
}

/// HTTP/1.1, over TLS or not.
fn connect<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: T,
    guarded: &Guarded,
    address: SocketAddr,
    is_encrypted: bool,
    activity: Arc<Activity>,
) -> http1::Connection<
    TokioIo<Wire<T>>,
    impl HttpService<Incoming, ResBody = super::Body, Error = Infallible, Future: Send> + use<T>,
> {
    let door = Arc::clone(&guarded.door);
    let lines = if is_encrypted { HTTPS_LINE } else { "" };
    let unreadable: Unreadable =
        Arc::new(move |code: Code| door.unreadable(code, address.ip(), lines));
    let wire = Wire::new(stream, unreadable, Arc::clone(&activity));
    let service = guarded.service.clone().for_peer(Peer { address, is_encrypted });
    let piles = Arc::clone(&guarded.piles);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let piled = activity.work().then(|| Arc::clone(&piles));
        let mut service = service.clone();
        async move {
            // Why boxed: a connection at rest has no need of the room.
            if let Some(piles) = piled {
                Box::pin(piles.stand_back(address.ip())).await;
            }
            let mut answer = service.call(request).await;
            if let (true, Ok(answer)) = (is_encrypted, &mut answer) {
                ask_for_https(answer);
            }
            answer
        }
    });
    // Why no timer: the wire has one that need not be set anew for each request.
    http1::Builder::new()
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES)
        // Whoever has asked everything may say so by closing its half, and still hears the answers.
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service)
}

/// HTTP/2 is spoken over TLS alone, as browsers do.
fn connect_http2<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: T,
    guarded: &Guarded,
    address: SocketAddr,
    streams: Arc<Streams>,
) -> http2::Connection<
    TokioIo<T>,
    impl HttpService<Incoming, ResBody = Answering<super::Body>, Error = Infallible, Future: Send>
    + use<T>,
    TokioExecutor,
> {
    let service = guarded.service.clone().for_peer(Peer { address, is_encrypted: true });
    let (bodies, sender) = (Arc::clone(&guarded.bodies), Sender::at(address.ip()));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        name_host(&mut request);
        let (stream, share) = (streams.begin(), bodies.share(sender));
        let answering = service.clone().call(request);
        async move {
            let mut answer = answering.await?;
            ask_for_https(&mut answer);
            Ok::<_, Infallible>(answer.map(|body| Answering::new(body, stream, share)))
        }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES_HTTP2)
        .max_send_buf_size(SEND_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

/// HTTP/2 has the host in a place of its own; pages and documents look for it where HTTP/1 has it.
fn name_host(request: &mut http::Request<Incoming>) {
    let host = request.uri().authority().map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// Whoever came by HTTPS shall not come otherwise for a year.
fn ask_for_https<B>(answer: &mut http::Response<B>) {
    let year = HeaderValue::from_static("max-age=31536000");
    answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, year);
}

/// The same for an answer that is no more than bytes.
const HTTPS_LINE: &str = "strict-transport-security: max-age=31536000\r\n";

/// Out of file descriptors or memory, by the system's own numbers.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}

/// For the fuzz targets alone.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Accepted, Arc, Guarded, Streams, Watcher, connect_http2, open};

    static SPEAKS_HTTP2: AtomicBool = AtomicBool::new(false);

    /// From now on who comes without TLS is served as who agreed on HTTP/2 in a handshake.
    pub fn speak_http2() {
        SPEAKS_HTTP2.store(true, Ordering::Relaxed);
    }

    pub(super) fn speaks_http2() -> bool {
        SPEAKS_HTTP2.load(Ordering::Relaxed)
    }

    pub(super) async fn serve((stream, place): Accepted, guarded: Guarded, watcher: Watcher) {
        let Ok((stream, address)) = open(stream) else { return };
        let streams = Arc::new(Streams::new(Arc::clone(&place.activity)));
        let _ = watcher.watch(connect_http2(stream, &guarded, address, streams)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::is_gone;

    #[test]
    fn who_closed_without_a_word_is_gone_and_who_waits_or_asked_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let pair = || {
            let client = TcpStream::connect(address).expect("it listens");
            let (accepted, _) = listener.accept().expect("somebody connected");
            (client, accepted)
        };
        // What was sent or said of the end is there when a look that waits has seen it.
        let look = |accepted: &TcpStream| {
            accepted.peek(&mut [0]).expect("it is a connection");
            accepted.set_nonblocking(true).expect("it is a connection");
            is_gone(accepted)
        };
        let (client, accepted) = pair();
        drop(client);
        assert!(look(&accepted), "closed");
        let (mut client, accepted) = pair();
        client.write_all(b"G").expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        assert!(!look(&accepted), "asked, and says no more");
        let (client, accepted) = pair();
        accepted.set_nonblocking(true).expect("it is a connection");
        assert!(!is_gone(&accepted), "waits");
        drop(client);
    }
}
