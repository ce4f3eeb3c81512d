//! Facts about mastership, leases, retries and failover, shown on replicas that are spoken to by
//! hand: no network, no disk, one clock.

mod harness;

use cotter_replica::Happening;
use cotter_types::{
    Acknowledged, Answer, ClientFrame, Mutation, Nonce, Query, QueryResponse, Refusal, ReplicaId,
    RequestNumber, Response, ServerFrame, SessionId, Unavailable,
};
use harness::{Cluster, acquire, create, path};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn token(answer: Option<Answer>) -> u64 {
    match answer {
        Some(Answer::Done(Response::Acquired { sequencer, .. })) => sequencer.token.0,
        other => panic!("not acquired: {other:?}"),
    }
}

fn keep_alive(cluster: &mut Cluster, stream: cotter_replica::StreamId) -> bool {
    cluster.send(stream, ClientFrame::KeepAlive { number: 1 });
    cluster
        .received(stream)
        .iter()
        .any(|frame| matches!(frame, ServerFrame::KeepAlive { .. }))
}

#[test]
fn cells_of_one_three_and_five_elect_a_master() {
    for replicas in [1, 3, 5] {
        let mut cluster = Cluster::start(replicas);
        cluster.run(MS * 2_000);
        assert!(cluster.master().is_some(), "{replicas} replicas");
        let reigns = cluster
            .happenings
            .iter()
            .filter(|(_, happening)| matches!(happening, Happening::BecameMaster { .. }))
            .count();
        assert_eq!(reigns, 1, "a quiet cell keeps its master");
    }
}

#[test]
fn only_the_master_answers() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let other = ReplicaId(master.0 % 3 + 1);
    let stream = cluster.stream(other);
    let answer = cluster.query(
        stream,
        Query::Stat {
            path: path("/ls/local"),
        },
    );
    match answer {
        Some(Err(Answer::Unavailable(Unavailable::NotMaster {
            master: hint,
            address,
        }))) => {
            assert_eq!(hint, Some(master));
            assert_eq!(address, Some(format!("client-{master}")));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        !keep_alive(&mut cluster, stream),
        "a follower extends nothing"
    );
    assert!(matches!(
        cluster.query(stream, Query::Status),
        Some(Ok(QueryResponse::Status(_)))
    ));
}

#[test]
fn lock_and_session_survive_the_master() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_master();
    let stream = cluster.stream(first);
    let session = cluster.open(stream, 1, 12_000);
    let held = token(cluster.mutate(stream, session, 1, acquire("/ls/local/a")));

    cluster.kill(first);
    let killed = cluster.now();
    let second = cluster.await_master();
    assert_ne!(first, second);
    assert!(
        cluster.now().since(killed) < MS * 1_000,
        "took {:?}",
        cluster.now().since(killed)
    );

    let stream = cluster.stream(second);
    cluster.send(
        stream,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    let frames = cluster.received(stream);
    assert!(
        frames.contains(&ServerFrame::Attached {
            session,
            lease_ms: 12_000
        }),
        "{frames:?}"
    );
    let again = token(cluster.mutate(stream, session, 1, acquire("/ls/local/a")));
    assert_eq!(
        held, again,
        "a retry returns the first outcome on the new master"
    );
}

#[test]
fn attaching_with_another_nonce_is_refused() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 12_000);
    let thief = cluster.stream(master);
    cluster.send(
        thief,
        ClientFrame::Attach {
            session,
            nonce: Nonce(2),
        },
    );
    let answer = Answer::Refused(Refusal::NoSession { session });
    assert!(
        cluster
            .received(thief)
            .contains(&ServerFrame::AttachRefused { session, answer })
    );
}

#[test]
fn session_without_keepalives_expires_and_its_lock_goes_to_the_waiter() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let silent = cluster.stream(master);
    let holder = cluster.open(silent, 1, 2_000);
    let first = token(cluster.mutate(silent, holder, 1, acquire("/ls/local/a")));
    let lively = cluster.stream(master);
    let waiter = cluster.open(lively, 2, 2_000);
    assert_eq!(
        cluster.mutate(lively, waiter, 1, acquire("/ls/local/a")),
        None,
        "it waits"
    );

    for _ in 0..4 {
        cluster.run(MS * 450);
        assert!(keep_alive_quietly(&mut cluster, lively));
    }
    cluster.run(MS * 450);
    let frames = cluster.received(silent);
    assert!(frames.contains(&ServerFrame::Detached {
        session: holder,
        condemned: true
    }));
    let second = token(cluster.answer(lively, waiter, RequestNumber(1)));
    assert!(second > first);
}

/// A mutation as a frame.
fn mutate(session: SessionId, number: u64, mutation: Mutation) -> ClientFrame {
    let acknowledged = Acknowledged::default();
    ClientFrame::Mutate {
        session,
        number: RequestNumber(number),
        acknowledged,
        mutation,
    }
}

