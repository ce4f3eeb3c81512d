//! Deadlines of calls, and the cell that cannot be reached.

use super::script::{
    BELIEF_MS, LEASE_MS, NONCE, SESSION, Script, acquire, acquired, attached, opened, path, stat,
    unhold,
};
use crate::{Call, Patience, State};
use cotter_types::{
    Answer, EndReason, Moment, Refusal, RequestNumber, Response, ServerFrame, Unavailable, Wait,
};
use std::time::Duration;

/// The bound of [`Script::new`], in milliseconds.
const BOUND_MS: u64 = 5_000;
/// Longer than any call of these tests may take.
const LONG_MS: u64 = 60_000;

fn acquire_at_once(name: &str) -> Call {
    let Call::Acquire(mut acquire) = acquire(name) else {
        unreachable!()
    };
    acquire.wait = Wait::No;
    Call::Acquire(acquire)
}

/// What was said of calls since somebody last looked, and of the circuit.
fn ends(script: &mut Script) -> Vec<String> {
    let told = |line: &String| line.starts_with("call") || line.ends_with("reachable");
    script.said().into_iter().filter(told).collect()
}

/// Connects to whichever address is due next, and attaches.
fn reattach(script: &mut Script) {
    script.pass(1_000);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
}

#[test]
fn a_write_without_an_answer_keeps_its_number_after_its_deadline() {
    let mut script = Script::opened();
    script.call_for(1, unhold("x"), 700);
    script.forget();
    script.pass_kept(690);
    script.expect(&[]);
    script.pass_kept(20);
    script.expect(&["call 1: timed out"]);
    // It may have been done, so it is neither acknowledged nor replaced.
    script.call(2, unhold("y"));
    script.expect(&["mutate 2: unhold /ls/local/y (acknowledged 0)"]);
    script.disconnected();
    reattach(&mut script);
    script.expect(&[
        "mutate 1: unhold /ls/local/x (acknowledged 0)",
        "mutate 2: unhold /ls/local/y (acknowledged 0)",
    ]);
    script.answer(1, Answer::Done(Response::Done));
    script.expect(&[]);
    script.call(3, unhold("z"));
    script.expect(&["mutate 3: unhold /ls/local/z (acknowledged 1)"]);
}

#[test]
fn what_never_left_before_its_deadline_never_leaves() {
    let mut script = Script::opened();
    script.disconnected();
    script.call_for(1, unhold("x"), 500);
    script.call_for(2, stat("node"), 600);
    script.pass(700);
    assert_eq!(
        ends(&mut script),
        [
            "call 1: timed out, never sent",
            "call 2: timed out, never sent"
        ]
    );
    reattach(&mut script);
    script.expect(&[]);
}

#[test]
fn a_call_without_time_is_over_before_it_is_sent() {
    let mut script = Script::opened();
    script.call_for(1, unhold("x"), 0);
    script.expect(&["call 1: timed out, never sent"]);
}

#[test]
fn the_session_wakes_for_a_deadline_and_for_the_end_of_the_bound() {
    let mut script = Script::opened();
    script.call_for(1, unhold("x"), 300);
    let deadline = script.now.after(Duration::from_millis(300));
    assert_eq!(script.session.next_wake(), deadline);
    // Nothing else is due here: the only replica has asked to be left alone for longer.
    let mut script = Script::with(|config| config.endpoints.truncate(1));
    let bound = script.now.after(Duration::from_millis(BOUND_MS));
    script.connected();
    script.frame(ServerFrame::GoAway {
        reason: "stopping".to_owned(),
        retry_after_ms: 10_000,
    });
    assert_eq!(script.session.next_wake(), bound);
}

#[test]
fn an_answer_in_time_ends_the_deadline_with_the_call() {
    let mut script = Script::opened();
    script.call_for(1, unhold("x"), 500);
    script.answer(1, Answer::Done(Response::Done));
    script.forget();
    script.pass_kept(1_000);
    script.expect(&[]);
}

#[test]
fn an_acquire_that_is_given_up_is_cancelled_and_its_grant_is_not_reported() {
    let mut script = Script::opened();
    script.call_for(1, acquire("lock"), 500);
    script.forget();
    script.pass_kept(510);
    script.expect(&["call 1: timed out", "mutate 2: cancel 1 (acknowledged 0)"]);
    // The grant was on its way already: the cancel gives it back.
    script.answer(1, acquired(100));
    script.expect(&[]);
    script.answer(2, Answer::Done(Response::Done));
    script.call(2, acquire("lock"));
    script.expect(&["mutate 3: acquire /ls/local/lock (acknowledged 2)"]);
}

