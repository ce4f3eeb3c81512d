//! Runs the core simulation: one seed with a trace, or a range of seeds on all cores.

use clap::Parser;
use cotter_tests::command_line::{Seeds, planted_bug};
use cotter_tests::simulation::{Campaign, Choices, Report, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Runs whole Cotter cells with their clients in virtual time, and checks what must hold.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    #[command(flatten)]
    which: Seeds,
    /// Run each seed twice and compare the two runs.
    #[arg(long)]
    twice: bool,
    /// Plant a bug; needs a build with the feature `mutations`.
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Fix the number of replicas.
    #[arg(long, value_name = "N", value_parser = ["1", "3", "5"])]
    replicas: Option<String>,
    /// Fix the number of clients.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    sessions: Option<u64>,
    /// Judge nothing but the linearizability of what clients were told.
    #[arg(long)]
    linearizability_alone: bool,
    /// Rebuild a replica whose state differs, as the daemon does, instead of failing.
    #[arg(long)]
    rebuilds: bool,
    /// Threads for a range; all cores by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let choices = Choices {
        replicas: arguments
            .replicas
            .as_ref()
            .and_then(|text| text.parse().ok()),
        sessions: arguments
            .sessions
            .and_then(|count| usize::try_from(count).ok()),
        linearizability_alone: arguments.linearizability_alone,
        rebuilds: arguments.rebuilds,
    };
    match campaign(&arguments, choices) {
        Ok(campaign) => match arguments.which.seed {
            Some(seed) => one(seed, &arguments, &campaign),
            None => many(&arguments, &campaign),
        },
        Err(why) => {
            eprintln!("simulate: {why}");
            ExitCode::from(64)
        }
    }
}

fn campaign(arguments: &Arguments, choices: Choices) -> Result<Campaign, String> {
    let seeds = match (&arguments.which.seeds, arguments.which.seed) {
        (Some(seeds), _) => seeds.clone(),
        (None, seed) => {
            let seed = seed.unwrap_or(0);
            seed..seed.saturating_add(1)
        }
    };
    let mut campaign = Campaign::new(seeds);
    campaign.choices = choices;
    if let Some(jobs) = arguments.jobs {
        campaign.jobs = jobs.max(1);
    }
    if let Some(name) = &arguments.mutation {
        let bug = planted_bug(name)?;
        campaign.mutation = Some(bug);
        campaign.stop_at_first = !arguments.rebuilds;
    }
    Ok(campaign)
}

fn one(seed: u64, arguments: &Arguments, campaign: &Campaign) -> ExitCode {
    #[cfg(feature = "mutations")]
    cotter_types::mutation::plant(campaign.mutation);
    let report = run(seed, campaign.choices, arguments.which.trace);
    println!("{}", report.tally);
    println!("fingerprint {:016x}", report.fingerprint);
    let same = !arguments.twice || repeats(&report, campaign.choices);
    match &report.violation {
        Some(violation) => println!("seed {seed} VIOLATES {violation}"),
        None if !report.is_valid() => println!("seed {seed} is invalid: too little happened"),
        None => println!("seed {seed} is clean"),
    }
    ExitCode::from(u8::from(report.violation.is_some() || !same))
}

fn many(arguments: &Arguments, campaign: &Campaign) -> ExitCode {
    let started = Instant::now();
    let different = AtomicU64::new(0);
    let outcome = campaign.run(|report| {
        if let Some(violation) = &report.violation {
            println!("seed {} VIOLATES {violation}", report.seed);
        }
        if arguments.twice && !repeats(report, campaign.choices) {
            different.fetch_add(1, Ordering::Relaxed);
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} runs, {} violations, {} invalid, {seconds:.1} s, {:.1} seeds/s on {} threads",
        outcome.runs,
        outcome.failures.len(),
        outcome.invalid,
        outcome.runs as f64 / seconds,
        campaign.jobs
    );
    println!("{}", outcome.tally);
    let green = outcome.is_green() && different.into_inner() == 0;
    println!("{}", if green { "clean" } else { "FAILED" });
    ExitCode::from(u8::from(!green))
}

fn repeats(report: &Report, choices: Choices) -> bool {
    let again = run(report.seed, choices, false);
    let same = again.fingerprint == report.fingerprint && again.tally == report.tally;
    if !same {
        println!("seed {} gives another run the second time", report.seed);
    }
    same
}
