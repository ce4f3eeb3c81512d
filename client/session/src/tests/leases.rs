//! Until when a client believes.

use super::script::{
    BELIEF_MS, LEASE_MS, SESSION, Script, acquire, acquired, attached, opened, stat,
};
use crate::State;
use cotter_types::{
    Answer, EndReason, Moment, Nonce, Refusal, Response, ServerFrame, SessionId, Unavailable,
};

#[test]
fn a_session_is_opened_at_the_master_and_safe_at_once() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.expect_state(State::Opening);
    script.frame(opened());
    script.expect(&[
        "connect a:1",
        "hello",
        "open",
        "opened s7 for 12000 ms",
        "state Safe",
    ]);
}

#[test]
fn the_lease_counts_from_before_open_was_sent_less_the_drift() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.pass(400);
    script.frame(opened());
    assert_eq!(script.lease_left_ms(), u128::from(BELIEF_MS - 400));
}

#[test]
fn the_lease_counts_from_before_the_keepalive_was_sent() {
    let mut script = Script::opened();
    script.show_keepalives = true;
    script.pass(2_000);
    script.expect(&["keepalive 1"]);
    assert_eq!(script.lease_left_ms(), u128::from(BELIEF_MS - 2_000));
    script.pass(300);
    script.keepalive();
    assert_eq!(script.lease_left_ms(), u128::from(BELIEF_MS - 300));
}

#[test]
fn a_keepalive_comes_every_sixth_of_a_short_lease() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.frame(ServerFrame::Opened {
        nonce: super::script::NONCE,
        session: SESSION,
        lease_ms: 3_000,
    });
    script.forget();
    script.show_keepalives = true;
    script.pass(499);
    script.expect(&[]);
    script.pass(1);
    script.expect(&["keepalive 1"]);
}

#[test]
fn keepalives_are_frequent_while_a_call_waits() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.forget();
    script.show_keepalives = true;
    script.pass(500);
    script.expect(&["keepalive 1"]);
}

#[test]
fn a_late_answer_never_shortens_the_belief() {
    let mut script = Script::opened();
    script.pass(2_000);
    let first = script.last_keepalive;
    script.pass(600);
    script.call(1, acquire("lock"));
    let second = script.last_keepalive;
    assert_ne!(first, second);
    script.frame(ServerFrame::KeepAlive { number: second });
    let left = script.lease_left_ms();
    script.frame(ServerFrame::KeepAlive { number: first });
    assert_eq!(script.lease_left_ms(), left);
}

#[test]
fn an_answer_to_a_keepalive_that_was_never_sent_extends_nothing() {
    let mut script = Script::opened();
    script.pass(1_000);
    let left = script.lease_left_ms();
    script.frame(ServerFrame::KeepAlive { number: 99 });
    assert_eq!(script.lease_left_ms(), left);
}

#[test]
fn a_detached_session_is_not_extended_by_what_was_on_its_way() {
    let mut script = Script::opened();
    script.pass(2_000);
    let left = script.lease_left_ms();
    script.frame(ServerFrame::Detached {
        session: SESSION,
        condemned: false,
    });
    script.keepalive();
    assert_eq!(script.lease_left_ms(), left);
    script.pass(100);
    script.expect(&["attach s7"]);
    script.frame(attached());
    assert!(script.lease_left_ms() > left);
    script.expect(&[]);
}

#[test]
fn a_keepalive_before_attachment_extends_nothing() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    let left = script.lease_left_ms();
    script.pass(500);
    let early = script.last_keepalive;
    script.frame(ServerFrame::KeepAlive { number: early });
    assert_eq!(script.lease_left_ms(), left - 500);
    script.frame(attached());
    script.frame(ServerFrame::KeepAlive { number: early });
    assert_eq!(script.lease_left_ms(), u128::from(BELIEF_MS - 500));
}

#[test]
fn a_condemned_session_is_in_jeopardy_at_once() {
    let mut script = Script::opened();
    script.frame(ServerFrame::Detached {
        session: SESSION,
        condemned: true,
    });
    script.expect(&["state Jeopardy"]);
    script.pass(100);
    script.expect(&["attach s7"]);
    script.frame(ServerFrame::AttachRefused {
        session: SESSION,
        answer: Answer::Unavailable(Unavailable::Condemned),
    });
    script.pass(100);
    script.expect(&["attach s7"]);
    script.frame(attached());
    script.expect(&["state Safe"]);
}

#[test]
fn the_first_answer_after_two_attaches_counts_from_the_first() {
    let mut script = Script::opened();
    let detached = || ServerFrame::Detached {
        session: SESSION,
        condemned: false,
    };
    script.frame(detached());
    script.pass(100);
    script.expect(&["attach s7"]);
    script.frame(detached());
    script.pass(300);
    script.expect(&["attach s7"]);
    script.frame(attached());
    assert!(script.lease_left_ms() <= u128::from(BELIEF_MS - 300));
}

