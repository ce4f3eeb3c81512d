//! What the simulated clients do: small random programs over a few paths, so that they meet.

use super::invention::invent;
use super::knowledge::Knowledge;
use super::random::Random;
use cotter_session::{Call, CallId, Outcome, Patience};
use cotter_types::{Moment, Path, RequestNumber, Response};
use std::time::Duration;

/// Something that a program wants done.
#[derive(Debug)]
pub(super) enum Deed {
    /// Make a call, for this slot.
    Call(usize, Call),
    /// Lose interest in a call.
    Abandon(CallId),
}

#[derive(Debug)]
enum Slot {
    Idle {
        until: u64,
    },
    /// The deed was handed out, and its id is not known yet.
    Starting,
    Calling {
        id: CallId,
        give_up_at: u64,
    },
    Holding {
        path: Path,
        number: RequestNumber,
        until: u64,
    },
}

/// The program of one client: a few things at a time.
#[derive(Debug)]
pub(super) struct Program {
    random: Random,
    slots: Vec<Slot>,
    /// Mean time between two things, in microseconds.
    pace_us: u64,
    /// Mean time for which a lock is held, in microseconds.
    hold_us: u64,
    draining: bool,
}

impl Program {
    /// Starts a program.
    #[must_use]
    pub(super) fn new(mut random: Random, now: u64) -> Self {
        let slots = random.between(1, 6);
        let pace_us = random.between(2_000, 200_000);
        let hold_us = random.between(1_000, 800_000);
        let slots = (0..slots)
            .map(|_| Slot::Idle {
                until: now + random.around(pace_us),
            })
            .collect();
        Self {
            random,
            slots,
            pace_us,
            hold_us,
            draining: false,
        }
    }

    /// The session is a new one: everything begins again.
    pub(super) fn restart(&mut self, now: u64) {
        for slot in &mut self.slots {
            *slot = Slot::Idle {
                until: now + self.random.around(self.pace_us),
            };
        }
    }

    /// Begins nothing new, and gives back what is held and what will still be granted.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Tells whether there is nothing under way and nothing held.
    #[must_use]
    pub(super) fn is_quiet(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| matches!(slot, Slot::Idle { .. }))
    }

    /// Returns when there is something to do.
    #[must_use]
    pub(super) fn due(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| match slot {
                Slot::Idle { until } if !self.draining => *until,
                Slot::Idle { .. } | Slot::Starting => u64::MAX,
                Slot::Calling { give_up_at, .. } => *give_up_at,
                Slot::Holding { .. } if self.draining => 0,
                Slot::Holding { until, .. } => *until,
            })
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Returns what is to be done now.
    pub(super) fn deeds(&mut self, now: u64, knowledge: &Knowledge) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for place in 0..self.slots.len() {
            match &self.slots[place] {
                Slot::Idle { until } if *until <= now && !self.draining => {
                    let call = invent(&mut self.random, knowledge);
                    self.slots[place] = Slot::Starting;
                    deeds.push(Deed::Call(place, call));
                }
                Slot::Calling { id, give_up_at } if *give_up_at <= now => {
                    deeds.push(Deed::Abandon(*id));
                    self.rest(place, now);
                }
                Slot::Holding {
                    path,
                    number,
                    until,
                } if *until <= now || self.draining => {
                    let call = Call::Release {
                        path: path.clone(),
                        number: *number,
                    };
                    self.slots[place] = Slot::Starting;
                    deeds.push(Deed::Call(place, call));
                }
                _ => {}
            }
        }
        deeds
    }

    /// A deed has become this call. Returns how long the session may take for it; its own clock says
    /// `reading`.
    pub(super) fn called(
        &mut self,
        place: usize,
        id: CallId,
        call: &Call,
        (now, reading): (u64, Moment),
    ) -> Patience {
        let impatient = matches!(call, Call::Acquire(_)) && self.random.chance(200);
        let give_up_at = if impatient {
            now + self.random.around(2_000_000)
        } else {
            u64::MAX
        };
        // Some leave it to the session to give up in time, the others do it themselves.
        let (give_up_at, deadline_us) = match (impatient, id.0 % 5) {
            (true, 0..3) => (u64::MAX, Some(give_up_at - now)),
            (false, 0) => (u64::MAX, Some((1 + id.0 % 12) * 100_000)),
            _ => (give_up_at, None),
        };
        self.slots[place] = Slot::Calling { id, give_up_at };
        deadline_us.map_or(Patience::FOR_EVER, |micros| {
            Patience::until(reading.after(Duration::from_micros(micros)))
        })
    }

    /// A call is over.
    pub(super) fn completed(
        &mut self,
        now: u64,
        id: CallId,
        call: &Call,
        outcome: &Outcome,
        knowledge: &mut Knowledge,
    ) {
        knowledge.learn(call, outcome);
        let Some(place) = self
            .slots
            .iter()
            .position(|slot| matches!(slot, Slot::Calling { id: mine, .. } if *mine == id))
        else {
            return;
        };
        match (call, outcome) {
            (
                Call::Acquire(acquire),
                Outcome::Done {
                    number,
                    response: Response::Acquired { .. },
                },
            ) => {
                self.slots[place] = Slot::Holding {
                    path: acquire.path.clone(),
                    number: *number,
                    until: now + self.random.around(self.hold_us),
                };
            }
            _ => self.rest(place, now),
        }
    }

    fn rest(&mut self, place: usize, now: u64) {
        self.slots[place] = Slot::Idle {
            until: now + self.random.around(self.pace_us),
        };
    }
}
