//! What can be said on the command line.

mod cell;

pub(crate) use cell::CellVerb;

use crate::bench::args::BenchVerb;
use crate::lock::schedule::OnLost;
use crate::output::Format;
use crate::since::Since;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use cotter_client::{CALL_TIMEOUT_DEFAULT, UNREACHABLE_AFTER_DEFAULT};
use cotter_types::Path;
use cotter_types::limits::{
    LABEL_BYTES_MAX, LEASE_MS_MAX, LEASE_MS_MIN, LOCK_DELAY_MS_MAX, TTL_MS_MAX, TTL_MS_MIN,
};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit status:
   0  done
   1  a condition of a transaction (cotter txn) does not hold
  64  the command line makes no sense
  65  the node is not as expected: it exists already, has changed, has children or is locked
  66  there is no such node or file
  69  the cell could not be reached, or has no master
  70  something that should not happen
  74  a file or a stream could not be read or written
  75  the lock was not acquired (see cotter lock --help)
  77  permission denied
 117  a lock, or a session, was lost while it was needed

Environment:
  COTTER_ENDPOINTS  what --endpoints says, when it is not given
  RUST_LOG          what the client library logs on standard error, as in cotter_client=debug;
                    errors only, if it is not set";

const TXN_HELP: &str = "\
All lines are done together or not at all. Conditions are looked at first, against the nodes as they
are; then the operations are done in order, each seeing what the former did.

  # a comment
  if PATH exists | absent | contents CONTENTS
  if PATH generation N | instance N | child-generation N | lock-generation N
  create PATH [CONTENTS]                      fails if the node exists
  set PATH CONTENTS [if-generation N]
  delete PATH [if-generation N]               fails if there are children

Conditions stand before operations. Words are separated by spaces. A path or contents with spaces,
quotes, backslashes or a leading # are written in double quotes, in which \\\\ \\\" \\n \\r \\t and \\xHH
stand for single bytes. There are at most 128 conditions and 1 to 128 operations.

With --json:
  {\"if\": [{\"path\": PATH, \"exists\": true | false}, or in place of \"exists\" one of \"instance\",
           \"content_generation\", \"child_generation\", \"lock_generation\": N, \"contents\": TEXT],
   \"do\": [{\"create\": {\"path\", \"contents\", \"sequential\", \"parents\", \"ttl_ms\"}},
          {\"set\": {\"path\", \"contents\", \"if_generation\", \"if_instance\"}},
          {\"delete\": {\"path\", \"recursive\", \"if_generation\", \"if_instance\"}}]}

Exit status:
   0  all of it was done
   1  a condition does not hold; nothing was changed
  65  a line makes no sense, and nothing was sent; or an operation was refused (its own if-generation
      included), and nothing was changed

Example:
  printf 'if /ls/local/a contents old\\nset /ls/local/a new\\ncreate /ls/local/log\\n' | cotter txn";

const LOCK_HELP: &str = "\
The command is started without a shell, in a process group of its own, with standard input passed.
It finds COTTER_LOCK (the path), COTTER_TOKEN (the fencing token), COTTER_SEQUENCER and
COTTER_SESSION in its environment. INT, TERM, HUP, QUIT, USR1, USR2 and WINCH are passed on to it.
Without a command the sequencer is printed and the lock held until INT or TERM.

When the command ends, whatever it has left in its process group is ended too, and then the lock is
released. If the lock is about to be lost, the command is told to end (--on-lost, --grace) and is
killed before anybody else can get the lock, even if this process is killed or stopped meanwhile.
Not reached are processes that leave the process group, and perhaps not commands that change their
user or gain privileges (sudo, setuid, setcap): it is said when nothing of a command can be
signalled, and the lock is not released before it ends by itself, though it may be lost. Nothing is
promised when the whole machine stands still: have stores check COTTER_TOKEN. A job stopped with
Ctrl-Z for longer than its lease loses the lock, and the command is killed.

When the cell cannot be reached, that is said on standard error, and again when it can. At the start
it is given --timeout to answer (30 seconds, or as long as --wait if that is less, but at least 2; 5
with --nonblock). A wait that has begun goes on through an outage: for ever without --wait, even if
the session is lost meanwhile, but then at the end of the queue.

Exit status: that of the command, 128+n if signal n killed it, 126 and 127 if it could not be
executed or found; otherwise
  64  the command line makes no sense
  69  the cell could not be reached, or has no master
  70  something that should not happen
  75  the lock was not acquired within --wait, or at once with --nonblock (or CODE of -E)
  77  permission denied
 117  the lock was lost, or about to be lost, while the command ran (not with --on-lost ignore)
 128+n  signal n came while waiting for the lock

Examples:
  cotter lock /ls/local/jobs/crawl -- ./crawl --all
  cotter lock -n /ls/local/jobs/billing -- ./bill || echo 'runs elsewhere'
  cotter lock -w 2.5 -E 3 --shared /ls/local/db/schema -- ./report";

/// Lock and coordination service: who may act, and who is alive.
#[derive(Debug, Parser)]
#[command(name = "cotter", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What holds for every verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Addresses of replicas, separated by commas; any one that answers is enough to find the others
    #[arg(
        long,
        global = true,
        env = "COTTER_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7400"
    )]
    pub(crate) endpoints: Vec<String>,
    /// Tables for people, JSON for programs, or plain: tab-separated without a head
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    /// Give up on the cell after so long, more than 0; waiting for a lock does not count; without it 30,
    /// and 5 when no replica can be reached
    #[arg(long, global = true, value_name = "SECONDS", value_parser = positive_seconds)]
    pub(crate) timeout: Option<Duration>,
}

