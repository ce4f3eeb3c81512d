//! What is done when the owner thread panics: find out whether a log entry killed the replica, write
//! that down, and abort the process.
//!
//! An entry that kills at one start kills at the next one too. The second death at one index makes
//! the data directory refuse to open, naming the index, instead of replaying the entry for ever
//! (DESIGN 3.9). Only a death while an entry was applied is recorded.

use crate::link::CHAPTER;
use crate::storage::{DataDirectory, LogSettings, OsFiles, SegmentedLog};
use cotter_cell::{Cell, Entry, Genesis};
use cotter_replica::Replica;
use cotter_types::Moment;
use omnipaxos::storage::Storage;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Ends the process after a panic of a running replica; `ending` tells whether a turn was being
/// ended, which is when entries are applied.
pub(super) fn while_running(
    directory: &DataDirectory<OsFiles>,
    replica: &Replica<SegmentedLog<OsFiles>>,
    ending: bool,
) -> ! {
    // The state may be torn, and even asking may panic.
    let applying = catch_unwind(AssertUnwindSafe(|| {
        let status = replica.status(Moment::NEVER);
        (ending && status.decided > status.applied).then_some(status.applied)
    }));
    record_and_abort(directory, applying.ok().flatten());
}

/// Ends the process after a panic of a replica that was being rebuilt from its log: applies the log
/// once more, entry by entry, to see which one it was.
pub(super) fn while_rebuilding(directory: &DataDirectory<OsFiles>, genesis: &Genesis) -> ! {
    let mut applying = None;
    let replayed = catch_unwind(AssertUnwindSafe(|| {
        replay(directory, genesis, &mut applying);
    }));
    let index = match replayed {
        Err(_) => applying,
        Ok(()) => None,
    };
    record_and_abort(directory, index);
}

fn replay(directory: &DataDirectory<OsFiles>, genesis: &Genesis, applying: &mut Option<u64>) {
    let Ok(log) = directory.open_log(CHAPTER, LogSettings::default()) else {
        return;
    };
    let mut cell = Cell::born(genesis);
    let decided = log.get_decided_idx().unwrap_or(0);
    for index in 0..decided {
        let entries = log.get_entries(index, index + 1).unwrap_or_default();
        for payload in entries {
            let Ok(entry) = postcard::from_bytes::<Entry>(payload.as_bytes()) else {
                return;
            };
            *applying = Some(index as u64);
            cell.apply(&entry);
            *applying = None;
        }
    }
}

fn record_and_abort(directory: &DataDirectory<OsFiles>, index: Option<u64>) -> ! {
    if let Some(index) = index {
        // The log's own writer may be stuck; what is said last goes straight to standard error.
        eprintln!("cotterd: applying entry {index} of chapter {CHAPTER} killed the replica");
        if let Err(error) = directory.deaths().record(CHAPTER, index) {
            eprintln!("cotterd: and that could not be written down: {error}");
        }
    }
    std::process::abort();
}
