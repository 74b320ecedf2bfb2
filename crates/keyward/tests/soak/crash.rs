//! Killed with -9 at random moments, 200 times.

use keyward::app::Clock;

use crate::Sizes;
use crate::kills::{self, Plan};

pub(crate) fn run(sizes: &Sizes) -> String {
    let plan = Plan {
        kills: sizes.get("kills").unwrap_or(200),
        seed: sizes.get("seed").unwrap_or_else(|| Clock::system().wall().0.unsigned_abs()),
        most_changes: 150,
        drain_every: 10,
    };
    // Before anything can go wrong.
    crate::say(&format!("seed={}", plan.seed));
    let figures = kills::run(&plan);
    assert!(figures.kills >= plan.kills, "{figures}");
    // Otherwise nothing was tried.
    assert!(figures.acknowledged > 0 && figures.deliveries > 0, "{figures}");
    figures.to_string()
}
