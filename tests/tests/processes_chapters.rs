//! Chapters of the log in real processes: small ones, so that a seal comes every few writes, while
//! replicas are killed.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::{Client, Reads as _};
use cotter_tests::cluster::{Cell, alone, eventually, fault_time};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of each write: four of them fill a chapter.
const CONTENTS_BYTES: usize = 20_000;
/// Chapters with a directory that a replica may keep: the last two with a checkpoint, the one it is
/// in, and one that is on its way.
const CHAPTERS_KEPT_MAX: usize = 5;

fn cell_of_small_chapters() -> Cell {
    let mut cell = Cell::born(3);
    for replica in cell.replicas() {
        let mut config = std::fs::OpenOptions::new()
            .append(true)
            .open(replica.config())
            .unwrap();
        writeln!(config, "\n[chapter]\nbytes = 65536").unwrap();
    }
    cell.start_all();
    cell.master();
    cell
}

fn contents(number: u64) -> Vec<u8> {
    let mut contents = format!("{number}:").into_bytes();
    contents.resize(CONTENTS_BYTES, b'.');
    contents
}

async fn connect(endpoints: &str) -> Client {
    Client::builder()
        .endpoints(endpoints.split(','))
        .lease(Duration::from_secs(60))
        .connect()
        .await
        .unwrap()
}

/// Writes one node after the other until `stop`, and returns how many were acknowledged.
async fn write_until(client: &Client, from: u64, stop: impl Fn(u64) -> bool) -> u64 {
    let mut number = from;
    while !stop(number) {
        let path = format!("/ls/local/kept-{number}");
        client.create(&path).unwrap().send().await.unwrap();
        client
            .set(&path, contents(number))
            .unwrap()
            .send()
            .await
            .unwrap();
        number += 1;
    }
    number
}

async fn check_kept(client: &Client, acknowledged: u64) {
    for number in 0..acknowledged {
        let node = client.get(&format!("/ls/local/kept-{number}")).await;
        let node = node.unwrap_or_else(|error| panic!("{number} is lost: {error}"));
        assert_eq!(node.contents.as_bytes(), contents(number), "{number}");
    }
}

/// Returns the chapters that a replica has a directory of, and how many it ever began.
fn chapters(cell: &mut Cell, index: usize) -> (Vec<String>, usize) {
    let replica = cell.replica(index);
    let mut names: Vec<String> = std::fs::read_dir(replica.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("chapter-"))
        .collect();
    names.sort();
    let log = std::fs::read_to_string(replica.log_path()).unwrap();
    (names, log.matches("chapter of the log begins").count())
}

#[test]
fn replicas_killed_around_seals_lose_nothing() {
    let _alone = alone();
    let mut cell = cell_of_small_chapters();
    let (endpoints, stop) = (cell.endpoints(), AtomicBool::new(false));
    let mut kills = 0;
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = connect(&endpoints).await;
                write_until(&client, 0, |_| stop.load(Ordering::Relaxed)).await
            })
        });
        let begin = Instant::now();
        while begin.elapsed() < fault_time() {
            std::thread::sleep(Duration::from_millis(700 + 37 * kills));
            let epoch = cell.epoch();
            match kills % 3 {
                0 => {
                    let master = cell.master();
                    cell.replica(master).kill();
                    cell.master_after(epoch);
                }
                1 => {
                    let other = (cell.master() + 1) % 3;
                    cell.replica(other).kill();
                }
                _ => {
                    for replica in cell.replicas() {
                        replica.kill();
                    }
                }
            }
            cell.start_all();
            cell.master();
            kills += 1;
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&cell.endpoints()).await;
        check_kept(&client, acknowledged).await;
        client.close().await.unwrap();
    });
    for index in 0..3 {
        eventually("old chapters are gone", || {
            chapters(&mut cell, index).0.len() <= CHAPTERS_KEPT_MAX
        });
        let (kept, begun) = chapters(&mut cell, index);
        println!(
            "replica {}: {begun} chapters begun, kept {kept:?}",
            index + 1
        );
        assert!(begun > 5, "only {begun} chapters");
        assert!(!kept.contains(&"chapter-00000001".to_owned()), "{kept:?}");
    }
    println!("{kills} kills, {acknowledged} nodes acknowledged");
    assert!(kills >= 3 && acknowledged >= 20, "too little happened");
}

#[test]
fn replica_that_was_down_for_many_chapters_catches_up_and_counts() {
    let _alone = alone();
    let mut cell = cell_of_small_chapters();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(connect(&cell.endpoints()));
    let away = (cell.master() + 1) % 3;
    let written = runtime.block_on(write_until(&client, 0, |number| number == 5));
    cell.replica(away).kill();
    let written = runtime.block_on(write_until(&client, written, |number| number == 60));
    cell.replica(away).start();
    let log = cell.replica(away).log_path();
    eventually("the replica goes on from a fetched state", || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("goes on from a fetched state")
    });
    // It is needed for a majority from now on.
    let other = (0..3)
        .find(|index| *index != away && *index != cell.master())
        .unwrap();
    cell.replica(other).kill();
    let written = runtime.block_on(write_until(&client, written, |number| number == 80));
    // And it has it all, by itself and by its own disk.
    let master = cell.master();
    let epoch = cell.epoch();
    cell.replica(master).kill();
    cell.replica(away).kill();
    cell.replica(other).start();
    cell.replica(away).start();
    cell.master_after(epoch);
    runtime.block_on(async {
        check_kept(&client, written).await;
        client.close().await.unwrap();
    });
}
