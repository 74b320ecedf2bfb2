//! Floods and slow clients: what they may take is bounded, others are served meanwhile, and nothing of
//! them is left. Small here; `make soak` does the same with thousands.

use std::net::{Ipv4Addr, SocketAddr};

use keyward_core::account::AccountKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::hostile::{self, Tls, connect_from, frame};
use crate::support::{BareServer, KeyOf, TestKey, TestServer};

async fn open(server: &BareServer) -> TcpStream {
    connect_from(server.address(), Ipv4Addr::LOCALHOST).await.expect("it listens")
}

/// Over TLS as in clear: a good caller is answered.
async fn is_served(server: &BareServer, tls: &Tls, key: &TestKey) -> bool {
    let mut stream = tls.connect(server.address()).await.expect("it is trusted");
    let request = format!(
        "GET /v3/me HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\nconnection: close\r\n\r\n",
        key.clear
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it answers");
    &answer == b"HTTP/1.1 200"
}

async fn start_tls() -> (TestServer, TestKey, Tls) {
    let server = TestServer::start_with(|settings| {
        settings.tls_self_signed = true;
        settings.rate_limit_standard = 1_000_000;
    })
    .await;
    let key = server.key().await;
    let http1 = Tls::of(server.data_dir(), b"http/1.1");
    (server, key, http1)
}

#[tokio::test]
async fn idle_and_slow_connections_keep_nobody_out_and_leave_nothing() {
    hostile::raise_file_limit();
    let server = TestServer::start_with(|s| s.rate_limit_standard = 1_000_000).await;
    let key = server.key().await;
    let slow_body = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 1000000\r\n\r\n",
        key.clear
    );
    let mut held = vec![];
    for n in 0..300 {
        let mut stream = open(&server).await;
        match n % 3 {
            0 => {}
            1 => {
                for byte in b"GET /v3/me HTTP/1.1\r\nx-api-key: " {
                    stream.write_all(&[*byte]).await.expect("it reads");
                }
            }
            _ => {
                stream.write_all(slow_body.as_bytes()).await.expect("it reads");
                for byte in b"{\"phone_number\"" {
                    stream.write_all(&[*byte]).await.expect("it reads");
                }
            }
        }
        held.push(stream);
    }
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    assert!(server.running().connections() >= 300);
    // What is announced is not kept ready: a megabyte for each would be a hundred.
    assert!(server.app().bodies.taken() < 1 << 20, "{}", server.app().bodies.taken());
    drop(held);
    server.running().none_left().await;
    assert_eq!(server.app().bodies.taken(), 0);
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_others_come_in() {
    let server = BareServer::start_with(|settings| settings.connections_per_address = 20).await;
    let ask = async |source: Ipv4Addr| {
        let mut stream = connect_from(server.address(), source).await.expect("it listens");
        let request = b"GET /healthcheck HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        // It may be closed before that is written.
        let _ = stream.write_all(request).await;
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer).await;
        answer.starts_with(b"HTTP/1.1 200")
    };
    let mut held = vec![];
    for _ in 0..20 {
        held.push(open(&server).await);
    }
    assert!(!ask(Ipv4Addr::LOCALHOST).await);
    assert!(ask(Ipv4Addr::new(127, 0, 0, 2)).await);
    server.wait_for_log("127.0.0.1 has as many connections as one address may have").await;
    assert!(!ask(Ipv4Addr::LOCALHOST).await);
    let n_told = server.logged.text().matches("as many connections").count();
    assert_eq!(n_told, 1, "a flood is told of once a minute");
    assert_eq!(server.running().connection_figures().refused, 2);
    drop(held);
    server.running().none_left().await;
    assert!(ask(Ipv4Addr::LOCALHOST).await);
}

