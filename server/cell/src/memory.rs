//! What the cell remembers of calls of the simple interface.
//!
//! A request id is bound to its caller and its arguments, by their fingerprint, and to what came of
//! them. While the lock of an acquire lives that is looked up in its session; afterwards, and for a
//! change of the tree, it stands here until it is forgotten.
//!
//! Nothing here applies anything: that is `call.rs`.

use crate::cell::Cell;
use crate::command::Command;
use crate::effect::RememberedCall;
use crate::state::Outcome;
use crate::tree::limit;
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    CellTime, EndReason, LeasedAcquire, LockId, NodeChange, Path, Refusal, RequestId,
    RequestNumber, Response, Sequencer, SessionId, limits,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// The number of the one request of a call's session.
pub(crate) const ACQUIRE: RequestNumber = RequestNumber(1);

/// What is remembered of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Of caller and arguments.
    pub(crate) fingerprint: u128,
    /// When it is forgotten; nothing while its session lives.
    pub(crate) forget_at: Option<CellTime>,
    pub(crate) call: Remembered,
}

/// What became of a remembered call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Remembered {
    /// An acquire whose session lives.
    Lives(SessionId),
    /// An acquire that was refused, at once or at the end of its wait.
    Refused(SessionId, Refusal),
    /// An acquire whose session has ended.
    Ended(SessionId, Path, EndReason),
    /// A change of the tree.
    Changed(Result<Response, Refusal>),
}

impl Memory {
    /// Returns what it counts, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        postcard::to_stdvec(self).map_or(0, |bytes| bytes.len() as u64)
    }
}

/// Tells one request from another that comes under the same id. Labels for people do not count.
fn fingerprint(parts: &impl Serialize) -> u128 {
    xxh3_128(&postcard::to_stdvec(parts).expect("a request can always be encoded"))
}

/// Returns who the caller has proved to be. Who has proved nothing is known by its address only, and
/// may come from another one the next time, through another route or after a move.
fn identity(principal: &str) -> &str {
    match principal.split_once('@') {
        Some(("anonymous", _)) => "anonymous",
        _ => principal,
    }
}

/// Returns the fingerprint of an acquire.
pub(crate) fn fingerprint_of_acquire(principal: &str, acquire: &LeasedAcquire) -> u128 {
    let LeasedAcquire {
        path,
        mode,
        wait,
        lease_ms,
        lock_delay_ms,
        create,
        holder: _,
    } = acquire;
    let arguments = (path, mode, wait, lease_ms, lock_delay_ms, create);
    fingerprint(&(1_u8, identity(principal), arguments))
}

/// Returns the fingerprint of a change.
pub(crate) fn fingerprint_of_change(
    principal: &str,
    sequencer: Option<&Sequencer>,
    change: &NodeChange,
) -> u128 {
    fingerprint(&(2_u8, identity(principal), sequencer, change))
}

impl Cell {
    /// Returns what is known of an acquire of the simple interface.
    ///
    /// # Errors
    /// [`Refusal::RequestIdReused`] if the request id names another request or another caller's.
    pub fn leased(
        &self,
        request: RequestId,
        principal: &str,
        acquire: &LeasedAcquire,
    ) -> Result<RememberedCall, Refusal> {
        let fingerprint = fingerprint_of_acquire(principal, acquire);
        self.recall(request, Some(fingerprint))
    }

    /// Returns what is known of a change made by a call.
    ///
    /// # Errors
    /// [`Refusal::RequestIdReused`] if the request id names another request or another caller's.
    pub fn changed(
        &self,
        request: RequestId,
        principal: &str,
        sequencer: Option<&Sequencer>,
        change: &NodeChange,
    ) -> Result<RememberedCall, Refusal> {
        let fingerprint = fingerprint_of_change(principal, sequencer, change);
        self.recall(request, Some(fingerprint))
    }

    /// Returns what is known of a lock of the simple interface, by the id that proves the right to
    /// renew and release it.
    #[must_use]
    pub fn lock_by_id(&self, lock: LockId) -> RememberedCall {
        let known = self.recall(lock.request, None);
        let known = known.unwrap_or(RememberedCall::Nothing);
        match &known {
            RememberedCall::Lives { session, .. } | RememberedCall::Ended { session, .. }
                if *session == lock.session =>
            {
                known
            }
            RememberedCall::Refused { session, .. } if *session == lock.session => known,
            _ => RememberedCall::Nothing,
        }
    }

    /// Tells whether the session is one of the simple interface, which no stream may attach.
    #[must_use]
    pub fn is_of_a_call(&self, session: SessionId) -> bool {
        self.request_of(session).is_some()
    }

    /// Returns the place of a waiter in its queue, 1 for the next, and how many wait; place 0 if it is
    /// beyond [`limits::PLACE_COUNTED_MAX`].
    #[must_use]
    pub fn place_of(&self, session: SessionId) -> Option<(u64, u64)> {
        let Some(Outcome::Waiting(path, place)) = self.outcomes.get(&(session, ACQUIRE)) else {
            return None;
        };
        let waiters = self.locks.get(path).map_or(0, |lock| lock.waiters);
        let queue = self.waiters_of(path).take(limits::PLACE_COUNTED_MAX);
        let nth = queue.zip(1..).find(|((at, _), _)| at == place);
        Some((nth.map_or(0, |(_, nth)| nth), waiters))
    }

