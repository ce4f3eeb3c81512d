//! The simulated world: machines, clocks, network, checkers, and the loop that moves time.
//!
//! One thread, one source of chance, one queue of events: the same seed gives the same run, which
//! the fingerprint of the run shows. Nothing in here may iterate over a hash map, read a clock or
//! ask the machine it runs on for anything.

use super::agenda::Agenda;
use super::caller::Caller;
use super::faults::Ending;
use super::guest::Guest;
use super::host::{Host, incarnation};
use super::judgement::Checkers;
use super::knowledge::Knowledge;
use super::network::{Arrival, ConnectionKey, Machine, Network, Parcel};
use super::operator::Operator;
use super::profile::{Choices, Profile};
use super::random::Random;
use super::tally::Tally;
use crate::checkers::{Verdict, Violation};
use cotter_cell::{Cell, Genesis, Voter};
use cotter_replica::StreamId;
use cotter_session::ConnectionId;
use cotter_types::{CellId, ReplicaId};

/// Something that will happen.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most events are arrivals, and a box for each would cost more than the room"
)]
pub(super) enum Event {
    /// A replica looks at its inbox and its timers.
    HostTurn { host: usize, life: u32 },
    /// A replica's flush is done.
    HostRelease { host: usize, life: u32 },
    /// A replica's pause is over.
    HostResume { host: usize, life: u32 },
    /// A dead replica starts again.
    HostStart { host: usize },
    /// A checkpoint of a replica is written and read back.
    CheckpointWritten {
        host: usize,
        life: u32,
        cell: Box<Cell>,
        source: Option<ReplicaId>,
    },
    /// Two replicas try to connect.
    PairDial { low: usize, high: usize },
    /// A replica learns that its link to a peer stands.
    PeerUp {
        host: usize,
        life: u32,
        peer: usize,
        key: ConnectionKey,
    },
    /// A replica learns that its link to a peer is gone.
    PeerDown {
        host: usize,
        life: u32,
        peer: usize,
        key: ConnectionKey,
    },
    /// Something arrives.
    Arrive {
        key: ConnectionKey,
        direction: usize,
        parcel: Parcel,
    },
    /// A client's timers.
    GuestWake { guest: usize, life: u32 },
    /// A client's pause is over.
    GuestResume { guest: usize, life: u32 },
    /// A client opens a new session.
    GuestStart { guest: usize },
    /// A client's attempt to connect reaches the replica.
    Dial {
        guest: usize,
        life: u32,
        connection: ConnectionId,
        host: usize,
    },
    /// The client learns what came of it.
    Dialled {
        guest: usize,
        life: u32,
        connection: ConnectionId,
        key: Option<ConnectionKey>,
    },
    /// A client learns that its stream is broken.
    GuestBroken {
        guest: usize,
        life: u32,
        connection: ConnectionId,
    },
    /// A replica learns that a stream is broken.
    HostBroken {
        host: usize,
        life: u32,
        stream: StreamId,
    },
    /// A caller's timer is over.
    CallerWake { caller: usize, turn: u64 },
    /// A connection breaks because a way has been cut for long.
    Starve { key: ConnectionKey },
    /// A replica loses its peers.
    Isolate { host: usize },
    /// A link between two replicas breaks, and will break so many times more.
    Flap { low: usize, high: usize, left: u64 },
    /// A proposal of long ago reaches a replica.
    Stray { to: usize },
    /// Whoever runs the cell looks at it.
    Operator,
    /// The next fault.
    Fault,
    /// A fault ends.
    FaultEnds(Ending),
}

/// Who uses a connection, by machine and life, so that the dead receive nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Two replicas.
    Peers {
        low: (usize, u32),
        high: (usize, u32),
    },
    /// A client's stream.
    Stream {
        guest: (usize, u32),
        connection: ConnectionId,
        host: (usize, u32),
        stream: StreamId,
    },
    /// A call of the simple interface.
    Call {
        caller: (usize, u64),
        host: (usize, u32),
    },
}

/// A link between two replicas, over all its connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub(super) current: Option<ConnectionKey>,
    pub(super) dialling: bool,
}

/// One run.
pub(super) struct World {
    pub(super) profile: Profile,
    pub(super) agenda: Agenda<Event>,
    pub(super) network: Network,
    pub(super) hosts: Vec<Host>,
    pub(super) guests: Vec<Guest>,
    pub(super) callers: Vec<Caller>,
    pub(super) purposes: Vec<Purpose>,
    pub(super) pairs: Vec<Pair>,
    pub(super) checkers: Checkers,
    pub(super) knowledge: Knowledge,
    pub(super) genesis: Genesis,
    pub(super) random: Random,
    pub(super) operator: Operator,
    pub(super) tally: Tally,
    /// Past this point nothing fails any more.
    pub(super) healed: bool,
    pub(super) trace: bool,
    fingerprint: u64,
    events: u64,
}

