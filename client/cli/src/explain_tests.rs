use super::{as_json, sentences};
use cotter_types::{
    CellTime, ChangeOfHands, Explanation, FencingToken, HandEnd, HolderView, Instance, LockMode,
    Path, RequestNumber, SessionId, WaiterView,
};

fn free() -> Explanation {
    Explanation {
        path: Path::parse("/ls/local/jobs/crawl").unwrap(),
        instance: Instance(3),
        lock_generation: 5,
        mode: None,
        holders: Vec::new(),
        holder_count: 0,
        waiters: Vec::new(),
        waiter_count: 0,
        lock_delay_left_ms: 0,
        history: Vec::new(),
        now: CellTime(100_000),
        worst_case_free_ms: None,
    }
}

fn held() -> Explanation {
    let holder = HolderView {
        session: SessionId(7),
        number: RequestNumber(1),
        name: "crawl".into(),
        host: "alpha".into(),
        pid: 123,
        program: "cotter".into(),
        principal: "anonymous".into(),
        token: FencingToken(42),
        since: CellTime(95_000),
        since_wall_ms: 951_782_400_000,
        lock_delay_ms: 2_000,
        lease_left_ms: Some(9_500),
    };
    let waiter = WaiterView {
        session: SessionId(8),
        number: RequestNumber(1),
        name: "crawl".into(),
        host: "beta\x1b[2J".into(),
        pid: 9,
        program: "cotter".into(),
        principal: "anonymous".into(),
        mode: LockMode::Exclusive,
        place: 1,
        since: CellTime(98_500),
        deadline: Some(CellTime(108_500)),
    };
    let change = ChangeOfHands {
        session: SessionId(6),
        name: "crawl".into(),
        host: "gamma".into(),
        pid: 77,
        mode: LockMode::Exclusive,
        token: FencingToken(41),
        from: CellTime(10_000),
        until: CellTime(90_000),
        until_wall_ms: 951_782_390_000,
        end: HandEnd::SessionExpired,
    };
    Explanation {
        mode: Some(LockMode::Exclusive),
        holders: vec![holder],
        holder_count: 1,
        waiters: vec![waiter],
        waiter_count: 1,
        history: vec![change],
        worst_case_free_ms: Some(11_500),
        ..free()
    }
}

#[test]
fn held_lock_is_explained_in_sentences() {
    assert_eq!(
        sentences(&held()),
        "\
/ls/local/jobs/crawl is held, exclusive, by
  crawl (session s7, pid 123 on alpha)
    since 2000-02-29 00:00:00Z (5.0 s), with token 42; its lease has 9.5 s left, and its lock-delay \
would be 2.0 s
1 session waits for it:
  1. crawl (session s8, pid 9 on beta\\u{1b}[2J), exclusive, for 1.5 s, at most another 8.5 s
if its holders died this moment, it would be free within 11.5 s (lease and lock-delay).
it changed hands before, latest first:
  until 2000-02-28 23:59:50Z: crawl (session s6, pid 77 on gamma) held it, exclusive, for 1 min 20 s, \
token 41, and its session expired
"
    );
}

#[test]
fn free_lock_is_free_and_delayed_lock_is_not() {
    assert_eq!(
        sentences(&free()),
        "/ls/local/jobs/crawl is free.\nnobody waits for it.\nit has not changed hands before.\n"
    );
    let delayed = Explanation {
        lock_delay_left_ms: 1_250,
        ..free()
    };
    assert!(sentences(&delayed).contains("its lock-delay lasts another 1.2 s"));
}

#[test]
fn rows_that_are_not_listed_are_counted() {
    let many = Explanation {
        waiter_count: 250,
        ..held()
    };
    assert!(sentences(&many).contains("… and 249 more"));
}

#[test]
fn json_has_the_token_as_a_number_and_ids_as_they_are_printed() {
    let json = as_json(&held());
    assert_eq!(json["holders"][0]["token"], 42);
    assert_eq!(json["holders"][0]["session"], "s7");
    assert_eq!(json["waiters"][0]["wait_left_ms"], 8_500);
    assert_eq!(json["history"][0]["end"], "session expired");
}
