//! A backup is said on the strength of the lease, like an answer to a query.

mod harness;

use cotter_types::{ReplicaId, Unavailable};
use harness::{Cluster, create};
use std::time::Duration;

#[test]
fn backup_holds_what_was_acknowledged_and_stays_as_it_is() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 12_000);
    cluster.mutate(stream, session, 1, create("/ls/local/a"));
    let backup = cluster.backup(master, Duration::ZERO).unwrap();
    assert_eq!(backup.counts().nodes, 2);
    let digest = backup.digest();
    assert_eq!(digest, cluster.replica(master).cell().digest());
    cluster.mutate(stream, session, 2, create("/ls/local/b"));
    assert_eq!((backup.digest(), backup.counts().nodes), (digest, 2));
    assert_eq!(cluster.replica(master).cell().counts().nodes, 3);
}

#[test]
fn backup_is_refused_by_whoever_does_not_reign_or_whose_lease_has_lapsed() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    for id in (1..=3).map(ReplicaId).filter(|id| *id != master) {
        let refused = cluster.backup(id, Duration::ZERO).map(|cell| cell.digest());
        assert!(
            matches!(refused, Err(Unavailable::NotMaster { master: Some(at), .. }) if at == master),
            "{refused:?}"
        );
    }
    assert!(cluster.backup(master, Duration::ZERO).is_ok());
    // The replica reigns by what it last heard, but its clock says that the lease is over.
    let late = Duration::from_secs(5);
    let refused = cluster.backup(master, late).map(|cell| cell.digest());
    assert!(
        matches!(refused, Err(Unavailable::NotMaster { .. })),
        "{refused:?}"
    );
}
