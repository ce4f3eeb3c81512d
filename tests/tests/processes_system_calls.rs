//! A replica is killed at each of its system calls that touch the disk, is told that the disk has
//! failed, and waits for a slow one.
//!
//! The kills happen to a cell of one replica: nobody else could hide what its log has lost. Kill
//! points are spread over start, append and the change of segments; `COTTER_KILL_POINTS` says how
//! many of each kind of call, 6 if that is not set. Needs root and `strace`.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::{Client, SessionState};
use cotter_tests::cluster::{
    Cell, INJECTION_NEEDS, Injection, Ledger, PATIENCE, eventually, fault_count, root_with,
};
use std::os::unix::process::ExitStatusExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

const POINTS: &str = "COTTER_KILL_POINTS";
const POINTS_DEFAULT: usize = 6;
/// Status of a replica that found itself broken.
const BROKEN: i32 = 70;
const SIGKILL: i32 = 9;
/// Contents, in bytes, of which 65 fill a segment.
const LARGE: usize = 250 * 1_024;

static ALONE: Mutex<()> = Mutex::new(());

fn list(cell: &Cell) -> String {
    let line = ["--timeout", "30", "-o", "plain", "ls", Ledger::directory()];
    cell.run(&line).ok()
}

fn write_more(ledger: &Ledger, nodes: usize) {
    let (before, _) = ledger.count();
    eventually("the cell goes on", || ledger.count().0 >= before + nodes);
}

