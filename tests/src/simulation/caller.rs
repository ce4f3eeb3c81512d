//! A simulated program that knows the simple interface only: one lock at a time, one connection for
//! each call, and nothing but its own clock to tell until when it may act.
//!
//! Answers are lost, calls are made twice, and the program repeats them under the same request id. It
//! counts its lease from before it sent the call that was answered, less the drift, as the protocol
//! says; what it believes is held against what others believe.

use super::clock::Clock;
use super::host::random_rate;
use super::judgement::Checkers;
use super::network::{ConnectionKey, Machine, Parcel};
use super::random::Random;
use super::world::{Event, Purpose, World};
use crate::checkers::{Belief, Verdict};
use cotter_replica::Input;
use cotter_types::limits::CLOCK_DRIFT_PER_MILLE;
use cotter_types::{
    Call, CallAnswer, CallResponse, Contents, CreateSequential, LeasedAcquire, Lifetime, LockId,
    LockMode, Moment, NodeChange, Path, RequestId, RequestNumber, SessionId, SessionMetadata, Wait,
};
use std::time::Duration;

/// Attempts after which a program gives up what it wanted.
const ATTEMPTS_MAX: u64 = 30;

/// A program that makes calls.
pub(super) struct Caller {
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    random: Random,
    doing: Doing,
    /// Tells attempts and wake-ups apart; what belongs to an older one is dropped.
    turn: u64,
    attempts: u64,
    /// When it first asked for what it does, in true time.
    asked_at: u64,
    /// When the attempt under way was sent, by its own clock.
    sent: Moment,
    lease_ms: u64,
    /// Begins nothing new.
    draining: bool,
}

/// What a program does at the moment.
#[derive(Debug)]
enum Doing {
    Resting,
    Acquiring(RequestId, LeasedAcquire),
    Changing(RequestId, NodeChange),
    Holding {
        lock: LockId,
        path: Path,
        /// Until when it believes that it holds the lock, by its own clock.
        believes_until: Moment,
        /// Until when it wants to, in true time.
        until: u64,
        /// A renewal is under way.
        renewing: bool,
    },
    Releasing(LockId),
}

impl Caller {
    pub(super) fn new(machine: Machine, lease_ms: u64, random: &mut Random) -> Self {
        let mut own = random.fork();
        let rate = random_rate(&mut own);
        Self {
            machine,
            clock: Clock::new(0, own.between(0, 1 << 40), rate),
            random: own,
            doing: Doing::Resting,
            turn: 0,
            attempts: 0,
            asked_at: 0,
            sent: Moment::default(),
            lease_ms,
            draining: false,
        }
    }

    /// Returns the session for which it believes at this moment that its lease stands.
    pub(super) fn believes_in(&self, now: u64) -> Option<SessionId> {
        match &self.doing {
            Doing::Holding {
                lock,
                believes_until,
                ..
            } if self.clock.read(now) < *believes_until => Some(lock.session),
            _ => None,
        }
    }

    /// Tells whether it wants nothing and has nothing.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.doing, Doing::Resting)
    }

    /// Begins nothing new, and gives back what it has. What it waits for it gives up; the lease ends it.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.attempts = 0;
        match std::mem::replace(&mut self.doing, Doing::Resting) {
            Doing::Holding { lock, .. } | Doing::Releasing(lock) => {
                self.doing = Doing::Releasing(lock);
            }
            Doing::Resting | Doing::Acquiring(..) | Doing::Changing(..) => {}
        }
    }

    fn invent(&mut self, locks: &[Path]) -> Doing {
        let bits = |random: &mut Random| u128::from(random.bits()) << 64 | 1;
        let request = RequestId(bits(&mut self.random));
        if self.random.chance(200) {
            let path = "/ls/local/called/c-".parse().expect("a path written here");
            return Doing::Changing(
                request,
                NodeChange::CreateSequential(CreateSequential {
                    path,
                    contents: Contents::default(),
                    lifetime: Lifetime::Permanent,
                    parents: true,
                }),
            );
        }
        let wait = match self.random.below(3) {
            0 => Wait::No,
            1 => Wait::Ms(self.random.around(2_000)),
            _ => Wait::Forever,
        };
        let acquire = LeasedAcquire {
            path: self.random.pick(locks).clone(),
            mode: *self
                .random
                .pick(&[LockMode::Exclusive, LockMode::Exclusive, LockMode::Shared]),
            wait,
            lease_ms: self.lease_ms * self.random.pick(&[1, 1, 2]),
            lock_delay_ms: *self.random.pick(&[0, 0, 1_000]),
            create: Some(Lifetime::Permanent),
            holder: SessionMetadata::default(),
        };
        Doing::Acquiring(request, acquire)
    }

    /// Returns the call that its doing wants made now, if any.
    fn wants(&self) -> Option<Call> {
        Some(match &self.doing {
            Doing::Resting => return None,
            Doing::Acquiring(request, acquire) => Call::Acquire {
                request: *request,
                acquire: acquire.clone(),
                answer_within_ms: 0,
            },
            Doing::Changing(request, change) => Call::Change {
                request: *request,
                repeatable: true,
                sequencer: None,
                change: change.clone(),
            },
            Doing::Holding { lock, .. } => Call::Renew {
                lock: *lock,
                extension_ms: 0,
            },
            Doing::Releasing(lock) => Call::Release { lock: *lock },
        })
    }

    /// Returns until when a lease that was just told may be believed in.
    fn end_of(&self, lease_ms: u64) -> Moment {
        let drift = lease_ms * CLOCK_DRIFT_PER_MILLE / 1_000 + 1;
        self.sent
            .after(Duration::from_millis(lease_ms.saturating_sub(drift)))
    }
}

