//! Arguments of `cotter cell`.

use clap::Subcommand;
use std::path::PathBuf;

/// What can be asked of the cell itself.
#[derive(Debug, Subcommand)]
pub(crate) enum CellVerb {
    /// Show how the cell is, as the replica that answers sees it
    Status,
    /// List the replicas
    Members,
    /// Write the whole cell, as it is at one moment, into a file, while the cell goes on
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// The file, which must not exist; it gets its name only when all of it is on the disk
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give a vote to a replica that has joined and has none (cotterd join)
    #[command(after_help = CHANGE_HELP)]
    Add {
        /// Its id
        #[arg(value_name = "REPLICA")]
        replica: u64,
    },
    /// Take a replica's vote away
    #[command(after_help = CHANGE_HELP)]
    Remove {
        /// Its id; not that of the master, which is transferred first
        #[arg(value_name = "REPLICA")]
        replica: u64,
    },
    /// Give the vote of a replica that lost its disk to the new disk, from which it has joined
    #[command(after_help = CHANGE_HELP)]
    Replace {
        /// Its id
        #[arg(value_name = "REPLICA")]
        replica: u64,
    },
    /// Hand mastership over, without waiting for a lease to run out
    Transfer {
        /// To which replica; to whichever was heard last, if it is not given
        #[arg(value_name = "REPLICA")]
        to: Option<u64>,
    },
}

const CHANGE_HELP: &str = "\
One change is made at a time. It is refused when too few of those who would have a vote are heard, so
that the cell is never left without a majority. The command returns when the change stands: the
members to be have agreed on something.

Exit status: that of cotter, or
  69  nothing was changed, or it is not known whether it was: see cotter cell members";

const BACKUP_HELP: &str = "\
The backup holds everything that was acknowledged before the command was run, contents and names of
clients included: keep it where only you can read it. cotterd inspect FILE says what is in it, and
whether it is whole.

Exit status: that of cotter, or
  69  the master was not found, makes other backups already, or stopped meanwhile; there is no file
  74  the file is there already, or cannot be written";
