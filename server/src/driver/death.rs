//! What is done when the owner thread panics: find out whether a log entry killed the replica, write
//! that down, and abort the process.
//!
//! An entry that kills at one start kills at the next one too. The second death at one index makes
//! the data directory refuse to open, naming the index, instead of replaying the entry for ever
//! (DESIGN 3.9). Only a death while an entry was applied is recorded, and none of which the disk is the
//! cause: OmniPaxos panics when a write fails, on a full disk too, and the next start may find room.

use super::keeper;
use crate::storage::{ChapterLogs, DataDirectory, LogSettings, OsFiles};
use cotter_cell::{Cell, Entry};
use cotter_replica::{LogFault, Replica, ReplicaConfig, ReplicaLog};
use cotter_types::Moment;
use omnipaxos::storage::Storage;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Ends the process after a panic of a running replica, unless its log had failed: then that is why.
/// `ending` tells whether a turn was being ended, which is when entries are applied.
pub(super) fn while_running(
    directory: &DataDirectory<OsFiles>,
    replica: &Replica<ChapterLogs<OsFiles>>,
    ending: bool,
) -> LogFault {
    let failed = catch_unwind(AssertUnwindSafe(|| replica.log_fault()));
    if let Ok(Some(fault)) = failed {
        return fault;
    }
    // The state may be torn, and even asking may panic.
    let applying = catch_unwind(AssertUnwindSafe(|| {
        let status = replica.status(Moment::NEVER);
        let chapter = replica.cell().chapter().number;
        (ending && status.decided > status.applied).then_some((chapter, status.applied))
    }));
    record_and_abort(directory, applying.ok().flatten());
}

/// Ends the process after a panic of a replica that was being rebuilt from its log: applies the log
/// once more, entry by entry, to see which one it was.
pub(super) fn while_rebuilding(directory: &DataDirectory<OsFiles>, config: &ReplicaConfig) -> ! {
    let mut applying = None;
    let replayed = catch_unwind(AssertUnwindSafe(|| {
        replay(directory, config, &mut applying);
    }));
    let place = match replayed {
        Err(_) => applying,
        Ok(()) => None,
    };
    record_and_abort(directory, place);
}

fn replay(
    directory: &DataDirectory<OsFiles>,
    config: &ReplicaConfig,
    applying: &mut Option<(u64, u64)>,
) {
    let start = keeper::find(directory.files(), config.id, config.rebuild).map(|found| found.start);
    let mut cell = start
        .ok()
        .flatten()
        .unwrap_or_else(|| Cell::born(&config.genesis));
    let Ok(mut logs) = directory.logs(LogSettings::default()) else {
        return;
    };
    let mut replayed = 0;
    while replayed < cell.chapter().number {
        replayed = cell.chapter().number;
        let Ok(log) = logs.open(replayed) else {
            return;
        };
        let decided = log.get_decided_idx().unwrap_or(0);
        for index in 0..decided {
            for payload in log.get_entries(index, index + 1).unwrap_or_default() {
                let Ok(entry) = postcard::from_bytes::<Entry>(payload.as_bytes()) else {
                    return;
                };
                *applying = Some((replayed, cell.applied()));
                cell.apply(&entry);
                *applying = None;
            }
            if cell.chapter().number != replayed {
                break;
            }
        }
    }
}

fn record_and_abort(directory: &DataDirectory<OsFiles>, place: Option<(u64, u64)>) -> ! {
    if let Some((chapter, index)) = place {
        // The log's own writer may be stuck; what is said last goes straight to standard error.
        eprintln!("cotterd: applying entry {index} of chapter {chapter} killed the replica");
        if let Err(error) = directory.deaths().record(chapter, index) {
            eprintln!("cotterd: and that could not be written down: {error}");
        }
    }
    std::process::abort();
}
