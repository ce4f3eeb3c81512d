//! One replica, and the law by which it is driven.
//!
//! A request comes in by [`door`](crate::door), is admitted into the [`Master`]'s queues, stamped
//! and proposed after the inputs of the turn, agreed by [`consensus`](crate::consensus), applied and
//! answered by [`apply`](crate::apply). Nothing reaches back.
//!
//! Nothing leaves before the flush of the turn in which it was produced, but for what a leader tells
//! its followers to accept (I-PAXOS-4); and this module is the only one that lets anything out.

use crate::candidate::Candidate;
use crate::catch_up::CatchUp;
use crate::chapter::{ChapterPolicy, Chapters, Recovered, recover};
use crate::consensus::Consensus;
use crate::digests::Digests;
use crate::io::{ChapterKey, Fault, Happening, Input, Output, PeerMessage, StreamId};
use crate::log::{LogFault, Payload, ReplicaLog};
use crate::master::Master;
use crate::membership::Membership;
use crate::past::PastQueue;
use crate::streams::Streams;
use crate::timing::Timing;
use crate::watchdog::{Peer, Prod, Watchdog};
use cotter_cell::{Cell, Entry, Genesis, Voter};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Moment, ReplicaId, ServerFrame, Unavailable, Welcome};
use omnipaxos::messages::Message;
use std::collections::VecDeque;

/// One member of the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: ReplicaId,
    /// Where clients reach it, as it advertises.
    pub client_address: String,
    /// Where peers reach it, as it advertises.
    pub peer_address: String,
}

/// Everything that a replica must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// Which member this replica is.
    pub id: ReplicaId,
    /// All members, this one included, in order of id.
    pub members: Vec<Member>,
    /// Larger than at every earlier start of this replica.
    pub boot: u64,
    /// The disk that this replica lives on, drawn at random when its data directory was made.
    pub incarnation: u64,
    /// Whether it joined the cell after the cell's birth: then it holds nothing until it has fetched a
    /// state from a peer.
    pub joined: bool,
    /// Whether it asks to be given back the vote of its id, if another disk has that and is gone.
    pub take_back: bool,
    /// The times that the cell lives by.
    pub timing: Timing,
    /// When a chapter of the log is sealed.
    pub chapters: ChapterPolicy,
    /// Entries between two comparisons of the state with that of the others. All replicas of a cell
    /// should have the same: only where both have a digest can two be compared.
    pub digest_interval: u64,
    /// Whether the state on the disk is not trusted: then the replica votes in nothing until it has
    /// fetched another from a peer, and says so by [`Output::Rebuilt`].
    pub rebuild: bool,
    /// From whom the state in the newest checkpoint was fetched, if that was noted beside it: then it is
    /// no witness of its own (I-DIGEST-3).
    pub state_from: Option<ReplicaId>,
    /// What the cell was born with.
    pub genesis: Genesis,
    /// Version of the program, for people to read.
    pub version: String,
    /// Highest feature level that this program knows.
    pub feature_level_max: u32,
}

impl ReplicaConfig {
    /// Returns this replica as it votes, where it does: on the disk that it lives on (I-MEMBER-1).
    pub(crate) fn voter(&self) -> Voter {
        Voter {
            id: self.id,
            incarnation: self.incarnation,
        }
    }
}

/// One replica of a cell, without its input and output.
///
/// It is not `Send`: it is built inside the one thread that owns it.
pub struct Replica<L: ReplicaLog> {
    pub(crate) config: ReplicaConfig,
    pub(crate) cell: Cell,
    pub(crate) consensus: Consensus<L::Chapter>,
    pub(crate) logs: L,
    pub(crate) chapters: Chapters<L::Chapter>,
    pub(crate) catch_up: CatchUp,
    /// The hash of who votes in the chapter.
    pub(crate) voters_hash: u64,
    pub(crate) membership: Membership,
    pub(crate) streams: Streams,
    pub(crate) candidate: Candidate,
    pub(crate) master: Option<Box<Master>>,
    pub(crate) watchdog: Watchdog,
    pub(crate) digests: Digests,
    pub(crate) started: Moment,
    pub(crate) last_now: Moment,
    next_tick: Moment,
    /// Whether this turn has proposed and not ended yet.
    proposed: bool,
    /// Produced in this turn, and held until its flush.
    held: Vec<Output>,
    /// Applied, and on its way to the history.
    pub(crate) past: PastQueue,
    /// Covered by a flush, and ready to leave.
    pub(crate) released: VecDeque<Output>,
}

