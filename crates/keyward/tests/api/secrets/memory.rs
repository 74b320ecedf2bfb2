//! The memory of the process is for nobody: it can be neither dumped nor read.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Somebody who is not the superuser: a process that can be dumped would be this user's to read.
const NOT_ROOT: u32 = 65_534;

/// As the user that runs the tests, or as somebody who is not the superuser.
fn as_user(command: &mut Command, uid: u32) -> &mut Command {
    if rustix::process::getuid().is_root() { command.uid(uid) } else { command }
}

fn can_read_memory_map(pid: u32, uid: u32) -> bool {
    let mut command = Command::new("head");
    let command = command.args(["-c", "1", &format!("/proc/{pid}/maps")]);
    let output = as_user(command, uid).output().expect("it is there");
    output.status.success() && !output.stdout.is_empty()
}

#[test]
fn no_other_process_of_the_same_user_can_read_its_memory_and_no_core_is_written() {
    let is_root = rustix::process::getuid().is_root();
    let uid = if is_root { NOT_ROOT } else { rustix::process::getuid().as_raw() };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("keyward");
    // Why by another process: while this one has it open to write, whatever a test starts meanwhile has it too,
    // and nobody could run it.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_keyward")).arg(&program).status();
    assert!(copied.expect("it is there").success());
    for (path, mode) in [(folder.path(), 0o755), (program.as_path(), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("there is room");
    if is_root {
        chown(&data, Some(uid), None).expect("root may");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut command = Command::new(&program);
    command.env_clear().current_dir(&data).stderr(Stdio::piped());
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data-dir"]);
    command.arg(&data);
    let mut served = as_user(&mut command, uid).spawn().expect("it is there");
    let mut line = String::new();
    let mut log = BufReader::new(served.stderr.take().expect("it is piped"));
    log.read_line(&mut line).expect("it writes text");
    let mut sleep = Command::new("sleep");
    let mut control = as_user(sleep.arg("600"), uid).spawn().expect("it is there");
    let owner =
        |pid: u32| std::fs::metadata(format!("/proc/{pid}/environ")).expect("it runs").uid();
    let seen = (owner(served.id()), owner(control.id()));
    let can = (can_read_memory_map(served.id(), uid), can_read_memory_map(control.id(), uid));
    let opened = is_root || File::open(format!("/proc/{}/mem", served.id())).is_err();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", served.id()));
    for child in [&mut served, &mut control] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    assert!(line.contains("listening on"), "{line}");
    assert_eq!(seen, (0, uid), "its files are root's, and those of another process its user's");
    assert_eq!(can, (false, true), "its memory is for nobody, and another process's can be read");
    assert!(opened, "its memory could be opened");
    let limits = limits.expect("it ran");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"], "{core}");
}
