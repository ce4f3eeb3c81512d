use super::super::operation::{SegmentState, decode_state};
use super::super::record::{self, Kind};
use super::super::segment::{SEGMENT_HEADER_BYTES, segment_name};
use super::{
    IDENTITY, Model, OpenError, Operation, SMALL, SegmentedLog, SimFiles, ballot, create, open,
    payloads, sample, write,
};
use crate::storage::{Files, LogSettings, OsFiles};
use cotter_replica::{ChapterLog, Payload};
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp};
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{collection, proptest};

#[test]
fn a_new_log_is_empty_and_is_made_only_once() {
    let files = SimFiles::new();
    assert!(matches!(open(&files), Err(OpenError::Missing(_))));
    let log = create(&files);
    assert_eq!(Model::of(&log), Model::default());
    let again = SegmentedLog::create(files, IDENTITY, SMALL);
    assert!(matches!(again, Err(OpenError::Exists(_))));
}

#[test]
fn reads_outside_the_log_are_empty() {
    let mut log = create(&SimFiles::new());
    log.append_entries(payloads(&[vec![1], vec![2], vec![3]]))
        .unwrap();
    assert_eq!(
        super::bytes(&log.get_entries(1, 3).unwrap()),
        [vec![2], vec![3]]
    );
    assert!(log.get_entries(1, 4).unwrap().is_empty());
    assert!(log.get_entries(3, 1).unwrap().is_empty());
    assert!(log.get_entries(2, 2).unwrap().is_empty());
    assert!(log.get_suffix(3).unwrap().is_empty());
    assert!(log.get_suffix(9).unwrap().is_empty());
}

#[test]
fn only_what_promises_or_accepts_owes_a_sync() {
    let mut log = create(&SimFiles::new());
    assert!(!log.needs_sync());
    let writes: [Vec<StorageOp<Payload>>; 4] = [
        vec![StorageOp::SetPromise(ballot(1))],
        vec![StorageOp::SetAcceptedRound(ballot(1))],
        vec![StorageOp::AppendEntry(Payload::from(vec![1]))],
        vec![
            StorageOp::SetDecidedIndex(1),
            StorageOp::AppendOnPrefix(1, Vec::new()),
        ],
    ];
    for operations in writes {
        let said = format!("{operations:?}");
        write(&mut log, operations).unwrap();
        assert!(log.needs_sync(), "{said}");
        log.sync().unwrap();
        assert!(!log.needs_sync(), "{said}");
    }
    write(&mut log, vec![StorageOp::SetDecidedIndex(1)]).unwrap();
    write(&mut log, vec![StorageOp::AppendEntries(Vec::new())]).unwrap();
    assert!(!log.needs_sync());
}

#[test]
fn a_sync_of_a_decided_index_alone_keeps_it() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.append_entry(Payload::from(vec![1])).unwrap();
    log.set_decided_idx(1).unwrap();
    log.sync().unwrap();
    log.set_decided_idx(0).unwrap();
    log.sync().unwrap();
    files.crash(1);
    assert_eq!(open(&files).unwrap().get_decided_idx().unwrap(), 0);
}

#[test]
fn operations_outside_the_profile_are_refused_and_change_nothing() {
    let mut log = create(&SimFiles::new());
    log.append_entry(Payload::from(vec![1])).unwrap();
    let before = Model::of(&log);
    let stop_sign = StopSign::with(omnipaxos::ClusterConfig::default(), None);
    assert!(log.trim(1).is_err());
    assert!(log.set_compacted_idx(1).is_err());
    assert!(log.set_snapshot(Some(NoSnapshot)).is_err());
    assert!(log.set_stopsign(Some(stop_sign)).is_err());
    let half_good = vec![
        StorageOp::AppendEntry(Payload::from(vec![2])),
        StorageOp::Trim(1),
    ];
    assert!(log.write_atomically(half_good).is_err());
    for accepted in [
        log.trim(0),
        log.set_compacted_idx(0),
        log.set_snapshot(None),
    ] {
        accepted.unwrap();
    }
    log.set_stopsign(None).unwrap();
    assert_eq!(Model::of(&log), before);
    assert_eq!(log.get_compacted_idx().unwrap(), 0);
    assert!(log.get_stopsign().unwrap().is_none() && log.get_snapshot().unwrap().is_none());
    log.sync().unwrap();
}

