//! Who makes up a cell, and how that changes: joining, replacing, adding, removing, handing over.

mod harness;

use cotter_cell::Voter;
use cotter_replica::{CallId, Happening};
use cotter_types::{
    Administered, Administration, Call, CallAnswer, CallResponse, Refusal, ReplicaId,
};
use harness::Cluster;
use std::time::Duration;

const ONE: ReplicaId = ReplicaId(1);
const TWO: ReplicaId = ReplicaId(2);
const THREE: ReplicaId = ReplicaId(3);
/// Longer than it takes to give a change up.
const LONG: Duration = Duration::from_secs(22);

fn voters(cluster: &Cluster, at: ReplicaId) -> Vec<(u64, u64)> {
    let voters = cluster.replica(at).cell().chapter().voters.iter();
    voters.map(|it: &Voter| (it.id.0, it.incarnation)).collect()
}

/// Asks the master, and waits for its answer.
fn administer(cluster: &mut Cluster, what: Administration) -> CallAnswer {
    let master = cluster.await_master();
    let call = cluster.call(master, Call::Administer(what));
    answer(cluster, master, call)
}

fn answer(cluster: &mut Cluster, at: ReplicaId, call: CallId) -> CallAnswer {
    for _ in 0..LONG.as_millis() {
        if let Some(answer) = cluster.call_answer(at, call) {
            return answer;
        }
        cluster.run(Duration::from_millis(1));
    }
    panic!("a change is not answered");
}

fn members(answer: &CallAnswer) -> Vec<u64> {
    match answer {
        CallAnswer::Done(CallResponse::Administered(Administered::Members { members, .. })) => {
            members.iter().map(|id| id.0).collect()
        }
        other => panic!("the members did not change: {other:?}"),
    }
}

