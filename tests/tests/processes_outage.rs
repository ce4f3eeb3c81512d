//! The whole cell is frozen, and comes back. Nothing waits for ever that was not asked to, nothing is
//! reported that is not known, and afterwards everything works again by itself.
//!
//! A frozen process is the worst of dead cells: its connections stand, and what was sent to it is done
//! as soon as it thaws.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::{
    AcquireError, ChangeError, Client, Cut, QueryError, Reachability, Reads as _, SessionState,
    Wait,
};
use cotter_tests::cluster::{Cell, PATIENCE, Process, cotter_at, eventually, finish};
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio::time::timeout;

const LOCK: &str = "/ls/local/jobs/crawl";
const NODE: &str = "/ls/local/node";
const UNAVAILABLE: i32 = 69;

/// After how long the cell counts as unreachable in these tests.
const BOUND: Duration = Duration::from_secs(2);
/// Less than it takes to notice that a replica is silent, so what was sent is still on its way.
const HASTE: Duration = Duration::from_millis(400);

fn freeze(cell: &mut Cell) {
    for replica in cell.replicas() {
        replica.pause();
    }
}

fn thaw(cell: &mut Cell) {
    for replica in cell.replicas() {
        replica.resume();
    }
}

async fn connect(cell: &Cell) -> Client {
    Client::builder()
        .endpoints(cell.endpoints().split(','))
        .lease(Duration::from_secs(30))
        .unreachable_after(BOUND)
        .connect()
        .await
        .unwrap()
}

async fn is_unreachable(client: &Client) {
    let mut reachability = client.reachability();
    let unreachable = reachability.wait_for(|it| matches!(it, Reachability::Unreachable(_)));
    timeout(PATIENCE, unreachable).await.unwrap().unwrap();
}

async fn is_reachable(client: &Client) {
    let mut reachability = client.reachability();
    let reachable = reachability.wait_for(|it| *it == Reachability::Reachable);
    timeout(PATIENCE, reachable).await.unwrap().unwrap();
}

#[test]
fn acquire_that_is_given_up_leaves_no_holder_and_no_waiter() {
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&cell).await;
        let other = connect(&cell).await;
        freeze(&mut cell);
        let hasty = client.with_call_timeout(HASTE);
        let request = hasty.lock(LOCK).unwrap().wait(Wait::Ms(1));
        let error = request.acquire().await.unwrap_err();
        assert_eq!(error, AcquireError::TimedOut);
        // The master has it in its socket, and will grant it as soon as it can: the lock is free.
        thaw(&mut cell);
        let patient = other.without_call_timeout();
        let lock = patient.lock(LOCK).unwrap().wait(Wait::Ms(20_000));
        let guard = timeout(PATIENCE, lock.acquire()).await.unwrap().unwrap();
        let explanation = other.explain(LOCK).await.unwrap();
        assert_eq!(explanation.holders.len(), 1, "{explanation:?}");
        assert_eq!(explanation.holders[0].session, other.session_id());
        assert_eq!(explanation.waiters.len(), 0, "{explanation:?}");
        assert_eq!(*client.state().borrow(), SessionState::Safe);
        guard.release().await.unwrap();
        let next = client.lock(LOCK).unwrap().wait(Wait::No).acquire().await;
        assert!(next.unwrap().token().0 > 0);
    });
}

#[test]
fn write_without_an_answer_is_unknown_and_is_done_once() {
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&cell).await;
        let created = client.create(NODE).unwrap().contents("old").send().await;
        let before = created.unwrap().stat.content_generation;
        freeze(&mut cell);
        let hasty = client.with_call_timeout(HASTE);
        let error = hasty.set(NODE, "new").unwrap().send().await.unwrap_err();
        assert_eq!(error, ChangeError::Unknown(Cut::TimedOut));
        thaw(&mut cell);
        is_reachable(&client).await;
        // The session has sent it before, so it is done before what comes after.
        client
            .create("/ls/local/after")
            .unwrap()
            .send()
            .await
            .unwrap();
        let node = client.get(NODE).await.unwrap();
        assert_eq!(node.contents.as_bytes(), b"new");
        assert_eq!(node.stat.content_generation, before + 1);
    });
}

