//! Calls of the simple interface: one request each, remembered by its request id.
//!
//! An acquire opens a session of its own, whose nonce is the request id and whose only request is the
//! acquire, number 1; so its lease, its wait, its lock-delay and its end are those of any session. What
//! a request id named is remembered as long as that session lives, and for
//! [`limits::CALL_MEMORY_MS`] more; a change of the tree, for as long after it was made. Memories go
//! with time, a bounded number with each entry, oldest first; nothing is proposed for their sake.
//!
//! A call never does twice what its request id has done once, and never gives the outcome of one
//! request to another: caller and arguments are remembered by their fingerprint.

use crate::apply::Application;
use crate::cell::Cell;
use crate::command::Command;
use crate::effect::{Effect, RememberedCall};
use crate::mutate::Reply;
use crate::tree::{check_local, limit};
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    Acquire, CellTime, EndReason, HandEnd, LeasedAcquire, Lifetime, LockId, NodeChange,
    NodeOperation, Nonce, OpenSession, Path, Refusal, RequestId, RequestNumber, Response,
    Sequencer, SessionId, limits,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// The number of the one request of a call's session.
const ACQUIRE: RequestNumber = RequestNumber(1);

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

/// Returns the fingerprint of an acquire.
fn fingerprint_of_acquire(principal: &str, acquire: &LeasedAcquire) -> u128 {
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
    fingerprint(&(1_u8, principal, arguments))
}

