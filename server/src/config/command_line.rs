//! The command line of `cotterd`.
//!
//! Values are taken as text and checked together with those of the file, so that a bad one is
//! refused with the same words wherever it came from.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit status:
   0  done, or stopped as asked by INT or TERM
  64  the command line makes no sense
  65  what is on the disk is damaged (cotterd inspect)
  69  something that must be there is not, or not yet: a port is taken, a member does not answer
  70  the replica found itself broken and stopped
  74  a file could not be written (cotterd man, salvage)
  78  the configuration or the data directory does not allow what was asked

Environment:
  RUST_LOG  which lines are logged on standard error, as in cotter_server=debug; if it is not set,
            everything from info on";

const JOIN_HELP: &str = "\
The members that the configuration names are asked for the cell's certificate; nothing is changed on
them. Then run the replica with cotterd run: it fetches the state, follows, and has no vote until
cotter cell add (a new id) or cotter cell replace (the id of a member whose disk is lost) gives it
one. The data directory must be empty.";

const RESTORE_HELP: &str = "\
The file is a backup (cotter cell backup); every member needs a copy of it. The members found a new cell
with an id of its own, and the tree of the backup: nodes, contents, ACLs. All sessions have ended, what
they held is free, and ephemeral nodes are gone. What was acknowledged after the backup is lost.

Tokens, revisions and instances go on above the present time in microseconds, so that they are above
whatever the old cell gave out. A clock that is behind the backup is refused. Stop the old cell for
good first: the new one grants no lock for about three minutes after its first master, the longest that
somebody may still believe that he holds one.

An interrupted restore is completed by running it again. Then run every member with cotterd run.

Exit status:
   0  the cell is restored
  65  the backup is damaged
  69  not all members came in time, or the disk refused
  78  the data directory is not empty, the members do not agree, or the clock is behind";

const SALVAGE_HELP: &str = "\
For the case that a majority of the members is gone for good and one that is left knows more than the
last backup. Stop it first; its directory is not changed. The backup holds its newest checkpoint and all
that its logs hold since then, entries that it accepted and does not know to be decided too. What the
lost members decided without it is not there. Go on with cotterd restore, on empty directories.

Among several survivors take the one that names the highest chapter and log entry.

Exit status:
   0  the backup is written and was read back
  65  something is damaged; if the backup was written all the same, what was left out is said
  69  the directory is in use, or the disk refused
  74  the backup could not be written
  78  there is no replica there, or the file is there already";

const INSPECT_HELP: &str = "\
Everything is read to its end: identity, boot number, each segment of the log, each checkpoint. What
is wrong is named by file and place. A directory that a daemon has in use is refused.

Exit status:
   0  everything that is there is whole; an unfinished end of the log, which a crash leaves, is
  65  something is damaged, or in a format that this cotterd does not know
  69  the directory is in use, or the disk refused
  78  there is no replica there";

/// A replica of a Cotter cell: a small replicated service that says who may act.
#[derive(Debug, Parser)]
#[command(name = "cotterd", version, propagate_version = true, after_help = EXIT_CODES,
          max_term_width = 100)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `cotterd` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cell of three replicas in this process, on disk, with nothing to configure
    Dev(DevArguments),
    /// Give birth to a cell: run it once on every member, while all data directories are empty
    Init(InitArguments),
    /// Found a new cell from a backup: run it once on every member, while all data directories are empty
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArguments),
    /// Make a backup of what the data directory of a survivor knows, when the majority is lost
    #[command(after_help = SALVAGE_HELP)]
    Salvage(SalvageArguments),
    /// Make the data directory of a replica that joins a living cell: a new one, or one that lost its
    /// disk
    #[command(after_help = JOIN_HELP)]
    Join(JoinArguments),
    /// Run one replica of a cell that was born
    Run(RunArguments),
    /// Say what a data directory or a backup holds, and what is wrong with it; changes nothing
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArguments),
    /// Write the man pages: cotterd.8, cotterd-run.8 and so on
    Man(ManArguments),
}

