//! What the rows of the cell's tables are made of.
//!
//! These types go into digests and checkpoints: a field that is added changes both, so that belongs
//! to a new feature level.

use crate::command::{MemberAddress, Voter};
use cotter_types::limits::{ADDRESS_BYTES_MAX, REPLICAS_MAX};
use cotter_types::{
    Acquire, CellTime, Contents, Epoch, FencingToken, Instance, Lifetime, LockMode, Nonce, Path,
    Refusal, ReplicaId, RequestNumber, Response, Revision, SessionId, SessionMetadata,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Who reigns, since when in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mastership {
    /// The epoch of the last take-over; 0 if there never was one.
    pub epoch: Epoch,
    /// The master; nothing before the first take-over and after a resignation.
    pub master: Option<ReplicaId>,
    /// Counts accepted take-overs, renewals and resignations.
    pub sequence: u64,
    /// The last accepted renewal's attempt; 0 after a take-over.
    pub attempt: u64,
    /// The attempt of the take-over that began the epoch: the replica's boot number and a count.
    pub take_over: (u64, u64),
}

/// The chapter of the log that the state stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chapter {
    /// Its number, from 1.
    pub number: u64,
    /// Log entries that were applied before it.
    pub begins_at: u64,
    /// Who votes in it, in order of id; never changes within it.
    pub voters: Arc<[Voter]>,
    /// Where those of them are reached that were not born with the cell, in order of id.
    pub addresses: Arc<[MemberAddress]>,
}

impl Chapter {
    /// Returns a hash of who votes in it. Together with the number it names the one instance of
    /// consensus that agrees on this chapter.
    #[must_use]
    pub fn membership(&self) -> u64 {
        let bytes = postcard::to_stdvec(&self.voters).expect("voters are plain data");
        xxh3_64(&bytes)
    }
}

/// Tells whether voters and addresses are in order, nobody is named twice, and only voters have
/// addresses, none of them too long (I-CELL-18).
pub(crate) fn membership_is_sound(voters: &[Voter], addresses: &[MemberAddress]) -> bool {
    let votes = |id| voters.iter().any(|voter| voter.id == id);
    voters.len() <= REPLICAS_MAX
        && voters.is_sorted_by(|one, other| one.id < other.id)
        && addresses.is_sorted_by(|one, other| one.id < other.id)
        && addresses.iter().all(|member| {
            let longest = member.client.len().max(member.peer.len());
            votes(member.id) && longest <= ADDRESS_BYTES_MAX
        })
}

/// How much there is of everything that a limit bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes, the root included.
    pub nodes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Locks that are held.
    pub locks_held: u64,
    /// Waiters in all queues.
    pub waiters: u64,
    /// Bytes of contents.
    pub content_bytes: u64,
}

/// The cell's single values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Log entries applied, the refused ones included.
    pub(crate) applied: u64,
    /// Commands applied; a step of time in which a deadline fired counts as one.
    pub(crate) revision: Revision,
    /// Cell time: the largest stamp so far.
    pub(crate) time: CellTime,
    pub(crate) mastership: Mastership,
    /// The last batch of the epoch; 0 after a take-over.
    pub(crate) batch: u64,
    /// The last fencing token drawn.
    pub(crate) token: FencingToken,
    /// The last instance drawn.
    pub(crate) instance: Instance,
    /// The last session id drawn.
    pub(crate) session: SessionId,
    /// The last place in a queue drawn; one counter for all locks, so that a place is never used
    /// again.
    pub(crate) place: u64,
    pub(crate) feature_level: u32,
    pub(crate) locks_held: u64,
    pub(crate) content_bytes: u64,
    /// Bytes of what is remembered of calls.
    pub(crate) calls_bytes: u64,
    /// Until when no lock is granted, because the cell was restored; 0 in one that never was.
    pub(crate) closed_until: CellTime,
    pub(crate) chapter: Chapter,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) instance: Instance,
    pub(crate) lifetime: Lifetime,
    pub(crate) content_generation: u64,
    pub(crate) acl_generation: u64,
    pub(crate) child_generation: u64,
    pub(crate) content_bytes: u64,
    pub(crate) content_checksum: u64,
    pub(crate) children: u64,
    pub(crate) sequence: u64,
    /// Sessions that hold an ephemeral node open.
    pub(crate) owners: u64,
    pub(crate) creator: Arc<str>,
    /// Left out of the digest, which has the checksum: a change of a child count must not cost a
    /// pass over 256 KiB. A checkpoint writes them beside the row.
    #[serde(skip)]
    pub(crate) contents: Contents,
}