fn why(answer: CallAnswer) -> String {
    match answer {
        CallAnswer::Refused(Refusal::NotAdministered { why }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// A follower of a cell of three, the other one, and the master.
fn roles(cluster: &mut Cluster) -> (ReplicaId, ReplicaId, ReplicaId) {
    let master = cluster.await_master();
    let mut followers = [ONE, TWO, THREE].into_iter().filter(|id| *id != master);
    let mut next = || followers.next().expect("two follow");
    (next(), next(), master)
}

fn progress(cluster: &mut Cluster) -> bool {
    let applied = |cluster: &Cluster, at| cluster.replica(at).cell().applied();
    let Some(master) = cluster.master() else {
        return false;
    };
    let before = applied(cluster, master);
    cluster.run(Duration::from_secs(1));
    cluster.master() == Some(master) && applied(cluster, master) > before
}

#[test]
fn a_replica_that_lost_its_disk_is_taken_back_by_one_command_and_counts_again() {
    let mut cluster = Cluster::start(3);
    let (lost, other, _) = roles(&mut cluster);
    cluster.join(lost, 77, false);
    cluster.run(Duration::from_secs(1));
    let answer = administer(&mut cluster, Administration::Replace { replica: lost });
    assert_eq!(members(&answer), [1, 2, 3]);
    cluster.run(Duration::from_secs(1));
    assert!(voters(&cluster, lost).contains(&(lost.0, 77)));
    // With the other follower gone, the majority rests on the new disk.
    cluster.kill(other);
    cluster.run(Duration::from_secs(1));
    assert!(progress(&mut cluster), "the new disk does not count");
}

#[test]
fn a_replica_that_lost_its_disk_has_no_vote_before_it_is_taken_back() {
    let mut cluster = Cluster::start(3);
    let (lost, other, master) = roles(&mut cluster);
    cluster.join(lost, 77, false);
    cluster.run(Duration::from_secs(2));
    let told = |happening: &Happening| matches!(happening, Happening::NoVote { .. });
    assert!(
        cluster
            .happenings
            .iter()
            .any(|(id, it)| *id == lost && told(it))
    );
    cluster.kill(other);
    cluster.run(Duration::from_secs(3));
    assert!(
        !cluster.replica(master).is_master(),
        "it reigns with one vote of three"
    );
    assert_eq!(cluster.master(), None);
}

#[test]
fn a_replica_that_may_is_taken_back_by_itself() {
    let mut cluster = Cluster::start(3);
    let (lost, ..) = roles(&mut cluster);
    cluster.join(lost, 77, true);
    cluster.run(Duration::from_secs(2));
    assert!(voters(&cluster, lost).contains(&(lost.0, 77)));
    assert!(progress(&mut cluster));
}

#[test]
fn a_cell_of_one_grows_to_three_and_shrinks_to_one_again() {
    let mut cluster = Cluster::start(1);
    for id in [TWO, THREE] {
        cluster.join(id, id.0 + 70, false);
        cluster.run(Duration::from_secs(1));
        let answer = administer(&mut cluster, Administration::Add { replica: id });
        assert_eq!(members(&answer).len() as u64, id.0);
        assert!(progress(&mut cluster));
    }
    cluster.kill(TWO);
    cluster.run(Duration::from_secs(1));
    assert!(progress(&mut cluster), "two of three are enough");
    cluster.boot(TWO);
    cluster.run(Duration::from_secs(1));
    for left in [2, 1] {
        let master = cluster.await_master();
        let out = [ONE, TWO, THREE].into_iter().find(|id| {
            *id != master && voters(&cluster, master).iter().any(|voter| voter.0 == id.0)
        });
        let replica = out.expect("somebody else has a vote");
        let answer = administer(&mut cluster, Administration::Remove { replica });
        assert_eq!(members(&answer).len(), left);
    }
    let master = cluster.await_master();
    for id in [ONE, TWO, THREE].into_iter().filter(|id| *id != master) {
        cluster.kill(id);
    }
    assert!(progress(&mut cluster), "one of one is enough");
}

#[test]
fn a_change_that_makes_no_sense_is_refused_at_once() {
    let mut cluster = Cluster::start(3);
    let (follower, _, master) = roles(&mut cluster);
    let cases = [
        (Administration::Add { replica: follower }, "member already"),
        (
            Administration::Add {
                replica: ReplicaId(4),
            },
            "has not joined",
        ),
        (
            Administration::Add {
                replica: ReplicaId(6),
            },
            "ids go from 1 to 5",
        ),
        (
            Administration::Remove {
                replica: ReplicaId(4),
            },
            "not a member",
        ),
        (
            Administration::Remove { replica: master },
            "transfer mastership first",
        ),
        (
            Administration::Replace { replica: master },
            "transfer mastership first",
        ),
        (
            Administration::Replace { replica: follower },
            "nothing to replace",
        ),
        (
            Administration::Transfer {
                to: Some(ReplicaId(4)),
            },
            "not a member",
        ),
    ];
    for (what, expected) in cases {
        let call = cluster.call(master, Call::Administer(what));
        let answer = cluster.call_answer(master, call).expect("answered at once");
        let why = why(answer);
        assert!(why.contains(expected), "{what:?}: {why}");
    }
}

#[test]
fn a_dead_member_is_not_replaced_before_another_disk_has_joined() {
    let mut cluster = Cluster::start(3);
    let (dead, _, master) = roles(&mut cluster);
    cluster.kill(dead);
    cluster.run(Duration::from_secs(1));
    let what = Administration::Replace { replica: dead };
    let call = cluster.call(master, Call::Administer(what));
    let answer = cluster.call_answer(master, call).expect("answered at once");
    let why = why(answer);
    assert!(why.contains("has not joined"), "{why}");
}

#[test]
fn members_do_not_change_while_too_few_of_those_to_be_are_heard() {
    let mut cluster = Cluster::start(3);
    let (dead, living, master) = roles(&mut cluster);
    cluster.kill(dead);
    cluster.run(Duration::from_secs(1));
    let before = voters(&cluster, master);
    let answer = administer(&mut cluster, Administration::Remove { replica: living });
    assert!(why(answer).contains("only 1 are heard"));
    assert_eq!(voters(&cluster, master), before);
    assert!(progress(&mut cluster));
    // The dead one may go.
    let answer = administer(&mut cluster, Administration::Remove { replica: dead });
    assert_eq!(members(&answer).len(), 2);
    assert!(progress(&mut cluster));
}

#[test]
fn one_change_is_made_at_a_time() {
    let mut cluster = Cluster::start(3);
    let (dead, living, master) = roles(&mut cluster);
    cluster.kill(dead);
    cluster.run(Duration::from_secs(1));
    let what = Administration::Remove { replica: living };
    let first = cluster.call(master, Call::Administer(what));
    let second = cluster.call(master, Call::Administer(what));
    let second = cluster.call_answer(master, second).expect("at once");
    assert!(why(second).contains("another change"));
    assert!(why(answer(&mut cluster, master, first)).contains("only 1"));
}

#[test]
fn mastership_goes_where_it_is_sent_without_waiting_for_a_lease() {
    let mut cluster = Cluster::start(3);
    let (to, ..) = roles(&mut cluster);
    let before = cluster.now();
    let answer = administer(&mut cluster, Administration::Transfer { to: Some(to) });
    let took = cluster.now().since(before);
    assert!(
        matches!(
            answer,
            CallAnswer::Done(CallResponse::Administered(Administered::Master { replica, .. }))
                if replica == to
        ),
        "{answer:?}"
    );
    assert!(took < Duration::from_millis(100), "it took {took:?}");
    assert_eq!(cluster.await_master(), to);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.master(), Some(to), "it stays there");
}

#[test]
fn a_master_that_is_about_to_stop_is_followed_at_once() {
    let mut cluster = Cluster::start(3);
    let master = cluster.await_master();
    cluster.retire(master);
    let before = cluster.now();
    let next = cluster.await_master();
    let took = cluster.now().since(before);
    assert_ne!(next, master);
    assert!(took < Duration::from_millis(100), "it took {took:?}");
}

#[test]
fn a_change_under_way_when_the_reign_ends_is_reported_as_not_known_or_not_made() {
    let mut cluster = Cluster::start(3);
    let (dead, living, master) = roles(&mut cluster);
    cluster.kill(dead);
    cluster.run(Duration::from_secs(1));
    let what = Administration::Remove { replica: living };
    let call = cluster.call(master, Call::Administer(what));
    cluster.isolate(master, true);
    let answer = answer(&mut cluster, master, call);
    assert!(matches!(answer, CallAnswer::Unavailable(_)), "{answer:?}");
}