#[test]
fn a_grant_that_is_held_back_in_jeopardy_is_cancelled_at_the_deadline() {
    let mut script = Script::opened();
    script.call_for(1, acquire("lock"), LEASE_MS + 1_000);
    script.sleep(LEASE_MS);
    script.answer(1, acquired(100));
    script.sleep(1_000);
    script.forget();
    script.pass(0);
    script.expect(&["call 1: timed out"]);
    script.keepalive();
    let cancel = "mutate 2: cancel 1 (acknowledged 0)".to_owned();
    assert!(script.said().contains(&cancel));
}

#[test]
fn without_a_cell_for_the_bound_calls_that_would_only_wait_fail() {
    let mut script = Script::opened();
    script.call_for(1, unhold("sent"), LONG_MS);
    script.call_for(2, acquire("lock"), LONG_MS);
    script.call_for(3, acquire_at_once("other"), LONG_MS);
    script.call_for(4, stat("sent"), LONG_MS);
    script.disconnected();
    script.call_for(5, unhold("unsent"), LONG_MS);
    script.call_for(6, acquire("unsent"), LONG_MS);
    script.call_for(7, stat("unsent"), LONG_MS);
    script.forget();
    script.pass(BOUND_MS - 1);
    assert!(ends(&mut script).is_empty());
    script.pass(1);
    // The write may have been done, and the wait has a place in the queue: both go on.
    assert_eq!(
        ends(&mut script),
        [
            "unreachable",
            "call 3: unreachable",
            "call 4: unreachable",
            "call 5: unreachable",
            "call 6: unreachable",
            "call 7: unreachable",
        ]
    );
    reattach(&mut script);
    script.expect(&[
        "reachable",
        "mutate 1: unhold /ls/local/sent (acknowledged 0)",
        "mutate 2: acquire /ls/local/lock (acknowledged 0)",
        "mutate 6: cancel 3 (acknowledged 0)",
    ]);
}

#[test]
fn while_the_cell_is_unreachable_calls_fail_at_once_and_use_no_numbers() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(BOUND_MS);
    script.forget();
    script.call_for(1, unhold("x"), LONG_MS);
    script.call_for(2, stat("x"), LONG_MS);
    script.call_for(3, acquire("x"), LONG_MS);
    script.expect(&[
        "call 1: unreachable",
        "call 2: unreachable",
        "call 3: unreachable",
    ]);
    reattach(&mut script);
    script.expect(&["reachable"]);
    script.call_for(4, unhold("y"), LONG_MS);
    script.expect(&["mutate 1: unhold /ls/local/y (acknowledged 0)"]);
}

#[test]
fn who_wants_to_wait_for_ever_waits_through_an_outage() {
    let mut script = Script::opened();
    script.disconnected();
    script.call(1, unhold("x"));
    script.pass(BOUND_MS + 1_000);
    script.call(2, stat("x"));
    assert_eq!(ends(&mut script), ["unreachable"]);
    reattach(&mut script);
    script.expect(&[
        "reachable",
        "mutate 1: unhold /ls/local/x (acknowledged 0)",
        "query 1",
    ]);
}

#[test]
fn a_wait_for_ever_ends_with_the_session_when_the_cell_stays_away() {
    let mut script = Script::opened();
    let in_the_queue_only = Patience::until(Moment::NEVER);
    script.call_with(1, acquire("lock"), in_the_queue_only);
    script.disconnected();
    script.pass(BELIEF_MS + 44_999);
    assert_eq!(ends(&mut script), ["unreachable"]);
    script.pass(1);
    script.expect_state(State::Expired);
    assert_eq!(ends(&mut script), ["call 1: unknown"]);
    assert_eq!(script.session.next_wake(), Moment::NEVER);
}

#[test]
fn a_release_is_done_although_nobody_was_there_to_take_it() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(BOUND_MS);
    script.forget();
    let number = RequestNumber(9);
    let path = path("lock");
    script.call_for(1, Call::Release { path, number }, LONG_MS);
    script.expect(&["call 1: unreachable"]);
    reattach(&mut script);
    script.expect(&["reachable", "mutate 1: release 9 (acknowledged 0)"]);
}

#[test]
fn a_close_is_not_waited_for_while_the_cell_is_unreachable() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(BOUND_MS);
    script.forget();
    script.call_for(1, Call::Close, LONG_MS);
    script.expect(&["call 1: unreachable"]);
    script.call_for(2, stat("x"), LONG_MS);
    script.expect(&["call 2: session ended"]);
    reattach(&mut script);
    script.expect(&["reachable", "mutate 1: close (acknowledged 0)"]);
}

