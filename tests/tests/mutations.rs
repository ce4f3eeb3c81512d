//! Plants bugs one at a time and shows that each is caught, and by which checker.
//!
//! A net that catches nothing looks just like clean water.

use cotter_tests::simulation::Campaign;
use cotter_types::mutation::Mutation;

/// Seeds that a bug may survive. Most are caught within a few; the rarest, messages taken once a turn,
/// needs a forwarded proposal, a repeated promise and an append in one turn of the leader.
const SEEDS_MAX: u64 = 10_000;
/// Seeds for what must go well in all of them.
const REBUILT_SEEDS: u64 = 200;

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

/// One replica applies something wrong: the others notice, not a checker that knows better.
#[test]
fn a_wrong_apply_is_noticed_by_the_comparison_of_digests() {
    let mut campaign = Campaign::new(1..100);
    campaign.mutation = Some(Mutation::ApplyDiverges);
    campaign.stop_at_first = true;
    campaign.choices.replicas = Some(3);
    let outcome = campaign.run(|_| {});
    let violations = outcome.failures.iter();
    let checkers: Vec<_> = violations
        .filter_map(|report| Some(report.violation.as_ref()?.checker))
        .collect();
    assert_eq!(checkers.first(), Some(&"comparison"), "{checkers:?}");
}

/// And where it is rebuilt as the daemon does it, the cell goes on, and ends with equal states.
#[test]
fn a_replica_that_applied_something_wrong_is_rebuilt_and_the_cell_goes_on() {
    let mut campaign = Campaign::new(1..REBUILT_SEEDS);
    campaign.mutation = Some(Mutation::ApplyDiverges);
    campaign.choices.rebuilds = true;
    campaign.choices.replicas = Some(3);
    let outcome = campaign.run(|report| {
        if let Some(violation) = &report.violation {
            eprintln!("seed {} violates {violation}", report.seed);
        }
    });
    println!("{} runs\n{}", outcome.runs, outcome.tally);
    assert!(outcome.failures.is_empty(), "see the seeds above");
    assert!(outcome.tally.rebuilt > REBUILT_SEEDS / 4);
}
