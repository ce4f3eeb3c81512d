//! What becomes of calls.

use super::script::{
    BELIEF_MS, LEASE_MS, SESSION, Script, acquire, acquired, attached, path, stat, unhold,
};
use crate::{Call, CallId, State};
use cotter_types::{
    Answer, EndReason, Mutation, Notice, QueryResponse, Refusal, RequestNumber, Response,
    ServerFrame, Unavailable,
};

fn found() -> QueryResponse {
    QueryResponse::Sequencer { current: true }
}

#[test]
fn calls_wait_until_the_session_is_open() {
    let mut script = Script::new();
    script.call(1, unhold("x"));
    script.call(2, stat("node"));
    script.greeted_by_master(3);
    script.forget();
    script.frame(super::script::opened());
    script.expect(&[
        "opened s7 for 12000 ms",
        "state Safe",
        "mutate 1: unhold /ls/local/x (acknowledged 0)",
        "query 1",
    ]);
}

#[test]
fn answers_end_calls() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.call(2, unhold("y"));
    script.call(3, stat("node"));
    script.forget();
    script.answer(1, Answer::Done(Response::Done));
    script.answer(2, Answer::Refused(Refusal::Cancelled));
    script.frame(ServerFrame::QueryAnswer {
        id: 1,
        answer: Ok(found()),
    });
    script.expect(&[
        "call 1: done",
        "call 2: refused: the acquire was cancelled",
        "call 3: found",
    ]);
}

#[test]
fn an_answer_counts_once() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.answer(1, Answer::Done(Response::Done));
    script.forget();
    script.answer(1, Answer::Refused(Refusal::Cancelled));
    script.expect(&[]);
}

#[test]
fn what_was_not_decided_is_sent_again_with_the_same_number() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.forget();
    script.answer(1, Answer::Unavailable(Unavailable::DiskFull));
    script.pass_kept(1_000);
    script.expect(&["mutate 1: unhold /ls/local/x (acknowledged 0)"]);
    script.call(2, stat("node"));
    script.forget();
    script.frame(ServerFrame::QueryAnswer {
        id: 1,
        answer: Err(Answer::Unavailable(Unavailable::Overloaded {
            retry_after_ms: 50,
        })),
    });
    script.pass_kept(100);
    script.expect(&["query 1"]);
}

#[test]
fn in_jeopardy_calls_wait() {
    let mut script = Script::opened();
    script.sleep(LEASE_MS);
    script.call(1, unhold("x"));
    script.expect(&["state Jeopardy"]);
    script.pass(500);
    script.expect(&[]);
    script.keepalive();
    script.expect(&[
        "state Safe",
        "mutate 1: unhold /ls/local/x (acknowledged 0)",
    ]);
}

#[test]
fn a_lock_granted_in_jeopardy_is_not_reported_if_the_session_expires() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.forget();
    script.sleep(LEASE_MS);
    script.answer(1, acquired(100));
    script.frame(ServerFrame::Ended {
        session: SESSION,
        reason: EndReason::Expired,
    });
    script.expect(&[
        "state Jeopardy",
        "state Expired",
        "call 1: unknown",
        "disconnect",
    ]);
}

#[test]
fn an_abandoned_wait_is_cancelled_until_the_cell_confirms_it() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.forget();
    script.abandon(1);
    script.expect(&["mutate 2: cancel 1 (acknowledged 0)"]);
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
    // The acquire itself is not sent again.
    script.expect(&["mutate 2: cancel 1 (acknowledged 0)"]);
    script.answer(2, Answer::Done(Response::Done));
    script.call(3, unhold("x"));
    script.expect(&["mutate 3: unhold /ls/local/x (acknowledged 2)"]);
}

#[test]
fn a_grant_that_crosses_the_cancel_is_not_acknowledged_before_the_cancel_is_confirmed() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.abandon(1);
    script.forget();
    script.answer(1, acquired(100));
    script.call(2, unhold("x"));
    script.expect(&["mutate 3: unhold /ls/local/x (acknowledged 0)"]);
    script.answer(2, Answer::Done(Response::Done));
    script.call(3, unhold("y"));
    script.expect(&["mutate 4: unhold /ls/local/y (acknowledged 2)"]);
}

#[test]
fn a_lock_that_is_held_back_in_jeopardy_can_be_abandoned() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.sleep(LEASE_MS);
    script.answer(1, acquired(100));
    script.abandon(1);
    script.forget();
    script.pass(500);
    script.keepalive();
    script.expect(&["state Safe", "mutate 2: cancel 1 (acknowledged 0)"]);
}

