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
    own: ReplicaId,
    /// Peers that have been connected, and when they were last heard.
    peers: BTreeMap<ReplicaId, Peer>,
    /// Who votes in the chapter.
    voters: Vec<ReplicaId>,
    /// Rounds to wait, different for each replica so that they do not prod at once.
    patience: u64,
    accepting_since: Moment,
    progress: (u64, Moment),
}

/// What is known of a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) heard: Option<Moment>,
    /// When it last spoke in the chapter that this replica stands in: only who votes in it does.
    pub(crate) answered: Option<Moment>,
    pub(crate) feature_level_max: u32,
    /// The disk that it was last connected from.
    pub(crate) incarnation: u64,
    /// Where clients and peers reach it, as it says.
    pub(crate) addresses: (String, String),
}

impl Watchdog {
    pub(crate) fn new(own: ReplicaId, voters: &[Voter], now: Moment) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            voters: voters.iter().map(|voter| voter.id).collect(),
            patience: 8 + 3 * own.0,
            accepting_since: now,
            progress: (0, now),
        }
    }

    /// Notes that a link to a peer stands; it has not spoken on it. Ids are few: the links admit no
    /// other.
    pub(crate) fn connected(&mut self, id: ReplicaId, peer: Peer) {
        if id != self.own {
            self.peers.insert(id, peer);
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
        self.voters = voters.to_vec();
        self.accepting_since = now;
        self.progress = (0, now);
        for peer in self.peers.values_mut() {
            peer.answered = None;
        }
    }

    pub(crate) fn peer(&self, peer: ReplicaId) -> Option<&Peer> {
        self.peers.get(&peer)
    }

    /// Returns the peers that are connected.
    pub(crate) fn connected_peers(&self) -> impl Iterator<Item = ReplicaId> {
        let connected = self.peers.iter().filter(|(_, peer)| peer.connected);
        connected.map(|(id, _)| *id)
    }

    /// Returns all peers that were ever connected.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (ReplicaId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    /// Returns the highest feature level that every other voter is known to understand; nothing while
    /// one has not said. `own` is what this replica knows.
    pub(crate) fn feature_level_of_all(&self, own: u32) -> Option<u32> {
        let mut lowest = own;
        for voter in self.voters.iter().filter(|voter| **voter != self.own) {
            let level = self.peers.get(voter)?.feature_level_max;
            lowest = lowest.min(level);
        }
        (lowest > 0).then_some(lowest)
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

    /// Tells whether a majority of the voters, this replica included, is connected and has spoken in
    /// this chapter lately: each of them stands in it, on the disk that has a vote.
    pub(crate) fn hears_majority(&self, timing: &Timing, now: Moment) -> bool {
        let alive = self.voters.iter();
        let alive = alive.filter(|voter| **voter == self.own || self.speaks(**voter, timing, now));
        alive.count() > self.voters.len() / 2
    }

    /// Tells whether a peer is connected and has spoken in this chapter lately.
    pub(crate) fn speaks(&self, peer: ReplicaId, timing: &Timing, now: Moment) -> bool {
        let fresh = timing.rounds(4);
        self.peers.get(&peer).is_some_and(|peer| {
            peer.connected && peer.answered.is_some_and(|at| now.since(at) < fresh)
        })
    }

    /// Returns the voter that spoke last in this chapter, of those that do.
    pub(crate) fn spoke_last(&self, timing: &Timing, now: Moment) -> Option<ReplicaId> {
        let others = self.voters.iter().filter(|voter| **voter != self.own);
        others
            .filter(|voter| self.speaks(**voter, timing, now))
            .max_by_key(|voter| self.peers.get(voter).and_then(|peer| peer.answered))
            .copied()
    }
}
