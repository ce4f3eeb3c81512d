//! Checkpoints on a disk that loses, tears and spoils.

use super::cells::Made;
use crate::storage::checkpoint::{
    self, CHECKPOINTS_NAME, CheckpointError, CheckpointMeta, Verified, checkpoint_name,
};
use crate::storage::{Files, SimFiles};
use cotter_cell::Cell;
use cotter_types::CellId;

/// So small that a checkpoint has many chunks.
const SMALL_CHUNK: usize = 60;

fn disk() -> (SimFiles, SimFiles) {
    let root = SimFiles::new();
    let files = root.create_directory(CHECKPOINTS_NAME).unwrap();
    (root, files)
}

fn meta(cell: &Cell, chapter: u64) -> CheckpointMeta {
    CheckpointMeta::of(cell, chapter, 1_700_000_000_000, b"members".to_vec())
}

fn write(files: &SimFiles, cell: &Cell, chapter: u64) -> Result<Verified, CheckpointError> {
    checkpoint::write(files, &meta(cell, chapter), cell.walk(SMALL_CHUNK))
}

fn verify(files: &SimFiles, chapter: u64) -> Result<Verified, CheckpointError> {
    checkpoint::verify(checkpoint::open(files, chapter)?)
}

fn load(files: &SimFiles, chapter: u64) -> Result<Cell, CheckpointError> {
    checkpoint::load_cell(checkpoint::open(files, chapter)?).map(|(cell, _)| cell)
}

fn cell(nodes: u64) -> Cell {
    Made::busy(7, nodes).cell
}

#[test]
fn what_is_written_is_read_back_whole() {
    let (_, files) = disk();
    let original = cell(10);
    let written = write(&files, &original, 2).unwrap();
    assert!(written.size().chunks > 10, "{written:?}");
    assert_eq!(verify(&files, 2).unwrap(), written);
    let (loaded, proof) = checkpoint::load_cell(checkpoint::open(&files, 2).unwrap()).unwrap();
    assert_eq!(proof, written);
    assert_eq!(proof.meta(), &meta(&original, 2));
    assert_eq!(loaded.digest(), original.digest());
    assert_eq!(loaded.cell_id(), CellId(7));
    loaded.check().unwrap();
    assert_eq!(checkpoint::list(&files).unwrap().chapters, [2]);
}

#[test]
fn walk_of_another_cell_than_the_meta_says_is_never_named() {
    let (_, files) = disk();
    let (one, other) = (cell(3), cell(4));
    let error = checkpoint::write(&files, &meta(&one, 2), other.walk(SMALL_CHUNK)).unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    assert_eq!(
        checkpoint::list(&files).unwrap(),
        checkpoint::Listing::default()
    );
}

/// Checks what a crash left of an attempt to write chapter 4 behind two whole checkpoints.
fn check_after_crash(files: &SimFiles, acknowledged: bool, at: &str) {
    for (chapter, nodes) in [(2, 1), (3, 2)] {
        let loaded = load(files, chapter).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(loaded.digest(), cell(nodes).digest(), "{at}");
    }
    checkpoint::remove_unfinished(files).unwrap();
    let listing = checkpoint::list(files).unwrap();
    assert!(listing.unfinished.is_empty(), "{at}");
    let named = listing.chapters.contains(&4);
    assert!(
        named || !acknowledged,
        "{at}: it was acknowledged and is gone"
    );
    if named {
        let loaded = load(files, 4).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(loaded.digest(), cell(3).digest(), "{at}");
    }
}

#[test]
fn power_cut_at_each_operation_leaves_a_whole_checkpoint_or_none() {
    let (root, files) = disk();
    write(&files, &cell(1), 2).unwrap();
    write(&files, &cell(2), 3).unwrap();
    let begun = root.duplicate();
    let before = root.operations();
    write(&files, &cell(3), 4).unwrap();
    let operations = root.operations() - before;
    assert!(operations > 20, "the test has lost its teeth");
    let (mut whole, mut none) = (0, 0);
    for cut in 0..=operations {
        for seed in 0..8 {
            let root = begun.duplicate();
            let files = root.directory(CHECKPOINTS_NAME);
            root.cut_power_after(cut);
            let acknowledged = write(&files, &cell(3), 4).is_ok();
            assert_eq!(acknowledged, cut == operations);
            root.crash(seed);
            check_after_crash(&files, acknowledged, &format!("cut {cut}, seed {seed}"));
            match load(&files, 4) {
                Ok(_) => whole += 1,
                Err(CheckpointError::Missing { .. }) => none += 1,
                Err(error) => panic!("cut {cut}, seed {seed}: {error}"),
            }
        }
    }
    assert!(whole > 8 && none > 100, "{whole} whole, {none} none");
}

