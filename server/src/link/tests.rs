//! What passes the gate, and what a queue does when it is full.

use super::envelope::{Packer, Size};
use super::gate::{Gate, LinkNumber, MESSAGE_BYTES_MAX, Rejection, Target};
use super::identity::Identity;
use super::queue::{PEER_QUEUE_BYTES_MAX, PeerSender, peer_queue};
use cotter_proto::peer::v1::{LinkHello, LinkReply, PeerEnvelope};
use cotter_replica::{ChapterKey, Payload, Peer, PeerMessage};
use cotter_types::{CellId, ReplicaId};
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{PaxosMessage, PaxosMsg};
use std::sync::Arc;

const CELL: u64 = 77;
const DISKS: [u64; 4] = [0, 101, 102, 103];

pub(super) fn identity(replica: u64, boot: u64) -> Identity {
    Identity {
        cell_id: CellId(CELL),
        replica: ReplicaId(replica),
        incarnation: DISKS[replica as usize],
        boot,
        life: 1_000 + boot,
        client_address: format!("client-{replica}:1"),
        peer_address: format!("peer-{replica}:1"),
    }
}

/// The other members of a cell of three.
pub(super) fn members(replica: u64) -> Vec<Peer> {
    (1..=3)
        .filter(|&id| id != replica)
        .map(|id| Peer {
            id: ReplicaId(id),
            incarnation: Some(DISKS[id as usize]),
            address: format!("peer-{id}:1"),
        })
        .collect()
}

/// The gate of replica 1 of a cell of three.
pub(super) fn gate() -> Gate {
    let mut gate = Gate::new(Arc::new(identity(1, 1)));
    gate.set_members(&members(1));
    gate
}

/// What replica 1 dials to reach a disk of replica 2.
pub(super) fn target(disk: u64) -> Target {
    Target {
        incarnation: Some(disk),
        address: "peer-2:1".to_owned(),
    }
}

pub(super) fn reply(disk: u64, boot: u64) -> LinkReply {
    LinkReply {
        incarnation: disk,
        boot,
        feature_level_max: 1,
        client_address: "client-2:1".to_owned(),
        peer_address: "peer-2:1".to_owned(),
    }
}

pub(super) fn hello(boot: u64, life: u64) -> LinkHello {
    LinkHello {
        cell_id: CELL,
        sender: 2,
        sender_incarnation: DISKS[2],
        receiver: 1,
        receiver_incarnation: DISKS[1],
        boot,
        feature_level_max: 1,
        version: String::new(),
        life,
        client_address: "client-2:1".to_owned(),
        peer_address: "peer-2:1".to_owned(),
    }
}

pub(super) fn envelope(boot: u64, sequence: u64) -> PeerEnvelope {
    PeerEnvelope {
        cell_id: CELL,
        sender: 2,
        sender_incarnation: DISKS[2],
        receiver_incarnation: DISKS[1],
        boot,
        sequence,
        body: vec![7].into(),
        continues: false,
    }
}

fn gate_with_link(boot: u64) -> (Gate, LinkNumber) {
    let mut gate = gate();
    let (_, link) = gate.admit(&hello(boot, 1)).unwrap();
    (gate, link)
}

fn receive(gate: &mut Gate, link: LinkNumber, envelope: PeerEnvelope) -> Result<bool, Rejection> {
    gate.receive(ReplicaId(2), link, envelope)
        .map(|message| message.is_some())
}

/// The key of some chapter.
const KEY: ChapterKey = ChapterKey {
    chapter: 1,
    membership: 1,
};

pub(super) fn heartbeat(round: u32) -> PeerMessage {
    PeerMessage::Paxos {
        key: KEY,
        message: Message::BLE(BLEMessage {
            from: 2,
            to: 1,
            msg: HeartbeatMsg::Request(HeartbeatRequest { round }),
        }),
    }
}

fn forwarded(bytes: usize) -> PeerMessage {
    PeerMessage::Paxos {
        key: KEY,
        message: Message::SequencePaxos(PaxosMessage {
            from: 2,
            to: 1,
            msg: PaxosMsg::ProposalForward(vec![Payload::from(vec![3; bytes])]),
        }),
    }
}

#[test]
fn messages_in_order_pass() {
    let (mut gate, link) = gate_with_link(1);
    for sequence in 1..=3 {
        assert_eq!(receive(&mut gate, link, envelope(1, sequence)), Ok(true));
    }
}

