//! The seam to consensus: OmniPaxos within its profile, or nothing but a log for a cell of one.
//!
//! The published OmniPaxos loses data outside a narrow profile (`docs/INVARIANTS.md`, I-PAXOS-1 to
//! I-PAXOS-8). This module is where it is kept: outgoing messages are taken after *every* call,
//! trimming, snapshots and reconfiguration are neither called nor let in, batches are our own, and a
//! stuck instance is prodded.

use crate::log::{ChapterLog, LogFault, LogRoom, Payload};
use crate::shared_log::SharedLog;
use crate::timing::TICKS_PER_ROUND;
use cotter_types::ReplicaId;
use cotter_types::mutation::{self, Mutation};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::storage::Storage;
use omnipaxos::util::{LogEntry, LogSync};
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use std::collections::BTreeSet;

/// Who leads the log, as this replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The leader, which may be this replica.
    pub(crate) leader: Option<ReplicaId>,
    /// Whether this replica is past the leader's preparation.
    pub(crate) accepting: bool,
}

/// As what a replica takes part in a chapter.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) own: ReplicaId,
    pub(crate) chapter: u64,
    /// Who votes in it.
    pub(crate) voters: Vec<ReplicaId>,
    /// Whether this replica does, from this disk.
    pub(crate) votes: bool,
    /// Above 0 for the master that sealed the chapter before, so that it leads this one.
    pub(crate) priority: u32,
}

/// Agrees on the order of the entries of one chapter.
pub(crate) struct Consensus<L: ChapterLog> {
    own: ReplicaId,
    members: Vec<ReplicaId>,
    /// Nothing only if the chapter's own log is missing or was taken away.
    log: Option<SharedLog<L>>,
    instance: Instance<L>,
    /// Messages that were taken from the instance and wait for the flush (I-PAXOS-4).
    taken: Vec<Message<Payload>>,
}

enum Instance<L: ChapterLog> {
    /// Three or five replicas.
    Paxos(Box<OmniPaxos<Payload, SharedLog<L>>>),
    /// One replica: what a finished flush covers is decided (I-PAXOS-10).
    Alone,
    /// None: this replica has no vote in the chapter, or the chapter has ended. The log is read only.
    Closed,
}

/// The resend interval of lost preparations, in ticks.
const RESEND_TICKS: u64 = 2 * TICKS_PER_ROUND;

impl<L: ChapterLog> Consensus<L> {
    /// Begins or resumes the chapter that this seat is in, on its own log.
    pub(crate) fn new(seat: Seat, log: SharedLog<L>) -> Result<Self, LogFault> {
        let instance = if !seat.votes {
            Instance::Closed
        } else if seat.voters.len() == 1 {
            Instance::Alone
        } else {
            let cluster = ClusterConfig {
                // Names the chapter in ballots too; a configuration must not be 0.
                configuration_id: (seat.chapter as u32).max(1),
                nodes: seat.voters.iter().map(|member| member.0).collect(),
                flexible_quorum: None,
            };
            let server = ServerConfig {
                pid: seat.own.0,
                election_tick_timeout: TICKS_PER_ROUND,
                resend_message_tick_timeout: RESEND_TICKS,
                batch_size: 1,
                leader_priority: seat.priority,
                ..ServerConfig::default()
            };
            let paxos = cluster
                .build_for_server(server, log.clone())
                .map_err(|error| LogFault(format!("consensus refuses its membership: {error}")))?;
            Instance::Paxos(Box::new(paxos))
        };
        let mut consensus = Self {
            own: seat.own,
            members: seat.voters,
            log: Some(log),
            instance,
            taken: Vec::new(),
        };
        consensus.take();
        Ok(consensus)
    }

    /// Stands for a chapter whose log is missing: nothing is voted on.
    pub(crate) fn absent(own: ReplicaId) -> Self {
        Self {
            own,
            members: Vec::new(),
            log: None,
            instance: Instance::Closed,
            taken: Vec::new(),
        }
    }

    /// Tells whether this replica votes in the chapter.
    pub(crate) fn votes(&self) -> bool {
        !matches!(self.instance, Instance::Closed)
    }

    /// Tells whether the chapter's log is missing.
    pub(crate) fn is_absent(&self) -> bool {
        self.log.is_none()
    }

    /// Ends the chapter here, because peers say how it ended: these entries are decided from `from`
    /// on, and the last of them is its seal. What was accepted here and not decided may go, so nothing
    /// that was to be said of it is said any more, and nothing is voted on in this chapter again.
    ///
    /// What was decided here meanwhile stays, and is the same; it may even reach beyond the seal, by
    /// entries that are void. Then nothing is missing any more.
    pub(crate) fn adopt(&mut self, from: u64, mut entries: Vec<Payload>) {
        let Some(log) = &self.log else {
            return;
        };
        let known = log.decided().saturating_sub(position(from));
        if known >= entries.len() {
            return;
        }
        entries.drain(..known);
        log.adopt(position(from) + known, entries);
        self.instance = Instance::Closed;
        self.taken.clear();
    }

