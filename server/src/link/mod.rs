//! Links between replicas: one ordered stream for each ordered pair of peers.
//!
//! Each replica dials every other one and only sends on what it dialled; what it receives comes on
//! the links that the others dialled. Every message is in an envelope that [`Gate`] checks. Nothing
//! here waits for a slow peer: its queue is bounded, and when that is full its link is made anew,
//! which consensus is told.
//!
//! What this module must never do: reorder, repeat, or let something pass that the gate did not see.

mod accept;
mod dial;
mod envelope;
mod gate;
#[cfg(test)]
mod handover_tests;
mod identity;
mod queue;
mod standing;
#[cfg(test)]
mod tests;

pub use gate::{Gate, LinkNumber, MESSAGE_BYTES_MAX, Rejection};
pub use identity::{Identity, PeerIdentity};
pub use queue::{PEER_QUEUE_BYTES_MAX, PEER_QUEUE_MESSAGES_MAX, PeerSender};

use crate::api::door::Door;
use crate::birth::BirthDesk;
use crate::net::{self, TcpListener};
use accept::PeerDoor;
use cotter_types::ReplicaId;
use dial::Dialler;
use queue::{PeerReceiver, peer_queue};
use standing::PeerStanding;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Server;

/// What the tasks of one replica's links share.
#[derive(Debug)]
struct Shared {
    identity: Arc<Identity>,
    door: Door,
    gate: Mutex<Gate>,
    complaints: Mutex<Complaints>,
}

/// What was last said about each peer's refused links, and when.
type Complaints = BTreeMap<ReplicaId, (Rejection, Instant)>;

impl Shared {
    /// Returns the gate. It is locked for one check at a time, together with what must not happen
    /// after another check, and never across a wait.
    fn gate(&self) -> MutexGuard<'_, Gate> {
        // A panic inside the gate cannot leave it half changed in a way that lets more pass.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complaints(&self) -> MutexGuard<'_, Complaints> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues to all peers, for the owner thread.
pub type PeerSenders = BTreeMap<ReplicaId, PeerSender>;

/// Links that are not begun yet: the queues exist, so that the owner can be built first.
#[derive(Debug)]
pub struct PreparedLinks {
    identity: Arc<Identity>,
    receivers: BTreeMap<ReplicaId, PeerReceiver>,
}

/// Builds the queues to all peers of `identity`.
#[must_use]
pub fn prepare(identity: Identity) -> (PeerSenders, PreparedLinks) {
    let mut senders = BTreeMap::new();
    let mut receivers = BTreeMap::new();
    for &peer in identity.peers.keys() {
        let (sender, receiver) = peer_queue(PEER_QUEUE_MESSAGES_MAX);
        senders.insert(peer, sender);
        receivers.insert(peer, receiver);
    }
    let identity = Arc::new(identity);
    (
        senders,
        PreparedLinks {
            identity,
            receivers,
        },
    )
}

impl PreparedLinks {
    /// Begins to dial all peers and to accept them on `listener`. The links live until the returned
    /// [`Links`] is dropped.
    #[must_use]
    pub fn start(self, listener: TcpListener, door: Door, birth: Arc<BirthDesk>) -> Links {
        let shared = Arc::new(Shared {
            gate: Mutex::new(Gate::new(Arc::clone(&self.identity))),
            complaints: Mutex::new(BTreeMap::new()),
            identity: self.identity,
            door: door.clone(),
        });
        let mut standings = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for (peer, queue) in self.receivers {
            let standing = Arc::new(PeerStanding::new(peer, door.clone()));
            standings.insert(peer, Arc::clone(&standing));
            let dialler = Dialler {
                shared: Arc::clone(&shared),
                peer,
                queue,
                standing,
            };
            tasks.spawn(dialler.run());
        }
        let door = PeerDoor {
            shared,
            standings: Arc::new(standings),
            birth,
        };
        tasks.spawn(serve(listener, door));
        Links { _tasks: tasks }
    }
}

/// The running links of one replica.
#[derive(Debug)]
pub struct Links {
    // Held for its `Drop`, which ends the tasks.
    _tasks: JoinSet<()>,
}

/// Builds a server for peers, which notices within a second or so that one of them fell silent.
pub(crate) fn peer_server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_millis(300)))
        .http2_keepalive_timeout(Some(Duration::from_millis(700)))
        // Room for one whole frame on the way, however long the road.
        .initial_stream_window_size(Some(4 * 1024 * 1024))
        .initial_connection_window_size(Some(8 * 1024 * 1024))
}

async fn serve(listener: TcpListener, door: PeerDoor) {
    let replica = door.shared.identity.replica.0;
    let served = peer_server()
        .add_service(door.into_service())
        .serve_with_incoming(net::incoming(listener))
        .await;
    if let Err(error) = served {
        tracing::error!(replica, %error, "peers cannot be accepted any more");
    }
}
