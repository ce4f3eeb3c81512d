use super::inspect_to;
use super::report::Report;
use crate::config::{InspectArguments, InspectOutput};
use crate::failure::{Exit, Failure};
use crate::storage::checkpoint::{self, CheckpointMeta};
use crate::storage::{
    CellState, Certificate, CertifiedBase, CertifiedMember, DataDirectory, Files, Identity,
    LogSettings, OsFiles, SEGMENT_BYTES_MIN,
};
use cotter_cell::{Batch, Cell, Command, Entry, Genesis, Stamp};
use cotter_replica::{ChapterLog, Payload};
use cotter_types::{CellId, Epoch, FencingToken, Nonce, OpenSession, ReplicaId, SessionMetadata};
use omnipaxos::storage::{Storage, StorageOp};
use std::fs;
use std::path::{Path, PathBuf};

fn identity() -> Identity {
    Identity {
        certificate: Certificate {
            cell_id: CellId(0xc0ffee),
            cell_name: "west".to_owned(),
            token_floor: FencingToken(1_700_000_000_000_000),
            members: vec![CertifiedMember {
                id: ReplicaId(1),
                incarnation: 77,
                client_address: "10.0.0.1:7400".to_owned(),
                peer_address: "10.0.0.1:7401".to_owned(),
            }],
            base: None,
        },
        replica: ReplicaId(1),
        incarnation: 77,
        state: CellState::Born,
    }
}

fn entries() -> Vec<Entry> {
    let open = |nonce| Command::Open {
        open: OpenSession {
            nonce: Nonce(nonce),
            lease_ms: 12_000,
            metadata: SessionMetadata {
                name: "crawler\u{1b}[31m".to_owned(),
                ..SessionMetadata::default()
            },
        },
        principal: String::new(),
    };
    let batch = |sequence| {
        Entry::Batch(Batch {
            epoch: Epoch(1),
            sequence,
            stamp: Stamp::default(),
            commands: vec![open(0x5ec7e7 + u128::from(sequence))],
        })
    };
    let mut entries = vec![Entry::TakeOver {
        replica: ReplicaId(1),
        attempt: (1, 1),
        last_seen: 0,
    }];
    entries.extend((1..=6).map(batch));
    entries
}

/// Makes a data directory with a log of several segments and two checkpoints.
fn made() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let directory = DataDirectory::create_at(&path, identity(), None).unwrap();
    let settings = LogSettings {
        segment_bytes: SEGMENT_BYTES_MIN,
        ..LogSettings::default()
    };
    let mut log = directory.create_log(1, settings).unwrap();
    let mut cell = Cell::born(&Genesis {
        cell_id: CellId(0xc0ffee),
        cell: "west".to_owned(),
        token_floor: 1_700_000_000_000_000,
        voters: Vec::new(),
    });
    for entry in entries() {
        cell.apply(&entry);
        let bytes = postcard::to_stdvec(&entry).unwrap();
        log.write_atomically(vec![StorageOp::AppendEntry(Payload::from(bytes))])
            .unwrap();
        log.sync().unwrap();
    }
    log.write_atomically(vec![StorageOp::SetDecidedIndex(6)])
        .unwrap();
    log.sync().unwrap();
    let files = directory.checkpoints().unwrap();
    for chapter in [2, 3] {
        let meta = CheckpointMeta::of(&cell, chapter, 5, Vec::new());
        checkpoint::write(&files, &meta, cell.walk(100)).unwrap();
    }
    (folder, path)
}

fn arguments(path: &Path) -> InspectArguments {
    InspectArguments {
        path: path.to_owned(),
        entries: false,
        from: None,
        to: None,
        output: InspectOutput::Text,
    }
}

fn look(arguments: &InspectArguments) -> Result<(Report, String), Failure> {
    let mut output = Vec::new();
    let report = inspect_to(arguments, &mut output)?;
    Ok((report, String::from_utf8(output).unwrap()))
}

fn look_at(path: &Path) -> (Report, String) {
    look(&arguments(path)).unwrap()
}