impl<L: ReplicaLog> Replica<L> {
    /// Rebuilds a replica from its newest checkpoint and its logs. `durable` are the chapters whose
    /// start state is in a whole checkpoint, in order; the newest of them is `start`, if there is any.
    ///
    /// # Errors
    /// A [`Fault`] if a log fails or says something that this version does not understand.
    pub fn new(
        config: ReplicaConfig,
        start: Option<Cell>,
        durable: Vec<u64>,
        mut logs: L,
        now: Moment,
    ) -> Result<Self, Fault> {
        let recovered = recover(&config, start, durable, &mut logs, now)?;
        let Recovered {
            cell,
            consensus,
            mut chapters,
            past,
            digests,
        } = recovered;
        let sequence = cell.mastership().sequence;
        let applied = cell.applied();
        let checkpoint = chapters.checkpoint_owed();
        let mut held = vec![Output::Log(Happening::Recovered { applied })];
        let source = digests.source();
        held.extend(checkpoint.map(|cell| Output::WriteCheckpoint { cell, source }));
        // An earlier life may not have got to it.
        let below = chapters.oldest_needed();
        held.extend(below.map(|below| Output::Discard { below }));
        let mut replica = Self {
            candidate: Candidate::new(config.id, config.boot, sequence, now),
            watchdog: Watchdog::new(config.id, &cell.chapter().voters, now),
            voters_hash: cell.chapter().membership(),
            membership: Membership::default(),
            digests,
            logs,
            chapters,
            catch_up: CatchUp::default(),
            config,
            cell,
            consensus,
            streams: Streams::default(),
            master: None,
            started: now,
            last_now: now,
            next_tick: now,
            proposed: false,
            held,
            past,
            released: VecDeque::new(),
        };
        if replica.config.rebuild {
            replica.log(Happening::Distrusts);
        }
        replica.tell_membership();
        Ok(replica)
    }

    /// Returns why the log failed, once it has. Nothing may be asked of the replica after that.
    #[must_use]
    pub fn log_fault(&self) -> Option<LogFault> {
        self.consensus.fault()
    }

    /// Takes one input. Nothing that follows from it leaves before the end of the turn.
    ///
    /// `now` must have been read after the input arrived.
    pub fn handle(&mut self, now: Moment, input: Input) {
        assert!(
            !self.proposed,
            "the law of use: no input between proposing and the flush"
        );
        self.observe(now);
        match input {
            Input::PeerConnected {
                peer,
                feature_level_max,
                incarnation,
                client_address,
                peer_address,
            } => {
                let standing = Peer {
                    connected: true,
                    heard: Some(now),
                    feature_level_max,
                    incarnation,
                    addresses: (client_address, peer_address),
                    answered: None,
                };
                self.watchdog.connected(peer, standing);
                self.membership.linked_anew(peer);
                self.consensus.reconnected(peer);
            }
            Input::PeerLost { peer } => {
                self.watchdog.lost(peer);
                self.catch_up.lost(peer);
            }
            Input::Peer { from, message } => {
                self.watchdog.heard(from, now);
                self.peer_said(from, message, now);
            }
            Input::StreamOpened { stream, principal } => self.streams.open(stream, principal),
            Input::StreamClosed { stream } => self.stream_closed(stream),
            Input::Frame { stream, frame } => self.frame(now, stream, frame),
            Input::Call {
                call,
                principal,
                request,
            } => self.call(now, call, principal, request),
            Input::Retire => self.retire(),
            Input::CheckpointWritten { chapter } => self.checkpoint_written(chapter),
            Input::Damaged { chapter, damaged } => self.damage_found(chapter, damaged),
        }
    }

