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
use crate::effect::{Effect, RememberedCall};
use crate::memory::{
    ACQUIRE, Memory, Remembered, ended, fingerprint_of_acquire, fingerprint_of_change,
};
use crate::mutate::Reply;
use crate::tree::{check_local, limit};
use cotter_types::{
    Acquire, EndReason, HandEnd, LeasedAcquire, Lifetime, LockId, NodeChange, NodeOperation, Nonce,
    OpenSession, Path, Refusal, RequestId, Response, Sequencer, SessionId, limits,
};
use std::sync::Arc;

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
