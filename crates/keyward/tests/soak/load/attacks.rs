//! The attacks, each with the memory that it may make the server take.
//!
//! Bounds are reckoned from ARCHITECTURE.md and said beside each: what a connection takes at rest, what
//! is kept of a head, a body, an answer. Each attack is also bounded in connections and time.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::target::{Aim, PROXY};
use crate::hostile::{self, connect_from, frame};

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) over_tls: bool,
    /// Bytes that the server may grow by.
    pub(crate) most_growth: u64,
    pub(crate) begin: fn(&Aim, &mut JoinSet<()>),
}

const MIB: u64 = 1 << 20;
const STRANGER: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

pub(crate) const ATTACKS: &[Attack] = &[
    // Two buffers of 8 KiB that the HTTP library takes at once for each, and what we keep: 24 KiB.
    Attack {
        name: "10,000 idle connections",
        over_tls: false,
        most_growth: 240 * MIB,
        begin: idle,
    },
    // As many more as there are places, and those that are idle make room for others.
    Attack {
        name: "more connections than places",
        over_tls: false,
        most_growth: 256 * MIB,
        begin: full,
    },
    // A head grows up to 64 KiB; here each is 1 KiB at most.
    Attack {
        name: "heads byte by byte",
        over_tls: false,
        most_growth: 64 * MIB,
        begin: slow_heads,
    },
    // The share of one account, 32 MiB, and a buffer of 64 KiB for 4,000 connections.
    Attack {
        name: "bodies byte by byte",
        over_tls: false,
        most_growth: 288 * MIB,
        begin: slow_bodies,
    },
    // 64 KiB that are not written yet, 64 KiB that are not read yet, and one answer, for 2,000.
    Attack {
        name: "answers never read",
        over_tls: false,
        most_growth: 320 * MIB,
        begin: never_read,
    },
    Attack { name: "wrong keys", over_tls: false, most_growth: 64 * MIB, begin: wrong_keys },
    Attack { name: "one good key", over_tls: false, most_growth: 64 * MIB, begin: one_key },
    Attack { name: "huge heads and bodies", over_tls: false, most_growth: 64 * MIB, begin: huge },
    Attack {
        name: "connections opened and closed",
        over_tls: false,
        most_growth: 64 * MIB,
        begin: opens,
    },
    // Who waits for a turn by address, with a socket: 1 KiB.
    Attack {
        name: "the same from 100,000 addresses",
        over_tls: false,
        most_growth: 64 * MIB,
        begin: opens_from_everywhere,
    },
    // 65,536 strangers of 80 bytes, and requests that wait to be remembered, twice 7 MB.
    Attack {
        name: "100,000 client addresses",
        over_tls: false,
        most_growth: 96 * MIB,
        begin: addresses,
    },
    // Two passwords of 19 MiB at once, and 160 KiB for each form that waits.
    Attack {
        name: "sign-ins from many addresses",
        over_tls: false,
        most_growth: 128 * MIB,
        begin: sign_ins,
    },
    // 32 KiB for a handshake that has begun.
    Attack {
        name: "handshakes never finished",
        over_tls: true,
        most_growth: 192 * MIB,
        begin: handshakes,
    },
    Attack { name: "requests reset at once", over_tls: true, most_growth: 96 * MIB, begin: resets },
    Attack {
        name: "heads without end",
        over_tls: true,
        most_growth: 64 * MIB,
        begin: endless_heads,
    },
    Attack { name: "pings and settings", over_tls: true, most_growth: 64 * MIB, begin: pings },
    // 100 requests of 8 KiB and their answer, for each of 100 connections.
    Attack {
        name: "windows never opened",
        over_tls: true,
        most_growth: 256 * MIB,
        begin: shut_windows,
    },
];

/// One of many addresses of this machine that all belong to attackers.
fn source(number: usize) -> Ipv4Addr {
    let third = u8::try_from(number / 200 % 6 + 10).unwrap_or(10);
    Ipv4Addr::new(127, 0, third, u8::try_from(number % 200 + 1).unwrap_or(1))
}

/// Holds connections to the end, each after `begin` was done with it. From five addresses.
fn hold<F>(
    aim: &Aim,
    tasks: &mut JoinSet<()>,
    n: usize,
    begin: impl Fn(TcpStream, Instant) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (address, end) = (aim.address, aim.end);
    // So many that open at once.
    for lane in 0..50 {
        let begin = begin.clone();
        tasks.spawn(async move {
            let mut held = JoinSet::new();
            for number in (lane..n).step_by(50) {
                let from = Ipv4Addr::new(127, 0, 5, u8::try_from(number % 5 + 1).unwrap_or(1));
                if let Ok(stream) = connect_from(address, from).await {
                    held.spawn(begin(stream, end));
                }
            }
            while held.join_next().await.is_some() {}
        });
    }
}

