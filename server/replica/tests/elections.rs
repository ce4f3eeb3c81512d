//! What elections may not do to the leases of sessions: keep a dead one alive for ever, or lose its
//! end.

mod harness;

use cotter_replica::{Happening, StreamId};
use cotter_types::{Answer, ReplicaId, Response, SessionId};
use harness::{Cluster, acquire};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const LEASE_MS: u64 = 2_000;

/// Opens a session that holds a lock and is never heard of again.
fn dead_holder(cluster: &mut Cluster, master: ReplicaId) -> SessionId {
    let stream = cluster.stream(master);
    let holder = cluster.open(stream, 1, LEASE_MS);
    assert!(acquires(cluster, stream, holder), "the lock is free");
    holder
}

/// Acquires the lock at once, as the session's first request.
fn acquires(cluster: &mut Cluster, stream: StreamId, session: SessionId) -> bool {
    let answer = cluster.mutate(stream, session, 1, acquire("/ls/local/a"));
    matches!(answer, Some(Answer::Done(Response::Acquired { .. })))
}

fn lives(cluster: &Cluster, session: SessionId) -> bool {
    let master = cluster.master().expect("a master");
    cluster.replica(master).cell().session(session).is_some()
}

/// Acquires the dead holder's lock in a new session and without waiting for anything.
fn is_free(cluster: &mut Cluster) -> bool {
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let next = cluster.open(stream, 2, LEASE_MS);
    acquires(cluster, stream, next)
}

#[test]
fn dead_session_ends_one_lease_after_the_last_of_many_elections() {
    let mut cluster = Cluster::start(3);
    let mut master = cluster.await_master();
    let holder = dead_holder(&mut cluster, master);
    for _ in 0..6 {
        cluster.kill(master);
        let next = cluster.await_master();
        assert!(
            lives(&cluster, holder),
            "a new master gives every session its whole lease"
        );
        cluster.boot(master);
        cluster.run(MS * 500);
        master = next;
    }
    cluster.run(MS * 1_000);
    assert!(lives(&cluster, holder), "its lease is not over");
    cluster.run(MS * 700);
    assert!(!lives(&cluster, holder), "its lease is over");
    assert!(is_free(&mut cluster));
}

#[test]
fn expiry_that_was_lost_with_its_master_lands_under_the_next_one() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_master();
    let opened = cluster.now();
    let holder = dead_holder(&mut cluster, first);
    // It proposes the end of the session while nobody hears it.
    let nearly = Duration::from_millis(LEASE_MS) - MS * 50;
    cluster.run(nearly - cluster.now().since(opened));
    cluster.isolate(first, true);
    cluster.run(MS * 150);
    let told = |(replica, happening): &(ReplicaId, Happening)| {
        *replica == first
            && matches!(happening, Happening::SessionExpired { session, .. } if *session == holder)
    };
    assert!(cluster.happenings.iter().any(told), "it was proposed");
    assert!(lives(&cluster, holder), "nothing is decided without peers");
    cluster.run(MS * 1_000);
    let second = cluster.await_master();
    assert_ne!(first, second);
    assert!(
        lives(&cluster, holder),
        "what the first master proposed was lost"
    );
    cluster.isolate(first, false);
    cluster.run(MS * 2_500);
    assert!(
        !lives(&cluster, holder),
        "the next master ends it by itself"
    );
    assert!(is_free(&mut cluster));
}
