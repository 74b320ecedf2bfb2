//! Real file systems that take nothing: full or read-only when a server starts, or while it runs. Only root
//! may mount one; for others it is said what was left out.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::disk::{Asked, Counts, LIMITS, boss};
use crate::program::{Served, Shell};
use crate::{Sizes, say};

/// A file system of a few megabytes, gone with this.
struct Small<'a>(&'a Path);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Runs a program of the system; what it said if it failed.
fn system(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn serve(shell: &Shell) -> Served {
    let first = ["serve", "--listen", "127.0.0.1:0", "--log-format", "off"];
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    Served::of(shell.command(&[&first[..], &metrics, &LIMITS].concat()))
}

fn end(mut served: Served, signal: Signal) {
    served.signal(signal);
    served.child.wait().expect("it was started");
}

/// A data folder in a file system of its own, and what is asked of the servers on it.
struct Scene<'a> {
    shell: &'a Shell,
    asked: Asked,
    counts: Counts,
    _small: Small<'a>,
}

impl<'a> Scene<'a> {
    fn of_memory(shell: &'a Shell) -> Result<Self, String> {
        std::fs::create_dir(&shell.data_dir).expect("the folder is ours");
        system("mount", &["-t", "tmpfs", "-o", "size=8m", "keyward"], &shell.data_dir)?;
        Ok(Self::on(shell))
    }

    fn on(shell: &'a Shell) -> Self {
        let small = Small(&shell.data_dir);
        shell.set_up();
        let asked = Asked::by(boss(shell));
        Self { shell, asked, counts: Counts::default(), _small: small }
    }

    fn change(&mut self, served: &Served) {
        self.asked.change(served, &mut self.counts);
    }

    /// Fills it to the last byte; the file that does so.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.shell.data_dir.join("ballast");
        let mut file = std::fs::File::create(&ballast).expect("a name takes no room");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        ballast
    }

    /// Nothing more is taken, and keys are told apart.
    fn is_refused(&mut self, served: &mut Served, advice: &str) {
        let before = self.counts.refused;
        // What the log has room for already is still taken.
        while self.counts.refused == before {
            self.change(served);
        }
        served.wait_for_log(advice);
        self.asked.verify(served, &mut self.counts);
    }

    /// It takes changes again without a restart, and of those made by a command it hears at once.
    fn recovers(&mut self, served: &mut Served) {
        served.wait_for_log("changes are taken again");
        let before = self.counts.acknowledged;
        self.change(served);
        assert!(self.counts.acknowledged >= before + 2, "it does not recover");
        let (key, _) = self.shell.issue(&[]);
        let head = format!("GET /v3/me HTTP/1.1\r\nx-api-key: {}", key.clear);
        assert!(served.call(&head, "").starts_with("HTTP/1.1 200"));
    }

    fn is_whole_after_a_kill(&mut self, served: Served) {
        end(served, Signal::KILL);
        let served = serve(self.shell);
        self.asked.check(self.shell);
        self.asked.verify(&served, &mut self.counts);
    }
}

const ROOM: &str = "the disk is full: make room";
const RIGHTS: &str = "cannot be written: check its";

/// Filled up while a server runs.
fn full_later() -> Result<(), String> {
    let shell = Shell::new();
    let mut scene = Scene::of_memory(&shell)?;
    let mut served = serve(&shell);
    scene.change(&served);
    let ballast = scene.fill();
    scene.is_refused(&mut served, ROOM);
    std::fs::remove_file(ballast).expect("it was made");
    scene.recovers(&mut served);
    scene.is_whole_after_a_kill(served);
    Ok(())
}

/// Full, or read-only, when a server starts, after another one that was stopped or killed.
fn at_the_start(is_full: bool, how: Signal) -> Result<(), String> {
    let shell = Shell::new();
    let mut scene = Scene::of_memory(&shell)?;
    let served = serve(&shell);
    scene.change(&served);
    end(served, how);
    let mut mend: Box<dyn FnOnce() -> Result<(), String>> = Box::new(|| Ok(()));
    if is_full {
        let ballast = scene.fill();
        mend = Box::new(|| std::fs::remove_file(ballast).map_err(|error| error.to_string()));
    }
    let remount = |how: &str| system("mount", &["-o", how], &shell.data_dir);
    if !is_full {
        remount("remount,ro")?;
        mend = Box::new(|| remount("remount,rw"));
    }
    let mut served = serve(&shell);
    scene.asked.verify(&served, &mut scene.counts);
    scene.is_refused(&mut served, if is_full { ROOM } else { RIGHTS });
    // Nobody else gets hold of it meanwhile, and a backup to another disk is made.
    let second = shell.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.err.contains("another server"), "{second:?}");
    mend()?;
    scene.recovers(&mut served);
    scene.is_whole_after_a_kill(served);
    Ok(())
}

/// A disk (ext4) on which the system gives up under a server that runs, as after an error of the disk: no
/// write is taken until it was checked, so that a restart, too, finds it read-only.
fn read_only_later() -> Result<(), String> {
    let shell = Shell::new();
    std::fs::create_dir(&shell.data_dir).expect("the folder is ours");
    let image = shell.file("image");
    let file = std::fs::File::create(&image).expect("the folder is ours");
    file.set_len(16 << 20).expect("there is room");
    system("mkfs.ext4", &["-q"], &image)?;
    let image = image.to_str().expect("a plain path").to_owned();
    let mount = || system("mount", &["-o", "loop,errors=remount-ro", &image], &shell.data_dir);
    mount()?;
    let mut scene = Scene::on(&shell);
    let mut served = serve(&shell);
    scene.change(&served);
    system("mount", &["-o", "remount,abort"], &shell.data_dir)?;
    scene.is_refused(&mut served, RIGHTS);
    end(served, Signal::KILL);
    let mut served = serve(&shell);
    scene.asked.verify(&served, &mut scene.counts);
    scene.is_refused(&mut served, RIGHTS);
    end(served, Signal::TERM);
    system("umount", &[], &shell.data_dir)?;
    // It mends what is left to be mended, and says so by its exit code.
    let _ = system("e2fsck", &["-p"], Path::new(&image));
    mount()?;
    let served = serve(&shell);
    scene.asked.check(&shell);
    scene.change(&served);
    scene.is_whole_after_a_kill(served);
    Ok(())
}

pub(crate) fn run(_: &Sizes) -> String {
    let mut left_out = vec![];
    let mut n_done = 0;
    let mut try_one = |name: &str, result: Result<(), String>| match result {
        Ok(()) => {
            n_done += 1;
            say(&format!("{name}: refused, told, keys told apart, recovered, whole"));
        }
        Err(why) => left_out.push(format!("{name} ({why})")),
    };
    try_one("full while it runs", full_later());
    for (how, ended) in [(Signal::TERM, "stopped"), (Signal::KILL, "killed")] {
        try_one(&format!("full at the start, {ended} before"), at_the_start(true, how));
        try_one(&format!("read-only at the start, {ended} before"), at_the_start(false, how));
    }
    try_one("read-only while it runs and at the next start", read_only_later());
    if left_out.is_empty() {
        return format!("{n_done} file systems");
    }
    format!(
        "{n_done} file systems; LEFT OUT, run this as root, who may mount one, with mkfs.ext4 and e2fsck: {}",
        left_out.join("; ")
    )
}
