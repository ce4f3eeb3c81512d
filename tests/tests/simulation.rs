//! A bounded number of fresh seeds, every seed that once found a bug, and the same seed twice.
//!
//! `COTTER_SEEDS=A..B` chooses the fresh seeds; without it a few are run, so that the suite stays
//! quick in a debug build. `cargo run --release --bin simulate` is the tool for many.

use cotter_tests::simulation::{Campaign, Choices, run, stories};
use std::ops::Range;

const FRESH: Range<u64> = 1..61;

fn fresh() -> Range<u64> {
    let Ok(text) = std::env::var("COTTER_SEEDS") else {
        return FRESH;
    };
    let (first, last) = text.split_once("..").expect("COTTER_SEEDS is A..B");
    first.parse().expect("A is a number")..last.parse().expect("B is a number")
}

#[test]
fn fresh_seeds_are_clean() {
    let outcome = Campaign::new(fresh()).run(|report| {
        if let Some(violation) = &report.violation {
            eprintln!("seed {} violates {violation}", report.seed);
        }
    });
    println!(
        "{} runs, {} invalid\n{}",
        outcome.runs, outcome.invalid, outcome.tally
    );
    assert!(outcome.failures.is_empty(), "see the seeds above");
    assert!(
        outcome.is_green(),
        "{} of {} runs are invalid",
        outcome.invalid,
        outcome.runs
    );
}

#[test]
fn seeds_that_found_a_bug_once_are_clean() {
    let stories = stories(include_str!("../seeds.toml")).expect("seeds.toml can be read");
    for story in stories {
        let choices = Choices {
            replicas: story.replicas,
            sessions: story.sessions,
            ..Choices::default()
        };
        let report = run(story.seed, choices, false);
        if let Some(violation) = &report.violation {
            // The simulator has silenced the panic that would tell.
            eprintln!("seed {} violates {violation}", story.seed);
        }
        assert_eq!(report.violation, None, "seed {}", story.seed);
    }
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 1..6 {
        let first = run(seed, Choices::default(), false);
        let second = run(seed, Choices::default(), false);
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
}
