//! What is gathered from directories that are whole, and from those that are not.

use super::gather;
use crate::storage::checkpoint::{self, CHUNK_BYTES, CheckpointMeta};
use crate::storage::{
    CellState, CertifiedBase, DataDirectory, Identity, LogSettings, ReadOnlyFiles,
    SEGMENT_BYTES_MIN, survey,
};
use cotter_cell::{Cell, Entry};
use cotter_replica::{ChapterLog, Payload};
use cotter_types::ReplicaId;
use omnipaxos::storage::{Storage, StorageOp};
use std::path::{Path, PathBuf};

const ENTRIES: u64 = 9;

fn identity(base: Option<CertifiedBase>) -> Identity {
    Identity::of_test(CellState::Joined, base)
}

fn entry(nth: u64) -> Entry {
    Entry::TakeOver {
        replica: ReplicaId(1),
        attempt: (1, nth + 1),
        last_seen: nth,
    }
}

/// Makes a directory with a log of chapter 1, all but the last two of whose entries are known to be
/// decided; returns the cell after all of them.
fn made(root: &Path) -> (PathBuf, Cell) {
    let path = root.join("data");
    let directory = DataDirectory::create_at(&path, identity(None), None).unwrap();
    let settings = LogSettings {
        segment_bytes: SEGMENT_BYTES_MIN,
        ..LogSettings::default()
    };
    let mut log = directory.create_log(1, settings).unwrap();
    let mut cell = Cell::born(&identity(None).certificate.genesis());
    for nth in 0..ENTRIES {
        cell.apply(&entry(nth));
        let bytes = postcard::to_stdvec(&entry(nth)).unwrap();
        log.write_atomically(vec![StorageOp::AppendEntry(Payload::from(bytes))])
            .unwrap();
        log.sync().unwrap();
    }
    let decided = StorageOp::SetDecidedIndex(ENTRIES as usize - 2);
    log.write_atomically(vec![decided]).unwrap();
    log.sync().unwrap();
    (path, cell)
}

#[test]
fn accepted_entries_are_salvaged_with_the_decided_ones() {
    let root = tempfile::tempdir().unwrap();
    let (path, cell) = made(root.path());
    let found = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap();
    assert_eq!(found.cell.digest(), cell.digest());
    assert_eq!(found.undecided, 2);
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
}

#[test]
fn the_logs_go_on_from_the_newest_checkpoint_that_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let (path, cell) = made(root.path());
    let checkpoints = path.join("checkpoints");
    std::fs::create_dir(&checkpoints).unwrap();
    let files = crate::storage::OsFiles::new(&checkpoints);
    // The state before the first entry, as a restored cell has it.
    let first = Cell::born(&identity(None).certificate.genesis());
    let meta = CheckpointMeta::of(&first, 1, 0, Vec::new());
    checkpoint::write(&files, &meta, first.walk(CHUNK_BYTES)).unwrap();
    let found = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap();
    assert_eq!(found.cell.digest(), cell.digest());
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);

    std::fs::write(checkpoints.join("checkpoint-00000002"), b"no checkpoint").unwrap();
    let found = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap();
    assert_eq!(found.cell.digest(), cell.digest());
    assert!(found.left_out[0].contains("checkpoint-00000002"));
}

#[test]
fn what_lies_behind_damage_is_left_out_and_said() {
    let root = tempfile::tempdir().unwrap();
    let (path, _) = made(root.path());
    let segment = path.join("chapter-00000001/segment-00000001");
    let mut bytes = std::fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let found = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap();
    assert!(found.cell.applied() < ENTRIES);
    assert!(
        found.left_out[0].contains("chapter 1"),
        "{:?}",
        found.left_out
    );
}

#[test]
fn a_log_without_what_the_cell_began_with_is_worth_nothing() {
    let root = tempfile::tempdir().unwrap();
    let base = CertifiedBase {
        source: 1,
        state: 2,
    };
    let path = root.path().join("data");
    drop(DataDirectory::create_at(&path, identity(Some(base)), None).unwrap());
    let failure = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap_err();
    assert!(
        failure.message.contains("nothing can be salvaged"),
        "{failure}"
    );
}

#[test]
fn who_has_joined_and_fetched_nothing_has_nothing_to_be_salvaged() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    drop(DataDirectory::create_at(&path, identity(None), None).unwrap());
    let failure = gather(&survey(&ReadOnlyFiles::new(&path)).unwrap()).unwrap_err();
    assert!(
        failure.message.contains("nothing can be salvaged"),
        "{failure}"
    );
}
