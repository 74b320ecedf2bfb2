//! What the hot path costs: parse, digest, look up, admit, verify and count; at several numbers of keys,
//! on one thread and on two.
//!
//! `yardstick` is what cannot be avoided, in the same run: parse, SHA-256 and one random look-up with a
//! compare-and-swap in a standard hash map with the digest for a hash.
//!
//! Ten million keys take 3 GB and half a minute, so they are asked for: `KEYWARD_BENCH_KEYS=10000000`
//! measures that many instead of 10,000 and 1,000,000. The resident growth a key is printed to stderr.

#![cfg(not(loom))]

mod world;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use keyward_core::key::ApiKey;
use keyward_core::time::{Moment, Ticks};
use keyward_core::usage::Outcome;
use keyward_core::verifier::{Presented, Verifier, Visit};
use keyward_core::window::RateWindow;

use world::{Draw, VISIT, text_of, verifier_of};

/// Takes the first eight bytes of a digest for its hash.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

fn parts(criterion: &mut Criterion) {
    let text = text_of(Draw(1).bytes());
    criterion.bench_function("parse", |b| b.iter(|| ApiKey::parse(black_box(&text))));
    let key = ApiKey::parse(&text).expect("it was made here");
    criterion.bench_function("digest", |b| b.iter(|| black_box(&key).digest()));
    let window = RateWindow::new();
    let mut now = 1;
    criterion.bench_function("window/admit", |b| {
        b.iter(|| {
            now += 1;
            window.admit(Ticks(black_box(now)), 1_000_000)
        });
    });
}

const CLIENT: &[u8] = b"Sent/Python 0.46.0";
/// Usage is drained this often: after ten seconds at 50,000 requests a second.
const DRAIN_EVERY: usize = 500_000;

/// All that the door asks of the core for one request: a verdict, and a count. The worker's share of
/// counting is in it.
struct Door {
    verifier: Verifier,
    texts: Vec<[u8; 36]>,
    order: Vec<u32>,
    /// Requests so far, by which time goes on.
    turns: AtomicUsize,
}

impl Door {
    /// Passes this many requests from a place in the order; gives how many were let in.
    fn pass(&self, from: usize, n_requests: usize) -> usize {
        let mut n_passed = 0;
        for turn in from..from + n_requests {
            let text = &self.texts[self.order[turn % self.order.len()] as usize];
            n_passed += usize::from(self.pass_one(text, turn));
            if turn % DRAIN_EVERY == 0 {
                black_box(self.verifier.drain_usage().len());
            }
        }
        n_passed
    }

    /// Two requests a millisecond, so that windows end before they are used up, however many threads.
    fn pass_one(&self, text: &[u8], turn: usize) -> bool {
        let now = Moment { ticks: Ticks(1 + turn as u64 / 2), ..VISIT.now };
        let visit = Visit { now, ..VISIT };
        match self.verifier.verify(Presented::One(text), &visit) {
            Ok(granted) => {
                self.verifier.count(&granted.caller, &visit, Outcome::Ok, CLIENT);
                true
            }
            Err(refused) => {
                self.verifier.count_refused(&refused, &visit, CLIENT);
                false
            }
        }
    }

