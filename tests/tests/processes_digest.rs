//! A real replica whose state is wrong: it notices, stops, and is rebuilt from the others.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_server::storage::DataDirectory;
use cotter_server::storage::checkpoint::{self, CheckpointMeta};
use cotter_tests::cluster::{Cell, Process, eventually, finish};
use std::path::Path;

const SOFTWARE: i32 = 70;
const CONFIG: i32 = 78;
const TEN: &str = "..........";

/// Changes the newest checkpoint of a replica: what its sessions prove themselves by is another.
fn spoil(data: &Path) {
    let directory = DataDirectory::open_at(data, None).unwrap();
    let files = directory.checkpoints().unwrap();
    let chapter = checkpoint::list(&files).unwrap().chapters.pop().unwrap();
    let (right, _) = checkpoint::load_cell(checkpoint::open(&files, chapter).unwrap()).unwrap();
    let wrong = right.without_secrets();
    assert_ne!(right.digest(), wrong.digest(), "somebody has a session");
    let meta = CheckpointMeta::of(&wrong, chapter, 0, Vec::new());
    checkpoint::write(&files, &meta, wrong.walk(checkpoint::CHUNK_BYTES)).unwrap();
}

#[test]
fn a_replica_whose_state_is_wrong_stops_and_is_rebuilt_from_the_others() {
    let mut cell = Cell::born(3);
    // Chapters end after a few writes, and where one begins states are compared.
    cell.configure("\n[chapter]\nbytes = 65536\n");
    cell.start_all();
    let master = cell.master();
    let (wrong, other) = ((master + 1) % 3, (master + 2) % 3);
    let mut lock = cell.cotter(&["lock", "/ls/local/lock", "--", "sleep", "300"]);
    let holder = cell.directory().join("holder.log");
    let mut holder = Process::start("holder", &mut lock, &holder);
    eventually("somebody has a session", || {
        cell.run(&["sessions"]).ok().lines().count() > 1
    });
    cell.put("/ls/local/before", TEN);
    for number in 0..5 {
        cell.put(&format!("/ls/local/n{number}"), [b'.'; 20_000]);
    }
    eventually("a chapter has begun", || {
        let log = cell.replica(wrong).process().log();
        log.contains("checkpoint written and read back")
    });
    cell.replica(wrong).kill();
    spoil(&cell.replica(wrong).data());
    cell.replica(wrong).start();
    let status = cell.replica(wrong).process().wait();
    assert_eq!(status.code(), Some(SOFTWARE));
    let log = cell.replica(wrong).process().log();
    assert!(log.contains("a majority of the cell has"), "{log}");
    assert!(log.contains("1 of at most 3 times"), "{log}");

    cell.replica(wrong).start();
    eventually("it is rebuilt", || {
        let log = cell.replica(wrong).process().log();
        log.contains("the state was rebuilt from the others")
    });
    let log = cell.replica(wrong).process().log();
    assert!(log.contains("THE STATE IS NOT TRUSTED"), "{log}");
    // The majority rests on it now.
    cell.replica(other).kill();
    for number in 5..10 {
        cell.put(&format!("/ls/local/n{number}"), [b'.'; 20_000]);
    }
    assert!(cell.replica(wrong).runs());
    assert_eq!(cell.run(&["cat", "/ls/local/before"]).ok(), TEN);
    holder.kill();
    // A later start trusts what it has.
    cell.replica(wrong).kill();
    cell.replica(wrong).start();
    cell.put("/ls/local/last", TEN);
    let log = cell.replica(wrong).process().log();
    assert_eq!(log.matches("THE STATE IS NOT TRUSTED").count(), 1, "{log}");
}

#[test]
fn a_replica_is_rebuilt_because_somebody_says_so() {
    let mut cell = Cell::start(3);
    let master = cell.master();
    cell.put("/ls/local/kept", TEN);
    let follower = (master + 1) % 3;
    cell.replica(follower).kill();
    let mut rebuilding = cell.replica(follower).command("run");
    let log = cell.directory().join("rebuilt.log");
    let mut process = Process::start("rebuilt", rebuilding.arg("--rebuild"), &log);
    eventually("it is rebuilt", || {
        process
            .log()
            .contains("the state was rebuilt from the others")
    });
    process.kill();
    // What it has now is trusted.
    cell.replica(follower).start();
    cell.replica((master + 2) % 3).kill();
    cell.put("/ls/local/after", TEN);
    assert_eq!(cell.run(&["cat", "/ls/local/kept"]).ok(), TEN);
    let log = cell.replica(follower).process().log();
    assert!(!log.contains("THE STATE IS NOT TRUSTED"), "{log}");
}

#[test]
fn a_cell_of_one_has_nobody_to_be_rebuilt_from() {
    let mut cell = Cell::born(1);
    let refused = finish(cell.replica(0).command("run").arg("--rebuild"));
    assert_eq!(refused.code, CONFIG, "{refused:?}");
    assert!(refused.errors.contains("names none"), "{refused:?}");
}