/// Returns the fingerprint of a change.
fn fingerprint_of_change(
    principal: &str,
    sequencer: Option<&Sequencer>,
    change: &NodeChange,
) -> u128 {
    fingerprint(&(2_u8, principal, sequencer, change))
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
        let Some(crate::state::Outcome::Waiting(path, place)) =
            self.outcomes.get(&(session, ACQUIRE))
        else {
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
    fn check_memory(&self) -> Result<(), Refusal> {
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
    fn remember(&mut self, request: RequestId, memory: Memory) {
        self.forget(request);
        self.header.calls_bytes += memory.bytes();
        if let Some(at) = memory.forget_at {
            self.indexes.memories.insert((at, request));
        }
        self.calls.insert(request, memory);
    }

    fn forget(&mut self, request: RequestId) {
        let Some(memory) = self.calls.remove(&request) else {
            return;
        };
        self.header.calls_bytes -= memory.bytes();
        if let Some(at) = memory.forget_at {
            self.indexes.memories.remove(&(at, request));
        }
    }
}

impl Application<'_> {
    /// Acquires a lock with a lease of its own, or tells what became of that.
    pub(crate) fn call_acquire(
        &mut self,
        request: RequestId,
        principal: &str,
        acquire: &LeasedAcquire,
    ) {
        match self.cell.leased(request, principal, acquire) {
            Ok(RememberedCall::Nothing) => {}
            Ok(known) => return self.tell_again(request, known),
            Err(refusal) => return self.called(request, None, Err(refusal)),
        }
        if let Err(refusal) = self.cell.check_memory() {
            return self.called(request, None, Err(refusal));
        }
        let open = OpenSession {
            nonce: Nonce(request.0),
            lease_ms: acquire.lease_ms,
            metadata: acquire.holder.clone(),
        };
        // A nonce that a session of a stream has is not taken away from it.
        let taken = self.cell.session_by_nonce(open.nonce).is_some();
        let opened = match taken {
            true => Err(Refusal::RequestIdReused),
            false => self.open_or_find(&open, principal),
        };
        let session = match opened {
            Ok((session, _)) => session,
            Err(refusal) => return self.called(request, None, Err(refusal)),
        };
        self.tell(Effect::Opened {
            nonce: open.nonce,
            result: Ok((session, acquire.lease_ms)),
        });
        self.cell.remember(
            request,
            Memory {
                fingerprint: fingerprint_of_acquire(principal, acquire),
                forget_at: None,
                call: Remembered::Lives(session),
            },
        );
        let acquire = Acquire {
            path: acquire.path.clone(),
            mode: acquire.mode,
            wait: acquire.wait,
            lock_delay_ms: acquire.lock_delay_ms,
            conflict_notice: false,
            create: acquire.create,
        };
        match self.acquire(session, ACQUIRE, &acquire) {
            Reply::Queued => self.tell(Effect::Queued {
                session,
                number: ACQUIRE,
            }),
            Reply::Now(result) => {
                self.record(session, ACQUIRE, result.clone());
                self.tell(Effect::Answered {
                    session,
                    number: ACQUIRE,
                    result: result.clone(),
                });
                self.call_decided(session, result);
            }
        }
    }

    /// Takes note that the acquire of a session was decided; does nothing for a session that is not of
    /// the simple interface. One that was refused has nothing left to live for.
    pub(crate) fn call_decided(&mut self, session: SessionId, result: Result<Response, Refusal>) {
        let Some(request) = self.cell.request_of(session) else {
            return;
        };
        if result.is_err() {
            self.fruitless.push(session);
        }
        self.called(request, Some(session), result);
    }

    /// Ends the sessions whose acquire was refused. They own nothing.
    pub(crate) fn end_fruitless(&mut self) {
        for session in std::mem::take(&mut self.fruitless) {
            if self.cell.sessions.contains(&session) {
                self.end_session(session, EndReason::Closed);
            }
        }
    }

    /// Takes note that a session ends: what it was opened for is remembered a while longer.
    pub(crate) fn call_ends(&mut self, session: SessionId, reason: EndReason) {
        let Some(request) = self.cell.request_of(session) else {
            return;
        };
        let fingerprint = self.cell.calls.get(&request).map(|it| it.fingerprint);
        let call = match self.cell.outcomes.get(&(session, ACQUIRE)) {
            Some(crate::state::Outcome::Done(Err(refusal))) => {
                Remembered::Refused(session, refusal.clone())
            }
            Some(crate::state::Outcome::Done(Ok(Response::Acquired { sequencer, .. }))) => {
                let path = sequencer.path.localized(self.cell.cell_name());
                Remembered::Ended(session, path.unwrap_or_else(Path::root), reason)
            }
            Some(crate::state::Outcome::Waiting(path, _)) => {
                Remembered::Ended(session, path.clone(), reason)
            }
            other => panic!("invariant I-CELL-17: {session} of a call has outcome {other:?}"),
        };
        if let Remembered::Ended(_, path, reason) = &call {
            // Whoever still waits for its answer learns that there will be none.
            self.called(request, Some(session), Err(ended(path, *reason)));
        }
        let forget_at = Some(self.cell.header.time.after_ms(limits::CALL_MEMORY_MS));
        self.cell.remember(
            request,
            Memory {
                fingerprint: fingerprint.unwrap_or_default(),
                forget_at,
                call,
            },
        );
    }

    /// Releases a lock by its id, or leaves its queue.
    pub(crate) fn call_release(&mut self, lock: LockId) {
        let result = match self.cell.lock_by_id(lock) {
            RememberedCall::Lives { session, .. } => {
                let held = self.cell.holds_of(session).next();
                let held = held.map(|(_, path, place)| (path.clone(), place));
                if let Some((path, place)) = held {
                    self.end_hold(&path, place, HandEnd::Released);
                }
                self.end_session(session, EndReason::Closed);
                Ok(())
            }
            known => known.release().unwrap_or(Err(Refusal::UnknownLock)),
        };
        self.tell(Effect::CallReleased { lock, result });
    }

    /// Changes the tree once, or tells what became of that.
    pub(crate) fn call_change(
        &mut self,
        request: RequestId,
        principal: &str,
        repeatable: bool,
        sequencer: Option<&Sequencer>,
        change: &NodeChange,
    ) {
        match self.cell.changed(request, principal, sequencer, change) {
            Ok(RememberedCall::Nothing) => {}
            Ok(known) => return self.tell_again(request, known),
            Err(refusal) => return self.called(request, None, Err(refusal)),
        }
        if repeatable
            && !change.only_frees()
            && let Err(refusal) = self.cell.check_memory()
        {
            return self.called(request, None, Err(refusal));
        }
        let result = self.change(principal, sequencer, change);
        if repeatable {
            let forget_at = Some(self.cell.header.time.after_ms(limits::CALL_MEMORY_MS));
            self.cell.remember(
                request,
                Memory {
                    fingerprint: fingerprint_of_change(principal, sequencer, change),
                    forget_at,
                    call: Remembered::Changed(result.clone()),
                },
            );
        }
        self.called(request, None, result);
    }

    fn change(
        &mut self,
        principal: &str,
        sequencer: Option<&Sequencer>,
        change: &NodeChange,
    ) -> Result<Response, Refusal> {
        if principal.len() > limits::LABEL_BYTES_MAX {
            let most = limits::LABEL_BYTES_MAX as u64;
            return Err(limit("bytes of a caller's principal", most));
        }
        if let Some(sequencer) = sequencer {
            self.check_current(sequencer)?;
        }
        check_lifetimes(change)?;
        // No session has this id; nobody can hold anything open by it.
        let nobody = SessionId(0);
        self.creator = Some(Arc::from(principal));
        let result = match change {
            NodeChange::Create(create) => self.create(nobody, create),
            NodeChange::CreateSequential(create) => self.create_sequential(nobody, create),
            NodeChange::Set(set) => self.set(set),
            NodeChange::Delete(delete) => self.delete(delete),
            NodeChange::Transaction(transaction) => self.transaction(nobody, transaction),
        };
        self.creator = None;
        result
    }

    /// Refuses unless the acquisition still holds its lock.
    fn check_current(&self, sequencer: &Sequencer) -> Result<(), Refusal> {
        check_local(self.cell, &sequencer.path)?;
        if self.cell.is_current(sequencer) {
            return Ok(());
        }
        Err(Refusal::StaleSequencer {
            path: sequencer.path.to_string(),
            token: sequencer.token.0,
        })
    }

    /// Tells the outcome of a call that has come again.
    fn tell_again(&mut self, request: RequestId, known: RememberedCall) {
        match known {
            RememberedCall::Lives { session, outcome } => match outcome {
                crate::Recorded::Done(result) => self.called(request, Some(session), result),
                _ => self.tell(Effect::Queued {
                    session,
                    number: ACQUIRE,
                }),
            },
            RememberedCall::Refused { session, refusal } => {
                self.called(request, Some(session), Err(refusal));
            }
            RememberedCall::Ended { path, reason, .. } => {
                self.called(request, None, Err(ended(&path, reason)));
            }
            RememberedCall::Changed(result) => self.called(request, None, result),
            RememberedCall::Nothing => {}
        }
    }

    fn called(
        &mut self,
        request: RequestId,
        session: Option<SessionId>,
        result: Result<Response, Refusal>,
    ) {
        self.tell(Effect::Called {
            request,
            session,
            result,
        });
    }

    /// Forgets what was remembered long enough; a bounded number at a time.
    pub(crate) fn forget_old_calls(&mut self) {
        for _ in 0..limits::CALLS_FORGOTTEN_PER_ENTRY_MAX {
            let oldest = self.cell.indexes.memories.get_min().copied();
            match oldest {
                Some((at, request)) if at <= self.cell.header.time => self.cell.forget(request),
                _ => break,
            }
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

fn ended(path: &Path, reason: EndReason) -> Refusal {
    Refusal::LockEnded {
        path: path.to_string(),
        expired: reason == EndReason::Expired,
    }
}

/// Refuses what only a session can hold open.
fn check_lifetimes(change: &NodeChange) -> Result<(), Refusal> {
    let ephemeral = match change {
        NodeChange::Create(create) => create.lifetime == Lifetime::Ephemeral,
        NodeChange::CreateSequential(create) => create.lifetime == Lifetime::Ephemeral,
        NodeChange::Set(_) | NodeChange::Delete(_) => false,
        NodeChange::Transaction(transaction) => {
            transaction
                .operations
                .iter()
                .any(|operation| match operation {
                    NodeOperation::Create(create) => create.lifetime == Lifetime::Ephemeral,
                    NodeOperation::CreateSequential(create) => {
                        create.lifetime == Lifetime::Ephemeral
                    }
                    NodeOperation::Set(_) | NodeOperation::Delete(_) => false,
                })
        }
    };
    if !ephemeral {
        return Ok(());
    }
    Err(Refusal::Invalid {
        what:
            "an ephemeral node is held open by a session, and a call has none; give it a time to \
               live, or use the attach stream"
                .to_owned(),
    })
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
