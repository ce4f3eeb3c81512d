//! Checkpoints that no honest replica wrote: every checksum fits, and what is within is anything.
//!
//! Whoever reads one must come to an end without a panic, and must not believe it.

use super::cells::Made;
use crate::storage::checkpoint::{
    self, CHECKPOINTS_NAME, CheckpointError, CheckpointMeta, Encoder, checkpoint_name,
};
use crate::storage::sim_disk::Chance;
use crate::storage::{Files, SimFiles};
use cotter_cell::{Cell, Chunk};

const CASES: u64 = 3_000;

/// Writes a file whose checksums all fit, without the proof that a writer asks for.
fn forge(files: &SimFiles, meta: &CheckpointMeta, chunks: Vec<Chunk>) {
    let pieces = Encoder::new(meta, chunks.into_iter()).unwrap();
    let bytes: Vec<u8> = pieces.flat_map(|piece| piece.unwrap()).collect();
    let name = checkpoint_name(meta.chapter);
    let _ = files.remove(&name);
    let file = files.create(&name).unwrap();
    files.write_at(&file, 0, &bytes).unwrap();
}

/// Changes something about some chunk; tells whether anything is different then.
fn spoil(chunks: &mut Vec<Chunk>, chance: &mut Chance) -> bool {
    let before = chunks.clone();
    for _ in 0..=chance.below(3) {
        let at = chance.below(chunks.len());
        let other = chunks[chance.below(chunks.len())].clone();
        let chunk = &mut chunks[at];
        let length = chunk.bytes.len().max(1);
        match chance.below(8) {
            0 => chunk.table = chance.next() as u8 % 16,
            1 => chunk.rows = [0, 1, chunk.rows + 1, u32::MAX][chance.below(4)],
            2 => chunk.bytes.truncate(chance.below(length)),
            3 => chunk.bytes.extend(other.bytes),
            4 => *chunk = other,
            // A length that no allocation should follow.
            5 => {
                let from = chance.below(length);
                let end = chunk.bytes.len().min(from + 5);
                chunk.bytes[from..end].fill(0xff);
            }
            _ => {
                if let Some(byte) = chunk.bytes.get_mut(chance.below(length)) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
    }
    *chunks != before
}

fn load(files: &SimFiles) -> Result<Cell, CheckpointError> {
    checkpoint::load_cell(checkpoint::open(files, 2)?).map(|(cell, _)| cell)
}

#[test]
fn forged_chunks_are_never_believed_and_never_end_the_process() {
    let root = SimFiles::new();
    let files = root.create_directory(CHECKPOINTS_NAME).unwrap();
    let cell = Made::busy(7, 6).cell;
    let meta = CheckpointMeta::of(&cell, 2, 0, Vec::new());
    let honest: Vec<Chunk> = cell.walk(60).collect();
    forge(&files, &meta, honest.clone());
    assert_eq!(load(&files).unwrap().digest(), cell.digest());
    let (mut refused, mut unchanged) = (0, 0);
    for seed in 0..CASES {
        let mut chunks = honest.clone();
        let changed = spoil(&mut chunks, &mut Chance::new(seed));
        forge(&files, &meta, chunks);
        let verified = checkpoint::verify(checkpoint::open(&files, 2).unwrap());
        let loaded = load(&files);
        if changed {
            assert!(verified.is_err() && loaded.is_err(), "seed {seed}");
            refused += 1;
        } else {
            assert!(verified.is_ok() && loaded.is_ok(), "seed {seed}");
            unchanged += 1;
        }
    }
    assert!(
        refused > CASES / 2,
        "{refused} refused, {unchanged} unchanged"
    );
}

#[test]
fn header_and_records_of_anything_are_refused() {
    let root = SimFiles::new();
    let files = root.create_directory(CHECKPOINTS_NAME).unwrap();
    let cell = Made::busy(7, 3).cell;
    let meta = CheckpointMeta::of(&cell, 2, 0, Vec::new());
    checkpoint::write(&files, &meta, cell.walk(60)).unwrap();
    let name = checkpoint_name(2);
    let whole = files.contents(&name).unwrap();
    for seed in 0..CASES {
        let mut chance = Chance::new(seed);
        let mut bytes = whole.clone();
        for _ in 0..=chance.below(4) {
            if bytes.is_empty() {
                break;
            }
            let from = chance.below(bytes.len());
            let end = bytes.len().min(from + 1 + chance.below(40));
            match chance.below(4) {
                0 => bytes[from..end].fill(chance.next() as u8),
                1 => drop(bytes.drain(from..end)),
                2 => {
                    let piece = bytes[from..end].to_vec();
                    let to = chance.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => bytes.truncate(from.max(1)),
            }
        }
        if bytes == whole {
            continue;
        }
        files.remove(&name).unwrap();
        let file = files.create(&name).unwrap();
        files.write_at(&file, 0, &bytes).unwrap();
        assert!(load(&files).is_err(), "seed {seed}");
        let verified = checkpoint::open(&files, 2).and_then(checkpoint::verify);
        assert!(verified.is_err(), "seed {seed}");
    }
}
