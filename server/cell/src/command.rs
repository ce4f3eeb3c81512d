//! What the log says: entries, batches, commands.
//!
//! These types are written to disk and sent between replicas, so variants and fields are only ever
//! added at the end, above the feature level that they need.

use cotter_types::{
    Acknowledged, CellTime, Epoch, LeasedAcquire, LockId, Mutation, NodeChange, OpenSession,
    ReplicaId, RequestId, RequestNumber, Sequencer, SessionId,
};
use serde::{Deserialize, Serialize};

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Commands of a master.
    Batch(Batch),
    /// A master renews its lease.
    Renew {
        /// The master's epoch.
        epoch: Epoch,
        /// Rises with every attempt of the epoch.
        attempt: u64,
    },
    /// A replica takes mastership over. Accepted only if no renewal came after `last_seen`.
    TakeOver {
        /// Who.
        replica: ReplicaId,
        /// Tells this attempt from others of the same replica: its boot number and a count.
        attempt: (u64, u64),
        /// The mastership sequence after which the replica has waited out the lease.
        last_seen: u64,
    },
    /// A master lays its mastership down, so that the next need not wait out its lease.
    Resign {
        /// The master's epoch.
        epoch: Epoch,
    },
    /// Ends the chapter of the log that it stands in. Whatever the same chapter decides after an
    /// accepted seal is void.
    Seal {
        /// The master's epoch.
        epoch: Epoch,
        /// The next chapter's number: one above the standing one.
        next_chapter: u64,
        /// Who votes in the next chapter, in order of id.
        voters: Vec<Voter>,
        /// Where those of them are reached that were not born with the cell, in order of id.
        addresses: Vec<MemberAddress>,
    },
}

/// Where a replica that joined after the cell's birth is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddress {
    /// The replica.
    pub id: ReplicaId,
    /// Where clients reach it, as `host:port`; at most
    /// [`ADDRESS_BYTES_MAX`](cotter_types::limits::ADDRESS_BYTES_MAX) bytes.
    pub client: String,
    /// Where its peers reach it, likewise.
    pub peer: String,
}

/// A replica that votes in a chapter of the log, on the disk that it votes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// The replica.
    pub id: ReplicaId,
    /// Its disk, drawn at random when its data directory was made.
    pub incarnation: u64,
}

/// What a cell is born with: the same on all members, in each one's data directory rather than in
/// the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The cell's id.
    pub cell_id: cotter_types::CellId,
    /// The cell's name.
    pub cell: String,
    /// The first fencing token is above this: Unix time in microseconds at initialisation.
    pub token_floor: u64,
    /// Who votes in the first chapter of the log, in order of id.
    pub voters: Vec<Voter>,
}

/// When a batch was proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Cell time. `apply` takes the larger of this and the last one.
    pub time: CellTime,
    /// The master's wall clock, in milliseconds since 1970. For display only.
    pub wall_ms: u64,
}

/// Commands that one master proposed together. Applied in order, all in one revision range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The master's epoch. A batch of another epoch than the standing one does nothing.
    pub epoch: Epoch,
    /// Rises with every batch of the epoch. A batch not above the last one does nothing.
    pub sequence: u64,
    /// When it was proposed.
    pub stamp: Stamp,
    /// The commands. An empty list only moves time.
    pub commands: Vec<Command>,
}

impl Batch {
    /// Returns the first feature level above `known` to which the batch raises the cell's, if there is one:
    /// whoever knows no more must not apply it.
    #[must_use]
    pub fn feature_level_above(&self, known: u32) -> Option<u32> {
        self.commands.iter().find_map(|command| match command {
            Command::RaiseFeatureLevel { level } => Some(*level).filter(|level| *level > known),
            _ => None,
        })
    }
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session.
    Open {
        /// What the client asked for. The lease is already the granted one.
        open: OpenSession,
        /// Who it is, as the door established it.
        principal: String,
    },
    /// A session's mutation.
    Mutate {
        /// The session.
        session: SessionId,
        /// Its number.
        number: RequestNumber,
        /// What the client needs no more.
        acknowledged: Acknowledged,
        /// What to do.
        mutation: Mutation,
    },
    /// Ends a session whose lease ran out.
    Expire {
        /// The session.
        session: SessionId,
    },
    /// Raises the feature level.
    RaiseFeatureLevel {
        /// The new level.
        level: u32,
    },
    /// Acquires a lock with a lease of its own.
    CallAcquire {
        /// Names the request.
        request: RequestId,
        /// Who it is, as the door established it.
        principal: String,
        /// What to acquire. The lease is already the granted one.
        acquire: LeasedAcquire,
    },
    /// Releases such a lock, or leaves its queue.
    CallRelease {
        /// Which lock.
        lock: LockId,
    },
    /// Changes the tree without a session.
    CallChange {
        /// Names the request.
        request: RequestId,
        /// Who it is, as the door established it.
        principal: String,
        /// Whether it may come again, so that its outcome must be remembered.
        repeatable: bool,
        /// Only while this is current.
        sequencer: Option<Sequencer>,
        /// What to change.
        change: NodeChange,
    },
}
