//! The simple interface: calls that stand for themselves, without a session and without a stream.
//!
//! A program that has no thick client acquires, renews and releases one lock by one call each. Every
//! such lock has a lease of its own, which its caller counts from *before* it sent the call that last
//! confirmed it. In the cell it is a session that owns nothing but this one acquire, so it expires,
//! survives a failover and shows up in *explain* like any other.
//!
//! What changes something carries a [`RequestId`], so that a call whose answer was lost can be made
//! again and is done once.

use crate::{
    Administered, Administration, Contents, Create, CreateSequential, Delete, Lifetime, LockMode,
    Mutation, Path, Query, QueryResponse, Refusal, Response, Sequencer, SessionId, SessionMetadata,
    Set, Transaction, Unavailable, Wait,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// 128 random bits that name one request of the simple interface, in 32 lower-case hexadecimal
/// digits. The same in every attempt, never used for another request; 0 is none.
///
/// It is remembered with its outcome until
/// [`CALL_MEMORY_MS`](crate::limits::CALL_MEMORY_MS) after the request's work is over, which for a
/// lock is the end of its lease. It proves who may renew and release, so it is not shown in logs.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u128);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestId(..)")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Says what is wrong with the printed form of a [`RequestId`] or a [`LockId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallIdError {
    /// It is not a request id.
    #[error("not a request id: 32 lower-case hexadecimal digits, not all of them 0")]
    Request,
    /// It is not a lock id.
    #[error("not a lock id: l<number>-<32 hexadecimal digits>, as an acquire returned it")]
    Lock,
}

impl FromStr for RequestId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, CallIdError> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digits) {
            return Err(CallIdError::Request);
        }
        match u128::from_str_radix(text, 16) {
            Ok(0) | Err(_) => Err(CallIdError::Request),
            Ok(id) => Ok(Self(id)),
        }
    }
}

/// Names a lock of the simple interface, for whoever may renew and release it. Its printable form is
/// `l<session>-<request id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LockId {
    /// The session that stands for the lock.
    pub session: SessionId,
    /// The request that acquired it.
    pub request: RequestId,
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}-{}", self.session.0, self.request)
    }
}

impl FromStr for LockId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, CallIdError> {
        let parts = text.strip_prefix('l').and_then(|rest| rest.split_once('-'));
        let (session, request) = parts.ok_or(CallIdError::Lock)?;
        let canonical = !session.starts_with('0') && session.bytes().all(|b| b.is_ascii_digit());
        let session = session.parse().ok().filter(|_| canonical);
        Ok(Self {
            session: SessionId(session.ok_or(CallIdError::Lock)?),
            request: request.parse().map_err(|_| CallIdError::Lock)?,
        })
    }
}

/// Acquires a lock that has a lease of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedAcquire {
    /// Which lock.
    pub path: Path,
    /// Shared or exclusive.
    pub mode: LockMode,
    /// How long to wait in the queue, counted from the first attempt. The waiter must repeat the call
    /// within its lease, or it leaves the queue.
    pub wait: Wait,
    /// The lease, in milliseconds; 0 for the default, else within
    /// [`LEASE_MS_MIN`](crate::limits::LEASE_MS_MIN) and
    /// [`LEASE_MS_MAX`](crate::limits::LEASE_MS_MAX).
    pub lease_ms: u64,
    /// How long the lock stays unavailable if the lease runs out, in milliseconds.
    pub lock_delay_ms: u64,
    /// Create the node (and missing parents, as permanent nodes) if there is none.
    pub create: Option<Lifetime>,
    /// Who acquires, for people to read.
    pub holder: SessionMetadata,
}

/// A change of the tree that needs no session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeChange {
    /// Creates a node; it cannot be ephemeral. Answered by [`Response::Created`].
    Create(Create),
    /// Creates a node with a number in its name; it cannot be ephemeral. Answered by
    /// [`Response::CreatedAt`].
    CreateSequential(CreateSequential),
    /// Replaces contents. Answered by [`Response::Written`].
    Set(Set),
    /// Deletes. Answered by [`Response::Deleted`].
    Delete(Delete),
    /// Changes several nodes together or not at all. Answered by [`Response::Applied`].
    Transaction(Transaction),
}

impl NodeChange {
    /// Returns the mutation that a session would send for the same change.
    #[must_use]
    pub fn into_mutation(self) -> Mutation {
        match self {
            Self::Create(create) => Mutation::Create(create),
            Self::CreateSequential(create) => Mutation::CreateSequential(create),
            Self::Set(set) => Mutation::Set(set),
            Self::Delete(delete) => Mutation::Delete(delete),
            Self::Transaction(transaction) => Mutation::Transaction(transaction),
        }
    }

