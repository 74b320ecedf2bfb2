//! The program as people run it: commands on a data folder, and a server in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::TestKey;

/// The program on a data folder of its own.
pub(crate) struct Shell {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) data_dir: PathBuf,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data_dir = folder.path().join("data");
        Self { folder, data_dir }
    }

    pub(crate) fn on(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), ..Self::new() }
    }

    /// A file beside the data folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        // No setting of whoever runs the tests must reach them.
        command.env_clear().current_dir(self.folder.path());
        command.args(arguments).arg("--data-dir").arg(&self.data_dir);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Ended {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        // A command that does not read its input closes it.
        let _ = child.stdin.take().expect("it is piped").write_all(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it was started");
        Ended {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).expect("it writes text"),
            err: String::from_utf8(stderr).expect("it writes text"),
        }
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    pub(crate) fn set_up(&self) {
        let ended = self.run_with(&SETUP, b"correct horse battery staple\n");
        assert_eq!(ended.code, 0, "{ended:?}");
    }

    pub(crate) fn issue(&self, more: &[&str]) -> (TestKey, Value) {
        let arguments =
            [&["keys", "create", "--name", "job", "--environment", "production"], more].concat();
        let issued = self.json(&arguments);
        let text = |name: &str| issued[name].as_str().expect("a text").to_owned();
        let key = TestKey { id: text("id").parse().expect("a UUID"), clear: text("key") };
        (key, issued)
    }

    pub(crate) fn explain(&self, key: &str) -> (i32, Value) {
        let ended = self.run_with(&["keys", "explain", "--key-stdin", "--json"], key.as_bytes());
        let told = serde_json::from_str(&ended.out);
        (ended.code, told.unwrap_or_else(|error| panic!("{error}: {ended:?}")))
    }
}

pub(crate) const SETUP: [&str; 8] = [
    "setup",
    "--account",
    "Acme",
    "--owner-name",
    "Ada Lovelace",
    "--owner-email",
    "ada@example.com",
    "--password-stdin",
];

/// The program as a server, in a process of its own; it ends with this.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStderr>,
    pub(crate) address: String,
}

impl Served {
    pub(crate) fn start(shell: &Shell) -> Self {
        let metrics = ["--metrics-listen", "127.0.0.1:0"];
        let arguments = [["serve", "--listen", "127.0.0.1:0"].as_slice(), &metrics].concat();
        Self::of(shell.command(&arguments))
    }

    /// Starts a server with a command that is more than the usual one.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program is built");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        // Before it listens it may have something else to say.
        while !line.contains("://") && log.read_line(&mut line).expect("it writes text") > 0 {}
        let address = line.split("://").nth(1).and_then(|rest| rest.split(' ').next());
        // Why first: whatever happens next, the process ends with this.
        let mut served = Self { address: String::new(), child, log };
        served.address = address.unwrap_or_else(|| panic!("it says where: {line}")).to_owned();
        served
    }

    pub(crate) fn call(&self, head: &str, body: &str) -> String {
        call(&self.address, &format!("{head}\r\ncontent-type: application/json"), body)
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("a process number is small");
        Pid::from_raw(id).expect("and not 0")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request on a connection of its own, and reads the answer.
pub(crate) fn call(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let request =
        format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
