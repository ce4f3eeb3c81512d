//! A simulated machine with a replica on it.
//!
//! A turn is what the real driver does: drain the inbox, read the clock, handle all, end the turn.
//! Ending it takes time when something had to be flushed, and what the turn produced leaves only
//! then. A machine can die anywhere in between.

use super::clock::Clock;
use super::disk::{Disk, FlushDeath, SharedLog};
use super::network::{ConnectionKey, Parcel};
use super::profile::Profile;
use super::random::Random;
use super::world::{Event, World};
use crate::checkers::{Masters, Verdict, Violation};
use cotter_cell::{Batch, Command, Entry, Genesis};
use cotter_replica::{
    FEATURE_LEVEL_MAX, Fault, Input, Member, Output, Payload, PeerMessage, Replica, ReplicaConfig,
    StreamId, Timing,
};
use cotter_types::{ClientFrame, Epoch, ReplicaId, ServerFrame, SessionId};
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::{PaxosMessage, PaxosMsg};
use std::collections::{BTreeMap, VecDeque};

/// Inputs that one turn takes at most.
const INPUTS_PER_TURN_MAX: usize = 256;

/// Where in its next turn a replica dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnDeath {
    /// When the inputs are handled and nothing is flushed.
    Handled,
    /// At the flush.
    Flush(FlushDeath),
    /// When all is flushed and nothing is sent.
    Unsent,
}

/// A machine with a replica on it.
pub(super) struct Host {
    place: usize,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    boot: u64,
    pub(super) life: u32,
    pub(super) running: Option<Running>,
    pub(super) paused: bool,
    flush_us: u64,
    /// While not 0, flushes take up to so much longer.
    pub(super) slow_flush_us: u64,
    wall_offset_ms: u64,
    members: Vec<Member>,
    random: Random,
}

/// A replica's process.
pub(super) struct Running {
    pub(super) replica: Replica<SharedLog>,
    pub(super) log: SharedLog,
    inbox: VecDeque<Input>,
    outbox: Vec<Output>,
    busy: bool,
    turn_at: u64,
    links: BTreeMap<usize, ConnectionKey>,
    seen: BTreeMap<usize, (u64, u64)>,
    sent: BTreeMap<usize, u64>,
    streams: BTreeMap<StreamId, HostStream>,
    next_stream: u64,
    observed: usize,
    log_seen: usize,
    pub(super) death: Option<TurnDeath>,
    pub(super) retired: bool,
}

#[derive(Debug)]
struct HostStream {
    key: ConnectionKey,
    /// The sessions attached, by what was said on the stream.
    attached: Vec<SessionId>,
}

impl Host {
    pub(super) fn new(
        place: usize,
        genesis: &Genesis,
        profile: &Profile,
        random: &mut Random,
    ) -> Self {
        let rate = random_rate(random);
        Self {
            place,
            clock: Clock::new(0, random.between(0, 1 << 40), rate),
            disk: Disk::new(genesis.cell_id, random.bits(), profile.segment_bytes),
            boot: 0,
            life: 0,
            running: None,
            paused: false,
            flush_us: profile.flush_us,
            slow_flush_us: 0,
            wall_offset_ms: 1_700_000_000_000 + random.between(0, 1 << 32),
            members: (0..profile.replicas)
                .map(|place| Member {
                    id: World::replica_id(place),
                    client_address: format!("replica-{}:7400", place + 1),
                    peer_address: format!("replica-{}:7500", place + 1),
                })
                .collect(),
            random: random.fork(),
        }
    }

    pub(super) fn client_address(&self) -> &str {
        &self.members[self.place].client_address
    }

    pub(super) fn is_master(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.replica.is_master())
    }

    fn flush_time(&mut self, flushes: u64) -> u64 {
        let mut time = 0;
        for _ in 0..flushes {
            time += self.flush_us + self.random.between(0, self.flush_us);
            if self.slow_flush_us > 0 {
                time += self.random.between(0, self.slow_flush_us);
            }
        }
        time
    }
}