async fn wait_for_the_end(stream: TcpStream, end: Instant) -> io::Result<()> {
    tokio::time::sleep_until(end).await;
    drop(stream);
    Ok(())
}

fn idle(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 10_000, wait_for_the_end);
}

fn full(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 18_000, wait_for_the_end);
}

/// Writes `bytes` one by one, so that all are written at the end.
async fn drip(stream: &mut TcpStream, bytes: &[u8], end: Instant) -> io::Result<()> {
    for byte in bytes {
        if Instant::now() > end {
            break;
        }
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    tokio::time::sleep_until(end).await;
    Ok(())
}

fn slow_heads(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 2000, |mut stream, end| async move {
        stream.write_all(b"GET /v3/me HTTP/1.1\r\nhost: x\r\nx-slow: ").await?;
        drip(&mut stream, &[b'x'; 1000], end).await
    });
}

fn slow_bodies(aim: &Aim, tasks: &mut JoinSet<()>) {
    let head = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\n\r\n{}",
        aim.key,
        "x".repeat(16 * 1024)
    );
    hold(aim, tasks, 4000, move |mut stream, end| {
        let head = head.clone();
        async move {
            stream.write_all(head.as_bytes()).await?;
            drip(&mut stream, &[b'x'; 1000], end).await
        }
    });
}

fn never_read(aim: &Aim, tasks: &mut JoinSet<()>) {
    let requests = "GET /docs HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    hold(aim, tasks, 2000, move |mut stream, end| {
        let requests = requests.clone();
        async move {
            let writing = stream.write_all(requests.as_bytes());
            let _ = tokio::time::timeout_at(end, writing).await;
            tokio::time::sleep_until(end).await;
            Ok(())
        }
    });
}

/// Sends `requests` again and again over `n` connections and reads what is answered, a new connection
/// for each round.
fn flood(aim: &Aim, tasks: &mut JoinSet<()>, n: usize, requests: impl Fn(usize) -> Vec<u8>) {
    for number in 0..n {
        let (address, end, requests) = (aim.address, aim.end, requests(number));
        tasks.spawn(async move {
            while Instant::now() < end {
                let Ok(stream) = connect_from(address, source(number)).await else { continue };
                // Refused ones are closed while we write.
                let _ = tokio::time::timeout_at(end, round(stream, &requests)).await;
            }
        });
    }
}

async fn round(mut stream: TcpStream, requests: &[u8]) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    let mut scrap = [0; 16 * 1024];
    let reading = async {
        while read.read(&mut scrap).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let writing = async {
        write.write_all(requests).await?;
        write.shutdown().await
    };
    let (written, read) = tokio::join!(writing, reading);
    written.and(read)
}

fn with_key(key: &str, n: usize) -> Vec<u8> {
    format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n").repeat(n).into_bytes()
}

fn wrong_keys(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 64, |_| with_key(STRANGER, 500));
}

fn one_key(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 64, |_| with_key(&aim.key, 500));
}

fn huge(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 16, |_| {
        let head = "x".repeat(1 << 20);
        format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-huge: {head}\r\n\r\n").into_bytes()
    });
    flood(aim, tasks, 16, |_| {
        let body = "x".repeat(8 << 20);
        format!(
            "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\
             content-type: application/json\r\n\r\n{body}",
            aim.key,
            body.len()
        )
        .into_bytes()
    });
}

fn opens(aim: &Aim, tasks: &mut JoinSet<()>) {
    for number in 0..64 {
        let (address, end) = (aim.address, aim.end);
        tasks.spawn(async move {
            while Instant::now() < end {
                drop(connect_from(address, source(number)).await);
            }
        });
    }
}

fn opens_from_everywhere(aim: &Aim, tasks: &mut JoinSet<()>) {
    for number in 0..64_u32 {
        let (address, end) = (aim.address, aim.end);
        tasks.spawn(async move {
            for n in (number..).step_by(64) {
                if Instant::now() > end {
                    break;
                }
                let from = Ipv4Addr::from(0x7f40_0000 + n % 100_000);
                drop(connect_from(address, from).await);
            }
        });
    }
}

