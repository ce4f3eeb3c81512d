//! A simulated machine with a replica on it: how it starts, dies, stands still and goes on.

use super::clock::Clock;
use super::disk::{Disk, Found, HostLogs};
use super::network::ConnectionKey;
use super::profile::Profile;
use super::random::Random;
use super::turn::TurnDeath;
use super::world::{Event, World};
use crate::checkers::{Verdict, Violation};
use cotter_cell::{Cell, Genesis};
use cotter_replica::{
    CallId, ChapterPolicy, FEATURE_LEVEL_MAX, Input, Member, Output, Replica, ReplicaConfig,
    StreamId, Timing,
};
use cotter_types::{Call, Epoch, ReplicaId, SessionId};
use std::collections::{BTreeMap, VecDeque};

/// Entries between two comparisons of the replicas' states.
const DIGEST_INTERVAL: u64 = 20;

/// A machine with a replica on it.
pub(super) struct Host {
    place: usize,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    /// Starts from the disk that it has.
    pub(super) boot: u64,
    /// Whether it joined after the cell's birth, and asks for the vote that its lost disk had.
    pub(super) joined: bool,
    pub(super) take_back: bool,
    /// Whether its state was found to differ, and is not trusted.
    pub(super) rebuild: bool,
    pub(super) life: u32,
    pub(super) running: Option<Running>,
    pub(super) paused: bool,
    flush_us: u64,
    checkpoint_us: u64,
    policy: ChapterPolicy,
    /// While not 0, flushes take up to so much longer.
    pub(super) slow_flush_us: u64,
    pub(super) wall_offset_ms: u64,
    members: Vec<Member>,
    random: Random,
}

/// A replica's process.
pub(super) struct Running {
    pub(super) replica: Replica<HostLogs>,
    pub(super) logs: HostLogs,
    pub(super) inbox: VecDeque<Input>,
    pub(super) outbox: Vec<Output>,
    pub(super) busy: bool,
    pub(super) turn_at: u64,
    pub(super) links: BTreeMap<usize, ConnectionKey>,
    pub(super) seen: BTreeMap<usize, (u64, u64)>,
    pub(super) sent: BTreeMap<usize, u64>,
    pub(super) streams: BTreeMap<StreamId, HostStream>,
    pub(super) next_stream: u64,
    /// Calls that wait for their answer, with the connections on which they came.
    pub(super) calls: BTreeMap<CallId, (ConnectionKey, Call)>,
    pub(super) observed: usize,
    /// Of which chapter how many entries were looked at.
    pub(super) log_seen: (u64, usize),
    pub(super) death: Option<TurnDeath>,
    pub(super) retired: bool,
}

#[derive(Debug)]
pub(super) struct HostStream {
    pub(super) key: ConnectionKey,
    /// The sessions attached, by what was said on the stream.
    pub(super) attached: Vec<SessionId>,
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
            disk: Disk::new(genesis.cell_id, incarnation(place), profile.segment_bytes),
            boot: 0,
            joined: false,
            take_back: false,
            rebuild: false,
            life: 0,
            running: None,
            paused: false,
            flush_us: profile.flush_us,
            checkpoint_us: profile.checkpoint_us,
            policy: ChapterPolicy {
                entries_max: profile.chapter_entries,
                ..ChapterPolicy::default()
            },
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

    pub(super) fn flush_time(&mut self, flushes: u64) -> u64 {
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

/// Returns the disk id of the replica at a place.
pub(super) fn incarnation(place: usize) -> u64 {
    place as u64 + 101
}

impl Running {
    pub(super) fn reigns(&self) -> Option<Epoch> {
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
        let spoilt = host.random.chance(50) && host.disk.spoil_checkpoint();
        let Found {
            start,
            state_from,
            durable,
            logs,
        } = host
            .disk
            .find()
            .map_err(|error| Violation::new("storage", format!("{name}: {error}")))?;
        let config = ReplicaConfig {
            id: Self::replica_id(place),
            members: host.members.clone(),
            boot: host.boot,
            incarnation: host.disk.incarnation,
            joined: host.joined,
            take_back: host.take_back,
            timing: Timing::default(),
            chapters: host.policy,
            digest_interval: DIGEST_INTERVAL,
            rebuild: host.rebuild,
            state_from,
            genesis,
            version: "simulated".to_owned(),
            feature_level_max: FEATURE_LEVEL_MAX,
        };
        let observed = start.as_ref().map_or(0, |cell| cell.applied() as usize);
        let reading = host.clock.read(now);
        let replica = Replica::new(config, start, durable, logs.clone(), reading)
            .map_err(|fault| Violation::new("fault", format!("{name}: {fault}")))?;
        let chapter = replica.cell().chapter().number;
        let length = logs.get(chapter).map_or(0, |log| log.length());
        let log_seen = (chapter, length);
        host.running = Some(Running {
            replica,
            logs,
            inbox: VecDeque::new(),
            outbox: Vec::new(),
            busy: false,
            turn_at: u64::MAX,
            links: BTreeMap::new(),
            seen: BTreeMap::new(),
            sent: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            calls: BTreeMap::new(),
            observed,
            log_seen,
            death: None,
            retired: false,
        });
        self.mark(1, place as u64);
        if spoilt {
            self.tally.fault("spoilt checkpoint");
        }
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

    /// A checkpoint is being written, beside everything else.
    pub(super) fn write_checkpoint(
        &mut self,
        place: usize,
        cell: Box<Cell>,
        source: Option<ReplicaId>,
    ) {
        let host = &mut self.hosts[place];
        let life = host.life;
        let most = host.checkpoint_us;
        let delay = host.random.between(1, most);
        let event = Event::CheckpointWritten {
            host: place,
            life,
            cell,
            source,
        };
        self.agenda.after(delay, event);
    }

    /// A checkpoint is on the disk; a machine that died before has none.
    pub(super) fn checkpoint_written(
        &mut self,
        place: usize,
        life: u32,
        (cell, source): (Box<Cell>, Option<ReplicaId>),
    ) {
        let host = &mut self.hosts[place];
        if host.life != life || host.running.is_none() {
            return;
        }
        let chapter = cell.chapter().number;
        host.disk.write_checkpoint(*cell, source);
        self.host_input(place, life, Input::CheckpointWritten { chapter });
    }

    /// Removes old logs and checkpoints.
    pub(super) fn discard(&mut self, place: usize, below: u64) {
        // What fails is left for the next time; a machine whose power is off removes nothing.
        let _ = self.hosts[place].disk.discard(below);
    }

    /// The state that differed is gone, and another is in its place.
    pub(super) fn rebuilt(&mut self, place: usize, below: u64) {
        self.discard(place, below);
        self.hosts[place].rebuild = false;
        self.tally.rebuilt += 1;
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
}