/// Arguments of `cotterd dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArguments {
    /// Directory that keeps the cell; it is born there if the directory does not exist
    #[arg(
        long,
        value_name = "DIR",
        env = "COTTERD_DATA",
        default_value = "./cotter-data"
    )]
    pub data: PathBuf,
    /// IP address and port where replica 1 listens for clients, port 0 for one that the system
    /// chooses; the others take the next ports if these are free
    #[arg(
        long,
        value_name = "ADDR",
        env = "COTTERD_CLIENT_LISTEN",
        default_value = "127.0.0.1:7400"
    )]
    pub listen: String,
    /// Bytes of the log after which a chapter of it is sealed and
    /// a checkpoint written (65536 to 1073741824); without it, 67108864
    #[arg(long, value_name = "BYTES", env = "COTTERD_CHAPTER_BYTES")]
    pub chapter_bytes: Option<String>,
    /// Age after which it is sealed in any case; units are ms, s, m and
    /// h; without it, 1h
    #[arg(long, value_name = "TIME", env = "COTTERD_CHAPTER_AGE")]
    pub chapter_age: Option<String>,
    /// Bytes of history that each replica keeps for cotter history
    /// (65536 to 4294967296), or 0 for none; without it, 134217728
    #[arg(long, value_name = "BYTES", env = "COTTERD_HISTORY_BYTES")]
    pub history_bytes: Option<String>,
    /// Days for which it is kept (1 to 3650); without it, 30
    #[arg(long, value_name = "DAYS", env = "COTTERD_HISTORY_DAYS")]
    pub history_days: Option<String>,
    /// How log lines look: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        env = "COTTERD_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: String,
}