impl Running {
    fn reigns(&self) -> Option<Epoch> {
        self.replica
            .is_master()
            .then(|| self.replica.cell().mastership().epoch)
    }
}

/// Draws a clock's rate: mostly close to the truth, sometimes at the edge of what is allowed.
pub(super) fn random_rate(random: &mut Random) -> i64 {
    let most = super::clock::RATE_PPM_MAX.unsigned_abs();
    let size = match random.below(3) {
        0 => 0,
        1 => random.between(0, most),
        _ => most,
    };
    let size = i64::try_from(size).unwrap_or(0);
    if random.chance(500) { size } else { -size }
}

impl World {
    pub(super) fn start_host(&mut self, place: usize) -> Verdict {
        let now = self.now();
        let name = self.host_name(place);
        let genesis = self.genesis.clone();
        let host = &mut self.hosts[place];
        if host.running.is_some() {
            return Ok(());
        }
        host.boot += 1;
        host.life += 1;
        host.paused = false;
        let log = host
            .disk
            .open()
            .map_err(|error| Violation::new("storage", format!("{name}: {error}")))?;
        let config = ReplicaConfig {
            id: Self::replica_id(place),
            members: host.members.clone(),
            boot: host.boot,
            timing: Timing::default(),
            genesis,
            version: "simulated".to_owned(),
            feature_level_max: FEATURE_LEVEL_MAX,
        };
        let replica = Replica::new(config, log.clone(), host.clock.read(now))
            .map_err(|fault| Violation::new("fault", format!("{name}: {fault}")))?;
        let log_seen = log.length();
        host.running = Some(Running {
            replica,
            log,
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            busy: false,
            turn_at: u64::MAX,
            links: BTreeMap::new(),
            seen: BTreeMap::new(),
            sent: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            observed: 0,
            log_seen,
            death: None,
            retired: false,
        });
        self.mark(1, place as u64);
        self.note(|| format!("{name} starts"));
        self.observe_host(place)?;
        self.schedule_turn(place, now);
        Ok(())
    }

    /// The replica's process dies, with its machine if `power`.
    pub(super) fn kill_host(&mut self, place: usize, power: bool) {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.running.take().is_none() {
            return;
        }
        host.paused = false;
        if power {
            let seed = host.random.bits();
            host.disk.cut_power(seed);
            let rate = random_rate(&mut host.random);
            let reading = host.random.between(0, 60_000_000);
            host.clock = Clock::new(now, reading, rate);
        } else {
            host.disk.kill();
        }
        self.mark(2, place as u64);
        self.note(|| format!("replica {} dies (power: {power})", place + 1));
        let down_for = self.random.around(1_500_000);
        self.agenda
            .after(down_for, Event::HostStart { host: place });
        for key in self.network.connections_of(self.host_machine(place)) {
            let unnoticed = power && self.random.chance(700);
            let notice = if unnoticed {
                down_for + self.random.around(3_000_000)
            } else {
                0
            };
            // What the machine had let out before it died may still arrive.
            let grace = match self.random.chance(500) {
                true => self.random.around(5_000),
                false => 0,
            };
            self.break_connection(key, grace, notice.max(grace));
        }
    }

    pub(super) fn schedule_turn(&mut self, place: usize, at: u64) {
        let at = at.max(self.now());
        let host = &mut self.hosts[place];
        let life = host.life;
        if let Some(running) = &mut host.running
            && at < running.turn_at
        {
            running.turn_at = at;
            self.agenda.at(at, Event::HostTurn { host: place, life });
        }
    }

    /// Gives a replica an input.
    pub(super) fn host_input(&mut self, place: usize, life: u32, input: Input) {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life {
            return;
        }
        if let Some(running) = &mut host.running {
            running.inbox.push_back(input);
            if !running.busy && !host.paused {
                self.schedule_turn(place, now);
            }
        }
    }

