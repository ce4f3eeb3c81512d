use super::{SMALL, SimFiles};
use crate::storage::checkpoint::{self, CheckpointMeta};
use crate::storage::{
    CellState, Certificate, CertifiedBase, CertifiedMember, DataDirectory, Difference,
    DirectoryError, Files, Identity, OpenError, REBUILDS_MAX,
};
use cotter_cell::Cell;
use cotter_replica::{ChapterLog, Payload};
use cotter_types::{CellId, FencingToken, ReplicaId};
use omnipaxos::storage::Storage;

fn identity() -> Identity {
    let member = |id: u64| CertifiedMember {
        id: ReplicaId(id),
        incarnation: 1_000 + id,
        client_address: format!("10.0.0.{id}:7400"),
        peer_address: format!("10.0.0.{id}:7401"),
    };
    Identity {
        certificate: Certificate {
            cell_id: CellId(0xc0ffee),
            cell_name: "west".to_owned(),
            token_floor: FencingToken(1_700_000_000_000_000),
            members: (1..=3).map(member).collect(),
            base: None,
        },
        replica: ReplicaId(2),
        incarnation: 1_002,
        state: CellState::Forming,
    }
}

fn made() -> SimFiles {
    let files = SimFiles::new();
    drop(DataDirectory::create(files.clone(), identity(), None).unwrap());
    files
}

#[test]
fn each_start_raises_the_boot_number_durably() {
    let files = made();
    for boot in 2..6 {
        let directory = DataDirectory::open(files.clone(), Some("west")).unwrap();
        assert_eq!(
            (directory.boot(), directory.identity()),
            (boot, &identity())
        );
        files.crash(boot);
    }
}

#[test]
fn a_directory_that_is_absent_or_empty_is_not_initialised() {
    let parent = tempfile::tempdir().unwrap();
    for path in [parent.path().to_path_buf(), parent.path().join("absent")] {
        let error = DataDirectory::open_at(&path, None).unwrap_err();
        assert!(
            matches!(error, DirectoryError::NotInitialised(_)),
            "{error}"
        );
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
    assert!(!parent.path().join("absent").exists());
}

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let first = DataDirectory::create_at(&path, identity(), None).unwrap();
    assert_eq!(first.boot(), 1);
    let error = DataDirectory::open_at(&path, None).unwrap_err();
    assert!(matches!(error, DirectoryError::Locked(_)), "{error}");
    drop(first);
    let second = DataDirectory::open_at(&path, None).unwrap();
    assert!(matches!(
        DataDirectory::open_at(&path, None),
        Err(DirectoryError::Locked(_))
    ));
    assert_eq!(second.boot(), 2, "a refused opener counts no boot");

    let files = made();
    let _held = DataDirectory::open(files.clone(), None).unwrap();
    assert!(matches!(
        DataDirectory::open(files, None),
        Err(DirectoryError::Locked(_))
    ));
}

