//! A cell of three processes loses its master again and again, while sixteen contend for one lock.
//!
//! Each scenario goes on for `COTTER_FAULT_SECONDS`, 12 if that is not set; the minute that a release
//! deserves is `COTTER_FAULT_SECONDS=60 cargo test --test processes_failover -- --nocapture`, which
//! also shows what was measured.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::{Client, Reads as _, SessionState};
use cotter_tests::cluster::{
    Cell, Contenders, Journal, Track, alone, cotter_at, fault_time, finish, now_ms,
};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CONTENDERS: usize = 16;
/// How long a turn takes, in seconds.
const TURN: &str = "0.02";
const LOCK: &str = "/ls/local/jobs/crawl";

/// Time between two kills of the master.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// Longest pause of the master.
const PAUSE_MAX: Duration = Duration::from_secs(10);

fn contend(cell: &Cell, track: &Track) -> Contenders {
    let endpoints = cell.endpoints();
    Contenders::start(track, CONTENDERS, TURN, move || {
        cotter_at(&endpoints, &["lock", "-w", "50", LOCK])
    })
}

/// Lets faults happen while `CONTENDERS` contend, checks what must hold and returns the journal.
/// `fault` is called again and again until the time is over; it says when its fault began.
fn contend_during(cell: &mut Cell, mut fault: impl FnMut(&mut Cell) -> u64) -> (Journal, Vec<u64>) {
    let track = Track::new();
    let contenders = contend(cell, &track);
    std::thread::sleep(KILL_EVERY);
    let begin = Instant::now();
    let mut faults_ms = Vec::new();
    while begin.elapsed() < fault_time() {
        faults_ms.push(fault(cell));
    }
    let turns_of_each = contenders.stop().unwrap();
    let journal = track.journal();
    journal.check();
    let killed = journal
        .turns
        .iter()
        .filter(|turn| turn.end_ms.is_none())
        .count();
    assert_eq!(
        killed, 0,
        "a turn was cut short although its session could have been kept"
    );
    let least = turns_of_each.iter().min().copied().unwrap_or(0);
    println!(
        "{} turns of {CONTENDERS} contenders in {:?}, {least} at least for each",
        journal.turns.len(),
        begin.elapsed()
    );
    assert!(
        least >= 2,
        "somebody did not get through: {turns_of_each:?}"
    );
    (journal, faults_ms)
}

/// Prints the longest time without a grant after each fault, and returns the longest of all.
fn gaps(what: &str, journal: &Journal, faults_ms: &[u64]) -> u64 {
    let mut gaps_ms: Vec<u64> = faults_ms
        .iter()
        .enumerate()
        .filter_map(|(index, from_ms)| {
            let to_ms = faults_ms.get(index + 1).copied().unwrap_or(u64::MAX);
            journal.longest_gap_ms(*from_ms, to_ms)
        })
        .collect();
    gaps_ms.sort_unstable();
    let longest = gaps_ms.last().copied().unwrap_or(0);
    let median = gaps_ms.get(gaps_ms.len() / 2).copied().unwrap_or(0);
    println!(
        "time without a grant after {what} the master, {} times: median {median} ms, longest \
         {longest} ms; all: {gaps_ms:?}",
        gaps_ms.len()
    );
    longest
}

#[test]
fn killing_the_master_every_second_breaks_no_turn() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let (journal, faults_ms) = contend_during(&mut cell, |cell| {
        let next = Instant::now() + KILL_EVERY;
        let master = cell.master();
        let killed_ms = now_ms();
        cell.replica(master).kill();
        cell.replica(master).start();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        killed_ms
    });
    let longest_ms = gaps("killing", &journal, &faults_ms);
    let kills = u64::try_from(faults_ms.len()).unwrap();
    assert!(kills * 3 >= fault_time().as_secs(), "only {kills} kills");
    assert!(
        longest_ms < 10_000,
        "no grant for {longest_ms} ms after a kill"
    );
}

