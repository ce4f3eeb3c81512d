//! The two ways in which the cell says no.
//!
//! A [`Refusal`] is an *outcome*: decided from the replicated state, the same on every replica,
//! remembered, and final for that request number. An [`Unavailable`] means that nothing was decided
//! here: the same request may be sent again. A fault, the third family, stops the replica and is
//! never sent.

use crate::{ReplicaId, RequestNumber, SessionId};
use serde::{Deserialize, Serialize};

/// A request was understood and decided, and the answer is no.
///
/// Deliberately exhaustive: the mapping to the wire and to statuses must name every one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// There is no node at the path.
    #[error("{path} does not exist")]
    NotFound {
        /// The path that is missing (the parent's, when that is what is missing).
        path: String,
    },
    /// There is a node at the path already.
    #[error("{path} exists already")]
    AlreadyExists {
        /// The path.
        path: String,
    },
    /// The content generation or the instance is not the expected one.
    #[error("{path} has changed: content generation {content_generation}, instance {instance}")]
    Changed {
        /// The path.
        path: String,
        /// The content generation now.
        content_generation: u64,
        /// The instance now.
        instance: u64,
    },
    /// A node with children cannot be deleted, unless recursively.
    #[error("{path} has {children} children; delete them first, or delete recursively")]
    HasChildren {
        /// The path.
        path: String,
        /// How many.
        children: u64,
    },
    /// A recursive delete would remove too many nodes.
    #[error("deleting {path} would remove more than {limit} nodes; delete in smaller pieces")]
    TooManyNodes {
        /// The path.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// Ephemeral nodes have no children.
    #[error("{path} is ephemeral and can have no children")]
    EphemeralParent {
        /// The parent's path.
        path: String,
    },
    /// The node exists with another lifetime than the one asked for.
    #[error("{path} exists and is not ephemeral, so no session can hold it open")]
    NotEphemeral {
        /// The path.
        path: String,
    },
    /// The root cannot be deleted.
    #[error("{path} is the root of the cell and stays")]
    IsRoot {
        /// The path.
        path: String,
    },
    /// The node's lock is held, waited for or delayed, so the node cannot be deleted.
    #[error("the lock of {path} is in use; see cotter explain {path}")]
    LockInUse {
        /// The path.
        path: String,
    },
    /// The lock is not free, and the request did not want to wait.
    #[error("{path} is held by {holder} ({session})")]
    Held {
        /// The path.
        path: String,
        /// The first holder's session.
        session: SessionId,
        /// The first holder's name and host.
        holder: String,
    },
    /// The lock is in its lock-delay, and the request did not want to wait.
    #[error("{path} is in its lock-delay for another {left_ms} ms")]
    LockDelayed {
        /// The path.
        path: String,
        /// What is left of it, in milliseconds.
        left_ms: u64,
    },
    /// The wait ended at its deadline.
    #[error("{path} was not acquired within {waited_ms} ms")]
    WaitTimeout {
        /// The path.
        path: String,
        /// How long the wait was, in milliseconds of cell time.
        waited_ms: u64,
    },
    /// The wait was cancelled.
    #[error("the acquire was cancelled")]
    Cancelled,
    /// The acquisition named in a release does not hold the lock.
    #[error("request {number} of this session does not hold {path}")]
    NotHeld {
        /// The path.
        path: String,
        /// The acquire's number.
        number: RequestNumber,
    },
    /// The path names another cell.
    #[error("{path} is in another cell; this one is {cell}")]
    OtherCell {
        /// The path.
        path: String,
        /// This cell's name.
        cell: String,
    },
    /// The session is unknown, has ended, or the nonce does not fit.
    #[error("session {session} has ended or never existed")]
    NoSession {
        /// The session.
        session: SessionId,
    },
    /// The number was acknowledged before: its outcome is gone.
    #[error("request {number} was acknowledged before and cannot be asked again")]
    Acknowledged {
        /// The number.
        number: RequestNumber,
    },
    /// A limit is reached.
    #[error("limit reached: {what} (at most {limit})")]
    Limit {
        /// What there is too much of.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The request makes no sense.
    #[error("invalid request: {what}")]
    Invalid {
        /// What is wrong, and what to do.
        what: String,
    },
    /// Nodes with a time to live have no children.
    #[error("{path} has a time to live and can have no children")]
    TtlParent {
        /// The parent's path.
        path: String,
    },
    /// A compare of a transaction does not hold, or one of its operations was refused. The whole
    /// transaction has changed nothing.
    #[error(
        "{} {} of the transaction {}: {reason}; nothing was changed",
        if *compare { "compare" } else { "operation" },
        u64::from(*index) + 1,
        if *compare { "does not hold" } else { "was refused" }
    )]
    TransactionFailed {
        /// Which compare or operation, counted from 0.
        index: u32,
        /// True for a compare, false for an operation.
        compare: bool,
        /// Why, for people to read.
        reason: String,
    },
    /// A lock of the simple interface has ended: released, waited for no more, or its lease ran out.
    #[error("this acquisition of {path} has ended: {}", if *expired { "its lease ran out" } else { "it was released" })]
    LockEnded {
        /// The lock's path.
        path: String,
        /// Whether the lease ran out; false if it was released.
        expired: bool,
    },
    /// The cell does not know the lock id.
    #[error(
        "unknown lock id: it never was, or it ended more than {} minutes ago",
        crate::limits::CALL_MEMORY_MS / 60_000
    )]
    UnknownLock,
    /// The request id was used for another request, or by another caller.
    #[error("the request id was used before for another request; draw a new one for each")]
    RequestIdReused,
    /// The sequencer that the change was bound to is not current any more: its holder has lost the
    /// lock.
    #[error(
        "the sequencer of {path} with token {token} is stale: its lock was lost; nothing was changed"
    )]
    StaleSequencer {
        /// The lock's path.
        path: String,
        /// The sequencer's token.
        token: u64,
    },
    /// The cell itself cannot be changed in this way, or not now.
    #[error("{why}")]
    NotAdministered {
        /// Why, and what to do about it.
        why: String,
    },
}

/// Nothing was decided here; the same request may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unavailable {
    /// This replica is not the master.
    #[error("this replica is not the master")]
    NotMaster {
        /// The master, if known.
        master: Option<ReplicaId>,
        /// Its advertised address, if known.
        address: Option<String>,
    },
    /// The master has too much to do.
    #[error("overloaded; try again in {retry_after_ms} ms")]
    Overloaded {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The disk is nearly full; releases, closes and deletes still go through.
    #[error("the cell's disk is full; releases, closes and deletes still work")]
    DiskFull,
    /// The session is condemned: its end is on its way through the log.
    #[error("the session's lease ran out and its end is being decided")]
    Condemned,
}
