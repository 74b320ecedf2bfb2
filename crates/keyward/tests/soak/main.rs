//! What takes longer than a test may: `make soak`. Each part is an entry of `PARTS`; all of them together
//! take 15 minutes at most.
//!
//! `make soak ARGS="crash kills=20 seed=7"` runs one part with other sizes than the usual ones, and
//! `minutes=60` lets it take longer.

mod crash;
mod disk;
mod load;
mod mounts;

#[path = "../support/faults.rs"]
mod faults;

#[path = "../support/hostile.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod hostile;
#[path = "../support/crash/mod.rs"]
mod kills;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A part of the soak.
struct Part {
    name: &'static str,
    /// What it shows, in one line.
    about: &'static str,
    /// Sizes that can be chosen, with their usual values.
    sizes: &'static str,
    /// Bound: it is broken off after so many minutes.
    minutes: u64,
    /// Panics if a promise is not kept; gives the figures.
    run: fn(&Sizes) -> String,
}

const PARTS: &[Part] = &[
    Part {
        name: "crash",
        about: "killed at random moments, it has kept what it acknowledged and nothing else",
        sizes: "kills=200 seed=(chosen by the clock)",
        minutes: 5,
        run: crash::run,
    },
    Part {
        name: "disk",
        about: "whichever write or sync fails, changes alone are refused, and nothing is lost",
        sizes: "calls=60",
        minutes: 4,
        run: disk::run,
    },
    Part {
        name: "mounts",
        about: "on file systems that are really full or read-only, from the start or later, keys are checked",
        sizes: "none",
        minutes: 1,
        run: mounts::run,
    },
    Part {
        name: "load",
        about: "floods and slow clients take bounded memory, and good callers hardly feel them",
        sizes: "seconds=6 only=(the number of one attack)",
        minutes: 5,
        run: load::run,
    },
];

const MOST_MINUTES: u64 = 15;

/// `name=number` as given.
#[derive(Default)]
pub(crate) struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

fn say(text: &str) {
    // Nobody reads it any more if this fails.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> ExitCode {
    assert!(PARTS.iter().map(|part| part.minutes).sum::<u64>() <= MOST_MINUTES);
    let (mut chosen, mut sizes) = (vec![], Sizes::default());
    for word in std::env::args().skip(1) {
        match word.split_once('=').map(|(name, value)| (name.to_owned(), value.parse())) {
            Some((name, Ok(value))) => drop(sizes.0.insert(name, value)),
            None if PARTS.iter().any(|part| part.name == word) => chosen.push(word),
            _ => {
                say(&format!("'{word}' is neither a part nor a size:"));
                for Part { name, about, sizes, minutes, .. } in PARTS {
                    say(&format!("  {name:10} {about} ({minutes} minutes at most; {sizes})"));
                }
                return ExitCode::from(2);
            }
        }
    }
    let is_chosen = |part: &&Part| chosen.is_empty() || chosen.iter().any(|name| name == part.name);
    let mut is_good = true;
    for part in PARTS.iter().filter(is_chosen) {
        say(&format!("== {}: {}", part.name, part.about));
        let (done, is_done) = channel::<()>();
        let minutes = sizes.get("minutes").unwrap_or(part.minutes);
        let name = part.name;
        std::thread::spawn(move || {
            let patience = Duration::from_secs(minutes * 60);
            if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                say(&format!("== {name} is broken off after {minutes} minutes"));
                std::process::exit(1);
            }
        });
        match catch_unwind(AssertUnwindSafe(|| (part.run)(&sizes))) {
            Ok(figures) => say(&format!("{figures}\n== {name} is good")),
            Err(_) => {
                is_good = false;
                say(&format!("== {name} is not good; see above"));
            }
        }
        drop(done);
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