/// Sends a keepalive and leaves other frames in the inbox.
fn keep_alive_quietly(cluster: &mut Cluster, stream: cotter_replica::StreamId) -> bool {
    cluster.send(stream, ClientFrame::KeepAlive { number: 1 });
    let inbox = cluster.inbox.entry(stream).or_default();
    let before = inbox.len();
    inbox.retain(|frame| !matches!(frame, ServerFrame::KeepAlive { .. }));
    inbox.len() < before
}

#[test]
fn keepalives_of_a_stream_extend_every_session_on_it() {
    let mut cluster = Cluster::start(1);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let sessions: Vec<_> = (1..=5)
        .map(|nonce| cluster.open(stream, nonce, 2_000))
        .collect();
    for _ in 0..10 {
        cluster.run(MS * 900);
        assert!(keep_alive(&mut cluster, stream));
    }
    assert_eq!(
        cluster.replica(master).cell().counts().sessions,
        sessions.len() as u64
    );
}

#[test]
fn condemned_session_is_promised_nothing() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 2_000);
    for id in 1..=3 {
        if ReplicaId(id) != master {
            cluster.isolate(ReplicaId(id), true);
        }
    }
    // The lease of the master lapses long before the session's: it must fall silent by itself.
    cluster.run(MS * 500);
    cluster.received(stream);
    assert!(
        !keep_alive(&mut cluster, stream),
        "a master cut off from its peers says nothing"
    );
    cluster.send(
        stream,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    assert!(
        !cluster
            .received(stream)
            .iter()
            .any(|f| matches!(f, ServerFrame::Attached { .. })),
        "nor does it attach"
    );
}

#[test]
fn paused_master_expires_nobody() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 2_000);
    for id in 1..=3 {
        cluster.pause(ReplicaId(id), true);
    }
    cluster.run(MS * 30_000);
    for id in 1..=3 {
        cluster.pause(ReplicaId(id), false);
    }
    let master = cluster.await_master();
    cluster.run(MS * 500);
    assert!(cluster.replica(master).cell().session(session).is_some());
}

#[test]
fn resumed_master_does_not_speak_for_a_past_reign() {
    let mut cluster = Cluster::start(3);
    let old = cluster.await_master();
    let stream = cluster.stream(old);
    let session = cluster.open(stream, 1, 12_000);
    cluster.pause(old, true);
    cluster.run(MS * 2_000);
    let new = cluster.await_master();
    assert_ne!(old, new);
    // The question is in the old master's hands before it wakes.
    cluster.send(
        stream,
        ClientFrame::Query {
            id: 99,
            query: Query::Explain {
                path: path("/ls/local"),
            },
        },
    );
    cluster.send(stream, ClientFrame::KeepAlive { number: 7 });
    cluster.received(stream);
    cluster.pause(old, false);
    cluster.settle();
    for frame in cluster.received(stream) {
        match frame {
            ServerFrame::QueryAnswer { answer, .. } => {
                assert!(matches!(answer, Err(Answer::Unavailable(_))), "{answer:?}");
            }
            ServerFrame::KeepAlive { .. } | ServerFrame::Attached { .. } => {
                panic!("a past master extended {session}")
            }
            _ => {}
        }
    }
}

#[test]
fn retiring_master_hands_over_without_waiting_out_its_lease() {
    let mut cluster = Cluster::start(3);
    let old = cluster.await_master();
    let stream = cluster.stream(old);
    cluster.retire(old);
    assert!(!cluster.replica(old).is_master());
    let answer = cluster.query(
        stream,
        Query::Stat {
            path: path("/ls/local"),
        },
    );
    assert!(
        matches!(answer, Some(Err(Answer::Unavailable(_)))),
        "it reads nothing any more"
    );
    cluster.run(MS * 50);
    assert!(cluster.replica(old).may_stop());
    cluster.kill(old);
    let begun = cluster.now();
    cluster.await_master();
    assert!(
        cluster.now().since(begun) < MS * 350,
        "took {:?}",
        cluster.now().since(begun)
    );
}

#[test]
fn full_disk_refuses_what_grows_and_admits_what_frees() {
    let mut cluster = Cluster::start(1);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 12_000);
    token(cluster.mutate(stream, session, 1, acquire("/ls/local/a")));
    cluster.log(master).set_scarce(true);
    let answer = cluster.mutate(stream, session, 2, create("/ls/local/b"));
    assert_eq!(answer, Some(Answer::Unavailable(Unavailable::DiskFull)));
    let release = Mutation::Release {
        path: path("/ls/local/a"),
        number: RequestNumber(1),
    };
    assert_eq!(
        cluster.mutate(stream, session, 3, release),
        Some(Answer::Done(Response::Done))
    );
    cluster.log(master).set_scarce(false);
    let answer = cluster.mutate(stream, session, 2, create("/ls/local/b"));
    assert!(matches!(
        answer,
        Some(Answer::Done(Response::Created { created: true, .. }))
    ));
}