    /// How long as many threads take for this many requests each, with all keys or with one; after as
    /// many that are not measured, for a thread that served before has what it counts in already.
    fn time(&self, n_threads: usize, n_requests: usize, is_one_key: bool) -> Duration {
        let warm = Barrier::new(n_threads);
        let n_turns = 2 * n_requests + self.order.len();
        let began = self.turns.fetch_add(n_turns, Ordering::Relaxed);
        let times = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n_threads)
                .map(|thread| {
                    let warm = &warm;
                    scope.spawn(move || {
                        let from = began + thread * self.order.len() / 2;
                        let pass = |from: usize| {
                            let passed = (from..from + n_requests).filter(|turn| {
                                let place = if is_one_key { 0 } else { turn % self.order.len() };
                                self.pass_one(&self.texts[self.order[place] as usize], *turn)
                            });
                            assert_eq!(passed.count(), n_requests);
                        };
                        pass(from);
                        warm.wait();
                        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
                        let started = Instant::now();
                        pass(from + n_requests);
                        started.elapsed()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("all were let in")).max()
        });
        black_box(self.verifier.drain_usage().len());
        times.unwrap_or_default()
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

#[expect(clippy::print_stderr, reason = "a benchmark tells what it measured")]
fn tell(n_keys: usize, growth: usize) {
    eprintln!("{n_keys} keys: {} bytes resident a key", growth / n_keys);
}

/// How many keys to measure with.
#[expect(clippy::disallowed_methods, reason = "cargo hands a benchmark no arguments of its own")]
fn key_counts() -> Vec<usize> {
    let asked = std::env::var("KEYWARD_BENCH_KEYS").ok().and_then(|text| text.parse().ok());
    asked.map_or_else(|| vec![10_000, 1_000_000], |n_keys| vec![n_keys])
}

fn whole(criterion: &mut Criterion) {
    for n_keys in key_counts() {
        let mut draw = Draw(7);
        let texts: Vec<[u8; 36]> = (0..n_keys).map(|_| text_of(draw.bytes())).collect();
        let order: Vec<u32> =
            (0..1 << 20).map(|_| (draw.next() as usize % n_keys) as u32).collect();
        let strangers: Vec<[u8; 36]> = (0..1 << 16).map(|_| text_of(draw.bytes())).collect();
        let mut group = criterion.benchmark_group(format!("{n_keys} keys"));

        let mut map: HashMap<[u8; 32], AtomicU64, BuildHasherDefault<First>> = HashMap::default();
        for text in &texts {
            let key = ApiKey::parse(text).expect("it was made here");
            map.insert(*key.digest().as_bytes(), AtomicU64::new(0));
        }
        let mut turn = 0;
        group.bench_function("yardstick", |b| {
            b.iter(|| {
                turn = (turn + 1) % order.len();
                let key = ApiKey::parse(&texts[order[turn] as usize]).expect("it was made here");
                let place = map.get(key.digest().as_bytes()).expect("it was put in");
                let before = place.load(Ordering::Relaxed);
                let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
                place.compare_exchange(before, before + 1, success, failure)
            });
        });
        drop(map);

        let before = resident();
        let verifier = verifier_of(&texts, texts.len());
        tell(n_keys, resident().saturating_sub(before));
        let door = Door { verifier, texts, order, turns: AtomicUsize::new(0) };
        group.bench_function("verify", |b| {
            let mut turn = 0;
            b.iter(|| {
                turn = (turn + 1) % door.order.len();
                let text = &door.texts[door.order[turn] as usize];
                door.verifier.verify(Presented::One(text), &VISIT).is_ok()
            });
        });
        group.bench_function("verify and count", |b| {
            let mut turn = door.turns.load(Ordering::Relaxed);
            b.iter(|| {
                turn += 1;
                door.pass(turn, 1)
            });
            door.turns.store(turn, Ordering::Relaxed);
        });
        group.bench_function("verify and count, the same key each time", |b| {
            let mut turn = door.turns.load(Ordering::Relaxed);
            b.iter(|| {
                turn += 1;
                door.pass_one(black_box(&door.texts[0]), turn)
            });
            door.turns.store(turn, Ordering::Relaxed);
        });
        group.bench_function("refuse an unknown key", |b| {
            let mut turn = door.turns.load(Ordering::Relaxed);
            b.iter(|| {
                turn += 1;
                door.pass_one(&strangers[turn % strangers.len()], turn)
            });
            door.turns.store(turn, Ordering::Relaxed);
        });
        for (name, is_one_key) in [("all keys", false), ("one key", true)] {
            for n_threads in [1, 2] {
                // The time of one request of one thread: half of it with two is twice the throughput.
                let name = format!("{n_threads} threads, {name}");
                group.bench_function(name, |b| {
                    b.iter_custom(|n| {
                        let n = usize::try_from(n).unwrap_or(usize::MAX);
                        door.time(n_threads, n, is_one_key) / n_threads as u32
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = parts, whole
}
criterion_main!(benches);