#[test]
fn jeopardy_comes_when_the_belief_ends_and_expiry_when_the_grace_ends() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(BELIEF_MS - 1);
    script.expect_state(State::Safe);
    script.forget();
    script.pass(1);
    assert!(script.said().contains(&"state Jeopardy".to_owned()));
    script.pass(44_999);
    script.expect_state(State::Jeopardy);
    script.forget();
    script.pass(1);
    script.expect_state(State::Expired);
    assert_eq!(script.session.next_wake(), Moment::NEVER);
}

#[test]
fn jeopardy_ends_when_the_cell_still_knows_the_session() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(BELIEF_MS + 1_000);
    script.expect_state(State::Jeopardy);
    script.greeted_by_master(4);
    script.forget();
    script.frame(attached());
    script.expect(&["reachable", "state Safe"]);
}

#[test]
fn a_session_that_the_cell_has_forgotten_is_expired() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    script.forget();
    script.frame(ServerFrame::AttachRefused {
        session: SESSION,
        answer: Answer::Refused(Refusal::NoSession { session: SESSION }),
    });
    script.expect(&["state Expired", "disconnect"]);
    assert_eq!(script.session.lease_end(), Moment(0));
}

#[test]
fn an_ended_session_is_expired_before_its_lease_is_over() {
    let mut script = Script::opened();
    script.frame(ServerFrame::Ended {
        session: SESSION,
        reason: EndReason::Expired,
    });
    script.expect(&["state Expired", "disconnect"]);
    script.pass(100_000);
    script.expect(&[]);
}

#[test]
fn a_paused_client_is_in_jeopardy_before_it_believes_anything() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.forget();
    script.sleep(LEASE_MS);
    script.answer(1, acquired(100));
    script.expect(&["state Jeopardy"]);
    // Nothing that was sent before the pause proves anything now.
    script.pass(500);
    script.keepalive();
    script.expect(&["state Safe", "call 1: acquired by 1, token 100"]);
}

#[test]
fn a_keepalive_from_before_the_pause_does_not_end_jeopardy() {
    let mut script = Script::opened();
    script.pass(2_000);
    let before = script.last_keepalive;
    script.sleep(LEASE_MS);
    script.frame(ServerFrame::KeepAlive { number: before });
    script.expect(&["state Jeopardy"]);
    script.expect_state(State::Jeopardy);
}

#[test]
fn a_client_that_slept_through_its_grace_is_expired_at_the_first_look() {
    let mut script = Script::opened();
    script.call(1, stat("node"));
    script.forget();
    script.sleep(3_600_000);
    script.keepalive();
    script.expect(&[
        "state Jeopardy",
        "state Expired",
        "call 1: unknown",
        "disconnect",
    ]);
}

#[test]
fn a_pause_shorter_than_the_lease_does_not_cost_the_connection() {
    let mut script = Script::opened();
    script.call(1, stat("node"));
    script.pass(500);
    script.forget();
    script.sleep(5_000);
    script.pass(0);
    script.expect(&[]);
}

#[test]
fn a_session_can_be_refused_for_good() {
    let mut script = Script::new();
    script.call(1, stat("node"));
    script.greeted_by_master(3);
    script.forget();
    let what = "lease".to_owned();
    script.frame(ServerFrame::OpenRefused {
        nonce: super::script::NONCE,
        answer: Answer::Refused(Refusal::Invalid { what }),
    });
    script.expect(&["state Failed", "call 1: session ended", "disconnect"]);
    assert!(script.session.refusal().is_some());
}

#[test]
fn frames_about_others_change_nothing() {
    let mut script = Script::opened();
    let other = SessionId(8);
    let left = script.lease_left_ms();
    script.frame(ServerFrame::Ended {
        session: other,
        reason: EndReason::Expired,
    });
    script.frame(ServerFrame::Detached {
        session: other,
        condemned: true,
    });
    script.frame(ServerFrame::Attached {
        session: other,
        lease_ms: 120_000,
    });
    script.frame(ServerFrame::Opened {
        nonce: Nonce(1),
        session: other,
        lease_ms: 120_000,
    });
    script.frame(ServerFrame::Answer {
        session: other,
        number: cotter_types::RequestNumber(1),
        answer: Answer::Done(Response::Done),
    });
    script.expect(&[]);
    assert_eq!(script.lease_left_ms(), left);
}

#[test]
fn an_attached_that_nobody_asked_for_extends_nothing() {
    let mut script = Script::opened();
    script.pass(1_000);
    let left = script.lease_left_ms();
    script.frame(attached());
    script.frame(opened());
    assert_eq!(script.lease_left_ms(), left);
}
