//! `cotter bench`: measures a cell that is running.
//!
//! The load comes through the client library, as an application's would. What is asked for stands in
//! `args`, where it takes place in `ground`, when it counts in `clock`, how it is told in `tally`.
//! A measurement must leave nothing behind in the cell.

pub(crate) mod args;
mod clock;
mod ground;
pub mod histogram;
mod pairs;
mod reads;
mod tally;

use crate::args::Common;
use crate::failure::Failure;
use crate::output::visible;
use args::BenchVerb;
use nix::sys::signal::Signal;
use std::time::Duration;
use tally::Errors;

/// How long a worker whose call failed rests, so that a cell in trouble is not asked even more.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Measures what is asked for.
pub(crate) async fn run(verb: &BenchVerb, common: &Common) -> Result<u8, Failure> {
    match verb {
        BenchVerb::Pairs(arguments) => pairs::run(arguments, common).await,
        BenchVerb::Reads(arguments) => reads::run(arguments, common).await,
    }
}

/// Returns the exit status of a run that a signal ended, as a shell tells it.
fn interrupted(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}

/// Says what the first error was, apart from the figures.
fn say_errors(errors: &Errors) {
    if let Some(first) = &errors.first {
        eprintln!(
            "cotter: {} calls failed, first {}",
            errors.count,
            visible(first)
        );
    }
}
