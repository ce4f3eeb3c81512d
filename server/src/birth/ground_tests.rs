//! Cells that are restored within one process, and files that no cell is restored from.

use super::desk::BirthDesk;
use super::{Ground, birth_of_all_here};
use crate::clock;
use crate::config::MemberAddress;
use crate::failure::Exit;
use crate::storage::checkpoint::{self, CHECKPOINTS_NAME, CHUNK_BYTES, CheckpointMeta};
use crate::storage::{CellState, DataDirectory, FIRST_CHAPTER, Files, OsFiles};
use cotter_cell::{Cell, Genesis};
use cotter_types::{CellId, ReplicaId};
use std::path::{Path, PathBuf};

/// Writes a backup of an empty cell with this id, whose last token is `token`.
fn backup(folder: &Path, id: u64, token: u64, written_wall_ms: u64) -> PathBuf {
    let cell = Cell::born(&Genesis {
        cell_id: CellId(id),
        cell: "old".to_owned(),
        token_floor: token,
        voters: Vec::new(),
    });
    let meta = CheckpointMeta::of(&cell, 0, written_wall_ms, Vec::new());
    let name = format!("backup-{id}");
    checkpoint::write_as(&OsFiles::new(folder), &name, &meta, cell.walk(CHUNK_BYTES)).unwrap();
    folder.join(name)
}

fn members() -> Vec<MemberAddress> {
    let member = |id| MemberAddress {
        id: ReplicaId(id),
        client: format!("c{id}:1"),
        peer: format!("p{id}:1"),
    };
    (1..=3).map(member).collect()
}

fn desk(root: &Path, id: u64, file: &Path) -> BirthDesk {
    let ground = Ground::read(file, None).unwrap();
    let path = root.join(id.to_string());
    BirthDesk::open(&path, "new", ReplicaId(id), &members(), Some(ground)).unwrap()
}

#[test]
fn all_members_begin_with_the_state_that_the_certificate_names() {
    let root = tempfile::tempdir().unwrap();
    let token = 1_700_000_000_000_000;
    let file = backup(root.path(), 5, token, 1_700_000_000_000);
    let desks = [1, 2, 3].map(|id| desk(root.path(), id, &file));
    let before = clock::wall_us();
    let cell_id = birth_of_all_here("new", &members(), &desks.each_ref()).unwrap();
    drop(desks);
    assert_ne!(cell_id, CellId(5));
    for id in 1..=3 {
        let path = root.path().join(id.to_string());
        let directory = DataDirectory::open_at(&path, Some("new")).unwrap();
        let identity = directory.identity();
        assert_eq!(identity.state, CellState::Born);
        let base = identity.certificate.base.unwrap();
        let checkpoints = directory.files().directory(CHECKPOINTS_NAME);
        let opened = checkpoint::open(&checkpoints, FIRST_CHAPTER).unwrap();
        let (cell, _) = checkpoint::load_cell(opened).unwrap();
        assert_eq!((cell.cell_id(), cell.digest()), (cell_id, base.state));
        assert!(cell.last_token().0 >= before, "{}", cell.last_token());
        cell.check().unwrap();
    }
}

#[test]
fn a_restore_that_is_interrupted_is_completed_and_no_birth_takes_its_place() {
    let root = tempfile::tempdir().unwrap();
    let file = backup(root.path(), 5, 1, 1);
    let first = [1, 2, 3].map(|id| desk(root.path(), id, &file));
    birth_of_all_here("new", &members(), &first.each_ref()).unwrap();
    drop(first);
    // What is left when the power goes before anybody has an identity.
    for id in 1..=3 {
        let path = root.path().join(id.to_string());
        for name in ["identity", "boot"] {
            std::fs::remove_file(path.join(name)).unwrap();
        }
        std::fs::remove_dir_all(path.join("chapter-00000001")).unwrap();
    }
    let path = root.path().join("1");
    let birth = BirthDesk::open(&path, "new", ReplicaId(1), &members()[..1], None).unwrap();
    let refused = birth_of_all_here("new", &members()[..1], &[&birth]).unwrap_err();
    assert!(
        refused.message.contains("cotterd restore again"),
        "{refused}"
    );
    drop(birth);
    let again = [1, 2, 3].map(|id| desk(root.path(), id, &file));
    birth_of_all_here("new", &members(), &again.each_ref()).unwrap();
    drop(again);
    // And nothing more is to be done, whoever asks.
    let born = [1, 2, 3].map(|id| desk(root.path(), id, &file));
    birth_of_all_here("new", &members(), &born.each_ref()).unwrap();
}

#[test]
fn a_directory_that_began_with_another_file_is_not_restored_into() {
    let root = tempfile::tempdir().unwrap();
    let one = backup(root.path(), 5, 1, 1);
    let other = backup(root.path(), 6, 1, 1);
    let desks = [1, 2, 3].map(|id| desk(root.path(), id, &one));
    birth_of_all_here("new", &members(), &desks.each_ref()).unwrap();
    drop(desks);
    let ground = Ground::read(&other, None).unwrap();
    let path = root.path().join("1");
    let refused = BirthDesk::open(&path, "new", ReplicaId(1), &members(), Some(ground));
    let refused = refused.unwrap_err();
    assert_eq!(refused.exit, Exit::Config);
    assert!(
        refused.message.contains("empty data directories"),
        "{refused}"
    );
}

#[test]
fn a_clock_behind_the_backup_is_refused_unless_a_floor_is_named() {
    let root = tempfile::tempdir().unwrap();
    let day_ms = 86_400_000;
    let late_ms = clock::wall_ms() + day_ms;
    for file in [
        backup(root.path(), 5, late_ms * 1_000, 1),
        backup(root.path(), 6, 1, late_ms),
    ] {
        let refused = Ground::read(&file, None).unwrap_err();
        assert_eq!(refused.exit, Exit::Config);
        assert!(refused.message.contains("behind the backup"), "{refused}");
        Ground::read(&file, Some((late_ms + day_ms) * 1_000)).unwrap();
    }
    let file = root.path().join("backup-5");
    let refused = Ground::read(&file, Some(late_ms * 1_000 - 1)).unwrap_err();
    assert!(
        refused.message.contains("a token that the backup knows"),
        "{refused}"
    );
}
