//! Killed with -9 at random moments, a few times; `make soak` does it 200 times.

use crate::crash::{self, Plan};

#[test]
fn what_was_acknowledged_and_nothing_else_is_there_after_each_kill() {
    let plan = Plan { kills: 5, seed: 20_240_101, most_changes: 60, drain_every: 5 };
    let figures = crash::run(&plan);
    assert!(figures.kills >= 5, "{figures}");
    // Otherwise nothing was tried.
    assert!(figures.acknowledged > 0 && figures.deliveries > 0, "{figures}");
}
