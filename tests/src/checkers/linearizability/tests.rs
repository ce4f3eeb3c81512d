use super::{
    Linearizability, LockOperation, LockState, Node, NodeOperation, NodeState, Operation, search,
};
use cotter_types::{Contents, FencingToken, Instance, LockMode, RequestNumber, SessionId};

/// Steps that no short history needs.
const STEPS: u64 = 100_000;

fn at<O>(invoked: u64, returned: u64, what: O) -> Operation<O> {
    Operation {
        invoked,
        returned: Some(returned),
        what,
    }
}

fn open<O>(invoked: u64, what: O) -> Operation<O> {
    Operation {
        invoked,
        returned: None,
        what,
    }
}

fn node(generation: u64, contents: &str) -> Node {
    Node {
        instance: Instance(7),
        generation,
        contents: Contents::from(contents),
    }
}

fn created() -> NodeOperation {
    NodeOperation::Created(node(1, "one"))
}

fn written(generation: u64, contents: &str) -> NodeOperation {
    NodeOperation::Written {
        node: node(generation, contents),
        if_generation: None,
        if_instance: None,
    }
}

fn read(generation: u64, contents: &str) -> NodeOperation {
    NodeOperation::Read(node(generation, contents))
}

fn grant(who: u64, token: u64) -> LockOperation {
    LockOperation::Acquired {
        hold: (SessionId(who), RequestNumber(token)),
        mode: LockMode::Exclusive,
        token: FencingToken(token),
    }
}

fn free(who: u64, token: u64) -> LockOperation {
    LockOperation::Freed((SessionId(who), RequestNumber(token)))
}

fn of_node(history: &[Operation<NodeOperation>]) -> Linearizability {
    search(NodeState::default(), history, STEPS).0
}

fn of_lock(history: &[Operation<LockOperation>]) -> Linearizability {
    search(LockState::default(), history, STEPS).0
}

fn is_impossible(verdict: &Linearizability) -> bool {
    matches!(verdict, Linearizability::Impossible(_))
}

#[test]
fn read_beside_a_write_may_see_either_value() {
    for seen in [read(1, "one"), read(2, "two")] {
        let history = [
            at(0, 1, created()),
            at(2, 9, written(2, "two")),
            at(3, 5, seen),
        ];
        assert_eq!(of_node(&history), Linearizability::Linearizable);
    }
}

#[test]
fn stale_read_after_a_write_returned_is_impossible() {
    let history = [
        at(0, 1, created()),
        at(2, 4, written(2, "two")),
        at(5, 6, read(1, "one")),
    ];
    assert!(is_impossible(&of_node(&history)));
}

#[test]
fn two_reads_beside_a_write_cannot_go_back() {
    let history = [
        at(0, 1, created()),
        at(2, 9, written(2, "two")),
        at(3, 4, read(2, "two")),
        at(5, 6, read(1, "one")),
    ];
    assert!(is_impossible(&of_node(&history)));
}

#[test]
fn lost_update_is_impossible() {
    let history = [
        at(0, 1, created()),
        at(2, 9, written(2, "two")),
        at(2, 9, written(2, "another")),
    ];
    assert!(is_impossible(&of_node(&history)));
}

#[test]
fn value_never_written_is_impossible() {
    let history = [at(0, 1, created()), at(0, 9, read(1, "never"))];
    assert!(is_impossible(&of_node(&history)));
}

#[test]
fn condition_must_hold_where_it_is_put_in_order() {
    let conditional = |generation| NodeOperation::Deleted {
        if_generation: Some(generation),
        if_instance: None,
    };
    let history = |generation| {
        [
            at(0, 1, created()),
            at(2, 9, written(2, "two")),
            at(2, 9, conditional(generation)),
        ]
    };
    // After the deletion nothing can be written: only the second order is left.
    assert_eq!(of_node(&history(2)), Linearizability::Linearizable);
    assert!(is_impossible(&of_node(&history(1))));
}

#[test]
fn node_is_not_born_twice_as_the_same_instance() {
    let deleted = NodeOperation::Deleted {
        if_generation: None,
        if_instance: None,
    };
    let history = [at(0, 1, created()), at(2, 3, deleted), at(4, 5, created())];
    assert!(is_impossible(&of_node(&history)));
}

#[test]
fn unanswered_write_may_have_happened_at_any_time_or_never() {
    for seen in [read(1, "one"), read(2, "two")] {
        let history = [
            at(0, 1, created()),
            open(2, written(2, "two")),
            at(5, 6, read(1, "one")),
            at(7, 8, seen),
        ];
        assert_eq!(of_node(&history), Linearizability::Linearizable);
    }
    let too_early = [
        at(0, 1, created()),
        at(2, 3, read(2, "two")),
        open(4, written(2, "two")),
    ];
    assert!(is_impossible(&of_node(&too_early)));
}

