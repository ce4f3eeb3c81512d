//! What an old link was still busy with when a newer one came (defect D of OmniPaxos).

use super::Shared;
use super::accept::Incoming;
use super::standing::{Direction, PeerStanding};
use super::tests::{envelope, heartbeat, hello, identity, members, reply, target};
use crate::api::door::{Inbox, door};
use crate::api::streams::StreamTable;
use cotter_proto::peer::v1::PeerEnvelope;
use cotter_replica::{Input, PeerMessage};
use cotter_types::ReplicaId;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::HeartbeatMsg;
use std::sync::Arc;

const PEER: ReplicaId = ReplicaId(2);

/// Replica 1 as its peer reaches it, and what its owner would be handed.
struct Reached {
    shared: Arc<Shared>,
    standing: Arc<PeerStanding>,
    inbox: Inbox,
    streams: StreamTable,
}

/// What the owner is handed. Messages are told apart by the round that they carry.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    Connected,
    Lost,
    Message(u32),
}

impl Reached {
    fn new() -> Self {
        let (door, inbox, streams) = door();
        let shared = Arc::new(Shared::new(identity(1, 1), door));
        shared.gate().set_members(&members(1));
        Self {
            standing: Arc::new(PeerStanding::new(PEER, Arc::clone(&shared))),
            shared,
            inbox,
            streams,
        }
    }

    /// Admits a link that the peer opens in its start number `boot`.
    fn admit(&self, boot: u64) -> Incoming {
        let (peer, link) = self.shared.gate().admit(&hello(boot, boot)).unwrap();
        Incoming {
            shared: Arc::clone(&self.shared),
            standing: Arc::clone(&self.standing),
            peer,
            link,
        }
    }

    fn handed(&mut self) -> Vec<Handed> {
        let arrivals = std::iter::from_fn(|| self.inbox.take());
        arrivals
            .filter_map(|arrival| self.streams.admit(arrival))
            .map(|input| match input {
                Input::PeerConnected { .. } => Handed::Connected,
                Input::PeerLost { .. } => Handed::Lost,
                Input::Peer {
                    message:
                        PeerMessage::Paxos {
                            message: Message::BLE(message),
                            ..
                        },
                    ..
                } => match message.msg {
                    HeartbeatMsg::Request(request) => Handed::Message(request.round),
                    HeartbeatMsg::Reply(_) => unreachable!("no test sends one"),
                },
                _ => unreachable!("no test sends anything else"),
            })
            .collect()
    }
}

/// Returns message `sequence` of the peer, which carries that number as its round.
fn message(boot: u64, sequence: u32) -> PeerEnvelope {
    PeerEnvelope {
        body: postcard::to_stdvec(&heartbeat(sequence)).unwrap().into(),
        ..envelope(boot, sequence.into())
    }
}

#[tokio::test]
async fn a_message_that_an_old_link_still_decodes_does_not_follow_those_of_a_newer_one() {
    let mut reached = Reached::new();
    let old = reached.admit(1);
    assert!(old.connected(hello(1, 1)).await);
    let first = old.pass(message(1, 1)).await.unwrap().unwrap();
    old.hand_over(first).await.unwrap();
    // The old link is here when the peer dials anew: past the gate, and not handed over.
    let late = old.pass(message(1, 2)).await.unwrap().unwrap();
    let new = reached.admit(1);
    assert!(new.connected(hello(1, 1)).await);
    let newer = new.pass(message(1, 3)).await.unwrap().unwrap();
    new.hand_over(newer).await.unwrap();
    assert!(old.hand_over(late).await.is_err());
    let expected = [
        Handed::Connected,
        Handed::Message(1),
        Handed::Connected,
        Handed::Message(3),
    ];
    assert_eq!(reached.handed(), expected);
}

#[tokio::test]
async fn a_message_of_a_dead_process_is_void_once_its_successor_was_heard_of() {
    let mut reached = Reached::new();
    let old = reached.admit(1);
    let late = old.pass(message(1, 1)).await.unwrap().unwrap();
    // The successor has answered a link that this replica opened, and opened none itself yet.
    let disk = hello(1, 1).sender_incarnation;
    reached
        .shared
        .gate()
        .answered(PEER, &target(disk), &reply(disk, 2))
        .unwrap();
    assert!(old.hand_over(late).await.is_err());
    assert_eq!(reached.handed(), []);
}

#[tokio::test]
async fn a_link_that_was_replaced_before_it_was_told_of_is_not_told_of() {
    let mut reached = Reached::new();
    let old = reached.admit(1);
    let new = reached.admit(1);
    assert!(new.connected(hello(1, 1)).await);
    assert!(!old.connected(hello(1, 1)).await);
    let lost = reached.standing.down(Direction::Incoming, || true).await;
    assert!(lost);
    assert_eq!(reached.handed(), [Handed::Connected, Handed::Lost]);
}