/// Kills a cell of one replica where it enters each of the calls, while nodes of `bytes` are written.
/// A point that is not reached within `nodes` writes counts as past the last, and is not one.
/// Returns those that were reached, with how many nodes were acknowledged before.
fn survive_kills(
    points: &[(&'static str, usize)],
    bytes: usize,
    nodes: usize,
) -> Vec<(&'static str, usize, usize)> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !root_with(&INJECTION_NEEDS) {
        return Vec::new();
    }
    let mut cell = Cell::start(1);
    let ledger = Ledger::start(&cell.endpoints(), 2, bytes);
    write_more(&ledger, 2);
    cell.replica(0).kill();
    let mut reached = Vec::new();
    for (call, nth) in points {
        if bytes >= LARGE {
            // A start that is not disturbed first, so that the next life finds a segment reserved.
            cell.start_all();
            write_more(&ledger, 1);
            cell.replica(0).kill();
        }
        let (before, _) = ledger.count();
        cell.replica(0).start_with(&Injection::kill(call, *nth));
        let replica = cell.replica(0);
        eventually("it is killed, or has no such call", || {
            !replica.runs() || ledger.count().0 >= before + nodes
        });
        if replica.runs() {
            replica.kill();
            continue;
        }
        let status = replica.process().wait();
        assert_eq!(status.signal(), Some(SIGKILL), "at {call} {nth}: {status}");
        reached.push((*call, *nth, ledger.count().0 - before));
    }
    let before = ledger.so_far();
    cell.start_all();
    cell.master();
    before.check_kept(&list(&cell));
    write_more(&ledger, 2);
    let all = ledger.stop();
    all.check_kept(&list(&cell));
    all.check_tokens();
    println!(
        "{} of {} kill points reached, {} nodes acknowledged: {reached:?}",
        reached.len(),
        points.len(),
        all.names.len()
    );
    assert!(
        reached.len() * 2 >= points.len(),
        "too few of the points were reached: {reached:?} of {points:?}"
    );
    reached
}

fn each(calls: &[&'static str], nths: impl Fn(usize) -> usize) -> Vec<(&'static str, usize)> {
    let count = fault_count(POINTS, POINTS_DEFAULT);
    calls
        .iter()
        .flat_map(|call| {
            (0..count)
                .map(|step| (*call, nths(step)))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn kill_at_any_call_of_a_start_loses_nothing() {
    let calls = ["fdatasync", "pwrite64", "fsync", "rename"];
    survive_kills(&each(&calls, |step| step + 1), 100, 40);
}

#[test]
fn kill_at_any_call_of_an_append_loses_nothing() {
    survive_kills(
        &each(&["fdatasync", "pwrite64"], |step| 15 + 7 * step),
        100,
        400,
    );
}

#[test]
fn kill_at_any_call_of_a_change_of_segments_loses_nothing() {
    // A segment has 16 MiB, so each life changes segments at least twice within 140 writes.
    let points = [
        ("rename", 2),
        ("fallocate", 1),
        ("fallocate", 2),
        ("fsync", 3),
        ("fsync", 4),
    ];
    let reached = survive_kills(&points, LARGE, 140);
    let within = reached.iter().filter(|(_, _, nodes)| *nodes > 0).count();
    assert!(
        reached.is_empty() || within >= 3,
        "too few after the start: {reached:?}"
    );
}

/// A disk that says `EIO` once, at the `nth` call of a replica of three.
fn stops_at(call: &'static str, nth: usize, words: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !root_with(&INJECTION_NEEDS) {
        return;
    }
    let mut cell = Cell::start(3);
    let ledger = Ledger::start(&cell.endpoints(), 2, 100);
    // A follower, then the master.
    for turn in 0..2 {
        write_more(&ledger, 10);
        let master = cell.master();
        let follower = (master + 1) % 3;
        cell.replica(follower).kill();
        cell.replica(follower)
            .start_with(&Injection::fail(call, "EIO", nth));
        if turn == 1 {
            // It becomes master, since the others cannot without it.
            let epoch = cell.epoch();
            cell.replica(master).kill();
            cell.master_after(epoch);
            cell.replica(master).start();
        }
        let status = cell.replica(follower).process().wait();
        assert_eq!(
            status.code(),
            Some(BROKEN),
            "it stops, and says that it is broken"
        );
        let log = cell.replica(follower).process().log();
        let said: Vec<&str> = log
            .lines()
            .filter(|line| line.starts_with("cotterd: "))
            .collect();
        let said = said.last().copied().unwrap_or_default();
        assert!(
            said.contains(words) && said.contains("Input/output error"),
            "the last word names what failed: {said}"
        );
        let trace = std::fs::read_to_string(cell.replica(follower).trace_path()).unwrap();
        assert!(trace.contains("INJECTED"), "{call} {nth} was never reached");
        // The other two go on.
        write_more(&ledger, 20);
        // It comes back, catches up, and is good enough to replace one of them.
        cell.replica(follower).start();
        let third = (follower + 1) % 3;
        write_more(&ledger, 10);
        cell.replica(third).kill();
        write_more(&ledger, 20);
        cell.replica(third).start();
    }
    let all = ledger.stop();
    all.check_kept(&list(&cell));
    all.check_tokens();
}

#[test]
fn sync_that_fails_stops_the_replica_and_nobody_else() {
    stops_at("fdatasync", 30, "syncing in");
}

#[test]
fn write_that_fails_stops_the_replica_and_nobody_else() {
    stops_at("pwrite64", 30, "writing in");
}

#[test]
fn slow_disks_expire_no_living_session() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !root_with(&INJECTION_NEEDS) {
        return;
    }
    let mut cell = Cell::born(3);
    // From its 40th on, each 20th sync takes longer than the master's lease; no two alike.
    for index in 0..3 {
        let slow = Injection::delay("fdatasync", 700_000, 40 + 7 * index, 20);
        cell.replica(index).start_with(&slow);
    }
    cell.master();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = Ledger::start(&cell.endpoints(), 1, 100);
    runtime.block_on(async {
        let client = Client::builder()
            .endpoints(cell.endpoints().split(','))
            .lease(Duration::from_secs(4))
            .connect()
            .await
            .unwrap();
        let request = client.lock("/ls/local/jobs/crawl").unwrap();
        let guard = timeout(PATIENCE, request.acquire()).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(*client.state().borrow(), SessionState::Safe);
        assert_eq!(guard.sequencer().unwrap().token, guard.token());
        timeout(PATIENCE, guard.release()).await.unwrap().unwrap();
    });
    let mut slowed = 0;
    for replica in cell.replicas() {
        assert!(replica.runs(), "a slow disk is no broken one");
        let log = replica.process().log();
        assert!(!log.contains("session expired"), "a living session expired");
        let trace = std::fs::read_to_string(replica.trace_path()).unwrap();
        slowed += trace.matches("DELAYED").count();
    }
    println!(
        "{slowed} syncs were slow, {:?} acknowledged",
        ledger.count()
    );
    assert!(slowed >= 6, "only {slowed} syncs were slow");
}