/// Every file below a directory with its contents.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn healthy_directory_is_whole_and_stays_as_it_is() {
    let (_folder, path) = made();
    let before = contents(&path);
    let (report, text) = look_at(&path);
    assert_eq!(report.findings, [], "{text}");
    assert_eq!((report.boot, report.notes.len()), (Some(1), 0));
    let chapter = &report.chapters[0];
    assert_eq!(
        (chapter.chapter, chapter.entries, chapter.decided),
        (1, 7, 6)
    );
    assert!(
        chapter.segments.len() > 1 && chapter.reserved,
        "{chapter:?}"
    );
    assert_eq!(report.checkpoints.len(), 2);
    assert!(report.checkpoints.iter().all(|checkpoint| checkpoint.whole));
    assert!(
        text.contains("cell west (id 0000000000c0ffee), born"),
        "{text}"
    );
    assert!(
        text.ends_with("everything that is there is whole\n"),
        "{text}"
    );
    assert_eq!(contents(&path), before);
}

#[test]
fn json_says_the_same() {
    let (_folder, path) = made();
    let (report, text) = look(&InspectArguments {
        output: InspectOutput::Json,
        entries: true,
        ..arguments(&path)
    })
    .unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["identity"]["cell"], "west");
    assert_eq!(value["chapters"][0]["decided"], 6);
    assert_eq!(value["checkpoints"][1]["whole"], true);
    assert_eq!(value["findings"].as_array().unwrap().len(), 0);
    assert_eq!(value["entries"].as_array().unwrap().len(), 7);
    assert_eq!(value["path"], report.path.as_str());
}

#[test]
fn entries_are_shown_without_secrets_and_control_characters() {
    let (_folder, path) = made();
    let (_, text) = look(&InspectArguments {
        entries: true,
        from: Some(2),
        to: Some(6),
        ..arguments(&path)
    })
    .unwrap();
    let shown: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("entry "))
        .collect();
    assert_eq!(shown.len(), 5, "{text}");
    assert!(shown[0].starts_with("entry 1/2: Batch"), "{text}");
    assert!(shown[4].starts_with("entry 1/6 (not decided): "), "{text}");
    assert!(
        text.contains("Nonce(..)") && text.contains("crawler"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn each_damaged_file_is_named_and_the_rest_is_still_read() {
    let (_folder, path) = made();
    let mut damaged = 0;
    for (file, bytes) in contents(&path) {
        let name = file.strip_prefix(&path).unwrap().to_str().unwrap();
        if name == "lock" || name.ends_with("reserved") {
            continue;
        }
        for at in (0..bytes.len()).step_by(7) {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 0x20;
            fs::write(&file, &spoilt).unwrap();
            let (report, text) = look_at(&path);
            let Some(finding) = report.findings.first() else {
                // The unused end of a segment may hold anything; so may what no sync covered.
                assert!(name.contains("segment"), "byte {at} of {name}: {text}");
                continue;
            };
            damaged += 1;
            assert!(
                finding.file == name || finding.file.starts_with("chapter-"),
                "{finding}"
            );
            if name.starts_with("checkpoints") {
                assert!(finding.offset.is_some(), "{finding}");
                assert_eq!(report.chapters[0].entries, 7);
            }
            assert!(text.contains("DAMAGED: "), "{text}");
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(damaged > 300, "{damaged}");
    assert_eq!(look_at(&path).0.findings, []);
}

#[test]
fn segment_that_is_cut_short_or_gone_is_named() {
    let (_folder, path) = made();
    let first = path.join("chapter-00000001/segment-00000001");
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..200]).unwrap();
    let (report, text) = look_at(&path);
    assert_eq!(report.findings[0].file, "chapter-00000001/segment-00000001");
    assert!(report.findings[0].offset.is_some(), "{text}");
    assert!(report.chapters[0].entries < 7, "{text}");
    fs::remove_file(&first).unwrap();
    let (report, _) = look_at(&path);
    assert_eq!(report.findings[0].file, "chapter-00000001/segment-00000001");
    assert!(report.findings[0].what.contains("missing"));
}

#[test]
fn log_that_is_gone_and_checkpoint_of_another_cell_are_damage() {
    let (_folder, path) = made();
    let files = OsFiles::new(path.join("checkpoints"));
    let genesis = Genesis {
        cell_id: CellId(0xbad),
        cell: "west".to_owned(),
        token_floor: 1,
        voters: Vec::new(),
    };
    let other = Cell::born(&genesis);
    let meta = CheckpointMeta::of(&other, 4, 5, Vec::new());
    checkpoint::write(&files, &meta, other.walk(100)).unwrap();
    let (report, _) = look_at(&path);
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].what.contains("0000000000000bad"));
    fs::remove_dir_all(path.join("chapter-00000001")).unwrap();
    let (report, _) = look_at(&path);
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.findings[0].what, "the log is gone");
}

