//! Where chapters end and begin (rule 3 of the profile, I-CHAPTER-1 to I-CHAPTER-6).
//!
//! The master seals a chapter; every replica that applies the seal drops the instance of consensus
//! that decided it and begins the next one on fresh storage. Between the two stands one rule: nothing
//! is promised in a chapter before its start state is held durably, by the old log up to the seal or
//! by a checkpoint. A replica that cannot get there by its own log asks its peers (`catch_up`).

use crate::consensus::{Consensus, Seat};
use crate::digests::Digests;
use crate::io::{ChapterKey, Fault, Happening, Output};
use crate::log::{ChapterLog, Payload, ReplicaLog};
use crate::membership::SealFor;
use crate::past::PastQueue;
use crate::replica::{Replica, ReplicaConfig, decode};
use crate::shared_log::SharedLog;
use cotter_cell::{Cell, Entry};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Moment, ReplicaId};
use omnipaxos::messages::Message;
use std::time::Duration;

/// When a master seals the chapter: at the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChapterPolicy {
    /// Bytes of its entries.
    pub bytes_max: u64,
    /// Its entries.
    pub entries_max: u64,
    /// Its age, on the master's own clock.
    pub age_max: Duration,
}

impl Default for ChapterPolicy {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1_024 * 1_024,
            entries_max: 1_000_000,
            age_max: Duration::from_secs(60 * 60),
        }
    }
}

/// Messages of the next chapter that are kept until the seal is applied here. More are dropped:
/// consensus sends again what matters.
const EARLY_MESSAGES_MAX: usize = 256;

/// The log of the chapter before, to be read by those who missed its end.
pub(crate) struct Previous<C> {
    pub(crate) chapter: u64,
    /// Entries up to the seal, the seal included.
    pub(crate) entries: u64,
    pub(crate) log: SharedLog<C>,
}

/// Where a replica stands in the sequence of chapters.
pub(crate) struct Chapters<C> {
    pub(crate) previous: Option<Previous<C>>,
    /// The state that the present chapter began from, to be served to laggards. What has not changed
    /// since is shared with the present state.
    pub(crate) start: Cell,
    /// Bytes of the entries applied in this chapter.
    pub(crate) bytes: u64,
    /// When it was begun here.
    since: Moment,
    /// The chapters whose start state is in a durable checkpoint: the last two.
    durable: Vec<u64>,
    /// Messages of the next chapter that wait for the seal.
    early: Vec<(ReplicaId, ChapterKey, Message<Payload>)>,
    /// Where this chapter began, once its seal was applied, until the next one is begun.
    pub(crate) sealed: Option<u64>,
    /// A state that was fetched from a peer and is durable, to begin from at the end of the turn.
    pub(crate) fetched: Option<(Box<Cell>, ReplicaId)>,
    /// This replica may have voted in this chapter before, and votes in none below it.
    pub(crate) floor: u64,
    /// A chapter was begun in the last turn, and the next turn is due at once.
    pub(crate) begun: bool,
    /// The chapter that is to be sealed early, since a disk has lost some of what it needs until then.
    pub(crate) worn: Option<u64>,
    /// When the master was last asked for that.
    pub(crate) asked: Moment,
}

impl<C> Chapters<C> {
    /// Keeps a message of the next chapter for when the seal is applied.
    fn keep_early(&mut self, from: ReplicaId, key: ChapterKey, message: Message<Payload>) {
        if self.early.len() < EARLY_MESSAGES_MAX {
            self.early.push((from, key, message));
        }
    }

    /// Tells whether the state that a chapter begins from needs no older log any more. That of the
    /// first one is in the certificate of birth.
    pub(crate) fn start_is_durable(&self, chapter: u64) -> bool {
        chapter == 1 || self.durable.contains(&chapter)
    }

    /// Tells whether the log of a chapter, and the checkpoint that it begins from, are still kept.
    pub(crate) fn is_kept(&self, chapter: u64) -> bool {
        self.durable.first().is_none_or(|oldest| chapter >= *oldest)
    }

    /// Returns the state that the chapter began from, if an earlier life did not get to write it.
    pub(crate) fn checkpoint_owed(&self) -> Option<Box<Cell>> {
        let owed = !self.start_is_durable(self.start.chapter().number);
        owed.then(|| Box::new(self.start.snapshot()))
    }