/// The lock of a node; there is a row only once it was used, and as long as the node exists.
///
/// A semaphore's permits and a multi-lock's partners will be fields here, above a new feature level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    /// Rises whenever the lock goes from free to held.
    pub(crate) generation: u64,
    /// How it is held; nothing if nobody holds it.
    pub(crate) mode: Option<LockMode>,
    /// The token of the present run of holders, or of the last one.
    pub(crate) token: FencingToken,
    pub(crate) holders: u64,
    pub(crate) waiters: u64,
    /// Present holders that asked for conflict notices.
    pub(crate) listeners: u64,
    /// Until when nobody is granted the lock. In the past never: it is taken away when it is over.
    pub(crate) delay_until: Option<CellTime>,
    /// Changes of hands so far; the last ones are in a table of their own.
    pub(crate) hands: u64,
}

impl Lock {
    /// Tells whether it is free for whoever comes.
    pub(crate) fn is_free(&self) -> bool {
        self.mode.is_none() && self.delay_until.is_none()
    }
}

/// One holder of a lock, at (path, place): in the order in which they were granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) session: SessionId,
    pub(crate) number: RequestNumber,
    pub(crate) since: CellTime,
    pub(crate) since_wall_ms: u64,
    pub(crate) lock_delay_ms: u64,
    pub(crate) conflict_notice: bool,
}

/// One waiter for a lock, at (path, place): in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) session: SessionId,
    pub(crate) number: RequestNumber,
    pub(crate) mode: LockMode,
    pub(crate) since: CellTime,
    pub(crate) deadline: Option<CellTime>,
    pub(crate) lock_delay_ms: u64,
    pub(crate) conflict_notice: bool,
}

impl Waiter {
    /// Makes the waiter that `acquire` asks for.
    pub(crate) fn new(
        session: SessionId,
        number: RequestNumber,
        acquire: &Acquire,
        since: CellTime,
        deadline: Option<CellTime>,
    ) -> Self {
        Self {
            session,
            number,
            mode: acquire.mode,
            since,
            deadline,
            lock_delay_ms: acquire.lock_delay_ms,
            conflict_notice: acquire.conflict_notice,
        }
    }
}

/// What a session said of itself when it was opened; never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Made by the client; whoever speaks for the session must know it.
    pub nonce: Nonce,
    /// The lease, in milliseconds.
    pub lease_ms: u64,
    /// Who it is, for people to read.
    pub metadata: SessionMetadata,
    /// Who it is, as the door established it.
    pub principal: String,
    /// When it was opened.
    pub opened: CellTime,
    /// When it was opened by the master's wall clock, in milliseconds since 1970; for display only.
    pub opened_wall_ms: u64,
}

/// What changes about a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// Everything up to here is acknowledged.
    pub(crate) floor: RequestNumber,
    /// And these ranges, both ends included: ascending, apart by at least one number.
    pub(crate) above: Vec<(RequestNumber, RequestNumber)>,
    /// Outcomes kept, those still waiting included.
    pub(crate) outcomes: u64,
    /// Locks held.
    pub(crate) holds: u64,
    /// Locks waited for.
    pub(crate) waits: u64,
    /// Ephemeral nodes held open.
    pub(crate) opens: u64,
}

/// What became of a numbered request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// An acquire that waits, at (path, place).
    Waiting(Path, u64),
    /// It is decided.
    Done(Result<Response, Refusal>),
}

/// Something that time alone will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    pub(crate) at: CellTime,
    /// At the same time delays end before waits do, so that who waited just long enough gets the
    /// lock; a node whose time to live has passed goes last, when nobody is left who waits for it.
    pub(crate) kind: DeadlineKind,
    pub(crate) path: Path,
    /// The waiter's place; 0 for a lock-delay and for a time to live.
    pub(crate) place: u64,
}

/// What a deadline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeadlineKind {
    LockDelay,
    Wait,
    Ttl,
}
