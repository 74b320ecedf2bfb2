//! The program as a server, in a process of its own: start, signals, kill, a full disk.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, kill_process, prlimit};

use crate::disk::sign_in;
use crate::metrics::Scrape;
use crate::program::{Served, Shell, call};

/// Where a server says that its metrics are; asked for once.
fn metrics_of(served: &mut Served) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(served.log.read_line(&mut line).expect("it writes text"), 0);
        if let Some((_, address)) = line.split_once("metrics are on http://") {
            return address.trim().trim_end_matches("/metrics").to_owned();
        }
    }
}

/// Another way to write 127.0.0.1 that is not taken for this machine's own: the server cannot know who reaches
/// it there, and nobody else does.
const OPEN: [&str; 5] =
    ["serve", "--listen", "[::ffff:127.0.0.1]:0", "--metrics-listen", "127.0.0.1:0"];

#[test]
fn plain_http_to_others_is_refused_and_who_insists_is_warned_at_every_start_and_on_every_page() {
    let shell = Shell::new();
    shell.set_up();
    let refused = shell.run(&OPEN);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("keys would travel in clear"), "{refused:?}");
    for _ in 0..2 {
        let mut served = Served::of(shell.command(&[&OPEN[..], &["--insecure-http"]].concat()));
        let mut line = String::new();
        served.log.read_line(&mut line).expect("it writes text");
        let warned = "warn  other machines reach this server over plain HTTP: keys";
        assert!(line.contains(warned) && line.contains("--tls-cert"), "{line}");
        let cookie = sign_in(&served);
        for page in ["/overview", "/keys", "/team"] {
            let page = served.call(&format!("GET {page} HTTP/1.1\r\ncookie: {cookie}"), "");
            let warned = "Other machines reach this server over plain HTTP: keys can be read";
            assert!(page.starts_with("HTTP/1.1 200") && page.contains(warned), "{page}");
        }
        let page = served.call("GET /login HTTP/1.1", "");
        assert!(page.contains("Other machines reach this server over plain HTTP"), "{page}");
    }
    // Its own address needs no warning.
    let served = Served::start(&shell);
    let cookie = sign_in(&served);
    let page = served.call(&format!("GET /overview HTTP/1.1\r\ncookie: {cookie}"), "");
    assert!(page.starts_with("HTTP/1.1 200") && !page.contains("Other machines"), "{page}");
}

#[test]
fn it_says_where_it_listens_and_what_comes_next_and_stops_on_a_signal() {
    let shell = Shell::new();
    let mut served =
        Served::of(shell.command(&["serve", "--listen", "127.0.0.1:0", "--threads", "1"]));
    let mut line = String::new();
    served.log.read_line(&mut line).expect("it writes text");
    assert!(line.contains("there is no account yet") && line.contains("setup --account"), "{line}");
    line.clear();
    served.log.read_line(&mut line).expect("it writes text");
    let link = line.split(&format!("http://{}", served.address)).nth(1).unwrap_or_default();
    let link = link.split(' ').next().unwrap_or_default();
    let page = served.call(&format!("GET {link} HTTP/1.1"), "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Make the account"), "{page}");
    // A request in flight when the signal comes is answered. With one thread that serves, an answer to
    // somebody who came later shows that the head was read.
    let mut stream = TcpStream::connect(&served.address).expect("it listens");
    let head = "GET /v3/me HTTP/1.1\r\nhost: x\r\n";
    stream.write_all(head.as_bytes()).expect("it reads");
    assert!(served.call("GET /healthcheck HTTP/1.1", "").contains("ok\n"), "it has read the head");
    served.signal(Signal::TERM);
    loop {
        line.clear();
        assert_ne!(served.log.read_line(&mut line).expect("it writes text"), 0);
        if line.contains("stopping") {
            break;
        }
    }
    stream.write_all(b"\r\n").expect("it still reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized"), "{answer}");
    let status = served.child.wait().expect("it was started");
    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(&served.address).is_err(), "nobody listens any more");
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end() {
    let shell = Shell::new();
    let listeners = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let limit = ["--rate-limit-unauthenticated", "1000000"];
    let mut served = Served::of(shell.command(&[&listeners[..], &limit].concat()));
    let metrics = metrics_of(&mut served);
    // From here on the log is not read: the pipe fills up, and lines wait in memory.
    let waiting = || {
        let answer = call(&metrics, "GET /metrics HTTP/1.1", "");
        Scrape::parse(&answer).of("keyward_log_waiting_bytes")
    };
    let mut n_answers = 0;
    while waiting() < 100_000.0 {
        for _ in 0..100 {
            assert!(served.call("GET /v3/me HTTP/1.1", "").starts_with("HTTP/1.1 401"));
        }
        n_answers += 100;
        assert!(n_answers < 100_000, "the pipe takes everything");
    }
    served.signal(Signal::TERM);
    // One that never ends is killed, and has no exit code.
    let (pid, (ended, waiting)) = (served.pid(), std::sync::mpsc::channel::<()>());
    let watch = std::thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
            kill_process(pid, Signal::KILL).expect("it runs");
        }
    });
    let status = served.child.wait().expect("it was started");
    drop(ended);
    watch.join().expect("no panic");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let (revoked, _) = shell.issue(&[]);
    let served = Served::start(&shell);
    let head = format!("POST /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    for number in 0..20 {
        let body = format!("{{\"phone_number\":\"+1415555{number:04}\"}}");
        let answer = served.call(&head, &body);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    shell.json(&["keys", "revoke", &revoked.id.to_string()]);
    served.signal(Signal::KILL);
    drop(served);
    let served = Served::start(&shell);
    let list = format!("GET /v3/contacts HTTP/1.1\r\nx-api-key: {}", key.clear);
    assert!(served.call(&list, "").contains("\"total_count\":20"));
    let me = format!("GET /v3/me HTTP/1.1\r\nx-api-key: {}", revoked.clear);
    assert!(served.call(&me, "").starts_with("HTTP/1.1 401"));
}

