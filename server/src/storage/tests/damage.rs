use super::super::segment::{RESERVED_NAME, segment_name};
use super::{
    IDENTITY, Model, OpenError, SMALL, SegmentedLog, SimFiles, create, entry, open, sample, write,
};
use crate::storage::sim_disk::Chance;
use crate::storage::{Files, LogIdentity};
use cotter_replica::{ChapterLog, Payload};
use omnipaxos::storage::{Storage, StorageOp};

#[test]
fn each_flipped_bit_is_detected_or_harmless() {
    let files = SimFiles::new();
    let model = sample(&files, 14, 5);
    files.kill();
    let (mut detected, mut harmless) = (0, 0);
    for name in files.list().unwrap() {
        for bit in 0..files.contents(&name).unwrap().len() * 8 {
            let spoilt = files.duplicate();
            spoilt.flip_bit(&name, bit).unwrap();
            match open(&spoilt) {
                Err(OpenError::Corrupt { .. }) => detected += 1,
                Err(error) => panic!("bit {bit} of {name}: {error}"),
                Ok(log) => {
                    assert_eq!(Model::of(&log), model, "bit {bit} of {name} was silent");
                    harmless += 1;
                }
            }
        }
    }
    assert!(
        detected > 5_000 && harmless > 1_000,
        "{detected} detected, {harmless} harmless"
    );
}

#[test]
fn each_flipped_bit_of_an_open_log_is_noticed_when_entries_are_read_back() {
    let files = SimFiles::new();
    let mut log = create(&files);
    let entries: Vec<Vec<u8>> = (1..20).map(|fill| vec![fill; 20]).collect();
    write(
        &mut log,
        vec![StorageOp::AppendEntries(super::payloads(&entries))],
    )
    .unwrap();
    log.sync().unwrap();
    let name = segment_name(2);
    let mut noticed = 0;
    for bit in 0..files.contents(&name).unwrap().len() * 8 {
        files.flip_bit(&name, bit).unwrap();
        match log.get_suffix(0) {
            Ok(read) => assert_eq!(super::bytes(&read), entries),
            Err(_) => noticed += 1,
        }
        files.flip_bit(&name, bit).unwrap();
    }
    // All but the six entries that the cache of 128 bytes holds.
    assert_eq!(noticed, 13 * 20 * 8);
}

/// Finds where a record whose body contains `marker` begins, roughly: in its header.
fn place_of(files: &SimFiles, name: &str, marker: &[u8]) -> usize {
    let contents = files.contents(name).unwrap();
    contents
        .windows(marker.len())
        .position(|window| window == marker)
        .unwrap()
}

fn log_of(files: &SimFiles, entries: &[&[u8]], synced: usize) {
    let mut log = create(files);
    for (at, entry) in entries.iter().enumerate() {
        log.append_entry(Payload::from(*entry)).unwrap();
        if at + 1 == synced {
            log.sync().unwrap();
        }
    }
    if synced < entries.len() {
        log.sync().unwrap();
    }
}

