//! The rules of a lock, kept a second time and more simply: who holds what, who waits in which
//! order, and that grants go to the living, first come first served, after any lock-delay.
//!
//! Only the outcomes of an entry are known, not their order within one command, so what leaves in an
//! entry is taken to have left before what is granted in it.

use super::{Step, Verdict, Violation};
use cotter_cell::{Command, Effect, Entry};
use cotter_types::{
    Acquire, CellTime, EndReason, LeasedAcquire, LockMode, Mutation, Nonce, Path, RequestNumber,
    Response, SessionId,
};
use std::collections::{BTreeMap, BTreeSet};

type Key = (SessionId, RequestNumber);

#[derive(Debug, Default)]
struct Lock {
    holders: BTreeMap<Key, (LockMode, u64)>,
    /// By the order of arrival.
    waiters: BTreeMap<u64, Key>,
    delayed_until: CellTime,
}

/// Who holds and who waits, as the outcomes say.
#[derive(Debug, Default)]
pub struct Locks {
    now: CellTime,
    arrivals: u64,
    living: BTreeSet<SessionId>,
    requests: BTreeMap<Key, Mutation>,
    locks: BTreeMap<Path, Lock>,
    granted: BTreeSet<Key>,
    /// Acquires of the simple interface, by the nonce of the session that will stand for them.
    called: BTreeMap<Nonce, Acquire>,
}

impl Locks {
    /// Looks at one entry.
    ///
    /// # Errors
    /// A rule of the locks is broken.
    pub fn observe(&mut self, step: &Step) -> Verdict {
        let Entry::Batch(batch) = &step.entry else {
            return Ok(());
        };
        if !step.applied.accepted {
            return Ok(());
        }
        self.now = self.now.max(batch.stamp.time);
        for command in &batch.commands {
            if let Command::Mutate {
                session,
                number,
                mutation,
                ..
            } = command
            {
                self.requests
                    .entry((*session, *number))
                    .or_insert_with(|| mutation.clone());
            }
            if let Command::CallAcquire {
                request, acquire, ..
            } = command
            {
                self.called.insert(Nonce(request.0), as_acquire(acquire));
            }
        }
        let leaving = self.leaving(step);
        let mut granted = Vec::new();
        for effect in &step.applied.effects {
            match effect {
                Effect::Opened {
                    nonce,
                    result: Ok((session, _)),
                } => {
                    self.living.insert(*session);
                    if let Some(acquire) = self.called.remove(nonce) {
                        let key = (*session, RequestNumber(1));
                        self.requests.insert(key, Mutation::Acquire(acquire));
                    }
                }
                Effect::Queued { session, number } => self.queued((*session, *number)),
                Effect::Answered {
                    session,
                    number,
                    result: Ok(Response::Acquired { .. }),
                } => {
                    let key = (*session, *number);
                    if let Some(arrival) = self.granted(step.index, key, &leaving)? {
                        granted.push((key, arrival));
                    }
                }
                _ => {}
            }
        }
        self.leave(step, &leaving);
        granted
            .into_iter()
            .try_for_each(|(key, arrival)| self.check_turn(step.index, key, arrival))
    }

    /// Returns how many acquisitions there were.
    #[must_use]
    pub fn grants(&self) -> u64 {
        self.granted.len() as u64
    }

    fn acquire(&self, key: Key) -> Option<&Acquire> {
        match self.requests.get(&key) {
            Some(Mutation::Acquire(acquire)) => Some(acquire),
            _ => None,
        }
    }

    /// The acquires that hold or wait no more after this entry.
    fn leaving(&self, step: &Step) -> BTreeSet<Key> {
        let mut leaving = BTreeSet::new();
        for effect in &step.applied.effects {
            match effect {
                Effect::Answered {
                    session,
                    number,
                    result,
                } => match (self.requests.get(&(*session, *number)), result) {
                    (Some(Mutation::Acquire(_)), Err(_)) => {
                        leaving.insert((*session, *number));
                    }
                    (
                        Some(Mutation::Release { number, .. } | Mutation::Cancel { number }),
                        Ok(_),
                    ) => {
                        leaving.insert((*session, *number));
                    }
                    _ => {}
                },
                Effect::SessionEnded { session, .. } => {
                    let all = (*session, RequestNumber(0))..=(*session, RequestNumber(u64::MAX));
                    leaving.extend(self.requests.range(all).map(|(key, _)| *key));
                }
                _ => {}
            }
        }
        leaving
    }

