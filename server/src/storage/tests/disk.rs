//! The simulated disk itself: it must be as treacherous as it claims, and not more.

use super::SimFiles;
use crate::storage::Files;
use std::collections::BTreeSet;
use std::io::ErrorKind;

fn written(synced: &[u8], unsynced: &[u8]) -> SimFiles {
    let files = SimFiles::new();
    let file = files.create("a").unwrap();
    files.write_at(&file, 0, synced).unwrap();
    files.sync_data(&file).unwrap();
    files.sync_directory().unwrap();
    files.write_at(&file, 0, unsynced).unwrap();
    files
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..100 {
        let files = written(&[1; 2_000], &[]);
        files.crash(seed);
        assert_eq!(files.contents("a").unwrap(), [1; 2_000]);
    }
}

#[test]
fn unsynced_bytes_are_lost_kept_and_torn_in_any_order() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let files = written(&[1; 1_536], &[2; 1_536]);
        files.crash(seed);
        let contents = files.contents("a").unwrap();
        let sectors: Vec<&str> = contents
            .chunks(512)
            .map(|sector| match (sector.contains(&1), sector.contains(&2)) {
                (true, true) => "torn",
                (true, false) => "old",
                _ => "new",
            })
            .collect();
        seen.insert(sectors.join(" "));
    }
    for outcome in [
        "old old old",
        "new new new",
        "old new new",
        "new old new",
        "torn torn old",
    ] {
        assert!(seen.contains(outcome), "{outcome} was never seen");
    }
}

#[test]
fn unsynced_names_may_be_lost_or_kept_one_by_one() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let files = written(&[1], &[]);
        files.create("b").unwrap();
        files.rename("a", "c").unwrap();
        files.crash(seed);
        seen.insert(files.list().unwrap().join(" "));
    }
    assert_eq!(seen, ["a", "a b", "b c", "c"].map(str::to_owned).into());
}

#[test]
fn a_failed_sync_loses_for_good_what_it_should_have_kept() {
    let files = written(&[1; 4], &[2; 4]);
    let file = files.open("a").unwrap();
    files.fail_next_sync();
    assert!(files.sync_data(&file).is_err());
    files.sync_data(&file).unwrap();
    assert_eq!(
        files.contents("a").unwrap(),
        [2; 4],
        "memory still shows it"
    );
    files.crash(1);
    assert_eq!(files.contents("a").unwrap(), [1; 4]);
}

#[test]
fn the_same_seed_leaves_the_same() {
    let files = written(&[1; 3_000], &[2; 3_000]);
    let twin = files.duplicate();
    files.crash(77);
    twin.crash(77);
    assert_eq!(files.contents("a").unwrap(), twin.contents("a").unwrap());
}

#[test]
fn handles_and_locks_do_not_outlive_a_crash() {
    let files = written(&[1], &[]);
    let file = files.open("a").unwrap();
    let lock = files.lock().unwrap();
    assert_eq!(files.lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    files.crash(1);
    assert!(files.length(&file).is_err());
    let next = files.lock().unwrap();
    drop(lock);
    assert_eq!(files.lock().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(next);
    files.lock().unwrap();
}

#[test]
fn a_full_disk_refuses_to_grow_and_takes_overwrites() {
    let files = written(&[1; 100], &[]);
    files.set_capacity(Some(120));
    let file = files.open("a").unwrap();
    files.write_at(&file, 0, &[3; 100]).unwrap();
    files.allocate(&file, 120).unwrap();
    assert_eq!(
        files.allocate(&file, 121).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(
        files.write_at(&file, 119, &[1; 2]).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    files.remove("a").unwrap();
    assert_eq!(files.used_bytes(), 0);
}