    /// Tells whether it does nothing but free room.
    #[must_use]
    pub fn only_frees(&self) -> bool {
        match self {
            Self::Delete(_) => true,
            Self::Transaction(transaction) => transaction.only_frees(),
            Self::Create(_) | Self::CreateSequential(_) | Self::Set(_) => false,
        }
    }

    /// Returns the bytes of its paths and contents, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let sum = |path: &Path, contents: &Contents| path.as_str().len() + contents.len();
        match self {
            Self::Create(create) => sum(&create.path, &create.contents),
            Self::CreateSequential(create) => sum(&create.path, &create.contents),
            Self::Set(set) => sum(&set.path, &set.contents),
            Self::Delete(delete) => delete.path.as_str().len(),
            Self::Transaction(transaction) => transaction.bytes(),
        }
    }
}

/// One call of the simple interface, or of anybody who asks without a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Acquires a lock. Answered by [`CallResponse::Acquired`] or [`CallResponse::Queued`].
    Acquire {
        /// Names the request; the same in every attempt.
        request: RequestId,
        /// What to acquire.
        acquire: LeasedAcquire,
        /// Answer within so many milliseconds, that the lock is queued for if need be; 0 for a third
        /// of the lease, which is also the most.
        answer_within_ms: u64,
    },
    /// Extends a lock's lease, without a log entry. Answered by [`CallResponse::Renewed`].
    Renew {
        /// Which lock.
        lock: LockId,
        /// To so many milliseconds from now, at most the lease that was granted; 0 for all of it. A
        /// lease is never shortened.
        extension_ms: u64,
    },
    /// Releases a lock, or leaves its queue. Answered by [`CallResponse::Released`], also when it is
    /// made again.
    Release {
        /// Which lock.
        lock: LockId,
    },
    /// Changes the tree. Answered by [`CallResponse::Changed`].
    Change {
        /// Names the request; the same in every attempt.
        request: RequestId,
        /// Whether the caller knows the request's name and may send it again: then its outcome is
        /// remembered.
        repeatable: bool,
        /// Only while the acquisition that this names still holds its lock.
        sequencer: Option<Sequencer>,
        /// What to change.
        change: NodeChange,
    },
    /// Looks. Answered by [`CallResponse::Found`].
    Query(Query),
    /// Changes the cell itself. Answered by [`CallResponse::Administered`] once the change stands;
    /// [`CallAnswer::Interrupted`] if the reign ended while it was under way.
    Administer(Administration),
}

/// What a call achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResponse {
    /// The lock is held.
    Acquired {
        /// By which to renew and release it.
        lock: LockId,
        /// What to show to others.
        sequencer: Sequencer,
        /// How long it waited in the queue, in milliseconds of cell time.
        waited_ms: u64,
        /// The lease, in milliseconds, counted by the caller from before it sent *this* call; 0 if it
        /// has run out.
        lease_ms: u64,
    },
    /// The call waits in the queue and keeps its place as long as it is repeated within the lease.
    Queued {
        /// By which to leave the queue.
        lock: LockId,
        /// Its place in the queue, 1 for the next; 0 if it is beyond
        /// [`PLACE_COUNTED_MAX`](crate::limits::PLACE_COUNTED_MAX).
        place: u64,
        /// How many wait in all.
        waiters: u64,
        /// Within how many milliseconds to repeat the call, counted from before it sent this one.
        lease_ms: u64,
    },
    /// The lease is extended.
    Renewed {
        /// What to show to others; the same as ever.
        sequencer: Sequencer,
        /// The lease, in milliseconds, counted by the caller from before it sent the call.
        lease_ms: u64,
        /// How many wait for the lock.
        waiters: u64,
    },
    /// The lock is released, or is waited for no more.
    Released,
    /// The tree is changed.
    Changed(Response),
    /// What was asked for.
    Found(QueryResponse),
    /// The cell is changed.
    Administered(Administered),
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// It was done.
    Done(CallResponse),
    /// It was decided, and the answer is no.
    Refused(Refusal),
    /// Nothing was decided here; make the call again.
    Unavailable(Unavailable),
    /// It was on its way through the log when this master's reign ended: whether it is done is not
    /// known. Made again under the same request id, it is done once.
    Interrupted,
}
