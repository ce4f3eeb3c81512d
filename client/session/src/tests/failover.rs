//! Finding the master, and finding it again.

use super::script::{
    NONCE, SESSION, Script, acquire, acquired, attached, opened, stat, unhold, welcome,
};
use crate::{Input, State};
use cotter_types::{Answer, CellId, Response, ServerFrame, Unavailable};

#[test]
fn a_replica_that_is_not_master_is_left_for_the_one_it_names() {
    let mut script = Script::new();
    script.connected();
    script.frame(welcome(3, false, Some("c:1")));
    script.expect(&["connect a:1", "hello", "connect c:1"]);
}

#[test]
fn a_replica_that_knows_no_master_is_listened_to_for_a_while() {
    let mut script = Script::new();
    script.connected();
    script.frame(welcome(3, false, None));
    script.expect(&["connect a:1", "hello"]);
    script.pass(21);
    script.expect(&["connect b:1"]);
}

#[test]
fn a_listener_acts_at_once_when_the_replica_becomes_master() {
    let mut script = Script::new();
    script.connected();
    script.frame(welcome(3, false, None));
    script.forget();
    script.frame(welcome(4, true, Some("a:1")));
    script.expect(&["open"]);
}

#[test]
fn the_named_master_is_not_tried_again_while_it_is_known_to_be_unreachable() {
    let mut script = Script::new();
    script.connected();
    script.frame(welcome(3, false, Some("c:1")));
    script.disconnected();
    script.pass(30);
    script.expect(&["connect a:1", "hello", "connect c:1", "connect b:1"]);
    script.connected();
    script.frame(welcome(3, false, Some("c:1")));
    script.expect(&["hello"]);
    // With a newer epoch the hint is worth following.
    script.frame(welcome(4, false, Some("c:1")));
    script.expect(&["connect c:1"]);
}

#[test]
fn a_master_of_the_past_is_ignored() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(50);
    script.forget();
    script.connected();
    script.frame(welcome(2, true, Some("b:1")));
    script.expect(&["hello"]);
    script.expect_state(State::Safe);
}

#[test]
fn a_replica_of_another_cell_is_left() {
    let mut script = Script::opened();
    script.disconnected();
    script.pass(50);
    script.connected();
    script.forget();
    let ServerFrame::Welcome(mut other) = welcome(9, true, Some("b:1")) else {
        unreachable!()
    };
    other.cell_id = CellId(1);
    script.frame(ServerFrame::Welcome(other));
    script.expect(&["disconnect"]);
}

#[test]
fn opening_is_tried_elsewhere_with_the_same_nonce() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.disconnected();
    script.pass(50);
    script.greeted_by_master(4);
    script.frame(opened());
    script.expect(&[
        "connect a:1",
        "hello",
        "open",
        "connect b:1",
        "hello",
        "open",
        "opened s7 for 12000 ms",
        "state Safe",
    ]);
}

#[test]
fn an_overloaded_master_is_asked_again_later() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.forget();
    script.frame(ServerFrame::OpenRefused {
        nonce: NONCE,
        answer: Answer::Unavailable(Unavailable::Overloaded {
            retry_after_ms: 200,
        }),
    });
    script.pass(199);
    script.expect(&[]);
    script.pass(201);
    script.expect(&["open"]);
}

#[test]
fn after_a_failover_everything_unanswered_is_sent_again_in_order() {
    let mut script = Script::opened();
    script.call(1, acquire("lock"));
    script.call(2, unhold("x"));
    script.call(3, stat("node"));
    script.call(4, unhold("y"));
    script.answer(2, Answer::Done(Response::Done));
    script.disconnected();
    script.forget();
    script.pass(50);
    script.greeted_by_master(4);
    script.expect(&["connect b:1", "hello", "attach s7"]);
    script.frame(attached());
    script.expect(&[
        "mutate 1: acquire /ls/local/lock (acknowledged 0)",
        "mutate 3: unhold /ls/local/y (acknowledged 0)",
        "query 1",
    ]);
    script.answer(1, acquired(100));
    script.expect(&["call 1: acquired by 1, token 100"]);
}

#[test]
fn frames_of_a_connection_that_was_left_change_nothing() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    let old = script.connection;
    script.disconnected();
    script.pass(50);
    script.forget();
    script.feed(Input::Frame {
        connection: old,
        frame: ServerFrame::Ended {
            session: SESSION,
            reason: cotter_types::EndReason::Expired,
        },
    });
    script.feed(Input::Disconnected {
        connection: old,
        reason: String::new(),
    });
    script.expect(&[]);
}

#[test]
fn a_silent_master_is_left_after_a_second() {
    let mut script = Script::opened();
    script.call(1, stat("node"));
    script.forget();
    script.pass(999);
    script.expect(&[]);
    script.pass(1);
    script.expect(&["connect b:1"]);
}

#[test]
fn a_master_that_answers_keepalives_is_not_left_for_a_slow_log() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.forget();
    script.pass_kept(60_000);
    script.expect(&[]);
    script.expect_state(State::Safe);
}

#[test]
fn a_master_that_never_attaches_is_left() {
    let mut script = Script::new();
    script.greeted_by_master(3);
    script.forget();
    script.pass_kept(5_500);
    script.expect(&["connect b:1", "unreachable"]);
}

#[test]
fn a_connection_that_is_never_established_is_given_up() {
    let mut script = Script::new();
    script.pass(1_000);
    script.expect(&["connect a:1", "connect b:1"]);
}

#[test]
fn a_master_that_loses_its_office_is_left_for_the_new_one() {
    let mut script = Script::opened();
    script.frame(welcome(4, false, Some("b:1")));
    script.expect(&["connect b:1"]);
}

#[test]
fn a_master_that_reigns_anew_attaches_anew() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.forget();
    script.frame(welcome(4, true, Some("a:1")));
    script.expect(&["attach s7"]);
    script.frame(attached());
    script.expect(&["mutate 1: unhold /ls/local/x (acknowledged 0)"]);
}

#[test]
fn an_answer_that_names_the_master_is_followed() {
    let mut script = Script::opened();
    script.call(1, unhold("x"));
    script.forget();
    script.answer(
        1,
        Answer::Unavailable(Unavailable::NotMaster {
            master: None,
            address: Some("c:1".to_owned()),
        }),
    );
    script.expect(&["connect c:1"]);
}

#[test]
fn a_replica_that_says_goodbye_is_left_for_another_soon() {
    let mut script = Script::opened();
    script.frame(ServerFrame::GoAway {
        reason: "stopping".to_owned(),
        retry_after_ms: 5_000,
    });
    script.expect(&["disconnect"]);
    script.pass(20);
    script.expect(&["connect b:1"]);
}

#[test]
fn the_only_replica_is_given_the_time_it_asks_for() {
    let mut script = Script::with(|config| config.endpoints.truncate(1));
    script.connected();
    script.forget();
    script.frame(ServerFrame::GoAway {
        reason: "stopping".to_owned(),
        retry_after_ms: 5_000,
    });
    script.pass(4_999);
    script.expect(&["disconnect"]);
    script.pass(1);
    script.expect(&["connect a:1", "unreachable"]);
}

#[test]
fn addresses_are_learned_from_any_replica() {
    let mut script = Script::with(|config| config.endpoints.truncate(1));
    script.connected();
    script.frame(welcome(3, false, None));
    script.forget();
    script.pass(30);
    script.expect(&["connect b:1"]);
}
