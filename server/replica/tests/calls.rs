//! Facts about calls of the simple interface, shown on replicas that are spoken to by hand.

mod harness;

use cotter_replica::CallId;
use cotter_types::{
    Answer, Call, CallAnswer, CallResponse, ClientFrame, Contents, Create, LeasedAcquire, Lifetime,
    LockId, LockMode, NodeChange, Nonce, Query, QueryResponse, Refusal, ReplicaId, RequestId,
    Response, ServerFrame, SessionMetadata, Unavailable, Wait,
};
use harness::{Cluster, path};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const LEASE_MS: u64 = 6_000;

fn acquire(request: u128, wait: Wait) -> Call {
    Call::Acquire {
        request: RequestId(request),
        acquire: LeasedAcquire {
            path: path("/ls/local/a"),
            mode: LockMode::Exclusive,
            wait,
            lease_ms: LEASE_MS,
            lock_delay_ms: 0,
            create: Some(Lifetime::Permanent),
            holder: SessionMetadata::default(),
        },
        answer_within_ms: 0,
    }
}

fn create(request: u128, name: &str) -> Call {
    Call::Change {
        request: RequestId(request),
        repeatable: true,
        sequencer: None,
        change: NodeChange::Create(Create {
            path: path(name),
            contents: Contents::default(),
            lifetime: Lifetime::Permanent,
            parents: false,
            exclusive: true,
        }),
    }
}

/// Makes a call that is answered at once.
fn ask(cluster: &mut Cluster, to: ReplicaId, call: Call) -> CallAnswer {
    let id = cluster.call(to, call);
    cluster.call_answer(to, id).expect("it is answered at once")
}

/// Returns what an acquire got: its lock, its token and its lease.
fn acquired(answer: &CallAnswer) -> (LockId, u64, u64) {
    match answer {
        CallAnswer::Done(CallResponse::Acquired {
            lock,
            sequencer,
            lease_ms,
            ..
        }) => (*lock, sequencer.token.0, *lease_ms),
        other => panic!("not acquired: {other:?}"),
    }
}

/// Returns where a waiting acquire stands: its lock, its place and how many wait.
fn queued(answer: Option<CallAnswer>) -> (LockId, u64, u64) {
    match answer {
        Some(CallAnswer::Done(CallResponse::Queued {
            lock,
            place,
            waiters,
            lease_ms,
        })) => {
            assert_eq!(lease_ms, LEASE_MS, "it was just seen to be alive");
            (lock, place, waiters)
        }
        other => panic!("not queued: {other:?}"),
    }
}

fn renew(lock: LockId) -> Call {
    Call::Renew {
        lock,
        extension_ms: 0,
    }
}

#[test]
fn call_acquires_renews_and_releases() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let (lock, token, lease) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    assert_eq!(lease, LEASE_MS);
    cluster.run(MS * 4_000);
    match ask(&mut cluster, master, renew(lock)) {
        CallAnswer::Done(CallResponse::Renewed {
            sequencer,
            lease_ms,
            waiters,
        }) => {
            assert_eq!((sequencer.token.0, lease_ms, waiters), (token, LEASE_MS, 0));
        }
        other => panic!("{other:?}"),
    }
    cluster.run(MS * 4_000);
    for _ in 0..2 {
        let answer = ask(&mut cluster, master, Call::Release { lock });
        assert_eq!(answer, CallAnswer::Done(CallResponse::Released));
    }
    let (_, later, _) = acquired(&ask(&mut cluster, master, acquire(8, Wait::No)));
    assert!(later > token);
}

#[test]
fn acquire_made_again_tells_the_first_outcome_and_extends_nothing() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let (lock, token, _) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    cluster.run(MS * 2_000);
    let (again, same, left) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    assert_eq!((again, same), (lock, token));
    assert!((3_900..=4_000).contains(&left), "{left} ms are left");
    cluster.run(MS * 4_100);
    let answer = ask(&mut cluster, master, renew(lock));
    let expired = Refusal::LockEnded {
        path: "/ls/local/a".to_owned(),
        expired: true,
    };
    assert_eq!(answer, CallAnswer::Refused(expired));
}