/// Arguments of `cotterd init`.
#[derive(Clone, Debug, Args)]
pub struct InitArguments {
    /// How long to wait for the other members, from 1ms to 168h; units are ms, s, m and h, and a number
    /// alone is seconds
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: String,
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `cotterd restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArguments {
    /// The backup, the same on all members
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Number above which the new cell's fencing tokens begin, at least the backup's last and below
    /// 2^52, in place of the present time in microseconds since 1970; give it to all members
    #[arg(long, value_name = "TOKEN", value_parser = clap::value_parser!(u64).range(1..1 << 52))]
    pub token_floor: Option<u64>,
    /// How long to wait for the other members, from 1ms to 168h; units are ms, s, m and h, and a number
    /// alone is seconds
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: String,
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `cotterd salvage`.
#[derive(Clone, Debug, Args)]
pub struct SalvageArguments {
    /// The data directory of the survivor
    #[arg(value_name = "DIR")]
    pub data: PathBuf,
    /// The backup to write; a file that is there is never replaced
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `cotterd join`.
#[derive(Clone, Debug, Args)]
pub struct JoinArguments {
    /// How long to look for a member that runs, from 1ms to 168h; units are ms, s, m and h, and a
    /// number alone is seconds
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: String,
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `cotterd run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// Replaces `rejoin`: if the data directory is empty, join the cell anew and ask for the vote that
    /// the lost disk had
    #[arg(long, env = "COTTERD_REJOIN")]
    pub rejoin: bool,
    /// Trust nothing of the state in the data directory, and fetch it from the others; what the replica
    /// has promised is kept. For the case that the states of replicas differ and no majority agrees.
    /// Never on all members that are left
    #[arg(long)]
    pub rebuild: bool,
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `cotterd inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArguments {
    /// The data directory of one replica, or a backup file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Show the entries of the log too, at most 100000 of each chapter
    #[arg(long)]
    pub entries: bool,
    /// First entry to show, by its index within the chapter from 0 on; from the first if it is not
    /// given
    #[arg(long, value_name = "INDEX", requires = "entries")]
    pub from: Option<u64>,
    /// Last entry to show, by its index within the chapter; to the last if it is not given
    #[arg(long, value_name = "INDEX", requires = "entries")]
    pub to: Option<u64>,
    /// How it is shown: text for people, json for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub output: InspectOutput,
}

/// How `cotterd inspect` shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InspectOutput {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Arguments of `cotterd man`.
#[derive(Clone, Debug, Args)]
pub struct ManArguments {
    /// Directory to write them to, made if it is missing; pages that are there are replaced
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// The configuration file, and what replaces its values: a flag goes before the variable, which
/// goes before the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Configuration file (TOML); without it, flags and variables must say everything
    #[arg(long, value_name = "FILE", env = "COTTERD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Replaces `cell`: the cell's name, 1 to 255 bytes without / and control characters
    #[arg(long, value_name = "NAME", env = "COTTERD_CELL")]
    pub cell: Option<String>,
    /// Replaces `replica`: which member this replica is, by its number from 1 on
    #[arg(long, value_name = "ID", env = "COTTERD_REPLICA")]
    pub replica: Option<String>,
    /// Replaces `data`: the data directory
    #[arg(long, value_name = "DIR", env = "COTTERD_DATA")]
    pub data: Option<PathBuf>,
    /// Replaces `log_format`: text or json; text, if neither says
    #[arg(long, value_name = "FORMAT", env = "COTTERD_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Replaces `client.listen`: IP address and port to listen on for clients; port 0 lets the system
    /// choose
    #[arg(long, value_name = "ADDR", env = "COTTERD_CLIENT_LISTEN")]
    pub client_listen: Option<String>,
    /// Replaces `client.advertise`: the host and port that clients are told; without it, those of the
    /// member's row
    #[arg(long, value_name = "ADDR", env = "COTTERD_CLIENT_ADVERTISE")]
    pub client_advertise: Option<String>,
    /// Replaces `peer.listen`: IP address and port to listen on for the other replicas; port 0 lets the
    /// system choose
    #[arg(long, value_name = "ADDR", env = "COTTERD_PEER_LISTEN")]
    pub peer_listen: Option<String>,
    /// Replaces `peer.advertise`: the host and port that the other replicas are told; without it,
    /// those of the member's row
    #[arg(long, value_name = "ADDR", env = "COTTERD_PEER_ADVERTISE")]
    pub peer_advertise: Option<String>,
    /// Replaces `members`, once for each, 1 to 5: its id, where clients and where peers reach it;
    /// separated by spaces in the variable
    #[arg(
        long = "member",
        value_name = "ID=CLIENT,PEER",
        env = "COTTERD_MEMBERS",
        value_delimiter = ' '
    )]
    pub members: Vec<String>,
    /// Replaces `timing.election_round_ms`: one election round (10 to 5000 ms); without it, 50
    #[arg(long, value_name = "MS", env = "COTTERD_ELECTION_ROUND_MS")]
    pub election_round_ms: Option<String>,
    /// Replaces `timing.master_lease_ms`: the master's own lease (four election rounds to 20000 ms);
    /// without it, 400
    #[arg(long, value_name = "MS", env = "COTTERD_MASTER_LEASE_MS")]
    pub master_lease_ms: Option<String>,
    /// Replaces `chapter.bytes`: bytes of the log after which a chapter of it is sealed and
    /// a checkpoint written (65536 to 1073741824); without it, 67108864
    #[arg(long, value_name = "BYTES", env = "COTTERD_CHAPTER_BYTES")]
    pub chapter_bytes: Option<String>,
    /// Replaces `chapter.age`: age after which it is sealed in any case; units are ms, s, m and
    /// h; without it, 1h
    #[arg(long, value_name = "TIME", env = "COTTERD_CHAPTER_AGE")]
    pub chapter_age: Option<String>,
    /// Replaces `history.bytes`: bytes of history that this replica keeps for cotter history
    /// (65536 to 4294967296), or 0 for none; without it, 134217728
    #[arg(long, value_name = "BYTES", env = "COTTERD_HISTORY_BYTES")]
    pub history_bytes: Option<String>,
    /// Replaces `history.days`: days for which it is kept (1 to 3650); without it, 30
    #[arg(long, value_name = "DAYS", env = "COTTERD_HISTORY_DAYS")]
    pub history_days: Option<String>,
    /// Replaces `scrub.every`: time between two readings of logs and checkpoints that tell whether the
    /// disk has kept them (1ms to 168h); units are ms, s, m and h; without it, 24h
    #[arg(long, value_name = "TIME", env = "COTTERD_SCRUB_EVERY")]
    pub scrub_every: Option<String>,
}
