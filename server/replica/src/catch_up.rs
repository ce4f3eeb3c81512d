//! How a replica that missed the end of a chapter gets to where the others are, outside of consensus.
//!
//! It asks one peer, a piece at a time, for the rest of its own chapter if the peer still has that
//! log, else for the state that the peer's chapter began from. Nothing is used before it is complete:
//! the rest of a chapter goes into its log in one record and closes its instance, a fetched state is
//! compared with its digest and must be durable before the chapter is begun (I-CHAPTER-1).
//!
//! What is answered here are facts, decided and applied by whoever answers; so any replica may.

use crate::io::{Happening, Output, PeerMessage};
use crate::log::{Payload, ReplicaLog};
use crate::replica::Replica;
use cotter_cell::{Cell, Chunk, Walk};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Moment, ReplicaId};
use std::collections::BTreeMap;

/// Bytes of entries in one message, about; a single entry may be larger.
const REST_PIECE_BYTES: usize = 512 * 1_024;
/// Most bytes of entries that are gathered; a state is fetched instead of more.
const REST_BYTES_MAX: usize = 128 * 1_024 * 1_024;
/// Bytes of rows in one message, about; a single row may be larger.
const STATE_PIECE_BYTES: usize = 256 * 1_024;
/// Election rounds without an answer after which somebody else is asked.
const PATIENCE_ROUNDS: u64 = 6;
/// Election rounds for which a replica waits for its own chapter to tell it the end.
const GRACE_ROUNDS: u64 = 2;

/// What a replica does about being behind.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    /// Who was last heard in a later chapter, in which, and since when somebody was.
    ahead: Option<(ReplicaId, u64, Moment)>,
    work: Work,
    /// When the last request was sent.
    asked: Moment,
    /// What peers are being served.
    serving: BTreeMap<ReplicaId, Serving>,
    /// When a peer was last told that it is behind.
    told: BTreeMap<ReplicaId, Moment>,
}

#[derive(Debug, Default)]
enum Work {
    #[default]
    Idle,
    /// Asked, and nothing has come.
    Asked(ReplicaId),
    /// The rest of the own chapter, so far.
    Rest {
        peer: ReplicaId,
        from: u64,
        entries: Vec<Payload>,
        bytes: usize,
    },
    /// The state that a later chapter began from, so far.
    State {
        peer: ReplicaId,
        chapter: u64,
        chunks: Vec<Chunk>,
    },
    /// It is complete, came from this peer, and is being written to the disk.
    Writing(Box<Cell>, ReplicaId),
}

/// A walk over a state for one peer.
#[derive(Debug)]
struct Serving {
    chapter: u64,
    digest: u128,
    walk: Walk,
    /// The piece that comes next.
    next: u64,
    last: Option<Chunk>,
}

impl CatchUp {
    /// Notes that a peer was heard in a later chapter.
    pub(crate) fn ahead(&mut self, peer: ReplicaId, chapter: u64, now: Moment) {
        let since = self.ahead.map_or(now, |(_, _, since)| since);
        self.ahead = Some((peer, chapter, since));
    }

    /// Notes that a chapter was begun here.
    pub(crate) fn reached(&mut self, chapter: u64) {
        self.ahead = self.ahead.filter(|(_, ahead, _)| *ahead > chapter);
        self.work = Work::Idle;
    }

    /// Forgets what a peer was served: it is gone.
    pub(crate) fn lost(&mut self, peer: ReplicaId) {
        self.serving.remove(&peer);
    }