impl Common {
    /// Returns how long a call may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT)
    }

    /// Returns for how long no replica must be of use before the cell counts as unreachable. Who says
    /// how long it may take has that patience with an outage, too.
    pub(crate) fn unreachable_after(&self) -> Duration {
        self.timeout.unwrap_or(UNREACHABLE_AFTER_DEFAULT)
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Hold a lock while a command runs
    #[command(after_help = LOCK_HELP)]
    Lock(LockArgs),
    /// Say who holds a lock, who waits for it, and why
    Explain {
        /// The lock
        path: Path,
    },
    /// Tell what happened to a lock or a node, oldest first
    #[command(after_help = HISTORY_HELP)]
    History(HistoryArgs),
    /// List the locks that are held, waited for or delayed
    Locks {
        /// Only within this path
        #[arg(default_value = "/ls/local")]
        path: Path,
    },
    /// List the sessions
    Sessions,
    /// List the children of a node
    Ls {
        /// The node
        #[arg(default_value = "/ls/local")]
        path: Path,
    },
    /// Show a node and everything below it
    Tree {
        /// The node
        #[arg(default_value = "/ls/local")]
        path: Path,
        /// Go only so many levels down (1 to 255); without it, all the way
        #[arg(short = 'L', long, value_name = "LEVELS", value_parser = clap::value_parser!(u8).range(1..))]
        depth: Option<u8>,
    },
    /// Write the contents of a node to standard output
    Cat {
        /// The node
        path: Path,
    },
    /// Replace the contents of a node, or create it
    Put(PutArgs),
    /// Create a node
    Create(CreateArgs),
    /// Delete a node
    Rm(RmArgs),
    /// Change several nodes together or not at all
    #[command(after_help = TXN_HELP)]
    Txn(TxnArgs),
    /// Show the metadata of a node
    Stat {
        /// The node
        path: Path,
    },
    /// Look at the cell itself
    #[command(subcommand)]
    Cell(CellVerb),
    /// Measure the cell under load
    #[command(subcommand)]
    Bench(BenchVerb),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages of all verbs: cotter.1, cotter-lock.1 and so on
    Man {
        /// Directory to write them to, made if it is missing; pages that are there are replaced
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

const HISTORY_HELP: &str = "\
Told are the grants of a lock and why each hold ended, with who and with which token; and that nodes
were created, set and deleted. It is what one replica remembers, the master if its history is on: for
30 days and 128 MiB unless configured otherwise. The last line says which revisions that covers, and
where there are gaps (with --output plain it goes to standard error). Times are those of the masters'
wall clocks.

Examples:
  cotter history /ls/local/jobs/crawl --since 2h
  cotter history -r /ls/local/jobs --since 2026-11-23 --output json";

/// Arguments of `cotter lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// The lock: a node, created with its parents if there is none
    pub(crate) path: Path,
    /// Do not wait for the lock
    #[arg(short, long, visible_alias = "nb", conflicts_with = "wait")]
    pub(crate) nonblock: bool,
    /// Wait at most so long for the lock; 0 is --nonblock; without it, wait for ever
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    /// Share the lock with other shared holders
    #[arg(short, long, conflicts_with = "exclusive")]
    pub(crate) shared: bool,
    /// Hold the lock alone (the default)
    #[arg(short = 'x', short_alias = 'e', long)]
    pub(crate) exclusive: bool,
    /// Exit status when the lock was not acquired (0 to 255)
    #[arg(short = 'E', long, value_name = "CODE", default_value = "75")]
    pub(crate) conflict_exit_code: u8,
    /// The session's lease: how long the lock may stay held after this machine has died (2 to 120)
    #[arg(long, value_name = "SECONDS", value_parser = lease, default_value = "12")]
    pub(crate) lease: Duration,
    /// How long the lock stays unavailable after this session has expired (0 to 60)
    #[arg(long, value_name = "SECONDS", value_parser = lock_delay, default_value = "2")]
    pub(crate) lock_delay: Duration,
    /// Name of the session, for people to read, at most 255 bytes; without it, the command's name
    #[arg(long, value_parser = label)]
    pub(crate) name: Option<String>,
    /// What to do with the command when the lock is about to be lost: term, kill, signal:NAME, or
    /// ignore (it runs on, and only the token protects)
    #[arg(long, value_name = "WHAT", default_value = "term")]
    pub(crate) on_lost: OnLost,
    /// Time between that signal and KILL, from 0 to a little less than half of the lease; without
    /// it, a quarter of the lease
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) grace: Option<Duration>,
    /// Say how long it took, and while waiting, who holds the lock and which place this is
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Create the node, if it is missing, as an ephemeral one, which goes with its last holder
    #[arg(long)]
    pub(crate) temporary: bool,
    /// The command and its arguments; without it, the lock is held until INT or TERM
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Arguments of `cotter history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The lock or node, which may be gone
    pub(crate) path: Path,
    /// Only since then: 90s, 15m, 2h or 3d ago, or a time in UTC, as in 2026-11-23 or "2026-11-23
    /// 18:28"; without it, all that is kept
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Of everything below it too
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Only the newest so many events (1 to 1000000)
    #[arg(short = 'n', long, value_name = "EVENTS", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
}

/// Arguments of `cotter put`.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The node
    pub(crate) path: Path,
    /// File with the new contents, at most 256 KiB; - is standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Only if the content generation is this one; 0: only if there is no such node
    #[arg(long, value_name = "GENERATION")]
    pub(crate) if_generation: Option<u64>,
    /// Create missing parents
    #[arg(short, long)]
    pub(crate) parents: bool,
}

/// Arguments of `cotter create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The node
    pub(crate) path: Path,
    /// File with the initial contents, at most 256 KiB; - is standard input; without it, empty
    pub(crate) file: Option<PathBuf>,
    /// Create missing parents
    #[arg(short, long)]
    pub(crate) parents: bool,
    /// Fail if the node exists already
    #[arg(short = 'x', long)]
    pub(crate) exclusive: bool,
    /// Hold an ephemeral node open until INT or TERM; it goes when nobody holds it open
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Append a number that the parent has never given before, and print the whole path
    #[arg(short, long, conflicts_with = "exclusive")]
    pub(crate) sequential: bool,
    /// Let the node live so long since it was created or last set (1 second to 10 years of 365
    /// days); without it, until it is deleted
    #[arg(long, value_name = "SECONDS", value_parser = ttl, conflicts_with = "ephemeral")]
    pub(crate) ttl: Option<Duration>,
}