    /// Returns how many wait for a lock.
    #[must_use]
    pub fn waiters(&self, path: &Path) -> u64 {
        self.locks.get(path).map_or(0, |lock| lock.waiters)
    }

    /// Returns the request id of a living session of the simple interface.
    #[must_use]
    pub fn request_of(&self, session: SessionId) -> Option<RequestId> {
        // Asked for every request of every session: a cell that knows no calls must not pay for them.
        if self.calls.len() == 0 {
            return None;
        }
        let request = RequestId(self.session(session)?.nonce.0);
        let lives = |memory: &Memory| memory.call == Remembered::Lives(session);
        self.calls
            .get(&request)
            .is_some_and(lives)
            .then_some(request)
    }

    fn recall(
        &self,
        request: RequestId,
        fingerprint: Option<u128>,
    ) -> Result<RememberedCall, Refusal> {
        let Some(memory) = self.calls.get(&request) else {
            return Ok(RememberedCall::Nothing);
        };
        let changed = matches!(memory.call, Remembered::Changed(_));
        if changed && mutation::active(Bug::CallsNotRemembered) {
            return Ok(RememberedCall::Nothing);
        }
        if fingerprint.is_some_and(|fingerprint| fingerprint != memory.fingerprint) {
            return Err(Refusal::RequestIdReused);
        }
        Ok(match &memory.call {
            Remembered::Lives(session) => RememberedCall::Lives {
                session: *session,
                outcome: self.outcome(*session, ACQUIRE),
            },
            Remembered::Refused(session, refusal) => RememberedCall::Refused {
                session: *session,
                refusal: refusal.clone(),
            },
            Remembered::Ended(session, path, reason) => RememberedCall::Ended {
                session: *session,
                path: path.clone(),
                reason: *reason,
            },
            Remembered::Changed(result) => RememberedCall::Changed(result.clone()),
        })
    }

    /// Refuses a call that there is no room to remember.
    pub(crate) fn check_memory(&self) -> Result<(), Refusal> {
        if self.calls.len() >= limits::CALLS_REMEMBERED_MAX {
            return Err(limit(
                "calls of the last ten minutes",
                limits::CALLS_REMEMBERED_MAX,
            ));
        }
        if self.header.calls_bytes >= limits::CALLS_REMEMBERED_BYTES_MAX {
            return Err(limit(
                "bytes remembered of the calls of the last ten minutes",
                limits::CALLS_REMEMBERED_BYTES_MAX,
            ));
        }
        Ok(())
    }

    /// Puts a memory in place of the one under the same request id, if there is one.
    pub(crate) fn remember(&mut self, request: RequestId, memory: Memory) {
        self.forget(request);
        self.header.calls_bytes += memory.bytes();
        if let Some(at) = memory.forget_at {
            self.indexes.memories.insert((at, request));
        }
        self.calls.insert(request, memory);
    }

    pub(crate) fn forget(&mut self, request: RequestId) {
        let Some(memory) = self.calls.remove(&request) else {
            return;
        };
        self.header.calls_bytes -= memory.bytes();
        if let Some(at) = memory.forget_at {
            self.indexes.memories.remove(&(at, request));
        }
    }
}

impl RememberedCall {
    /// Returns how a release of this lock is answered without doing anything; nothing while the lock
    /// lives.
    #[must_use]
    pub fn release(&self) -> Option<Result<(), Refusal>> {
        Some(match self {
            Self::Lives { .. } => return None,
            Self::Refused { .. } => Ok(()),
            Self::Ended { path, reason, .. } => match reason {
                EndReason::Closed => Ok(()),
                EndReason::Expired => Err(ended(path, *reason)),
            },
            Self::Nothing | Self::Changed(_) => Err(Refusal::UnknownLock),
        })
    }

    /// Returns how a renewal of this lock, or its acquire come again, is refused; nothing while the
    /// lock lives.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        Some(match self {
            Self::Lives { .. } => return None,
            Self::Refused { refusal, .. } => refusal.clone(),
            Self::Ended { path, reason, .. } => ended(path, *reason),
            Self::Nothing | Self::Changed(_) => Refusal::UnknownLock,
        })
    }
}

pub(crate) fn ended(path: &Path, reason: EndReason) -> Refusal {
    Refusal::LockEnded {
        path: path.to_string(),
        expired: reason == EndReason::Expired,
    }
}

impl Command {
    /// Returns what tells an acquire or a change of the simple interface from another one that comes
    /// under the same request id.
    #[must_use]
    pub fn call_fingerprint(&self) -> Option<u128> {
        match self {
            Self::CallAcquire {
                principal, acquire, ..
            } => Some(fingerprint_of_acquire(principal, acquire)),
            Self::CallChange {
                principal,
                sequencer,
                change,
                ..
            } => Some(fingerprint_of_change(principal, sequencer.as_ref(), change)),
            Self::CallRelease { .. }
            | Self::Open { .. }
            | Self::Mutate { .. }
            | Self::Expire { .. }
            | Self::RaiseFeatureLevel { .. } => None,
        }
    }

    /// Returns the request id of a call.
    #[must_use]
    pub fn call(&self) -> Option<RequestId> {
        match self {
            Self::CallAcquire { request, .. } | Self::CallChange { request, .. } => Some(*request),
            Self::CallRelease { lock } => Some(lock.request),
            Self::Open { .. }
            | Self::Mutate { .. }
            | Self::Expire { .. }
            | Self::RaiseFeatureLevel { .. } => None,
        }
    }
}