#[test]
fn in_jeopardy_alone_calls_wait_for_their_deadline() {
    let mut script = Script::opened();
    script.frame(ServerFrame::Detached {
        session: SESSION,
        condemned: true,
    });
    script.expect_state(State::Jeopardy);
    script.forget();
    script.call_for(1, unhold("x"), 1_000);
    script.pass(50);
    assert!(ends(&mut script).is_empty());
    script.pass(950);
    assert_eq!(ends(&mut script), ["call 1: timed out, never sent"]);
}

#[test]
fn a_master_that_asks_for_time_is_not_unreachable() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.call_for(1, unhold("x"), LONG_MS);
    for _ in 0..20 {
        script.frame(ServerFrame::OpenRefused {
            nonce: NONCE,
            answer: Answer::Unavailable(Unavailable::Overloaded {
                retry_after_ms: 250,
            }),
        });
        script.pass(500);
    }
    assert!(ends(&mut script).is_empty());
    script.frame(opened());
    assert!(script.said().contains(&"state Safe".to_owned()));
}

#[test]
fn replicas_without_a_master_are_an_unreachable_cell() {
    let mut script = Script::opened();
    script.frame(super::script::welcome(4, false, None));
    let mut passed = 0;
    while passed < BOUND_MS {
        script.pass(50);
        script.connected();
        script.frame(super::script::welcome(4, false, None));
        passed += 50;
    }
    assert_eq!(ends(&mut script), ["unreachable"]);
    let report = script.session.unreachable(script.now).unwrap();
    assert_eq!(report.troubles.len(), 3);
    assert!(report.to_string().contains("not the master"), "{report}");
}

#[test]
fn the_client_s_own_pause_is_no_outage() {
    let mut script = Script::opened();
    script.disconnected();
    script.sleep(BOUND_MS + 1_000);
    script.pass(0);
    assert!(ends(&mut script).is_empty());
    script.pass(BOUND_MS);
    assert_eq!(ends(&mut script), ["unreachable"]);
}

#[test]
fn a_silent_master_counts_from_when_it_fell_silent() {
    let mut script = Script::opened();
    script.call_for(1, stat("x"), LONG_MS);
    let asked = script.now;
    script.forget();
    script.pass(1_000);
    assert_eq!(script.said().first().unwrap(), "connect b:1");
    script.pass(BOUND_MS - 1_000);
    assert_eq!(ends(&mut script), ["unreachable", "call 1: unreachable"]);
    let report = script.session.unreachable(script.now).unwrap();
    assert_eq!(report.since, asked);
}

#[test]
fn the_report_says_since_when_what_was_tried_and_what_comes_next() {
    let mut script = Script::with(|config| {
        config.endpoints.truncate(2);
        config.unreachable_after_ms = 2_000;
    });
    let begin = script.now;
    for _ in 0..20 {
        script.disconnected();
        script.pass(1_000);
    }
    script.disconnected();
    let report = script.session.unreachable(script.now).unwrap();
    assert_eq!(report.since, begin);
    assert_eq!(report.lasted.as_millis(), 20_000);
    let next_ms = report.next_try_in.as_millis();
    assert!((400..=1_000).contains(&next_ms), "{next_ms}");
    assert_eq!(script.troubles, ["a:1: gone", "b:1: gone"]);
    let text = report.to_string();
    let begins = "the cell has been unreachable for 20.0 s (a:1: gone; b:1: gone); it is tried";
    assert!(text.starts_with(begins), "{text}");
}

#[test]
fn trying_goes_on_behind_an_open_circuit_and_the_first_success_closes_it() {
    let mut script = Script::new();
    script.pass(LONG_MS);
    let tries = script.said();
    let tries = tries.iter().filter(|line| line.starts_with("connect"));
    // An address that accepts nothing costs a second.
    assert_eq!(tries.count(), 61);
    assert_eq!(script.troubles.len(), 3);
    script.pass(500);
    script.greeted_by_master(3);
    script.forget();
    script.frame(opened());
    script.expect(&["opened s7 for 12000 ms", "reachable", "state Safe"]);
    assert!(script.troubles.is_empty());
}

#[test]
fn a_session_that_ended_speaks_no_more_of_reachability() {
    let mut script = Script::opened();
    script.frame(ServerFrame::Ended {
        session: SESSION,
        reason: EndReason::Expired,
    });
    script.forget();
    script.pass(LONG_MS);
    script.call_for(1, unhold("x"), LONG_MS);
    script.expect(&["call 1: session ended"]);
}

#[test]
fn a_refused_attachment_is_told_as_trouble() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    let what = "sessions of one stream".to_owned();
    script.frame(ServerFrame::AttachRefused {
        session: SESSION,
        answer: Answer::Refused(Refusal::Limit { what, limit: 1 }),
    });
    assert!(
        script
            .troubles
            .iter()
            .any(|it| it.contains("sessions of one stream")),
        "{:?}",
        script.troubles
    );
}