    pub(super) fn host_resume(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life || !host.paused {
            return Ok(());
        }
        host.paused = false;
        self.note(|| format!("replica {} goes on", place + 1));
        match &self.hosts[place].running {
            Some(running) if running.busy => self.host_release(place, life),
            _ => {
                self.schedule_turn(place, now);
                Ok(())
            }
        }
    }

    pub(super) fn host_turn(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life || host.paused {
            if let Some(running) = host.running.as_mut().filter(|_| host.life == life) {
                running.turn_at = u64::MAX;
            }
            return Ok(());
        }
        let Some(running) = &mut host.running else {
            return Ok(());
        };
        if running.turn_at != now {
            return Ok(());
        }
        running.turn_at = u64::MAX;
        if running.busy {
            return Ok(());
        }
        let reading = host.clock.read(now);
        let reigned = running.reigns();
        let taken = running.inbox.len().min(INPUTS_PER_TURN_MAX);
        for input in running.inbox.drain(..taken) {
            running.replica.handle(reading, input);
        }
        if running.death == Some(TurnDeath::Handled) {
            self.kill_host(place, true);
            return Ok(());
        }
        running
            .replica
            .propose(reading, host.wall_offset_ms + now / 1_000);
        let boot = host.boot;
        let mut early = Vec::new();
        while let Some(output) = running.replica.poll() {
            early.push(output);
        }
        for output in early {
            // It has left, whatever becomes of this turn.
            self.host_output(place, boot, output);
        }
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        if let Some(TurnDeath::Flush(death)) = running.death {
            running.log.die_at_flush(death);
        }
        if let Err(fault) = running.replica.end_turn(reading) {
            return self.host_fault(place, &fault);
        }
        running.log.live_on();
        self.after_turn(place, reigned, taken)
    }

    fn host_fault(&mut self, place: usize, fault: &Fault) -> Verdict {
        let name = self.host_name(place);
        let planned = self.hosts[place]
            .running
            .as_ref()
            .is_some_and(|running| matches!(running.death, Some(TurnDeath::Flush(_))));
        if planned {
            self.kill_host(place, true);
            return Ok(());
        }
        Err(Violation::new("fault", format!("{name}: {fault}")))
    }

    fn after_turn(&mut self, place: usize, reigned: Option<Epoch>, taken: usize) -> Verdict {
        let now = self.now();
        let life = self.hosts[place].life;
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        let reigns = running.reigns();
        let speaks_for = reigns.or(reigned);
        let mut outbox = Vec::new();
        while let Some(output) = running.replica.poll() {
            outbox.push(output);
        }
        let flushes = running.log.take_flushes();
        self.mark(
            3,
            (place as u64) << 32 | (taken as u64) << 16 | outbox.len() as u64,
        );
        self.observe_host(place)?;
        self.check_statements(place, speaks_for, &outbox)?;
        self.observe_proposals(place, speaks_for);
        if let Some(epoch) = reigns {
            let name = self.host_name(place);
            self.checkers.masters.may_speak(&name, epoch, now);
        }
        let time = self.hosts[place].flush_time(flushes);
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        running.outbox = outbox;
        running.busy = true;
        if time == 0 {
            return self.host_release(place, life);
        }
        self.agenda
            .at(now + time, Event::HostRelease { host: place, life });
        Ok(())
    }

    pub(super) fn host_release(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let host = &mut self.hosts[place];
        if host.life != life || host.paused {
            return Ok(());
        }
        let Some(running) = &mut host.running else {
            return Ok(());
        };
        if !running.busy {
            return Ok(());
        }
        if running.death == Some(TurnDeath::Unsent) {
            self.kill_host(place, true);
            return Ok(());
        }
        running.busy = false;
        let boot = host.boot;
        let outbox = std::mem::take(&mut running.outbox);
        let more = !running.inbox.is_empty();
        let wake = host.clock.when(running.replica.next_wake(), now);
        for output in outbox {
            self.host_output(place, boot, output);
        }
        // Never twice at the same moment: a replica that asks to be woken at once gets a microsecond.
        self.schedule_turn(place, if more { now + 1 } else { wake.max(now + 1) });
        Ok(())
    }