    /// Notes a durable checkpoint; returns the chapter below which logs and checkpoints may go now.
    fn checkpoint_written(&mut self, chapter: u64) -> Option<u64> {
        if self.durable.last().is_some_and(|last| *last >= chapter) {
            return None;
        }
        self.durable.push(chapter);
        self.oldest_needed()
    }

    /// Returns the chapter below which logs and checkpoints may go: the one that begins from the
    /// checkpoint before the last (I-CHAPTER-6).
    pub(crate) fn oldest_needed(&mut self) -> Option<u64> {
        let surplus = self.durable.len().saturating_sub(2);
        self.durable.drain(..surplus);
        (self.durable.len() == 2).then(|| self.durable[0])
    }
}

/// A replica's chapters as they were read back from its disk.
pub(crate) struct Recovered<C: ChapterLog> {
    pub(crate) cell: Cell,
    pub(crate) consensus: Consensus<C>,
    pub(crate) chapters: Chapters<C>,
    pub(crate) past: PastQueue,
    pub(crate) digests: Digests,
}

/// Goes through the logs, seal by seal, from the newest checkpoint on.
///
/// Where the logs do not lead to the last of them, this replica may have voted in a chapter whose start
/// state it does not hold, and votes in none until it has fetched that state or a later one
/// (I-CHAPTER-2). One that does not trust its state is treated the same: its logs say what it promised,
/// and nothing else of it is used (I-DIGEST-2).
pub(crate) fn recover<L: ReplicaLog>(
    config: &ReplicaConfig,
    start: Option<Cell>,
    durable: Vec<u64>,
    logs: &mut L,
    now: Moment,
) -> Result<Recovered<L::Chapter>, Fault> {
    let mut cell = start.unwrap_or_else(|| Cell::born(&config.genesis));
    let mut past = PastQueue::default();
    let mut digests = Digests::new(config.digest_interval, config.state_from);
    let existing = logs.chapters();
    let floor = existing.last().copied().unwrap_or(0);
    let mut chapters = Chapters {
        previous: None,
        start: cell.snapshot(),
        bytes: 0,
        since: now,
        durable,
        early: Vec::new(),
        sealed: None,
        fetched: None,
        floor,
        begun: false,
        worn: None,
        asked: now,
    };
    let consensus = loop {
        let number = cell.chapter().number;
        let log = if config.rebuild {
            None
        } else if existing.contains(&number) {
            Some(logs.open(number)?)
        } else if number > floor {
            Some(logs.begin(number)?)
        } else {
            None
        };
        let Some(log) = log.map(SharedLog::new) else {
            break Consensus::absent(config.id);
        };
        chapters.start = cell.snapshot();
        digests.note(&cell);
        chapters.bytes = replay(&log, &mut cell, (&mut past, &mut digests))?;
        if cell.chapter().number == number {
            break match number < floor {
                true => Consensus::absent(config.id),
                false => Consensus::new(seat(config, &cell), log)?,
            };
        }
        chapters.previous = Some(Previous {
            chapter: number,
            entries: cell.chapter().begins_at - chapters.start.applied(),
            log,
        });
    };
    Ok(Recovered {
        cell,
        consensus,
        chapters,
        past,
        digests,
    })
}

/// Applies what a chapter's log knows to be decided, up to its seal; returns its bytes.
fn replay<C: ChapterLog>(
    log: &SharedLog<C>,
    cell: &mut Cell,
    (past, digests): (&mut PastQueue, &mut Digests),
) -> Result<u64, Fault> {
    const CHUNK: usize = 1_024;
    let number = cell.chapter().number;
    let decided = log.decided();
    let mut bytes = 0;
    let mut from = 0;
    while from < decided {
        let to = decided.min(from + CHUNK);
        for payload in log.entries(from, to)? {
            bytes += payload.as_bytes().len() as u64;
            past.apply(cell, &decode(&payload, cell.applied())?);
            digests.note(cell);
            if cell.chapter().number != number {
                return Ok(bytes);
            }
        }
        from = to;
    }
    Ok(bytes)
}

