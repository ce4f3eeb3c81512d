//! Disks of real replicas that are damaged, and one that is full.
//!
//! A bit of a log is flipped: the start refuses it and names file and byte. A log never becomes shorter in
//! silence, and what was acknowledged is there when the bit is right again.
//! A follower whose disk is full ends, as often as it is started, and is no worse for it: it goes on when
//! there is room.
//!
//! `COTTER_FLIPPED_BITS` says how many bits are flipped, one after the other; 20 if it is not set.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_tests::cluster::{
    Cell, SmallDisk, eventually, fault_count, finish, flip_bit, root_with,
};
use nix::sys::signal::Signal;

const FLIPS: &str = "COTTER_FLIPPED_BITS";
const FLIPS_DEFAULT: usize = 20;
const NODES: usize = 30;
/// Bytes of a mark, and more.
const MARK_BYTES_MAX: usize = 64;
/// Exit status of a replica whose disk failed, or is full.
const BROKEN: i32 = 70;
/// Exit status of a replica whose disk is damaged.
const DAMAGED: i32 = 65;

#[test]
fn a_flipped_bit_is_refused_by_its_place_and_never_shortens_a_log() {
    let mut cell = Cell::start(3);
    for node in 0..NODES {
        cell.put(&format!("/ls/local/n{node}"), format!("contents {node}"));
    }
    let master = cell.master();
    let (victim, other) = ((master + 1) % 3, (master + 2) % 3);
    let replica = cell.replica(victim);
    replica.process().signal(Signal::SIGTERM);
    assert_eq!(replica.process().wait().code(), Some(0));
    let file = replica.data().join("chapter-00000001/segment-00000001");
    let bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let flips = fault_count(FLIPS, FLIPS_DEFAULT);
    for number in 0..flips {
        // From the header to the last record before the mark that proves it was synced; a mark that is
        // damaged is an unfinished end, and says nothing.
        let byte = (used - 1 - MARK_BYTES_MAX) * number / (flips - 1).max(1);
        let bit = byte * 8 + number * 3 % 8;
        flip_bit(&file, bit as u64);
        let refused = finish(&mut cell.replica(victim).command("run"));
        assert_eq!(refused.code, DAMAGED, "byte {byte} of {used}: {refused:?}");
        let last = refused.errors.lines().last().unwrap_or_default();
        let named = last.contains("chapter-00000001/segment-00000001");
        assert!(named && last.contains("byte"), "byte {byte}: {last}");
        flip_bit(&file, bit as u64);
    }
    // The others have not missed it, and it is as good as before: a majority rests on it.
    cell.put("/ls/local/meanwhile", "with the others");
    cell.replica(victim).start();
    cell.replica(other).kill();
    cell.put("/ls/local/after", "with the one that was damaged");
    for node in 0..NODES {
        let path = format!("/ls/local/n{node}");
        eventually("everything is there", || {
            cell.run(&["cat", &path]).output == format!("contents {node}")
        });
    }
}

/// Of 16 MiB each; a log begins with two of them.
const SEGMENT_MIB: usize = 16;
/// Room for what is written here and the segments that it may have to be written into again.
const DISK_MIB: usize = 192;

#[test]
fn a_replica_whose_disk_was_full_goes_on_when_there_is_room() {
    if !root_with(&SmallDisk::NEEDS) {
        return;
    }
    let disk = SmallDisk::new(DISK_MIB as u64);
    let mut cell = Cell::born_with(3, |replica| {
        if replica.id == 3 {
            replica.keep_data_on(&disk.path());
        }
    });
    // The others find a master among themselves.
    let full = 2;
    cell.replica(0).start();
    cell.replica(1).start();
    cell.master();
    cell.replica(full).start();
    disk.take_room(DISK_MIB - 2 * SEGMENT_MIB - 4);
    let large = cell.directory().join("large");
    std::fs::write(&large, vec![b'x'; 250 * 1_024]).unwrap();
    let large = large.to_str().unwrap().to_owned();
    let mut written = 0;
    for death in 1..=3 {
        let mut tries = 0;
        while cell.replica(full).runs() {
            let path = format!("/ls/local/n{written}");
            let put = cell.run(&["--timeout", "3", "put", &path, &large]);
            match put.code {
                0 => written += 1,
                // As master it would refuse changes before it has no room at all.
                _ => drop(cell.run(&["cell", "transfer", "1"])),
            }
            tries += 1;
            assert!(tries < 4 * SEGMENT_MIB * 4, "a full disk was not noticed");
        }
        let ended = cell.replica(full).process().wait();
        assert_eq!(ended.code(), Some(BROKEN), "death {death}: {ended:?}");
        cell.replica(full).start();
    }
    disk.give_room();
    // It may have ended once more before there was room.
    eventually("it goes on", || {
        if !cell.replica(full).runs() {
            cell.replica(full).start();
        }
        let members = cell.run(&["-o", "json", "cell", "members"]);
        members.code == 0
    });
    let other = (cell.master() + 1) % 2;
    cell.replica(other).kill();
    cell.put("/ls/local/last", "with the one whose disk was full");
    for node in 0..written {
        let stat = cell.run(&["stat", &format!("/ls/local/n{node}")]);
        assert_eq!(stat.code, 0, "{stat:?}");
    }
}