#[test]
fn whole_cell_remembers_after_all_of_it_was_killed() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 12_000);
    let held = token(cluster.mutate(stream, session, 1, acquire("/ls/local/a")));
    for id in 1..=3 {
        cluster.kill(ReplicaId(id));
    }
    cluster.run(MS * 1_000);
    for id in 1..=3 {
        cluster.boot(ReplicaId(id));
    }
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    cluster.send(
        stream,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    let again = token(cluster.mutate(stream, session, 1, acquire("/ls/local/a")));
    assert_eq!(held, again);
}

#[test]
fn minority_never_reigns() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    cluster.isolate(master, true);
    cluster.run(MS * 3_000);
    assert!(!cluster.replica(master).is_master());
    let new = cluster.await_master();
    assert_ne!(master, new);
    cluster.isolate(master, false);
    cluster.run(MS * 3_000);
    let digests: Vec<u128> = (1..=3)
        .map(|id| cluster.replica(ReplicaId(id)).cell().digest())
        .collect();
    assert!(
        digests.windows(2).all(|pair| pair[0] == pair[1]),
        "{digests:?}"
    );
}

#[test]
fn deadline_of_a_wait_is_kept_without_any_traffic() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let holder = cluster.open(stream, 1, 12_000);
    token(cluster.mutate(stream, holder, 1, acquire("/ls/local/a")));
    let waiter = cluster.open(stream, 2, 12_000);
    let mut wanted = acquire("/ls/local/a");
    if let Mutation::Acquire(acquire) = &mut wanted {
        acquire.wait = cotter_types::Wait::Ms(300);
    }
    assert_eq!(cluster.mutate(stream, waiter, 1, wanted), None);
    cluster.run(MS * 400);
    let answer = cluster.answer(stream, waiter, RequestNumber(1));
    assert!(
        matches!(answer, Some(Answer::Refused(Refusal::WaitTimeout { .. }))),
        "{answer:?}"
    );
}

#[test]
fn frame_before_hello_ends_the_stream() {
    let mut cluster = Cluster::start(1);
    let master = cluster.await_master();
    let stream = cluster.bare_stream(master);
    cluster.send(stream, ClientFrame::KeepAlive { number: 1 });
    assert!(matches!(
        cluster.received(stream).as_slice(),
        [ServerFrame::GoAway { .. }]
    ));
}

#[test]
fn losing_the_stream_does_not_end_the_session() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 2_000);
    cluster.run(MS * 1_500);
    assert!(keep_alive(&mut cluster, stream));
    cluster.close_stream(stream);
    cluster.run(MS * 1_500);
    let stream = cluster.stream(master);
    cluster.send(
        stream,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    let frames = cluster.received(stream);
    assert!(
        frames.contains(&ServerFrame::Attached {
            session,
            lease_ms: 2_000
        }),
        "{frames:?}"
    );
}

#[test]
fn session_moves_to_the_stream_that_attached_it_last() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let old = cluster.stream(master);
    let session = cluster.open(old, 1, 12_000);
    let new = cluster.stream(master);
    cluster.send(
        new,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    cluster.received(new);
    assert!(cluster.received(old).contains(&ServerFrame::Detached {
        session,
        condemned: false
    }));
    cluster.send(old, mutate(session, 1, create("/ls/local/a")));
    let frames = cluster.received(old);
    assert_eq!(
        frames,
        [ServerFrame::Detached {
            session,
            condemned: false
        }]
    );
    let answer = cluster.mutate(new, session, 1, create("/ls/local/a"));
    assert!(matches!(answer, Some(Answer::Done(_))), "{answer:?}");
}

#[test]
fn request_from_before_a_new_reign_is_not_called_condemned() {
    let mut cluster = Cluster::start(1);
    let master = cluster.await_master();
    let stream = cluster.stream(master);
    let session = cluster.open(stream, 1, 12_000);
    // The request is on its way when the master stalls for longer than its lease and reigns anew.
    cluster.pause(master, true);
    cluster.run(MS * 1_000);
    cluster.pause(master, false);
    cluster.run(MS * 50);
    cluster.await_master();
    cluster.received(stream);
    cluster.send(stream, mutate(session, 1, create("/ls/local/a")));
    let frames = cluster.received(stream);
    assert_eq!(
        frames,
        [ServerFrame::Detached {
            session,
            condemned: false
        }]
    );
    cluster.send(
        stream,
        ClientFrame::Attach {
            session,
            nonce: Nonce(1),
        },
    );
    let answer = cluster.mutate(stream, session, 1, create("/ls/local/a"));
    assert!(matches!(answer, Some(Answer::Done(_))), "{answer:?}");
}

#[test]
fn isolated_leader_of_the_log_proposes_nothing_for_ever() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    cluster.isolate(master, true);
    cluster.run(MS * 2_000);
    let before = cluster.log(master).len();
    cluster.run(MS * 10_000);
    assert_eq!(
        cluster.log(master).len(),
        before,
        "its log grows though nobody hears it"
    );
}