    fn queued(&mut self, key: Key) {
        let Some(path) = self.acquire(key).map(|acquire| acquire.path.clone()) else {
            return;
        };
        let lock = self.locks.entry(path).or_default();
        if !lock.waiters.values().any(|waiter| *waiter == key) {
            self.arrivals += 1;
            lock.waiters.insert(self.arrivals, key);
        }
    }

    /// Returns the order of arrival of what was granted, or nothing for a repeated answer.
    fn granted(
        &mut self,
        index: usize,
        key: Key,
        leaving: &BTreeSet<Key>,
    ) -> Result<Option<u64>, Violation> {
        if self.granted.contains(&key) {
            return Ok(None);
        }
        if !self.living.contains(&key.0) {
            return Err(broken(
                index,
                key,
                "was granted to a session that has ended",
            ));
        }
        let Some(acquire) = self.acquire(key).cloned() else {
            return Err(broken(index, key, "was granted, but is no acquire"));
        };
        let now = self.now;
        let lock = self.locks.entry(acquire.path.clone()).or_default();
        let waited = lock
            .waiters
            .iter()
            .find(|(_, waiter)| **waiter == key)
            .map(|(arrival, _)| *arrival);
        if waited.is_none() && leaving.contains(&key) {
            // Granted and given back in one entry, or a repeated answer of long ago.
            return Ok(None);
        }
        if now < lock.delayed_until {
            return Err(broken(index, key, "was granted within a lock-delay"));
        }
        for (holder, (mode, _)) in &lock.holders {
            let both_shared = *mode == LockMode::Shared && acquire.mode == LockMode::Shared;
            if !both_shared && !leaving.contains(holder) {
                return Err(broken(
                    index,
                    key,
                    &format!("was granted {} while {holder:?} holds it", acquire.path),
                ));
            }
        }
        self.granted.insert(key);
        lock.holders
            .insert(key, (acquire.mode, acquire.lock_delay_ms));
        let arrival = waited.unwrap_or_else(|| {
            self.arrivals += 1;
            self.arrivals
        });
        lock.waiters.remove(&arrival);
        Ok(Some(arrival))
    }

    fn leave(&mut self, step: &Step, leaving: &BTreeSet<Key>) {
        let expired: BTreeSet<SessionId> = step
            .applied
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::SessionEnded {
                    session,
                    reason: EndReason::Expired,
                } => Some(*session),
                _ => None,
            })
            .collect();
        for key in leaving {
            let Some(path) = self.acquire(*key).map(|acquire| acquire.path.clone()) else {
                continue;
            };
            let Some(lock) = self.locks.get_mut(&path) else {
                continue;
            };
            if let Some((mode, delay_ms)) = lock.holders.remove(key)
                && mode == LockMode::Exclusive
                && expired.contains(&key.0)
            {
                lock.delayed_until = lock.delayed_until.max(self.now.after_ms(delay_ms));
            }
            lock.waiters.retain(|_, waiter| waiter != key);
        }
        for effect in &step.applied.effects {
            if let Effect::SessionEnded { session, .. } = effect {
                self.living.remove(session);
                let all = (*session, RequestNumber(0))..=(*session, RequestNumber(u64::MAX));
                let gone: Vec<Key> = self.requests.range(all).map(|(key, _)| *key).collect();
                for key in gone {
                    self.requests.remove(&key);
                }
            }
        }
    }

    fn check_turn(&self, index: usize, key: Key, arrival: u64) -> Verdict {
        let Some(acquire) = self.acquire(key) else {
            return Ok(());
        };
        match self
            .locks
            .get(&acquire.path)
            .and_then(|lock| lock.waiters.iter().find(|(earlier, _)| **earlier < arrival))
        {
            None => Ok(()),
            Some((_, waiter)) => Err(broken(
                index,
                key,
                &format!("was granted before {waiter:?}, which came earlier and still waits"),
            )),
        }
    }
}

/// What a session would have sent.
fn as_acquire(leased: &LeasedAcquire) -> Acquire {
    Acquire {
        path: leased.path.clone(),
        mode: leased.mode,
        wait: leased.wait,
        lock_delay_ms: leased.lock_delay_ms,
        conflict_notice: false,
        create: leased.create,
    }
}

fn broken(index: usize, (session, number): Key, what: &str) -> Violation {
    Violation::new(
        "locks",
        format!("entry {index}: {session} number {number} {what}"),
    )
}
