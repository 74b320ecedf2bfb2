//! Attacks that hold connections: opened once, and kept for as long as the attack lasts.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::target::{Aim, open};

/// So many that open at once.
const LANES: usize = 50;
/// Connections that are wanted at once where there are places for 16,384. Five addresses have 3,600 each,
/// fewer than one may have: it is for want of places that some must go.
pub(crate) const MORE_THAN_PLACES: usize = 18_000;
/// Who was closed to make room comes again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Holds `n` connections, each with what `begin` does on it. From five addresses.
fn hold<F>(
    aim: &Aim,
    tasks: &mut JoinSet<()>,
    n: usize,
    begin: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    for lane in 0..LANES {
        let (aim, begin) = (aim.clone(), begin.clone());
        tasks.spawn(async move {
            let mut held = JoinSet::new();
            for number in (lane..n).step_by(LANES) {
                let from = Ipv4Addr::new(127, 0, 5, u8::try_from(number % 5 + 1).unwrap_or(1));
                let stream = open(aim.address, from).await;
                aim.done.add(1);
                held.spawn(begin(stream));
            }
            while held.join_next().await.is_some() {}
        });
    }
}

async fn stay(stream: TcpStream) -> io::Result<()> {
    std::future::pending::<()>().await;
    drop(stream);
    Ok(())
}

pub(crate) fn idle(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 10_000, stay);
}

pub(crate) fn full(aim: &Aim, tasks: &mut JoinSet<()>) {
    let again = aim.clone();
    hold(aim, tasks, MORE_THAN_PLACES, move |stream| come_again(again.clone(), stream));
}

/// Stays until it is closed to make room for another, and then wants a place again: otherwise the house
/// would never be pressed for long, and some of the places that were made free would stay so.
async fn come_again(aim: Aim, mut stream: TcpStream) -> io::Result<()> {
    let IpAddr::V4(from) = stream.local_addr()?.ip() else { return Ok(()) };
    loop {
        // Nothing is ever said on it.
        let _ = stream.read(&mut [0]).await;
        drop(stream);
        tokio::time::sleep(AGAIN).await;
        stream = open(aim.address, from).await;
        aim.done.add(1);
    }
}

/// Writes a byte now and then.
async fn drip(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        stream.write_all(b"x").await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

pub(crate) fn slow_heads(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 2000, |mut stream| async move {
        stream.write_all(b"GET /v3/me HTTP/1.1\r\nhost: x\r\nx-slow: ").await?;
        drip(&mut stream).await
    });
}

pub(crate) fn slow_bodies(aim: &Aim, tasks: &mut JoinSet<()>) {
    let head = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\n\r\n{}",
        aim.key,
        "x".repeat(16 * 1024)
    );
    hold(aim, tasks, 4000, move |mut stream| {
        let head = head.clone();
        async move {
            stream.write_all(head.as_bytes()).await?;
            drip(&mut stream).await
        }
    });
}

pub(crate) fn never_read(aim: &Aim, tasks: &mut JoinSet<()>) {
    let requests = "GET /docs HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    hold(aim, tasks, 2000, move |mut stream| {
        let requests = requests.clone();
        async move {
            // Not all of it is ever taken.
            let _ = stream.write_all(requests.as_bytes()).await;
            stay(stream).await
        }
    });
}

pub(crate) fn handshakes(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 6000, |mut stream| async move {
        // The beginning of a ClientHello.
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?;
        stay(stream).await
    });
}
