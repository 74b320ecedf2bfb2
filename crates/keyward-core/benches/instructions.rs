//! Does one piece of the hot path as often as it is told, for a program that counts instructions:
//! `instructions PIECE TIMES`. `scripts/instructions.sh` runs it under callgrind.
//!
//! The numbers do not depend on the machine's mood, so a regression is seen in review. Under callgrind
//! the digest is taken by portable code, for it hides the processor's own instructions for SHA-256; so
//! the digest stands by itself, and what contains it is told without it.

#![cfg(not(loom))]

mod world;

use std::hint::black_box;

use keyward_core::digest::KeyDigest;
use keyward_core::key::ApiKey;
use keyward_core::time::Ticks;
use keyward_core::usage::Outcome;
use keyward_core::verifier::Presented;
use keyward_core::window::RateWindow;

use world::{Draw, VISIT, text_of, verifier_of};

const KEYS: usize = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, piece, times, ..] = &arguments[..] else {
        // Called by cargo among all benchmarks: there is nothing to measure by time.
        return;
    };
    let Ok(times) = times.parse::<usize>() else { return };
    let mut draw = Draw(7);
    let texts: Vec<[u8; 36]> = (0..KEYS).map(|_| text_of(draw.bytes())).collect();
    let stranger = text_of(draw.bytes());
    let digest = |text: &[u8; 36]| ApiKey::parse(text).expect("it was made here").digest();
    let digests: Vec<KeyDigest> = texts.iter().map(digest).collect();
    let verifier = verifier_of(&texts, texts.len());
    let window = RateWindow::new();
    for turn in 0..times {
        let text = &texts[turn % KEYS];
        match piece.as_str() {
            "parse" => drop(black_box(ApiKey::parse(black_box(text)))),
            "digest" => {
                black_box(KeyDigest::of(black_box(&[7; 16])));
            }
            "find" => {
                black_box(verifier.index().find(black_box(&digests[turn % KEYS])));
            }
            "window" => {
                let _ = black_box(window.admit(Ticks(turn as u64 + 1), 1_000_000));
            }
            "verify" => {
                let _ = black_box(verifier.verify(Presented::One(black_box(text)), &VISIT));
            }
            "verify-and-count" => {
                let granted = verifier.verify(Presented::One(black_box(text)), &VISIT);
                let caller = granted.expect("it was put in").caller;
                verifier.count(&caller, &VISIT, Outcome::Ok, b"Sent/Python 0.46.0");
            }
            "refuse" => {
                let verdict = verifier.verify(Presented::One(black_box(&stranger)), &VISIT);
                verifier.count_refused(&verdict.expect_err("nobody knows it"), &VISIT, b"curl");
            }
            other => panic!("there is no piece '{other}'"),
        }
    }
}
