//! Prods an instance of consensus that is stuck though its peers are there (I-PAXOS-5, I-PAXOS-6).
//!
//! Two defects of the published OmniPaxos need it: a replica that restarts after it promised its own
//! ballot may follow nobody, and one whose link lost the wrong message may hear nothing any more
//! though its leader lives.

use crate::timing::Timing;
use cotter_cell::Voter;
use cotter_types::{Moment, ReplicaId};
use std::collections::BTreeMap;

/// What a stuck instance needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prod {
    /// Ask to lead.
    Lead,
    /// Treat the leader as reconnected.
    Reconnect(ReplicaId),
}

/// Watches for standstill.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Peers whose link stands, and when they were last heard.
    peers: BTreeMap<ReplicaId, Peer>,
    quorum: usize,
    /// Rounds to wait, different for each replica so that they do not prod at once.
    patience: u64,
    accepting_since: Moment,
    progress: (u64, Moment),
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) heard: Option<Moment>,
    /// When it last spoke in the chapter that this replica stands in.
    answered: Option<Moment>,
    pub(crate) feature_level_max: u32,
}

impl Watchdog {
    pub(crate) fn new(
        own: ReplicaId,
        members: impl Iterator<Item = ReplicaId>,
        voters: &[Voter],
        now: Moment,
    ) -> Self {
        let peers = members
            .filter(|member| *member != own)
            .map(|member| (member, Peer::default()))
            .collect();
        Self {
            peers,
            quorum: voters.len() / 2 + 1,
            patience: 8 + 3 * own.0,
            accepting_since: now,
            progress: (0, now),
        }
    }

    pub(crate) fn connected(&mut self, peer: ReplicaId, feature_level_max: u32, now: Moment) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            *entry = Peer {
                connected: true,
                heard: Some(now),
                feature_level_max,
                answered: None,
            };
        }
    }

    pub(crate) fn lost(&mut self, peer: ReplicaId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.connected = false;
        }
    }

    pub(crate) fn heard(&mut self, peer: ReplicaId, now: Moment) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.heard = Some(now);
        }
    }

    /// Notes that a peer has spoken in the chapter that this replica stands in.
    pub(crate) fn answered(&mut self, peer: ReplicaId, now: Moment) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.answered = Some(now);
        }
    }

    /// Watches another instance from here on, in which nobody has spoken yet.
    pub(crate) fn begin_chapter(&mut self, voters: &[ReplicaId], now: Moment) {
        self.quorum = voters.len() / 2 + 1;
        self.accepting_since = now;
        self.progress = (0, now);
        for peer in self.peers.values_mut() {
            peer.answered = None;
        }
    }

    pub(crate) fn peer(&self, peer: ReplicaId) -> Option<&Peer> {
        self.peers.get(&peer)
    }

    /// Returns the highest feature level that every peer is known to understand; nothing while one
    /// has not said.
    pub(crate) fn feature_level_of_all(&self) -> Option<u32> {
        self.peers
            .values()
            .map(|peer| peer.feature_level_max)
            .min()
            .filter(|level| *level > 0)
    }

    /// Looks at the instance, once a tick, and says what it needs.
    pub(crate) fn look(
        &mut self,
        leader: Option<ReplicaId>,
        own: ReplicaId,
        accepting: bool,
        accepted: u64,
        timing: &Timing,
        now: Moment,
    ) -> Option<Prod> {
        if accepting {
            self.accepting_since = now;
        }
        if accepted != self.progress.0 {
            self.progress = (accepted, now);
        }
        if now.since(self.accepting_since) > timing.rounds(self.patience)
            && self.hears_majority(timing, now)
        {
            self.accepting_since = now;
            return Some(Prod::Lead);
        }
        let leader = leader.filter(|leader| *leader != own)?;
        let silent = now.since(self.progress.1) > timing.rounds(10).max(timing.lease() * 2);
        let connected = self.peers.get(&leader).is_some_and(|peer| peer.connected);
        if accepting && silent && connected {
            self.progress.1 = now;
            return Some(Prod::Reconnect(leader));
        }
        None
    }

    /// Tells whether a majority, this replica included, is connected and has spoken in this chapter
    /// lately: each of them stands in it, on the disk that has a vote.
    pub(crate) fn hears_majority(&self, timing: &Timing, now: Moment) -> bool {
        let fresh = timing.rounds(4);
        let alive = self
            .peers
            .values()
            .filter(|peer| peer.connected && peer.answered.is_some_and(|at| now.since(at) < fresh))
            .count();
        alive + 1 >= self.quorum
    }
}
