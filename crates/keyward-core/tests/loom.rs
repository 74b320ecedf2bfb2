//! The rate window's atomic word, and strings whose places are used again, under every interleaving of a few
//! threads.
//!
//! Runs with `RUSTFLAGS="--cfg loom" cargo test -p keyward-core --release --test loom`; without
//! that flag there is nothing to check, and `make test` sets it.

#![cfg(loom)]

use keyward_core::arena::{Arena, Spare};
use keyward_core::time::Ticks;
use keyward_core::window::{RateWindow, WINDOW_MILLIS};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

/// Checks three threads with at most three preemptions a run: more finds nothing new in an algorithm
/// of one word, and takes minutes. Two threads are checked without a bound.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Runs one request a thread and gives the `remaining` of those that were let in.
fn admitted(limit: u32, times: &[u64]) -> Vec<u32> {
    let window = Arc::new(RateWindow::new());
    let threads: Vec<_> = times
        .iter()
        .map(|at| {
            let (window, at) = (Arc::clone(&window), Ticks(*at));
            thread::spawn(move || window.admit(at, limit).map(|allowance| allowance.remaining))
        })
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().expect("no panic").ok()).collect()
}

#[test]
fn of_three_at_once_exactly_the_limit_is_let_in_and_each_remaining_is_told_once() {
    for limit in 1..=2 {
        check(move || {
            let mut told = admitted(limit, &[5, 5, 6]);
            told.sort_unstable();
            assert_eq!(told, (0..limit).collect::<Vec<_>>());
        });
    }
}

#[test]
fn of_two_at_once_one_is_refused_at_a_limit_of_one() {
    loom::model(|| assert_eq!(admitted(1, &[5, 6]), [0]));
}

#[test]
fn no_request_is_refused_below_the_limit() {
    check(|| assert_eq!(admitted(3, &[7, 5, 6]).len(), 3));
}

#[test]
fn across_the_end_of_a_window_each_window_lets_in_its_limit_and_no_more() {
    check(|| {
        let window = Arc::new(RateWindow::new());
        window.admit(Ticks(1), 1).expect("the window is new");
        let late = Ticks(1 + WINDOW_MILLIS);
        // One thread still has the time before the end; two come after it.
        let threads: Vec<_> = [Ticks(WINDOW_MILLIS), late, late]
            .into_iter()
            .map(|at| {
                let window = Arc::clone(&window);
                thread::spawn(move || window.admit(at, 1).is_ok())
            })
            .collect();
        let passed: Vec<bool> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
        assert!(!passed[0], "the first window was full, and the second one is not its own");
        assert_eq!(passed[1..].iter().filter(|passed| **passed).count(), 1);
    });
}

#[test]
fn whoever_looks_on_never_sees_more_spent_than_the_limit_nor_anything_given_back() {
    loom::model(|| {
        let window = Arc::new(RateWindow::new());
        let spender = Arc::clone(&window);
        let spending = thread::spawn(move || {
            for _ in 0..2 {
                spender.admit(Ticks(3), 2).expect("two are allowed");
            }
        });
        let first = window.peek(Ticks(3), 2).remaining;
        let second = window.peek(Ticks(3), 2).remaining;
        assert!(first <= 2 && second <= first);
        spending.join().expect("no panic");
        assert_eq!(window.peek(Ticks(3), 2).remaining, 0);
    });
}

#[test]
fn whoever_reads_a_string_gets_one_that_was_whole_while_its_place_is_used_again() {
    loom::model(|| {
        changed_while_read([(1, 12), (2, 12), (3, 12)], [0, 0]);
    });
}

#[test]
fn the_place_of_one_string_becomes_that_of_another_one_of_another_length() {
    // The second string is written where the first one was.
    check(|| changed_while_read([(1, 12), (2, 10), (3, 7)], [0, 1]));
    check(|| changed_while_read([(1, 7), (2, 12), (3, 14)], [0, 1]));
}

/// Two strings begin with the first text; each change gives one of them the next. A reader looks at the first
/// string meanwhile: it gets one that was whole, and never a text of the other one.
fn changed_while_read(texts: [(u8, usize); 3], changed: [usize; 2]) {
    let text = move |n: usize| vec![texts[n].0; texts[n].1];
    let arena = Arena::new();
    let places = [0, 0].map(|n| AtomicU32::new(arena.push(&text(n)).expect("there is room")));
    let shared = Arc::new((arena, places));
    let writer = Arc::clone(&shared);
    let writing = thread::spawn(move || {
        let (arena, places) = &*writer;
        let mut spare = Spare::default();
        for (n, which) in (1..).zip(changed) {
            let new = arena.push_again(&text(n), &mut spare).expect("there is room");
            let old = places[which].swap(new, Ordering::AcqRel);
            arena.give_back(old, &mut spare);
        }
    });
    let (arena, places) = &*shared;
    let read = || arena.get(|| places[0].load(Ordering::Acquire), <[u8]>::to_vec);
    let mine: Vec<usize> =
        [0].into_iter().chain((1..).zip(changed).filter(|it| it.1 == 0).map(|it| it.0)).collect();
    let found = read().expect("it is there");
    assert!(mine.iter().any(|n| found == text(*n)), "{found:?}");
    writing.join().expect("no panic");
    assert_eq!(read(), mine.last().map(|n| text(*n)));
}