#[test]
fn two_holders_are_impossible() {
    let history = [
        at(0, 1, grant(1, 10)),
        at(2, 3, grant(2, 11)),
        at(4, 5, free(1, 10)),
    ];
    assert!(is_impossible(&of_lock(&history)));
}

#[test]
fn token_going_backwards_is_impossible() {
    let history = [
        at(0, 1, grant(1, 10)),
        at(2, 3, free(1, 10)),
        at(4, 5, grant(2, 9)),
    ];
    assert!(is_impossible(&of_lock(&history)));
}

#[test]
fn holder_seen_after_its_release_returned_is_impossible() {
    let sees = |from, until| at(from, until, LockOperation::HeldBy(SessionId(1)));
    let history = |from, until| {
        [
            at(0, 1, grant(1, 10)),
            at(2, 6, free(1, 10)),
            sees(from, until),
        ]
    };
    assert_eq!(of_lock(&history(3, 4)), Linearizability::Linearizable);
    assert!(is_impossible(&of_lock(&history(7, 8))));
}

#[test]
fn sequencer_of_a_former_holder_cannot_be_current() {
    let checked = |current| LockOperation::Checked {
        mode: LockMode::Exclusive,
        token: FencingToken(10),
        current,
    };
    let history = |current| {
        [
            at(0, 1, grant(1, 10)),
            at(2, 3, free(1, 10)),
            at(4, 5, grant(2, 11)),
            at(6, 7, checked(current)),
        ]
    };
    assert_eq!(of_lock(&history(false)), Linearizability::Linearizable);
    assert!(is_impossible(&of_lock(&history(true))));
}

#[test]
fn shared_holders_share_a_token() {
    let shared = |who, token| LockOperation::Acquired {
        hold: (SessionId(who), RequestNumber(1)),
        mode: LockMode::Shared,
        token: FencingToken(token),
    };
    let together = [at(0, 1, shared(1, 10)), at(2, 3, shared(2, 10))];
    assert_eq!(of_lock(&together), Linearizability::Linearizable);
    let apart = [at(0, 1, shared(1, 10)), at(2, 3, shared(2, 11))];
    assert!(is_impossible(&of_lock(&apart)));
}

/// Ten clients that pass one lock on: each asks long before it is granted.
fn handed_around(operations: u64) -> Vec<Operation<LockOperation>> {
    let mut history = Vec::new();
    for turn in 0..operations / 2 {
        let (who, now) = (turn % 10, turn * 10);
        let asked = now.saturating_sub(90);
        history.push(at(asked, now + 4, grant(who, turn + 1)));
        history.push(at(now + 5, now + 9, free(who, turn + 1)));
    }
    history
}

#[test]
fn long_history_of_ten_clients_is_searched_quickly() {
    let history = handed_around(100_000);
    let started = std::time::Instant::now();
    let (verdict, steps) = search(LockState::default(), &history, 2_000_000);
    println!("{steps} steps in {:?}", started.elapsed());
    assert_eq!(verdict, Linearizability::Linearizable);
}

#[test]
fn error_at_the_end_of_a_long_history_is_found() {
    let mut history = handed_around(2_000);
    let end = history.len() as u64 * 5 + 100;
    history.push(at(end, end + 1, free(99, 99)));
    // To say that there is no order, every grant must have been tried in the place of each other one
    // that was under way with it.
    let (verdict, steps) = search(LockState::default(), &history, 2_000_000);
    println!("{steps} steps");
    assert!(is_impossible(&verdict));
}

#[test]
fn exploding_search_is_unknown_and_not_passed() {
    // Thirty writes without an answer, each of which could have come at any time, and a read that
    // none of them explains.
    let mut history = vec![at(0, 1, created())];
    for nth in 0..30 {
        let before = Some(node(1, "one"));
        let after = Some(node(1, &nth.to_string()));
        let there = NodeOperation::Became {
            before: before.clone(),
            after: after.clone(),
        };
        let back = NodeOperation::Became {
            before: after,
            after: before,
        };
        history.push(open(2, there));
        history.push(open(2, back));
    }
    history.push(at(5, 6, read(1, "never")));
    let (verdict, steps) = search(NodeState::default(), &history, STEPS);
    assert_eq!(verdict, Linearizability::Unknown);
    assert!(steps > STEPS);
}