#[test]
fn an_acquire_that_never_left_is_simply_forgotten() {
    let mut script = Script::opened();
    script.disconnected();
    script.call(1, acquire("lock"));
    assert_eq!(script.session.was_sent(CallId(1)), Some(false));
    script.abandon(1);
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
    script.call(2, unhold("x"));
    script.expect(&["mutate 2: unhold /ls/local/x (acknowledged 1)"]);
}

#[test]
fn an_abandoned_write_is_still_sent_again_but_not_reported() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    assert_eq!(script.session.was_sent(CallId(1)), Some(true));
    script.abandon(1);
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
    script.expect(&["mutate 1: unhold /ls/local/x (acknowledged 0)"]);
    script.answer(1, Answer::Done(Response::Done));
    script.expect(&[]);
}

#[test]
fn a_release_goes_on_when_nobody_waits_for_it() {
    let mut script = Script::opened();
    script.disconnected();
    script.call(
        1,
        Call::Release {
            path: path("lock"),
            number: RequestNumber(9),
        },
    );
    script.abandon(1);
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
    script.expect(&["mutate 1: release 9 (acknowledged 0)"]);
}

#[test]
fn at_expiry_what_was_sent_is_unknown_and_what_was_not_has_not_happened() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.disconnected();
    script.call(2, unhold("y"));
    script.call(3, stat("node"));
    script.pass(BELIEF_MS + 45_000);
    script.expect_state(State::Expired);
    let said = script.said();
    let ended: Vec<_> = said
        .iter()
        .filter(|line| line.starts_with("call"))
        .collect();
    assert_eq!(
        ended,
        [
            "call 1: unknown",
            "call 2: session ended",
            "call 3: session ended"
        ]
    );
    script.call(4, stat("node"));
    script.expect(&["call 4: session ended"]);
}

#[test]
fn a_session_is_closed_by_the_cell_s_word() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.call(2, Call::Close);
    script.forget();
    script.call(3, stat("node"));
    script.answer(2, Answer::Done(Response::Done));
    script.expect(&[
        "call 3: session ended",
        "state Closed",
        "call 1: unknown",
        "disconnect",
        "call 2: done",
    ]);
}

#[test]
fn a_close_whose_answer_was_lost_is_recognised() {
    let mut script = Script::opened();
    script.call(1, Call::Close);
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(ServerFrame::AttachRefused {
        session: SESSION,
        answer: Answer::Refused(Refusal::NoSession { session: SESSION }),
    });
    script.expect(&["state Closed", "disconnect", "call 1: done"]);
}

#[test]
fn a_session_that_never_asked_to_be_opened_closes_at_once() {
    let mut script = Script::new();
    script.call(1, Call::Close);
    script.expect(&[
        "connect a:1",
        "state Closed",
        "disconnect",
        "call 1: session ended",
    ]);
}

#[test]
fn a_session_that_may_be_open_is_closed_when_it_is() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.call(1, Call::Close);
    script.forget();
    script.frame(super::script::opened());
    script.expect(&[
        "opened s7 for 12000 ms",
        "state Safe",
        "mutate 1: close (acknowledged 0)",
    ]);
}

#[test]
fn mutations_with_a_call_of_their_own_are_refused() {
    let mut script = Script::opened();
    script.call(1, Call::Mutate(Mutation::Close));
    let said = script.said();
    assert!(said[0].starts_with("call 1: refused"), "{said:?}");
    script.expect_state(State::Safe);
}

#[test]
fn notices_pass_through() {
    let mut script = Script::opened();
    script.frame(ServerFrame::Notice {
        session: SESSION,
        notice: Notice::Conflict {
            path: path("lock"),
            number: RequestNumber(1),
            waiters: 2,
            first: "other".to_owned(),
        },
    });
    script.expect(&["conflict on 1: 2"]);
}

#[test]
fn a_query_answered_as_a_mutation_is_refused() {
    let mut script = Script::opened();
    script.call(1, stat("node"));
    script.forget();
    script.frame(ServerFrame::QueryAnswer {
        id: 1,
        answer: Err(Answer::Done(Response::Done)),
    });
    assert!(matches!(
        script.said().as_slice(),
        [line] if line.starts_with("call 1: refused")
    ));
}

#[test]
fn a_refused_cancel_is_asked_again_under_another_number() {
    let mut script = Script::opened();
    script.call(1, acquire("a"));
    script.abandon(1);
    script.forget();
    let limit = Refusal::Limit {
        what: "outcomes".to_owned(),
        limit: 1,
    };
    script.answer(2, Answer::Refused(limit));
    script.expect(&["mutate 3: cancel 1 (acknowledged 0)"]);
    script.forget();
    script.answer(3, Answer::Done(Response::Done));
    script.call(2, unhold("x"));
    script.expect(&["mutate 4: unhold /ls/local/x (acknowledged 3)"]);
}