#[test]
fn a_disk_without_room_refuses_changes_while_keys_are_checked_and_reads_go_on() {
    let shell = Shell::new();
    shell.set_up();
    let (key, _) = shell.issue(&[]);
    let mut served = Served::start(&shell);
    let metrics = metrics_of(&mut served);
    // Whether it says that it can write, and how many commits had no room.
    let told = || {
        let mut stream = TcpStream::connect(&metrics).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let scrape = Scrape::parse(&answer);
        let failed = scrape.of("keyward_store_failed_commits_total{reason=\"full\"}");
        (scrape.of("keyward_store_writable") > 0.5, failed)
    };
    let with_key = |line: &str| format!("{line} HTTP/1.1\r\nx-api-key: {}", key.clear);
    let create = with_key("POST /v3/contacts");
    assert_eq!(told(), (true, 0.0));
    let body = |number: u32| format!("{{\"phone_number\":\"+1415555{number:04}\"}}");
    assert!(served.call(&create, &body(1)).starts_with("HTTP/1.1 201"));
    // The system refuses every write that would make a file larger than this.
    let limit = |bytes: Option<u64>| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(served.pid()), Resource::Fsize, limit).expect("it runs");
    };
    limit(Some(4096));
    let refused = served.call(&create, &body(2));
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("INTERNAL_005"), "{refused}");
    let (is_writable, failed) = told();
    assert!(!is_writable && failed >= 1.0, "the operator sees it: {failed}");
    assert!(served.call(&with_key("GET /v3/me"), "").starts_with("HTTP/1.1 200"));
    let list = served.call(&with_key("GET /v3/contacts"), "");
    assert!(list.contains("\"total_count\":1"), "nothing is half written: {list}");
    limit(None);
    let made = served.call(&create, &body(2));
    assert!(made.starts_with("HTTP/1.1 201"), "it recovers by itself: {made}");
    assert!(told().0, "and that it is over");
}

/// A receiver that takes one delivery and then says nothing, and after it one that answers.
#[test]
fn a_delivery_in_flight_at_a_kill_is_sent_again_and_a_change_is_made_once() {
    let shell = Shell::new();
    shell.set_up();
    let issued = shell.json(&["keys", "create", "--name", "ci", "--environment", "test"]);
    let key = issued["key"].as_str().expect("it is shown");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let served = Served::start(&shell);
    let with_key = |line: &str| format!("{line} HTTP/1.1\r\nx-api-key: {key}");
    let hook = format!(
        "{{\"display_name\":\"a\",\"endpoint_url\":\"{url}\",\"event_types\":[\"contact\"]}}"
    );
    assert!(served.call(&with_key("POST /v3/webhooks"), &hook).starts_with("HTTP/1.1 201"));
    let create = format!("{}\r\nidempotency-key: once", with_key("POST /v3/contacts"));
    let body = "{\"phone_number\":\"+14155550123\"}";
    let made = served.call(&create, body);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let take = |is_answered: bool| {
        let (mut stream, _) = listener.accept().expect("it listens");
        let mut reader = BufReader::new(stream.try_clone().expect("it can be"));
        let mut id = String::new();
        let mut line = String::new();
        while reader.read_line(&mut line).expect("it is text") > 2 {
            if let Some(value) = line.strip_prefix("x-webhook-event-id: ") {
                id = value.trim().to_owned();
            }
            line.clear();
        }
        if is_answered {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("it reads");
        }
        (id, stream)
    };
    let (first, held) = take(false);
    served.signal(Signal::KILL);
    drop(served);
    drop(held);
    let served = Served::start(&shell);
    let (again, _) = take(true);
    assert_eq!(again, first);
    // Whoever had no answer asks once more, and gets the first one.
    let repeated = served.call(&create, body);
    assert!(repeated.contains("idempotent-replayed: true"), "{repeated}");
    let data = |answer: &str| answer.split("\r\n\r\n").nth(1).map(str::to_owned);
    assert_eq!(data(&repeated), data(&made));
    let list = served.call(&with_key("GET /v3/contacts"), "");
    assert!(list.contains("\"total_count\":1"), "{list}");
}

#[test]
fn it_takes_as_many_files_as_it_may_and_says_when_those_are_too_few() {
    let shell = Shell::new();
    let limited = |limit: &str| {
        let program = shell.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut command = Command::new("sh");
        command.env_clear().arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\""));
        command.arg(program.get_program()).args(program.get_args());
        Served::of(command)
    };
    let files = |served: &Served| -> Vec<String> {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", served.child.id()));
        let limits = limits.expect("it runs");
        let line = limits.lines().find(|line| line.starts_with("Max open files"));
        line.expect("it is limited").split_whitespace().skip(3).map(str::to_owned).collect()
    };
    let served = limited("-S -n 200");
    let (found, ours) = (files(&served), rustix::process::getrlimit(Resource::Nofile).maximum);
    assert_eq!(found[0], found[1], "soft and hard are the same");
    assert_eq!(found[0], ours.map_or(String::from("unlimited"), |n| n.to_string()));
    drop(served);
    let mut served = limited("-n 400");
    assert_eq!(files(&served)[0], "400");
    let mut line = String::new();
    while !line.contains("400 files, which is fewer than the 16384 connections") {
        line.clear();
        assert_ne!(served.log.read_line(&mut line).expect("it writes text"), 0);
    }
    assert!(line.contains("warn"), "{line}");
}
