//! Words about locks: modes, waits, and the answers of *explain*.

use crate::{CellTime, FencingToken, Instance, Path, RequestNumber, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockMode {
    /// By one holder alone.
    Exclusive,
    /// Together with other shared holders.
    Shared,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
        })
    }
}

/// How long an acquire may wait in the cell's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// Not at all: refused if the lock is not free now.
    No,
    /// At most so many milliseconds of cell time, counted from when the command is applied.
    Ms(u64),
    /// Until granted, cancelled, or the session ends.
    Forever,
}

/// Why somebody's hold of a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandEnd {
    /// The holder released it.
    Released,
    /// The holder's acquire was cancelled after it had been granted.
    Cancelled,
    /// The holder closed its session.
    SessionClosed,
    /// The holder's session expired.
    SessionExpired,
}

impl fmt::Display for HandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::SessionClosed => "session closed",
            Self::SessionExpired => "session expired",
        })
    }
}

/// One holder, as *explain* shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderView {
    /// The session that holds the lock.
    pub session: SessionId,
    /// The acquire that got it.
    pub number: RequestNumber,
    /// The session's own name for itself.
    pub name: String,
    /// Host of the session's process.
    pub host: String,
    /// Process id of the session's process.
    pub pid: u32,
    /// Program of the session's process.
    pub program: String,
    /// Principal of the session.
    pub principal: String,
    /// The fencing token.
    pub token: FencingToken,
    /// When it was granted, in cell time.
    pub since: CellTime,
    /// When it was granted by the master's wall clock, in milliseconds since 1970; for display only.
    pub since_wall_ms: u64,
    /// The lock-delay that follows if the session expires, in milliseconds.
    pub lock_delay_ms: u64,
    /// What is left of the session's lease, in milliseconds, by the master's own count.
    /// Filled in by the master; the replicated state does not know it.
    pub lease_left_ms: Option<u64>,
}

/// One waiter, as *explain* shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiterView {
    /// The session that waits.
    pub session: SessionId,
    /// The acquire that waits.
    pub number: RequestNumber,
    /// The session's own name for itself.
    pub name: String,
    /// Host of the session's process.
    pub host: String,
    /// Process id of the session's process.
    pub pid: u32,
    /// Program of the session's process.
    pub program: String,
    /// Principal of the session.
    pub principal: String,
    /// Mode waited for.
    pub mode: LockMode,
    /// Place in the queue; 1 is next.
    pub place: u64,
    /// Since when it waits, in cell time.
    pub since: CellTime,
    /// Until when it waits, in cell time; nothing for ever.
    pub deadline: Option<CellTime>,
}

/// One past change of hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOfHands {
    /// The session that held the lock.
    pub session: SessionId,
    /// Its name for itself.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Mode held.
    pub mode: LockMode,
    /// The token it held.
    pub token: FencingToken,
    /// When it was granted, in cell time.
    pub from: CellTime,
    /// When it ended, in cell time.
    pub until: CellTime,
    /// When it ended by the master's wall clock, in milliseconds since 1970; for display only.
    pub until_wall_ms: u64,
    /// Why it ended.
    pub end: HandEnd,
}

/// Everything that *explain* says of one lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The path asked about.
    pub path: Path,
    /// The node's instance.
    pub instance: Instance,
    /// The lock generation.
    pub lock_generation: u64,
    /// Mode held, or nothing if the lock is free.
    pub mode: Option<LockMode>,
    /// Who holds it: the first [`EXPLAIN_ROWS_MAX`](crate::limits::EXPLAIN_ROWS_MAX).
    pub holders: Vec<HolderView>,
    /// How many hold it.
    pub holder_count: u64,
    /// Who waits, in order: the first [`EXPLAIN_ROWS_MAX`](crate::limits::EXPLAIN_ROWS_MAX).
    pub waiters: Vec<WaiterView>,
    /// How many wait.
    pub waiter_count: u64,
    /// What is left of a lock-delay, in milliseconds; 0 if there is none.
    pub lock_delay_left_ms: u64,
    /// The last changes of hands, newest first.
    pub history: Vec<ChangeOfHands>,
    /// The cell time of this answer.
    pub now: CellTime,
    /// The longest time until the lock is free if its present holders died this moment, in
    /// milliseconds: lease left plus lock-delay. Filled in by the master, nothing if it is free.
    pub worst_case_free_ms: Option<u64>,
}

/// One row of the list of locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    /// The lock's path.
    pub path: Path,
    /// Mode held, or nothing if the lock is only waited for or delayed.
    pub mode: Option<LockMode>,
    /// How many hold it.
    pub holder_count: u64,
    /// How many wait.
    pub waiter_count: u64,
    /// One of the holders, the one that came first.
    pub holder: Option<HolderView>,
    /// What is left of a lock-delay, in milliseconds.
    pub lock_delay_left_ms: u64,
}
