//! The frames of the `Attach` stream.
//!
//! One stream serves one client process, with any number of sessions. Both directions are ordered,
//! and that order is part of the contract: what the master said first, the client must believe
//! first.

use crate::{
    Acknowledged, CellId, EndReason, Epoch, Mutation, Nonce, OpenSession, Path, Query,
    QueryResponse, Refusal, ReplicaId, RequestNumber, Response, SessionId, Unavailable,
};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Must come first on every stream, and only then.
    Hello {
        /// Version of the protocol that the client speaks: 1.
        version: u32,
        /// Name of the client's program and its version, for the server's log.
        client: String,
        /// The cell that the client believes it talks to; nothing if it does not know yet.
        cell: Option<CellId>,
    },
    /// Opens a session. Answered by [`ServerFrame::Opened`] or [`ServerFrame::OpenRefused`].
    Open(OpenSession),
    /// Attaches a session that was opened before, here or on another stream or replica. It leaves
    /// the stream to which it was attached. Answered by [`ServerFrame::Attached`] or
    /// [`ServerFrame::AttachRefused`].
    Attach {
        /// The session.
        session: SessionId,
        /// Its nonce, which proves that the client is the one that opened it.
        nonce: Nonce,
    },
    /// Extends the leases of all sessions attached to this stream. Answered by
    /// [`ServerFrame::KeepAlive`] with the same number.
    KeepAlive {
        /// Rises with every keepalive of the stream.
        number: u64,
    },
    /// Changes something. Answered by [`ServerFrame::Answer`].
    Mutate {
        /// An attached session.
        session: SessionId,
        /// Its number: the same for every attempt.
        number: RequestNumber,
        /// What the client needs no more.
        acknowledged: Acknowledged,
        /// What to do.
        mutation: Mutation,
    },
    /// Looks. Answered by [`ServerFrame::QueryAnswer`].
    Query {
        /// Chosen by the client to tell its queries on this stream apart.
        id: u64,
        /// What to look at.
        query: Query,
    },
}

/// What a replica says of itself when a stream begins, and again whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The cell's id.
    pub cell_id: CellId,
    /// The cell's name, as sequencers show it.
    pub cell: String,
    /// The replica.
    pub replica: ReplicaId,
    /// Whether it is the master and may be asked.
    pub is_master: bool,
    /// The epoch it reigns in, or the last it knows of.
    pub epoch: Epoch,
    /// The master, if it is another and known.
    pub master: Option<ReplicaId>,
    /// Advertised client addresses of all members, the master's first if it is known.
    pub addresses: Vec<String>,
}

/// An answer to a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done(Response),
    /// It was decided, and the answer is no.
    Refused(Refusal),
    /// Nothing was decided here; send it again.
    Unavailable(Unavailable),
}

/// What the master tells a session unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Others wait for a lock that the session holds with a conflict notice.
    Conflict {
        /// The lock.
        path: Path,
        /// The acquire that holds it.
        number: RequestNumber,
        /// How many wait; 0 when the last of them has gone.
        waiters: u64,
        /// Who waits first, for people to read.
        first: String,
    },
}

/// What a replica sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// Answers [`ClientFrame::Hello`], and says again whenever mastership changes.
    Welcome(Welcome),
    /// The session is open and attached to this stream.
    Opened {
        /// Its nonce, to tell which.
        nonce: Nonce,
        /// Its id.
        session: SessionId,
        /// Its lease in milliseconds, counted by the client from before it sent the request.
        lease_ms: u64,
    },
    /// The session was not opened.
    OpenRefused {
        /// Its nonce, to tell which.
        nonce: Nonce,
        /// Why.
        answer: Answer,
    },
    /// The session is attached, and its lease extended.
    Attached {
        /// The session.
        session: SessionId,
        /// Its lease in milliseconds, counted by the client from before it sent the request.
        lease_ms: u64,
    },
    /// The session was not attached.
    AttachRefused {
        /// The session.
        session: SessionId,
        /// Why. [`Answer::Refused`] with [`Refusal::NoSession`] means that it is gone for good.
        answer: Answer,
    },
    /// The leases of all sessions that this stream has attached, and that have not been said to be
    /// condemned, detached or ended on it since, are extended.
    KeepAlive {
        /// The number of the keepalive that this answers.
        number: u64,
    },
    /// Answers a mutation.
    Answer {
        /// The session.
        session: SessionId,
        /// The number.
        number: RequestNumber,
        /// The answer.
        answer: Answer,
    },
    /// Answers a query.
    QueryAnswer {
        /// The client's id for it.
        id: u64,
        /// What was found.
        answer: Result<QueryResponse, Answer>,
    },
    /// Something happened that concerns a session.
    Notice {
        /// The session.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// From here on this stream extends the session's lease no more: its end is being decided, or it
    /// was attached by another stream.
    Detached {
        /// The session.
        session: SessionId,
        /// True if its lease ran out, false if another stream took it.
        condemned: bool,
    },
    /// The session has ended.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// The replica closes the stream after this frame.
    GoAway {
        /// Why, for people to read.
        reason: String,
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
}
