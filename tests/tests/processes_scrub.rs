//! Bits flip on the disk of a replica that runs: it finds them, and replaces what they are in.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_tests::cluster::{Cell, eventually, finish, flip_bit};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cell that reads its disks back all the time, and seals a chapter after a few writes.
fn cell_that_scrubs() -> Cell {
    let mut cell = Cell::born(3);
    cell.configure("\n[chapter]\nbytes = 65536\n[scrub]\nevery = \"200ms\"\n");
    cell.start_all();
    cell.master();
    cell
}

/// Returns what is in a directory, in order.
fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

fn says(cell: &mut Cell, index: usize, what: &str, times: usize) {
    eventually(&format!("replica {index} says {what:?}"), || {
        cell.replica(index).process().log().matches(what).count() >= times
    });
}

const LOST: &str = "THE DISK HAS LOST something";
const WRITTEN: &str = "checkpoint written and read back";

/// Tells whether `cotterd inspect` finds nothing wrong.
fn is_whole(cell: &mut Cell, index: usize) -> bool {
    let replica = cell.replica(index);
    replica.kill();
    let mut inspect = Command::new(cotter_tests::cluster::cotterd());
    let inspected = finish(inspect.arg("inspect").arg(replica.data()));
    replica.start();
    inspected.code == 0
}

#[test]
fn a_checkpoint_that_lost_a_bit_is_written_again() {
    let mut cell = cell_that_scrubs();
    for number in 0..6 {
        cell.put(&format!("/ls/local/n{number}"), [b'.'; 20_000]);
    }
    for index in 0..3 {
        says(&mut cell, index, "disk read back", 2);
        let checkpoints = cell.replica(index).data().join("checkpoints");
        let newest = names(&checkpoints).pop().unwrap();
        let written = cell.replica(index).process().log().matches(WRITTEN).count();
        flip_bit(&newest, 1_000 * 8 + 2);
        says(&mut cell, index, LOST, 1);
        says(&mut cell, index, WRITTEN, written + 1);
        assert!(newest.exists());
        assert!(is_whole(&mut cell, index));
    }
}

#[test]
fn a_log_that_lost_a_bit_is_needed_no_more() {
    let mut cell = cell_that_scrubs();
    for number in 0..6 {
        cell.put(&format!("/ls/local/n{number}"), [b'.'; 20_000]);
    }
    let follower = (cell.master() + 1) % 3;
    says(&mut cell, follower, WRITTEN, 1);
    let data = cell.replica(follower).data();
    let mut logs = names(&data);
    logs.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("chapter-")
    });
    // That of the chapter before the present one.
    let ended = logs[logs.len() - 2].clone();
    flip_bit(&ended.join("segment-00000001"), 5_000 * 8 + 2);
    says(&mut cell, follower, LOST, 1);
    says(&mut cell, follower, "sealed early", 1);
    eventually("the damaged log is gone", || !ended.exists());
    assert!(is_whole(&mut cell, follower));
    cell.put("/ls/local/after", [b'.'; 20_000]);
}