impl World {
    /// The caller's timer is over: it begins something, repeats a call whose answer did not come, or
    /// renews what it holds.
    pub(super) fn caller_wakes(&mut self, place: usize, turn: u64) {
        if self.callers[place].turn != turn {
            return;
        }
        let now = self.now();
        let caller = &mut self.callers[place];
        let reading = caller.clock.read(now);
        match &mut caller.doing {
            Doing::Resting if caller.draining => return,
            Doing::Resting => {
                caller.attempts = 0;
                caller.asked_at = now;
                caller.doing = caller.invent(&self.knowledge.locks);
            }
            Doing::Holding {
                lock,
                believes_until,
                until,
                renewing,
                ..
            } => {
                if reading >= *believes_until && caller.random.chance(300) {
                    // It noticed that it lost its lock, and has nothing to give back.
                    return self.caller_rests(place);
                }
                if *until <= now {
                    caller.attempts = 0;
                    caller.doing = Doing::Releasing(*lock);
                } else {
                    *renewing = true;
                }
            }
            Doing::Acquiring(..) | Doing::Changing(..) | Doing::Releasing(_) => {}
        }
        caller.attempts += 1;
        if caller.attempts > ATTEMPTS_MAX && !caller.draining {
            return self.caller_rests(place);
        }
        if matches!(self.callers[place].doing, Doing::Releasing(_)) {
            self.caller_gives_up_belief(place);
        }
        self.caller_calls(place);
    }

    /// Makes the call that is wanted, now and then twice at once.
    fn caller_calls(&mut self, place: usize) {
        let now = self.now();
        let caller = &mut self.callers[place];
        let Some(call) = caller.wants() else {
            return;
        };
        caller.turn += 1;
        caller.sent = caller.clock.read(now);
        let turn = caller.turn;
        let patience = caller.lease_ms * 1_000 + caller.random.around(500_000);
        let twice = caller.random.chance(100);
        self.agenda.after(
            patience,
            Event::CallerWake {
                caller: place,
                turn,
            },
        );
        for _ in 0..=u64::from(twice) {
            let caller = &mut self.callers[place];
            let host = caller.random.index(self.hosts.len());
            let hint = self.hosts.iter().position(super::host::Host::is_master);
            let host = hint.filter(|_| caller.random.chance(700)).unwrap_or(host);
            self.ask(place, turn, host, call.clone());
        }
    }

    /// Opens a connection for one call. One that cannot be made is repeated soon.
    fn ask(&mut self, place: usize, turn: u64, host: usize, call: Call) {
        let machine = self.callers[place].machine;
        if self.hosts[host].running.is_none() || self.network.is_cut(machine, host) {
            let delay = 5_000 + self.callers[place].random.around(100_000);
            self.agenda.after(
                delay,
                Event::CallerWake {
                    caller: place,
                    turn,
                },
            );
            return;
        }
        let now = self.now();
        let key = self.network.open(machine, host, now, now);
        self.purposes.push(Purpose::Call {
            caller: (place, turn),
            host: (host, self.hosts[host].life),
        });
        self.send(key, 0, Parcel::Ask(call));
    }

    /// A call arrives at a replica.
    pub(super) fn call_arrives(&mut self, host: (usize, u32), key: ConnectionKey, request: Call) {
        if self.hosts[host.0].life != host.1 {
            return;
        }
        let Some(running) = &mut self.hosts[host.0].running else {
            return;
        };
        let call = cotter_replica::CallId(key.0 as u64);
        running.calls.insert(call, (key, request.clone()));
        let principal = "anonymous".to_owned();
        self.host_input(
            host.0,
            host.1,
            Input::Call {
                call,
                principal,
                request,
            },
        );
    }