#[test]
fn calls_fail_fast_while_the_cell_is_frozen_and_the_same_client_works_afterwards() {
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&cell).await;
        let session = client.session_id();
        let guard = client.lock(LOCK).unwrap().acquire().await.unwrap();
        freeze(&mut cell);
        is_unreachable(&client).await;
        let error = client.get(NODE).await.unwrap_err();
        let QueryError::Unreachable(report) = &error else {
            panic!("{error:?}")
        };
        assert!(report.lasted >= BOUND, "{error}");
        assert!(!report.troubles.is_empty(), "{error}");
        let error = client.set(NODE, "x").unwrap().send().await.unwrap_err();
        assert!(matches!(error, ChangeError::Unreachable(_)), "{error:?}");
        thaw(&mut cell);
        is_reachable(&client).await;
        client.create(NODE).unwrap().send().await.unwrap();
        assert_eq!(client.session_id(), session);
        // What was said not to have happened has not.
        assert!(
            client
                .get(NODE)
                .await
                .unwrap()
                .contents
                .as_bytes()
                .is_empty()
        );
        assert!(guard.sequencer().is_ok());
        guard.release().await.unwrap();
    });
}

#[test]
fn replica_without_a_majority_is_an_unreachable_cell_that_comes_back() {
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&cell).await;
        cell.replica(0).kill();
        cell.replica(1).kill();
        is_unreachable(&client).await;
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, QueryError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("not the master"), "{error}");
        cell.replica(0).start();
        is_reachable(&client).await;
        client.create(NODE).unwrap().send().await.unwrap();
    });
}

#[test]
fn command_line_fails_fast_in_an_outage_and_waits_through_it_for_a_lock() {
    let mut cell = Cell::start(3);
    let endpoints = cell.endpoints();
    let start = |cell: &Cell, name: &str, words: &[&str]| {
        let log = cell.directory().join(format!("{name}.log"));
        Process::start(name, &mut cotter_at(&endpoints, words), &log)
    };
    let mut holder = start(&cell, "holder", &["lock", "--lease", "60", LOCK]);
    eventually("the holder has the lock", || {
        holder.log().contains("/jobs/crawl")
    });
    let line = ["lock", "--lease", "60", LOCK, "--", "echo", "granted"];
    let mut waiter = start(&cell, "waiter", &line);
    eventually("the waiter waits", || {
        cell.run(&["explain", LOCK]).output.contains("echo")
    });
    freeze(&mut cell);
    for line in [
        &["ls"][..],
        &["create", NODE],
        &["lock", "-n", LOCK, "--", "true"],
    ] {
        let refused = finish(&mut cotter_at(&endpoints, line));
        assert_eq!(refused.code, UNAVAILABLE, "{line:?}: {refused:?}");
        assert!(
            refused.errors.contains("no answer"),
            "{line:?}: {refused:?}"
        );
    }
    eventually("the waiter says why it waits", || {
        waiter.log().contains("the cell has been unreachable")
    });
    assert!(waiter.ended().is_none(), "{}", waiter.log());
    thaw(&mut cell);
    eventually("the waiter says that the cell is back", || {
        waiter.log().contains("the cell is reachable again")
    });
    holder.signal(Signal::SIGTERM);
    assert_eq!(waiter.wait().code(), Some(0), "{}", waiter.log());
    assert!(waiter.log().contains("granted"), "{}", waiter.log());
}

#[test]
fn wait_for_ever_goes_on_in_another_session_when_its_own_is_lost() {
    let cell = Cell::start(1);
    let endpoints = cell.endpoints();
    let start = |cell: &Cell, name: &str, words: &[&str]| {
        let log = cell.directory().join(format!("{name}.log"));
        Process::start(name, &mut cotter_at(&endpoints, words), &log)
    };
    let mut holder = start(&cell, "holder", &["lock", LOCK]);
    eventually("the holder has the lock", || {
        holder.log().contains("/jobs/crawl")
    });
    let line = [
        "lock", "--lease", "2", "--name", "patient", LOCK, "--", "echo", "granted",
    ];
    let mut waiter = start(&cell, "waiter", &line);
    let waits = |cell: &Cell| cell.run(&["explain", LOCK]).output.contains("patient");
    eventually("the waiter waits", || waits(&cell));
    waiter.signal(Signal::SIGSTOP);
    eventually("the waiter's session has expired", || !waits(&cell));
    waiter.signal(Signal::SIGCONT);
    eventually("the waiter waits again", || waits(&cell));
    assert!(
        waiter.log().contains("the session ended"),
        "{}",
        waiter.log()
    );
    holder.signal(Signal::SIGTERM);
    assert_eq!(waiter.wait().code(), Some(0), "{}", waiter.log());
    assert!(waiter.log().contains("granted"), "{}", waiter.log());
}
