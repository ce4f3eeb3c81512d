//! Checkpoints on their way from one replica to another.

use super::cells::Made;
use crate::storage::checkpoint::{
    self, Assembly, CHECKPOINTS_NAME, CheckpointError, CheckpointMeta, Listing, Offer, PieceReader,
    checkpoint_name,
};
use crate::storage::{Files, SimFiles};
use cotter_types::CellId;

fn disk() -> (SimFiles, SimFiles) {
    let root = SimFiles::new();
    let files = root.create_directory(CHECKPOINTS_NAME).unwrap();
    (root, files)
}

/// A disk with the checkpoint of a chapter.
fn sender(nodes: u64, chapter: u64) -> SimFiles {
    let (_, files) = disk();
    let cell = Made::busy(7, nodes).cell;
    let meta = CheckpointMeta::of(&cell, chapter, 5, Vec::new());
    checkpoint::write(&files, &meta, cell.walk(60)).unwrap();
    files
}

/// Sends everything, each piece changed by `change`.
fn transfer(
    from: &PieceReader<SimFiles>,
    to: &SimFiles,
    offer: Offer,
    mut change: impl FnMut(&mut Vec<u8>, u64),
) -> Result<checkpoint::Verified, CheckpointError> {
    let mut assembly = Assembly::begin(to, offer)?;
    while !assembly.is_complete() {
        let mut piece = from.piece(assembly.received(), 100)?;
        change(&mut piece, assembly.received());
        assembly.add(assembly.received(), &piece)?;
    }
    assembly.finish()
}

#[test]
fn checkpoint_arrives_whole_in_pieces() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    assert!(reader.offer().bytes > 500);
    let (_, to) = disk();
    let arrived = transfer(&reader, &to, reader.offer(), |_, _| {}).unwrap();
    assert_eq!(
        arrived,
        checkpoint::verify(checkpoint::open(&from, 9).unwrap()).unwrap()
    );
    let name = checkpoint_name(9);
    assert_eq!(to.contents(&name).unwrap(), from.contents(&name).unwrap());
    assert_eq!(
        reader.piece(reader.offer().bytes, 10).unwrap(),
        Vec::<u8>::new()
    );
}

#[test]
fn file_that_is_sent_stays_readable_when_it_is_replaced_and_removed() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    from.remove(&checkpoint_name(9)).unwrap();
    let (_, to) = disk();
    transfer(&reader, &to, reader.offer(), |_, _| {}).unwrap();
}

#[test]
fn damaged_checkpoint_is_not_sent() {
    let from = sender(5, 9);
    from.flip_bit(&checkpoint_name(9), 4_000).unwrap();
    let error = PieceReader::open(&from, 9).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
}

#[test]
fn piece_changed_on_the_way_is_noticed_and_nothing_is_left() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    for spoilt in (0..reader.offer().bytes).step_by(13) {
        let (_, to) = disk();
        let arrived = transfer(&reader, &to, reader.offer(), |piece, offset| {
            if let Some(byte) = spoilt
                .checked_sub(offset)
                .and_then(|at| piece.get_mut(at as usize))
            {
                *byte ^= 4;
            }
        });
        assert!(arrived.is_err(), "byte {spoilt}");
        assert_eq!(checkpoint::list(&to).unwrap(), Listing::default());
    }
}

#[test]
fn pieces_out_of_order_or_too_long_are_refused_and_change_nothing() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    let (_, to) = disk();
    let mut assembly = Assembly::begin(&to, reader.offer()).unwrap();
    let first = reader.piece(0, 100).unwrap();
    assert!(assembly.add(100, &first).is_err());
    assembly.add(0, &first).unwrap();
    assert!(assembly.add(0, &first).is_err(), "it came already");
    let long = vec![0; reader.offer().bytes as usize];
    assert!(assembly.add(100, &long).is_err());
    assert_eq!(assembly.received(), 100);
    while !assembly.is_complete() {
        let piece = reader.piece(assembly.received(), 1_000).unwrap();
        assembly.add(assembly.received(), &piece).unwrap();
    }
    assembly.finish().unwrap();
}

#[test]
fn incomplete_assembly_is_no_checkpoint() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    let (_, to) = disk();
    let mut assembly = Assembly::begin(&to, reader.offer()).unwrap();
    assembly.add(0, &reader.piece(0, 100).unwrap()).unwrap();
    assert!(assembly.finish().is_err());
    assert_eq!(checkpoint::list(&to).unwrap(), Listing::default());
}

#[test]
fn what_was_not_offered_is_refused() {
    let from = sender(5, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    let offer = reader.offer();
    let others = [
        Offer {
            cell_id: CellId(8),
            ..offer
        },
        Offer {
            chapter: 10,
            ..offer
        },
        Offer { digest: 1, ..offer },
    ];
    for other in others {
        let (_, to) = disk();
        let error = transfer(&reader, &to, other, |_, _| {}).unwrap_err();
        assert!(matches!(error, CheckpointError::Received(_)), "{error}");
        assert_eq!(checkpoint::list(&to).unwrap(), Listing::default());
    }
}

#[test]
fn power_cut_at_each_operation_leaves_what_arrived_whole_or_not_at_all() {
    let from = sender(2, 9);
    let reader = PieceReader::open(&from, 9).unwrap();
    let (root, to) = disk();
    let begun = root.duplicate();
    transfer(&reader, &to, reader.offer(), |_, _| {}).unwrap();
    let mut whole = 0;
    for cut in 0..=root.operations() {
        for seed in 0..6 {
            let root = begun.duplicate();
            let to = root.directory(CHECKPOINTS_NAME);
            root.cut_power_after(cut);
            let acknowledged = transfer(&reader, &to, reader.offer(), |_, _| {}).is_ok();
            root.crash(seed);
            checkpoint::remove_unfinished(&to).unwrap();
            let listing = checkpoint::list(&to).unwrap();
            assert!(
                !acknowledged || listing.chapters == [9],
                "cut {cut}, seed {seed}"
            );
            for chapter in listing.chapters {
                checkpoint::verify(checkpoint::open(&to, chapter).unwrap()).unwrap();
                whole += 1;
            }
        }
    }
    assert!(whole > 6);
}