#[test]
fn failed_sync_gives_no_checkpoint_and_spoils_no_older_one() {
    for failing in 0..3 {
        let (root, files) = disk();
        write(&files, &cell(1), 2).unwrap();
        write(&files, &cell(2), 3).unwrap();
        root.fail_sync_after(failing);
        let written = write(&files, &cell(3), 4).is_ok();
        assert_eq!(written, failing == 2, "there are two syncs of the file");
        root.crash(failing);
        check_after_crash(&files, written, &format!("sync {failing}"));
    }
}

#[test]
fn full_disk_gives_no_checkpoint_and_leaves_nothing_behind() {
    let (root, files) = disk();
    let size = write(&files, &cell(3), 2).unwrap().size().bytes;
    root.set_capacity(Some(root.used_bytes() + size / 2));
    let error = write(&files, &cell(3), 3).unwrap_err();
    assert!(matches!(error, CheckpointError::Disk(_)), "{error}");
    assert_eq!(root.used_bytes(), size);
    let listing = checkpoint::list(&files).unwrap();
    assert_eq!((listing.chapters, listing.unfinished.len()), (vec![2], 0));
    root.set_capacity(None);
    write(&files, &cell(3), 3).unwrap();
}

#[test]
fn each_flipped_bit_is_detected() {
    let (_, files) = disk();
    write(&files, &cell(2), 2).unwrap();
    let name = checkpoint_name(2);
    let bits = files.contents(&name).unwrap().len() * 8;
    assert!(bits > 8_000);
    for bit in 0..bits {
        files.flip_bit(&name, bit).unwrap();
        match verify(&files, 2) {
            Err(CheckpointError::Damaged { file, offset, .. }) => {
                assert_eq!(file, name);
                assert!(
                    offset <= bit as u64 / 8,
                    "bit {bit} was reported at {offset}"
                );
            }
            other => panic!("bit {bit}: {other:?}"),
        }
        if bit % 97 == 0 {
            assert!(load(&files, 2).is_err(), "bit {bit}");
        }
        files.flip_bit(&name, bit).unwrap();
    }
    verify(&files, 2).unwrap();
}

/// Puts `bytes` in place of a checkpoint's file.
fn replace(files: &SimFiles, name: &str, bytes: &[u8]) {
    files.remove(name).unwrap();
    let file = files.create(name).unwrap();
    files.write_at(&file, 0, bytes).unwrap();
}

#[test]
fn file_cut_short_or_grown_is_detected() {
    let (_, files) = disk();
    write(&files, &cell(2), 2).unwrap();
    let name = checkpoint_name(2);
    let whole = files.contents(&name).unwrap();
    for length in 0..whole.len() {
        replace(&files, &name, &whole[..length]);
        assert!(verify(&files, 2).is_err(), "{length} bytes");
        assert!(load(&files, 2).is_err(), "{length} bytes");
    }
    for more in [&[0_u8][..], &whole, &[0; 4_096]] {
        replace(&files, &name, &[&whole, more].concat());
        let error = verify(&files, 2).unwrap_err();
        assert!(error.to_string().contains("follows the end"), "{error}");
    }
}

/// Splits a file into its header and its records.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    let mut at = 20 + number(12);
    let mut parts = vec![bytes[..at].to_vec()];
    while at < bytes.len() {
        let end = at + 14 + number(at + 10);
        parts.push(bytes[at..end].to_vec());
        at = end;
    }
    parts
}

#[test]
fn chunks_that_are_swapped_dropped_or_doubled_are_detected() {
    let (_, files) = disk();
    write(&files, &cell(4), 2).unwrap();
    let name = checkpoint_name(2);
    let parts = records(&files.contents(&name).unwrap());
    assert!(parts.len() > 10);
    for at in 1..parts.len() - 1 {
        let mut swapped = parts.clone();
        swapped.swap(at, at + 1);
        let mut dropped = parts.clone();
        dropped.remove(at);
        let mut doubled = parts.clone();
        doubled.insert(at, parts[at].clone());
        for spoilt in [swapped, dropped, doubled] {
            replace(&files, &name, &spoilt.concat());
            let error = verify(&files, 2).unwrap_err();
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
            assert!(load(&files, 2).is_err());
        }
    }
}

