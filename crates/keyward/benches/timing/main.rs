//! Does the time of an answer tell anything? The dudect method (Reparaz, Balasch, Verbauwhede 2017): two
//! classes of input, drawn at random one measurement at a time, and Welch's t over all measurements and
//! over those below several thresholds, for the slow ones tell of the machine. Below 4.5 no difference was
//! found with so many measurements; that none is there can never be shown.
//!
//! `make timing` runs it. It is no test: figures of time depend on the machine and its mood. Two controls
//! say whether it can be believed: one class against itself, and a comparison that stops at the first byte
//! that differs, which must be found.

mod keys;
mod port;
mod welch;

#[path = "../../../keyward-core/benches/world/mod.rs"]
mod world;

use std::io::Write as _;

use welch::{CROPS, Outcome};

/// What a comparison is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// No difference may be found.
    Same,
    /// A leak made on purpose: a difference must be found.
    Leak,
    /// The difference is told, and what it amounts to.
    Told,
}

/// What classes that are meant to be the same may be apart, as a share of what either takes: a million
/// measurements find a difference of a nanosecond or two, which is that of one byte more to look at in a
/// table, and a hundredth of what a look into memory far away takes more or less from one key to the next.
const MOST_APART: f64 = 0.01;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Called by cargo among all benchmarks: this one takes minutes, and is asked for by its name.
    let Some(what) = arguments.iter().skip(1).find(|text| !text.starts_with("--")) else { return };
    let number = |at: usize, usual: usize| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let mut is_good = true;
    let mut tell = |name: &str, meant: Meant, outcome: &Outcome| {
        let found = outcome.greatest() >= welch::BOUND;
        let word = match (meant, found) {
            (Meant::Same, false) => "no difference found",
            (Meant::Same, true) if outcome.apart() < MOST_APART => "below a hundredth",
            (Meant::Same, true) => "A DIFFERENCE",
            (Meant::Leak, true) => "found, as it must be",
            (Meant::Leak, false) => "NOT FOUND: this run says nothing",
            (Meant::Told, true) => "a difference, told in SECURITY.md",
            (Meant::Told, false) => "no difference found",
        };
        is_good &= match meant {
            Meant::Same => !found || outcome.apart() < MOST_APART,
            Meant::Leak => found,
            Meant::Told => true,
        };
        let crops: Vec<String> =
            CROPS.iter().zip(outcome.t).map(|(_, t)| format!("{t:>8.2}")).collect();
        let [a, b] = outcome.medians;
        say(&format!(
            "{name:<44} {:>9}  {a:>9.0} {b:>9.0}  {}  {word}",
            outcome.n,
            crops.join(" ")
        ));
    };
    let crops: Vec<String> = CROPS.iter().map(|(name, _)| format!("{name:>8}")).collect();
    say(&format!(
        "{:<44} {:>9}  {:>9} {:>9}  {}",
        "t of Welch by share of the measurements kept",
        "n",
        "median ns",
        "median ns",
        crops.join(" ")
    ));
    if what == "all" || what == "keys" {
        keys::run(number(2, 1_000_000), &mut tell);
    }
    if what == "all" || what == "port" {
        port::run(number(3, 40_000), number(4, 2_000), &mut tell);
    }
    if !is_good {
        std::process::exit(1);
    }
}

fn say(line: &str) {
    // Nobody listens any more: there is nobody to tell.
    let _ = writeln!(std::io::stdout(), "{line}");
}
