//! Plants bugs one at a time and shows that each is caught, and by which checker.
//!
//! A net that catches nothing looks just like clean water.

use cotter_tests::simulation::Campaign;
use cotter_types::mutation::Mutation;

/// Seeds that a bug may survive. Most are caught within a few; the rarest, messages taken once a turn,
/// needs a forwarded proposal, a repeated promise and an append in one turn of the leader.
const SEEDS_MAX: u64 = 10_000;

fn caught(mutation: Mutation) {
    let mut campaign = Campaign::new(1..SEEDS_MAX);
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

/// Bugs that the linearizability of what clients are told shows by itself, and the seeds that they
/// may survive then. `ReadAfterLease` is caught so too, with seed 85, but its runs take more than a
/// minute together, because that bug makes a replica spin.
const ALONE: [(Mutation, u64); 2] = [
    (Mutation::AnswerBeforeApply, 1_000),
    (Mutation::DedupeSkipped, 1_000),
];

#[test]
fn linearizability_catches_planted_bugs_by_itself() {
    for (mutation, seeds) in ALONE {
        let mut campaign = Campaign::new(1..seeds);
        campaign.mutation = Some(mutation);
        campaign.stop_at_first = true;
        campaign.choices.linearizability_alone = true;
        let outcome = campaign.run(|_| {});
        let report = outcome
            .failures
            .first()
            .unwrap_or_else(|| panic!("{mutation:?} survived {} seeds", outcome.runs));
        let violation = report.violation.as_ref();
        let checker = violation.map(|violation| violation.checker);
        assert_eq!(
            checker,
            Some("linearizability"),
            "{mutation:?}: {violation:?}"
        );
        println!(
            "{mutation:?}: caught by linearizability alone with seed {}",
            report.seed
        );
    }
}