#[test]
fn a_message_that_is_not_strictly_newer_is_dropped() {
    let (mut gate, link) = gate_with_link(1);
    assert_eq!(receive(&mut gate, link, envelope(1, 1)), Ok(true));
    assert_eq!(receive(&mut gate, link, envelope(1, 1)), Ok(false));
    assert_eq!(receive(&mut gate, link, envelope(1, 2)), Ok(true));
    assert_eq!(receive(&mut gate, link, envelope(1, 1)), Ok(false));
}

#[test]
fn the_sequence_goes_on_over_a_new_link_of_the_same_process() {
    let (mut gate, link) = gate_with_link(1);
    assert_eq!(receive(&mut gate, link, envelope(1, 5)), Ok(true));
    let (_, link) = gate.admit(&hello(1, 1)).unwrap();
    assert_eq!(receive(&mut gate, link, envelope(1, 5)), Ok(false));
    // What was lost with the old link is lost: a new one may begin further on.
    assert_eq!(receive(&mut gate, link, envelope(1, 9)), Ok(true));
}

#[test]
fn a_hole_in_the_middle_of_a_link_ends_it() {
    let (mut gate, link) = gate_with_link(1);
    assert_eq!(receive(&mut gate, link, envelope(1, 1)), Ok(true));
    assert!(matches!(
        receive(&mut gate, link, envelope(1, 3)),
        Err(Rejection::Gap {
            last: 1,
            theirs: 3,
            ..
        })
    ));
}

#[test]
fn an_older_link_is_void_once_a_newer_one_stands() {
    let (mut gate, old) = gate_with_link(1);
    let (_, new) = gate.admit(&hello(1, 1)).unwrap();
    assert!(matches!(
        receive(&mut gate, old, envelope(1, 1)),
        Err(Rejection::Superseded { .. })
    ));
    assert_eq!(receive(&mut gate, new, envelope(1, 1)), Ok(true));
    assert!(!gate.is_newest(ReplicaId(2), old));
    assert!(gate.is_newest(ReplicaId(2), new));
}

#[test]
fn a_higher_boot_number_begins_a_new_sequence() {
    let (mut gate, link) = gate_with_link(1);
    assert_eq!(receive(&mut gate, link, envelope(1, 50)), Ok(true));
    let (_, link) = gate.admit(&hello(2, 2)).unwrap();
    assert_eq!(receive(&mut gate, link, envelope(2, 1)), Ok(true));
}

#[test]
fn a_replica_that_was_set_back_is_refused() {
    let (mut gate, _) = gate_with_link(5);
    assert!(matches!(
        gate.admit(&hello(4, 9)),
        Err(Rejection::Forgot {
            theirs: 4,
            seen: 5,
            ..
        })
    ));
    // The number alone may be that of a dead process whose hello was read late.
    assert!(gate.admit(&hello(6, 9)).is_ok());
}

#[test]
fn a_replica_that_was_set_back_stays_refused_however_often_it_starts() {
    let (mut gate, _) = gate_with_link(5);
    // The same number in another process: the directory was set back.
    assert!(matches!(
        gate.admit(&hello(5, 9)),
        Err(Rejection::Forgot {
            theirs: 5,
            seen: 5,
            ..
        })
    ));
    for boot in 6..9 {
        let refused = gate.admit(&hello(boot, boot)).unwrap_err();
        assert!(matches!(refused, Rejection::Forgot { seen: 5, .. }));
        let answered = gate.answered(ReplicaId(2), &target(DISKS[2]), &reply(DISKS[2], boot));
        assert!(answered.is_err());
    }
    // The process that did not forget, if it is still there, goes on.
    assert!(gate.admit(&hello(5, 1)).is_ok());
}

#[test]
fn an_answer_tells_of_a_boot_number_too() {
    let mut gate = gate();
    let target = target(DISKS[2]);
    gate.answered(ReplicaId(2), &target, &reply(DISKS[2], 3))
        .unwrap();
    assert!(matches!(
        gate.admit(&hello(2, 1)),
        Err(Rejection::Forgot {
            theirs: 2,
            seen: 3,
            ..
        })
    ));
    assert!(gate.admit(&hello(3, 1)).is_ok());
    assert!(matches!(
        gate.answered(ReplicaId(2), &target, &reply(DISKS[2], 1)),
        Err(Rejection::Earlier {
            theirs: 1,
            seen: 3,
            ..
        })
    ));
    assert!(matches!(
        gate.answered(ReplicaId(2), &target, &reply(9, 3)),
        Err(Rejection::OtherDisk { theirs: 9, .. })
    ));
}