#[tokio::test]
async fn a_trusted_proxy_stands_for_many_and_each_client_is_limited_by_itself() {
    let server = TestServer::start_with(|settings| {
        settings.connections_per_address = 5;
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let key = server.key().await;
    let mut held = vec![];
    for _ in 0..20 {
        held.push(open(&server).await);
    }
    // Of 2,000 addresses each is a stranger for the first time, and one is it for the hundredth.
    let flood = async |client: fn(u32) -> Ipv4Addr, n: u32| {
        let mut requests = String::new();
        for number in 0..n {
            let client = client(number);
            let close = if number + 1 == n { "close" } else { "keep-alive" };
            requests.push_str(&format!(
                "GET /v3/me HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\nconnection: {close}\r\n\
                 x-api-key: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n\r\n"
            ));
        }
        let mut stream = open(&server).await;
        let (mut read, mut write) = stream.split();
        let mut answers = vec![];
        let (written, read) =
            tokio::join!(write.write_all(requests.as_bytes()), read.read_to_end(&mut answers));
        written.expect("it reads all");
        read.expect("it answers all");
        let answers = String::from_utf8(answers).expect("it is text");
        ["401", "429"].map(|status| answers.matches(&format!("HTTP/1.1 {status} ")).count())
    };
    assert_eq!(flood(|n| Ipv4Addr::from(0x0b00_0000 + n), 2000).await, [2000, 0]);
    assert_eq!(flood(|_| Ipv4Addr::new(12, 0, 0, 1), 100).await, [60, 40]);
    let good = server.get("/v3/me").key(&key).header("x-forwarded-for", "12.0.0.1").send().await;
    assert_eq!(good.verdict(), "200", "who has a key is not held for the stranger beside");
}

#[tokio::test]
async fn slow_bodies_of_one_account_take_their_share_and_no_more() {
    hostile::raise_file_limit();
    let server = TestServer::start_with(|s| s.rate_limit_standard = 1_000_000).await;
    let key = server.key().await;
    let other = server.new_account("Other", AccountKind::Organization).await;
    let other = server.issue(KeyOf { account: other.id, ..server.usual() }).await;
    let body = "x".repeat(1_000_000);
    let request = format!(
        "POST /v3/contacts HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: 1000001\r\n\r\n{body}",
        key.clear
    );
    let (refused, mut refusals) = mpsc::channel(100);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (mut stream, request, refused) =
            (open(&server).await, request.clone(), refused.clone());
        sending.spawn(async move {
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = [0; 12];
            // Those that are not refused wait here for what never comes.
            stream.read_exact(&mut answer).await.expect("there is no answer but a refusal");
            refused.send(answer).await.expect("the test counts them");
        });
    }
    for _ in 0..8 {
        assert_eq!(&refusals.recv().await.expect("eight find no room"), b"HTTP/1.1 503");
    }
    assert!(server.app().bodies.taken() <= 32 << 20);
    let body = r#"{"phone_number":"+14155550123"}"#;
    let reply = server.post("/v3/contacts", body).key(&other).send().await;
    assert_eq!(reply.verdict(), "201", "another account has its own share");
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    sending.shutdown().await;
    server.running().none_left().await;
    assert_eq!(server.app().bodies.taken(), 0);
    let reply = server.post("/v3/contacts", body).key(&key).send().await;
    assert_eq!(reply.verdict(), "201", "what was taken is given back");
}

#[tokio::test]
async fn a_body_of_very_many_values_is_refused() {
    let server = TestServer::start().await;
    let key = server.key().await;
    let check = async |body: String, expected: &str| {
        let reply = server.post("/v3/contacts", &body).key(&key).send().await;
        assert_eq!(reply.verdict(), expected);
    };
    let with = |list: String| format!("{{\"phone_number\":\"+14155550123\",\"x\":[{list}]}}");
    check(with("0,".repeat(9_000) + "0"), "201").await;
    check(with("0,".repeat(10_000) + "0"), "400 VALIDATION_001").await;
    check(with("{},".repeat(9_000) + "0"), "400 VALIDATION_001").await;
}

#[tokio::test]
async fn who_reads_no_answers_holds_up_nobody_and_leaves_nothing() {
    hostile::raise_file_limit();
    let server = TestServer::start().await;
    let key = server.key().await;
    let requests = "GET /docs HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2000);
    let mut held = vec![];
    for _ in 0..40 {
        let stream = open(&server).await;
        // As much as fits: at some time neither side takes more.
        stream.writable().await.expect("it is open");
        let mut n_written = 0;
        while let Ok(n) = stream.try_write(&requests.as_bytes()[n_written..]) {
            n_written += n;
            if n_written == requests.len() {
                break;
            }
        }
        assert!(n_written > 1000);
        held.push(stream);
    }
    for _ in 0..10 {
        assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    }
    drop(held);
    server.running().none_left().await;
}

#[tokio::test]
async fn floods_of_huge_heads_are_refused_one_by_one() {
    let server = TestServer::start().await;
    let key = server.key().await;
    for (name, value) in [("x-long", "x".repeat(200_000)), ("x-api-key", "0".repeat(65_000))] {
        for _ in 0..20 {
            let reply = server.get("/v3/me").header(name, &value).send().await;
            assert!([401, 429, 431].contains(&reply.status), "{reply:?}");
        }
    }
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
    server.running().none_left().await;
}

#[tokio::test]
async fn handshakes_that_never_finish_hold_up_nobody() {
    hostile::raise_file_limit();
    let (server, key, tls) = start_tls().await;
    let mut held = vec![];
    for n in 0..150 {
        let mut stream = open(&server).await;
        // The beginning of a record that says it is a ClientHello of 512 bytes.
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.expect("it reads");
        }
        held.push(stream);
    }
    for _ in 0..5 {
        assert!(is_served(&server, &tls, &key).await);
    }
    assert!(server.running().connections() >= 150);
    drop(held);
    server.running().none_left().await;
}

