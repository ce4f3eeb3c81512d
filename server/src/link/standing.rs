//! Tells the owner when a peer is connected and when it is lost, in the right order.
//!
//! Two links join a pair of replicas, one in each direction, and each is served by a task of its own.
//! The peer is lost when both are down, or when another disk takes its place. Every new link, in either
//! direction, is told as connected: what was under way on the one before it may be gone, and OmniPaxos
//! must hear of it.

use super::Shared;
use cotter_replica::Input;
use cotter_types::ReplicaId;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Which links with a peer stand.
#[derive(Clone, Copy, Debug, Default)]
struct Up {
    /// From which disk the peer speaks.
    disk: u64,
    outgoing: bool,
    incoming: bool,
}

impl Up {
    fn stands(self) -> bool {
        self.outgoing || self.incoming
    }
}

/// Who is at the other end of a link, as it says.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherEnd {
    pub(super) disk: u64,
    pub(super) feature_level_max: u32,
    pub(super) client_address: String,
    pub(super) peer_address: String,
}

/// Reports on one peer. The lock is held while the owner is told, so that the two directions cannot
/// overtake each other.
#[derive(Debug)]
pub(super) struct PeerStanding {
    peer: ReplicaId,
    shared: Arc<Shared>,
    up: Mutex<Up>,
}

/// One of the two links of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Outgoing,
    Incoming,
}

impl PeerStanding {
    /// Builds the reporter for `peer`, which is not connected yet.
    pub(super) fn new(peer: ReplicaId, shared: Arc<Shared>) -> Self {
        Self {
            peer,
            shared,
            up: Mutex::new(Up::default()),
        }
    }

    /// Says that a link stands, unless it was replaced already, for nobody would say then that it went
    /// down. Returns whether it was said.
    pub(super) async fn connected(
        &self,
        direction: Direction,
        end: OtherEnd,
        is_newest: impl FnOnce() -> bool,
    ) -> bool {
        let mut up = self.up.lock().await;
        if !is_newest() {
            return false;
        }
        if up.disk != end.disk {
            if up.stands() {
                self.tell(Input::PeerLost { peer: self.peer }).await;
            }
            *up = Up {
                disk: end.disk,
                ..Up::default()
            };
        }
        match direction {
            Direction::Outgoing => up.outgoing = true,
            Direction::Incoming => up.incoming = true,
        }
        self.shared.set_up(self.peer, up.disk, true);
        let connected = Input::PeerConnected {
            peer: self.peer,
            feature_level_max: end.feature_level_max,
            incarnation: end.disk,
            client_address: end.client_address,
            peer_address: end.peer_address,
        };
        self.tell(connected).await;
        true
    }

    /// Says that a link is down; `is_newest` is asked once the order is settled, so that a link that
    /// was replaced does not speak for its successor. Returns whether the peer is lost by that.
    pub(super) async fn down(
        &self,
        direction: Direction,
        is_newest: impl FnOnce() -> bool,
    ) -> bool {
        let mut up = self.up.lock().await;
        if !is_newest() {
            return false;
        }
        let was_up = up.stands();
        match direction {
            Direction::Outgoing => up.outgoing = false,
            Direction::Incoming => up.incoming = false,
        }
        let lost = was_up && !up.stands();
        if lost {
            self.shared.set_up(self.peer, up.disk, false);
            self.tell(Input::PeerLost { peer: self.peer }).await;
        }
        lost
    }

    async fn tell(&self, input: Input) {
        // A closed door means that the replica is stopping.
        let _ = self.shared.door.send(input).await;
    }
}
