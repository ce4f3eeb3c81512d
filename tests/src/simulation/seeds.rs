//! Ranges of seeds on all cores, and the seeds that once found something.

use super::profile::Choices;
use super::run::{Report, run};
use super::tally::Tally;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Largest share of runs, in a thousand, that may be invalid.
const INVALID_PER_MILLE_MAX: u64 = 200;
/// Largest share of searches for an order, in a thousand, that may be given up.
const UNKNOWN_PER_MILLE_MAX: u64 = 1;
/// Failures after which a range is not worth going on with.
const FAILURES_MAX: usize = 10;

/// A range of seeds.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds.
    pub seeds: Range<u64>,
    /// What is fixed.
    pub choices: Choices,
    /// Threads; each runs whole seeds.
    pub jobs: usize,
    /// A bug to plant in each run; needs the feature `mutations`.
    pub mutation: Option<cotter_types::mutation::Mutation>,
    /// Stop at the first failure.
    pub stop_at_first: bool,
}

/// What came of a range.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Runs.
    pub runs: u64,
    /// Runs in which too little happened.
    pub invalid: u64,
    /// Runs in which something was violated, in order of seeds.
    pub failures: Vec<Report>,
    /// What happened in all of them.
    pub tally: Tally,
}

impl Outcome {
    /// Tells whether more searches were given up than the range can bear.
    #[must_use]
    pub fn knows_enough(&self) -> bool {
        let all = self.tally.linearized + self.tally.unknown;
        self.tally.unknown * 1_000 <= all * UNKNOWN_PER_MILLE_MAX
    }

    /// Tells whether the range shows what it should.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.failures.is_empty()
            && self.runs > 0
            && self.knows_enough()
            && (self.runs < 20 || self.invalid * 1_000 <= self.runs * INVALID_PER_MILLE_MAX)
    }
}

impl Campaign {
    /// Runs seeds on all cores, without a planted bug.
    #[must_use]
    pub fn new(seeds: Range<u64>) -> Self {
        Self {
            seeds,
            choices: Choices::default(),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            mutation: None,
            stop_at_first: false,
        }
    }

    /// Runs the range.
    ///
    /// `told` hears of each report as it comes, from any thread.
    pub fn run(&self, told: impl Fn(&Report) + Sync) -> Outcome {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let outcome = Mutex::new(Outcome::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| self.work(&next, &stop, &outcome, &told));
            }
        });
        let mut outcome = outcome
            .into_inner()
            .expect("a panic in a run is caught in the run");
        outcome.failures.sort_by_key(|report| report.seed);
        outcome
    }

    fn work(
        &self,
        next: &AtomicU64,
        stop: &AtomicBool,
        outcome: &Mutex<Outcome>,
        told: &(impl Fn(&Report) + Sync),
    ) {
        #[cfg(feature = "mutations")]
        cotter_types::mutation::plant(self.mutation);
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.seeds.end {
                return;
            }
            let report = run(seed, self.choices, false);
            told(&report);
            let mut outcome = outcome
                .lock()
                .expect("a panic in a run is caught in the run");
            outcome.runs += 1;
            outcome.tally.add(&report.tally);
            if !report.is_valid() {
                outcome.invalid += 1;
            }
            if report.violation.is_some() {
                outcome.failures.push(report);
                if self.stop_at_first || outcome.failures.len() >= FAILURES_MAX {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A seed that found a bug once.
#[derive(Clone, Debug, Deserialize)]
pub struct Story {
    /// The seed.
    pub seed: u64,
    /// Replicas, if they were fixed.
    pub replicas: Option<usize>,
    /// Clients, if they were fixed.
    pub sessions: Option<usize>,
    /// What it found, what the cause was, and what was done.
    pub story: String,
}

/// Reads `tests/seeds.toml`.
///
/// # Errors
/// What is wrong with the text.
pub fn stories(text: &str) -> Result<Vec<Story>, String> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        seeds: Vec<Story>,
    }
    toml::from_str::<File>(text)
        .map(|file| file.seeds)
        .map_err(|error| error.to_string())
}