#[test]
fn pausing_the_master_breaks_no_turn() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let pause = PAUSE_MAX.min(fault_time() / 3);
    let (journal, faults_ms) = contend_during(&mut cell, |cell| {
        let master = cell.master();
        let epoch = cell.epoch();
        let paused_ms = now_ms();
        cell.replica(master).pause();
        std::thread::sleep(pause);
        cell.replica(master).resume();
        // The others have not waited for it.
        cell.master_after(epoch);
        std::thread::sleep(KILL_EVERY);
        paused_ms
    });
    let longest_ms = gaps("pausing", &journal, &faults_ms);
    let bound_ms = u64::try_from(pause.as_millis()).unwrap();
    assert!(
        longest_ms < bound_ms.max(4_000),
        "no grant for {longest_ms} ms while the master was paused for {bound_ms} ms"
    );
}

#[test]
fn stopping_the_master_in_order_breaks_no_turn() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let (journal, faults_ms) = contend_during(&mut cell, |cell| {
        let next = Instant::now() + KILL_EVERY;
        let master = cell.master();
        let stopped_ms = now_ms();
        cell.replica(master).process().signal(Signal::SIGTERM);
        let status = cell.replica(master).process().wait();
        assert_eq!(
            status.code(),
            Some(0),
            "a replica that is asked to stop does so cleanly"
        );
        cell.replica(master).start();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        stopped_ms
    });
    let longest_ms = gaps("stopping", &journal, &faults_ms);
    assert!(
        longest_ms < 10_000,
        "no grant for {longest_ms} ms after a stop"
    );
}

/// Creates one node after the other until `stop`, and returns the names of those that were
/// acknowledged.
fn create_until(stop: &AtomicBool, endpoints: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("n{number}");
        let path = format!("/ls/local/kept/{name}");
        // A busy machine may take a while to start a whole cell.
        let line = ["--timeout", "30", "create", "-x", "-p", &path];
        let created = finish(&mut cotter_at(endpoints, &line));
        assert_eq!(created.code, 0, "{path}: {}", created.errors);
        acknowledged.push(name);
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_when_the_whole_cell_is_killed_again_and_again() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let (endpoints, stop) = (cell.endpoints(), AtomicBool::new(false));
    let mut kills = 0;
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| create_until(&stop, &endpoints));
        let begin = Instant::now();
        while begin.elapsed() < fault_time() {
            for replica in cell.replicas() {
                replica.kill();
            }
            let epoch = cell.epoch();
            cell.start_all();
            cell.master_after(epoch);
            kills += 1;
            std::thread::sleep(KILL_EVERY / 2);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let listed = cell.run(&["-o", "plain", "ls", "/ls/local/kept"]).ok();
    let listed: BTreeSet<&str> = listed.lines().collect();
    println!(
        "{kills} kills of all replicas, {} nodes acknowledged",
        acknowledged.len()
    );
    for name in &acknowledged {
        assert!(
            listed.contains(name.as_str()),
            "{name} was acknowledged, and is lost"
        );
    }
    assert_eq!(
        listed.len(),
        acknowledged.len(),
        "created more than once, or what was refused"
    );
    assert!(kills >= 3 && acknowledged.len() >= 3, "too little happened");
}

#[test]
fn cell_that_was_killed_whole_keeps_nodes_locks_and_living_sessions() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::builder()
            .endpoints(cell.endpoints().split(','))
            .lease(Duration::from_secs(60))
            .connect()
            .await
            .unwrap();
        let guard = client.lock(LOCK).unwrap().acquire().await.unwrap();
        client
            .set("/ls/local/jobs/crawl", "who: me")
            .unwrap()
            .send()
            .await
            .unwrap();
        client
            .create("/ls/local/jobs/alive")
            .unwrap()
            .ephemeral()
            .send()
            .await
            .unwrap();
        let token = guard.token();

        for replica in cell.replicas() {
            replica.kill();
        }
        let epoch = cell.epoch();
        cell.start_all();
        cell.master_after(epoch);

        let node = client.get("/ls/local/jobs/crawl").await.unwrap();
        assert_eq!(node.contents.as_bytes(), b"who: me");
        assert!(client.stat("/ls/local/jobs/alive").await.is_ok());
        assert_eq!(*client.state().borrow(), SessionState::Safe);
        assert_eq!(guard.sequencer().unwrap().token, token);
        let explanation = client.explain(LOCK).await.unwrap();
        assert_eq!(explanation.holders.len(), 1);
        assert_eq!(explanation.holders[0].session, client.session_id());

        guard.release().await.unwrap();
        let again = client.lock(LOCK).unwrap().acquire().await.unwrap();
        assert!(again.token() > token, "the token counter was forgotten");
        client.close().await.unwrap();
    });
}
