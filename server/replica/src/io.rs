//! What goes into a replica and what comes out: closed enums, and one law of use.
//!
//! The law: any number of [`Replica::handle`](crate::Replica::handle), then one
//! [`Replica::propose`](crate::Replica::propose) and [`Replica::poll`](crate::Replica::poll) until it
//! has nothing more, then one [`Replica::end_turn`](crate::Replica::end_turn), which makes everything
//! durable, and `poll` until it has nothing more; then wait for the next input or until
//! [`Replica::next_wake`](crate::Replica::next_wake). The driver, the simulator and the tests all
//! obey it.

use crate::log::{LogFault, Payload};
use crate::past::Past;
use cotter_cell::{Cell, Chunk};
use cotter_types::{Call, CallAnswer, ClientFrame, Epoch, ReplicaId, ServerFrame};
use omnipaxos::messages::Message;
use serde::{Deserialize, Serialize};

/// Names a client stream for as long as the replica runs; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names a call of the simple interface for as long as the replica runs; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Something that happened to the replica.
#[derive(Debug)]
pub enum Input {
    /// A link to a peer stands (again): everything sent before on another one may be lost.
    PeerConnected {
        /// The peer.
        peer: ReplicaId,
        /// The highest feature level its program knows.
        feature_level_max: u32,
        /// Which disk it lives on. It need not be the one that has a vote: such a peer has joined, or
        /// was replaced, and takes part in nothing but catching up.
        incarnation: u64,
        /// Where it says that clients reach it.
        client_address: String,
        /// Where it says that its peers reach it.
        peer_address: String,
    },
    /// The link to a peer is gone.
    PeerLost {
        /// The peer.
        peer: ReplicaId,
    },
    /// A message of a peer, in order and no older than the last one: the link has checked it.
    Peer {
        /// Who sent it.
        from: ReplicaId,
        /// What it says.
        message: PeerMessage,
    },
    /// A client opened a stream.
    StreamOpened {
        /// The stream.
        stream: StreamId,
        /// Who is at the other end, as the door established it.
        principal: String,
    },
    /// A client stream is gone.
    StreamClosed {
        /// The stream.
        stream: StreamId,
    },
    /// A frame of a client.
    Frame {
        /// The stream that it came on.
        stream: StreamId,
        /// What it says.
        frame: ClientFrame,
    },
    /// Somebody calls, without a stream. Answered by one [`Output::CallAnswer`].
    Call {
        /// Names the call.
        call: CallId,
        /// Who calls, as the door established it.
        principal: String,
        /// What for.
        request: Call,
    },
    /// Lay mastership down and take none any more: the process is about to stop.
    Retire,
    /// The state that a chapter begins from was written and read back ([`Output::WriteCheckpoint`]).
    CheckpointWritten {
        /// The chapter.
        chapter: u64,
    },
    /// Something on the own disk is not what was written there.
    Damaged {
        /// The chapter that it belongs to.
        chapter: u64,
        /// What it is.
        damaged: Damaged,
    },
}

/// What is damaged on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// The checkpoint that the chapter begins from.
    Checkpoint,
    /// A part of the chapter's log that is not written any more.
    Log,
}

/// Names one instance of consensus. Two with different keys never hear of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChapterKey {
    /// The chapter of the log.
    pub chapter: u64,
    /// A hash of who votes in it, and from which disks.
    pub membership: u64,
}

/// What replicas say to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    /// A message of OmniPaxos.
    Paxos {
        /// The instance that it belongs to.
        key: ChapterKey,
        /// What it says.
        message: Message<Payload>,
    },
    /// The chapter that the receiver still speaks in has ended.
    Behind {
        /// The chapter that the sender stands in.
        chapter: u64,
    },
    /// Asks for the rest of a chapter, or for what comes instead of it.
    FetchRest {
        /// The chapter.
        chapter: u64,
        /// Entries of it that the sender has.
        from: u64,
    },
    /// Entries of a chapter that has ended.
    Rest {
        /// The chapter.
        chapter: u64,
        /// Entries before them.
        from: u64,
        /// The entries.
        entries: Vec<Payload>,
        /// Whether the last of them is the seal.
        complete: bool,
    },
    /// Asks for a piece of the state that the receiver's chapter began from.
    FetchState {
        /// The chapter; 0 for whichever it is.
        chapter: u64,
        /// The piece, from 0.
        piece: u64,
    },
    /// A piece of the state that a chapter began from.
    State {
        /// The chapter.
        chapter: u64,
        /// The piece, from 0.
        piece: u64,
        /// Digest of the whole state.
        digest: u128,
        /// Some of its rows; nothing at the end.
        chunk: Option<Chunk>,
    },
    /// The sender has no vote from its disk, and follows.
    Here {
        /// The chapter whose start state it holds durably; 0 if none.
        chapter: u64,
        /// Whether it asks to be taken back by itself.
        take_back: bool,
    },
    /// Asks the receiver to lead the log: the sender has laid its mastership down.
    TakeLead,
    /// The digest of the sender's state at one place of the log.
    Digest {
        /// Entries that it had applied.
        applied: u64,
        /// Of its whole state.
        digest: u128,
        /// From whom it fetched its state, if no other voter has confirmed that since.
        source: Option<ReplicaId>,
    },
    /// Asks the master to seal the chapter: the sender's disk has lost some of what it needs until then.
    SealSoon {
        /// The chapter.
        chapter: u64,
    },
}

/// A peer that a replica wants to be linked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The replica.
    pub id: ReplicaId,
    /// The disk that has its vote; nothing if that is not known yet, and any is welcome.
    pub incarnation: Option<u64>,
    /// Where to dial it.
    pub address: String,
}

