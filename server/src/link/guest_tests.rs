//! Who may take the place of an id: the member's disk at any time, any other while the place is free.

use super::gate::{Gate, Rejection, Target};
use super::tests::{envelope, gate, hello, identity, members, reply, target};
use cotter_proto::peer::v1::LinkHello;
use cotter_replica::Peer;
use cotter_types::ReplicaId;
use std::sync::Arc;

const TWO: ReplicaId = ReplicaId(2);
const MEMBER: u64 = 102;
const GUEST: u64 = 900;

/// The hello of replica 2 from some disk, which says where it is dialled.
fn from_disk(disk: u64) -> LinkHello {
    LinkHello {
        sender_incarnation: disk,
        peer_address: format!("disk-{disk}:1"),
        ..hello(1, disk)
    }
}

fn admit(gate: &mut Gate, disk: u64) -> Result<(), Rejection> {
    gate.admit(&from_disk(disk))?;
    gate.set_up(TWO, disk, true);
    Ok(())
}

fn dialled(gate: &Gate) -> Option<Target> {
    gate.targets().remove(&TWO).flatten()
}

fn guest_target() -> Target {
    Target {
        incarnation: Some(GUEST),
        address: format!("disk-{GUEST}:1"),
    }
}

#[test]
fn a_disk_that_joined_is_let_in_while_the_members_is_away_and_dialled_back() {
    let mut gate = gate();
    assert_eq!(dialled(&gate), Some(target(MEMBER)));
    admit(&mut gate, GUEST).unwrap();
    assert_eq!(dialled(&gate), Some(guest_target()));
    gate.answered(TWO, &guest_target(), &reply(GUEST, 1))
        .unwrap();
    gate.set_up(TWO, GUEST, false);
    assert_eq!(dialled(&gate), Some(target(MEMBER)));
}

#[test]
fn a_disk_that_joined_waits_while_the_members_is_linked() {
    let mut gate = gate();
    admit(&mut gate, MEMBER).unwrap();
    let refused = admit(&mut gate, GUEST).unwrap_err();
    assert!(matches!(
        refused,
        Rejection::OtherDisk {
            theirs: GUEST,
            expected: MEMBER,
            ..
        }
    ));
    gate.set_up(TWO, MEMBER, false);
    admit(&mut gate, GUEST).unwrap();
}

#[test]
fn the_members_disk_takes_its_place_back_and_voids_the_links_of_a_guest() {
    let mut gate = gate();
    let (_, link) = gate.admit(&from_disk(GUEST)).unwrap();
    gate.set_up(TWO, GUEST, true);
    admit(&mut gate, MEMBER).unwrap();
    let mut late = envelope(1, 1);
    late.sender_incarnation = GUEST;
    assert!(matches!(
        gate.receive(TWO, link, late),
        Err(Rejection::Superseded { .. })
    ));
    assert_eq!(dialled(&gate), Some(target(MEMBER)));
}

#[test]
fn a_guest_does_not_make_the_gate_forget_what_the_members_disk_promised() {
    let mut gate = gate();
    gate.admit(&LinkHello {
        boot: 7,
        ..from_disk(MEMBER)
    })
    .unwrap();
    admit(&mut gate, GUEST).unwrap();
    assert!(matches!(
        gate.admit(&LinkHello {
            boot: 6,
            ..from_disk(MEMBER)
        }),
        Err(Rejection::Forgot {
            theirs: 6,
            seen: 7,
            ..
        })
    ));
}

#[test]
fn a_replaced_disk_is_a_guest_from_then_on() {
    let mut gate = gate();
    admit(&mut gate, GUEST).unwrap();
    let mut replaced = members(1);
    replaced[0].incarnation = Some(GUEST);
    gate.set_members(&replaced);
    assert!(admit(&mut gate, MEMBER).is_err());
    admit(&mut gate, GUEST).unwrap();
}

#[test]
fn a_dialled_address_must_be_that_of_the_disk_that_was_meant() {
    let mut gate = gate();
    assert!(matches!(
        gate.answered(TWO, &target(MEMBER), &reply(GUEST, 1)),
        Err(Rejection::OtherDisk {
            theirs: GUEST,
            expected: MEMBER,
            ..
        })
    ));
}

#[test]
fn a_replica_that_knows_no_disks_yet_dials_any_and_is_let_in_by_all() {
    let mut ignorant = Gate::new(Arc::new(identity(1, 1)));
    let any = Peer {
        id: TWO,
        incarnation: None,
        address: "peer-2:1".to_owned(),
    };
    ignorant.set_members(&[any]);
    let target = dialled(&ignorant).unwrap();
    assert_eq!(target.incarnation, None);
    ignorant.answered(TWO, &target, &reply(MEMBER, 1)).unwrap();
    // The other side: a hello to whichever disk answers.
    let mut gate = gate();
    let hello = LinkHello {
        receiver_incarnation: 0,
        ..from_disk(MEMBER)
    };
    gate.admit(&hello).unwrap();
}
