//! What the simulated clients do: small random programs over a few paths, so that they meet.

use super::random::Random;
use cotter_session::{Call, CallId, Outcome};
use cotter_types::{
    Acquire, Contents, Create, Delete, Lifetime, LockMode, Mutation, NodeStat, Path, Query,
    QueryResponse, RequestNumber, Response, Sequencer, SessionId, Set, Wait,
};
use std::collections::{BTreeMap, VecDeque};

/// What all clients know together, so that they compare and check what others did.
#[derive(Debug)]
pub(super) struct Knowledge {
    /// Paths that are locked, and sometimes deleted.
    pub(super) locks: Vec<Path>,
    /// Paths that are written.
    pub(super) nodes: Vec<Path>,
    stats: BTreeMap<Path, NodeStat>,
    sequencers: VecDeque<Sequencer>,
}

impl Knowledge {
    /// Chooses the paths of a run.
    #[must_use]
    pub(super) fn new(locks: usize, nodes: usize) -> Self {
        let path = |text: String| Path::parse(&text).expect("a path written here is valid");
        Self {
            locks: (0..locks)
                .map(|number| match number % 3 {
                    2 => path(format!("/ls/local/jobs/lock{number}")),
                    _ => path(format!("/ls/local/lock{number}")),
                })
                .collect(),
            nodes: (0..nodes)
                .map(|number| match number % 3 {
                    0 => path(format!("/ls/local/node{number}")),
                    _ => path(format!("/ls/local/tree/node{number}")),
                })
                .collect(),
            stats: BTreeMap::new(),
            sequencers: VecDeque::new(),
        }
    }

    fn learn(&mut self, call: &Call, outcome: &Outcome) {
        let stat = match outcome {
            Outcome::Done {
                response: Response::Created { stat, .. } | Response::Written { stat },
                ..
            }
            | Outcome::Found(QueryResponse::Node { stat, .. } | QueryResponse::Stat { stat, .. }) => {
                stat
            }
            Outcome::Done {
                response: Response::Acquired { sequencer, .. },
                ..
            } => {
                self.sequencers.push_back(sequencer.clone());
                if self.sequencers.len() > 8 {
                    self.sequencers.pop_front();
                }
                return;
            }
            _ => return,
        };
        if let Some(path) = path_of(call) {
            self.stats.insert(path.clone(), stat.clone());
        }
    }
}

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
                    let call = self.invent(knowledge);
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

    /// A deed has become this call.
    pub(super) fn called(&mut self, place: usize, id: CallId, call: &Call, now: u64) {
        let impatient = matches!(call, Call::Acquire(_)) && self.random.chance(200);
        let give_up_at = if impatient {
            now + self.random.around(2_000_000)
        } else {
            u64::MAX
        };
        self.slots[place] = Slot::Calling { id, give_up_at };
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

    fn invent(&mut self, knowledge: &Knowledge) -> Call {
        let random = &mut self.random;
        let lock = random.pick(&knowledge.locks).clone();
        let node = if random.chance(900) {
            random.pick(&knowledge.nodes).clone()
        } else {
            lock.clone()
        };
        let known = knowledge.stats.get(&node);
        match random.below(1_000) {
            0..420 => Call::Acquire(invent_acquire(random, lock)),
            420..540 => Call::Mutate(Mutation::Create(Create {
                path: node,
                contents: Contents::from(random.below(1 << 20).to_string().as_str()),
                lifetime: if random.chance(400) {
                    Lifetime::Ephemeral
                } else {
                    Lifetime::Permanent
                },
                parents: random.chance(800),
                exclusive: random.chance(500),
            })),
            540..690 => Call::Mutate(Mutation::Set(Set {
                path: node,
                contents: Contents::from(random.bits().to_string().as_str()),
                if_content_generation: known
                    .filter(|_| random.chance(500))
                    .map(|stat| stat.content_generation),
                if_instance: known
                    .filter(|_| random.chance(200))
                    .map(|stat| stat.instance),
            })),
            690..750 => Call::Mutate(Mutation::Delete(Delete {
                recursive: random.chance(100),
                if_content_generation: known
                    .filter(|_| random.chance(300))
                    .map(|stat| stat.content_generation),
                if_instance: known
                    .filter(|_| random.chance(300))
                    .map(|stat| stat.instance),
                path: node,
            })),
            750..770 => Call::Mutate(Mutation::Unhold { path: node }),
            770..995 => Call::Query(invent_query(random, lock, node, knowledge)),
            _ => Call::Close,
        }
    }
}

fn invent_acquire(random: &mut Random, path: Path) -> Acquire {
    Acquire {
        path,
        mode: if random.chance(650) {
            LockMode::Exclusive
        } else {
            LockMode::Shared
        },
        wait: match random.below(10) {
            0..2 => Wait::No,
            2..6 => Wait::Ms(random.between(1, 4_000)),
            _ => Wait::Forever,
        },
        lock_delay_ms: if random.chance(300) {
            random.between(1, 2_000)
        } else {
            0
        },
        conflict_notice: random.chance(300),
        create: match random.below(10) {
            0..5 => Some(Lifetime::Permanent),
            5..9 => Some(Lifetime::Ephemeral),
            _ => None,
        },
    }
}

fn invent_query(random: &mut Random, lock: Path, node: Path, knowledge: &Knowledge) -> Query {
    match random.below(20) {
        0..8 => Query::Get { path: node },
        8..10 => Query::Stat { path: node },
        10..12 => Query::List {
            path: node.parent().unwrap_or_else(Path::root),
            after: String::new(),
            limit: random.below(4) as u32,
        },
        12..15 => Query::Explain { path: lock },
        15 => Query::Locks {
            within: Path::root(),
            after: None,
            limit: 0,
        },
        16 => Query::Sessions {
            after: SessionId(0),
            limit: 0,
        },
        17 => Query::Status,
        _ => match knowledge.sequencers.is_empty() {
            true => Query::Get { path: lock },
            false => Query::CheckSequencer {
                sequencer: knowledge.sequencers[random.index(knowledge.sequencers.len())].clone(),
            },
        },
    }
}

fn path_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Mutate(Mutation::Create(Create { path, .. }) | Mutation::Set(Set { path, .. }))
        | Call::Query(Query::Get { path } | Query::Stat { path }) => Some(path),
        _ => None,
    }
}
