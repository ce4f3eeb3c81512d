//! What a checkpoint of the design size costs, for people to read: run it with
//! `cargo test --release -p cotter-server --lib checkpoint_of_the_design_size -- --ignored --nocapture`.

use super::cells::{Made, acquire, create, open};
use crate::storage::checkpoint::{self, CHUNK_BYTES, CheckpointMeta};
use crate::storage::{Files, OsFiles};
use cotter_types::{Contents, Lifetime};
use std::time::Instant;

const NODES: u64 = 1_000_000;
const SESSIONS: u64 = 100_000;
const BATCH: u64 = 1_000;

/// Bytes of memory that the process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = status.split_whitespace().nth(1).unwrap();
    pages.parse::<u64>().unwrap() * 4_096
}

fn large() -> Made {
    let mut made = Made::new(7);
    for first in (1..=SESSIONS).step_by(BATCH as usize) {
        made.batch(1, (first..first + BATCH).map(open).collect());
        let locks = first..first + BATCH;
        let acquires = locks.map(|nth| acquire(nth, 1, &format!("lock-{nth:06}")));
        made.batch(1, acquires.collect());
        made.entries.clear();
    }
    let rest = NODES - SESSIONS;
    for first in (0..rest).step_by(BATCH as usize) {
        let creates = (first..first + BATCH).map(|nth| {
            let path = format!("/ls/local/services/group-{:04}/node-{nth:07}", nth / BATCH);
            let contents = Contents::from(vec![nth as u8; 100]);
            create(
                1 + nth % SESSIONS,
                2 + nth / SESSIONS,
                &path,
                contents,
                Lifetime::Permanent,
            )
        });
        made.batch(1, creates.collect());
        made.entries.clear();
    }
    made
}

#[test]
#[ignore = "takes seconds and a gigabyte; it measures, and is run by hand in a release build"]
fn checkpoint_of_the_design_size() {
    let begun = resident();
    let cell = large().cell;
    let counts = cell.counts();
    assert!(counts.nodes >= NODES && counts.sessions == SESSIONS);
    println!("{counts:?}: {} MB in memory", (resident() - begun) >> 20);
    let folder = tempfile::tempdir().unwrap();
    let files = OsFiles::new(folder.path());
    let (before, started) = (resident(), Instant::now());
    let meta = CheckpointMeta::of(&cell, 2, 0, Vec::new());
    let written = checkpoint::write(&files, &meta, cell.walk(CHUNK_BYTES)).unwrap();
    println!(
        "written and read back in {:?}: {:?}, {} MB more in memory",
        started.elapsed(),
        written.size(),
        resident().saturating_sub(before) >> 20
    );
    let started = Instant::now();
    let again = checkpoint::verify(checkpoint::open(&files, 2).unwrap()).unwrap();
    println!("verified in {:?}", started.elapsed());
    assert_eq!(again, written);
    let digest = cell.digest();
    drop(cell);
    let (before, started) = (resident(), Instant::now());
    let (loaded, _) = checkpoint::load_cell(checkpoint::open(&files, 2).unwrap()).unwrap();
    println!(
        "loaded in {:?}, {} MB more in memory",
        started.elapsed(),
        resident().saturating_sub(before) >> 20
    );
    assert_eq!(loaded.digest(), digest);
    files.remove(&checkpoint::checkpoint_name(2)).unwrap();
}