    /// Ends the chapter here and hands over its log.
    pub(crate) fn take_log(&mut self) -> Option<SharedLog<L>> {
        self.instance = Instance::Closed;
        self.log.take()
    }

    /// Makes everything durable, the decided index included, which no message rests on.
    pub(crate) fn sync_all(&mut self) -> Result<(), LogFault> {
        self.log.as_ref().map_or(Ok(()), SharedLog::sync)
    }

    /// Appends an entry. It may be lost: whoever proposes must see it applied, or ask again.
    pub(crate) fn append(&mut self, payload: Payload) {
        match &mut self.instance {
            Instance::Paxos(paxos) => {
                let accepted = paxos.append(payload).is_ok();
                assert!(accepted, "I-PAXOS-2: an instance is never reconfigured");
            }
            Instance::Alone => {
                if let Some(log) = &mut self.log {
                    log.append_entry(payload)
                        .expect("I-STORE-4: a log that fails stops the replica");
                }
            }
            Instance::Closed => {}
        }
        self.take();
    }

    pub(crate) fn tick(&mut self) {
        if let Instance::Paxos(paxos) = &mut self.instance {
            paxos.tick();
        }
        self.take();
    }

    /// Handles a peer's message; what the profile rules out is dropped.
    pub(crate) fn handle(&mut self, from: ReplicaId, message: Message<Payload>) {
        if let Instance::Paxos(paxos) = &mut self.instance {
            let known = from != self.own && self.members.contains(&from);
            let addressed = message.get_sender() == from.0 && message.get_receiver() == self.own.0;
            let late = begins_below(&message, paxos.get_decided_idx());
            if known && addressed && within_profile(&message) && !late {
                paxos.handle_incoming(message);
            }
        }
        self.take();
    }

    pub(crate) fn reconnected(&mut self, peer: ReplicaId) {
        // An id that the instance does not know would be a panic.
        if let Instance::Paxos(paxos) = &mut self.instance
            && self.members.contains(&peer)
        {
            paxos.reconnected(peer.0);
        }
        self.take();
    }

    pub(crate) fn try_become_leader(&mut self) {
        if let Instance::Paxos(paxos) = &mut self.instance {
            paxos.try_become_leader();
        }
        self.take();
    }

    pub(crate) fn leadership(&self) -> Leadership {
        match &self.instance {
            Instance::Paxos(paxos) => match paxos.get_current_leader() {
                Some((leader, accepting)) => Leadership {
                    leader: Some(ReplicaId(leader)),
                    accepting,
                },
                None => Leadership {
                    leader: None,
                    accepting: false,
                },
            },
            Instance::Alone => Leadership {
                leader: Some(self.own),
                accepting: true,
            },
            Instance::Closed => Leadership {
                leader: None,
                accepting: false,
            },
        }
    }

    /// Tells whether this replica leads the log and may append to it right away.
    pub(crate) fn leads(&self) -> bool {
        self.leadership()
            == Leadership {
                leader: Some(self.own),
                accepting: true,
            }
    }

    /// Returns how many entries of the chapter are decided *and* covered by the last flush.
    pub(crate) fn decided(&self) -> u64 {
        match &self.instance {
            Instance::Paxos(paxos) => paxos.get_decided_idx() as u64,
            Instance::Alone | Instance::Closed => {
                self.log.as_ref().map_or(0, |log| log.decided() as u64)
            }
        }
    }

