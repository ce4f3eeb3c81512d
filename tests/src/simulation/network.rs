//! Wires, pipes and connections between machines.
//!
//! A *wire* is the way from one machine to another in one direction: it has a latency and can be
//! cut. A *connection* is a pair of *pipes*, one each way, and keeps order like TCP does: what is
//! sent over a cut wire waits in the pipe until the wire is whole again or the connection breaks,
//! and when it breaks, what had not arrived by then is lost. Between replicas a message can also be
//! lost without a break: consensus is told that what cannot be sent is dropped.

use super::random::Random;
use cotter_replica::PeerMessage;
use cotter_types::{Call, CallAnswer, ClientFrame, ServerFrame};
use std::collections::VecDeque;

/// A machine: replicas first, then clients.
pub(super) type Machine = usize;

/// Names a connection for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionKey(pub usize);

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    /// A message between replicas in its envelope.
    Peer {
        /// Boot number of the sender.
        boot: u64,
        /// Rises with every message of this boot to this peer.
        sequence: u64,
        /// The message.
        message: PeerMessage,
    },
    /// A client's frame.
    Up(ClientFrame),
    /// A replica's frame.
    Down(ServerFrame),
    /// A call of the simple interface.
    Ask(Call),
    /// Its answer.
    Told(CallAnswer),
    /// The sender has closed the connection, after what it sent before.
    End,
}

/// One direction between two machines.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// Least time that anything takes, in microseconds.
    pub(super) latency_us: u64,
    /// Up to so much more by chance, in microseconds.
    pub(super) jitter_us: u64,
    /// So much more for now, in microseconds.
    pub(super) spike_us: u64,
    /// How many faults have cut it.
    pub(super) cuts: u32,
    /// In a thousand, how often the network delivers twice.
    pub(super) duplicates_per_mille: u64,
    /// In a thousand, how often a message between replicas is lost without anybody noticing.
    pub(super) loss_per_mille: u64,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Where it comes from.
    pub(super) from: Machine,
    /// Where it goes.
    pub(super) to: Machine,
    backlog: VecDeque<Parcel>,
    last_arrival: u64,
}

/// A pair of pipes.
#[derive(Debug)]
pub(super) struct Connection {
    /// From the machine that opened it (the lower of two replicas), and back.
    pub(super) pipes: [Pipe; 2],
    /// What arrives later than this is lost; the far future while the connection stands.
    alive_until: u64,
}

impl Connection {
    /// Tells whether it stands.
    #[must_use]
    pub(super) fn stands(&self) -> bool {
        self.alive_until == u64::MAX
    }
}

/// Something that arrives at some time.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When.
    pub(super) at: u64,
    /// On which connection.
    pub(super) connection: ConnectionKey,
    /// In which direction: 0 from the opener, 1 to it.
    pub(super) direction: usize,
    /// What.
    pub(super) parcel: Parcel,
}

/// All wires and connections.
#[derive(Debug)]
pub(super) struct Network {
    machines: usize,
    wires: Vec<Wire>,
    connections: Vec<Connection>,
    random: Random,
}

impl Network {
    /// Lays wires between all machines; the first `replicas` of them stand close together.
    #[must_use]
    pub(super) fn new(machines: usize, replicas: usize, mut random: Random) -> Self {
        let near = random.between(50, 2_000);
        let far = *random.pick(&[1_000, 5_000, 20_000, 60_000]);
        let wires = (0..machines * machines)
            .map(|place| {
                let peers = place / machines < replicas && place % machines < replicas;
                let latency_us = random.between(20, if peers { near } else { far });
                Wire {
                    latency_us,
                    jitter_us: latency_us / 4,
                    spike_us: 0,
                    cuts: 0,
                    duplicates_per_mille: 0,
                    loss_per_mille: 0,
                }
            })
            .collect();
        Self {
            machines,
            wires,
            connections: Vec::new(),
            random,
        }
    }

    /// Returns a wire.
    #[must_use]
    pub(super) fn wire(&self, from: Machine, to: Machine) -> &Wire {
        &self.wires[from * self.machines + to]
    }

    /// Returns a wire to change it. A cut is taken away with [`Network::mend`].
    pub(super) fn wire_mut(&mut self, from: Machine, to: Machine) -> &mut Wire {
        &mut self.wires[from * self.machines + to]
    }

    /// Tells whether nothing can be sent between two machines in one direction or the other.
    #[must_use]
    pub(super) fn is_cut(&self, one: Machine, other: Machine) -> bool {
        self.wire(one, other).cuts > 0 || self.wire(other, one).cuts > 0
    }

    /// Draws how long something takes now.
    pub(super) fn travel(&mut self, from: Machine, to: Machine) -> u64 {
        let wire = &self.wires[from * self.machines + to];
        wire.latency_us + wire.spike_us + self.random.between(0, wire.jitter_us)
    }