/// Something that the driver must do.
#[derive(Debug)]
pub enum Output {
    /// Send a message to a peer, in order. What cannot be sent is dropped.
    Peer {
        /// To whom.
        to: ReplicaId,
        /// What.
        message: PeerMessage,
    },
    /// Send a frame to a client, in order. A stream whose buffer is full is closed.
    Frame {
        /// The stream.
        stream: StreamId,
        /// What.
        frame: ServerFrame,
    },
    /// Close a stream, after what was sent on it before.
    CloseStream {
        /// The stream.
        stream: StreamId,
    },
    /// Answer a call.
    CallAnswer {
        /// The call.
        call: CallId,
        /// The answer.
        answer: CallAnswer,
    },
    /// Write the state that a chapter begins from as a checkpoint, in the background, and answer with
    /// [`Input::CheckpointWritten`] when it was read back.
    WriteCheckpoint {
        /// The state.
        cell: Box<Cell>,
        /// From whom it was fetched, if no other voter has confirmed that since; to be kept beside it
        /// ([`ReplicaConfig::state_from`](crate::ReplicaConfig::state_from)).
        source: Option<ReplicaId>,
    },
    /// Remove the logs of the chapters below this one, and the checkpoints that they begin from.
    Discard {
        /// The oldest chapter to be kept.
        below: u64,
    },
    /// The state was fetched anew and is durable: remove the logs and checkpoints of the chapters below
    /// this one, and then, durably, the note that the data are not trusted.
    Rebuilt {
        /// The chapter that begins from the fetched state.
        below: u64,
    },
    /// Be linked with these peers from here on. Others may link themselves to this replica.
    Peers {
        /// All of them.
        peers: Vec<Peer>,
    },
    /// Something worth a line in the log.
    Log(Happening),
    /// What happened in the cell, for the history. May be dropped: nothing rests on it.
    Past(Box<Past>),
}

/// What people who run the cell want to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The replica's log was read and its state rebuilt.
    Recovered {
        /// Entries applied.
        applied: u64,
    },
    /// This replica is the master.
    BecameMaster {
        /// Its epoch.
        epoch: Epoch,
        /// Sessions whose leases it extended.
        sessions: u64,
    },
    /// This replica is master no more.
    SteppedDown {
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        reason: &'static str,
    },
    /// Another replica is the master.
    NewMaster {
        /// Who.
        replica: ReplicaId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The replica's own loop stood still; sessions get that time back.
    Stalled {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A session's lease ran out.
    SessionExpired {
        /// The session.
        session: cotter_types::SessionId,
        /// Its name.
        name: String,
    },
    /// A chapter of the log was begun.
    ChapterBegan {
        /// The chapter.
        chapter: u64,
        /// Entries applied before it.
        applied: u64,
    },
    /// A state was fetched from a peer, since this replica had missed the end of its chapter.
    StateFetched {
        /// The chapter that begins from it.
        chapter: u64,
        /// Entries applied before it.
        applied: u64,
    },
    /// The state was replaced by the fetched one, which is durable.
    StateReplaced {
        /// Entries applied.
        applied: u64,
    },
    /// The rest of a chapter was fetched from a peer, since this replica had missed its end.
    RestFetched {
        /// The chapter.
        chapter: u64,
        /// Entries that were fetched.
        entries: u64,
    },
    /// This replica has no vote in the chapter that it stands in, from the disk that it lives on.
    NoVote {
        /// The chapter.
        chapter: u64,
        /// The disk that has the vote of its id, if one has.
        voting_disk: Option<u64>,
    },
    /// The members change with the next chapter.
    MembersChange {
        /// Who will have a vote.
        members: Vec<ReplicaId>,
    },
    /// A state that was fetched is not what was sent.
    StateRefused {
        /// The chapter that should begin from it.
        chapter: u64,
    },
    /// The log's periodic digest, for comparison among replicas.
    Digest {
        /// Entries applied.
        applied: u64,
        /// Of the whole state.
        digest: u128,
    },
    /// The chapter is sealed early, or the master is asked for it, since some of it is damaged.
    SealsEarly {
        /// The chapter.
        chapter: u64,
    },
    /// This replica does not trust its state, and will fetch another before it takes part.
    Distrusts,
    /// Voters have different digests, and no majority of them agrees: nobody may reign.
    DigestsDisputed {
        /// Entries applied.
        applied: u64,
        /// What each has, as far as that is known.
        digests: Vec<(ReplicaId, u128)>,
    },
    /// A majority of the voters agrees again.
    DigestsSettled {
        /// Where they had differed.
        applied: u64,
    },
    /// A peer has another digest than this replica and a majority.
    PeerDiffers {
        /// The peer.
        peer: ReplicaId,
        /// Entries applied.
        applied: u64,
        /// The digest here.
        own: u128,
        /// The peer's.
        theirs: u128,
    },
}

/// This replica is broken and must stop; nothing more may be asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its log failed.
    #[error(transparent)]
    Log(#[from] LogFault),
    /// A log entry cannot be read by this version.
    #[error("log entry {index} is not understood by this version: {why}")]
    UnknownEntry {
        /// Its index.
        index: u64,
        /// Why.
        why: String,
    },
    /// Its state is not that of the others. It must not be started again from it
    /// ([`ReplicaConfig::rebuild`](crate::ReplicaConfig::rebuild)).
    #[error(
        "after entry {applied} its state has the digest {own:032x}, and a majority of the cell has \
         {theirs:032x}"
    )]
    Differs {
        /// Entries applied.
        applied: u64,
        /// Its digest.
        own: u128,
        /// That of the majority.
        theirs: u128,
    },
    /// An invariant is broken.
    #[error("invariant broken: {0}")]
    Invariant(String),
}