/// Says as what this replica takes part in the chapter that the cell stands in.
fn seat(config: &ReplicaConfig, cell: &Cell) -> Seat {
    let chapter = cell.chapter();
    // A replica that lost its disk has another one, and forgot what it promised (I-PAXOS-9).
    let own = config.voter();
    let forgetful = mutation::active(Mutation::WipedReplicaVotes)
        && chapter.voters.iter().any(|voter| voter.id == own.id);
    Seat {
        own: config.id,
        chapter: chapter.number,
        voters: chapter.voters.iter().map(|voter| voter.id).collect(),
        votes: chapter.voters.contains(&own) || forgetful,
        priority: 0,
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Names the instance of consensus that this replica takes part in.
    pub(crate) fn chapter_key(&self) -> ChapterKey {
        let chapter = self.cell.chapter();
        ChapterKey {
            chapter: chapter.number,
            membership: self.voters_hash,
        }
    }

    /// Takes a message of consensus, if it belongs to the instance that this replica takes part in
    /// (I-CHAPTER-1).
    pub(crate) fn paxos_arrived(
        &mut self,
        from: ReplicaId,
        key: ChapterKey,
        message: Message<Payload>,
        now: Moment,
    ) {
        let own = self.chapter_key();
        let any = mutation::active(Mutation::AnyChapterAccepted);
        if key == own || any {
            self.voter_said(from, message, now);
        } else if key.chapter < own.chapter {
            self.tell_behind(from, now);
        } else if key.chapter > own.chapter {
            self.catch_up.ahead(from, key.chapter, now);
            if key.chapter == own.chapter + 1 {
                self.chapters.keep_early(from, key, message);
            }
        }
    }

    /// Handles a message of this chapter, if it comes from a disk that votes in it (I-MEMBER-1).
    fn voter_said(&mut self, from: ReplicaId, message: Message<Payload>, now: Moment) {
        let votes = self.voting_peer(from).is_some();
        if votes || mutation::active(Mutation::WipedReplicaVotes) {
            self.watchdog.answered(from, now);
            self.consensus.handle(from, message);
        }
    }

    /// Handles what came of this chapter before it was begun here.
    pub(crate) fn handle_early(&mut self, now: Moment) {
        let own = self.chapter_key();
        for (from, key, message) in std::mem::take(&mut self.chapters.early) {
            if key == own {
                self.voter_said(from, message, now);
            } else if key.chapter == own.chapter + 1 {
                self.chapters.keep_early(from, key, message);
            }
        }
        self.chapters.begun = false;
    }

    /// Seals the chapter when it is time, or when its members are to change (I-CHAPTER-3). The seal is
    /// appended again with each renewal until it is applied, since the last message of a burst may be
    /// lost; whatever follows an accepted seal is void.
    pub(crate) fn seal_if_due(&mut self, now: Moment, renewed: bool) {
        let next_chapter = self.cell.chapter().number + 1;
        let Some(master) = &self.master else {
            return;
        };
        if let Some(seal) = &master.seal {
            if renewed && master.sealing == Some(next_chapter) {
                let seal = seal.clone();
                self.append(&seal);
            }
            return;
        }
        if master.sealing.is_some() {
            return;
        }
        let mut wanted = None;
        if self.consensus.leads() && self.hears_majority(now) {
            wanted = self.seal_of_change(now);
            let due = wanted.is_none() && self.seal_is_due(now);
            wanted = wanted.or(due.then_some(SealFor::Room));
        }
        let Some(seal) = wanted.and_then(|wanted| self.seal_entry(wanted)) else {
            return;
        };
        self.append(&seal);
        if let Some(master) = self.master.as_mut() {
            master.sealing = Some(next_chapter);
            master.seal = Some(seal);
        }
    }

    fn seal_is_due(&self, now: Moment) -> bool {
        let chapter = self.cell.chapter();
        let policy = &self.config.chapters;
        let entries = self.cell.applied() - chapter.begins_at;
        let full = self.chapters.worn == Some(chapter.number)
            || self.chapters.bytes >= policy.bytes_max
            || entries >= policy.entries_max
            || now.since(self.chapters.since) >= policy.age_max && entries > 0;
        // A log that has no bound any more is worse than a newcomer that comes later.
        let waits = self.newcomer_is_coming(now) && self.chapters.bytes < 2 * policy.bytes_max;
        full && !waits && self.chapters.start_is_durable(chapter.number)
    }

    /// Begins the chapter that the state stands in now, at the end of a turn that has applied a seal
    /// or has a fetched state to go on from. What the new instance says waits for the next flush.
    pub(crate) fn begin_chapter_if_due(&mut self, now: Moment) -> Result<(), Fault> {
        if let Some(began_at) = self.chapters.sealed.take() {
            // From here on a restart finds the way to the seal by itself (I-CHAPTER-2).
            if !mutation::active(Mutation::FloorNotDurable) {
                self.consensus.sync_all()?;
            }
            let chapter = self.cell.chapter();
            self.chapters.previous = self.consensus.take_log().map(|log| Previous {
                chapter: chapter.number - 1,
                entries: chapter.begins_at - began_at,
                log,
            });
            self.begin_chapter(now)?;
            let cell = Box::new(self.cell.snapshot());
            let source = self.digests.source();
            self.released
                .push_back(Output::WriteCheckpoint { cell, source });
            if mutation::active(Mutation::LogDroppedEarly) {
                let below = self.cell.chapter().number;
                self.released.push_back(Output::Discard { below });
            }
        }
        if let Some((cell, peer)) = self.chapters.fetched.take() {
            self.step_down("it missed the end of its chapter");
            self.cell = *cell;
            self.digests.copied(&self.cell, peer);
            self.chapters.previous = None;
            self.candidate
                .start_anew(self.cell.mastership().sequence, now);
            self.begin_chapter(now)?;
            let applied = self.cell.applied();
            self.released
                .push_back(Output::Log(Happening::StateReplaced { applied }));
            self.rebuilt();
            self.announce();
        }
        Ok(())
    }

    /// Lets go of the state that was not trusted, now that another is durable.
    fn rebuilt(&mut self) {
        if std::mem::take(&mut self.config.rebuild) {
            let below = self.cell.chapter().number;
            self.chapters.durable.retain(|chapter| *chapter >= below);
            self.released.push_back(Output::Rebuilt { below });
        }
    }

    fn begin_chapter(&mut self, now: Moment) -> Result<(), Fault> {
        let number = self.cell.chapter().number;
        let crossing = self
            .master
            .as_ref()
            .is_some_and(|master| master.sealing == Some(number));
        let log = match self.logs.chapters().contains(&number) {
            true => self.logs.open(number)?,
            false => self.logs.begin(number)?,
        };
        let seat = Seat {
            priority: u32::from(crossing),
            ..seat(&self.config, &self.cell)
        };
        self.watchdog.begin_chapter(&seat.voters, now);
        self.consensus = Consensus::new(seat, SharedLog::new(log))?;
        self.voters_hash = self.cell.chapter().membership();
        self.digests.begin_chapter(&self.cell.chapter().voters);
        self.chapters.start = self.cell.snapshot();
        self.chapters.bytes = 0;
        self.chapters.since = now;
        self.chapters.floor = number;
        self.chapters.begun = true;
        self.catch_up.reached(number);
        self.tell_membership();
        self.judge_digests();
        if crossing {
            self.consensus.try_become_leader();
        }
        let standing = self.cell.mastership();
        if self.candidate.is_retired() && standing.master == Some(self.config.id) {
            // What it said at the end of the last chapter may have stood behind the seal.
            let epoch = standing.epoch;
            self.append(&Entry::Resign { epoch });
        }
        let applied = self.cell.applied();
        let happening = Happening::ChapterBegan {
            chapter: number,
            applied,
        };
        self.released.push_back(Output::Log(happening));
        Ok(())
    }

    /// Notes that the state which a chapter begins from is durable, and lets go what is older than
    /// the checkpoint before (I-CHAPTER-6).
    pub(crate) fn checkpoint_written(&mut self, chapter: u64) {
        if let Some(below) = self.chapters.checkpoint_written(chapter) {
            self.hold(Output::Discard { below });
        }
        self.chapters.fetched = self.catch_up.written(chapter);
    }
}
