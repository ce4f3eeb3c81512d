//! What must always be true of a cell.
//!
//! Each invariant has two guards: the cheap part is asserted where the state changes, in release
//! builds too, and [`Cell::check`] compares everything with everything, for tests and simulations.
//!
//! | number | what must hold |
//! |---|---|
//! | I-CELL-1 | a lock has one exclusive holder, or shared holders, or none; never more holders than its mode allows |
//! | I-CELL-2 | all holders of a lock hold by one token and one generation, which stand in the lock's row once; its counts of holders, waiters and listeners are right |
//! | I-CELL-3 | whoever holds, waits, holds open or has an outcome kept is a living session, and every session has a ledger whose counts are right |
//! | I-CELL-4 | waiting outcomes and waiters belong together one to one |
//! | I-CELL-5 | nobody waits for a free lock, and the front of a queue could not be granted |
//! | I-CELL-6 | every node but the root has a permanent parent that counts it; a lock, a holder, a waiter and a change of hands have a node |
//! | I-CELL-7 | an ephemeral node is held open, or its lock is in use; only ephemeral nodes are held open |
//! | I-CELL-8 | contents have the length and the checksum that their node says; the total is right |
//! | I-CELL-9 | tokens are below 2^53, and none is above the cell's counter; instances, places and sessions are not above theirs |
//! | I-CELL-10 | at most sixteen changes of hands are kept for a lock, the last ones |
//! | I-CELL-11 | every index says what its tables say |
//! | I-CELL-12 | every deadline is in the future and belongs to a waiter, a lock-delay or a time to live |
//! | I-CELL-13 | the digest kept equals the digest counted anew |
//! | I-CELL-14 | the feature level is one that this program knows |
//! | I-CELL-15 | a ledger's ranges ascend above its floor and do not touch; no decided outcome is acknowledged |
//! | I-CELL-16 | a node has an expiry exactly if it has a time to live; when that has passed, its lock is in use |
//! | I-CELL-17 | a remembered call whose acquire lives names a living session, which has its request id as nonce and one outcome; what is not of a living session has a time to be forgotten; the bytes are right |
//! | I-CELL-18 | the chapter has begun by the last applied entry; its voters are at most five, in order of id, none twice; only voters have addresses |
//! | I-CELL-19 | while a restored cell is closed nobody holds a lock, and every lock that was used is delayed until then |

use crate::cell::{Cell, FEATURE_LEVEL_MAX, Indexes, active_key};
use crate::expiry::ttl_deadline;
use crate::lock::wait_deadline;
use crate::memory::Remembered;
use crate::settle::delay_deadline;
use crate::state::{Lock, Outcome, membership_is_sound};
use cotter_types::{Lifetime, LockMode, Path, RequestNumber, limits};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Names an invariant if it is broken.
fn ensure(holds: bool, number: u32, detail: impl FnOnce() -> String) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    Err(format!("invariant I-CELL-{number}: {}", detail()))
}

