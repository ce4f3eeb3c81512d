//! How a cell is, as one of its replicas sees it.

use crate::{CellId, Epoch, ReplicaId, Revision};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It answers clients.
    Master,
    /// It follows.
    Follower,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Follower => "follower",
        })
    }
}

/// One member of the cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id.
    pub replica: ReplicaId,
    /// Where clients reach it.
    pub client_address: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Whether the answering replica is connected to it (true for itself).
    pub connected: bool,
    /// How long ago the answering replica heard from it, in milliseconds; nothing if never.
    pub heard_ms_ago: Option<u64>,
    /// Whether it has a vote; one that has joined and has none waits for `cotter cell add` or
    /// `replace`.
    pub votes: bool,
    /// Which disk it lives on: drawn at random when its data directory was made.
    pub disk: u64,
}

/// How the cell is, as the answering replica sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellStatus {
    /// The cell's name.
    pub cell: String,
    /// The cell's id.
    pub cell_id: CellId,
    /// The replica that answers.
    pub replica: ReplicaId,
    /// Its role.
    pub role: Role,
    /// The master, if known.
    pub master: Option<ReplicaId>,
    /// The epoch of the last take-over that this replica applied.
    pub epoch: Epoch,
    /// The revision that this replica has applied.
    pub revision: Revision,
    /// Log entries that this replica has applied.
    pub applied: u64,
    /// Log entries that this replica knows to be decided.
    pub decided: u64,
    /// Digest of the replica's state, in hexadecimal: equal at equal `applied`.
    pub digest: String,
    /// What the master lease has left, in milliseconds; nothing on a follower.
    pub master_lease_left_ms: Option<u64>,
    /// Nodes.
    pub nodes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Locks that are held.
    pub locks_held: u64,
    /// Waiters in all queues.
    pub waiters: u64,
    /// Bytes of contents.
    pub content_bytes: u64,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// Version of the replica's program.
    pub version: String,
    /// The feature level of the cell.
    pub feature_level: u32,
    /// How long this replica has been running, in milliseconds.
    pub uptime_ms: u64,
}