    fn peer_said(&mut self, from: ReplicaId, message: PeerMessage, now: Moment) {
        match message {
            PeerMessage::Paxos { key, message } => self.paxos_arrived(from, key, message, now),
            PeerMessage::Behind { chapter } => {
                let own = self.cell.chapter().number;
                if chapter > own || chapter == own && self.consensus.is_absent() {
                    self.catch_up.ahead(from, chapter, now);
                }
            }
            PeerMessage::FetchRest { chapter, from: at } => self.rest_asked(from, chapter, at),
            PeerMessage::Rest {
                chapter,
                from: begins,
                entries,
                complete,
            } => self.rest_arrived(from, (chapter, begins), entries, complete, now),
            PeerMessage::FetchState { chapter, piece } => self.state_asked(from, chapter, piece),
            PeerMessage::State {
                chapter,
                piece,
                digest,
                chunk,
            } => self.state_arrived(from, (chapter, piece), digest, chunk, now),
            PeerMessage::Here { chapter, take_back } => {
                self.heard_here(from, chapter, take_back, now);
            }
            PeerMessage::TakeLead => self.asked_to_lead(),
            PeerMessage::Digest {
                applied,
                digest,
                source,
            } => self.digest_arrived(from, (applied, digest), source),
            PeerMessage::SealSoon { chapter } => self.asked_for_seal(chapter),
        }
    }

    /// Proposes what waits, after the inputs of the turn. What [`Replica::poll`] returns then may leave
    /// at once, so that the followers write to their disks while this replica writes to its own.
    ///
    /// No input may be handled before [`Replica::end_turn`]. `wall_ms` is the wall clock in
    /// milliseconds since 1970, for display only.
    pub fn propose(&mut self, now: Moment, wall_ms: u64) {
        self.observe(now);
        self.handle_early(now);
        self.tick(now);
        self.catch_up_if_behind(now);
        self.say_here(now);
        self.repeat_digests(now);
        self.ask_for_seal(now);
        self.watch_handover(now);
        self.follow_leadership();
        self.take_over_if_ready(now);
        self.reign(now, wall_ms);
        let early = self.consensus.drain_early();
        let key = self.chapter_key();
        self.released
            .extend(early.into_iter().map(|message| to_peer(key, message)));
        self.proposed = true;
    }

    /// Ends the turn: makes everything durable, applies what is decided, and lets out what was held.
    ///
    /// # Errors
    /// A [`Fault`], after which the replica must be dropped and the process stopped.
    ///
    /// # Panics
    /// If [`Replica::propose`] was not called in this turn: then inputs were handled between what
    /// left early and its flush, and the log is not safe any more.
    pub fn end_turn(&mut self, now: Moment) -> Result<(), Fault> {
        assert!(
            std::mem::take(&mut self.proposed),
            "the law of use: handle, propose, poll, end the turn, poll"
        );
        self.observe(now);
        let flushed = !mutation::active(Mutation::NoFlushBeforeSend);
        if flushed {
            self.consensus.sync()?;
        }
        let key = self.chapter_key();
        self.apply_decided(now)?;
        if let Some(differs) = self.digests.fault() {
            return Err(differs);
        }
        self.let_past_out();
        // What was decided may have freed the way for more; it is proposed in the next turn, which
        // `next_wake` makes due at once.
        self.held.extend(
            self.consensus
                .drain_messages()
                .map(|message| to_peer(key, message)),
        );
        assert!(
            !flushed || !self.consensus.needs_sync(),
            "I-PAXOS-4: nothing leaves before what it rests on is durable"
        );
        self.released.extend(self.held.drain(..));
        self.begin_chapter_if_due(now)
    }

