//! What the tests of the storage share: a model of the log, and steps drawn by chance.

mod cells;
mod chapters;
mod checkpoint;
mod checkpoint_hostile;
mod checkpoint_pieces;
mod checkpoint_size;
mod crash;
mod damage;
mod data_directory;
mod disk;
mod hostile;
mod log;
mod reader;
mod room;
mod scrub;

use super::sim_disk::Chance;
use super::{LogIdentity, LogSettings, OpenError, SegmentedLog, SimFiles};
use cotter_replica::{ChapterLog, LogFault, Payload};
use cotter_types::CellId;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{Storage, StorageOp};
use std::fmt;

const IDENTITY: LogIdentity = LogIdentity {
    cell_id: CellId(7),
    chapter: 3,
    incarnation: 99,
};
/// Segments and cache so small that every test rotates and reads back.
const SMALL: LogSettings = LogSettings {
    segment_bytes: 512,
    cache_bytes: 128,
};

type SimLog = SegmentedLog<SimFiles>;

/// One operation, which unlike OmniPaxos' own can be copied.
#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<Vec<u8>>),
    /// Replaces the suffix that begins so many entries above the decided ones.
    AppendOnPrefix(usize, Vec<Vec<u8>>),
    Promise(u32),
    Accepted(u32),
    /// Decides so many more entries, if there are.
    Decide(usize),
}

/// What the log should hold.
#[derive(Clone, Default, PartialEq)]
struct Model {
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    entries: Vec<Vec<u8>>,
}

impl Model {
    /// Applies the operations and returns them as OmniPaxos would hand them to the log.
    fn apply(&mut self, operations: &[Operation]) -> Vec<StorageOp<Payload>> {
        let decided = self.decided;
        operations
            .iter()
            .map(|operation| match operation {
                Operation::Append(entries) => {
                    self.entries.extend(entries.iter().cloned());
                    StorageOp::AppendEntries(payloads(entries))
                }
                Operation::AppendOnPrefix(above, entries) => {
                    let from = (decided + above).min(self.entries.len());
                    self.entries.truncate(from);
                    self.entries.extend(entries.iter().cloned());
                    StorageOp::AppendOnPrefix(from, payloads(entries))
                }
                Operation::Promise(n) => {
                    self.promise = Some(ballot(*n));
                    StorageOp::SetPromise(ballot(*n))
                }
                Operation::Accepted(n) => {
                    self.accepted = Some(ballot(*n));
                    StorageOp::SetAcceptedRound(ballot(*n))
                }
                Operation::Decide(more) => {
                    self.decided = (self.decided + more).min(self.entries.len());
                    StorageOp::SetDecidedIndex(self.decided)
                }
            })
            .collect()
    }

    /// Reads everything that a log holds.
    fn of(log: &SimLog) -> Self {
        Self {
            promise: log.get_promise().unwrap(),
            accepted: log.get_accepted_round().unwrap(),
            decided: log.get_decided_idx().unwrap(),
            entries: bytes(&log.get_suffix(0).unwrap()),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<usize> = self.entries.iter().map(Vec::len).collect();
        write!(
            f,
            "{:?} {:?} {} {lengths:?}",
            self.promise, self.accepted, self.decided
        )
    }
}

fn payloads(entries: &[Vec<u8>]) -> Vec<Payload> {
    entries
        .iter()
        .map(|entry| Payload::from(entry.as_slice()))
        .collect()
}

fn bytes(entries: &[Payload]) -> Vec<Vec<u8>> {
    entries
        .iter()
        .map(|entry| entry.as_bytes().to_vec())
        .collect()
}

fn ballot(n: u32) -> Ballot {
    Ballot {
        config_id: 1,
        n,
        priority: n % 3,
        pid: u64::from(n % 5),
    }
}

fn entry(chance: &mut Chance) -> Vec<u8> {
    // Zeros too: an entry must not be taken for the unused end of a segment.
    let length = if chance.below(12) == 0 {
        700
    } else {
        chance.below(60)
    };
    let fill = if chance.below(4) == 0 {
        0
    } else {
        chance.next() as u8
    };
    vec![fill; length]
}

fn random_operations(chance: &mut Chance) -> Vec<Operation> {
    let entries = |chance: &mut Chance| (0..chance.below(4)).map(|_| entry(chance)).collect();
    (0..=chance.below(3))
        .map(|_| match chance.below(8) {
            0..=3 => Operation::Append(entries(chance)),
            4 => Operation::AppendOnPrefix(chance.below(6), entries(chance)),
            5 => Operation::Promise(chance.below(1_000) as u32),
            6 => Operation::Accepted(chance.below(1_000) as u32),
            _ => Operation::Decide(chance.below(4)),
        })
        .collect()
}

fn write(log: &mut SimLog, operations: Vec<StorageOp<Payload>>) -> Result<(), LogFault> {
    log.write_atomically(operations)
        .map_err(|error| *error.downcast::<LogFault>().unwrap())
}

fn open(files: &SimFiles) -> Result<SimLog, OpenError> {
    SegmentedLog::open(files.clone(), IDENTITY, SMALL)
}

fn create(files: &SimFiles) -> SimLog {
    SegmentedLog::create(files.clone(), IDENTITY, SMALL).unwrap()
}

/// Writes a log of several segments, synced, and returns what it holds.
fn sample(files: &SimFiles, writes: usize, seed: u64) -> Model {
    sample_history(files, writes, seed).pop().unwrap()
}

/// Writes the same log and returns all that it held, each state synced.
fn sample_history(files: &SimFiles, writes: usize, seed: u64) -> Vec<Model> {
    let mut log = create(files);
    let mut model = Model::default();
    let mut history = vec![model.clone()];
    let mut chance = Chance::new(seed);
    for _ in 0..writes {
        let operations = model.apply(&random_operations(&mut chance));
        write(&mut log, operations).unwrap();
        log.sync().unwrap();
        history.push(model.clone());
    }
    history
}