/// Arguments of `cotter txn`.
#[derive(Debug, Args)]
pub(crate) struct TxnArgs {
    /// File with the transaction; - is standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// The file is JSON, not a script
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `cotter rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The node
    pub(crate) path: Path,
    /// With everything below it, at most 1000 nodes, all or none
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Only if the content generation is this one
    #[arg(long, value_name = "GENERATION")]
    pub(crate) if_generation: Option<u64>,
    /// Only if the instance is this one
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) if_instance: Option<u64>,
}

/// The keeper's own command line, which only `cotter lock` uses.
#[derive(Debug, Parser)]
pub(crate) struct KeeperCli {
    /// What to do when the lock is about to be lost.
    #[arg(long)]
    pub(crate) on_lost: OnLost,
    /// Microseconds between the warning and KILL.
    #[arg(long)]
    pub(crate) grace_us: u64,
    /// Microseconds between KILL and the end of the belief.
    #[arg(long)]
    pub(crate) margin_us: u64,
    /// Hand the terminal to the command.
    #[arg(long)]
    pub(crate) foreground: bool,
    /// The command.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// The trampoline's own command line, which only the keeper uses.
#[derive(Debug, Parser)]
pub(crate) struct TrampolineCli {
    /// Process id of the keeper.
    #[arg(long)]
    pub(crate) keeper: i32,
    /// Take the terminal.
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Ask for no death signal.
    #[arg(long)]
    pub(crate) outlive: bool,
    /// The command.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Reads seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .filter(|duration| duration.as_secs() < 1_000_000_000)
        .ok_or_else(|| format!("{text:?} is no number of seconds; write 3 or 2.5"))
}

/// Reads seconds that are more than none.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, String> {
    let duration = seconds(text)?;
    if duration.is_zero() {
        return Err("it must be more than 0 seconds".to_owned());
    }
    Ok(duration)
}

/// Reads a time to live.
fn ttl(text: &str) -> Result<Duration, String> {
    seconds_within(text, TTL_MS_MIN, TTL_MS_MAX)
}

/// Reads a session's lease.
fn lease(text: &str) -> Result<Duration, String> {
    seconds_within(text, LEASE_MS_MIN, LEASE_MS_MAX)
}

/// Reads a lock-delay.
fn lock_delay(text: &str) -> Result<Duration, String> {
    seconds_within(text, 0, LOCK_DELAY_MS_MAX)
}

/// Reads seconds from `ms_min` to `ms_max`. The bounds are compared exactly, so that what is a
/// microsecond too long is refused here and not cut off.
fn seconds_within(text: &str, ms_min: u64, ms_max: u64) -> Result<Duration, String> {
    let duration = seconds(text)?;
    if (Duration::from_millis(ms_min)..=Duration::from_millis(ms_max)).contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (ms_min / 1_000, ms_max / 1_000);
    Err(format!("it must be {least} to {most} seconds"))
}

/// Reads a session's name.
fn label(text: &str) -> Result<String, String> {
    if text.len() > LABEL_BYTES_MAX {
        let length = text.len();
        return Err(format!(
            "it has {length} bytes, but may have {LABEL_BYTES_MAX} at most"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Cli, Verb, seconds};
    use clap::{CommandFactory, Parser};
    use std::time::Duration;

    #[test]
    fn command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_and_nothing_else() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2_500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["-1", "inf", "NaN", "1s", "", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_after_two_dashes_is_the_command() {
        let cli = Cli::parse_from([
            "cotter",
            "lock",
            "-n",
            "/ls/local/a",
            "--",
            "ls",
            "-n",
            "--",
        ]);
        let Verb::Lock(lock) = cli.verb else {
            panic!("expected lock");
        };
        assert!(lock.nonblock);
        assert_eq!(lock.command, ["ls", "-n", "--"]);
    }

    #[test]
    fn flags_of_flock_are_understood() {
        for flags in [
            &["-n"][..],
            &["--nb"],
            &["-w", "0.5"],
            &["-s"],
            &["-x"],
            &["-e"],
            &["-E", "3"],
        ] {
            let mut line = vec!["cotter", "lock"];
            line.extend(flags);
            line.push("/ls/local/a");
            assert!(Cli::try_parse_from(&line).is_ok(), "{flags:?}");
        }
        assert!(Cli::try_parse_from(["cotter", "lock", "-n", "-w", "1", "/ls/local/a"]).is_err());
        assert!(Cli::try_parse_from(["cotter", "lock", "-s", "-x", "/ls/local/a"]).is_err());
        assert!(Cli::try_parse_from(["cotter", "lock", "a/b"]).is_err());
    }
}