#[test]
fn a_hello_must_fit_this_cell_and_this_disk() {
    let mut gate = gate();
    let admit = |gate: &mut Gate, change: &dyn Fn(&mut LinkHello)| {
        let mut hello = hello(1, 1);
        change(&mut hello);
        gate.admit(&hello).unwrap_err()
    };
    let other_cell = admit(&mut gate, &|hello| hello.cell_id = 78);
    assert!(matches!(other_cell, Rejection::OtherCell { .. }));
    let stranger = admit(&mut gate, &|hello| hello.sender = 6);
    assert!(matches!(stranger, Rejection::Stranger { .. }));
    let itself = admit(&mut gate, &|hello| hello.sender = 1);
    assert!(matches!(itself, Rejection::Stranger { .. }));
    let long = admit(&mut gate, &|hello| hello.peer_address = "x".repeat(261));
    assert!(matches!(long, Rejection::BadAddress { .. }));
    let for_another = admit(&mut gate, &|hello| hello.receiver = 3);
    assert!(matches!(for_another, Rejection::NotForUs { .. }));
    let for_our_old_disk = admit(&mut gate, &|hello| hello.receiver_incarnation = 9);
    assert!(matches!(for_our_old_disk, Rejection::NotForUs { .. }));
}

#[test]
fn an_envelope_must_fit_its_link() {
    let (mut gate, link) = gate_with_link(1);
    let mut rejected = |change: &dyn Fn(&mut PeerEnvelope)| {
        let mut envelope = envelope(1, 1);
        change(&mut envelope);
        receive(&mut gate, link, envelope).unwrap_err()
    };
    assert!(matches!(
        rejected(&|e| e.cell_id = 1),
        Rejection::OtherCell { .. }
    ));
    assert!(matches!(
        rejected(&|e| e.sender = 3),
        Rejection::Stranger { .. }
    ));
    assert!(matches!(
        rejected(&|e| e.sender_incarnation = 1),
        Rejection::OtherDisk { .. }
    ));
    assert!(matches!(
        rejected(&|e| e.receiver_incarnation = 1),
        Rejection::NotForUs { .. }
    ));
    assert!(matches!(
        rejected(&|e| e.boot = 2),
        Rejection::Superseded { .. }
    ));
    // None of these moved anything.
    assert_eq!(receive(&mut gate, link, envelope(1, 1)), Ok(true));
}

#[tokio::test]
async fn what_the_packer_packs_comes_out_of_the_gate_the_same() {
    let mut packer = Packer::new(Arc::new(identity(2, 1)));
    packer.address(DISKS[1]);
    let (mut gate, link) = gate_with_link(1);
    // Small ones share a frame; a large one takes several.
    let messages = [
        heartbeat(1),
        forwarded(5_000_000),
        heartbeat(2),
        forwarded(2_000_000),
        forwarded(1024 * 1024),
        forwarded(10),
    ];
    for message in messages.clone() {
        packer.add(message).unwrap();
        packer.encoded().await.unwrap();
    }
    let mut frames = 0;
    let mut whole = Vec::new();
    while let Some(batch) = packer.take() {
        frames += 1;
        let size = batch
            .envelopes
            .iter()
            .map(|e| e.body.len() + 96)
            .sum::<usize>();
        assert!(size < cotter_types::limits::FRAME_BYTES_MAX);
        for envelope in batch.envelopes {
            whole.extend(gate.receive(ReplicaId(2), link, envelope).unwrap());
        }
    }
    assert!(frames >= 5, "{frames}");
    let expected: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| postcard::to_stdvec(message).unwrap())
        .collect();
    assert_eq!(whole, expected);
}

#[tokio::test]
async fn what_waits_goes_before_a_large_message_and_nothing_is_added_behind_it() {
    let mut packer = Packer::new(Arc::new(identity(2, 1)));
    packer.add(heartbeat(1)).unwrap();
    packer.add(forwarded(5_000_000)).unwrap();
    assert!(packer.is_full());
    assert_eq!(packer.take().unwrap().envelopes.len(), 1);
    // It is not there yet, and a heartbeat may go instead.
    assert!(!packer.is_waiting());
    packer.encoded().await.unwrap();
    assert!(!packer.is_encoding());
    assert_eq!(packer.take().unwrap().envelopes[0].sequence, 2);
    // What is left of it, and what is not encoded yet, goes with the link.
    packer.add(forwarded(5_000_000)).unwrap();
    packer.clear();
    assert!(!packer.is_waiting() && !packer.is_encoding());
}

