//! Words about what happened: events of the past, pages of them, and what is known to be missing.
//!
//! The history is for people who ask what went on, and may have holes: nothing in the cell rests on it.
//! So whoever shows it says what it covers.

use crate::{FencingToken, HandEnd, LockMode, Path, ReplicaId, Revision, SessionId};
use serde::{Deserialize, Serialize};

/// Who did something, as it described itself then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doer {
    /// Its session; nothing if it called without one, or if nobody did it.
    pub session: Option<SessionId>,
    /// The session's name, or the principal of who called without one; empty if nobody did it.
    pub name: String,
    /// Its host; empty if it is not known.
    pub host: String,
    /// Its process id; 0 if it is not known.
    pub pid: u32,
}

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PastChange {
    /// Somebody got the lock.
    LockGranted {
        /// How.
        mode: LockMode,
        /// With which token.
        token: FencingToken,
        /// How long it had waited, in milliseconds of cell time.
        waited_ms: u64,
    },
    /// Somebody's hold of the lock ended.
    LockEnded {
        /// How it was held.
        mode: LockMode,
        /// With which token.
        token: FencingToken,
        /// For how long, in milliseconds of cell time.
        held_ms: u64,
        /// Why it ended.
        end: HandEnd,
    },
    /// The node was created.
    NodeCreated {
        /// Bytes of its contents.
        bytes: u64,
    },
    /// The contents of the node were replaced.
    NodeSet {
        /// The content generation since.
        content_generation: u64,
        /// Bytes of its contents.
        bytes: u64,
    },
    /// The node was deleted.
    NodeDeleted,
    /// The node went by itself: nobody held it open any more, or its time to live had passed.
    NodeLapsed,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastEvent {
    /// To which path.
    pub path: Path,
    /// The revision that it made.
    pub revision: Revision,
    /// Which event of its log entry it was, from 0 on: so no two events have the same position.
    pub index: u32,
    /// When, by the master's wall clock, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// Who did it.
    pub who: Doer,
    /// What.
    pub what: PastChange,
}

impl PastEvent {
    /// Returns its place in the order of all events.
    #[must_use]
    pub fn position(&self) -> HistoryPosition {
        HistoryPosition {
            revision: self.revision,
            index: self.index,
        }
    }
}

/// A place in the order of all events. The same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HistoryPosition {
    /// The revision.
    pub revision: Revision,
    /// The event of its log entry.
    pub index: u32,
}

/// Asks what happened, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// To which path.
    pub path: Path,
    /// Whether to everything below it too.
    pub recursive: bool,
    /// Only since then, by the masters' wall clocks, in milliseconds since 1970.
    pub since_wall_ms: u64,
    /// Only what happened before this; nothing for the newest.
    pub before: Option<HistoryPosition>,
    /// At most so many events, up to [`HISTORY_PAGE_MAX`](crate::limits::HISTORY_PAGE_MAX); 0 for
    /// [`HISTORY_PAGE_DEFAULT`](crate::limits::HISTORY_PAGE_DEFAULT).
    pub limit: u32,
}

/// A part of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The events, newest first.
    pub events: Vec<PastEvent>,
    /// Where the next page begins; nothing if this is the last. A page may be empty and not the last.
    pub before: Option<HistoryPosition>,
    /// What is held of the history at all.
    pub coverage: HistoryCoverage,
    /// Which replica answers, from its own history.
    pub replica: ReplicaId,
}

/// Revisions whose events are held without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistorySpan {
    /// They begin after this revision.
    pub after: Revision,
    /// They end with this one.
    pub to: Revision,
    /// When they begin, by the masters' wall clocks, in milliseconds since 1970.
    pub since_wall_ms: u64,
    /// When they end.
    pub until_wall_ms: u64,
}

/// Says what is held of the history: whatever is in no span is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCoverage {
    /// The spans in order, with a gap between any two, at most
    /// [`HISTORY_SPANS_MAX`](crate::limits::HISTORY_SPANS_MAX).
    pub spans: Vec<HistorySpan>,
}
