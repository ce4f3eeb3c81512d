//! The ledger: numbers, the window, acknowledgements.

use super::script::path;
use crate::CallId;
use crate::ledger::{Ledger, WINDOW, WINDOW_ENDING};
use cotter_types::{Acquire, LockMode, Mutation, RequestNumber, Response, Wait, limits};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeSet;

fn write() -> Mutation {
    Mutation::Unhold { path: path("x") }
}

fn acquire() -> Mutation {
    Mutation::Acquire(Acquire {
        path: path("x"),
        mode: LockMode::Exclusive,
        wait: Wait::Forever,
        lock_delay_ms: 0,
        conflict_notice: false,
        create: None,
    })
}

fn release() -> Mutation {
    Mutation::Release {
        path: path("x"),
        number: RequestNumber(1),
    }
}

fn send_all(ledger: &mut Ledger) -> Vec<u64> {
    std::iter::from_fn(|| ledger.take_unsent())
        .map(|(number, _)| number.0)
        .collect()
}

#[test]
fn the_window_holds_everything_but_endings_back() {
    let mut ledger = Ledger::default();
    for call in 0..WINDOW as u64 + 10 {
        ledger.submit(Some(CallId(call)), acquire());
    }
    assert_eq!(send_all(&mut ledger).len(), WINDOW);
    ledger.submit(None, release());
    assert_eq!(send_all(&mut ledger), [WINDOW as u64 + 1]);
    for _ in 0..WINDOW_ENDING {
        ledger.submit(None, release());
    }
    ledger.check().unwrap();
    send_all(&mut ledger);
    // A settled one makes room for the one that waits longest.
    ledger.done(RequestNumber(1), Response::Done, true);
    assert_eq!(send_all(&mut ledger).len(), 1);
}

#[test]
fn ranges_are_sent_when_the_floor_falls_behind() {
    let mut ledger = Ledger::default();
    for _ in 0..300 {
        ledger.submit(None, write());
    }
    send_all(&mut ledger);
    for number in 2..=256 {
        ledger.done(RequestNumber(number), Response::Done, true);
    }
    let acknowledged = ledger.acknowledged();
    assert_eq!(acknowledged.floor, RequestNumber(0));
    assert_eq!(acknowledged.above, [(RequestNumber(2), RequestNumber(256))]);
    ledger.done(RequestNumber(1), Response::Done, true);
    let acknowledged = ledger.acknowledged();
    assert_eq!(acknowledged.floor, RequestNumber(256));
    assert_eq!(acknowledged.above, []);
}

#[test]
fn ranges_are_bounded() {
    let mut ledger = Ledger::default();
    for _ in 0..WINDOW {
        ledger.submit(None, acquire());
    }
    for number in (2..=WINDOW as u64).step_by(2) {
        ledger.done(RequestNumber(number), Response::Done, true);
        ledger.submit(None, acquire());
    }
    for number in (WINDOW as u64 + 1..2 * WINDOW as u64).step_by(2) {
        ledger.done(RequestNumber(number), Response::Done, true);
    }
    let ranges = ledger.acknowledged().above.len();
    assert_eq!(ranges, limits::ACKNOWLEDGED_RANGES_MAX);
}

#[derive(Clone, Debug)]
enum Step {
    Submit(u8),
    Send,
    Answer(u64),
    Abandon(u64),
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::prelude::Just;
    proptest::prop_oneof![
        (0_u8..3).prop_map(Step::Submit),
        Just(Step::Send),
        (1_u64..40).prop_map(Step::Answer),
        (0_u64..40).prop_map(Step::Abandon),
        Just(Step::Again),
    ]
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_ever_sent_again(steps in proptest::collection::vec(step(), 0..200)) {
        let mut ledger = Ledger::default();
        let mut acknowledged = BTreeSet::new();
        let mut calls = 0;
        let mut highest_new = 0;
        let mut seen = BTreeSet::new();
        for step in steps {
            match step {
                Step::Submit(kind) => {
                    let mutation = [write(), acquire(), release()][usize::from(kind)].clone();
                    ledger.submit(Some(CallId(calls)), mutation);
                    calls += 1;
                }
                Step::Send => {
                    while let Some((number, _)) = ledger.take_unsent() {
                        prop_assert!(!acknowledged.contains(&number.0));
                        if seen.insert(number.0) {
                            prop_assert!(number.0 > highest_new);
                            highest_new = number.0;
                        }
                        let now = ledger.acknowledged();
                        acknowledged.extend(1..=now.floor.0);
                        for (first, last) in now.above {
                            acknowledged.extend(first.0..=last.0);
                        }
                    }
                }
                Step::Answer(number) => {
                    ledger.done(RequestNumber(number), Response::Done, true);
                }
                Step::Abandon(call) => ledger.abandon(CallId(call)),
                Step::Again => ledger.all_again(),
            }
            prop_assert_eq!(ledger.check(), Ok(()));
        }
    }
}
