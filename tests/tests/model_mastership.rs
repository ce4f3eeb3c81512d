//! A model of mastership (DESIGN 3.8, 4.4) in stateright, searched completely within a bound, and the
//! bugs that the search must find.
//!
//! The log is an agreed sequence: what was proposed may be put into it at any later time, in any
//! order, or never; each replica applies it at its own pace. Clocks are exact multiples of the true
//! time, and one may run at twice the rate of another, the drift that the model's protocol allows for.
//! What is left out: who leads the log, restarts, sessions and clients; the simulator has them.
//!
//! A wait counted from the moment at which a renewal was *proposed* would be safe, as the master's
//! lease is counted from there too, but no candidate can know that moment. The bug of that kind that
//! can be made is planted instead: a wait that is not begun anew when a later renewal is applied.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// The master's lease, on its own clock.
const LEASE: u8 = 2;
/// How much faster one clock may be than another.
const DRIFT: u8 = 2;

/// What must be possible, or the search shows nothing.
const FOLLOWS: &str = "a second master follows";

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    TakeOverWithoutWait,
    WaitNotBegunAnew,
    TakeOverDespiteRenewal,
    LeaseCountedFromApply,
    DriftNotAdded,
    ClockReadBeforeArrival,
    SpeaksAfterResigning,
}

/// The bounds of one search, and the bug.
#[derive(Clone, Debug)]
struct Mastership {
    replicas: u8,
    ticks: u8,
    entries: usize,
    bug: Option<Bug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Entry {
    TakeOver {
        replica: u8,
        last_seen: u8,
        /// The candidate's clock before it proposed this: its lease counts from there.
        from: u8,
    },
    Renew {
        epoch: u8,
        from: u8,
    },
    Resign {
        epoch: u8,
    },
}

/// What a prefix of the log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Standing {
    master: Option<u8>,
    epoch: u8,
    sequence: u8,
}

/// A reign, as its master sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reign {
    epoch: u8,
    until: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    rate: u8,
    applied: u8,
    standing: Standing,
    /// When the last change of mastership was applied, by its own clock.
    seen_at: u8,
    reign: Option<Reign>,
    /// When it last looked at its clock.
    looked: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u8,
    replicas: Vec<Replica>,
    log: Vec<Entry>,
    /// Proposed, and not in the log yet; ascending.
    proposed: Vec<Entry>,
    /// The latest epoch whose master could speak.
    latest: u8,
    /// A master answered a read although a later one could speak.
    stale_read: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Tick,
    Decide(usize),
    Apply(usize),
    TakeOver(usize),
    Renew(usize),
    Resign(usize),
    Read(usize),
}

impl World {
    fn clock(&self, place: usize) -> u8 {
        self.now * self.replicas[place].rate
    }

    fn may_speak(&self, place: usize) -> bool {
        let reign = self.replicas[place].reign;
        reign.is_some_and(|reign| self.clock(place) < reign.until)
    }

    fn propose(&mut self, entry: Entry) {
        let slot = self.proposed.partition_point(|other| *other < entry);
        self.proposed.insert(slot, entry);
    }
}

impl Mastership {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Tells whether a candidate may propose to take over.
    fn is_ready(&self, world: &World, place: usize) -> bool {
        let replica = &world.replicas[place];
        let wait = match self.has(Bug::DriftNotAdded) {
            true => LEASE,
            false => LEASE * DRIFT,
        };
        let free = replica
            .standing
            .master
            .is_none_or(|it| usize::from(it) == place);
        let waited = world.clock(place) >= replica.seen_at + wait;
        replica.reign.is_none() && (free || waited || self.has(Bug::TakeOverWithoutWait))
    }

    /// Applies the next entry of the log at one replica.
    fn apply(&self, world: &mut World, place: usize) {
        let clock = world.clock(place);
        let replica = &mut world.replicas[place];
        let entry = world.log[usize::from(replica.applied)];
        replica.applied += 1;
        if self.has(Bug::ClockReadBeforeArrival) {
            replica.looked = clock;
        }
        let standing = &mut replica.standing;
        let lease_from = |from| match self.has(Bug::LeaseCountedFromApply) {
            true => clock,
            false => from,
        };
        match entry {
            Entry::TakeOver {
                replica: who,
                last_seen,
                from,
            } => {
                let late = last_seen != standing.sequence;
                if late && !self.has(Bug::TakeOverDespiteRenewal) {
                    return;
                }
                standing.epoch += 1;
                standing.master = Some(who);
                let mine = usize::from(who) == place;
                let until = lease_from(from) + LEASE;
                replica.reign = (mine && clock < until).then_some(Reign {
                    epoch: standing.epoch,
                    until,
                });
            }
            Entry::Renew { epoch, from } => {
                if standing.master.is_none() || standing.epoch != epoch {
                    return;
                }
                if let Some(reign) = replica.reign.as_mut().filter(|it| it.epoch == epoch) {
                    reign.until = reign.until.max(lease_from(from) + LEASE);
                }
            }
            Entry::Resign { epoch } => {
                if standing.master.is_none() || standing.epoch != epoch {
                    return;
                }
                standing.master = None;
                replica.reign = None;
            }
        }
        replica.standing.sequence += 1;
        if !self.has(Bug::WaitNotBegunAnew) || !matches!(entry, Entry::Renew { .. }) {
            replica.seen_at = clock;
        }
    }
}

