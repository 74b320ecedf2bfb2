//! Sockets: accept, serve, and stop without losing an answer.
//!
//! Each thread that serves has a runtime of its own and keeps the connections that it was given, in
//! turn: no request ever moves between threads. They share the index and the queues of log and records.
//!
//! Bound: 16,384 connections, each with at most 64 KiB of head in memory; a head must arrive within
//! 30 s, and a connection that was used before may wait twice as long for the next one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use keyward_tower::{Code, Peer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tower_service::Service;

use super::Guarded;
use super::wire::{Unreadable, Wire};

const CONNECTIONS: usize = 16_384;
const HEAD_BYTES: usize = 64 * 1024;
const HEAD_LINES: usize = 256;

type Accepted = (std::net::TcpStream, OwnedSemaphorePermit);

/// A thread that serves the connections that it is given.
pub struct Lane {
    connections: mpsc::UnboundedSender<Accepted>,
    /// Told when the last one is over: whether all requests were answered.
    is_finished: oneshot::Receiver<bool>,
}

/// Starts threads that serve. They end when the [`Lane`]s are gone, and let requests in flight finish
/// for `grace`.
///
/// # Errors
/// If the system does not start one.
pub fn lanes(n_threads: usize, guarded: &Guarded, grace: Duration) -> io::Result<Vec<Lane>> {
    let lane = |number| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (connections, accepted) = mpsc::unbounded_channel();
        let (finished, is_finished) = oneshot::channel();
        let guarded = guarded.clone();
        std::thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || serve_lane(&runtime, accepted, &guarded, grace, finished))?;
        Ok(Lane { connections, is_finished })
    };
    (0..n_threads).map(lane).collect()
}

fn serve_lane(
    runtime: &Runtime,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    guarded: &Guarded,
    grace: Duration,
    finished: oneshot::Sender<bool>,
) {
    let is_finished = runtime.block_on(async {
        let graceful = GracefulShutdown::new();
        while let Some((stream, place)) = accepted.recv().await {
            let Ok(stream) = TcpStream::from_std(stream) else { continue };
            let Ok(connection) = connect(stream, guarded) else { continue };
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // A connection that fails concerns its client alone, who knows.
                let _ = connection.await;
                drop(place);
            });
        }
        tokio::time::timeout(grace, graceful.shutdown()).await.is_ok()
    });
    // Nobody listens when the server is dropped and not stopped.
    let _ = finished.send(is_finished);
}

/// Accepts until told to stop and hands connections to the lanes in turn, then waits for them.
///
/// Gives true if all requests in flight were answered.
pub async fn serve(
    listener: TcpListener,
    lanes: Vec<Lane>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut turn = 0;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                // A lane that panicked takes none; the client sees a closed connection.
                let _ = lanes[turn % lanes.len()].connections.send((stream, place));
                turn = turn.wrapping_add(1);
            }
            Err(error) if is_exhausted(&error) => {
                // Nothing can be done but wait until a connection closes.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => {}
        }
    }
    drop(listener);
    let mut is_finished = true;
    let ends: Vec<_> = lanes.into_iter().map(|lane| lane.is_finished).collect();
    for end in ends {
        is_finished &= end.await.unwrap_or(false);
    }
    is_finished
}

fn connect(
    stream: TcpStream,
    guarded: &Guarded,
) -> io::Result<
    http1::Connection<
        TokioIo<Wire<TcpStream>>,
        impl hyper::service::HttpService<
            hyper::body::Incoming,
            ResBody = super::Body,
            Error = std::convert::Infallible,
            Future: Send,
        > + use<>,
    >,
> {
    let address = stream.peer_addr()?;
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    stream.set_nodelay(true)?;
    let door = Arc::clone(&guarded.door);
    let unreadable: Unreadable = Arc::new(move |code: Code| door.unreadable(code, address.ip()));
    let service = guarded.service.clone();
    let is_answering = Arc::new(AtomicBool::new(false));
    let wire = Wire::new(stream, unreadable, Arc::clone(&is_answering));
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        is_answering.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer { address, is_encrypted: false });
        service.clone().call(request)
    });
    // Why no timer: the wire has one that need not be set anew for each request.
    Ok(http1::Builder::new()
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(wire), service))
}

/// Out of file descriptors or memory, by the system's own numbers.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}