#[test]
fn chunk_of_another_checkpoint_is_detected() {
    let (_, files) = disk();
    write(&files, &cell(4), 2).unwrap();
    write(&files, &cell(5), 3).unwrap();
    let one = records(&files.contents(&checkpoint_name(2)).unwrap());
    let other = records(&files.contents(&checkpoint_name(3)).unwrap());
    let mut tried = 0;
    for (at, part) in other.iter().enumerate().take(one.len()) {
        let mut spliced = one.clone();
        spliced[at].clone_from(part);
        tried += 1;
        replace(&files, &checkpoint_name(2), &spliced.concat());
        assert!(verify(&files, 2).is_err(), "record {at}");
        assert!(load(&files, 2).is_err(), "record {at}");
    }
    assert!(tried > 10);
}

#[test]
fn checkpoint_under_the_name_of_another_is_refused() {
    let (_, files) = disk();
    write(&files, &cell(1), 2).unwrap();
    files
        .rename(&checkpoint_name(2), &checkpoint_name(3))
        .unwrap();
    let error = checkpoint::open(&files, 3).unwrap_err().to_string();
    assert!(error.contains("the checkpoint of chapter 2"), "{error}");
}

#[test]
fn newer_format_is_refused_by_its_version() {
    let (_, files) = disk();
    write(&files, &cell(1), 2).unwrap();
    let name = checkpoint_name(2);
    let mut bytes = files.contents(&name).unwrap();
    bytes[8] = 2;
    let parts = records(&bytes);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &parts[0][20..]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    replace(&files, &name, &bytes);
    let error = verify(&files, 2).unwrap_err();
    assert!(
        matches!(error, CheckpointError::Version { found: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("use a newer cotterd"), "{error}");
}

#[test]
fn two_are_kept_and_none_goes_before_a_newer_one_is_proved() {
    let (_, files) = disk();
    for chapter in 2..=5 {
        write(&files, &cell(chapter), chapter).unwrap();
    }
    // Proof of an older one says nothing about those behind it.
    let old = verify(&files, 3).unwrap();
    assert_eq!(
        checkpoint::remove_older(&files, &old).unwrap(),
        Vec::<u64>::new()
    );
    let proof = verify(&files, 5).unwrap();
    assert_eq!(checkpoint::remove_older(&files, &proof).unwrap(), [2, 3]);
    assert_eq!(checkpoint::list(&files).unwrap().chapters, [4, 5]);
    assert!(checkpoint::remove_older(&files, &proof).unwrap().is_empty());
}

#[test]
fn power_cut_while_older_ones_go_leaves_the_newest_two() {
    let (root, files) = disk();
    for chapter in 2..=6 {
        write(&files, &cell(chapter), chapter).unwrap();
    }
    let begun = root.duplicate();
    for cut in 0..4 {
        for seed in 0..8 {
            let root = begun.duplicate();
            let files = root.directory(CHECKPOINTS_NAME);
            let proof = verify(&files, 6).unwrap();
            root.cut_power_after(cut);
            let _ = checkpoint::remove_older(&files, &proof);
            root.crash(seed);
            for chapter in [5, 6] {
                verify(&files, chapter).unwrap();
            }
        }
    }
}

/// The format as it stands on disks: what this reads, every later version must read.
#[test]
fn golden_file_is_read_and_written_to_the_byte() {
    const GOLDEN: &[u8] = include_bytes!("data/checkpoint-format-1");
    let (_, files) = disk();
    let original = cell(6);
    write(&files, &original, 2).unwrap();
    let name = checkpoint_name(2);
    let written = files.contents(&name).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/storage/tests/data/checkpoint-format-1"
        );
        std::fs::write(path, &written).unwrap();
        return;
    }
    replace(&files, &name, GOLDEN);
    let loaded = load(&files, 2).unwrap();
    loaded.check().unwrap();
    assert_eq!(loaded.digest(), original.digest());
    assert_eq!(
        written, GOLDEN,
        "UPDATE_GOLDEN=1 rewrites it; that is a new format"
    );
}
