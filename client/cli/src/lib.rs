//! The `cotter` command line, as a library so that its parts can be tested without a cell.

mod args;
pub mod clock;
pub mod lock;

use args::{Cli, KeeperArgs, TrampolineArgs, Verb};
use clap::Parser;
use lock::keeper::{self, KeeperSettings};
use lock::schedule::Schedule;
use lock::trampoline::{self, TrampolineSettings};
use std::process::ExitCode;
use std::time::Duration;

/// Runs the command line with the arguments and the environment of this process.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().verb {
        Verb::LockKeeper(arguments) => run_keeper(arguments),
        Verb::LockTrampoline(arguments) => run_trampoline(arguments),
    }
}

fn run_keeper(arguments: KeeperArgs) -> ExitCode {
    let settings = KeeperSettings {
        schedule: Schedule {
            on_lost: arguments.on_lost,
            grace: Duration::from_micros(arguments.grace_us),
            margin: Duration::from_micros(arguments.margin_us),
        },
        foreground: arguments.foreground,
        command: arguments.command,
    };
    match keeper::run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cotter: the keeper of the command failed: {error}");
            ExitCode::from(70)
        }
    }
}

fn run_trampoline(arguments: TrampolineArgs) -> ExitCode {
    trampoline::run(&TrampolineSettings {
        keeper: arguments.keeper,
        foreground: arguments.foreground,
        outlive: arguments.outlive,
        command: arguments.command,
    })
}