impl Cell {
    /// Checks every invariant over the whole state; costs a walk over everything.
    ///
    /// # Errors
    /// The number of the first broken invariant and what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.check_locks()?;
        self.check_queues()?;
        self.check_sessions()?;
        self.check_tree()?;
        self.check_contents_and_owners()?;
        self.check_expiries()?;
        self.check_calls()?;
        self.check_counters()?;
        self.check_hands()?;
        self.check_indexes()?;
        self.check_ledgers()?;
        self.check_digest()?;
        ensure(self.header.feature_level <= FEATURE_LEVEL_MAX, 14, || {
            format!("feature level {}", self.header.feature_level)
        })
    }

    fn check_locks(&self) -> Result<(), String> {
        let mut held = 0;
        for (path, lock) in self.locks.iter() {
            let holders = self.holders_of(path).count() as u64;
            let allowed = match lock.mode {
                None => holders == 0,
                Some(LockMode::Exclusive) => holders == 1,
                Some(LockMode::Shared) => {
                    (1..=limits::SHARED_HOLDERS_PER_LOCK_MAX).contains(&holders)
                }
            };
            ensure(allowed, 1, || {
                format!("{path} has {holders} holders and mode {:?}", lock.mode)
            })?;
            let listeners = self.holders_of(path).filter(|(_, row)| row.conflict_notice);
            let right = lock.holders == holders
                && lock.waiters == self.waiters_of(path).count() as u64
                && lock.listeners == listeners.count() as u64;
            ensure(right, 2, || format!("the counts of {path} are wrong"))?;
            held += u64::from(lock.mode.is_some());
            let delayed = lock.delay_until >= Some(self.header.closed_until);
            ensure(
                !self.is_closed() || (lock.mode.is_none() && delayed),
                19,
                || {
                    format!(
                        "{path} could be granted before {:?}",
                        self.header.closed_until
                    )
                },
            )?;
        }
        ensure(held == self.header.locks_held, 2, || {
            format!("{held} locks are held, not {}", self.header.locks_held)
        })
    }

    fn check_queues(&self) -> Result<(), String> {
        let mut front: Option<&Path> = None;
        for ((path, place), waiter) in self.waiters.iter() {
            let outcome = self.outcomes.get(&(waiter.session, waiter.number));
            let expected = Outcome::Waiting(path.clone(), *place);
            ensure(outcome == Some(&expected), 4, || {
                format!(
                    "{} {} waits and has {outcome:?}",
                    waiter.session, waiter.number
                )
            })?;
            if front != Some(path) {
                front = Some(path);
                let lock = self.locks.get(path).cloned().unwrap_or_default();
                ensure(!Self::grantable(&lock, waiter.mode), 5, || {
                    format!("{} could have {path} and waits", waiter.session)
                })?;
            }
        }
        let waiting = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Waiting(..)))
            .count() as u64;
        ensure(waiting == self.waiters.len(), 4, || {
            format!(
                "{waiting} outcomes wait, and {} waiters",
                self.waiters.len()
            )
        })
    }

    fn check_sessions(&self) -> Result<(), String> {
        let mut counts = BTreeMap::<_, (u64, u64, u64, u64)>::new();
        for (_, holder) in self.holders.iter() {
            counts.entry(holder.session).or_default().0 += 1;
        }
        for (_, waiter) in self.waiters.iter() {
            counts.entry(waiter.session).or_default().1 += 1;
        }
        for ((_, owner), ()) in self.opens.iter() {
            counts.entry(*owner).or_default().2 += 1;
        }
        for ((session, _), _) in self.outcomes.iter() {
            counts.entry(*session).or_default().3 += 1;
        }
        for session in counts.keys() {
            ensure(self.sessions.contains(session), 3, || {
                format!("{session} owns something and does not live")
            })?;
        }
        ensure(self.sessions.len() == self.ledgers.len(), 3, || {
            "sessions and ledgers are not as many".to_owned()
        })?;
        for (session, ledger) in self.ledgers.iter() {
            let found = counts.get(session).copied().unwrap_or_default();
            let kept = (ledger.holds, ledger.waits, ledger.opens, ledger.outcomes);
            ensure(found == kept && self.sessions.contains(session), 3, || {
                format!("{session} owns {found:?}, its ledger says {kept:?}")
            })?;
        }
        Ok(())
    }

    fn check_tree(&self) -> Result<(), String> {
        ensure(self.nodes.contains(&Path::root()), 6, || {
            "no root".to_owned()
        })?;
        let mut children = BTreeMap::<Path, u64>::new();
        for (path, _) in self.nodes.iter() {
            let Some(parent) = path.parent() else {
                continue;
            };
            let above = self.nodes.get(&parent).map(|node| node.lifetime);
            ensure(above == Some(Lifetime::Permanent), 6, || {
                format!("the parent of {path} is {above:?}")
            })?;
            *children.entry(parent).or_default() += 1;
        }
        for (path, node) in self.nodes.iter() {
            let found = children.get(path).copied().unwrap_or_default();
            ensure(node.children == found, 6, || {
                format!("{path} has {found} children, not {}", node.children)
            })?;
        }
        let locks = self.locks.iter().map(|(path, _)| path);
        let nodeless = locks.into_iter().find(|path| !self.nodes.contains(path));
        ensure(nodeless.is_none(), 6, || {
            format!("{nodeless:?} has a lock and no node")
        })?;
        let holders = self.holders.iter().map(|((path, _), _)| path);
        let waiters = self.waiters.iter().map(|((path, _), _)| path);
        let hands = self.hands.iter().map(|((path, _), _)| path);
        let mut users = holders.chain(waiters).chain(hands);
        let lockless = users.find(|path| !self.locks.contains(path));
        ensure(lockless.is_none(), 6, || {
            format!("{lockless:?} is used and has no lock")
        })
    }

    fn check_contents_and_owners(&self) -> Result<(), String> {
        let mut owners = BTreeMap::<&Path, u64>::new();
        for ((path, _), ()) in self.opens.iter() {
            *owners.entry(path).or_default() += 1;
        }
        ensure(
            owners.keys().all(|path| self.nodes.contains(path)),
            7,
            || "something that does not exist is held open".to_owned(),
        )?;
        let mut bytes = 0;
        for (path, node) in self.nodes.iter() {
            let found = owners.get(path).copied().unwrap_or_default();
            let kept = match node.lifetime {
                Lifetime::Permanent | Lifetime::Ttl { .. } => found == 0,
                Lifetime::Ephemeral => found > 0 || !self.locks.get(path).is_none_or(Lock::is_free),
            };
            ensure(kept && node.owners == found, 7, || {
                format!("{path} is {:?} and has {found} owners", node.lifetime)
            })?;
            let right = node.content_bytes == node.contents.len() as u64
                && node.content_checksum == xxh3_64(node.contents.as_bytes());
            ensure(right, 8, || {
                format!("the contents of {path} are not its own")
            })?;
            bytes += node.content_bytes;
        }
        ensure(bytes == self.header.content_bytes, 8, || {
            format!(
                "{bytes} bytes of contents, not {}",
                self.header.content_bytes
            )
        })
    }

    fn check_expiries(&self) -> Result<(), String> {
        let mut mortal = 0;
        for (path, node) in self.nodes.iter() {
            let expiry = self.expiries.get(path);
            let has_ttl = matches!(node.lifetime, Lifetime::Ttl { .. });
            mortal += u64::from(has_ttl);
            ensure(expiry.is_some() == has_ttl, 16, || {
                format!("{path} is {:?} and expires at {expiry:?}", node.lifetime)
            })?;
            let in_use = !self.locks.get(path).is_none_or(Lock::is_free);
            ensure(!self.is_overdue(path) || in_use, 16, || {
                format!("{path} outlived its time, at {expiry:?}")
            })?;
        }
        ensure(mortal == self.expiries.len(), 16, || {
            "something that does not exist expires".to_owned()
        })
    }

    fn check_calls(&self) -> Result<(), String> {
        let mut bytes = 0;
        for (request, memory) in self.calls.iter() {
            bytes += memory.bytes();
            let lives = match memory.call {
                Remembered::Lives(session) => {
                    let row = self.session(session);
                    let outcome = self.outcomes.get(&(session, RequestNumber(1)));
                    let of_call = row.is_some_and(|row| row.nonce.0 == request.0);
                    ensure(of_call && outcome.is_some(), 17, || {
                        format!("{session} is remembered by a call and is not of it")
                    })?;
                    true
                }
                Remembered::Refused(..) | Remembered::Ended(..) | Remembered::Changed(_) => false,
            };
            ensure(lives == memory.forget_at.is_none(), 17, || {
                format!("a call is forgotten at {:?}", memory.forget_at)
            })?;
        }
        ensure(bytes == self.header.calls_bytes, 17, || {
            format!("{bytes} bytes of calls, not {}", self.header.calls_bytes)
        })
    }

    fn check_counters(&self) -> Result<(), String> {
        let header = &self.header;
        let chapter = &header.chapter;
        let sound = chapter.begins_at <= header.applied
            && membership_is_sound(&chapter.voters, &chapter.addresses);
        ensure(sound, 18, || {
            format!("{chapter:?} at entry {}", header.applied)
        })?;
        ensure(header.token.0 < limits::TOKEN_LIMIT, 9, || {
            format!("the token counter is {}", header.token)
        })?;
        let tokens = self.locks.iter().map(|(_, lock)| lock.token);
        let past = self.hands.iter().map(|(_, hand)| hand.token);
        let token = tokens.chain(past).max().unwrap_or_default();
        ensure(token <= header.token, 9, || {
            format!("token {token} was not drawn")
        })?;
        let mut held = BTreeMap::new();
        for (path, lock) in self.locks.iter().filter(|(_, lock)| lock.mode.is_some()) {
            let other = held.insert(lock.token, path);
            ensure(other.is_none(), 9, || {
                format!("{path} and {other:?} share a token")
            })?;
        }
        let instance = self.nodes.iter().map(|(_, node)| node.instance).max();
        ensure(instance <= Some(header.instance), 9, || {
            format!("instance {instance:?} was not drawn")
        })?;
        let holders = self.holders.iter().map(|((_, place), _)| *place);
        let waiters = self.waiters.iter().map(|((_, place), _)| *place);
        let place = holders.chain(waiters).max().unwrap_or_default();
        ensure(place <= header.place, 9, || {
            format!("place {place} was not drawn")
        })?;
        let session = self.sessions.iter().map(|(id, _)| *id).max();
        ensure(session <= Some(header.session), 9, || {
            format!("session {session:?} was not drawn")
        })
    }

    fn check_hands(&self) -> Result<(), String> {
        let mut kept = BTreeMap::<&Path, Vec<u64>>::new();
        for ((path, nth), _) in self.hands.iter() {
            kept.entry(path).or_default().push(*nth);
        }
        for (path, lock) in self.locks.iter() {
            let most = limits::CHANGES_OF_HANDS_MAX as u64;
            let expected = (lock.hands.saturating_sub(most) + 1..=lock.hands).collect::<Vec<_>>();
            let found = kept.remove(path).unwrap_or_default();
            ensure(found == expected, 10, || {
                format!("{path} keeps changes of hands {found:?}, not {expected:?}")
            })?;
        }
        Ok(())
    }

    fn check_indexes(&self) -> Result<(), String> {
        let mut past = self.indexes.deadlines.iter();
        let due = past.find(|deadline| deadline.at <= self.header.time);
        ensure(due.is_none(), 12, || format!("{due:?} is due"))?;
        let expected = self.derived_indexes();
        let kept = &self.indexes;
        ensure(kept.nonces == expected.nonces, 11, || "nonces".to_owned())?;
        ensure(kept.holds == expected.holds, 11, || "holds".to_owned())?;
        ensure(kept.opens == expected.opens, 11, || "opens".to_owned())?;
        ensure(kept.active == expected.active, 11, || {
            "active locks".to_owned()
        })?;
        ensure(kept.memories == expected.memories, 11, || {
            "memories of calls".to_owned()
        })?;
        ensure(kept.deadlines == expected.deadlines, 12, || {
            "deadlines".to_owned()
        })
    }

    fn check_ledgers(&self) -> Result<(), String> {
        for (session, ledger) in self.ledgers.iter() {
            let mut end = ledger.floor;
            for (first, last) in &ledger.above {
                let apart = first.0 > end.0.saturating_add(1) && first <= last;
                ensure(apart, 15, || {
                    format!("{session} acknowledged {:?}", ledger.above)
                })?;
                end = *last;
            }
        }
        for ((session, number), outcome) in self.outcomes.iter() {
            let ledger = self.ledgers.get(session).cloned().unwrap_or_default();
            let forgotten = ledger.has_acknowledged(*number);
            let decided = matches!(outcome, Outcome::Done(_));
            ensure(!(forgotten && decided), 15, || {
                format!("{session} acknowledged {number}, which is still kept")
            })?;
        }
        Ok(())
    }

    fn check_digest(&self) -> Result<(), String> {
        let right = self.nodes.digest() == self.nodes.digest_recounted()
            && self.locks.digest() == self.locks.digest_recounted()
            && self.holders.digest() == self.holders.digest_recounted()
            && self.waiters.digest() == self.waiters.digest_recounted()
            && self.hands.digest() == self.hands.digest_recounted()
            && self.sessions.digest() == self.sessions.digest_recounted()
            && self.ledgers.digest() == self.ledgers.digest_recounted()
            && self.outcomes.digest() == self.outcomes.digest_recounted()
            && self.opens.digest() == self.opens.digest_recounted()
            && self.expiries.digest() == self.expiries.digest_recounted()
            && self.calls.digest() == self.calls.digest_recounted();
        ensure(right, 13, || {
            "a digest is not the sum of its table".to_owned()
        })
    }

    /// Makes the indexes anew from the tables.
    pub(crate) fn derived_indexes(&self) -> Indexes {
        let mut indexes = Indexes::default();
        for (id, session) in self.sessions.iter() {
            indexes.nonces.insert(session.nonce, *id);
        }
        for ((path, place), holder) in self.holders.iter() {
            let key = (holder.session, holder.number);
            indexes.holds.insert(key, (path.clone(), *place));
        }
        for ((path, owner), ()) in self.opens.iter() {
            indexes.opens.insert((*owner, path.clone()));
        }
        for (path, lock) in self.locks.iter() {
            if !lock.is_free() {
                indexes.active.insert(active_key(path), path.clone());
            }
            if let Some(until) = lock.delay_until {
                indexes.deadlines.insert(delay_deadline(path, until));
            }
        }
        for (path, at) in self.expiries.iter() {
            if *at > self.header.time {
                indexes.deadlines.insert(ttl_deadline(path, *at));
            }
        }
        for (request, memory) in self.calls.iter() {
            if let Some(at) = memory.forget_at {
                indexes.memories.insert((at, *request));
            }
        }
        for ((path, place), waiter) in self.waiters.iter() {
            if let Some(at) = waiter.deadline {
                indexes.deadlines.insert(wait_deadline(path, at, *place));
            }
        }
        indexes
    }
}
