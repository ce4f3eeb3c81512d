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
mod guest_tests;
#[cfg(test)]
mod handover_tests;
mod identity;
mod queue;
mod standing;
#[cfg(test)]
mod tests;

pub use gate::{Gate, LinkNumber, MESSAGE_BYTES_MAX, Rejection, Target};
pub use identity::Identity;
pub use queue::{PEER_QUEUE_BYTES_MAX, PEER_QUEUE_MESSAGES_MAX, PeerSender};

use crate::api::door::Door;
use crate::birth::BirthDesk;
use crate::net::{self, TcpListener};
use accept::PeerDoor;
use cotter_replica::{Peer, PeerMessage};
use cotter_types::ReplicaId;
use dial::Dialler;
use gate::possible_peers;
use queue::{PeerReceiver, peer_queue};
use standing::PeerStanding;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;

/// What the tasks of one replica's links share.
#[derive(Debug)]
struct Shared {
    identity: Arc<Identity>,
    door: Door,
    gate: Mutex<Gate>,
    complaints: Mutex<Complaints>,
    /// Whom to dial may have changed.
    changed: Notify,
}

/// What was last said about each peer's refused links, and when.
type Complaints = BTreeMap<ReplicaId, (Rejection, Instant)>;

impl Shared {
    fn new(identity: Identity, door: Door) -> Self {
        let identity = Arc::new(identity);
        Self {
            gate: Mutex::new(Gate::new(Arc::clone(&identity))),
            complaints: Mutex::new(BTreeMap::new()),
            identity,
            door,
            changed: Notify::new(),
        }
    }

    /// Notes whether a link with this disk of a peer stands.
    fn set_up(&self, peer: ReplicaId, disk: u64, is_up: bool) {
        self.gate().set_up(peer, disk, is_up);
        self.changed.notify_one();
    }

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

/// All peers that there can be, for the owner thread.
#[derive(Debug)]
pub struct Peers {
    shared: Arc<Shared>,
    queues: BTreeMap<ReplicaId, PeerSender>,
}

impl Peers {
    /// Queues a message for a peer, or drops it. Never waits.
    pub fn send(&self, to: ReplicaId, message: PeerMessage) {
        if let Some(queue) = self.queues.get(&to) {
            queue.send(message);
        }
    }

    /// Links with these peers from here on.
    pub fn link_with(&self, peers: &[Peer]) {
        self.shared.gate().set_members(peers);
        self.shared.changed.notify_one();
    }

    /// Returns how many messages wait for each.
    pub fn waiting(&self) -> impl Iterator<Item = (ReplicaId, usize)> {
        self.queues.iter().map(|(id, queue)| (*id, queue.waiting()))
    }
}

/// Links that are not begun yet: the queues exist, so that the owner can be built first.
#[derive(Debug)]
pub struct PreparedLinks {
    shared: Arc<Shared>,
    receivers: BTreeMap<ReplicaId, PeerReceiver>,
}

/// Builds the queues to all peers that there can be; who is a peer is told later.
#[must_use]
pub fn prepare(identity: Identity, door: Door) -> (Peers, PreparedLinks) {
    let shared = Arc::new(Shared::new(identity, door));
    let mut queues = BTreeMap::new();
    let mut receivers = BTreeMap::new();
    for peer in possible_peers(shared.identity.replica) {
        let (sender, receiver) = peer_queue(PEER_QUEUE_MESSAGES_MAX);
        queues.insert(peer, sender);
        receivers.insert(peer, receiver);
    }
    let peers = Peers {
        shared: Arc::clone(&shared),
        queues,
    };
    (peers, PreparedLinks { shared, receivers })
}

impl PreparedLinks {
    /// Begins to dial peers and to accept them on `listener`. The links live until the returned
    /// [`Links`] is dropped.
    #[must_use]
    pub fn start(self, listener: TcpListener, birth: Arc<BirthDesk>) -> Links {
        let shared = self.shared;
        let mut standings = BTreeMap::new();
        let mut targets = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for (peer, queue) in self.receivers {
            let standing = Arc::new(PeerStanding::new(peer, Arc::clone(&shared)));
            standings.insert(peer, Arc::clone(&standing));
            let (sender, target) = watch::channel(None);
            targets.insert(peer, sender);
            let dialler = Dialler {
                shared: Arc::clone(&shared),
                peer,
                target,
                queue,
                standing,
            };
            tasks.spawn(dialler.run());
        }
        let door = PeerDoor {
            shared: Arc::clone(&shared),
            standings: Arc::new(standings),
            birth,
        };
        tasks.spawn(serve(listener, door));
        tasks.spawn(direct(shared, targets));
        Links { _tasks: tasks }
    }
}

/// Tells each dialler whom to dial, whenever that may have changed.
async fn direct(shared: Arc<Shared>, diallers: BTreeMap<ReplicaId, watch::Sender<Option<Target>>>) {
    loop {
        let mut targets = shared.gate().targets();
        for (id, dialler) in &diallers {
            let target = targets.remove(id).flatten();
            dialler.send_if_modified(|dialled| {
                let changed = *dialled != target;
                *dialled = target;
                changed
            });
        }
        shared.changed.notified().await;
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