    fn host_output(&mut self, place: usize, boot: u64, output: Output) {
        let Some(running) = &mut self.hosts[place].running else {
            return;
        };
        match output {
            Output::Peer { to, message } => {
                let peer = (to.0 - 1) as usize;
                if let Some(key) = running.links.get(&peer).copied() {
                    let sequence = running.sent.entry(peer).or_default();
                    *sequence += 1;
                    let parcel = Parcel::Peer {
                        boot,
                        sequence: *sequence,
                        message,
                    };
                    self.send(key, usize::from(place > peer), parcel);
                }
            }
            Output::Frame { stream, frame } => {
                if let Some(key) = running.streams.get(&stream).map(|stream| stream.key) {
                    self.note(|| format!("replica {} to {stream:?}: {frame:?}", place + 1));
                    self.send(key, 1, Parcel::Down(frame));
                }
            }
            Output::CloseStream { stream } => {
                if let Some(gone) = running.streams.remove(&stream) {
                    self.send(gone.key, 1, Parcel::End);
                }
            }
            Output::Log(happening) => {
                self.tally.happened(&happening);
                self.note(|| format!("replica {}: {happening:?}", place + 1));
            }
        }
    }

    /// Compares what the replica has applied with what others have.
    fn observe_host(&mut self, place: usize) -> Verdict {
        let name = self.host_name(place);
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        let applied = running.replica.cell().applied() as usize;
        if applied == running.observed {
            return Ok(());
        }
        let digest = running.replica.cell().digest();
        let entries = running.log.entries(running.observed, applied);
        let from = running.observed;
        running.observed = applied;
        let steps = self.checkers.history.applied(&name, from, entries)?;
        self.checkers.history.check_digest(&name, applied, digest)?;
        self.observe(&steps)
    }

