//! The attacks, each with how much of it there must have been and the memory that it may make the server
//! take.
//!
//! Bounds are reckoned from ARCHITECTURE.md and said beside each: what a connection takes at rest, what
//! is kept of a head, a body, an answer. Each attack is also bounded in connections and time.
//!
//! The least of an attack is the number in its name, or what its clients open when all goes well. A flood
//! must come to what two cores reach in a second or two: less means that it did not take place.

use tokio::task::JoinSet;

use super::target::Aim;
use super::{floods, holds, http2};

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) over_tls: bool,
    /// Bytes that the server may grow by.
    pub(crate) most_growth: u64,
    /// What is counted of it: a word for [`Aim::done`],
    pub(crate) unit: &'static str,
    /// and how many of that there must have been.
    pub(crate) least: u64,
    /// Connections that the server must have had at once, by its own count, where that is what matters.
    pub(crate) least_held: u64,
    /// What it begins goes on until it is broken off.
    pub(crate) begin: fn(&Aim, &mut JoinSet<()>),
}

const MIB: u64 = 1 << 20;
/// Places for connections that the server has.
const PLACES: u64 = 16_384;

pub(crate) const ATTACKS: &[Attack] = &[
    // Two buffers of 8 KiB that the HTTP library takes at once for each, and what we keep: 24 KiB.
    Attack {
        name: "10,000 idle connections",
        over_tls: false,
        most_growth: 240 * MIB,
        unit: "connections",
        least: 10_000,
        least_held: 10_000,
        begin: holds::idle,
    },
    // As many more as there are places, and those that are idle make room for others. All that are wanted
    // at once, and all places taken.
    Attack {
        name: "more connections than places",
        over_tls: false,
        most_growth: 256 * MIB,
        unit: "connections",
        least: holds::MORE_THAN_PLACES as u64,
        least_held: PLACES,
        begin: holds::full,
    },
    // A head grows up to 64 KiB; here each is 1 KiB at most.
    Attack {
        name: "heads byte by byte",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "connections",
        least: 2000,
        least_held: 2000,
        begin: holds::slow_heads,
    },
    // The share of one account, 32 MiB, and a buffer of 64 KiB for 4,000 connections. Those beyond the share
    // are refused and closed, so fewer are held: half the share, in bodies of 16 KiB, surely is.
    Attack {
        name: "bodies byte by byte",
        over_tls: false,
        most_growth: 288 * MIB,
        unit: "connections",
        least: 4000,
        least_held: 1000,
        begin: holds::slow_bodies,
    },
    // 64 KiB that are not written yet, 64 KiB that are not read yet, and one answer, for 2,000.
    Attack {
        name: "answers never read",
        over_tls: false,
        most_growth: 320 * MIB,
        unit: "connections",
        least: 2000,
        least_held: 2000,
        begin: holds::never_read,
    },
    // Two cores answer tens of thousands a second.
    Attack {
        name: "wrong keys",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "answers",
        least: 10_000,
        least_held: 0,
        begin: floods::wrong_keys,
    },
    Attack {
        name: "one good key",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "answers",
        least: 10_000,
        least_held: 0,
        begin: floods::one_key,
    },
    // A body of 8 MiB is on its way for some 10 ms.
    Attack {
        name: "huge heads and bodies",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "answers",
        least: 100,
        least_held: 0,
        begin: floods::huge,
    },
    // Thousands a second are opened even where each stays, as above.
    Attack {
        name: "connections opened and closed",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "connections",
        least: 10_000,
        least_held: 0,
        begin: floods::opens,
    },
    // Who waits for a turn by address, with a socket: 1 KiB.
    Attack {
        name: "the same from 100,000 addresses",
        over_tls: false,
        most_growth: 64 * MIB,
        unit: "addresses",
        least: 100_000,
        least_held: 0,
        begin: floods::opens_from_everywhere,
    },
    // 65,536 strangers of 80 bytes, and requests that wait to be remembered, twice 7 MB.
    Attack {
        name: "100,000 client addresses",
        over_tls: false,
        most_growth: 96 * MIB,
        unit: "addresses",
        least: 100_000,
        least_held: 0,
        begin: floods::addresses,
    },
    // Two passwords of 19 MiB at once, and 160 KiB for each form that waits. A password takes 30 ms of a
    // core on purpose, and 200 members sign in at once: one each.
    Attack {
        name: "sign-ins from many addresses",
        over_tls: false,
        most_growth: 128 * MIB,
        unit: "addresses",
        least: 200,
        least_held: 0,
        begin: floods::sign_ins,
    },
    // 256 that wait for the store, 24 KiB each; who waits for a turn, with a socket; what the readers of the
    // store keep of the database, some MiB each. All but the 256 are refused at once, so that thousands a
    // second are asked.
    Attack {
        name: "what takes long is asked and left",
        over_tls: false,
        most_growth: 96 * MIB,
        unit: "requests",
        least: 1000,
        least_held: 0,
        begin: floods::left,
    },
    // 32 KiB for a handshake that has begun.
    Attack {
        name: "handshakes never finished",
        over_tls: true,
        most_growth: 192 * MIB,
        unit: "connections",
        least: 6000,
        least_held: 6000,
        begin: holds::handshakes,
    },
    // A connection takes some dozens before it is closed, and hundreds of handshakes a second are made.
    Attack {
        name: "requests reset at once",
        over_tls: true,
        most_growth: 96 * MIB,
        unit: "resets",
        least: 5000,
        least_held: 0,
        begin: http2::resets,
    },
    // Frames of 8 KiB: a connection takes eight at least before it is closed.
    Attack {
        name: "heads without end",
        over_tls: true,
        most_growth: 64 * MIB,
        unit: "frames",
        least: 1000,
        least_held: 0,
        begin: http2::endless_heads,
    },
    // A thousand are written at once, on each of 16 connections.
    Attack {
        name: "pings and settings",
        over_tls: true,
        most_growth: 64 * MIB,
        unit: "frames",
        least: 100_000,
        least_held: 0,
        begin: http2::pings,
    },
    // 100 requests of 8 KiB and their answer, for each of 100 connections; they send three times as many.
    Attack {
        name: "windows never opened",
        over_tls: true,
        most_growth: 256 * MIB,
        unit: "requests",
        least: 30_000,
        least_held: 100,
        begin: http2::shut_windows,
    },
];