#[test]
fn decided_entries_are_never_replaced_and_no_hole_is_left() {
    let mut log = create(&SimFiles::new());
    log.append_entries(payloads(&[vec![1], vec![2], vec![3]]))
        .unwrap();
    log.set_decided_idx(2).unwrap();
    assert!(log.append_on_prefix(1, payloads(&[vec![9]])).is_err());
    assert!(log.append_on_prefix(4, payloads(&[vec![9]])).is_err());
    log.append_on_prefix(2, payloads(&[vec![9], vec![8]]))
        .unwrap();
    let expected = [vec![1], vec![2], vec![9], vec![8]];
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), expected);
}

#[test]
fn decided_entries_may_be_written_once_more_but_not_changed_or_dropped() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.append_entries(payloads(&[vec![1], vec![2], vec![3]]))
        .unwrap();
    log.set_decided_idx(2).unwrap();
    assert!(log.append_on_prefix(0, payloads(&[vec![1]])).is_err());
    let changed = payloads(&[vec![1], vec![9], vec![3]]);
    assert!(log.append_on_prefix(0, changed).is_err());
    log.append_on_prefix(1, payloads(&[vec![2], vec![9]]))
        .unwrap();
    log.sync().unwrap();
    let expected = [vec![1], vec![2], vec![9]];
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), expected);
    drop(log);
    let again = open(&files).unwrap();
    assert_eq!(super::bytes(&again.get_suffix(0).unwrap()), expected);
}

#[test]
fn a_resync_may_decide_what_it_appends() {
    let mut log = create(&SimFiles::new());
    log.append_entries(payloads(&[vec![1], vec![2]])).unwrap();
    let resync = vec![
        StorageOp::SetAcceptedRound(ballot(4)),
        StorageOp::SetDecidedIndex(3),
        StorageOp::AppendOnPrefix(1, payloads(&[vec![7], vec![8]])),
    ];
    write(&mut log, resync).unwrap();
    assert_eq!(log.get_decided_idx().unwrap(), 3);
    assert_eq!(
        super::bytes(&log.get_suffix(0).unwrap()),
        [vec![1], vec![7], vec![8]]
    );
}

#[test]
fn each_segment_begins_with_what_the_log_stands_at() {
    let files = SimFiles::new();
    let mut log = create(&files);
    log.set_promise(ballot(42)).unwrap();
    log.set_accepted_round(ballot(41)).unwrap();
    for fill in 0..60 {
        log.append_entry(Payload::from(vec![fill; 40])).unwrap();
    }
    log.sync().unwrap();
    let name = segment_name(3);
    let contents = files.contents(&name).unwrap();
    let first = record::read(&contents[SEGMENT_HEADER_BYTES..], IDENTITY.salt()).unwrap();
    assert_eq!(first.kind, Kind::State);
    let state = decode_state(first.body).unwrap();
    let expected = SegmentState {
        promise: Some(ballot(42)),
        accepted_round: Some(ballot(41)),
        decided: 0,
        length: state.length,
    };
    assert_eq!(state, expected);
    assert!(state.length > 0);
    files.crash(3);
    let log = open(&files).unwrap();
    assert_eq!(log.get_promise().unwrap(), Some(ballot(42)));
    assert!(log.report().segments > 5);
}