    /// Returns the next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.released.pop_front()
    }

    /// Returns the moment by which a turn must end again, even if nothing comes in.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        if self.chapters.begun {
            return self.last_now;
        }
        let mut wake = self.next_tick;
        if let Some(master) = &self.master {
            wake = if master.can_propose() {
                self.last_now
            } else {
                wake.min(master.next_wake(&self.cell))
            };
        } else if self.may_take_over(self.last_now)
            && let Some(ready) = self
                .candidate
                .ready_at(self.cell.mastership(), &self.config.timing)
        {
            wake = wake.min(ready);
        }
        wake
    }

    /// Returns the replicated state as far as it is applied here.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Returns the state as it is, for a backup: said, like an answer to a query, on the strength of
    /// a lease that stands after the request arrived. `now` must have been read after that. Costs the
    /// same whatever the cell's size.
    ///
    /// # Errors
    /// Where the master is, if this replica does not reign.
    pub fn backup(&mut self, now: Moment) -> Result<Cell, Unavailable> {
        self.observe(now);
        match &self.master {
            Some(_) => Ok(self.cell.snapshot()),
            None => Err(self.not_master()),
        }
    }

    /// Tells whether this replica reigns.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.master.is_some()
    }

    /// Tells whether a retired replica has laid down what it had, so that the process may stop.
    #[must_use]
    pub fn may_stop(&self) -> bool {
        self.candidate.is_retired()
            && self.master.is_none()
            && self.cell.mastership().master != Some(self.config.id)
    }

    /// Looks at the clock before anything else: a lease that lapsed meanwhile ends the reign before
    /// another word is said (I-MASTER-4).
    fn observe(&mut self, now: Moment) {
        assert!(now >= self.last_now, "CLOCK_BOOTTIME never runs backwards");
        let gap = now.since(self.last_now);
        self.last_now = now;
        if gap > self.config.timing.lease() && gap > self.config.timing.tick() * 2 {
            let for_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            self.log(Happening::Stalled { for_ms });
        }
        let lapsed = self
            .master
            .as_ref()
            .is_some_and(|master| !master.lease_stands(now));
        if lapsed && !mutation::active(Mutation::ReadAfterLease) {
            self.step_down("its lease lapsed");
        }
        if self.digests.are_disputed() {
            self.step_down("the voters' digests differ, and no majority agrees");
        }
    }

    /// Moves consensus' own clock, one tick at a time: a replica that stood still does not catch up.
    fn tick(&mut self, now: Moment) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now.after(self.config.timing.tick());
        self.consensus.tick();
        let leadership = self.consensus.leadership();
        let accepted = self.consensus.accepted();
        let prod = self.watchdog.look(
            leadership.leader,
            self.config.id,
            leadership.accepting,
            accepted,
            &self.config.timing,
            now,
        );
        match prod {
            Some(Prod::Lead) => self.consensus.try_become_leader(),
            Some(Prod::Reconnect(leader)) => self.consensus.reconnected(leader),
            None => {}
        }
    }

    /// Tells whether enough peers were heard of lately for anything to be decided. An isolated leader
    /// is never told by consensus that it lost its majority.
    pub(crate) fn hears_majority(&self, now: Moment) -> bool {
        self.watchdog.hears_majority(&self.config.timing, now)
    }

    /// Appends an entry to the log.
    pub(crate) fn append(&mut self, entry: &Entry) {
        let bytes = postcard::to_stdvec(entry).expect("an entry can always be encoded");
        self.consensus.append(Payload::from(bytes));
    }

    /// Returns the feature level that everybody understands and the cell does not have yet.
    pub(crate) fn feature_level_to_raise(&self) -> Option<u32> {
        let own = self.config.feature_level_max;
        let all = self.watchdog.feature_level_of_all(own)?;
        (all > self.cell.feature_level()).then_some(all)
    }

    pub(crate) fn send(&mut self, stream: StreamId, frame: ServerFrame) {
        self.held.push(Output::Frame { stream, frame });
    }

    pub(crate) fn hold(&mut self, output: Output) {
        self.held.push(output);
    }

    pub(crate) fn log(&mut self, happening: Happening) {
        self.held.push(Output::Log(happening));
    }

    /// Says to every stream who is master now.
    pub(crate) fn announce(&mut self) {
        let welcome = self.welcome();
        let streams: Vec<StreamId> = self.streams.greeted().collect();
        for stream in streams {
            self.send(stream, ServerFrame::Welcome(welcome.clone()));
        }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        let mastership = self.cell.mastership();
        let master = mastership.master;
        let mut members = self.member_table();
        members.sort_by_key(|member| Some(member.id) != master);
        Welcome {
            cell_id: self.cell.cell_id(),
            cell: self.cell.cell_name().to_owned(),
            replica: self.config.id,
            is_master: self.is_master(),
            epoch: mastership.epoch,
            master: master.filter(|master| *master != self.config.id),
            addresses: members
                .into_iter()
                .map(|member| member.client_address)
                .collect(),
        }
    }

    pub(crate) fn not_master(&self) -> Unavailable {
        let master = self
            .cell
            .mastership()
            .master
            .filter(|master| *master != self.config.id);
        let address = master.and_then(|master| self.client_address_of(master));
        Unavailable::NotMaster { master, address }
    }
}

fn to_peer(key: ChapterKey, (to, message): (ReplicaId, Message<Payload>)) -> Output {
    Output::Peer {
        to,
        message: PeerMessage::Paxos { key, message },
    }
}

pub(crate) fn decode(payload: &Payload, index: u64) -> Result<Entry, Fault> {
    postcard::from_bytes(payload.as_bytes()).map_err(|error| Fault::UnknownEntry {
        index,
        why: error.to_string(),
    })
}
