//! What can be said on the command line.

use crate::lock::schedule::OnLost;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "cotter", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Own a command for `cotter lock` (internal).
    #[command(hide = true)]
    LockKeeper(KeeperArgs),
    /// Become a command for `cotter lock` (internal).
    #[command(hide = true)]
    LockTrampoline(TrampolineArgs),
}

/// Arguments of the keeper.
#[derive(Debug, Args)]
pub(crate) struct KeeperArgs {
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

/// Arguments of the trampoline.
#[derive(Debug, Args)]
pub(crate) struct TrampolineArgs {
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
