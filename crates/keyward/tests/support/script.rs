//! Runs a script for Node.js and does for it what only the harness can: start servers, move the clock.
//!
//! The script writes a command to its stdout, a line each, with an argument in JSON, and gets an
//! answer on its stdin, a line of JSON as well:
//!
//! - `fresh {"begin": null}`: a new and empty server in place of the last one, its clock at 2024 or
//!   at that millisecond; gives its address. The other commands are about this server.
//! - `restart`: stops it and starts it on the same data and port.
//! - `advance 1000`: moves the clock by that many milliseconds.
//! - `cli {"arguments": ["keys", "list"], "stdin": ""}`: runs the real program on its data folder, by
//!   the system's clock; gives `code`, `out` and `err`.
//! - `log`: what was logged. `flush`: writes down usage and requests, and raises what is due.
//! - `setup-link`: a link with which the first account is made.
//! - `db-grep "text"`: the files of the data folder in which these bytes are.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use keyward_core::time::UnixMillis;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::support::BareServer;

/// Runs `e2e/browser/{name}`, which must succeed.
pub(crate) async fn run(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    assert!(
        root.join("target/e2e/browser/stamp.sha256").exists(),
        "the browser's driver is not installed: run scripts/test-tools.sh, or 'make test', first"
    );
    let mut child = Command::new("node")
        .arg(root.join("e2e/browser").join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut world = World { server: None };
    while let Some(line) = lines.next_line().await.expect("the script writes text") {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, "null"));
        let argument = serde_json::from_str(argument)
            .unwrap_or_else(|error| panic!("the argument is no JSON: {error}: {line}"));
        let answer = world.answer(command, &argument).await;
        stdin.write_all(format!("{answer}\n").as_bytes()).await.expect("the script reads");
    }
    let status = child.wait().await.expect("it was started");
    world.stop().await;
    assert!(status.success(), "the script reports failures above: {status}");
}

struct World {
    server: Option<BareServer>,
}

impl World {
    fn server(&mut self) -> &mut BareServer {
        self.server.as_mut().expect("the script begins with 'fresh'")
    }

    async fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop().await;
        }
    }

    async fn answer(&mut self, command: &str, argument: &Value) -> Value {
        match command {
            "fresh" => {
                self.stop().await;
                let server = self.server.insert(BareServer::start().await);
                if let Some(begin) = argument["begin"].as_i64() {
                    server.clock.set_wall(UnixMillis(begin));
                }
                json!({"base": format!("http://{}", server.address())})
            }
            "restart" => {
                let server = self.server();
                server.keep_port();
                server.restart().await;
                Value::Null
            }
            "advance" => {
                self.server().advance(argument.as_u64().expect("a number of milliseconds"));
                Value::Null
            }
            "cli" => {
                let arguments = argument["arguments"].as_array().expect("a list");
                let arguments = arguments.iter().map(|text| text.as_str().expect("a text"));
                let stdin = argument["stdin"].as_str().expect("a text");
                cli(self.server().data_dir(), arguments, stdin).await
            }
            "log" => Value::from(self.server().log_so_far().await),
            "flush" => {
                let running = self.server().running();
                running.flush_usage().await.expect("the store writes");
                running.flush_records().await.expect("the store writes");
                running.check_alerts().await.expect("the store writes");
                Value::Null
            }
            "setup-link" => {
                let app = self.server().app();
                let link = keyward::app::accounts::setup_link(app).await.expect("it answers");
                let token = link.map(|(token, _)| token.reveal().to_owned());
                json!(token.map(|token| format!("/setup/{token}")))
            }
            "db-grep" => {
                let wanted = argument.as_str().expect("a text");
                json!(files_with(self.server().data_dir(), wanted.as_bytes()))
            }
            _ => panic!("the script asks for something else: {command}"),
        }
    }
}

async fn cli(data_dir: &Path, arguments: impl Iterator<Item = &str>, stdin: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    // No setting of whoever runs the tests must reach it.
    command.env_clear().current_dir(data_dir).args(arguments).arg("--data-dir").arg(data_dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is built");
    // A command that does not read its input closes it.
    let _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes()).await;
    let Output { status, stdout, stderr } = child.wait_with_output().await.expect("it was started");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    json!({"code": status.code(), "out": text(stdout), "err": text(stderr)})
}

/// The files below a folder in which some bytes are, named from there, in order.
fn files_with(folder: &Path, wanted: &[u8]) -> Vec<String> {
    assert!(!wanted.is_empty(), "nothing is everywhere");
    let mut found = vec![];
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).expect("it is there") {
            let entry = entry.expect("it can be read");
            let kind = entry.file_type().expect("it can be read");
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).expect("it can be read");
                if bytes.windows(wanted.len()).any(|window| window == wanted) {
                    let name = path.strip_prefix(folder).expect("it is below");
                    found.push(name.display().to_string());
                }
            }
        }
    }
    found.sort();
    found
}
