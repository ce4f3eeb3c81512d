//! Calls of the simple interface: admitted here, answered once each.
//!
//! A call needs no stream and no hello. A repeated one finds what its request id has done before; a
//! new one goes into the log. A call whose lock is not to be had yet waits here, and is told its place
//! in the queue within a third of its lease: so its caller, who repeats it, is seen to be alive.
//!
//! A lock's lease is extended by its renewals, and by the repetition of its acquire *while that
//! waits*. A replayed outcome extends nothing. Every lease told is counted by the caller from before
//! it sent the call, so it is never more than what is left at the call's arrival.
//!
//! Soft state of the master: when the reign ends every waiting call is told that it must be made again.

use crate::io::{CallId, Output};
use crate::log::ReplicaLog;
use crate::replica::Replica;
use cotter_cell::{Command, Recorded, RememberedCall};
use cotter_types::limits::{CALLS_WAITING_MAX, LEASE_MS_DEFAULT};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{
    Call, CallAnswer, CallResponse, LeasedAcquire, LockId, Moment, NodeChange, Query,
    QueryResponse, Refusal, RequestId, Response, Sequencer, SessionId, Unavailable, check_lease_ms,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Which part of a lease a waiting call may go without an answer.
const LEASE_PARTS: u64 = 3;

/// What a waiting call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Its lock, or word of its place in the queue at this moment.
    Lock { answer_by: Moment },
    /// Its release.
    Release(LockId),
    /// Its change of the tree.
    Change,
}

#[derive(Debug)]
struct Waiting {
    request: RequestId,
    arrived: Moment,
    awaited: Awaited,
}

/// The calls that wait at this master.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    waiting: BTreeMap<CallId, Waiting>,
    by_request: BTreeSet<(RequestId, CallId)>,
    /// When waiting calls must be told their place, earliest first.
    due: BTreeSet<(Moment, CallId)>,
    /// Requests whose command is on its way through the log.
    in_flight: BTreeMap<RequestId, InFlight>,
}

/// The commands of one request id on their way through the log.
#[derive(Debug, Default)]
struct InFlight {
    commands: usize,
    /// Of its acquire or change: a call with another would be given the wrong outcome.
    fingerprint: Option<u128>,
}

impl Calls {
    /// Returns how many commands of calls are on their way through the log.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Notes that a command of a call was applied.
    pub(crate) fn applied(&mut self, request: RequestId) {
        if let Some(left) = self.in_flight.get_mut(&request) {
            left.commands -= 1;
            if left.commands == 0 {
                self.in_flight.remove(&request);
            }
        }
    }

    /// Returns when the next waiting call must be told its place.
    pub(crate) fn next_due(&self) -> Moment {
        self.due.first().map_or(Moment::NEVER, |(at, _)| *at)
    }

    fn wait(&mut self, call: CallId, waiting: Waiting) {
        self.by_request.insert((waiting.request, call));
        if let Awaited::Lock { answer_by } = waiting.awaited {
            self.due.insert((answer_by, call));
        }
        self.waiting.insert(call, waiting);
    }