    /// Opens a connection on which nothing arrives at its ends before these times.
    pub(super) fn open(
        &mut self,
        opener: Machine,
        other: Machine,
        opener_from: u64,
        other_from: u64,
    ) -> ConnectionKey {
        let pipe = |from, to, last_arrival| Pipe {
            from,
            to,
            backlog: VecDeque::new(),
            last_arrival,
        };
        self.connections.push(Connection {
            pipes: [
                pipe(opener, other, other_from),
                pipe(other, opener, opener_from),
            ],
            alive_until: u64::MAX,
        });
        ConnectionKey(self.connections.len() - 1)
    }

    /// Returns a connection.
    #[must_use]
    pub(super) fn connection(&self, key: ConnectionKey) -> &Connection {
        &self.connections[key.0]
    }

    /// Sends something. What comes of it, once or twice, is to be scheduled.
    pub(super) fn send(
        &mut self,
        now: u64,
        key: ConnectionKey,
        direction: usize,
        parcel: Parcel,
    ) -> [Option<Arrival>; 2] {
        let connection = &self.connections[key.0];
        if !connection.stands() {
            return [None, None];
        }
        let (from, to) = (
            connection.pipes[direction].from,
            connection.pipes[direction].to,
        );
        if self.wire(from, to).cuts > 0 {
            self.connections[key.0].pipes[direction]
                .backlog
                .push_back(parcel);
            return [None, None];
        }
        let loss = self.wire(from, to).loss_per_mille;
        if loss > 0 && matches!(parcel, Parcel::Peer { .. }) && self.random.chance(loss) {
            return [None, None];
        }
        let twice = matches!(parcel, Parcel::Peer { .. })
            && self.wire(from, to).duplicates_per_mille > 0
            && {
                let per_mille = self.wire(from, to).duplicates_per_mille;
                self.random.chance(per_mille)
            };
        let second = twice.then(|| {
            let at = now + self.travel(from, to) * 3;
            Arrival {
                at,
                connection: key,
                direction,
                parcel: parcel.clone(),
            }
        });
        let at = now + self.travel(from, to);
        let pipe = &mut self.connections[key.0].pipes[direction];
        pipe.last_arrival = pipe.last_arrival.max(at);
        let first = Arrival {
            at: pipe.last_arrival,
            connection: key,
            direction,
            parcel,
        };
        [Some(first), second]
    }

    /// Tells whether something that arrives now on this connection is not lost.
    #[must_use]
    pub(super) fn arrives(&self, now: u64, key: ConnectionKey) -> bool {
        now <= self.connections[key.0].alive_until
    }

    /// Breaks a connection; what would have arrived within the next `grace` microseconds still does.
    /// Returns false if it was broken before.
    pub(super) fn break_connection(&mut self, now: u64, key: ConnectionKey, grace: u64) -> bool {
        let connection = &mut self.connections[key.0];
        if !connection.stands() {
            return false;
        }
        connection.alive_until = now + grace;
        for pipe in &mut connection.pipes {
            pipe.backlog.clear();
        }
        true
    }

    /// Returns the standing connections that use a wire in either direction.
    #[must_use]
    pub(super) fn connections_between(&self, one: Machine, other: Machine) -> Vec<ConnectionKey> {
        self.standing(|pipe| {
            (pipe.from == one && pipe.to == other) || (pipe.from == other && pipe.to == one)
        })
    }

    /// Returns the standing connections of a machine.
    #[must_use]
    pub(super) fn connections_of(&self, machine: Machine) -> Vec<ConnectionKey> {
        self.standing(|pipe| pipe.from == machine || pipe.to == machine)
    }

    /// Takes one cut away from a wire. Returns what had waited, if that was the last one.
    pub(super) fn mend(&mut self, now: u64, from: Machine, to: Machine) -> Vec<Arrival> {
        let wire = self.wire_mut(from, to);
        wire.cuts = wire.cuts.saturating_sub(1);
        if wire.cuts > 0 {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        for place in 0..self.connections.len() {
            for direction in 0..2 {
                let pipe = &mut self.connections[place].pipes[direction];
                if pipe.from != from || pipe.to != to {
                    continue;
                }
                let backlog = std::mem::take(&mut pipe.backlog);
                for parcel in backlog {
                    let sent = self.send(now, ConnectionKey(place), direction, parcel);
                    arrivals.extend(sent.into_iter().flatten());
                }
            }
        }
        arrivals
    }

    fn standing(&self, uses: impl Fn(&Pipe) -> bool) -> Vec<ConnectionKey> {
        self.connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| connection.stands() && uses(&connection.pipes[0]))
            .map(|(place, _)| ConnectionKey(place))
            .collect()
    }
}
