//! Runs the stack simulation: the real servers and the real client library on a simulated network.
//!
//! One process runs one seed, because libc's clock and randomness are replaced for the whole of it; a
//! range starts one process a seed. The same seed gives the same trace, whose hash is printed.

mod chance;
mod guest;
mod record;
mod run;

use clap::Parser;
use cotter_tests::command_line::{Seeds, planted_bug};
use cotter_types::mutation::Mutation;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs whole cells with their clients on a simulated network, and checks what must hold.
#[derive(Debug, Parser)]
#[command(name = "stack")]
struct Arguments {
    #[command(flatten)]
    which: Seeds,
    /// Inject no fault.
    #[arg(long)]
    calm: bool,
    /// Run each seed twice and compare the two traces; only with --seeds.
    #[arg(long, conflicts_with = "seed")]
    twice: bool,
    /// Plant a bug, which must make a seed fail; needs a build with the feature `mutations`.
    #[arg(long, value_name = "NAME", value_parser = planted_bug)]
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (arguments.which.seed, &arguments.which.seeds) {
        (Some(seed), _) => one(seed, &arguments),
        (None, Some(seeds)) => many(seeds.clone(), &arguments),
        (None, None) => ExitCode::FAILURE,
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    // The name differs from process to process, so it is made before chance is replaced.
    let memory = Path::new("/dev/shm");
    let prefix = format!("cotter-stack-{seed}-{}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    let directory = match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    };
    let directory = match directory {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("seed {seed}: no directory for the replicas: {error}");
            return ExitCode::FAILURE;
        }
    };
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(seed));
    // Everything runs on this thread, so that the bug is everywhere.
    #[cfg(feature = "mutations")]
    cotter_types::mutation::plant(arguments.mutation);
    let clocks = mad_turmoil::time::SimClocksGuard::init();
    let ended = run::run(
        seed,
        directory.path(),
        arguments.calm,
        arguments.which.trace,
    );
    drop(clocks);
    match ended {
        Ok(ended) => {
            let (lines, hash) = ended.trace;
            println!(
                "seed {seed} trace {hash:016x} of {lines} lines, {:?}",
                ended.tally
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("seed {seed} FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn many(seeds: Range<u64>, arguments: &Arguments) -> ExitCode {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if !passes(seed, arguments) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    println!("{} seeds, {failed} failed", seeds.end - seeds.start);
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a seed in a process of its own, or in two.
fn passes(seed: u64, arguments: &Arguments) -> bool {
    let (is_green, said) = process(seed, arguments);
    print!("{said}");
    if !is_green || !arguments.twice {
        return is_green;
    }
    let (_, again) = process(seed, arguments);
    if said != again {
        print!("seed {seed} FAILED: the second run differs: {again}");
    }
    said == again
}

fn process(seed: u64, arguments: &Arguments) -> (bool, String) {
    let run = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--seed").arg(seed.to_string());
        if arguments.calm {
            command.arg("--calm");
        }
        if let Some(bug) = arguments.mutation {
            command.arg("--mutation").arg(format!("{bug:?}"));
        }
        command.output()
    };
    match run() {
        Ok(output) if output.status.success() => {
            (true, String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let told = String::from_utf8_lossy(&output.stderr);
            (
                false,
                format!("{said}{told}seed {seed}: {}\n", output.status),
            )
        }
        Err(error) => (false, format!("seed {seed} cannot be started: {error}\n")),
    }
}
