//! The command line of `cotterd`.
//!
//! Values are taken as text and checked together with those of the file, so that a bad one is
//! refused with the same words wherever it came from.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A replica of a Cotter cell: a small replicated service that says who may act.
#[derive(Debug, Parser)]
#[command(name = "cotterd", version, about, propagate_version = true)]
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
    /// Run one replica of a cell that was born
    Run(RunArguments),
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
    /// Where replica 1 listens for clients; the others take the next ports if these are free
    #[arg(
        long,
        value_name = "ADDR",
        env = "COTTERD_CLIENT_LISTEN",
        default_value = "127.0.0.1:7400"
    )]
    pub listen: String,
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
    /// How long to wait for the other members, as in 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: String,
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// Arguments of `cotterd run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// What replaces values of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// The configuration file, and what replaces its values: a flag goes before the variable, which
/// goes before the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Configuration file (TOML); without it, flags and variables must say everything
    #[arg(long, value_name = "FILE", env = "COTTERD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Replaces `cell`: the cell's name
    #[arg(long, value_name = "NAME", env = "COTTERD_CELL")]
    pub cell: Option<String>,
    /// Replaces `replica`: which member this replica is
    #[arg(long, value_name = "ID", env = "COTTERD_REPLICA")]
    pub replica: Option<String>,
    /// Replaces `data`: the data directory
    #[arg(long, value_name = "DIR", env = "COTTERD_DATA")]
    pub data: Option<PathBuf>,
    /// Replaces `log_format`: text or json
    #[arg(long, value_name = "FORMAT", env = "COTTERD_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Replaces `client.listen`: where to listen for clients
    #[arg(long, value_name = "ADDR", env = "COTTERD_CLIENT_LISTEN")]
    pub client_listen: Option<String>,
    /// Replaces `client.advertise`: the address that clients are told
    #[arg(long, value_name = "ADDR", env = "COTTERD_CLIENT_ADVERTISE")]
    pub client_advertise: Option<String>,
    /// Replaces `peer.listen`: where to listen for the other replicas
    #[arg(long, value_name = "ADDR", env = "COTTERD_PEER_LISTEN")]
    pub peer_listen: Option<String>,
    /// Replaces `peer.advertise`: the address that the other replicas are told
    #[arg(long, value_name = "ADDR", env = "COTTERD_PEER_ADVERTISE")]
    pub peer_advertise: Option<String>,
    /// Replaces `members`, once for each: its id, where clients and where peers reach it
    #[arg(
        long = "member",
        value_name = "ID=CLIENT,PEER",
        env = "COTTERD_MEMBERS",
        value_delimiter = ' '
    )]
    pub members: Vec<String>,
    /// Replaces `timing.election_round_ms`
    #[arg(long, value_name = "MS", env = "COTTERD_ELECTION_ROUND_MS")]
    pub election_round_ms: Option<String>,
    /// Replaces `timing.master_lease_ms`
    #[arg(long, value_name = "MS", env = "COTTERD_MASTER_LEASE_MS")]
    pub master_lease_ms: Option<String>,
}