#[test]
fn renewal_never_shortens_a_lease_and_never_exceeds_it() {
    let mut cluster = Cluster::start(1);
    let master = cluster.await_master();
    let (lock, ..) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let by = |extension_ms| Call::Renew { lock, extension_ms };
    match ask(&mut cluster, master, by(2_000)) {
        CallAnswer::Done(CallResponse::Renewed { lease_ms, .. }) => assert!(lease_ms > 5_900),
        other => panic!("{other:?}"),
    }
    let answer = ask(&mut cluster, master, by(LEASE_MS + 1));
    assert!(matches!(
        answer,
        CallAnswer::Refused(Refusal::Invalid { .. })
    ));
    cluster.run(MS * 5_000);
    match ask(&mut cluster, master, by(2_000)) {
        CallAnswer::Done(CallResponse::Renewed { lease_ms, .. }) => assert_eq!(lease_ms, 2_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn waiting_call_is_told_its_place_within_a_third_of_its_lease() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let (lock, ..) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let first = cluster.call(master, acquire(8, Wait::Forever));
    let second = cluster.call(master, acquire(9, Wait::Forever));
    cluster.run(MS * 1_950);
    assert_eq!(cluster.call_answer(master, first), None);
    cluster.run(MS * 100);
    let (waits, place, waiters) = queued(cluster.call_answer(master, first));
    assert_eq!((place, waiters), (1, 2));
    let answer = cluster.call_answer(master, second);
    assert_eq!(queued(answer).1, 2);
    // A renewal is for what is held; a waiter repeats its acquire.
    let answer = ask(&mut cluster, master, renew(waits));
    assert!(matches!(
        answer,
        CallAnswer::Refused(Refusal::Invalid { .. })
    ));
    // Made again they keep their places, long past their first leases.
    for _ in 0..5 {
        let first = cluster.call(master, acquire(8, Wait::Forever));
        ask(&mut cluster, master, renew(lock));
        cluster.run(MS * 2_050);
        let answer = cluster.call_answer(master, first);
        assert_eq!(queued(answer).1, 1);
    }
    // The one that did not is gone.
    let first = cluster.call(master, acquire(8, Wait::Forever));
    cluster.run(MS * 2_050);
    let answer = cluster.call_answer(master, first);
    assert_eq!(queued(answer).2, 1);
    // What frees the lock answers the call that waits for it.
    let first = cluster.call(master, acquire(8, Wait::Forever));
    ask(&mut cluster, master, Call::Release { lock });
    let answer = cluster.call_answer(master, first).expect("it is granted");
    assert_eq!(acquired(&answer).0, waits);
}

#[test]
fn waiting_call_is_answered_sooner_if_its_caller_asks_for_it() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let Call::Acquire {
        request, acquire, ..
    } = acquire(8, Wait::Forever)
    else {
        unreachable!("it is an acquire");
    };
    let call = cluster.call(
        master,
        Call::Acquire {
            request,
            acquire,
            answer_within_ms: 100,
        },
    );
    cluster.run(MS * 150);
    let answer = cluster.call_answer(master, call);
    assert_eq!(queued(answer).1, 1);
}

#[test]
fn release_of_a_waiting_lock_ends_its_wait() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let told = cluster.call(master, acquire(8, Wait::Forever));
    cluster.run(MS * 2_050);
    let (lock, ..) = queued(cluster.call_answer(master, told));
    let waiting = cluster.call(master, acquire(8, Wait::Forever));
    let answer = ask(&mut cluster, master, Call::Release { lock });
    assert_eq!(answer, CallAnswer::Done(CallResponse::Released));
    let ended = Refusal::LockEnded {
        path: "/ls/local/a".to_owned(),
        expired: false,
    };
    let answer = cluster.call_answer(master, waiting);
    assert_eq!(answer, Some(CallAnswer::Refused(ended)));
}

