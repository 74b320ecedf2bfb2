//! A server on a disk that fails when the test says so: `faults.c`, built with the C compiler that the
//! database needs as well, and preloaded.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::program::{Served, Shell};

/// The library; built once for each test binary.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let name = format!("faults-{}.so", std::process::id());
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-pthread", "-o"]).arg(&library).arg(source);
        let built = cc.output().expect("there is a C compiler: apt-get install build-essential");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        library
    })
}

/// A data folder whose disk can be made to fail.
pub(crate) struct Disk {
    pub(crate) shell: Shell,
    control: PathBuf,
}

impl Disk {
    /// With an account in it.
    pub(crate) fn new() -> Self {
        let shell = Shell::new();
        shell.set_up();
        let control = shell.folder.path().join("faults");
        Self { shell, control }
    }

    /// Starts a server on it.
    pub(crate) fn serve(&self, more: &[&str]) -> Served {
        let arguments = [
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-format",
                "off",
                "--metrics-listen",
                "127.0.0.1:0",
            ],
            more,
        ]
        .concat();
        let mut command = self.shell.command(&arguments);
        let folder = self.shell.data_dir.canonicalize().expect("it is there");
        command.env("LD_PRELOAD", library());
        command.env("KEYWARD_FAULTS", format!("{}:{}", folder.display(), self.control.display()));
        Served::of(command)
    }

    /// From now on it fails so; `faults.c` says how the line reads.
    pub(crate) fn fail(&self, line: &str) {
        // Moved into place, for a half line must not be read.
        let new = self.control.with_extension("new");
        std::fs::write(&new, line).expect("the folder is ours");
        std::fs::rename(&new, &self.control).expect("the folder is ours");
    }

    pub(crate) fn work_again(&self) {
        self.fail("");
    }

    /// How many calls have failed so far.
    pub(crate) fn failed(&self) -> u64 {
        let fired = format!("{}.fired", self.control.display());
        std::fs::metadata(fired).map_or(0, |metadata| metadata.len())
    }
}

impl Served {
    /// Reads the log until a line has this text.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let n = self.log.read_line(&mut line).expect("it writes text");
            assert_ne!(n, 0, "it ended without saying '{text}'");
        }
        line
    }
}