    fn check_statements(
        &mut self,
        place: usize,
        speaks_for: Option<Epoch>,
        outbox: &[Output],
    ) -> Verdict {
        let now = self.now();
        let name = self.host_name(place);
        for output in outbox {
            let Output::Frame { stream, frame } = output else {
                continue;
            };
            if Masters::is_statement(frame) {
                self.checkers.masters.spoke(&name, speaks_for, now, frame)?;
            }
            if let ServerFrame::Answer {
                session,
                number,
                answer,
            } = frame
            {
                let key = (*session, *number);
                self.checkers
                    .once
                    .answered(&self.checkers.history, key, answer)?;
            }
            let Some(running) = &mut self.hosts[place].running else {
                continue;
            };
            let Some(stream) = running.streams.get_mut(stream) else {
                continue;
            };
            if let Some(epoch) = speaks_for {
                self.checkers
                    .condemned
                    .observe(epoch, &stream.attached, frame)?;
            }
            match frame {
                ServerFrame::Attached { session, .. } | ServerFrame::Opened { session, .. } => {
                    stream.attached.push(*session);
                }
                ServerFrame::Detached { session, condemned } => {
                    stream.attached.retain(|attached| attached != session);
                    if let Some(epoch) = speaks_for.filter(|_| *condemned) {
                        self.checkers.condemned.proposed(epoch, *session);
                    }
                }
                ServerFrame::Ended { session, .. } => {
                    stream.attached.retain(|attached| attached != session);
                }
                // Another reign: whoever was attached has to ask again.
                ServerFrame::Welcome(_) => stream.attached.clear(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads in the master's log which sessions it has proposed to end.
    fn observe_proposals(&mut self, place: usize, speaks_for: Option<Epoch>) {
        let Some(running) = &mut self.hosts[place].running else {
            return;
        };
        let length = running.log.length();
        let from = running.log_seen.min(length);
        running.log_seen = length;
        let Some(reigning) = speaks_for.filter(|_| length > from) else {
            return;
        };
        for payload in running.log.entries(from, length) {
            if let Ok(Entry::Batch(Batch {
                epoch, commands, ..
            })) = postcard::from_bytes(payload.as_bytes())
                && epoch == reigning
            {
                for command in commands {
                    if let Command::Expire { session } = command {
                        self.checkers.condemned.proposed(epoch, session);
                    }
                }
            }
        }
    }

    /// A proposal of long ago, forwarded late by a peer, reaches whoever leads the log now.
    pub(super) fn stray_proposal(&mut self, from: usize, to: usize, payload: Payload) {
        let paxos = PaxosMessage {
            from: Self::replica_id(from).0,
            to: Self::replica_id(to).0,
            msg: PaxosMsg::ProposalForward(vec![payload]),
        };
        let input = Input::Peer {
            from: Self::replica_id(from),
            message: PeerMessage::Paxos(Message::SequencePaxos(paxos)),
        };
        let life = self.hosts[to].life;
        self.host_input(to, life, input);
    }

    pub(super) fn peer_up(&mut self, place: usize, life: u32, peer: usize, key: ConnectionKey) {
        let host = &mut self.hosts[place];
        if host.life != life || !self.network.connection(key).stands() {
            return;
        }
        if let Some(running) = &mut host.running {
            running.links.insert(peer, key);
            let input = Input::PeerConnected {
                peer: Self::replica_id(peer),
                feature_level_max: FEATURE_LEVEL_MAX,
            };
            self.host_input(place, life, input);
        }
    }

    pub(super) fn peer_down(&mut self, place: usize, life: u32, peer: usize, key: ConnectionKey) {
        let host = &mut self.hosts[place];
        if host.life != life {
            return;
        }
        if let Some(running) = &mut host.running
            && running.links.get(&peer) == Some(&key)
        {
            running.links.remove(&peer);
            self.host_input(
                place,
                life,
                Input::PeerLost {
                    peer: Self::replica_id(peer),
                },
            );
        }
    }

    pub(super) fn peer_arrives(
        &mut self,
        from: usize,
        to: (usize, u32),
        envelope: (u64, u64),
        message: PeerMessage,
    ) {
        let host = &mut self.hosts[to.0];
        if host.life != to.1 {
            return;
        }
        if let Some(running) = &mut host.running {
            let seen = running.seen.entry(from).or_default();
            // The rule of the links: nothing that is not strictly newer.
            if envelope <= *seen {
                return;
            }
            *seen = envelope;
            let from: ReplicaId = Self::replica_id(from);
            self.host_input(to.0, to.1, Input::Peer { from, message });
        }
    }

    pub(super) fn open_stream(&mut self, place: usize, key: ConnectionKey) -> Option<StreamId> {
        let host = &mut self.hosts[place];
        let life = host.life;
        let running = host.running.as_mut()?;
        let stream = StreamId(running.next_stream);
        running.next_stream += 1;
        running.streams.insert(
            stream,
            HostStream {
                key,
                attached: Vec::new(),
            },
        );
        let principal = "anonymous".to_owned();
        self.host_input(place, life, Input::StreamOpened { stream, principal });
        Some(stream)
    }

    pub(super) fn frame_arrives(
        &mut self,
        host: (usize, u32),
        stream: StreamId,
        frame: ClientFrame,
    ) {
        let known = self.hosts[host.0]
            .running
            .as_ref()
            .is_some_and(|running| running.streams.contains_key(&stream));
        if known && self.hosts[host.0].life == host.1 {
            self.host_input(host.0, host.1, Input::Frame { stream, frame });
        }
    }

    pub(super) fn host_broken(&mut self, place: usize, life: u32, stream: StreamId) {
        let host = &mut self.hosts[place];
        if host.life != life {
            return;
        }
        if let Some(running) = &mut host.running
            && running.streams.remove(&stream).is_some()
        {
            self.host_input(place, life, Input::StreamClosed { stream });
        }
    }
}
