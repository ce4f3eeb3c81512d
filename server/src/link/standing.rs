//! Tells the owner when a peer is connected and when it is lost, in the right order.
//!
//! Two links join a pair of replicas, one in each direction, and each is served by a task of its own.
//! The peer is lost when both are down. Every new link, in either direction, is told as connected:
//! what was under way on the one before it may be gone, and OmniPaxos must hear of it.

use crate::api::door::Door;
use cotter_replica::Input;
use cotter_types::ReplicaId;
use tokio::sync::Mutex;

/// Which links with a peer stand.
#[derive(Clone, Copy, Debug, Default)]
struct Up {
    outgoing: bool,
    incoming: bool,
}

/// Reports on one peer. The lock is held while the owner is told, so that the two directions cannot
/// overtake each other.
#[derive(Debug)]
pub(super) struct PeerStanding {
    peer: ReplicaId,
    door: Door,
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
    pub(super) fn new(peer: ReplicaId, door: Door) -> Self {
        Self {
            peer,
            door,
            up: Mutex::new(Up::default()),
        }
    }

    /// Says that a link stands, unless it was replaced already, for nobody would say then that it went
    /// down. Returns whether it was said.
    pub(super) async fn connected(
        &self,
        direction: Direction,
        feature_level_max: u32,
        is_newest: impl FnOnce() -> bool,
    ) -> bool {
        let mut up = self.up.lock().await;
        if !is_newest() {
            return false;
        }
        match direction {
            Direction::Outgoing => up.outgoing = true,
            Direction::Incoming => up.incoming = true,
        }
        let peer = self.peer;
        // A closed door means that the replica is stopping.
        let _ = self
            .door
            .send(Input::PeerConnected {
                peer,
                feature_level_max,
            })
            .await;
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
        let was_up = up.outgoing || up.incoming;
        match direction {
            Direction::Outgoing => up.outgoing = false,
            Direction::Incoming => up.incoming = false,
        }
        let lost = was_up && !up.outgoing && !up.incoming;
        if lost {
            let _ = self.door.send(Input::PeerLost { peer: self.peer }).await;
        }
        lost
    }
}