    fn take(&mut self, call: CallId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&call)?;
        self.by_request.remove(&(waiting.request, call));
        if let Awaited::Lock { answer_by } = waiting.awaited {
            self.due.remove(&(answer_by, call));
        }
        Some(waiting)
    }

    /// Returns the calls that wait under a request id.
    fn of(&self, request: RequestId) -> Vec<CallId> {
        let all = (request, CallId(0))..=(request, CallId(u64::MAX));
        self.by_request.range(all).map(|(_, call)| *call).collect()
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Takes a call. It is answered once, at once or later.
    pub(crate) fn call(&mut self, now: Moment, id: CallId, principal: String, call: Call) {
        if let Call::Query(Query::Status) = call {
            let status = QueryResponse::Status(Box::new(self.status(now)));
            return self.answer_call(id, CallAnswer::Done(CallResponse::Found(status)));
        }
        if self.master.is_none() {
            return self.answer_call(id, CallAnswer::Unavailable(self.not_master()));
        }
        let answer = match call {
            Call::Query(query) => Some(match self.answer_query(now, &query) {
                Ok(found) => CallAnswer::Done(CallResponse::Found(found)),
                Err(answer) => no(answer),
            }),
            Call::Renew { lock, extension_ms } => Some(self.renew(now, lock, extension_ms)),
            Call::Release { lock } => self.admit_release(now, id, lock),
            Call::Administer(what) => {
                self.administer(now, id, what);
                None
            }
            Call::Acquire {
                request,
                acquire,
                answer_within_ms,
            } => self.admit_acquire(now, id, request, principal, acquire, answer_within_ms),
            Call::Change {
                request,
                repeatable,
                sequencer,
                change,
            } => self.admit_change(
                now,
                id,
                Command::CallChange {
                    request,
                    principal,
                    repeatable,
                    sequencer,
                    change,
                },
            ),
        };
        if let Some(answer) = answer {
            self.answer_call(id, answer);
        }
    }

    fn answer_call(&mut self, call: CallId, answer: CallAnswer) {
        self.hold(Output::CallAnswer { call, answer });
    }

    fn admit_acquire(
        &mut self,
        now: Moment,
        id: CallId,
        request: RequestId,
        principal: String,
        mut acquire: LeasedAcquire,
        answer_within_ms: u64,
    ) -> Option<CallAnswer> {
        if acquire.lease_ms == 0 {
            acquire.lease_ms = LEASE_MS_DEFAULT;
        }
        if let Err(refusal) = check_acquire(request, &acquire) {
            return Some(CallAnswer::Refused(refusal));
        }
        let known = match self.cell.leased(request, &principal, &acquire) {
            Ok(known) => known,
            Err(refusal) => return Some(CallAnswer::Refused(refusal)),
        };
        match &known {
            RememberedCall::Nothing => {}
            RememberedCall::Lives { session, outcome } => {
                let master = self.master.as_mut()?;
                if master.leases.is_condemned(*session) {
                    return Some(CallAnswer::Unavailable(Unavailable::Condemned));
                }
                match outcome {
                    Recorded::Done(result) => {
                        return Some(self.outcome(now, request, *session, result.clone()));
                    }
                    // Its caller is alive, and waits.
                    _ => master.leases.extend(*session, now, None),
                }
            }
            known => return known.refusal().map(CallAnswer::Refused),
        }
        if let Some(why) = self.crowded(false) {
            return Some(CallAnswer::Unavailable(why));
        }
        let patience = match answer_within_ms {
            0 => acquire.lease_ms / LEASE_PARTS,
            ms => ms.min(acquire.lease_ms / LEASE_PARTS),
        };
        let answer_by = now.after(Duration::from_millis(patience));
        let awaited = Awaited::Lock { answer_by };
        if !matches!(known, RememberedCall::Nothing) {
            self.wait_for(now, id, request, awaited);
            return None;
        }
        let command = Command::CallAcquire {
            request,
            principal,
            acquire,
        };
        self.propose_call(now, id, command, awaited)
    }

    fn admit_release(&mut self, now: Moment, id: CallId, lock: LockId) -> Option<CallAnswer> {
        let known = self.cell.lock_by_id(lock);
        if let Some(result) = known.release() {
            return Some(released(result));
        }
        let master = self.master.as_ref()?;
        if master.leases.is_condemned(lock.session) {
            return Some(CallAnswer::Unavailable(Unavailable::Condemned));
        }
        if let Some(why) = self.crowded(true) {
            return Some(CallAnswer::Unavailable(why));
        }
        let command = Command::CallRelease { lock };
        self.propose_call(now, id, command, Awaited::Release(lock))
    }

    fn admit_change(&mut self, now: Moment, id: CallId, command: Command) -> Option<CallAnswer> {
        let Command::CallChange {
            request,
            principal,
            sequencer,
            change,
            ..
        } = &command
        else {
            return None;
        };
        let known = self
            .cell
            .changed(*request, principal, sequencer.as_ref(), change);
        match known {
            Ok(RememberedCall::Changed(Ok(response))) => {
                return Some(CallAnswer::Done(CallResponse::Changed(response)));
            }
            Ok(RememberedCall::Changed(Err(refusal))) | Err(refusal) => {
                return Some(CallAnswer::Refused(refusal));
            }
            Ok(_) => {}
        }
        if let Some(why) = self.crowded(NodeChange::only_frees(change)) {
            return Some(CallAnswer::Unavailable(why));
        }
        self.propose_call(now, id, command, Awaited::Change)
    }

    /// Extends a lock's lease from the applied state. Like every answer that rests on the lease, it
    /// was looked at after the call arrived (I-MASTER-4).
    fn renew(&mut self, now: Moment, lock: LockId, extension_ms: u64) -> CallAnswer {
        let known = self.cell.lock_by_id(lock);
        let RememberedCall::Lives { session, outcome } = known else {
            let refusal = known.refusal().unwrap_or(Refusal::UnknownLock);
            return CallAnswer::Refused(refusal);
        };
        let lease_ms = self.cell.session(session).map_or(0, |row| row.lease_ms);
        let Some(master) = self.master.as_mut() else {
            return CallAnswer::Unavailable(self.not_master());
        };
        let condemned = master.leases.is_condemned(session);
        if condemned && !mutation::active(Mutation::CondemnedLockRenewed) {
            return CallAnswer::Unavailable(Unavailable::Condemned);
        }
        let Recorded::Done(Ok(Response::Acquired { sequencer, .. })) = outcome else {
            let what = "the lock is still waited for; repeat the acquire".to_owned();
            return CallAnswer::Refused(Refusal::Invalid { what });
        };
        if extension_ms > lease_ms {
            let what = format!("an extension of {extension_ms} ms; the lease is {lease_ms} ms");
            return CallAnswer::Refused(Refusal::Invalid { what });
        }
        let by = (extension_ms > 0).then(|| Duration::from_millis(extension_ms));
        master.leases.extend(session, now, by);
        CallAnswer::Done(CallResponse::Renewed {
            lease_ms: self.lease_left_ms(session, now),
            waiters: self.waiters_of(&sequencer),
            sequencer,
        })
    }

    fn waiters_of(&self, sequencer: &Sequencer) -> u64 {
        let path = sequencer.path.localized(self.cell.cell_name());
        path.map_or(0, |path| self.cell.waiters(&path))
    }

    /// Returns what a session's lease has left, for a caller who counts from before it sent the call
    /// that arrived then; never more than was granted.
    fn lease_left_ms(&self, session: SessionId, arrived: Moment) -> u64 {
        let granted = self.cell.session(session).map_or(0, |row| row.lease_ms);
        if mutation::active(Mutation::ReplayedAcquireToldWholeLease) {
            return granted;
        }
        let end = self
            .master
            .as_ref()
            .and_then(|master| master.leases.end_of(session, &self.streams));
        let left = end.map_or(Duration::ZERO, |end| end.since(arrived));
        u64::try_from(left.as_millis())
            .unwrap_or(u64::MAX)
            .min(granted)
    }

    /// Tells what became of an acquire.
    fn outcome(
        &self,
        arrived: Moment,
        request: RequestId,
        session: SessionId,
        result: Result<Response, Refusal>,
    ) -> CallAnswer {
        match result {
            Ok(Response::Acquired {
                sequencer,
                waited_ms,
            }) => CallAnswer::Done(CallResponse::Acquired {
                lock: LockId { session, request },
                sequencer,
                waited_ms,
                lease_ms: self.lease_left_ms(session, arrived),
            }),
            Ok(response) => CallAnswer::Done(CallResponse::Changed(response)),
            Err(refusal) => CallAnswer::Refused(refusal),
        }
    }

    /// Tells why no more calls can wait, or nothing more can be admitted.
    fn crowded(&self, frees: bool) -> Option<Unavailable> {
        let waiting = self
            .master
            .as_ref()
            .map_or(0, |master| master.calls.waiting.len());
        let most = CALLS_WAITING_MAX * if frees { 2 } else { 1 };
        let full = waiting >= most;
        full.then(crate::door::overloaded)
            .or_else(|| self.overload(frees))
    }

    fn wait_for(&mut self, arrived: Moment, call: CallId, request: RequestId, awaited: Awaited) {
        if let Some(master) = self.master.as_mut() {
            let waiting = Waiting {
                request,
                arrived,
                awaited,
            };
            master.calls.wait(call, waiting);
        }
    }

    /// Puts the command of a call on its way. Another request under the same id is refused while the
    /// first one is under way, as it will be when that is remembered.
    fn propose_call(
        &mut self,
        arrived: Moment,
        call: CallId,
        command: Command,
        awaited: Awaited,
    ) -> Option<CallAnswer> {
        let request = command.call()?;
        let fingerprint = command.call_fingerprint();
        let master = self.master.as_mut()?;
        let in_flight = master.calls.in_flight.entry(request).or_default();
        if fingerprint.is_some()
            && in_flight
                .fingerprint
                .is_some_and(|it| Some(it) != fingerprint)
        {
            return Some(CallAnswer::Refused(Refusal::RequestIdReused));
        }
        in_flight.commands += 1;
        in_flight.fingerprint = in_flight.fingerprint.or(fingerprint);
        master.enqueue(command);
        self.wait_for(arrived, call, request, awaited);
        None
    }

    /// Tells the calls that wait under a request id what became of it, unless its session is condemned:
    /// then nothing is said until its end is decided (I-LEASE-2).
    pub(crate) fn called(
        &mut self,
        request: RequestId,
        session: Option<SessionId>,
        result: Result<Response, Refusal>,
    ) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        let promised = session.filter(|_| result.is_ok());
        if promised.is_some_and(|session| master.leases.is_condemned(session)) {
            return;
        }
        for call in master.calls.of(request) {
            self.answer_outcome(call, request, session, result.clone());
        }
    }

    fn answer_outcome(
        &mut self,
        call: CallId,
        request: RequestId,
        session: Option<SessionId>,
        result: Result<Response, Refusal>,
    ) {
        let Some(calls) = self.master.as_mut().map(|master| &mut master.calls) else {
            return;
        };
        let awaited = calls.waiting.get(&call).map(|waiting| waiting.awaited);
        if !matches!(awaited, Some(Awaited::Lock { .. } | Awaited::Change)) {
            return;
        }
        let Some(waiting) = calls.take(call) else {
            return;
        };
        let session = session.unwrap_or_default();
        let answer = self.outcome(waiting.arrived, request, session, result);
        self.answer_call(call, answer);
    }

    /// Tells the calls that wait for a release.
    pub(crate) fn call_released(&mut self, lock: LockId, result: &Result<(), Refusal>) {
        let Some(calls) = self.master.as_mut().map(|master| &mut master.calls) else {
            return;
        };
        let mut answered = Vec::new();
        for call in calls.of(lock.request) {
            let awaited = calls.waiting.get(&call).map(|waiting| waiting.awaited);
            if awaited == Some(Awaited::Release(lock)) {
                calls.take(call);
                answered.push(call);
            }
        }
        for call in answered {
            self.answer_call(call, released(result.clone()));
        }
    }

    /// Tells the calls whose patience is over their place in the queue. One whose acquire is not
    /// applied yet has no place, and waits for it.
    pub(crate) fn tell_places(&mut self, now: Moment) {
        while let Some((at, call)) = self
            .master
            .as_ref()
            .and_then(|master| master.calls.due.first().copied())
            && at <= now
        {
            if let Some(master) = self.master.as_mut() {
                master.calls.due.remove(&(at, call));
            }
            self.tell_place(call, now);
        }
    }

    /// An acquire was queued: its calls whose patience is over already are told.
    pub(crate) fn queued(&mut self, session: SessionId, now: Moment) {
        let Some(request) = self.cell.request_of(session) else {
            return;
        };
        let overdue: Vec<CallId> = match self.master.as_ref() {
            Some(master) => master.calls.of(request),
            None => return,
        };
        for call in overdue {
            self.tell_place(call, now);
        }
    }

    fn tell_place(&mut self, call: CallId, now: Moment) {
        let Some(master) = self.master.as_ref() else {
            return;
        };
        let Some(waiting) = master.calls.waiting.get(&call) else {
            return;
        };
        let Awaited::Lock { answer_by } = waiting.awaited else {
            return;
        };
        let (request, arrived) = (waiting.request, waiting.arrived);
        let session = self.cell.session_by_nonce(cotter_types::Nonce(request.0));
        let Some(session) = session.filter(|_| answer_by <= now) else {
            return;
        };
        if master.leases.is_condemned(session) {
            return;
        }
        let Some((place, waiters)) = self.cell.place_of(session) else {
            return;
        };
        let answer = CallAnswer::Done(CallResponse::Queued {
            lock: LockId { session, request },
            place,
            waiters,
            lease_ms: self.lease_left_ms(session, arrived),
        });
        if let Some(master) = self.master.as_mut() {
            master.calls.take(call);
        }
        self.answer_call(call, answer);
    }

    /// Tells every waiting call that the reign is over.
    pub(crate) fn interrupt(&mut self, calls: Calls) {
        let not_master = self.not_master();
        for (call, waiting) in &calls.waiting {
            let answer = if calls.in_flight.contains_key(&waiting.request) {
                CallAnswer::Interrupted
            } else {
                CallAnswer::Unavailable(not_master.clone())
            };
            self.answer_call(*call, answer);
        }
    }
}

fn released(result: Result<(), Refusal>) -> CallAnswer {
    match result {
        Ok(()) => CallAnswer::Done(CallResponse::Released),
        Err(refusal) => CallAnswer::Refused(refusal),
    }
}

/// Returns why a query was not answered.
fn no(answer: cotter_types::Answer) -> CallAnswer {
    match answer {
        cotter_types::Answer::Done(response) => CallAnswer::Done(CallResponse::Changed(response)),
        cotter_types::Answer::Refused(refusal) => CallAnswer::Refused(refusal),
        cotter_types::Answer::Unavailable(why) => CallAnswer::Unavailable(why),
    }
}

fn check_acquire(request: RequestId, acquire: &LeasedAcquire) -> Result<(), Refusal> {
    if request == RequestId::default() {
        let what = "a request id of 0; draw 128 random bits".to_owned();
        return Err(Refusal::Invalid { what });
    }
    check_lease_ms(acquire.lease_ms)
}
