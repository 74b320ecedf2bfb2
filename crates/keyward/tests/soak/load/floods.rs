//! Attacks in clear that do the same over and over: requests that are answered, connections that are closed
//! at once, requests that are left alone.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::target::{Aim, PROXY, open};

const STRANGER: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
/// Addresses that an attack comes from whose name says so many.
const ADDRESSES: u32 = 100_000;

/// One of many addresses of this machine that all belong to attackers.
fn source(number: usize) -> Ipv4Addr {
    let third = u8::try_from(number / 200 % 6 + 10).unwrap_or(10);
    Ipv4Addr::new(127, 0, third, u8::try_from(number % 200 + 1).unwrap_or(1))
}

/// Sends `requests` again and again over `n` connections and reads what is answered, a new connection
/// for each round.
fn flood(aim: &Aim, tasks: &mut JoinSet<()>, n: usize, requests: Vec<u8>) {
    let requests = Arc::new(requests);
    for number in 0..n {
        let (aim, requests) = (aim.clone(), Arc::clone(&requests));
        tasks.spawn(async move {
            loop {
                let stream = open(aim.address, source(number)).await;
                aim.done.add(round(stream, &requests).await);
            }
        });
    }
}

/// Sends `requests` and reads to the end what is answered. Gives how many answers there were: what was
/// merely written need not have been looked at.
async fn round(mut stream: TcpStream, requests: &[u8]) -> u64 {
    let (mut read, mut write) = stream.split();
    let reading = async {
        let (mut scrap, mut answers) = ([0; 16 * 1024], Answers::default());
        while let Ok(n @ 1..) = read.read(&mut scrap).await {
            answers.count(&scrap[..n]);
        }
        answers.n
    };
    let writing = async {
        write.write_all(requests).await?;
        write.shutdown().await
    };
    // Refused ones are closed while we write.
    let (_, n_answers) = tokio::join!(writing, reading);
    n_answers
}

/// Counts answers by how their status lines begin, wherever the pieces that are read are cut.
#[derive(Default)]
struct Answers {
    n: u64,
    /// So much of a beginning is seen.
    n_seen: usize,
}

impl Answers {
    fn count(&mut self, bytes: &[u8]) {
        const BEGINNING: &[u8] = b"HTTP/1.1 ";
        for byte in bytes {
            // Its first letter stands in it once, so that another beginning begins here at the earliest.
            self.n_seen = match *byte == BEGINNING[self.n_seen] {
                true => self.n_seen + 1,
                false => usize::from(*byte == BEGINNING[0]),
            };
            if self.n_seen == BEGINNING.len() {
                self.n += 1;
                self.n_seen = 0;
            }
        }
    }
}

fn with_key(key: &str, n: usize) -> Vec<u8> {
    format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n").repeat(n).into_bytes()
}

pub(crate) fn wrong_keys(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 64, with_key(STRANGER, 500));
}

pub(crate) fn one_key(aim: &Aim, tasks: &mut JoinSet<()>) {
    flood(aim, tasks, 64, with_key(&aim.key, 500));
}

pub(crate) fn huge(aim: &Aim, tasks: &mut JoinSet<()>) {
    let head = "x".repeat(1 << 20);
    let head = format!("GET /v3/me HTTP/1.1\r\nhost: x\r\nx-huge: {head}\r\n\r\n");
    flood(aim, tasks, 16, head.into_bytes());
    let body = "x".repeat(8 << 20);
    let body = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\
         content-type: application/json\r\n\r\n{body}",
        aim.key,
        body.len()
    );
    flood(aim, tasks, 16, body.into_bytes());
}

pub(crate) fn opens(aim: &Aim, tasks: &mut JoinSet<()>) {
    for number in 0..64 {
        let aim = aim.clone();
        tasks.spawn(async move {
            loop {
                drop(open(aim.address, source(number)).await);
                aim.done.add(1);
            }
        });
    }
}

/// From each of the addresses once, 64 of them at a time; then from the first.
pub(crate) fn opens_from_everywhere(aim: &Aim, tasks: &mut JoinSet<()>) {
    for lane in 0..64_u32 {
        let aim = aim.clone();
        tasks.spawn(async move {
            for n in (lane..).step_by(64) {
                let from = Ipv4Addr::from(0x7f40_0000 + n % ADDRESSES);
                drop(open(aim.address, from).await);
                // Those that come again are not counted.
                if n < ADDRESSES {
                    aim.done.add(1);
                }
            }
        });
    }
}

/// 100,000 addresses, each of them once, over 20 connections of a trusted proxy; then from the first.
pub(crate) fn addresses(aim: &Aim, tasks: &mut JoinSet<()>) {
    const OF_LANE: u32 = ADDRESSES / 20;
    const AT_ONCE: u32 = 500;
    for lane in 0..20_u32 {
        let aim = aim.clone();
        tasks.spawn(async move {
            // Those that come again are not counted.
            let mut is_first = true;
            loop {
                for part in 0..OF_LANE / AT_ONCE {
                    let mut requests = String::new();
                    for n in 0..AT_ONCE {
                        let client = 0x0b00_0000 + lane * OF_LANE + part * AT_ONCE + n;
                        requests.push_str(&format!(
                            "GET /v3/me HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {}\r\n\
                             x-api-key: {STRANGER}\r\n\r\n",
                            Ipv4Addr::from(client)
                        ));
                    }
                    // Again until each of them was answered.
                    loop {
                        let stream = open(aim.address, PROXY).await;
                        if round(stream, requests.as_bytes()).await == u64::from(AT_ONCE) {
                            break;
                        }
                    }
                    if is_first {
                        aim.done.add(u64::from(AT_ONCE));
                    }
                }
                is_first = false;
            }
        });
    }
}

pub(crate) fn sign_ins(aim: &Aim, tasks: &mut JoinSet<()>) {
    for lane in 0..200_u32 {
        let aim = aim.clone();
        tasks.spawn(async move {
            let address = aim.address;
            for n in 0.. {
                let client = Ipv4Addr::from(0x0c00_0000 + lane * 10_000 + n);
                let form = format!("email=someone{lane}-{n}%40example.com&password=guess+guess+1");
                let request = format!(
                    "POST /login HTTP/1.1\r\nhost: {address}\r\nx-forwarded-for: {client}\r\n\
                     origin: http://{address}\r\nconnection: close\r\n\
                     content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
                    form.len()
                );
                let stream = open(address, PROXY).await;
                // One each, so that as many addresses were answered.
                aim.done.add(round(stream, request.as_bytes()).await);
            }
        });
    }
}

/// Searches that look at all contacts of the account, twice, and find none. Whoever asks is gone before
/// there is an answer; the server cannot tell, for a client that hears on closes its half just so.
pub(crate) fn left(aim: &Aim, tasks: &mut JoinSet<()>) {
    let request = format!(
        "GET /v3/contacts?search=zz&page_size=100 HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n\r\n",
        aim.key
    );
    for number in 0..64 {
        let (aim, request) = (aim.clone(), request.clone());
        tasks.spawn(async move {
            loop {
                let mut stream = open(aim.address, source(number)).await;
                let asking = async {
                    stream.write_all(request.as_bytes()).await?;
                    stream.shutdown().await
                };
                if asking.await.is_ok() {
                    aim.done.add(1);
                }
            }
        });
    }
}
