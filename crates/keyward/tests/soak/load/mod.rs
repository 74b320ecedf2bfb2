//! Load and abuse at full size: what it costs in memory, and what good callers feel of it.
//!
//! The server is a process of its own; this one holds the hostile connections, and the good callers have
//! a thread of their own. `make soak ARGS="load seconds=20"` lets each attack last longer,
//! `ARGS="load only=3"` makes the third one alone. An attack that has not come to its size by then goes on
//! until it has, within a bound.

mod attacks;
mod floods;
mod good;
mod holds;
mod http2;
mod target;

use std::fmt::Write as _;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{Sizes, hostile, say};
use attacks::{ATTACKS, Attack};
use good::Callers;
use target::{Tally, Target};

/// What good callers of another account may feel.
const MOST_P99: Duration = Duration::from_millis(50);
/// Bytes that may be left of all attacks together.
const MOST_LEFT: u64 = 96 << 20;
/// An attack that has not come to its size goes on for so long at most: less than a head may take, so that
/// no idle connection is closed for another reason than for its place.
const LONGEST: Duration = Duration::from_secs(29);
/// So long good callers feel it at its full size at least.
const AT_FULL_SIZE: Duration = Duration::from_secs(2);
/// So often it is looked at: the house is full only for moments, since it makes room for several at once.
const PERIOD: Duration = Duration::from_millis(20);
/// Connections that one attack holds, and files beside them.
const FILES: u64 = 19_000;

pub(crate) fn run(sizes: &Sizes) -> String {
    let n_files = hostile::raise_file_limit();
    assert!(n_files >= FILES, "it takes {FILES} open files; this shell may have {n_files}");
    let lasting = Duration::from_secs(sizes.get("seconds").unwrap_or(6));
    let only = sizes.get("only");
    // One thread: the server has at least the other processor.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("the system can start a thread");
    let mut figures =
        String::from("| attack | done | held | p50 | p99 | resident MiB before, peak, after |\n");
    let mut faults = vec![];
    for is_tls in [false, true] {
        let target = Target::start(is_tls);
        let draining = target.drain_log();
        let start = target.resident();
        for (number, attack) in (1..).zip(ATTACKS).filter(|(_, attack)| attack.over_tls == is_tls) {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            let line = one(&runtime, &target, attack, lasting, &mut faults);
            say(&line);
            let _ = writeln!(figures, "{line}");
        }
        // The allocator gives back by and by; what stays is used again and does not add up.
        let left = target.resident().saturating_sub(start);
        if left > MOST_LEFT {
            faults.push(format!("{} MiB are left of all attacks together", left >> 20));
        }
        drop(target);
        draining.join().expect("it only reads");
    }
    assert!(faults.is_empty(), "not held:\n{}", faults.join("\n"));
    figures
}

/// Makes an attack, measures what good callers feel meanwhile, and looks at what is left.
fn one(
    runtime: &Runtime,
    target: &Target,
    attack: &Attack,
    lasting: Duration,
    faults: &mut Vec<String>,
) -> String {
    let mut fault = |text: String| faults.push(format!("{}: {text}", attack.name));
    let before = target.resident();
    let callers = Callers::start(target);
    let mut attacking = JoinSet::new();
    let done = Tally::default();
    let _inside = runtime.enter();
    (attack.begin)(&target.aim(&done), &mut attacking);
    let (mut peak, mut held) = (before, 0);
    runtime.block_on(async {
        let began = Instant::now();
        let mut full_since = None;
        loop {
            tokio::time::sleep(PERIOD).await;
            peak = peak.max(target.resident());
            held = held.max(target.held().await);
            let now = Instant::now();
            if done.get() >= attack.least && held >= attack.least_held {
                full_since.get_or_insert(now);
            }
            let was_full = full_since.is_some_and(|since| now - since >= AT_FULL_SIZE);
            let lasted = now - began;
            if lasted >= lasting && (was_full || lasted >= LONGEST) {
                break;
            }
        }
        attacking.shutdown().await;
    });
    // Those of the good callers are still there.
    let felt = callers.stop();
    let n_done = done.get();
    let (unit, least, least_held) = (attack.unit, attack.least, attack.least_held);
    if n_done < least {
        fault(format!("it came to {n_done} {unit}, fewer than {least}"));
    }
    if held < least_held {
        fault(format!("{held} connections were held at once, fewer than {least_held}"));
    }
    if felt.n_failed > 0 {
        fault(format!("{} good calls failed, first: {:?}", felt.n_failed, felt.first_fault));
    }
    let (p50, p99) = (felt.at(50), felt.at(99));
    if p99 > MOST_P99 {
        fault(format!("p99 of good callers was {} ms", p99.as_millis()));
    }
    let growth = peak.saturating_sub(before);
    if growth > attack.most_growth {
        fault(format!(
            "it grew by {} MiB, more than {} MiB",
            growth >> 20,
            attack.most_growth >> 20
        ));
    }
    // At once afterwards: each thread serves, and connections are gone.
    let is_served = runtime.block_on(target.all_threads_serve());
    if !is_served {
        fault(String::from("a request right afterwards was not answered"));
    }
    let left = runtime.block_on(target.connections_left(Duration::from_secs(10)));
    if left > 0 {
        fault(format!("{left} connections are left"));
    }
    let after = target.resident();
    let name = attack.name;
    format!(
        "| {name} | {n_done} {unit} | {held} | {:.1} ms | {:.1} ms of {} calls | {}, {}, {} |",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        felt.n_calls(),
        before >> 20,
        peak >> 20,
        after >> 20
    )
}
