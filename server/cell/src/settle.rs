//! Settling locks: after every step, whoever can be granted a lock is granted it.
//!
//! Each step first disturbs the locks that it changes, here remembered as they were, and settles
//! them all at its end. So a lock is granted by the entry that frees it, to the front of its queue
//! and nobody else; its holders hear that the queue has changed; and an ephemeral node, or one whose
//! time to live has passed, goes when the last thing that kept it has gone.

use crate::apply::Application;
use crate::cell::{Cell, active_key};
use crate::effect::Effect;
use crate::footprint::Cacheable;
use crate::state::{Deadline, DeadlineKind, Holder, Lock, Outcome, Waiter};
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    CellTime, ChangeOfHands, Doer, FencingToken, HandEnd, Lifetime, LockMode, PastChange, Path,
    Response, Sequencer, limits,
};

/// A lock as it was before the present step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disturbed {
    was_free: bool,
    waiters: u64,
    /// Holders with a smaller place were there before and know how many waited.
    first_new_place: u64,
}

impl Application<'_> {
    /// Remembers a lock as it is before the step changes it.
    pub(crate) fn disturb(&mut self, path: &Path) {
        if self.disturbed.contains_key(path) {
            return;
        }
        let lock = self.cell.locks.get(path);
        let before = Disturbed {
            was_free: lock.is_none_or(Lock::is_free),
            waiters: lock.map_or(0, |lock| lock.waiters),
            first_new_place: self.cell.header.place + 1,
        };
        self.disturbed.insert(path.clone(), before);
    }

    /// Settles every lock that the step disturbed, in order of path.
    pub(crate) fn settle(&mut self) {
        while let Some((path, before)) = self.disturbed.pop_first() {
            // The step may have deleted the node, and the lock with it.
            if self.cell.locks.contains(&path) {
                let granted = self.grant_front(&path);
                self.note_freedom(&path, before);
                self.notify_holders(&path, before, &granted);
            }
            self.reap(&path);
        }
    }

    /// Grants the lock to the front of the queue as long as that is possible, and returns the places
    /// of those who got it.
    fn grant_front(&mut self, path: &Path) -> Vec<u64> {
        let mut granted = Vec::new();
        loop {
            let Some((place, waiter)) = self.cell.waiters_of(path).next() else {
                break;
            };
            let waiter = waiter.clone();
            let lock = self.cell.locks.get(path).expect("a queue has a lock");
            if !Cell::grantable(lock, waiter.mode) {
                assert!(
                    !lock.is_free(),
                    "invariant I-CELL-5: {path} is free and somebody waits"
                );
                break;
            }
            assert!(
                self.cell.sessions.contains(&waiter.session)
                    || mutation::active(Bug::GrantWithoutLivenessCheck),
                "invariant I-CELL-3: {} waits for {path} and does not live",
                waiter.session
            );
            self.remove_waiter(path, place, &waiter);
            let response = self.grant(path, place, &waiter);
            self.decide_wait(&waiter, Ok(response));
            granted.push(place);
        }
        granted
    }

    /// Makes `waiter` a holder. The lock must be grantable to it.
    pub(crate) fn grant(&mut self, path: &Path, place: u64, waiter: &Waiter) -> Response {
        let header = &mut self.cell.header;
        let now = header.time;
        let was = self.cell.locks.get(path).and_then(|lock| lock.mode);
        let token = match was {
            // A shared holder that joins a run shares its token.
            Some(_) => None,
            None if mutation::active(Bug::TokenFromNode) => {
                let last = self.cell.locks.get(path).map(|lock| lock.token);
                Some(last.unwrap_or_default().next())
            }
            None => {
                header.token = header.token.next();
                Some(header.token)
            }
        };
        assert!(
            header.token.0 < limits::TOKEN_LIMIT,
            "invariant I-CELL-9: the tokens are used up"
        );
        header.locks_held += u64::from(was.is_none());
        let sequencer = self
            .cell
            .locks
            .update(path, |lock| take(lock, waiter, token))
            .expect("the lock has a row before it is granted");
        let instance = self.cell.nodes.get(path).map(|node| node.instance);
        self.cell.holders.insert(
            (path.clone(), place),
            Holder {
                session: waiter.session,
                number: waiter.number,
                since: now,
                since_wall_ms: self.wall_ms,
                lock_delay_ms: waiter.lock_delay_ms,
                conflict_notice: waiter.conflict_notice,
            },
        );
        self.cell
            .indexes
            .holds
            .insert((waiter.session, waiter.number), (path.clone(), place));
        self.cell
            .indexes
            .active
            .insert(active_key(path), path.clone());
        self.cell
            .ledgers
            .update(&waiter.session, |ledger| ledger.holds += 1);
        let (token, lock_generation) = sequencer;
        let waited_ms = now.since_ms(waiter.since);
        let granted = PastChange::LockGranted {
            mode: waiter.mode,
            token,
            waited_ms,
        };
        self.note(path, self.doer(waiter.session), granted);
        Response::Acquired {
            sequencer: Sequencer {
                path: path.with_cell(self.cell.cell_name()),
                mode: waiter.mode,
                token,
                instance: instance.expect("invariant I-CELL-6: a lock has a node"),
                lock_generation,
            },
            waited_ms,
        }
    }

    /// Ends a hold. A lock-delay begins if the holder's session expired and it asked for one.
    pub(crate) fn end_hold(&mut self, path: &Path, place: u64, end: HandEnd) {
        self.disturb(path);
        let key = (path.clone(), place);
        let holder = self.cell.holders.remove(&key).expect("a known hold");
        let by = (holder.session, holder.number);
        self.cell.indexes.holds.remove(&by);
        self.cell
            .ledgers
            .update(&holder.session, |ledger| ledger.holds -= 1);
        self.remember_hands(path, &holder, end);
        let emptied = self.cell.locks.update(path, |lock| {
            lock.holders -= 1;
            lock.listeners -= u64::from(holder.conflict_notice);
            if lock.holders == 0 {
                lock.mode = None;
            }
            lock.mode.is_none()
        });
        if emptied == Some(true) {
            self.cell.header.locks_held -= 1;
        }
        let delay = end == HandEnd::SessionExpired && holder.lock_delay_ms > 0;
        if delay && !mutation::active(Bug::LockDelayForgotten) {
            let until = self.cell.header.time.after_ms(holder.lock_delay_ms);
            self.delay(path, until);
        }
        if self.cell.locks.get(path).is_some_and(Lock::is_free) {
            self.cell.indexes.active.remove(&active_key(path));
        }
    }

    /// Keeps the lock unavailable until `until`, or longer if it is already.
    fn delay(&mut self, path: &Path, until: CellTime) {
        let old = self.cell.locks.get(path).and_then(|lock| lock.delay_until);
        if old.is_some_and(|old| old >= until) {
            return;
        }
        if let Some(old) = old {
            let deadline = delay_deadline(path, old);
            self.cell.indexes.deadlines.remove(&deadline);
        }
        self.cell
            .locks
            .update(path, |lock| lock.delay_until = Some(until));
        self.cell
            .indexes
            .deadlines
            .insert(delay_deadline(path, until));
    }

    /// Keeps a lock unavailable as long as the cell grants nothing, if that is so.
    pub(crate) fn delay_while_closed(&mut self, path: &Path) {
        if self.cell.is_closed() && !mutation::active(Bug::LockDelayForgotten) {
            self.delay(path, self.cell.header.closed_until);
            let key = active_key(path);
            self.cell.indexes.active.insert(key, path.clone());
        }
    }

    /// Ends a lock-delay whose time has come.
    pub(crate) fn end_delay(&mut self, path: &Path) {
        self.disturb(path);
        let until = self
            .cell
            .locks
            .update(path, |lock| lock.delay_until.take())
            .flatten()
            .expect("invariant I-CELL-12: a deadline belongs to a delay");
        let deadline = delay_deadline(path, until);
        self.cell.indexes.deadlines.remove(&deadline);
        if self.cell.locks.get(path).is_some_and(Lock::is_free) {
            self.cell.indexes.active.remove(&active_key(path));
        }
    }

    /// Takes a waiter out of the queue; its outcome is the caller's to decide. Whoever is not settling
    /// the lock must have disturbed it.
    pub(crate) fn remove_waiter(&mut self, path: &Path, place: u64, waiter: &Waiter) {
        self.cell.waiters.remove(&(path.clone(), place));
        self.cell.locks.update(path, |lock| lock.waiters -= 1);
        self.cell
            .ledgers
            .update(&waiter.session, |ledger| ledger.waits -= 1);
        if let Some(at) = waiter.deadline {
            self.cell.indexes.deadlines.remove(&Deadline {
                at,
                kind: DeadlineKind::Wait,
                path: path.clone(),
                place,
            });
        }
    }

    fn remember_hands(&mut self, path: &Path, holder: &Holder, end: HandEnd) {
        let who = self.cell.session(holder.session);
        let metadata = who.map(|session| session.metadata.clone());
        let metadata = metadata.unwrap_or_default();
        let Some(lock) = self.cell.locks.get(path) else {
            return;
        };
        let (token, mode) = (lock.token, lock.mode.unwrap_or(LockMode::Exclusive));
        let change = ChangeOfHands {
            session: holder.session,
            name: metadata.name,
            host: metadata.host,
            pid: metadata.pid,
            mode,
            token,
            from: holder.since,
            until: self.cell.header.time,
            until_wall_ms: self.wall_ms,
            end,
        };
        let nth = lock.hands + 1;
        let ended = PastChange::LockEnded {
            mode,
            token,
            held_ms: change.until.since_ms(change.from),
            end,
        };
        let who = Doer {
            session: Some(change.session),
            name: change.name.clone(),
            host: change.host.clone(),
            pid: change.pid,
        };
        self.note(path, who, ended);
        self.cell.locks.update(path, |lock| lock.hands = nth);
        self.cell.hands.insert((path.clone(), nth), change);
        if let Some(oldest) = nth.checked_sub(limits::CHANGES_OF_HANDS_MAX as u64) {
            self.cell.hands.remove(&(path.clone(), oldest));
        }
    }

    /// Touches the fact that the lock is free, if it was one and is no more.
    fn note_freedom(&mut self, path: &Path, before: Disturbed) {
        if before.was_free && !self.cell.locks.get(path).is_none_or(Lock::is_free) {
            self.touch(Cacheable::LockFree(path.clone()));
        }
    }

    /// Tells the holders that asked for it how many wait, if that is news to them.
    fn notify_holders(&mut self, path: &Path, before: Disturbed, granted: &[u64]) {
        let Some(lock) = self.cell.locks.get(path) else {
            return;
        };
        if lock.listeners == 0 || (lock.waiters == 0 && before.waiters == 0) {
            return;
        }
        let waiters = lock.waiters;
        let told: Vec<_> = self
            .cell
            .holders_of(path)
            .filter(|(place, holder)| {
                let new = *place >= before.first_new_place || granted.contains(place);
                let news = if new {
                    waiters > 0
                } else {
                    waiters != before.waiters
                };
                holder.conflict_notice && news
            })
            .map(|(_, holder)| (holder.session, holder.number))
            .collect();
        for (session, number) in told {
            let notice = self.cell.conflict(path, number, waiters);
            self.tell(Effect::Notice { session, notice });
        }
    }

    /// Removes a node that is not permanent and that nothing keeps any more.
    fn reap(&mut self, path: &Path) {
        let Some(node) = self.cell.nodes.get(path) else {
            return;
        };
        let kept = match node.lifetime {
            Lifetime::Permanent => true,
            Lifetime::Ephemeral => node.owners > 0,
            Lifetime::Ttl { .. } => !self.cell.is_overdue(path),
        };
        let lock_is_free = self.cell.locks.get(path).is_none_or(Lock::is_free);
        if !kept && lock_is_free {
            self.remove_node(path);
            self.note(path, Doer::default(), PastChange::NodeLapsed);
        }
    }

    /// Records the end of a wait and tells the waiter.
    pub(crate) fn decide_wait(
        &mut self,
        waiter: &Waiter,
        result: Result<Response, cotter_types::Refusal>,
    ) {
        let key = (waiter.session, waiter.number);
        let acknowledged = self
            .cell
            .ledgers
            .get(&waiter.session)
            .is_none_or(|ledger| ledger.has_acknowledged(waiter.number));
        if acknowledged {
            // The client acknowledged an acquire that still waited: it gets its answer, and nothing
            // is kept of it.
            if self.cell.outcomes.remove(&key).is_some() {
                self.cell
                    .ledgers
                    .update(&waiter.session, |ledger| ledger.outcomes -= 1);
            }
        } else {
            self.cell
                .outcomes
                .insert(key, Outcome::Done(result.clone()));
        }
        self.tell(Effect::Answered {
            session: waiter.session,
            number: waiter.number,
            result: result.clone(),
        });
        self.call_decided(waiter.session, result);
    }
}

/// Puts one more holder into the lock's row; returns the token and the generation.
fn take(lock: &mut Lock, waiter: &Waiter, token: Option<FencingToken>) -> (FencingToken, u64) {
    assert!(
        Cell::grantable(lock, waiter.mode),
        "invariant I-CELL-1: the lock is not to be had"
    );
    if let Some(token) = token {
        lock.token = token;
        lock.generation += 1;
        lock.mode = Some(waiter.mode);
    }
    lock.holders += 1;
    lock.listeners += u64::from(waiter.conflict_notice);
    (lock.token, lock.generation)
}

/// Returns the deadline that ends a lock-delay.
pub(crate) fn delay_deadline(path: &Path, at: CellTime) -> Deadline {
    Deadline {
        at,
        kind: DeadlineKind::LockDelay,
        path: path.clone(),
        place: 0,
    }
}