#[test]
fn unfinished_end_is_a_note_and_no_damage() {
    let (_folder, path) = made();
    let number = look_at(&path).0.chapters[0].segments.len();
    let last = path.join(format!("chapter-00000001/segment-{number:08}"));
    let mut bytes = fs::read(&last).unwrap();
    let used = look_at(&path).0.chapters[0].segments[number - 1].used_bytes as usize;
    bytes[used..used + 10].fill(3);
    fs::write(&last, &bytes).unwrap();
    let (report, text) = look_at(&path);
    assert_eq!(report.findings, []);
    assert!(text.contains("10 unfinished bytes"), "{text}");
    assert_eq!(fs::read(&last).unwrap(), bytes, "it is not cut off here");
}

#[test]
fn identity_that_is_gone_is_damage_and_the_log_is_read_all_the_same() {
    let (_folder, path) = made();
    fs::remove_file(path.join("identity")).unwrap();
    let (report, text) = look_at(&path);
    assert_eq!(report.findings[0].file, "identity", "{text}");
    assert_eq!(report.chapters[0].entries, 7);
    assert_eq!(report.boot, Some(1));
}

#[test]
fn directory_in_use_and_what_is_none_are_refused() {
    let (folder, path) = made();
    let directory = DataDirectory::open_at(&path, None).unwrap();
    let failure = look(&arguments(&path)).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.to_string().contains("in use"), "{failure}");
    drop(directory);
    look_at(&path);
    let failure = look(&arguments(folder.path())).unwrap_err();
    assert_eq!(failure.exit, Exit::Config, "{failure}");
    let failure = look(&arguments(&path.join("nothing"))).unwrap_err();
    assert_eq!(failure.exit, Exit::Config, "{failure}");
}

#[test]
fn backup_file_is_looked_at_by_itself() {
    let (_folder, path) = made();
    let file = path.join("checkpoints/checkpoint-00000002");
    let (report, text) = look_at(&file);
    assert_eq!((report.findings.len(), report.checkpoints.len()), (0, 1));
    assert!(
        report.identity.is_none() && text.contains("cell west"),
        "{text}"
    );
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes.truncate(last);
    fs::write(&file, &bytes).unwrap();
    let (report, _) = look_at(&file);
    assert_eq!(report.findings.len(), 1);
    assert!(!report.checkpoints[0].whole);
    let (report, _) = look_at(&path.join("boot"));
    assert!(
        report.findings[0]
            .what
            .contains("does not begin as a checkpoint")
    );
}

#[test]
fn leftover_of_a_checkpoint_is_a_note() {
    let (_folder, path) = made();
    let files = OsFiles::new(path.join("checkpoints"));
    fs::write(files.path().join("checkpoint-00000004.unfinished"), b"x").unwrap();
    let (report, text) = look_at(&path);
    assert_eq!(report.findings, []);
    assert!(text.contains("never finished"), "{text}");
}

#[test]
fn restored_cell_whose_base_is_gone_or_differs_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let cell = Cell::born(&Genesis {
        cell_id: CellId(0xc0ffee),
        cell: "west".to_owned(),
        token_floor: 1_700_000_000_000_000,
        voters: Vec::new(),
    });
    let mut own = identity();
    own.certificate.base = Some(CertifiedBase {
        source: 0xabc,
        state: cell.digest(),
    });
    let directory = DataDirectory::create_at(&path, own, None).unwrap();
    let log = directory.create_log(1, LogSettings::default()).unwrap();
    log.close().unwrap();
    let files = directory.checkpoints().unwrap();
    drop(directory);
    let (report, text) = look_at(&path);
    assert_eq!(report.findings.len(), 1, "{text}");
    assert_eq!(report.findings[0].file, "checkpoints/checkpoint-00000001");
    assert!(
        text.contains("restored from the file with digest 0"),
        "{text}"
    );
    let meta = CheckpointMeta::of(&cell, 1, 5, Vec::new());
    checkpoint::write(&files, &meta, cell.walk(100)).unwrap();
    assert_eq!(look_at(&path).0.findings, []);
    let mut other = cell.snapshot();
    other.apply(&entries()[0]);
    files.remove("checkpoint-00000001").unwrap();
    let meta = CheckpointMeta::of(&other, 1, 5, Vec::new());
    checkpoint::write(&files, &meta, other.walk(100)).unwrap();
    let (report, text) = look_at(&path);
    assert_eq!(report.findings.len(), 1, "{text}");
    assert!(text.contains("restored as the one with digest"), "{text}");
}
