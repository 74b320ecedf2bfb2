//! Sockets: accept, serve, and stop without losing an answer.
//!
//! Bound: 16,384 connections, each with at most 64 KiB of head in memory; a head must arrive within
//! 30 s, also on a connection that was used before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use keyward_tower::{Code, Peer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::Guarded;
use super::wire::{Unreadable, Wire};

const CONNECTIONS: usize = 16_384;
const HEAD_BYTES: usize = 64 * 1024;
const HEAD_LINES: usize = 256;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts and serves until told to stop, then lets requests in flight finish for `grace`.
///
/// Gives true if all of them did.
pub async fn serve(
    listener: TcpListener,
    guarded: Guarded,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if is_exhausted(&error) {
                    // Nothing can be done but wait until a connection closes.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let Ok(connection) = connect(stream, &guarded) else { continue };
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that fails concerns its client alone, who knows.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    tokio::time::timeout(grace, graceful.shutdown()).await.is_ok()
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
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer { address, is_encrypted: false });
        service.clone().call(request)
    });
    Ok(http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Wire::new(stream, unreadable)), service))
}

/// Out of file descriptors or memory, by the system's own numbers.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}
