//! The `cotter` command line, as a library so that its parts can be tested without a cell.
//!
//! What is said on the command line is in `args`, what is shown in `output`, with which status it
//! ends in [`failure`]. The verbs stand in `verbs`; `cotter lock`, which is more than a question, in
//! [`lock`].

mod args;
pub mod bench;
pub mod clock;
pub mod explain;
pub mod failure;
pub mod lock;
pub mod output;
pub mod script;
pub mod script_json;
mod since;
mod verbs;

use args::{Cli, Common, KeeperCli, TrampolineCli, Verb};
use clap::{CommandFactory, Parser};
use failure::Failure;
use lock::keeper::{self, KeeperSettings};
use lock::schedule::Schedule;
use lock::trampoline::{self, TrampolineSettings};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Returns the definition of the command line, from which its manual is made.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the command line with the arguments and the environment of this process.
///
/// Two first arguments are none of the user's: with them the program starts itself, as the keeper of
/// a command or as its trampoline.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some(keeper::VERB) => return run_keeper(&arguments[1..]),
        Some(trampoline::VERB) => return run_trampoline(&arguments[1..]),
        _ => {}
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run_verb(&cli),
        Err(error) => explain_usage(&error),
    }
}

/// Shows what clap has to say: help on standard output, everything else as our other errors.
fn explain_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    eprintln!("cotter: {}", text.trim_end());
    ExitCode::from(failure::USAGE)
}

fn run_verb(cli: &Cli) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(&cli.verb, &cli.common)),
        Err(error) => Err(Failure::new(failure::SOFTWARE, error.to_string())),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if !failure.message.is_empty() {
                let message = output::visible(&failure.message);
                let _ = writeln!(std::io::stderr(), "cotter: {message}");
            }
            ExitCode::from(failure.status)
        }
    }
}

async fn dispatch(verb: &Verb, common: &Common) -> Result<u8, Failure> {
    match verb {
        Verb::Lock(arguments) => return lock::verb::run(arguments, common).await,
        Verb::Explain { path } => verbs::locks::explain(path, common).await?,
        Verb::History(arguments) => verbs::history::run(arguments, common).await?,
        Verb::Locks { path } => verbs::locks::locks(path, common).await?,
        Verb::Sessions => verbs::locks::sessions(common).await?,
        Verb::Ls { path } => verbs::nodes::ls(path, common).await?,
        Verb::Tree { path, depth } => verbs::tree::run(path, *depth, common).await?,
        Verb::Cat { path } => verbs::nodes::cat(path, common).await?,
        Verb::Put(arguments) => verbs::nodes::put(arguments, common).await?,
        Verb::Create(arguments) => verbs::nodes::create(arguments, common).await?,
        Verb::Rm(arguments) => verbs::nodes::rm(arguments, common).await?,
        Verb::Txn(arguments) => verbs::txn::run(arguments, common).await?,
        Verb::Stat { path } => verbs::nodes::stat(path, common).await?,
        Verb::Cell(verb) => verbs::cell::run(verb, common).await?,
        Verb::Bench(verb) => return bench::run(verb, common).await,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cotter", &mut script);
            output::write_out(&script)?;
        }
        Verb::Man { dir } => write_man_pages(dir)?,
    }
    Ok(0)
}

/// Writes the man pages and prints their paths, one a line.
fn write_man_pages(directory: &Path) -> Result<(), Failure> {
    let written = cotter_manual::write_pages(&Cli::command(), 1, directory)
        .map_err(|error| Failure::new(failure::INPUT_OUTPUT, error.to_string()))?;
    let paths: String = written
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    output::write_out(paths.as_bytes())
}

fn run_keeper(arguments: &[OsString]) -> ExitCode {
    let arguments = match KeeperCli::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return explain_usage(&error),
    };
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
            let _ = writeln!(
                std::io::stderr(),
                "cotter: the keeper of the command failed: {error}"
            );
            ExitCode::from(failure::SOFTWARE)
        }
    }
}

fn run_trampoline(arguments: &[OsString]) -> ExitCode {
    match TrampolineCli::try_parse_from(arguments) {
        Ok(arguments) => trampoline::run(&TrampolineSettings {
            keeper: arguments.keeper,
            foreground: arguments.foreground,
            outlive: arguments.outlive,
            command: arguments.command,
        }),
        Err(error) => explain_usage(&error),
    }
}
