//! A small cell on perfect links and one clock, for tests that speak to replicas by hand.

#![allow(dead_code, reason = "each test crate uses its own part of the harness")]

mod memory_log;

pub(crate) use memory_log::{MemoryLog, MemoryLogs};

use cotter_cell::{Cell, Genesis, Voter};
use cotter_replica::{
    CallId, ChapterPolicy, Damaged, FEATURE_LEVEL_MAX, Fault, Happening, Input, Member, Output,
    PeerMessage, Replica, ReplicaConfig, ReplicaLog, StreamId, Timing,
};
use cotter_types::{
    Acknowledged, Acquire, Answer, Call, CallAnswer, CellId, ClientFrame, Create, Lifetime,
    LockMode, Moment, Mutation, Nonce, OpenSession, Path, Query, QueryResponse, ReplicaId,
    RequestNumber, ServerFrame, SessionId, SessionMetadata, Wait,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// One replica, alive or dead.
struct Seat {
    replica: Option<Replica<MemoryLogs>>,
    log: MemoryLogs,
    /// Checkpoints on its disk, by chapter.
    checkpoints: BTreeMap<u64, (Cell, Option<ReplicaId>)>,
    boot: u64,
    /// Its disk; the number of the replica for those that were born with the cell.
    incarnation: u64,
    /// It asks to be taken back when it has lost its disk.
    take_back: bool,
    /// Its state was found to differ, and is not trusted.
    rebuild: bool,
    /// Cut off from its peers, both ways.
    isolated: bool,
    /// Handles nothing, but its clock goes on.
    paused: bool,
    waiting: Vec<Input>,
}

impl Seat {
    /// A replica that has nothing and does not run.
    fn empty(incarnation: u64) -> Self {
        Self {
            replica: None,
            log: MemoryLogs::default(),
            checkpoints: BTreeMap::new(),
            boot: 0,
            incarnation,
            take_back: false,
            rebuild: false,
            isolated: false,
            paused: false,
            waiting: Vec::new(),
        }
    }
}

/// The cell.
pub(crate) struct Cluster {
    seats: BTreeMap<ReplicaId, Seat>,
    now: Moment,
    streams: BTreeMap<StreamId, ReplicaId>,
    next_stream: u64,
    next_call: u64,
    /// Frames that clients received and no test has looked at.
    pub(crate) inbox: BTreeMap<StreamId, Vec<ServerFrame>>,
    /// What calls were answered and no test has looked at.
    pub(crate) answers: BTreeMap<(ReplicaId, CallId), CallAnswer>,
    /// What the replicas had to tell.
    pub(crate) happenings: Vec<(ReplicaId, Happening)>,
    /// Replicas that stopped, since their state differs.
    pub(crate) faults: Vec<(ReplicaId, Fault)>,
    policy: ChapterPolicy,
    born: u64,
    /// Nothing is discarded: whoever should do it dies first.
    pub(crate) keeps_all: bool,
}

/// Step of the clock: a tenth of a tick.
const STEP: Duration = Duration::from_millis(1);

impl Cluster {
    /// Starts a cell of `replicas` and waits until it has a master.
    pub(crate) fn start(replicas: u64) -> Self {
        Self::start_with(replicas, ChapterPolicy::default())
    }

    /// Starts a cell whose chapters end as `policy` says.
    pub(crate) fn start_with(replicas: u64, policy: ChapterPolicy) -> Self {
        let mut cluster = Self {
            seats: BTreeMap::new(),
            now: Moment(1_000_000),
            streams: BTreeMap::new(),
            next_stream: 0,
            inbox: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_call: 0,
            happenings: Vec::new(),
            faults: Vec::new(),
            policy,
            born: replicas,
            keeps_all: false,
        };
        for id in 1..=replicas {
            cluster.seats.insert(ReplicaId(id), Seat::empty(id));
        }
        for id in 1..=replicas {
            cluster.boot(ReplicaId(id));
        }
        cluster.await_master();
        cluster
    }

    /// Gives a replica, new or known, an empty disk, on which it joins the cell.
    pub(crate) fn join(&mut self, id: ReplicaId, incarnation: u64, take_back: bool) {
        if self
            .seats
            .get(&id)
            .is_some_and(|seat| seat.replica.is_some())
        {
            self.kill(id);
        }
        let mut seat = Seat::empty(incarnation);
        seat.take_back = take_back;
        self.seats.insert(id, seat);
        self.boot(id);
    }

    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    pub(crate) fn replica(&self, id: ReplicaId) -> &Replica<MemoryLogs> {
        self.seats[&id].replica.as_ref().expect("the replica runs")
    }

    pub(crate) fn log(&self, id: ReplicaId) -> MemoryLog {
        self.seats[&id].log.last()
    }

    /// Returns how many chapters' logs and how many checkpoints are on a replica's disk.
    pub(crate) fn kept(&self, id: ReplicaId) -> (usize, usize) {
        let seat = &self.seats[&id];
        (seat.log.chapters().len(), seat.checkpoints.len())
    }

    /// Starts or restarts a replica from its log.
    pub(crate) fn boot(&mut self, id: ReplicaId) {
        let members: Vec<Member> = self
            .seats
            .keys()
            .map(|id| Member {
                id: *id,
                client_address: format!("client-{id}"),
                peer_address: format!("peer-{id}"),
            })
            .collect();
        let now = self.now;
        let genesis = self.genesis();
        let seat = self.seats.get_mut(&id).expect("a known replica");
        seat.boot += 1;
        let start = seat.checkpoints.values().last().cloned();
        let config = ReplicaConfig {
            id,
            members,
            boot: seat.boot,
            timing: Timing::default(),
            genesis,
            incarnation: seat.incarnation,
            joined: seat.incarnation != id.0,
            take_back: seat.take_back,
            chapters: self.policy,
            digest_interval: 20,
            rebuild: seat.rebuild,
            state_from: start.as_ref().and_then(|(_, source)| *source),
            version: "test".into(),
            feature_level_max: FEATURE_LEVEL_MAX,
        };
        let durable = seat.checkpoints.keys().copied().collect();
        let replica = Replica::new(
            config,
            start.map(|(cell, _)| cell),
            durable,
            seat.log.clone(),
            now,
        )
        .expect("the log is readable");
        seat.replica = Some(replica);
        self.connect(id);
    }

    /// Starts a replica again whose disk has the state of another cell, as it was born.
    pub(crate) fn boot_wrong(&mut self, id: ReplicaId, token_floor: u64) {
        let wrong = Genesis {
            token_floor,
            ..self.genesis()
        };
        let seat = self.seats.get_mut(&id).expect("a known replica");
        assert!(
            seat.checkpoints.is_empty(),
            "the log leads on from the birth"
        );
        seat.checkpoints.insert(1, (Cell::born(&wrong), None));
        self.boot(id);
    }

    /// Tells a replica that something on its disk is damaged.
    pub(crate) fn damaged(&mut self, id: ReplicaId, chapter: u64, damaged: Damaged) {
        let input = Input::Damaged { chapter, damaged };
        self.seats.get_mut(&id).expect("known").waiting.push(input);
        self.settle();
    }

    /// Takes a checkpoint away; returns the digest of what was in it.
    pub(crate) fn lose_checkpoint(&mut self, id: ReplicaId, chapter: u64) -> u128 {
        let seat = self.seats.get_mut(&id).expect("known");
        let (lost, _) = seat.checkpoints.remove(&chapter).expect("it was there");
        lost.digest()
    }

    /// Returns the digest of what is in a checkpoint.
    pub(crate) fn checkpoint(&self, id: ReplicaId, chapter: u64) -> Option<u128> {
        Some(self.seats[&id].checkpoints.get(&chapter)?.0.digest())
    }

    /// Puts another state into a checkpoint, if somebody has a session.
    pub(crate) fn spoil_checkpoint(&mut self, id: ReplicaId, chapter: u64) {
        let seat = self.seats.get_mut(&id).expect("known");
        let (cell, _) = seat.checkpoints.get_mut(&chapter).expect("it is there");
        let right = cell.digest();
        *cell = cell.without_secrets();
        assert_ne!(cell.digest(), right);
    }

    /// Tells whether a replica's state is not trusted.
    pub(crate) fn is_distrusted(&self, id: ReplicaId) -> bool {
        self.seats[&id].rebuild
    }

    fn genesis(&self) -> Genesis {
        Genesis {
            cell_id: CellId(7),
            cell: "test".into(),
            token_floor: 1_000,
            voters: voters(self.born),
        }
    }

    /// Ends a replica as SIGKILL does.
    pub(crate) fn kill(&mut self, id: ReplicaId) {
        let seat = self.seats.get_mut(&id).expect("a known replica");
        seat.replica = None;
        seat.log.crash();
        seat.waiting.clear();
        self.streams.retain(|_, replica| *replica != id);
        for (other, seat) in &mut self.seats {
            if *other != id {
                seat.waiting.push(Input::PeerLost { peer: id });
            }
        }
    }

    pub(crate) fn isolate(&mut self, id: ReplicaId, isolated: bool) {
        self.seats.get_mut(&id).expect("a known replica").isolated = isolated;
        if !isolated {
            self.connect(id);
        }
    }

    pub(crate) fn pause(&mut self, id: ReplicaId, paused: bool) {
        self.seats.get_mut(&id).expect("a known replica").paused = paused;
    }

    fn connect(&mut self, id: ReplicaId) {
        let others: Vec<ReplicaId> = self.seats.keys().copied().filter(|o| *o != id).collect();
        for other in others {
            let disk = |peer| self.seats[&peer].incarnation;
            let (own, others) = (disk(id), disk(other));
            let input = |peer: ReplicaId| Input::PeerConnected {
                peer,
                feature_level_max: FEATURE_LEVEL_MAX,
                incarnation: if peer == id { own } else { others },
                client_address: format!("client-{peer}"),
                peer_address: format!("peer-{peer}"),
            };
            self.seats
                .get_mut(&id)
                .expect("known")
                .waiting
                .push(input(other));
            self.seats
                .get_mut(&other)
                .expect("known")
                .waiting
                .push(input(id));
        }
    }

    /// Lets time pass, in steps of a millisecond.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.now < end {
            self.now = self.now.after(STEP);
            self.settle();
        }
    }

    /// Lets everybody work off what has come in, without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let mut worked = false;
            let ids: Vec<ReplicaId> = self.seats.keys().copied().collect();
            for id in ids {
                worked |= self.turn(id);
            }
            if !worked {
                return;
            }
        }
        panic!("the replicas do not come to rest");
    }

    fn turn(&mut self, id: ReplicaId) -> bool {
        let now = self.now;
        let seat = self.seats.get_mut(&id).expect("a known replica");
        let Some(replica) = seat.replica.as_mut().filter(|_| !seat.paused) else {
            return false;
        };
        if seat.waiting.is_empty() && replica.next_wake() > now {
            return false;
        }
        for input in std::mem::take(&mut seat.waiting) {
            replica.handle(now, input);
        }
        let mut outputs = Vec::new();
        replica.propose(now, 0);
        while let Some(output) = replica.poll() {
            outputs.push(output);
        }
        match replica.end_turn(now) {
            Ok(()) => {}
            Err(fault @ Fault::Differs { .. }) => {
                self.kill(id);
                self.seats.get_mut(&id).expect("known").rebuild = true;
                self.faults.push((id, fault));
                return true;
            }
            Err(fault) => panic!("{fault}"),
        }
        while let Some(output) = replica.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.deliver(id, output);
        }
        true
    }

    fn deliver(&mut self, from: ReplicaId, output: Output) {
        match output {
            Output::Peer { to, message } => {
                let Some(receiver) = self.seats.get(&to) else {
                    return;
                };
                let cut = self.seats[&from].isolated || receiver.isolated;
                if !cut && receiver.replica.is_some() {
                    self.enqueue(to, from, message);
                }
            }
            Output::Frame { stream, frame } => self.inbox.entry(stream).or_default().push(frame),
            Output::CloseStream { stream } => {
                self.streams.remove(&stream);
            }
            Output::CallAnswer { call, answer } => {
                let twice = self.answers.insert((from, call), answer);
                assert_eq!(twice, None, "a call is answered once");
            }
            Output::Past(_) => {}
            Output::Log(happening) => self.happenings.push((from, happening)),
            // Everybody is linked with everybody.
            Output::Peers { .. } => {}
            Output::WriteCheckpoint { cell, source } => {
                let seat = self.seats.get_mut(&from).expect("known");
                let chapter = cell.chapter().number;
                seat.checkpoints.insert(chapter, (*cell, source));
                seat.waiting.push(Input::CheckpointWritten { chapter });
            }
            Output::Discard { .. } if self.keeps_all => {}
            Output::Discard { below } | Output::Rebuilt { below } => {
                let seat = self.seats.get_mut(&from).expect("known");
                seat.rebuild &= !matches!(output, Output::Rebuilt { .. });
                seat.checkpoints.retain(|chapter, _| *chapter >= below);
                seat.log.discard(below);
            }
        }
    }

    fn enqueue(&mut self, to: ReplicaId, from: ReplicaId, message: PeerMessage) {
        self.seats
            .get_mut(&to)
            .expect("known")
            .waiting
            .push(Input::Peer { from, message });
    }

    /// Makes a call at a replica, and lets the cell settle.
    pub(crate) fn call(&mut self, to: ReplicaId, request: Call) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        let input = Input::Call {
            call,
            principal: "tester".to_owned(),
            request,
        };
        self.seats.get_mut(&to).expect("known").waiting.push(input);
        self.settle();
        call
    }

    /// Returns the answer to a call, if it has come, and forgets it.
    pub(crate) fn call_answer(&mut self, at: ReplicaId, call: CallId) -> Option<CallAnswer> {
        self.answers.remove(&(at, call))
    }

    /// Asks a replica for a backup, when its clock is `later`.
    pub(crate) fn backup(
        &mut self,
        at: ReplicaId,
        later: Duration,
    ) -> Result<Cell, cotter_types::Unavailable> {
        let now = self.now.after(later);
        let seat = self.seats.get_mut(&at).expect("known");
        seat.replica.as_mut().expect("it runs").backup(now)
    }

    /// Waits until exactly one replica reigns, at most five seconds.
    pub(crate) fn await_master(&mut self) -> ReplicaId {
        for _ in 0..5_000 {
            if let Some(master) = self.master() {
                return master;
            }
            self.run(STEP);
        }
        panic!("no master within five seconds");
    }

    /// Returns the replica that reigns, the one with the highest epoch if there are two.
    pub(crate) fn master(&self) -> Option<ReplicaId> {
        self.seats
            .iter()
            .filter_map(|(id, seat)| {
                let replica = seat
                    .replica
                    .as_ref()
                    .filter(|r| !seat.paused && r.is_master())?;
                Some((replica.cell().mastership().epoch, *id))
            })
            .max()
            .map(|(_, id)| id)
    }

    /// Asks a replica to lay mastership down and take none any more.
    pub(crate) fn retire(&mut self, id: ReplicaId) {
        self.seats
            .get_mut(&id)
            .expect("known")
            .waiting
            .push(Input::Retire);
        self.settle();
    }

    /// Opens a stream to a replica.
    pub(crate) fn bare_stream(&mut self, replica: ReplicaId) -> StreamId {
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        self.streams.insert(stream, replica);
        let opened = Input::StreamOpened {
            stream,
            principal: "tester".into(),
        };
        self.seats
            .get_mut(&replica)
            .expect("known")
            .waiting
            .push(opened);
        stream
    }

    /// Opens a stream to a replica and says hello.
    pub(crate) fn stream(&mut self, replica: ReplicaId) -> StreamId {
        let stream = self.bare_stream(replica);
        self.send(
            stream,
            ClientFrame::Hello {
                version: 1,
                client: "test".into(),
                cell: None,
            },
        );
        stream
    }

    pub(crate) fn close_stream(&mut self, stream: StreamId) {
        if let Some(replica) = self.streams.remove(&stream) {
            let closed = Input::StreamClosed { stream };
            self.seats
                .get_mut(&replica)
                .expect("known")
                .waiting
                .push(closed);
            self.settle();
        }
    }

    pub(crate) fn send(&mut self, stream: StreamId, frame: ClientFrame) {
        if let Some(replica) = self.streams.get(&stream) {
            let input = Input::Frame { stream, frame };
            self.seats
                .get_mut(replica)
                .expect("known")
                .waiting
                .push(input);
        }
        self.settle();
    }

    /// Takes the frames that a stream has received.
    pub(crate) fn received(&mut self, stream: StreamId) -> Vec<ServerFrame> {
        self.inbox.remove(&stream).unwrap_or_default()
    }

    /// Opens a session on a stream.
    pub(crate) fn open(&mut self, stream: StreamId, nonce: u128, lease_ms: u64) -> SessionId {
        let metadata = SessionMetadata {
            name: format!("n{nonce}"),
            ..Default::default()
        };
        self.send(
            stream,
            ClientFrame::Open(OpenSession {
                nonce: Nonce(nonce),
                lease_ms,
                metadata,
            }),
        );
        self.run(Duration::from_millis(50));
        self.received(stream)
            .into_iter()
            .find_map(|frame| match frame {
                ServerFrame::Opened { session, .. } => Some(session),
                _ => None,
            })
            .expect("the session is opened")
    }

    /// Sends a mutation and returns its answer, if one comes within 50 ms.
    pub(crate) fn mutate(
        &mut self,
        stream: StreamId,
        session: SessionId,
        number: u64,
        mutation: Mutation,
    ) -> Option<Answer> {
        let number = RequestNumber(number);
        let acknowledged = Acknowledged::default();
        self.send(
            stream,
            ClientFrame::Mutate {
                session,
                number,
                acknowledged,
                mutation,
            },
        );
        self.run(Duration::from_millis(50));
        self.answer(stream, session, number)
    }

    /// Looks for the answer to a mutation among what a stream has received.
    pub(crate) fn answer(
        &mut self,
        stream: StreamId,
        session: SessionId,
        number: RequestNumber,
    ) -> Option<Answer> {
        self.received(stream)
            .into_iter()
            .find_map(|frame| match frame {
                ServerFrame::Answer {
                    session: s,
                    number: n,
                    answer,
                } if (s, n) == (session, number) => Some(answer),
                _ => None,
            })
    }

    /// Asks a query and returns its answer, if one comes at once.
    pub(crate) fn query(
        &mut self,
        stream: StreamId,
        query: Query,
    ) -> Option<Result<QueryResponse, Answer>> {
        self.send(stream, ClientFrame::Query { id: 99, query });
        self.received(stream)
            .into_iter()
            .find_map(|frame| match frame {
                ServerFrame::QueryAnswer { id: 99, answer } => Some(answer),
                _ => None,
            })
    }
}

/// The voters of a cell, each on the disk that has its own number.
fn voters(replicas: u64) -> Vec<Voter> {
    (1..=replicas)
        .map(|id| Voter {
            id: ReplicaId(id),
            incarnation: id,
        })
        .collect()
}

/// A path.
pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).expect("a valid path")
}

/// An exclusive acquire that waits for ever and creates the node.
pub(crate) fn acquire(text: &str) -> Mutation {
    Mutation::Acquire(Acquire {
        path: path(text),
        mode: LockMode::Exclusive,
        wait: Wait::Forever,
        lock_delay_ms: 0,
        conflict_notice: false,
        create: Some(Lifetime::Permanent),
    })
}

/// A plain create.
pub(crate) fn create(text: &str) -> Mutation {
    Mutation::Create(Create {
        path: path(text),
        contents: "x".into(),
        lifetime: Lifetime::Permanent,
        parents: true,
        exclusive: true,
    })
}