#[test]
fn a_message_near_the_limit_is_told_from_one_beyond_it() {
    assert_eq!(Size::of(MESSAGE_BYTES_MAX / 2 - 1), Size::Fits);
    assert_eq!(Size::of(MESSAGE_BYTES_MAX / 2), Size::NearLimit);
    assert_eq!(Size::of(MESSAGE_BYTES_MAX), Size::NearLimit);
    assert_eq!(Size::of(MESSAGE_BYTES_MAX + 1), Size::TooLarge);
}

#[test]
fn pieces_of_a_message_do_not_survive_their_link() {
    let (mut gate, link) = gate_with_link(1);
    let piece = PeerEnvelope {
        continues: true,
        ..envelope(1, 1)
    };
    assert_eq!(gate.receive(ReplicaId(2), link, piece), Ok(None));
    let (_, link) = gate.admit(&hello(1, 1)).unwrap();
    let message = gate.receive(ReplicaId(2), link, envelope(1, 2)).unwrap();
    assert_eq!(message, Some(vec![7]));
}

#[tokio::test]
async fn a_queue_takes_nothing_without_a_link() {
    let (sender, mut receiver) = peer_queue(4);
    sender.send(heartbeat(1));
    assert_eq!(sender.waiting(), 0);
    receiver.open();
    sender.send(heartbeat(2));
    assert_eq!(sender.waiting(), 1);
    receiver.close();
    assert_eq!(sender.waiting(), 0);
}

#[tokio::test]
async fn a_full_queue_drops_what_follows_until_a_new_link() {
    let (sender, mut receiver) = peer_queue(2);
    receiver.open();
    for round in 0..5 {
        sender.send(heartbeat(round));
    }
    assert!(receiver.is_overflown());
    receiver.overflow_signal().wait().await;
    assert!(receiver.next().await.is_some());
    // There is room again, but a hole before it.
    sender.send(heartbeat(9));
    assert_eq!(sender.waiting(), 1);
    receiver.open();
    assert!(!receiver.is_overflown());
    sender.send(heartbeat(10));
    assert_eq!(sender.waiting(), 1);
}

/// Sends `count` messages of a megabyte.
fn send_megabytes(sender: &PeerSender, count: usize) {
    for _ in 0..count {
        sender.send(forwarded(1_000_000));
    }
}

#[tokio::test]
async fn a_queue_is_bounded_by_bytes() {
    let (sender, mut receiver) = peer_queue(100);
    receiver.open();
    send_megabytes(&sender, 65);
    assert!(!receiver.is_overflown());
    send_megabytes(&sender, 3);
    assert!(receiver.is_overflown());
}

#[tokio::test]
async fn one_oversized_message_takes_no_room_from_what_is_behind_it() {
    let (sender, mut receiver) = peer_queue(100);
    receiver.open();
    send_megabytes(&sender, 30);
    sender.send(forwarded(PEER_QUEUE_BYTES_MAX + 1));
    assert!(!receiver.is_overflown());
    // What is behind it is bounded as if it were not there.
    send_megabytes(&sender, 35);
    assert!(!receiver.is_overflown());
    send_megabytes(&sender, 3);
    assert!(receiver.is_overflown());
}

#[tokio::test]
async fn only_one_oversized_message_at_a_time_is_not_counted() {
    let (sender, mut receiver) = peer_queue(100);
    receiver.open();
    sender.send(forwarded(PEER_QUEUE_BYTES_MAX + 1));
    assert!(receiver.next().await.is_some());
    // The first is on its way.
    sender.send(forwarded(PEER_QUEUE_BYTES_MAX + 1));
    assert!(!receiver.is_overflown());
    sender.send(forwarded(PEER_QUEUE_BYTES_MAX + 1));
    assert!(receiver.is_overflown());
    // A new link begins with an empty queue.
    receiver.open();
    sender.send(forwarded(PEER_QUEUE_BYTES_MAX + 1));
    send_megabytes(&sender, 65);
    assert!(!receiver.is_overflown());
}