    /// An answer arrives at the caller.
    pub(super) fn caller_told(&mut self, place: usize, turn: u64, answer: &CallAnswer) -> Verdict {
        if self.callers[place].turn != turn {
            return Ok(());
        }
        self.tally.calls += 1;
        match answer {
            CallAnswer::Unavailable(_) | CallAnswer::Interrupted => {
                let pause = 10_000 + self.callers[place].random.around(100_000);
                self.caller_later(place, pause);
                Ok(())
            }
            CallAnswer::Done(CallResponse::Queued { .. }) => {
                self.callers[place].attempts = 0;
                // Mostly at once; now and then so late that it may have lost its place.
                let late = self.callers[place].random.chance(50);
                let pause = if late { 3_000_000 } else { 1_000 };
                self.caller_later(place, pause);
                Ok(())
            }
            CallAnswer::Done(CallResponse::Acquired {
                lock,
                sequencer,
                lease_ms,
                ..
            }) => self.caller_holds(place, *lock, *lease_ms, Some(sequencer.clone())),
            CallAnswer::Done(CallResponse::Renewed { lease_ms, .. }) => {
                let Doing::Holding { lock, .. } = &self.callers[place].doing else {
                    return Ok(());
                };
                let lock = *lock;
                self.caller_holds(place, lock, *lease_ms, None)
            }
            CallAnswer::Done(
                CallResponse::Released
                | CallResponse::Changed(_)
                | CallResponse::Found(_)
                | CallResponse::Administered(_),
            )
            | CallAnswer::Refused(_) => {
                self.caller_rests(place);
                Ok(())
            }
        }
    }

    /// The caller learns until when it may believe that it holds its lock.
    fn caller_holds(
        &mut self,
        place: usize,
        lock: LockId,
        lease_ms: u64,
        granted: Option<cotter_types::Sequencer>,
    ) -> Verdict {
        let now = self.now();
        let caller = &mut self.callers[place];
        let end = caller.end_of(lease_ms);
        caller.attempts = 0;
        match &mut caller.doing {
            Doing::Holding {
                believes_until,
                renewing,
                ..
            } => {
                *believes_until = end.max(*believes_until);
                *renewing = false;
            }
            Doing::Acquiring(_, acquire) => {
                caller.doing = Doing::Holding {
                    lock,
                    path: acquire.path.clone(),
                    believes_until: end,
                    until: now + caller.random.around(1_500_000),
                    renewing: false,
                };
            }
            Doing::Resting | Doing::Changing(..) | Doing::Releasing(_) => return Ok(()),
        }
        if let (Doing::Holding { path, .. }, Some(sequencer)) = (&caller.doing, granted) {
            let (key, interval) = ((lock.session, RequestNumber(1)), (caller.asked_at, now));
            let Checkers {
                witness, history, ..
            } = &mut self.checkers;
            witness.called(history, key, path, &sequencer, interval);
            self.checkers.exclusion.begins(Belief {
                guest: self.guests.len() + place,
                session: lock.session,
                path: path.clone(),
                number: RequestNumber(1),
                sequencer,
            });
        }
        // It renews well before the end, or by far too late, or does not live to see it.
        let caller = &mut self.callers[place];
        let third = caller.lease_ms * 1_000 / 3;
        let pause = match caller.random.below(20) {
            0 => third * 6,
            1 => {
                self.caller_rests(place);
                return Ok(());
            }
            // Just when its end is on its way through the log.
            2 | 3 => lease_ms * 1_000 + caller.random.around(5_000),
            _ => caller.random.around(third),
        };
        self.caller_later(place, pause);
        self.check_exclusion(self.guests.len() + place)
    }

    fn caller_rests(&mut self, place: usize) {
        self.caller_gives_up_belief(place);
        let caller = &mut self.callers[place];
        caller.doing = Doing::Resting;
        let pause = caller.random.around(300_000);
        self.caller_later(place, pause);
    }

    fn caller_gives_up_belief(&mut self, place: usize) {
        let guest = self.guests.len() + place;
        self.checkers.exclusion.session_over(guest);
    }

    /// Wakes the caller after a while; whatever else it waited for is forgotten.
    pub(super) fn caller_later(&mut self, place: usize, pause: u64) {
        self.callers[place].turn += 1;
        let turn = self.callers[place].turn;
        self.agenda.after(
            pause,
            Event::CallerWake {
                caller: place,
                turn,
            },
        );
    }

    /// Compares what a client or caller believes with what all others do.
    pub(super) fn check_exclusion(&self, who: usize) -> Verdict {
        let now = self.now();
        let (guests, callers) = (&self.guests, &self.callers);
        let verdict = self.checkers.exclusion.check(who, now, |other| {
            match other.checked_sub(guests.len()) {
                None => guests[other].believes(now),
                Some(caller) => callers[caller].believes_in(now).is_some(),
            }
        });
        self.checkers.judged(verdict)
    }
}