#[tokio::test]
async fn who_resets_requests_without_end_is_sent_away() {
    let (server, key, tls) = start_tls().await;
    let http2 = Tls::of(server.data_dir(), b"h2");
    let mut flood = http2.begin(server.address(), &[]).await.expect("it speaks HTTP/2");
    let resets: Vec<u8> = (0..5000).flat_map(|n| hostile::reset(n * 2 + 1, "/v3/me")).collect();
    // It is closed while we write.
    let _ = flood.write_all(&resets).await;
    assert!(is_served(&server, &tls, &key).await);
    // The client holds its end open: it is the server that went.
    server.running().none_left().await;
    drop(flood);
}

#[tokio::test]
async fn a_head_without_end_is_not_read_to_its_end() {
    let (server, key, tls) = start_tls().await;
    let http2 = Tls::of(server.data_dir(), b"h2");
    let mut flood = http2.begin(server.address(), &[]).await.expect("it speaks HTTP/2");
    let head = frame(hostile::HEADERS, hostile::END_STREAM, 1, &hostile::get("/v3/me"));
    flood.write_all(&head).await.expect("it reads");
    // A header that is not to be put into a table, of 8 KiB.
    let more = [&[0, 1, b'a', 0x7f, 0x81, 0x3f], "x".repeat(8192).as_bytes()].concat();
    let more = frame(hostile::CONTINUATION, 0, 1, &more);
    let mut n_frames = 0;
    while n_frames < 10_000 && flood.write_all(&more).await.is_ok() {
        n_frames += 1;
    }
    assert!(n_frames < 10_000, "80 MB of a head were read");
    assert!(is_served(&server, &tls, &key).await);
    server.running().none_left().await;
    drop(flood);
}

#[tokio::test]
async fn floods_of_pings_and_settings_hold_up_nobody() {
    let (server, key, tls) = start_tls().await;
    let http2 = Tls::of(server.data_dir(), b"h2");
    let mut flooding = tokio::task::JoinSet::new();
    for kind in [hostile::PING, hostile::SETTINGS] {
        let payload = vec![0; if kind == hostile::PING { 8 } else { 0 }];
        let frames = frame(kind, 0, 0, &payload).repeat(1000);
        let mut flood = http2.begin(server.address(), &[]).await.expect("it speaks HTTP/2");
        // Never reads; ends when the server closes it, or with the test.
        flooding.spawn(async move { while flood.write_all(&frames).await.is_ok() {} });
    }
    for _ in 0..20 {
        assert!(is_served(&server, &tls, &key).await);
    }
    flooding.shutdown().await;
    server.running().none_left().await;
}

#[tokio::test]
async fn a_connection_has_a_hundred_requests_at_once_and_the_next_are_refused() {
    let (server, key, tls) = start_tls().await;
    let http2 = Tls::of(server.data_dir(), b"h2");
    let settings = [(hostile::INITIAL_WINDOW_SIZE, 0)];
    let mut stream = http2.begin(server.address(), &settings).await.expect("it speaks HTTP/2");
    let flags = hostile::END_STREAM | hostile::END_HEADERS;
    let get = hostile::get("/healthcheck");
    let requests: Vec<u8> =
        (0..300).flat_map(|n| frame(hostile::HEADERS, flags, n * 2 + 1, &get)).collect();
    stream.write_all(&requests).await.expect("it reads");
    // No answer can be sent whole, for no window is open: so none of the hundred ends.
    let mut refused = vec![];
    while refused.len() < 200 {
        let (kind, number, payload) = hostile::read_frame(&mut stream).await.expect("it answers");
        if kind == hostile::RST_STREAM {
            assert_eq!(payload, hostile::REFUSED_STREAM.to_be_bytes());
            refused.push(number);
        }
    }
    let last: Vec<u32> = (100..300).map(|n| n * 2 + 1).collect();
    assert_eq!(refused, last);
    assert!(is_served(&server, &tls, &key).await);
    drop(stream);
    server.running().none_left().await;
}

#[tokio::test]
async fn a_flood_of_connections_leaves_nothing() {
    hostile::raise_file_limit();
    let server = TestServer::start().await;
    let key = server.key().await;
    let address: SocketAddr = server.address();
    for n in 0..2000 {
        let stream = TcpStream::connect(address).await.expect("it listens");
        drop(stream);
        if n % 200 == 0 {
            assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
        }
    }
    server.running().none_left().await;
    assert_eq!(server.get("/v3/me").key(&key).send().await.verdict(), "200");
}
