//! What can be said to `cotter bench`.

use crate::args::positive_seconds;
use clap::{Args, Subcommand};
use cotter_types::Path;
use std::time::Duration;

const PAIRS_HELP: &str = "\
Each worker acquires and releases a lock in a loop, waiting for each answer. Latencies are those that
a caller of the client library sees. What happens in the first second is not counted. pairs/s counts
the pairs that ended within the time; errors counts the calls that failed, which are in no other
figure.

With --contended all workers want the same lock. A hand-off is an acquisition by another worker than
the one before; fairness is the number of acquisitions of the worker that got the fewest and of the
one that got the most. The fencing tokens are compared as well: should one not be greater than the one
before, the run fails with status 70.

The nodes are made in a directory of the run's own below --path and deleted at the end, after INT or
TERM too; what was there before stays.

With --output json there is one object: benchmark, path, workers, streams, contended, seconds, pairs,
pairs_per_second, acquire_ms and release_ms (each p50, p99, max), errors, first_error, and, null
unless contended, handoffs, handoffs_per_second and acquisitions_per_worker (min, max).

Examples:
  cotter bench pairs --workers 1
  cotter bench pairs --workers 1024 --seconds 30 --output json
  cotter bench pairs --contended --workers 16";

const READS_HELP: &str = "\
Each read asks the cell: nothing is answered out of a cache. What happens in the first second is not
counted. The node is made in a directory of the run's own below --path and deleted at the end, after
INT or TERM too; what was there before stays.

With --output json there is one object: benchmark, path, in_flight, streams, seconds, reads,
reads_per_second, read_ms (p50, p99, max), errors, first_error.

Examples:
  cotter bench reads --in-flight 1
  cotter bench reads --in-flight 256 --streams 4 --output json";

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Acquire and release locks, and show how many pairs that makes and how long each takes
    #[command(after_help = PAIRS_HELP)]
    Pairs(PairsArgs),
    /// Read a node of 64 bytes linearizably, and show how many reads that makes
    #[command(after_help = READS_HELP)]
    Reads(ReadsArgs),
}

/// Arguments of `cotter bench pairs`.
#[derive(Debug, Args)]
pub(crate) struct PairsArgs {
    /// Workers that acquire and release at the same time (1 to 10000)
    #[arg(long, value_name = "N", default_value = "64",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) workers: u32,
    /// All workers want the same lock, instead of one each
    #[arg(long)]
    pub(crate) contended: bool,
    /// How the cell is approached.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Arguments of `cotter bench reads`.
#[derive(Debug, Args)]
pub(crate) struct ReadsArgs {
    /// Reads that are on their way at the same time (1 to 10000)
    #[arg(long, value_name = "N", default_value = "256",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// How the cell is approached.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What all measurements have in common.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Sessions, each with a stream of its own, over which the load is spread (1 to 1000); no more
    /// than there are workers or reads
    #[arg(long, value_name = "N", default_value = "4",
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) streams: u32,
    /// How long to measure, more than 0, after a first second that is not counted
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive_seconds)]
    pub(crate) seconds: Duration,
    /// Where to make the nodes; created if it is missing, and then deleted at the end
    #[arg(long, value_name = "PREFIX", default_value = "/ls/local/bench")]
    pub(crate) path: Path,
}