    /// Returns how many entries this replica has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        match &self.instance {
            Instance::Paxos(paxos) => paxos.get_accepted_idx() as u64,
            Instance::Alone | Instance::Closed => {
                self.log.as_ref().map_or(0, |log| log.len() as u64)
            }
        }
    }

    /// Reads decided entries, from `from` on, up to but without `to`.
    pub(crate) fn read(&self, from: u64, to: u64) -> Result<Vec<Payload>, LogFault> {
        let range = position(from)..position(to);
        let entries = match &self.instance {
            Instance::Paxos(paxos) => paxos
                .read_entries(range.clone())
                .unwrap_or_default()
                .into_iter()
                .filter_map(|entry| match entry {
                    LogEntry::Decided(payload) => Some(payload),
                    _ => None,
                })
                .collect(),
            Instance::Alone | Instance::Closed => match &self.log {
                Some(log) => log.entries(range.start, range.end)?,
                None => Vec::new(),
            },
        };
        if entries.len() == range.len() {
            Ok(entries)
        } else {
            Err(LogFault(format!(
                "entries {from} to {to} are decided but cannot be read"
            )))
        }
    }

    pub(crate) fn needs_sync(&self) -> bool {
        self.log.as_ref().is_some_and(SharedLog::needs_sync)
    }

    pub(crate) fn fault(&self) -> Option<LogFault> {
        self.log.as_ref().and_then(SharedLog::fault)
    }

    pub(crate) fn room(&self) -> LogRoom {
        self.log.as_ref().map_or(LogRoom::Scarce, SharedLog::room)
    }

    /// Makes everything durable that was staged; alone, that decides it.
    pub(crate) fn sync(&mut self) -> Result<(), LogFault> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        if log.needs_sync() {
            log.sync()?;
        }
        if matches!(self.instance, Instance::Alone) {
            log.decide_all()?;
        }
        Ok(())
    }

    /// Hands over the messages that may leave before the flush of this turn (I-PAXOS-4, the one
    /// exception): what the leader of the log tells its followers to accept and to take as decided,
    /// unless something that is held stands before it on the way to the same peer.
    ///
    /// It promises nothing about this replica's own disk. A leader that dies before its flush comes
    /// back as a follower, and never leads the same ballot again; and what it counts of itself is
    /// looked at only when the next input is handled, which is after the flush.
    pub(crate) fn drain_early(&mut self) -> Vec<(ReplicaId, Message<Payload>)> {
        let everything = mutation::active(Mutation::EverythingLeavesEarly);
        let own_ballot = match &self.instance {
            Instance::Paxos(paxos) if self.leads() || everything => paxos.get_promise(),
            Instance::Paxos(_) | Instance::Alone | Instance::Closed => return Vec::new(),
        };
        let mut blocked = BTreeSet::new();
        let mut early = Vec::new();
        for message in std::mem::take(&mut self.taken) {
            let to = message.get_receiver();
            let free = everything || leaves_early(&message, own_ballot);
            if free && !blocked.contains(&to) {
                early.push((ReplicaId(to), message));
            } else {
                blocked.insert(to);
                self.taken.push(message);
            }
        }
        early
    }

    /// Hands over the messages that were taken and are covered by the last flush.
    pub(crate) fn drain_messages(&mut self) -> impl Iterator<Item = (ReplicaId, Message<Payload>)> {
        if mutation::active(Mutation::MessagesTakenOncePerTurn) {
            self.take_now();
        }
        self.taken
            .drain(..)
            .map(|message| (ReplicaId(message.get_receiver()), message))
    }

    /// Takes outgoing messages after every call into the crate (I-PAXOS-4): it would otherwise merge
    /// later entries into a message that stands before the sync which truncates them.
    fn take(&mut self) {
        if !mutation::active(Mutation::MessagesTakenOncePerTurn) {
            self.take_now();
        }
    }

    fn take_now(&mut self) {
        if let Instance::Paxos(paxos) = &mut self.instance {
            paxos.take_outgoing_messages(&mut self.taken);
        }
    }
}

/// Tells whether a message of the leader with this ballot rests on nothing that is not flushed yet.
fn leaves_early(message: &Message<Payload>, own_ballot: Ballot) -> bool {
    match message {
        Message::BLE(_) => false,
        Message::SequencePaxos(paxos) => match &paxos.msg {
            PaxosMsg::AcceptDecide(accept) => accept.n == own_ballot,
            PaxosMsg::Decide(decide) => decide.n == own_ballot,
            _ => false,
        },
    }
}

/// Tells whether a message is a synchronisation that begins below what is decided here.
///
/// A link that flaps makes the leader answer a promise that was given before the follower went on.
/// On an ordered link such an answer only writes the same entries once more, but the crate holds it
/// to be impossible; it is dropped, and the promise is given again.
fn begins_below(message: &Message<Payload>, decided: usize) -> bool {
    match message {
        Message::SequencePaxos(paxos) => match &paxos.msg {
            PaxosMsg::AcceptSync(sync) => sync.log_sync.sync_idx < decided,
            _ => false,
        },
        Message::BLE(_) => false,
    }
}

/// Tells whether the profile admits a message: no trim, no snapshot, no stop-sign (I-PAXOS-2).
fn within_profile(message: &Message<Payload>) -> bool {
    let plain =
        |sync: &LogSync<Payload>| sync.decided_snapshot.is_none() && sync.stopsign.is_none();
    match message {
        Message::BLE(_) => true,
        Message::SequencePaxos(paxos) => match &paxos.msg {
            PaxosMsg::PrepareReq(_)
            | PaxosMsg::Prepare(_)
            | PaxosMsg::AcceptDecide(_)
            | PaxosMsg::Accepted(_)
            | PaxosMsg::NotAccepted(_)
            | PaxosMsg::Decide(_)
            | PaxosMsg::ProposalForward(_) => true,
            PaxosMsg::Promise(promise) => promise.log_sync.as_ref().is_none_or(plain),
            PaxosMsg::AcceptSync(sync) => plain(&sync.log_sync),
            PaxosMsg::Compaction(_)
            | PaxosMsg::AcceptStopSign(_)
            | PaxosMsg::ForwardStopSign(_) => false,
        },
    }
}

fn position(index: u64) -> usize {
    usize::try_from(index).expect("a log position fits the machine's word")
}
