//! Facts about the comparison of states, shown on replicas that are spoken to by hand.

mod harness;

use cotter_replica::{ChapterPolicy, Fault, Happening};
use cotter_types::ReplicaId;
use harness::Cluster;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn small() -> ChapterPolicy {
    ChapterPolicy {
        entries_max: 50,
        ..ChapterPolicy::default()
    }
}

/// Starts a replica again from a state that is not what the log comes to.
fn spoil(cluster: &mut Cluster, id: ReplicaId, token_floor: u64) {
    cluster.kill(id);
    cluster.run(MS * 10);
    cluster.boot_wrong(id, token_floor);
}

fn happened(cluster: &Cluster, id: ReplicaId, wanted: impl Fn(&Happening) -> bool) -> bool {
    let mut all = cluster.happenings.iter();
    all.any(|(who, happening)| *who == id && wanted(happening))
}

fn equal_digests(cluster: &Cluster, ids: &[ReplicaId]) -> bool {
    let states = ids.iter().map(|id| cluster.replica(*id).cell());
    let states: Vec<(u64, u128)> = states.map(|cell| (cell.applied(), cell.digest())).collect();
    states.iter().all(|state| *state == states[0])
}

fn all(count: u64) -> Vec<ReplicaId> {
    (1..=count).map(ReplicaId).collect()
}

#[test]
fn a_replica_that_differs_stops_and_is_rebuilt_and_the_cell_goes_on() {
    for replicas in [3, 5] {
        for policy in [ChapterPolicy::default(), small()] {
            let mut cluster = Cluster::start_with(replicas, policy);
            let master = cluster.await_master();
            let wrong = ReplicaId(master.0 % replicas + 1);
            spoil(&mut cluster, wrong, 2_000);
            cluster.run(MS * 5_000);
            let (who, fault) = cluster.faults.pop().expect("it differs");
            assert_eq!(who, wrong);
            assert!(matches!(fault, Fault::Differs { own, theirs, .. } if own != theirs));
            assert!(cluster.faults.is_empty());
            let tells = |it: &Happening| matches!(it, Happening::PeerDiffers { peer, .. } if *peer == wrong);
            assert!(happened(&cluster, master, tells));
            assert!(cluster.replica(master).is_master(), "the cell goes on");

            cluster.boot(wrong);
            cluster.run(MS * 5_000);
            assert!(cluster.faults.is_empty());
            assert!(!cluster.is_distrusted(wrong));
            assert!(happened(&cluster, wrong, |it| matches!(
                it,
                Happening::StateReplaced { .. }
            )));
            assert!(
                equal_digests(&cluster, &all(replicas)),
                "{replicas} replicas"
            );
            assert!(cluster.replica(master).is_master());
        }
    }
}

#[test]
fn a_master_that_differs_reigns_no_more() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    for id in all(3) {
        cluster.kill(id);
    }
    cluster.boot_wrong(master, 2_000);
    let other = ReplicaId(master.0 % 3 + 1);
    cluster.boot(other);
    cluster.run(MS * 1_000);
    // Only one of the two can have become master, and perhaps it is the one that differs; the third
    // decides.
    cluster.boot(ReplicaId(other.0 % 3 + 1));
    cluster.run(MS * 5_000);
    assert_eq!(cluster.faults.len(), 1);
    assert_eq!(cluster.faults[0].0, master);
    let reigns = cluster.await_master();
    assert_ne!(reigns, master);
    cluster.boot(master);
    cluster.run(MS * 5_000);
    assert!(equal_digests(&cluster, &all(3)));
}

