//! The program as a server, in a process of its own: start, signals, kill, a full disk.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::cli::Shell;

struct Served {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Served {
    fn start(shell: &Shell) -> Self {
        let mut command = shell.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program is built");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("it writes text");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        // Why first: whatever happens next, the process ends with this.
        let mut served = Self { address: String::new(), child, log };
        served.address = address.unwrap_or_else(|| panic!("it says where: {line}")).to_owned();
        served
    }

    fn call(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("a process number is small");
        Pid::from_raw(id).expect("and not 0")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_what_comes_next_and_stops_on_a_signal() {
    let shell = Shell::new();
    let mut served = Served::start(&shell);
    let mut line = String::new();
    served.log.read_line(&mut line).expect("it writes text");
    assert!(line.contains("there is no account yet") && line.contains("setup --account"), "{line}");
    line.clear();
    served.log.read_line(&mut line).expect("it writes text");
    let link = line.split(&format!("http://{}", served.address)).nth(1).unwrap_or_default();
    let link = link.split(' ').next().unwrap_or_default();
    let page = served.call(&format!("GET {link} HTTP/1.1"), "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Make the account"), "{page}");
    // A request in flight when the signal comes is answered.
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
    let served = Served::start(&shell);
    let with_key = |line: &str| format!("{line} HTTP/1.1\r\nx-api-key: {}", key.clear);
    let create = with_key("POST /v3/contacts");
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
    assert!(served.call(&with_key("GET /v3/me"), "").starts_with("HTTP/1.1 200"));
    let list = served.call(&with_key("GET /v3/contacts"), "");
    assert!(list.contains("\"total_count\":1"), "nothing is half written: {list}");
    limit(None);
    let made = served.call(&create, &body(2));
    assert!(made.starts_with("HTTP/1.1 201"), "it recovers by itself: {made}");
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
