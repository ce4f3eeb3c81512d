//! Facts about chapters of the log, shown on replicas that are spoken to by hand.

mod harness;

use cotter_replica::{ChapterPolicy, Happening};
use cotter_types::{Answer, ReplicaId, Response};
use harness::{Cluster, create};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn small() -> ChapterPolicy {
    ChapterPolicy {
        entries_max: 10,
        ..ChapterPolicy::default()
    }
}

fn chapter(cluster: &Cluster, id: u64) -> u64 {
    cluster.replica(ReplicaId(id)).cell().chapter().number
}

fn reigns(cluster: &Cluster) -> usize {
    cluster
        .happenings
        .iter()
        .filter(|(_, happening)| matches!(happening, Happening::BecameMaster { .. }))
        .count()
}

#[test]
fn a_reign_goes_on_over_many_chapters() {
    for replicas in [1, 3, 5] {
        let mut cluster = Cluster::start_with(replicas, small());
        cluster.run(MS * 20_000);
        assert_eq!(reigns(&cluster), 1, "{replicas} replicas");
        assert!(chapter(&cluster, 1) > 10, "{replicas} replicas");
        let digests: Vec<u128> = (1..=replicas)
            .map(|id| cluster.replica(ReplicaId(id)).cell().digest())
            .collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]));
    }
}

#[test]
fn what_is_asked_while_a_chapter_ends_is_done() {
    let mut cluster = Cluster::start_with(3, small());
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 60_000);
    for number in 1..200 {
        let answer = cluster.mutate(
            stream,
            session,
            number,
            create(&format!("/ls/local/n{number}")),
        );
        assert!(
            matches!(answer, Some(Answer::Done(Response::Created { .. }))),
            "{number}: {answer:?}"
        );
    }
    assert!(chapter(&cluster, 1) > 10);
    assert_eq!(reigns(&cluster), 1);
}

#[test]
fn whoever_missed_the_end_of_a_chapter_catches_up() {
    let mut cluster = Cluster::start_with(3, small());
    let master = cluster.await_master();
    let away = ReplicaId(master.0 % 3 + 1);
    for absence in [300, 700, 1_200, 2_500, 10_000] {
        cluster.isolate(away, true);
        cluster.run(MS * absence);
        let behind = chapter(&cluster, away.0);
        cluster.isolate(away, false);
        cluster.run(MS * 2_000);
        assert!(chapter(&cluster, away.0) > behind, "{absence} ms");
        let (one, other) = (cluster.replica(master).cell(), cluster.replica(away).cell());
        assert!(one.applied() - other.applied() < 3, "{absence} ms");
    }
    let fetched = |happening: &Happening| matches!(happening, Happening::StateFetched { .. });
    assert!(cluster.happenings.iter().any(|(_, h)| fetched(h)));
}

#[test]
fn a_restart_goes_on_from_checkpoint_and_logs() {
    let mut cluster = Cluster::start_with(3, small());
    cluster.run(MS * 5_000);
    for id in [1, 2, 3, 1, 2, 3] {
        let id = ReplicaId(id);
        let before = cluster.replica(id).cell().applied();
        cluster.kill(id);
        cluster.run(MS * 1_500);
        cluster.boot(id);
        assert!(cluster.replica(id).cell().applied() + 2 >= before);
        cluster.run(MS * 1_500);
        assert!(cluster.replica(id).cell().applied() > before);
    }
}

#[test]
fn what_a_dying_replica_did_not_remove_goes_at_the_next_start() {
    let mut cluster = Cluster::start_with(3, small());
    cluster.keeps_all = true;
    cluster.run(MS * 10_000);
    let id = ReplicaId(2);
    let (logs, checkpoints) = cluster.kept(id);
    assert!(logs > 5 && checkpoints > 5);
    cluster.kill(id);
    cluster.keeps_all = false;
    cluster.boot(id);
    cluster.settle();
    let (logs, checkpoints) = cluster.kept(id);
    assert!(logs <= 4 && checkpoints <= 2, "{logs}, {checkpoints}");
    cluster.run(MS * 5_000);
    let (logs, checkpoints) = cluster.kept(id);
    assert!(logs <= 4 && checkpoints <= 2, "{logs}, {checkpoints}");
}
