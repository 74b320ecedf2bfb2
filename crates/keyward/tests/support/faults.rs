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

/// The files of a folder fail under this command as the control file says.
pub(crate) fn on_faulty_disk(command: &mut Command, folder: &Path, control: &Path) {
    let folder = folder.canonicalize().expect("it is there");
    command.env("LD_PRELOAD", library());
    command.env("KEYWARD_FAULTS", format!("{}:{}", folder.display(), control.display()));
}

/// Writes the line of a control file; `faults.c` says how it reads.
pub(crate) fn fail(control: &Path, line: &str) {
    // Moved into place, for a half line must not be read.
    let new = control.with_extension("new");
    std::fs::write(&new, line).expect("the folder is ours");
    std::fs::rename(&new, control).expect("the folder is ours");
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
        Served::of(self.command(more))
    }

    /// The command that does so.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
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
        self.fails_under(&mut command);
        command
    }

    /// The disk of the data folder fails under this command.
    pub(crate) fn fails_under(&self, command: &mut Command) {
        on_faulty_disk(command, &self.shell.data_dir, &self.control);
    }

    /// From now on it fails so; `faults.c` says how the line reads.
    pub(crate) fn fail(&self, line: &str) {
        fail(&self.control, line);
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
