//! Locks: acquire, release, cancel, and waits that end by time.
//!
//! An acquire is granted at once only if the lock is to be had and nobody waits; otherwise it joins
//! the end of the queue, and settling grants it when its turn has come. Nobody overtakes.

use crate::apply::Application;
use crate::cell::Cell;
use crate::expiry::check_lifetime;
use crate::mutate::Reply;
use crate::state::{Deadline, DeadlineKind, Lock, Outcome, Waiter};
use crate::tree::{check_local, limit, not_found};
use cotter_types::{
    Acquire, CellTime, Contents, HandEnd, LockMode, Path, Refusal, RequestNumber, Response,
    SessionId, Wait, limits,
};

impl Application<'_> {
    pub(crate) fn acquire(
        &mut self,
        session: SessionId,
        number: RequestNumber,
        acquire: &Acquire,
    ) -> Reply {
        if let Err(refusal) = self.prepare_acquire(session, acquire) {
            return Reply::Now(Err(refusal));
        }
        let path = &acquire.path;
        self.disturb(path);
        if !self.cell.locks.contains(path) {
            self.cell.locks.insert(path.clone(), Lock::default());
            self.delay_while_closed(path);
        }
        let lock = self.cell.locks.get(path).expect("it was just made");
        let now = self.cell.header.time;
        if lock.waiters == 0 && Cell::grantable(lock, acquire.mode) {
            let place = self.draw_place();
            let waiter = Waiter::new(session, number, acquire, now, None);
            return Reply::Now(Ok(self.grant(path, place, &waiter)));
        }
        let deadline = match acquire.wait {
            Wait::No | Wait::Ms(0) => return Reply::Now(Err(self.unavailable(acquire, lock))),
            Wait::Ms(ms) => Some(now.after_ms(ms)),
            Wait::Forever => None,
        };
        if lock.waiters >= limits::WAITERS_PER_LOCK_MAX {
            let most = limits::WAITERS_PER_LOCK_MAX;
            return Reply::Now(Err(limit("waiters for one lock", most)));
        }
        let place = self.draw_place();
        let waiter = Waiter::new(session, number, acquire, now, deadline);
        self.enqueue(path, place, waiter);
        Reply::Queued
    }

    /// Checks an acquire, and creates the node if there is none and that is wanted.
    fn prepare_acquire(&mut self, session: SessionId, acquire: &Acquire) -> Result<(), Refusal> {
        let path = &acquire.path;
        check_local(self.cell, path)?;
        if let Some(lifetime) = acquire.create {
            check_lifetime(lifetime)?;
        }
        if acquire.lock_delay_ms > limits::LOCK_DELAY_MS_MAX {
            let most = limits::LOCK_DELAY_MS_MAX;
            return Err(limit("milliseconds of lock-delay", most));
        }
        let ledger = self.cell.ledgers.get(&session);
        let locks = ledger.map_or(0, |row| row.holds + row.waits);
        if locks >= limits::LOCKS_PER_SESSION_MAX {
            let most = limits::LOCKS_PER_SESSION_MAX;
            return Err(limit("locks of one session, waited for or held", most));
        }
        let at_once = matches!(acquire.wait, Wait::No | Wait::Ms(0));
        if at_once && self.cell.is_closed() && !self.cell.locks.contains(path) {
            return Err(self.unavailable(acquire, &self.cell.lock_or_unused(path)));
        }
        if self.cell.nodes.contains(path) {
            return Ok(());
        }
        // The lock of a new node is free, or delayed in a cell that was restored; so what is created
        // here is also acquired or waited for.
        let lifetime = acquire.create.ok_or_else(|| not_found(path))?;
        self.create_nodes(session, path, &Contents::default(), lifetime, true)
    }

    fn draw_place(&mut self) -> u64 {
        self.cell.header.place += 1;
        self.cell.header.place
    }

    /// Says why the lock is not to be had now. A shared acquire that could join the holders but for
    /// the lock-delay of one that expired hears of the delay.
    fn unavailable(&self, acquire: &Acquire, lock: &Lock) -> Refusal {
        let path = &acquire.path;
        let could_join = lock.mode == Some(acquire.mode) && lock.mode == Some(LockMode::Shared);
        let delay = lock
            .delay_until
            .filter(|_| could_join || lock.mode.is_none());
        if let Some(until) = delay {
            return Refusal::LockDelayed {
                path: path.to_string(),
                left_ms: until.since_ms(self.cell.header.time),
            };
        }
        let first = self.cell.holders_of(path).next();
        let (_, holder) =
            first.expect("invariant I-CELL-5: a lock not to be had is held or delayed");
        Refusal::Held {
            path: path.to_string(),
            session: holder.session,
            holder: self.cell.label_of(holder.session),
        }
    }

    fn enqueue(&mut self, path: &Path, place: u64, waiter: Waiter) {
        let key = (waiter.session, waiter.number);
        self.cell
            .outcomes
            .insert(key, Outcome::Waiting(path.clone(), place));
        self.cell.ledgers.update(&waiter.session, |row| {
            row.waits += 1;
            row.outcomes += 1;
        });
        self.cell.locks.update(path, |lock| lock.waiters += 1);
        if let Some(at) = waiter.deadline {
            self.cell
                .indexes
                .deadlines
                .insert(wait_deadline(path, at, place));
        }
        self.cell.waiters.insert((path.clone(), place), waiter);
    }

    pub(crate) fn release(
        &mut self,
        session: SessionId,
        path: &Path,
        number: RequestNumber,
    ) -> Result<Response, Refusal> {
        check_local(self.cell, path)?;
        let held = self.cell.indexes.holds.get(&(session, number));
        let Some(place) = held.filter(|(at, _)| at == path).map(|(_, place)| *place) else {
            return Err(Refusal::NotHeld {
                path: path.to_string(),
                number,
            });
        };
        self.end_hold(path, place, HandEnd::Released);
        Ok(Response::Done)
    }

    /// Makes sure that the acquire `target` waits for nothing and holds nothing, now and when it
    /// arrives later.
    pub(crate) fn cancel(
        &mut self,
        session: SessionId,
        own: RequestNumber,
        target: RequestNumber,
    ) -> Result<Response, Refusal> {
        if target.0 == 0 || target == own {
            return Err(Refusal::Invalid {
                what: "a cancel names the number of another request of its session".to_owned(),
            });
        }
        let key = (session, target);
        if let Some((path, place)) = self.cell.indexes.holds.get(&key).cloned() {
            self.end_hold(&path, place, HandEnd::Cancelled);
            self.cell.outcomes.update(&key, |outcome| {
                *outcome = Outcome::Done(Err(Refusal::Cancelled));
            });
            return Ok(Response::Done);
        }
        match self.cell.outcomes.get(&key).cloned() {
            Some(Outcome::Waiting(path, place)) => {
                self.end_queued(&path, place, Refusal::Cancelled);
            }
            Some(Outcome::Done(_)) => {}
            None => self.record(session, target, Err(Refusal::Cancelled)),
        }
        Ok(Response::Done)
    }

    /// Ends a wait whose deadline has come.
    pub(crate) fn end_wait(&mut self, path: &Path, place: u64) {
        let waiter = self.cell.waiters.get(&(path.clone(), place));
        let since = waiter.map_or(CellTime(0), |waiter| waiter.since);
        let refusal = Refusal::WaitTimeout {
            path: path.to_string(),
            waited_ms: self.cell.header.time.since_ms(since),
        };
        self.end_queued(path, place, refusal);
    }

    /// Takes a waiter out of the queue and tells it why.
    fn end_queued(&mut self, path: &Path, place: u64, refusal: Refusal) {
        self.disturb(path);
        let waiter = self.cell.waiters.get(&(path.clone(), place));
        let waiter = waiter
            .cloned()
            .expect("invariant I-CELL-4: a wait has a waiter");
        self.remove_waiter(path, place, &waiter);
        self.decide_wait(&waiter, Err(refusal));
    }
}

/// Returns the deadline that ends a wait.
pub(crate) fn wait_deadline(path: &Path, at: CellTime, place: u64) -> Deadline {
    Deadline {
        at,
        kind: DeadlineKind::Wait,
        path: path.clone(),
        place,
    }
}