#[test]
fn while_two_differ_and_the_third_is_away_nobody_reigns() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let away = ReplicaId(master.0 % 3 + 1);
    let wrong = ReplicaId(away.0 % 3 + 1);
    cluster.kill(away);
    spoil(&mut cluster, wrong, 2_000);
    cluster.run(MS * 10_000);
    assert!(cluster.faults.is_empty());
    let disputed = |it: &Happening| matches!(it, Happening::DigestsDisputed { .. });
    assert!(happened(&cluster, master, disputed) && happened(&cluster, wrong, disputed));
    assert!(!cluster.replica(master).is_master() && !cluster.replica(wrong).is_master());
    let before = cluster.replica(master).cell().applied();
    cluster.run(MS * 5_000);
    let after = cluster.replica(master).cell().applied();
    assert_eq!(before, after, "nothing is taken over");

    cluster.boot(away);
    cluster.run(MS * 5_000);
    assert_eq!(cluster.faults.len(), 1);
    assert_eq!(cluster.faults[0].0, wrong);
    let settled = |it: &Happening| matches!(it, Happening::DigestsSettled { .. });
    assert!(happened(&cluster, master, settled));
    cluster.await_master();
    assert!(equal_digests(&cluster, &[master, away]));
}

#[test]
fn a_replica_that_is_being_rebuilt_votes_in_nothing() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let wrong = ReplicaId(master.0 % 3 + 1);
    let third = ReplicaId(wrong.0 % 3 + 1);
    spoil(&mut cluster, wrong, 2_000);
    cluster.run(MS * 5_000);
    assert_eq!(cluster.faults.len(), 1);
    // Nobody is there to fetch a state from, and its own promises alone decide nothing.
    cluster.kill(master);
    cluster.kill(third);
    cluster.boot(wrong);
    cluster.run(MS * 2_000);
    assert!(cluster.is_distrusted(wrong));
    // One of two: it has the other's state, and goes on with what it had promised.
    cluster.boot(third);
    cluster.run(MS * 3_000);
    assert!(!cluster.is_distrusted(wrong));
    cluster.await_master();
    assert!(equal_digests(&cluster, &[wrong, third]));
}

#[test]
fn states_are_compared_where_a_chapter_begins_too() {
    let policy = ChapterPolicy {
        entries_max: 13,
        ..ChapterPolicy::default()
    };
    let mut cluster = Cluster::start_with(3, policy);
    cluster.run(MS * 3_000);
    let begins = cluster.replica(ReplicaId(1)).cell().chapter().begins_at;
    assert!(!begins.is_multiple_of(20));
    let there =
        |it: &Happening| matches!(it, Happening::Digest { applied, .. } if *applied == begins);
    assert!(happened(&cluster, ReplicaId(1), there));
}

#[test]
fn a_copy_that_restarts_does_not_outvote_who_is_right() {
    let policy = ChapterPolicy {
        entries_max: 200,
        ..ChapterPolicy::default()
    };
    let mut cluster = Cluster::start_with(3, policy);
    let master = cluster.await_master();
    let copy = ReplicaId(master.0 % 3 + 1);
    let right = ReplicaId(copy.0 % 3 + 1);
    let stream = cluster.stream(master);
    cluster.open(stream, 77, 60_000);
    // The one that is right has seen the end of the first chapter; then two are left, of which one is
    // wrong, and the other takes its state from it.
    cluster.kill(copy);
    while cluster.replica(right).cell().chapter().number < 2 {
        cluster.run(MS * 100);
    }
    cluster.kill(right);
    cluster.kill(master);
    cluster.spoil_checkpoint(master, 2);
    cluster.boot(master);
    cluster.boot(copy);
    cluster.run(MS * 5_000);
    assert_eq!(cluster.replica(copy).cell().chapter().number, 2);
    let fetched = |it: &Happening| matches!(it, Happening::StateReplaced { .. });
    assert!(happened(&cluster, copy, fetched));
    cluster.kill(copy);
    cluster.boot(copy);
    cluster.boot(right);
    cluster.run(MS * 5_000);
    assert!(
        cluster.faults.is_empty(),
        "two of one origin are no majority"
    );
    let disputed = |it: &Happening| matches!(it, Happening::DigestsDisputed { .. });
    assert!(happened(&cluster, right, disputed));
    assert!(all(3).iter().all(|id| !cluster.replica(*id).is_master()));
}
