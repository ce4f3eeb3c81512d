//! What applying an entry did, for the master to tell and for tests to judge.

use crate::Footprint;
use cotter_types::{
    EndReason, Epoch, LockId, Nonce, Notice, PastEvent, Path, Refusal, ReplicaId, RequestId,
    RequestNumber, Response, SessionId,
};

/// What applying one entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether the entry took effect: false for a batch of another epoch, a late renewal and so on.
    pub accepted: bool,
    /// What happened, in order.
    pub effects: Vec<Effect>,
    /// What happened to which path, in order, for the history.
    pub past: Vec<PastEvent>,
    /// What cacheable things it changed; always covered by the footprint computed before.
    pub touched: Footprint,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A session was opened, or found by its nonce, or not opened.
    Opened {
        /// The nonce.
        nonce: Nonce,
        /// Its id and its lease in milliseconds, or why not.
        result: Result<(SessionId, u64), Refusal>,
    },
    /// A request is decided: promptly, or at the end of a wait. Also said of a request that came
    /// again, with the outcome of the first time.
    Answered {
        /// The session.
        session: SessionId,
        /// The request.
        number: RequestNumber,
        /// The outcome.
        result: Result<Response, Refusal>,
    },
    /// An acquire waits in the queue. Also said of one that came again and still waits.
    Queued {
        /// The session.
        session: SessionId,
        /// The request.
        number: RequestNumber,
    },
    /// A session has ended, and with it everything that it held and waited for.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// Something that a session should be told unasked.
    Notice {
        /// The session.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// An acquire or a change of the simple interface is decided, or was and has come again.
    Called {
        /// The request.
        request: RequestId,
        /// The session that stands for an acquire, also when it is gone.
        session: Option<SessionId>,
        /// The outcome.
        result: Result<Response, Refusal>,
    },
    /// A lock of the simple interface was released, or could not be.
    CallReleased {
        /// The lock.
        lock: LockId,
        /// Why not.
        result: Result<(), Refusal>,
    },
    /// A replica took mastership over, or laid it down.
    MasterChanged {
        /// The epoch that began, or that ended.
        epoch: Epoch,
        /// The master; nothing if it resigned.
        master: Option<ReplicaId>,
        /// The attempt of the take-over that began the epoch.
        attempt: (u64, u64),
        /// The mastership sequence from now on.
        sequence: u64,
    },
    /// A chapter of the log was sealed, and the next begins with the next entry.
    ChapterBegan {
        /// The new chapter's number.
        number: u64,
    },
    /// The master renewed its lease.
    LeaseRenewed {
        /// Its epoch.
        epoch: Epoch,
        /// The attempt that was accepted.
        attempt: u64,
        /// The mastership sequence from now on.
        sequence: u64,
    },
}

/// What the cell remembers of a numbered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: it has not arrived.
    Unseen,
    /// It is an acquire and waits.
    Waiting,
    /// It is decided.
    Done(Result<Response, Refusal>),
    /// The client acknowledged it, and its outcome is gone.
    Acknowledged,
    /// There is no such session.
    NoSession,
}

/// What the cell remembers of a call of the simple interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RememberedCall {
    /// Nothing: it has not arrived, or was forgotten.
    Nothing,
    /// An acquire whose session lives.
    Lives {
        /// The session.
        session: SessionId,
        /// What became of the acquire so far.
        outcome: Recorded,
    },
    /// An acquire that was refused.
    Refused {
        /// The session that stood for it.
        session: SessionId,
        /// Why.
        refusal: Refusal,
    },
    /// An acquire whose session has ended.
    Ended {
        /// The session that stood for it.
        session: SessionId,
        /// The lock.
        path: Path,
        /// Why.
        reason: EndReason,
    },
    /// A change of the tree.
    Changed(Result<Response, Refusal>),
}