impl World {
    /// Builds the world of a seed.
    ///
    /// # Errors
    /// A replica does not start on an empty disk.
    pub(super) fn new(seed: u64, choices: Choices, trace: bool) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let profile = Profile::draw(&mut random, choices);
        let clients = profile.replicas + profile.guests + 1;
        let machines = clients + profile.callers;
        let genesis = Genesis {
            cell_id: CellId(random.bits()),
            cell: "cell".to_owned(),
            token_floor: 1_700_000_000_000_000,
            voters: (0..profile.replicas)
                .map(|place| Voter {
                    id: Self::replica_id(place),
                    incarnation: incarnation(place),
                })
                .collect(),
        };
        let network = Network::new(machines, profile.replicas, random.fork());
        let checkers = Checkers::new(&genesis, choices.linearizability_alone);
        let hosts = (0..profile.replicas)
            .map(|place| Host::new(place, &genesis, &profile, &mut random))
            .collect();
        let guests = (0..=profile.guests)
            .map(|place| Guest::new(place, profile.replicas + place, &profile, &mut random))
            .collect();
        let callers = (0..profile.callers)
            .map(|place| Caller::new(clients + place, profile.lease_ms, &mut random))
            .collect();
        let mut world = Self {
            agenda: Agenda::new(),
            network,
            hosts,
            guests,
            callers,
            purposes: Vec::new(),
            pairs: vec![Pair::default(); profile.replicas * profile.replicas],
            checkers,
            knowledge: Knowledge::new(profile.locks, profile.nodes),
            genesis,
            random,
            operator: Operator::new(seed, profile.replicas),
            tally: Tally::default(),
            healed: false,
            trace,
            fingerprint: 0xcbf2_9ce4_8422_2325,
            events: 0,
            profile,
        };
        world.begin()?;
        Ok(world)
    }

    fn begin(&mut self) -> Verdict {
        let profile = self.profile.clone();
        self.note(|| format!("{profile:?}"));
        for host in 0..self.profile.replicas {
            self.start_host(host)?;
        }
        for low in 0..self.profile.replicas {
            for high in low + 1..self.profile.replicas {
                self.dial_pair_later(low, high, 1_000);
            }
        }
        for guest in 0..self.profile.guests {
            let delay = self.random.between(0, 1_500_000);
            self.agenda.after(delay, Event::GuestStart { guest });
        }
        for caller in 0..self.profile.callers {
            let delay = self.random.between(0, 1_500_000);
            self.caller_later(caller, delay);
        }
        let pace = self.profile.fault_pace_us;
        let first = 500_000 + self.random.around(pace);
        self.agenda.after(first, Event::Fault);
        self.operator_later();
        Ok(())
    }

    /// Lets time pass until `until`, or until something is wrong.
    ///
    /// # Errors
    /// What a checker saw.
    pub(super) fn run_until(&mut self, until: u64) -> Verdict {
        while let Some(event) = self.agenda.next(until) {
            self.events += 1;
            self.handle(event)?;
        }
        Ok(())
    }

    /// Returns the true time.
    #[must_use]
    pub(super) fn now(&self) -> u64 {
        self.agenda.now()
    }

    /// Returns a number that two runs share only if they were the same.
    #[must_use]
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Returns the counts of this run.
    #[must_use]
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        tally.simulated_us = self.now();
        tally.events = self.events;
        tally.entries = self.checkers.history.length() as u64;
        tally.mutations = self.checkers.once.acknowledged();
        tally.queries = self.checkers.order.queries();
        tally.grants = self.checkers.locks.grants();
        tally.expiries = self.checkers.truth.expiries();
        [
            tally.numbered,
            tally.transactions,
            tally.transactions_refused,
            tally.expired_nodes,
        ] = self.checkers.nodes.counts();
        tally.calls_told = self.checkers.calls.count();
        tally.statements = self.checkers.masters.statements();
        tally
    }

    fn handle(&mut self, event: Event) -> Verdict {
        match event {
            Event::HostTurn { host, life } => self.host_turn(host, life),
            Event::HostRelease { host, life } => self.host_release(host, life),
            Event::HostResume { host, life } => self.host_resume(host, life),
            Event::HostStart { host } => self.start_host(host),
            Event::CheckpointWritten {
                host,
                life,
                cell,
                source,
            } => {
                self.checkpoint_written(host, life, (cell, source));
                Ok(())
            }
            Event::PairDial { low, high } => {
                self.dial_pair(low, high);
                Ok(())
            }
            Event::PeerUp {
                host,
                life,
                peer,
                key,
            } => {
                self.peer_up(host, life, peer, key);
                Ok(())
            }
            Event::PeerDown {
                host,
                life,
                peer,
                key,
            } => {
                self.peer_down(host, life, peer, key);
                Ok(())
            }
            Event::Arrive {
                key,
                direction,
                parcel,
            } => self.arrive(key, direction, parcel),
            Event::GuestWake { guest, life } => self.guest_wake(guest, life),
            Event::GuestResume { guest, life } => self.guest_resume(guest, life),
            Event::GuestStart { guest } => self.start_guest(guest),
            Event::Dial {
                guest,
                life,
                connection,
                host,
            } => {
                self.dial(guest, life, connection, host);
                Ok(())
            }
            Event::Dialled {
                guest,
                life,
                connection,
                key,
            } => self.dialled(guest, life, connection, key),
            Event::GuestBroken {
                guest,
                life,
                connection,
            } => self.guest_broken(guest, life, connection),
            Event::HostBroken { host, life, stream } => {
                self.host_broken(host, life, stream);
                Ok(())
            }
            Event::CallerWake { caller, turn } => {
                self.caller_wakes(caller, turn);
                Ok(())
            }
            Event::Starve { key } => {
                self.starve(key);
                Ok(())
            }
            Event::Isolate { host } => {
                self.isolate(host);
                Ok(())
            }
            Event::Flap { low, high, left } => {
                self.flap_on(low, high, left);
                Ok(())
            }
            Event::Stray { to } => {
                self.stray_to(to);
                Ok(())
            }
            Event::Operator => {
                self.operator_looks();
                Ok(())
            }
            Event::Fault => self.fault(),
            Event::FaultEnds(ending) => {
                self.fault_ends(&ending);
                Ok(())
            }
        }
    }

    fn arrive(&mut self, key: ConnectionKey, direction: usize, parcel: Parcel) -> Verdict {
        if !self.network.arrives(self.now(), key) {
            return Ok(());
        }
        match (self.purposes[key.0], parcel) {
            (
                Purpose::Peers { low, high },
                Parcel::Peer {
                    boot,
                    sequence,
                    message,
                },
            ) => {
                let (from, to) = if direction == 0 {
                    (low, high)
                } else {
                    (high, low)
                };
                self.peer_arrives(from.0, to, (boot, sequence), message);
                Ok(())
            }
            (Purpose::Stream { host, stream, .. }, Parcel::Up(frame)) => {
                self.frame_arrives(host, stream, frame);
                Ok(())
            }
            (Purpose::Call { host, .. }, Parcel::Ask(call)) => {
                self.call_arrives(host, key, call);
                Ok(())
            }
            (Purpose::Call { caller, .. }, Parcel::Told(answer)) => {
                self.network.break_connection(self.now(), key, 0);
                self.caller_told(caller.0, caller.1, &answer)
            }
            (Purpose::Stream { host, stream, .. }, Parcel::End) if direction == 0 => {
                self.network.break_connection(self.now(), key, 0);
                self.host_broken(host.0, host.1, stream);
                Ok(())
            }
            (
                Purpose::Stream {
                    guest, connection, ..
                },
                Parcel::Down(frame),
            ) => self.frame_for_guest(guest, connection, frame),
            (
                Purpose::Stream {
                    guest, connection, ..
                },
                Parcel::End,
            ) => {
                self.network.break_connection(self.now(), key, 0);
                self.guest_broken(guest.0, guest.1, connection)
            }
            _ => Ok(()),
        }
    }

    /// Puts something on a connection.
    pub(super) fn send(&mut self, key: ConnectionKey, direction: usize, parcel: Parcel) {
        let arrivals = self.network.send(self.now(), key, direction, parcel);
        self.schedule(arrivals.into_iter().flatten());
    }

    /// Schedules what is under way.
    pub(super) fn schedule(&mut self, arrivals: impl IntoIterator<Item = Arrival>) {
        for Arrival {
            at,
            connection,
            direction,
            parcel,
        } in arrivals
        {
            self.agenda.at(
                at,
                Event::Arrive {
                    key: connection,
                    direction,
                    parcel,
                },
            );
        }
    }

    /// Adds a line to the trace; the text is only made when it is wanted.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>13.6} {}", self.now() as f64 / 1e6, text());
        }
    }

    /// Mixes something that happened into the fingerprint of the run.
    pub(super) fn mark(&mut self, kind: u64, what: u64) {
        for word in [kind, what, self.agenda.now()] {
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x0100_0000_01b3);
            self.fingerprint ^= self.fingerprint >> 29;
        }
    }

    /// Searches what the clients were told so far (`checkers::linearizability`).
    pub(super) fn check_linearizability(&mut self) -> Verdict {
        let searched = self.checkers.witness.check(self.now())?;
        self.tally.linearized += searched.passed;
        self.tally.unknown += searched.unknown;
        self.tally.searched += searched.operations;
        self.tally.set_aside += searched.aside;
        Ok(())
    }

    /// Returns the replica's name in traces.
    pub(super) fn host_name(&self, host: usize) -> String {
        format!("replica {}", host + 1)
    }

    /// Returns the replica that listens at an address.
    pub(super) fn host_at(&self, address: &str) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.client_address() == address)
    }

    /// Returns the machine of a replica; replicas come first.
    pub(super) fn host_machine(&self, host: usize) -> Machine {
        host
    }

    pub(super) fn replica_id(host: usize) -> ReplicaId {
        ReplicaId(host as u64 + 1)
    }
}
