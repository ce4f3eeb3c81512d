//! Facts about what a replica does when its disk has lost something, shown on replicas that are spoken
//! to by hand.

mod harness;

use cotter_replica::{ChapterPolicy, Damaged, Happening};
use cotter_types::ReplicaId;
use harness::Cluster;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A cell in its third chapter, which would go on for long.
fn cluster() -> (Cluster, ReplicaId) {
    let policy = ChapterPolicy {
        entries_max: 100,
        ..ChapterPolicy::default()
    };
    let mut cluster = Cluster::start_with(3, policy);
    let master = cluster.await_master();
    while chapter(&cluster, master) < 3 {
        cluster.run(MS * 100);
    }
    cluster.run(MS * 500);
    (cluster, master)
}

fn chapter(cluster: &Cluster, id: ReplicaId) -> u64 {
    cluster.replica(id).cell().chapter().number
}

fn reigns(cluster: &Cluster) -> usize {
    let begins = |it: &Happening| matches!(it, Happening::BecameMaster { .. });
    cluster
        .happenings
        .iter()
        .filter(|(_, it)| begins(it))
        .count()
}

#[test]
fn the_state_that_the_chapter_begins_from_is_written_again() {
    let (mut cluster, master) = cluster();
    let present = chapter(&cluster, master);
    let lost = cluster.lose_checkpoint(master, present);
    cluster.damaged(master, present, Damaged::Checkpoint);
    assert_eq!(cluster.checkpoint(master, present), Some(lost));
    assert_eq!(
        chapter(&cluster, master),
        present,
        "nothing is sealed for it"
    );
}

#[test]
fn a_chapter_whose_log_is_damaged_is_sealed_early_whosever_disk_it_is() {
    for turn in 0..3 {
        for damaged in [Damaged::Log, Damaged::Checkpoint] {
            let (mut cluster, master) = cluster();
            let id = ReplicaId((master.0 + turn) % 3 + 1);
            let present = chapter(&cluster, master);
            // An old checkpoint is needed until the next one is there, too.
            let of = match damaged {
                Damaged::Log => present,
                Damaged::Checkpoint => present - 1,
            };
            cluster.damaged(id, of, damaged);
            cluster.run(MS * 1_500);
            assert_eq!(chapter(&cluster, id), present + 1, "{id}, {damaged:?}");
            assert_eq!(
                cluster.checkpoint(id, present - 1),
                None,
                "{id}, {damaged:?}"
            );
            // Once is enough.
            cluster.run(MS * 1_500);
            assert_eq!(chapter(&cluster, id), present + 1);
            assert_eq!(reigns(&cluster), 1);
        }
    }
}

#[test]
fn damage_in_what_is_gone_meanwhile_seals_nothing() {
    let (mut cluster, master) = cluster();
    let present = chapter(&cluster, master);
    for _ in 0..3 {
        cluster.damaged(master, present - 1, Damaged::Log);
    }
    cluster.run(MS * 1_000);
    assert_eq!(chapter(&cluster, master), present + 1);
    // A chapter that has not begun is nobody's.
    cluster.damaged(master, present + 5, Damaged::Log);
    cluster.run(MS * 1_000);
    assert_eq!(chapter(&cluster, master), present + 1);
}