impl Model for Mastership {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let count = 1_u32 << self.replicas;
        let rate = |rates: u32, place: u8| 1 + u8::from(rates >> place & 1 == 1) * (DRIFT - 1);
        (0..count)
            .map(|rates| World {
                now: 0,
                replicas: (0..self.replicas)
                    .map(|place| Replica {
                        rate: rate(rates, place),
                        ..Replica::default()
                    })
                    .collect(),
                log: Vec::new(),
                proposed: Vec::new(),
                latest: 0,
                stale_read: false,
            })
            .collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < self.ticks {
            actions.push(Action::Tick);
        }
        actions.extend((0..world.proposed.len()).map(Action::Decide));
        let room = world.log.len() + world.proposed.len() < self.entries;
        let tries = |place: usize| {
            let mine = |it: &Entry| matches!(it, Entry::TakeOver { replica, .. } if usize::from(*replica) == place);
            world.proposed.iter().any(mine)
        };
        for (place, replica) in world.replicas.iter().enumerate() {
            if usize::from(replica.applied) < world.log.len() {
                actions.push(Action::Apply(place));
            }
            if room && self.is_ready(world, place) && !tries(place) {
                actions.push(Action::TakeOver(place));
            }
            if replica.reign.is_none() {
                continue;
            }
            actions.push(Action::Read(place));
            if room && world.may_speak(place) {
                actions.extend([Action::Renew(place), Action::Resign(place)]);
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Tick => world.now += 1,
            Action::Decide(at) => {
                let entry = world.proposed.remove(at);
                world.log.push(entry);
            }
            Action::Apply(place) => self.apply(&mut world, place),
            Action::TakeOver(place) => {
                let entry = Entry::TakeOver {
                    replica: u8::try_from(place).ok()?,
                    last_seen: world.replicas[place].standing.sequence,
                    from: world.clock(place),
                };
                world.propose(entry);
            }
            Action::Renew(place) => {
                let (epoch, from) = (world.replicas[place].reign?.epoch, world.clock(place));
                world.propose(Entry::Renew { epoch, from });
            }
            Action::Resign(place) => {
                let epoch = world.replicas[place].reign?.epoch;
                world.propose(Entry::Resign { epoch });
                if !self.has(Bug::SpeaksAfterResigning) {
                    world.replicas[place].reign = None;
                }
            }
            Action::Read(place) => {
                let reign = world.replicas[place].reign?;
                let reading = match self.has(Bug::ClockReadBeforeArrival) {
                    true => world.replicas[place].looked,
                    false => world.clock(place),
                };
                if reading >= reign.until {
                    // It steps down by itself.
                    world.replicas[place].reign = None;
                } else {
                    world.stale_read |= reign.epoch < world.latest;
                }
            }
        }
        for place in 0..world.replicas.len() {
            if world.may_speak(place) {
                let epoch = world.replicas[place].reign?.epoch;
                world.latest = world.latest.max(epoch);
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one master speaks at a time", |_, world: &World| {
                let speakers = (0..world.replicas.len()).filter(|it| world.may_speak(*it));
                speakers.count() <= 1
            }),
            Property::always(
                "no read is answered after another could",
                |_, world: &World| !world.stale_read,
            ),
            Property::sometimes(FOLLOWS, |_, world: &World| world.latest >= 2),
        ]
    }
}

/// Returns the safety properties that a search refutes, and the states it saw.
fn refuted(model: Mastership) -> (Vec<&'static str>, usize) {
    let (replicas, bug) = (model.replicas, model.bug);
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let mut refuted: Vec<&'static str> = checker.discoveries().into_keys().collect();
    let states = checker.unique_state_count();
    let follows = refuted.contains(&FOLLOWS);
    assert!(
        follows || bug.is_some(),
        "no second master follows: nothing is shown"
    );
    refuted.retain(|name| *name != FOLLOWS);
    println!("{replicas} replicas, {bug:?}: {states} states, refuted: {refuted:?}");
    (refuted, states)
}

fn model(replicas: u8, bug: Option<Bug>) -> Mastership {
    let (ticks, entries) = match replicas {
        2 => (3, 3),
        _ => (3, 2),
    };
    Mastership {
        replicas,
        ticks,
        entries,
        bug,
    }
}

#[test]
fn mastership_has_no_counterexample_within_the_bound() {
    for replicas in [2, 3] {
        let (found, states) = refuted(model(replicas, None));
        assert_eq!(found, Vec::<&str>::new(), "{replicas} replicas");
        assert!(states > 1_000, "{states} states are no search");
    }
}

#[test]
fn each_planted_bug_of_mastership_is_found() {
    for bug in [
        Bug::TakeOverWithoutWait,
        Bug::WaitNotBegunAnew,
        Bug::TakeOverDespiteRenewal,
        Bug::LeaseCountedFromApply,
        Bug::DriftNotAdded,
        Bug::ClockReadBeforeArrival,
        Bug::SpeaksAfterResigning,
    ] {
        let (found, _) = refuted(model(2, Some(bug)));
        assert!(!found.is_empty(), "{bug:?} was not found");
    }
}
