use super::super::chapter_logs::{ChapterLogs, chapter_name, discard_chapters};
use super::cells::Made;
use super::{SMALL, SimFiles};
use crate::storage::checkpoint::{self, CHECKPOINTS_NAME, CheckpointMeta, checkpoint_name};
use crate::storage::{Damage, Files as _, SegmentedLog, scrub, segment_file};
use cotter_replica::{ChapterLog, Damaged, Payload, ReplicaLog};
use cotter_types::CellId;
use omnipaxos::storage::Storage;

const OWNER: (CellId, u64) = (CellId(7), 99);

/// Logs of two chapters with several segments each, and the checkpoints that they begin from. The log
/// of the second is in use.
fn disk() -> (SimFiles, SegmentedLog<SimFiles>) {
    let files = SimFiles::new();
    let mut logs = ChapterLogs::new(files.clone(), OWNER.0, OWNER.1, SMALL).unwrap();
    let checkpoints = files.create_directory(CHECKPOINTS_NAME).unwrap();
    let mut last = None;
    for chapter in [4, 5] {
        let cell = Made::busy(7, chapter).cell;
        let meta = CheckpointMeta::of(&cell, chapter, 0, Vec::new());
        checkpoint::write(&checkpoints, &meta, cell.walk(200)).unwrap();
        let mut log = logs.begin(chapter).unwrap();
        fill(&mut log, 20);
        last = Some(log);
    }
    (files, last.unwrap())
}

fn fill(log: &mut SegmentedLog<SimFiles>, entries: u8) {
    for number in 0..entries {
        log.append_entry(Payload::from(vec![number; 100])).unwrap();
        log.sync().unwrap();
    }
}

fn found(files: &SimFiles) -> Vec<Damage> {
    scrub(files, OWNER, &mut |_| true).unwrap().unwrap()
}

/// Returns the numbers of a log's segments.
fn segments(files: &SimFiles, chapter: u64) -> u64 {
    let names = files.directory(&chapter_name(chapter)).list().unwrap();
    names
        .iter()
        .filter(|name| name.starts_with("segment-"))
        .count() as u64
}

fn spoilt(files: &SimFiles, folder: &str, name: &str, bit: usize) -> SimFiles {
    let spoilt = files.duplicate();
    spoilt.directory(folder).flip_bit(name, bit).unwrap();
    spoilt
}

#[test]
fn what_is_whole_is_read_to_its_end_and_nothing_is_found() {
    let (files, mut log) = disk();
    let before = files.used_bytes();
    let mut read = 0;
    let found = scrub(&files, OWNER, &mut |bytes| {
        read += bytes;
        true
    });
    assert_eq!(found.unwrap(), Some(Vec::new()));
    assert!(read > 10_000 && read <= before, "{read} of {before}");
    // Nothing of it is in the way of whoever writes.
    fill(&mut log, 20);
    assert_eq!(self::found(&files), Vec::new());
}

#[test]
fn each_flipped_bit_of_a_checkpoint_is_found() {
    let (files, _log) = disk();
    for chapter in [4, 5] {
        let name = checkpoint_name(chapter);
        let length = files
            .directory(CHECKPOINTS_NAME)
            .contents(&name)
            .unwrap()
            .len();
        for bit in (0..length * 8).step_by(7) {
            let found = found(&spoilt(&files, CHECKPOINTS_NAME, &name, bit));
            let what = (found[0].chapter, found[0].damaged, found.len());
            assert_eq!(what, (chapter, Damaged::Checkpoint, 1), "bit {bit}");
            assert_eq!(found[0].file, format!("checkpoints/{name}"));
        }
    }
}

#[test]
fn each_flipped_bit_of_a_closed_segment_is_found() {
    let (files, _log) = disk();
    for chapter in [4, 5] {
        let folder = chapter_name(chapter);
        let last = segments(&files, chapter);
        assert!(last > 3);
        for number in 1..last {
            let name = segment_file(number);
            // What is behind the last record of a segment is nobody's.
            let used = files.directory(&folder).contents(&name).unwrap();
            let used = used.iter().rposition(|byte| *byte != 0).unwrap();
            for bit in (0..used * 8).step_by(31) {
                let found = found(&spoilt(&files, &folder, &name, bit));
                let what = (found[0].chapter, found[0].damaged, found.len());
                assert_eq!(what, (chapter, Damaged::Log, 1), "{name} bit {bit}");
                assert!(found[0].file.starts_with(&folder), "{found:?}");
            }
        }
    }
}

#[test]
fn the_segment_that_is_being_written_is_left_alone() {
    let (files, _log) = disk();
    let last = segment_file(segments(&files, 5));
    let bits = 64 * 8..80 * 8;
    for bit in bits {
        assert_eq!(found(&spoilt(&files, &chapter_name(5), &last, bit)), []);
        // That of a chapter which has ended is not.
        let ended = segment_file(segments(&files, 4));
        assert_eq!(
            found(&spoilt(&files, &chapter_name(4), &ended, bit)).len(),
            1
        );
    }
}

#[test]
fn what_goes_while_it_is_read_is_no_damage() {
    let (files, _log) = disk();
    for at in 0..60 {
        let files = files.duplicate();
        let mut pieces = 0;
        let found = scrub(&files, OWNER, &mut |_| {
            pieces += 1;
            if pieces == at {
                discard_chapters(&files, 5).unwrap();
                let checkpoints = files.directory(CHECKPOINTS_NAME);
                checkpoints.remove(&checkpoint_name(4)).unwrap();
            }
            true
        });
        assert_eq!(found.unwrap(), Some(Vec::new()), "at piece {at}");
    }
}

#[test]
fn it_ends_when_it_is_told_to() {
    let (files, _log) = disk();
    let mut pieces = 0;
    scrub(&files, OWNER, &mut |_| {
        pieces += 1;
        true
    })
    .unwrap();
    assert!(pieces > 10);
    for most in 1..pieces {
        let mut taken = 0;
        let found = scrub(&files, OWNER, &mut |_| {
            taken += 1;
            taken < most
        });
        assert_eq!((found.unwrap(), taken), (None, most));
    }
}

#[test]
fn a_directory_without_checkpoints_is_read_too() {
    let files = SimFiles::new();
    let mut logs = ChapterLogs::new(files.clone(), OWNER.0, OWNER.1, SMALL).unwrap();
    fill(&mut logs.begin(1).unwrap(), 20);
    assert_eq!(found(&files), []);
    let spoilt = spoilt(&files, &chapter_name(1), &segment_file(1), 100 * 8);
    assert_eq!(found(&spoilt).len(), 1);
}
