use super::super::segment::RESERVED_NAME;
use super::{Model, SMALL, SimFiles, create, open};
use crate::storage::Files;
use cotter_replica::{ChapterLog, LogRoom, Payload};
use omnipaxos::storage::Storage;

fn payload() -> Payload {
    Payload::from(vec![7; 40])
}

#[test]
fn a_full_disk_is_announced_about_a_segment_ahead_and_forgotten_when_there_is_room() {
    let files = SimFiles::new();
    let mut log = create(&files);
    assert_eq!(log.room(), LogRoom::Ample);
    files.set_capacity(Some(files.used_bytes()));
    let mut appended = 0;
    while log.room() == LogRoom::Ample {
        log.append_entry(payload()).unwrap();
        log.sync().unwrap();
        appended += 1;
    }
    // What frees something can still be written, and survives.
    log.append_entry(payload()).unwrap();
    log.sync().unwrap();
    assert_eq!(log.room(), LogRoom::Scarce);
    assert!(!files.list().unwrap().contains(&RESERVED_NAME.to_owned()));

    files.set_capacity(None);
    let mut syncs = 0;
    while log.room() == LogRoom::Scarce {
        log.set_decided_idx(syncs % 2).unwrap();
        log.sync().unwrap();
        syncs += 1;
    }
    assert!(syncs <= 16);
    for _ in 0..50 {
        log.append_entry(payload()).unwrap();
    }
    log.sync().unwrap();
    files.crash(1);
    assert_eq!(open(&files).unwrap().get_log_len().unwrap(), appended + 51);
}

#[test]
fn a_log_that_fills_its_last_segment_stops_and_keeps_what_was_synced() {
    let files = SimFiles::new();
    let mut log = create(&files);
    files.set_capacity(Some(files.used_bytes()));
    let mut synced = 0;
    let mut while_scarce = 0;
    let fault = loop {
        if let Err(fault) = log.append_entry(payload()) {
            break fault.to_string();
        }
        log.sync().unwrap();
        synced += 1;
        while_scarce += usize::from(log.room() == LogRoom::Scarce);
    };
    assert!(fault.contains("beginning a segment"), "{fault}");
    assert!(
        while_scarce >= 2,
        "only {while_scarce} writes after the warning"
    );
    assert_eq!(log.sync().unwrap_err().to_string(), fault);
    files.crash(1);
    // It opens on the full disk too, with what it held.
    let log = open(&files).unwrap();
    assert_eq!(
        (log.get_log_len().unwrap(), log.room()),
        (synced, LogRoom::Scarce)
    );
    drop(log);
    files.set_capacity(None);
    files.kill();
    let mut log = open(&files).unwrap();
    assert_eq!(log.room(), LogRoom::Ample);
    log.append_entry(payload()).unwrap();
    log.sync().unwrap();
}

#[test]
fn a_failed_sync_poisons_the_log_for_good() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.append_entry(payload()).unwrap();
    log.sync().unwrap();
    log.append_entry(payload()).unwrap();
    files.fail_next_sync();
    let fault = log.sync().unwrap_err();
    assert!(fault.0.contains("syncing"), "{fault}");
    let operations = files.operations();
    assert_eq!(log.sync().unwrap_err(), fault);
    assert!(log.append_entry(payload()).is_err());
    assert!(log.set_promise(super::ballot(1)).is_err());
    assert!(log.needs_sync(), "what was not made durable is still owed");
    assert_eq!(
        files.operations(),
        operations,
        "a poisoned log leaves the disk alone"
    );
    files.crash(1);
    assert_eq!(open(&files).unwrap().get_log_len().unwrap(), 1);
}

#[test]
fn a_failed_write_poisons_the_log() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.append_entry(payload()).unwrap();
    files.cut_power_after(0);
    let fault = log.sync().unwrap_err();
    assert!(fault.0.contains("writing"), "{fault}");
    assert_eq!(log.sync().unwrap_err(), fault);
}

#[test]
fn a_failed_sync_while_a_segment_is_begun_poisons_the_log() {
    for syncs in 0..4 {
        let files = SimFiles::new();
        let mut log = create(&files);
        let model = Model::of(&log);
        files.fail_sync_after(syncs);
        let failed = (0..40).any(|_| log.append_entry(payload()).is_err());
        assert!(failed && log.sync().is_err(), "after {syncs} syncs");
        files.crash(syncs);
        let log = open(&files).unwrap();
        assert!(Model::of(&log).entries.len() < 40 && model.entries.is_empty());
    }
}

#[test]
fn a_segment_allocated_by_an_earlier_life_is_used_by_the_next() {
    let files = SimFiles::new();
    drop(create(&files));
    files.set_capacity(Some(files.used_bytes()));
    files.kill();
    let log = open(&files).unwrap();
    assert_eq!(log.room(), LogRoom::Ample);
    assert_eq!(files.used_bytes(), 2 * SMALL.segment_bytes);
}
