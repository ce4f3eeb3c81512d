//! Plants bugs one at a time and shows that each is caught, and by which checker.
//!
//! A net that catches nothing looks just like clean water.

use cotter_tests::simulation::Campaign;
use cotter_types::mutation::Mutation;

/// Seeds that a bug may survive.
const SEEDS_MAX: u64 = 2_000;

/// Where to begin. It only saves time: a seed that caught a rare bug once is near, and when the
/// simulator changes and it no longer does, the seeds after it will.
fn first_seed(mutation: Mutation) -> u64 {
    match mutation {
        Mutation::MessagesTakenOncePerTurn => 325,
        _ => 1,
    }
}

fn caught(mutation: Mutation) {
    let first = first_seed(mutation);
    let mut campaign = Campaign::new(first..first + SEEDS_MAX);
    campaign.mutation = Some(mutation);
    campaign.stop_at_first = true;
    let outcome = campaign.run(|_| {});
    let report = outcome
        .failures
        .first()
        .unwrap_or_else(|| panic!("{mutation:?} survived {} seeds", outcome.runs));
    let violation = report
        .violation
        .as_ref()
        .expect("a failure has a violation");
    println!(
        "{mutation:?}: caught by {} with seed {}, run {} of the range",
        violation.checker, report.seed, outcome.runs
    );
}

#[test]
fn every_planted_bug_is_caught() {
    for mutation in Mutation::ALL {
        caught(mutation);
    }
}