#[test]
fn a_record_larger_than_a_segment_is_still_one_record() {
    let files = SimFiles::new();
    let mut log = create(&files);
    let entries: Vec<Vec<u8>> = (0..100).map(|fill| vec![fill; 50]).collect();
    log.append_on_prefix(0, payloads(&entries)).unwrap();
    log.append_entry(Payload::from(vec![1])).unwrap();
    log.sync().unwrap();
    files.crash(4);
    let log = open(&files).unwrap();
    assert_eq!(log.get_log_len().unwrap(), 101);
    assert_eq!(super::bytes(&log.get_entries(0, 100).unwrap()), entries);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for segment_bytes in [0, 100, 1 << 40] {
        let settings = LogSettings {
            segment_bytes,
            ..SMALL
        };
        let made = SegmentedLog::create(SimFiles::new(), IDENTITY, settings);
        assert!(
            matches!(made, Err(OpenError::Settings(_))),
            "{segment_bytes}"
        );
    }
}

#[test]
fn a_closed_log_opens_whole_after_a_power_cut() {
    let files = SimFiles::new();
    sample(&files, 5, 2);
    let log = open(&files).unwrap();
    let model = Model::of(&log);
    log.close().unwrap();
    files.crash(8);
    let log = open(&files).unwrap();
    assert_eq!((Model::of(&log), log.report().torn), (model, None));
}

#[test]
fn the_log_works_on_the_operating_systems_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = OsFiles::create_all(directory.path().join("a/b")).unwrap();
    let settings = LogSettings {
        segment_bytes: 4_096,
        cache_bytes: 1_000,
    };
    let mut log = SegmentedLog::create(files.clone(), IDENTITY, settings).unwrap();
    let entries: Vec<Vec<u8>> = (0..200).map(|fill| vec![fill; 100]).collect();
    log.set_promise(ballot(5)).unwrap();
    for part in entries.chunks(7) {
        log.append_entries(payloads(part)).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), entries);
    assert!(log.read(0, 200).unwrap().len() == 200 && files.list().unwrap().len() > 5);
    log.close().unwrap();
    let log = SegmentedLog::open(files, IDENTITY, settings).unwrap();
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), entries);
    assert_eq!(
        (log.get_promise().unwrap(), log.report().torn),
        (Some(ballot(5)), None)
    );
}

/// What a property test does to a log.
#[derive(Clone, Debug)]
enum Act {
    Write(Vec<Operation>),
    Sync,
    Reopen,
    PowerCut(u64),
    Read(usize, usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let entries = || collection::vec(collection::vec(any::<u8>(), 0..80), 0..4);
    let operation = prop_oneof![
        4 => entries().prop_map(Operation::Append),
        2 => (0_usize..8, entries()).prop_map(|(at, new)| Operation::AppendOnPrefix(at, new)),
        1 => any::<u32>().prop_map(Operation::Promise),
        1 => any::<u32>().prop_map(Operation::Accepted),
        1 => (0_usize..4).prop_map(Operation::Decide),
    ];
    let act = prop_oneof![
        8 => collection::vec(operation, 1..4).prop_map(Act::Write),
        3 => proptest::strategy::Just(Act::Sync),
        1 => proptest::strategy::Just(Act::Reopen),
        1 => any::<u64>().prop_map(Act::PowerCut),
        2 => (0_usize..40, 0_usize..40).prop_map(|(from, to)| Act::Read(from, to)),
    ];
    collection::vec(act, 0..60)
}

proptest! {
    #[test]
    fn the_log_behaves_as_its_model(acts in acts()) {
        let files = SimFiles::new();
        let mut log = create(&files);
        let mut model = Model::default();
        for act in acts {
            match act {
                Act::Write(operations) => {
                    let operations = model.apply(&operations);
                    write(&mut log, operations).unwrap();
                }
                Act::Sync => log.sync().unwrap(),
                Act::Reopen | Act::PowerCut(_) => {
                    log.sync().unwrap();
                    match act {
                        Act::PowerCut(seed) => files.crash(seed),
                        _ => files.kill(),
                    }
                    log = open(&files).unwrap();
                }
                Act::Read(from, to) => {
                    let expected = model.entries.get(from..to).unwrap_or_default();
                    assert_eq!(super::bytes(&log.get_entries(from, to).unwrap()), expected);
                }
            }
            assert_eq!(Model::of(&log), model);
        }
    }
}