#[test]
fn a_replica_is_made_once_and_checked_against_its_cell() {
    let files = made();
    let again = DataDirectory::create(files.clone(), identity(), None);
    assert!(matches!(again, Err(DirectoryError::AlreadyInitialised(_))));
    let error = DataDirectory::open(files, Some("east")).unwrap_err();
    assert!(
        matches!(error, DirectoryError::AnotherCell { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("\"west\""), "{error}");
}

#[test]
fn an_identity_that_contradicts_its_certificate_is_refused() {
    let stranger = Identity {
        replica: ReplicaId(4),
        ..identity()
    };
    let other_disk = Identity {
        incarnation: 1,
        ..identity()
    };
    let mut twice = identity();
    twice
        .certificate
        .members
        .push(twice.certificate.members[0].clone());
    for identity in [stranger, other_disk, twice] {
        let error = DataDirectory::create(SimFiles::new(), identity, None).unwrap_err();
        assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
    }
}

#[test]
fn birth_is_remembered() {
    let files = made();
    let mut directory = DataDirectory::open(files.clone(), None).unwrap();
    assert_eq!(directory.identity().state, CellState::Forming);
    directory.set_born().unwrap();
    files.crash(1);
    let directory = DataDirectory::open(files, None).unwrap();
    assert_eq!(
        directory.identity(),
        &Identity {
            state: CellState::Born,
            ..identity()
        }
    );
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_replica_or_none() {
    for cut in 0..40 {
        for seed in 0..40 {
            let at = format!("cut {cut}, seed {seed}");
            let files = SimFiles::new();
            let mut boots = 0;
            let mut born = false;
            files.cut_power_after(cut);
            if let Ok(directory) = DataDirectory::create(files.clone(), identity(), None) {
                boots = directory.boot();
            }
            if let Ok(mut directory) = DataDirectory::open(files.clone(), None) {
                boots = directory.boot();
                born = directory.set_born().is_ok();
            }
            files.crash(seed);
            match DataDirectory::open(files.clone(), None) {
                Ok(directory) => {
                    assert!(directory.boot() > boots, "{at}: {} was sent before", boots);
                    assert!(
                        !born || directory.identity().state == CellState::Born,
                        "{at}"
                    );
                }
                Err(DirectoryError::NotInitialised(_)) => {
                    assert_eq!(boots, 0, "{at}");
                    DataDirectory::create(files, identity(), None).unwrap();
                }
                // The identity's name can survive and the boot's not only while neither was synced.
                Err(error) => panic!("{at}: {error}"),
            }
        }
    }
}

#[test]
fn a_power_cut_during_a_restore_leaves_a_replica_with_what_it_begins_with_or_none() {
    let mut restored = identity();
    let cell = Cell::born(&restored.certificate.genesis());
    let state = cell.digest();
    restored.certificate.base = Some(CertifiedBase { source: 1, state });
    let base = (CheckpointMeta::of(&cell, 1, 0, Vec::new()), cell);
    let mut whole = 0;
    for cut in 0..60 {
        for seed in 0..20 {
            let at = format!("cut {cut}, seed {seed}");
            let files = SimFiles::new();
            files.cut_power_after(cut);
            let made = DataDirectory::create(files.clone(), restored.clone(), Some(&base)).is_ok();
            files.crash(seed);
            match DataDirectory::open(files.clone(), None) {
                Ok(directory) => {
                    whole += 1;
                    let checkpoints = directory.checkpoints().unwrap();
                    let reader = checkpoint::open(&checkpoints, 1).unwrap();
                    let (found, _) = checkpoint::load_cell(reader).unwrap();
                    assert_eq!(found.digest(), state, "{at}");
                }
                Err(DirectoryError::NotInitialised(_)) => {
                    assert!(!made, "{at}");
                    let again = DataDirectory::create(files, restored.clone(), Some(&base));
                    again.unwrap_or_else(|error| panic!("{at}: {error}"));
                }
                Err(error) => panic!("{at}: {error}"),
            }
        }
    }
    assert!(whole > 0, "no restore came to its end");
}

#[test]
fn each_flipped_bit_is_detected() {
    let files = made();
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    directory.deaths().record(1, 5).unwrap();
    directory.distrust().record(difference(7)).unwrap();
    drop(directory);
    for name in ["identity", "boot", "deaths", "distrust"] {
        for bit in 0..files.contents(name).unwrap().len() * 8 {
            let spoilt = files.duplicate();
            spoilt.flip_bit(name, bit).unwrap();
            let error = DataDirectory::open(spoilt, None).unwrap_err();
            assert!(
                matches!(error, DirectoryError::Damaged { .. }),
                "{name} {bit}: {error}"
            );
        }
    }
}

#[test]
fn files_that_are_missing_or_in_each_others_place_are_damage() {
    let files = made();
    files.remove("boot").unwrap();
    assert!(matches!(
        DataDirectory::open(files, None),
        Err(DirectoryError::Damaged { .. })
    ));

    let files = made();
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    directory.create_log(1, SMALL).unwrap();
    drop(directory);
    files.remove("identity").unwrap();
    let error = DataDirectory::open(files.clone(), None).unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
    let error = DataDirectory::create(files, identity(), None).unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");

    let files = made();
    files.rename("identity", "boot").unwrap();
    assert!(DataDirectory::open(files, None).is_err());
}

#[test]
fn a_newer_format_is_named_as_such() {
    let files = made();
    let mut bytes = files.contents("identity").unwrap();
    bytes[8] = 2;
    let sum = crc32c::crc32c(&[&b"identity"[..], &bytes[..16], &bytes[20..]].concat());
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    files.overwrite("identity", 0, &bytes).unwrap();
    let error = DataDirectory::open(files, None).unwrap_err();
    assert!(
        matches!(error, DirectoryError::Version { found: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("newer cotterd"), "{error}");
}

#[test]
fn the_log_of_each_chapter_is_its_own() {
    let files = made();
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    assert!(matches!(
        directory.open_log(1, SMALL),
        Err(OpenError::Missing(_))
    ));
    for chapter in 1..=2 {
        let mut log = directory.create_log(chapter, SMALL).unwrap();
        log.append_entry(Payload::from(vec![chapter as u8]))
            .unwrap();
        log.sync().unwrap();
    }
    drop(directory);
    files.crash(1);
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    assert_eq!(directory.chapters().unwrap(), [1, 2]);
    let log = directory.open_log(2, SMALL).unwrap();
    assert_eq!(super::bytes(&log.get_suffix(0).unwrap()), [vec![2]]);
    // A segment copied from one chapter into the other is found out.
    let segment = files
        .directory("chapter-00000001")
        .contents("segment-00000001")
        .unwrap();
    files
        .directory("chapter-00000002")
        .overwrite("segment-00000001", 0, &segment)
        .unwrap();
    assert!(matches!(
        directory.open_log(2, SMALL),
        Err(OpenError::Foreign { .. })
    ));
}

#[test]
fn two_deaths_at_one_index_stop_the_replica_naming_it() {
    let files = made();
    let deaths = DataDirectory::open(files.clone(), None).unwrap().deaths();
    deaths.record(1, 41).unwrap();
    deaths.record(1, 42).unwrap();
    deaths.record(2, 41).unwrap();
    files.crash(1);
    assert_eq!(deaths.at(1, 41).unwrap(), 1);
    drop(DataDirectory::open(files.clone(), None).unwrap());
    deaths.record(1, 41).unwrap();
    files.crash(2);
    assert_eq!(deaths.at(1, 41).unwrap(), 2);
    let error = DataDirectory::open(files.clone(), None).unwrap_err();
    assert!(
        matches!(
            error,
            DirectoryError::Doomed {
                chapter: 1,
                index: 41,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("entry 41 of chapter 1"),
        "{error}"
    );
    deaths.forget().unwrap();
    DataDirectory::open(files, None).unwrap();
}

fn difference(applied: u64) -> Difference {
    Difference {
        applied,
        own: 1,
        theirs: 2,
    }
}

#[test]
fn a_state_that_differed_is_not_trusted_until_it_is_settled() {
    let files = made();
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    assert!(!directory.distrust().is_open().unwrap());
    assert_eq!(directory.distrust().record(difference(7)).unwrap(), 1);
    drop(directory);
    files.crash(1);
    let directory = DataDirectory::open(files.clone(), None).unwrap();
    assert!(directory.distrust().is_open().unwrap());
    directory.distrust().settle().unwrap();
    drop(directory);
    files.crash(2);
    let directory = DataDirectory::open(files, None).unwrap();
    let read = directory.distrust().read().unwrap();
    assert_eq!(read, (vec![difference(7)], false));
}

#[test]
fn a_state_that_differs_again_and_again_stops_the_replica_for_good() {
    let files = made();
    for count in 1..=REBUILDS_MAX + 1 {
        let directory = DataDirectory::open(files.clone(), None).unwrap();
        assert_eq!(directory.distrust().record(difference(7)).unwrap(), count);
        directory.distrust().settle().unwrap();
    }
    let error = DataDirectory::open(files, None).unwrap_err();
    assert!(
        matches!(error, DirectoryError::Differed { count, .. } if count == REBUILDS_MAX + 1),
        "{error}"
    );
}

#[test]
fn the_record_of_deaths_is_bounded() {
    let deaths = DataDirectory::open(made(), None).unwrap().deaths();
    for index in 0..300 {
        deaths.record(1, index).unwrap();
    }
    assert_eq!(
        (deaths.at(1, 0).unwrap(), deaths.at(1, 299).unwrap()),
        (0, 1)
    );
}