/// 100,000 addresses, each of them once, over 20 connections of a trusted proxy; then from the first.
fn addresses(aim: &Aim, tasks: &mut JoinSet<()>) {
    for number in 0..20_u32 {
        let (address, end) = (aim.address, aim.end);
        tasks.spawn(async move {
            while Instant::now() < end {
                for part in 0..10_u32 {
                    let mut requests = String::new();
                    for n in 0..500_u32 {
                        let client = Ipv4Addr::from(0x0b00_0000 + number * 5000 + part * 500 + n);
                        requests.push_str(&format!(
                            "GET /v3/me HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\n\
                             x-api-key: {STRANGER}\r\n\r\n"
                        ));
                    }
                    let Ok(stream) = connect_from(address, PROXY).await else { continue };
                    let _ = tokio::time::timeout_at(end, round(stream, requests.as_bytes())).await;
                }
            }
        });
    }
}

fn sign_ins(aim: &Aim, tasks: &mut JoinSet<()>) {
    for number in 0..200_u32 {
        let (address, end) = (aim.address, aim.end);
        tasks.spawn(async move {
            for n in 0.. {
                if Instant::now() > end {
                    break;
                }
                let client = Ipv4Addr::from(0x0c00_0000 + number * 10_000 + n);
                let form = format!("email=someone{number}-{n}%40example.com&password=guess+guess+1");
                let request = format!(
                    "POST /login HTTP/1.1\r\nhost: {address}\r\nx-forwarded-for: {client}\r\n\
                     origin: http://{address}\r\nconnection: close\r\n\
                     content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
                    form.len()
                );
                let Ok(stream) = connect_from(address, PROXY).await else { continue };
                let _ = tokio::time::timeout_at(end, round(stream, request.as_bytes())).await;
            }
        });
    }
}

fn handshakes(aim: &Aim, tasks: &mut JoinSet<()>) {
    hold(aim, tasks, 6000, |mut stream, end| async move {
        // The beginning of a ClientHello.
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?;
        wait_for_the_end(stream, end).await
    });
}

/// Begins HTTP/2 on `n` connections and writes what `next` gives for each round until the server closes
/// it, then again.
fn flood_http2(aim: &Aim, tasks: &mut JoinSet<()>, n: usize, next: fn(u32) -> Vec<u8>) {
    for _ in 0..n {
        let aim = aim.clone();
        tasks.spawn(async move {
            let tls = aim.tls.expect("it is over TLS");
            while Instant::now() < aim.end {
                let Ok(mut stream) = tls.begin(aim.address, &[]).await else { continue };
                let flooding = async {
                    for number in 0.. {
                        if stream.write_all(&next(number)).await.is_err() {
                            break;
                        }
                    }
                };
                let _ = tokio::time::timeout_at(aim.end, flooding).await;
            }
        });
    }
}

fn resets(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood_http2(aim, tasks, 16, |number| hostile::reset(number % 1_000_000 * 2 + 1, "/v3/me"));
}

fn endless_heads(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood_http2(aim, tasks, 16, |number| match number {
        0 => frame(hostile::HEADERS, hostile::END_STREAM, 1, &hostile::get("/v3/me")),
        _ => {
            let more = [&[0, 1, b'a', 0x7f, 0x81, 0x3f], "x".repeat(8192).as_bytes()].concat();
            frame(hostile::CONTINUATION, 0, 1, &more)
        }
    });
}

fn pings(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood_http2(aim, tasks, 8, |_| frame(hostile::PING, 0, 0, &[0; 8]).repeat(1000));
    flood_http2(aim, tasks, 8, |_| frame(hostile::SETTINGS, 0, 0, &[]).repeat(1000));
}

/// A hundred requests on each of a hundred connections, of which no answer is ever taken.
fn shut_windows(aim: &Aim, tasks: &mut JoinSet<()>) {
    for _ in 0..100 {
        let aim = aim.clone();
        tasks.spawn(async move {
            let tls = aim.tls.expect("it is over TLS");
            let settings = [(hostile::INITIAL_WINDOW_SIZE, 0)];
            let Ok(mut stream) = tls.begin(aim.address, &settings).await else { return };
            let flags = hostile::END_STREAM | hostile::END_HEADERS;
            let get = hostile::get("/docs");
            let requests: Vec<u8> =
                (0..300).flat_map(|n| frame(hostile::HEADERS, flags, n * 2 + 1, &get)).collect();
            let _ = stream.write_all(&requests).await;
            tokio::time::sleep_until(aim.end).await;
        });
    }
}