#[test]
fn a_damaged_record_with_a_later_one_that_knows_it_flushed_is_corrupt() {
    let files = SimFiles::new();
    log_of(&files, &[b"first", b"second", b"third"], 1);
    let at = place_of(&files, &segment_name(1), b"first");
    files.overwrite(&segment_name(1), at, b"FIRST").unwrap();
    let error = open(&files).unwrap_err();
    assert!(
        matches!(error, OpenError::Corrupt { segment: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("had been durable"), "{error}");
}

#[test]
fn the_last_synced_record_is_guarded_by_the_mark_behind_it() {
    let files = SimFiles::new();
    log_of(&files, &[b"first", b"second"], 2);
    let at = place_of(&files, &segment_name(1), b"second");
    files.overwrite(&segment_name(1), at, b"s").unwrap();
    assert_eq!(
        open(&files).unwrap().get_log_len().unwrap(),
        2,
        "the same byte is no damage"
    );
    files.overwrite(&segment_name(1), at, b"S").unwrap();
    assert!(matches!(open(&files), Err(OpenError::Corrupt { .. })));
}

#[test]
fn an_unfinished_end_is_cut_off_and_reported_and_the_log_goes_on() {
    let files = SimFiles::new();
    log_of(&files, &[b"first"], 1);
    files.kill();
    let used = open(&files).unwrap().report().records as usize;
    let mut log = open(&files).unwrap();
    log.append_entry(Payload::from(&b"unsynced"[..])).unwrap();
    log.sync().unwrap();
    let name = segment_name(1);
    // As if the sync had never ended: the record half there, and nothing behind it.
    let at = place_of(&files, &name, b"unsynced");
    let rest = files.contents(&name).unwrap().len() - at - 3;
    files.overwrite(&name, at + 3, &vec![0; rest]).unwrap();
    files.kill();

    let mut log = open(&files).unwrap();
    let torn = log.report().torn.unwrap();
    assert_eq!((torn.segment, log.get_log_len().unwrap()), (1, 1));
    assert!(torn.bytes > 0 && used > 0);
    log.append_entry(Payload::from(&b"next"[..])).unwrap();
    log.sync().unwrap();
    files.kill();
    let log = open(&files).unwrap();
    assert_eq!(log.report().torn, None);
    assert_eq!(
        super::bytes(&log.get_suffix(0).unwrap()),
        [b"first".to_vec(), b"next".to_vec()]
    );
}

#[test]
fn a_bad_record_in_an_earlier_segment_is_never_an_unfinished_end() {
    let files = SimFiles::new();
    sample(&files, 30, 1);
    let contents = files.contents(&segment_name(1)).unwrap();
    let end = contents.iter().rposition(|byte| *byte != 0).unwrap();
    files.overwrite(&segment_name(1), end - 4, &[0; 5]).unwrap();
    assert!(matches!(
        open(&files),
        Err(OpenError::Corrupt { segment: 1, .. })
    ));
}

#[test]
fn a_whole_record_that_is_stale_or_misplaced_does_not_fit() {
    let files = SimFiles::new();
    log_of(&files, &[b"record-a", b"record-b", b"record-c"], 3);
    let name = segment_name(1);
    let (a, b) = (
        place_of(&files, &name, b"record-a"),
        place_of(&files, &name, b"record-b"),
    );
    let contents = files.contents(&name).unwrap();
    // From one body to the next is one record's length.
    let stale = contents[a - 38..b - 38].to_vec();
    files.overwrite(&name, b - 38, &stale).unwrap();
    assert!(matches!(open(&files), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_segment_in_the_place_of_another_does_not_fit() {
    let files = SimFiles::new();
    sample(&files, 30, 1);
    let first = files.contents(&segment_name(1)).unwrap();
    let second = files.contents(&segment_name(2)).unwrap();
    files.overwrite(&segment_name(2), 0, &first).unwrap();
    assert!(matches!(
        open(&files),
        Err(OpenError::Corrupt { segment: 2, .. })
    ));
    // Its header right, the rest another segment's.
    files.overwrite(&segment_name(2), 0, &second[..64]).unwrap();
    assert!(matches!(
        open(&files),
        Err(OpenError::Corrupt { segment: 2, .. })
    ));
}

#[test]
fn a_missing_segment_is_corruption() {
    let files = SimFiles::new();
    sample(&files, 30, 1);
    files.remove(&segment_name(2)).unwrap();
    assert!(matches!(
        open(&files),
        Err(OpenError::Corrupt { segment: 2, .. })
    ));
}

#[test]
fn what_a_reserved_segment_held_before_is_not_taken_over() {
    let files = SimFiles::new();
    let model = sample(&files, 3, 1);
    let stale = files.contents(&segment_name(1)).unwrap();
    files.overwrite(RESERVED_NAME, 0, &stale).unwrap();
    let log = open(&files).unwrap();
    assert_eq!(Model::of(&log), model);
    assert!(
        files
            .contents(RESERVED_NAME)
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn a_log_of_another_cell_chapter_or_disk_is_refused() {
    let files = SimFiles::new();
    sample(&files, 3, 1);
    for identity in [
        LogIdentity {
            cell_id: cotter_types::CellId(8),
            ..IDENTITY
        },
        LogIdentity {
            chapter: 4,
            ..IDENTITY
        },
        LogIdentity {
            incarnation: 1,
            ..IDENTITY
        },
    ] {
        let error = SegmentedLog::open(files.clone(), identity, SMALL).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_named_as_such() {
    let files = SimFiles::new();
    sample(&files, 1, 1);
    let mut header = files.contents(&segment_name(1)).unwrap()[..64].to_vec();
    header[8] = 2;
    let sum = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&sum.to_le_bytes());
    files.overwrite(&segment_name(1), 0, &header).unwrap();
    let error = open(&files).unwrap_err();
    assert!(
        matches!(error, OpenError::Version { found: 2, known: 1 }),
        "{error}"
    );
}

#[test]
fn contents_that_look_like_records_do_not_pose_as_proof() {
    // A client that knows the format, though not the incarnation, stores a forged mark.
    let mut forged = Vec::new();
    let link = crate::storage::record::Link {
        previous: 0,
        sequence: 9,
        flushed: 9,
    };
    crate::storage::record::append(
        &mut forged,
        0,
        link,
        crate::storage::record::Kind::Mark,
        |_| {},
    );
    let files = SimFiles::new();
    let mut log = create(&files);
    log.sync().unwrap();
    log.append_entry(Payload::from(forged.clone())).unwrap();
    log.sync().unwrap();
    let name = segment_name(1);
    let at = place_of(&files, &name, &forged);
    let contents = files.contents(&name).unwrap();
    // The mark behind is lost, and the record's header damaged: all as a power cut may leave it.
    files
        .overwrite(
            &name,
            at + forged.len(),
            &vec![0; contents.len() - at - forged.len()],
        )
        .unwrap();
    files.overwrite(&name, at - 38, &[0; 4]).unwrap();
    assert!(open(&files).unwrap().report().torn.is_some());
}

#[test]
fn entries_of_every_length_survive() {
    let mut chance = Chance::new(3);
    let files = SimFiles::new();
    let mut log = create(&files);
    let mut entries = vec![Vec::new(), vec![0; 1], vec![0; 5_000]];
    entries.extend((0..50).map(|_| entry(&mut chance)));
    for entry in &entries {
        log.append_entry(Payload::from(entry.as_slice())).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), entries);
    files.crash(1);
    assert_eq!(
        super::bytes(&open(&files).unwrap().get_suffix(0).unwrap()),
        entries
    );
}

#[test]
fn a_record_of_a_life_that_went_otherwise_does_not_fit_though_its_number_does() {
    let files = SimFiles::new();
    log_of(&files, &[b"record-a"], 1);
    files.kill();
    let other = files.duplicate();
    for (disk, second) in [(&files, b"record-b"), (&other, b"RECORD-B")] {
        let mut log = open(disk).unwrap();
        log.append_entry(Payload::from(&second[..])).unwrap();
        log.append_entry(Payload::from(&b"record-c"[..])).unwrap();
        log.sync().unwrap();
    }
    let name = segment_name(1);
    let at = place_of(&other, &name, b"record-c");
    let stale = other.contents(&name).unwrap()[at - 38..at + 8].to_vec();
    files.overwrite(&name, at - 38, &stale).unwrap();
    assert!(matches!(open(&files), Err(OpenError::Corrupt { .. })));
}

#[test]
fn the_beginning_of_a_segment_is_never_unfinished() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.set_promise(super::ballot(6)).unwrap();
    // Beginning a segment makes all before it durable; what is staged behind it is not written.
    while !files.list().unwrap().contains(&segment_name(2)) {
        log.append_entry(Payload::from(vec![1; 50])).unwrap();
    }
    files.kill();
    let sound = files.duplicate();
    assert_eq!(
        open(&sound).unwrap().get_promise().unwrap(),
        Some(super::ballot(6))
    );
    files.flip_bit(&segment_name(2), 64 * 8).unwrap();
    assert!(matches!(
        open(&files),
        Err(OpenError::Corrupt { segment: 2, .. })
    ));
}