    /// Takes the fetched state, if it is this one that became durable.
    pub(crate) fn written(&mut self, chapter: u64) -> Option<(Box<Cell>, ReplicaId)> {
        match std::mem::take(&mut self.work) {
            Work::Writing(cell, peer) if cell.chapter().number == chapter => Some((cell, peer)),
            other => {
                self.work = other;
                None
            }
        }
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Tells a peer that its chapter has ended, at most once in an election round.
    pub(crate) fn tell_behind(&mut self, peer: ReplicaId, now: Moment) {
        let pause = self.config.timing.rounds(1);
        let told = self.catch_up.told.get(&peer);
        if told.is_none_or(|told| now.since(*told) >= pause) {
            self.catch_up.told.insert(peer, now);
            let chapter = self.cell.chapter().number;
            self.say(peer, PeerMessage::Behind { chapter });
        }
    }

    /// Asks for what is missing, or asks somebody else when no answer comes.
    pub(crate) fn catch_up_if_behind(&mut self, now: Moment) {
        let Some((peer, _, since)) = self.catch_up.ahead else {
            return;
        };
        let timing = &self.config.timing;
        // Nobody tells the end of a chapter to who has no vote in it.
        let grace = match self.consensus.votes() {
            false => timing.rounds(0),
            true => timing.rounds(GRACE_ROUNDS),
        };
        let waiting = match self.catch_up.work {
            Work::Idle => false,
            Work::Writing(..) => true,
            Work::Asked(_) | Work::Rest { .. } | Work::State { .. } => {
                now.since(self.catch_up.asked) < timing.rounds(PATIENCE_ROUNDS)
            }
        };
        if waiting || now.since(since) < grace {
            return;
        }
        self.catch_up.work = Work::Asked(peer);
        let rest = !self.consensus.is_absent();
        self.ask(peer, rest, now);
    }

    /// Asks for the first piece.
    fn ask(&mut self, peer: ReplicaId, rest: bool, now: Moment) {
        let message = if rest {
            PeerMessage::FetchRest {
                chapter: self.cell.chapter().number,
                from: self.consensus.decided(),
            }
        } else {
            PeerMessage::FetchState {
                chapter: 0,
                piece: 0,
            }
        };
        self.request(peer, message, now);
    }

    /// Serves the rest of the chapter before this one, or begins to serve this one's start state.
    pub(crate) fn rest_asked(&mut self, peer: ReplicaId, chapter: u64, from: u64) {
        if chapter >= self.cell.chapter().number {
            return;
        }
        match self.rest_of(chapter, from) {
            Some((entries, complete)) => self.say(
                peer,
                PeerMessage::Rest {
                    chapter,
                    from,
                    entries,
                    complete,
                },
            ),
            None => self.state_asked(peer, 0, 0),
        }
    }

    /// Reads entries of the chapter before this one, and tells whether the last of them is its seal.
    fn rest_of(&self, chapter: u64, from: u64) -> Option<(Vec<Payload>, bool)> {
        const STEP: u64 = 64;
        let previous = self.chapters.previous.as_ref()?;
        if previous.chapter != chapter || from >= previous.entries {
            return None;
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut at = from;
        while at < previous.entries && bytes < REST_PIECE_BYTES {
            let to = previous.entries.min(at + STEP);
            // A log that cannot be read any more may have been discarded; there is the state.
            for payload in previous.log.entries(at as usize, to as usize).ok()? {
                bytes += payload.as_bytes().len();
                entries.push(payload);
            }
            at = to;
        }
        (entries.len() as u64 == at - from).then_some((entries, at == previous.entries))
    }

    /// Serves a piece of the state that this chapter began from; from the beginning, if the piece
    /// that is asked for is not the next one.
    pub(crate) fn state_asked(&mut self, peer: ReplicaId, chapter: u64, piece: u64) {
        if self.consensus.is_absent() {
            return;
        }
        let known = self.catch_up.serving.get(&peer).is_some_and(|serving| {
            serving.chapter == chapter && (serving.next == piece || serving.next == piece + 1)
        });
        if !known || piece == 0 {
            let start = &self.chapters.start;
            let serving = Serving {
                chapter: start.chapter().number,
                digest: start.digest(),
                walk: start.walk(STATE_PIECE_BYTES),
                next: 0,
                last: None,
            };
            self.catch_up.serving.insert(peer, serving);
        }
        let Some(serving) = self.catch_up.serving.get_mut(&peer) else {
            return;
        };
        if serving.next == piece || !known {
            serving.last = serving.walk.next();
            serving.next += 1;
        }
        let message = PeerMessage::State {
            chapter: serving.chapter,
            piece: serving.next - 1,
            digest: serving.digest,
            chunk: serving.last.clone(),
        };
        if serving.last.is_none() {
            self.catch_up.serving.remove(&peer);
        }
        self.say(peer, message);
    }

    /// Takes a piece of the rest of this chapter.
    pub(crate) fn rest_arrived(
        &mut self,
        peer: ReplicaId,
        piece: (u64, u64),
        mut more: Vec<Payload>,
        complete: bool,
        now: Moment,
    ) {
        let (chapter, begins) = piece;
        if chapter != self.cell.chapter().number || self.consensus.is_absent() {
            return;
        }
        let (from, mut entries, mut bytes) = match std::mem::take(&mut self.catch_up.work) {
            Work::Asked(asked) if asked == peer => (begins, Vec::new(), 0),
            Work::Rest {
                peer: asked,
                from,
                entries,
                bytes,
            } if asked == peer && from + entries.len() as u64 == begins => (from, entries, bytes),
            other => {
                self.catch_up.work = other;
                return;
            }
        };
        bytes += more.iter().map(|e| e.as_bytes().len()).sum::<usize>();
        entries.append(&mut more);
        if complete {
            let fetched = entries.len() as u64;
            self.log(Happening::RestFetched {
                chapter,
                entries: fetched,
            });
            self.consensus.adopt(from, entries);
        } else if bytes > REST_BYTES_MAX {
            self.catch_up.work = Work::Asked(peer);
            self.ask(peer, false, now);
        } else {
            let next = from + entries.len() as u64;
            self.catch_up.work = Work::Rest {
                peer,
                from,
                entries,
                bytes,
            };
            let message = PeerMessage::FetchRest {
                chapter,
                from: next,
            };
            self.request(peer, message, now);
        }
    }

    /// Takes a piece of the state that a later chapter began from.
    pub(crate) fn state_arrived(
        &mut self,
        peer: ReplicaId,
        piece: (u64, u64),
        digest: u128,
        chunk: Option<Chunk>,
        now: Moment,
    ) {
        let (chapter, number) = piece;
        let own = self.cell.chapter().number;
        let later = chapter > own || chapter == own && self.consensus.is_absent();
        let usable = later && chapter >= self.chapters.floor;
        let mut chunks = match std::mem::take(&mut self.catch_up.work) {
            Work::State {
                peer: asked,
                chapter: begun,
                chunks,
            } if (asked, begun, chunks.len() as u64) == (peer, chapter, number) => chunks,
            Work::Asked(asked) | Work::State { peer: asked, .. }
                if asked == peer && number == 0 && usable =>
            {
                Vec::new()
            }
            other => {
                self.catch_up.work = other;
                return;
            }
        };
        let early = mutation::active(Mutation::GateOpenEarly) && chunks.len() > 2;
        let Some(chunk) = chunk.filter(|_| !early) else {
            self.state_complete(peer, chapter, digest, chunks);
            return;
        };
        chunks.push(chunk);
        self.catch_up.work = Work::State {
            peer,
            chapter,
            chunks,
        };
        let message = PeerMessage::FetchState {
            chapter,
            piece: number + 1,
        };
        self.request(peer, message, now);
    }

    /// Rebuilds a fetched state; it is used only if it is exactly what was sent.
    fn state_complete(&mut self, peer: ReplicaId, chapter: u64, digest: u128, chunks: Vec<Chunk>) {
        let rebuilt = Cell::rebuild(&self.config.genesis, chunks);
        let sound = rebuilt.ok().filter(|cell| {
            let whole = cell.digest() == digest || mutation::active(Mutation::GateOpenEarly);
            let later = cell.applied() >= self.cell.applied();
            whole && later && cell.chapter().number == chapter && !self.is_contradicted(cell)
        });
        let Some(cell) = sound else {
            self.log(Happening::StateRefused { chapter });
            return;
        };
        self.log(Happening::StateFetched {
            chapter,
            applied: cell.applied(),
        });
        let cell = Box::new(cell);
        self.hold(Output::WriteCheckpoint {
            cell: cell.clone(),
            source: Some(peer),
        });
        self.catch_up.work = Work::Writing(cell, peer);
    }

    /// Says what is to be answered, and notes when it was said.
    fn request(&mut self, peer: ReplicaId, message: PeerMessage, now: Moment) {
        self.catch_up.asked = now;
        self.say(peer, message);
    }

    fn say(&mut self, to: ReplicaId, message: PeerMessage) {
        self.hold(Output::Peer { to, message });
    }
}