#[test]
fn lock_of_a_call_survives_the_master() {
    let mut cluster = Cluster::start(3);
    let first = cluster.await_master();
    let (lock, token, _) = acquired(&ask(&mut cluster, first, acquire(7, Wait::No)));
    cluster.run(MS * 5_000);
    cluster.kill(first);
    let second = cluster.await_master();
    // The new master owes everybody a whole lease, whatever its predecessor had promised.
    cluster.run(MS * 4_000);
    let (same_lock, same_token, _) = acquired(&ask(&mut cluster, second, acquire(7, Wait::No)));
    assert_eq!((same_lock, same_token), (lock, token));
    assert!(matches!(
        ask(&mut cluster, second, renew(lock)),
        CallAnswer::Done(CallResponse::Renewed { .. })
    ));
    assert!(matches!(
        ask(&mut cluster, second, acquire(8, Wait::No)),
        CallAnswer::Refused(Refusal::Held { .. })
    ));
}

#[test]
fn end_of_the_reign_answers_every_waiting_call() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let (lock, ..) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let waiting = cluster.call(master, acquire(8, Wait::Forever));
    cluster.isolate(master, true);
    let proposed: Vec<CallId> = vec![
        cluster.call(master, create(9, "/ls/local/b")),
        cluster.call(master, Call::Release { lock }),
    ];
    cluster.run(MS * 1_000);
    assert!(matches!(
        cluster.call_answer(master, waiting),
        Some(CallAnswer::Unavailable(Unavailable::NotMaster { .. }))
    ));
    for call in proposed {
        let answer = cluster.call_answer(master, call);
        assert_eq!(answer, Some(CallAnswer::Interrupted));
    }
    // Made again at the new master they are done once.
    let second = cluster.await_master();
    for _ in 0..2 {
        let answer = ask(&mut cluster, second, create(9, "/ls/local/b"));
        let created = CallAnswer::Done(CallResponse::Changed(Response::Done));
        match answer {
            CallAnswer::Done(CallResponse::Changed(Response::Created { created, .. })) => {
                assert!(created);
            }
            other => panic!("{other:?} instead of {created:?}"),
        }
    }
}

#[test]
fn follower_says_where_the_master_is_and_tells_its_own_status() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let follower = ReplicaId(master.0 % 3 + 1);
    for call in [acquire(7, Wait::No), create(8, "/ls/local/b")] {
        match ask(&mut cluster, follower, call) {
            CallAnswer::Unavailable(Unavailable::NotMaster { master: hint, .. }) => {
                assert_eq!(hint, Some(master));
            }
            other => panic!("{other:?}"),
        }
    }
    match ask(&mut cluster, follower, Call::Query(Query::Status)) {
        CallAnswer::Done(CallResponse::Found(QueryResponse::Status(status))) => {
            assert_eq!(status.replica, follower);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn request_id_that_is_under_way_is_refused_to_another_request() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    cluster.pause(ReplicaId(master.0 % 3 + 1), true);
    cluster.pause(ReplicaId((master.0 + 1) % 3 + 1), true);
    let first = cluster.call(master, create(7, "/ls/local/b"));
    let same = cluster.call(master, create(7, "/ls/local/b"));
    let other = cluster.call(master, create(7, "/ls/local/c"));
    let answer = cluster.call_answer(master, other);
    assert_eq!(answer, Some(CallAnswer::Refused(Refusal::RequestIdReused)));
    assert_eq!(cluster.call_answer(master, first), None);
    cluster.pause(ReplicaId(master.0 % 3 + 1), false);
    cluster.run(MS * 20);
    let first = cluster.call_answer(master, first);
    assert!(matches!(
        first,
        Some(CallAnswer::Done(CallResponse::Changed(_)))
    ));
    assert_eq!(cluster.call_answer(master, same), first);
}

#[test]
fn session_of_a_call_cannot_be_attached_by_a_stream() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    let (lock, ..) = acquired(&ask(&mut cluster, master, acquire(7, Wait::No)));
    let stream = cluster.stream(master);
    let (session, nonce) = (lock.session, Nonce(lock.request.0));
    cluster.send(stream, ClientFrame::Attach { session, nonce });
    let answer = Answer::Refused(Refusal::NoSession { session });
    let refused = ServerFrame::AttachRefused { session, answer };
    assert!(cluster.received(stream).contains(&refused));
}
