//! A log in memory that forgets on a crash what was not synced.

use cotter_replica::{ChapterLog, LogFault, LogRoom, Payload, ReplicaLog};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Clone, Debug, Default)]
struct Content {
    entries: Vec<Payload>,
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
}

#[derive(Debug, Default)]
struct Disk {
    staged: Content,
    durable: Content,
    dirty: bool,
    scarce: bool,
}

/// The logs of all chapters, and the disk below them, which survives the replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryLogs(Rc<RefCell<BTreeMap<u64, MemoryLog>>>);

impl MemoryLogs {
    /// Loses what was not synced.
    pub(crate) fn crash(&self) {
        for log in self.0.borrow().values() {
            log.crash();
        }
    }

    /// Returns the log of the last chapter.
    pub(crate) fn last(&self) -> MemoryLog {
        let logs = self.0.borrow();
        let (_, log) = logs.last_key_value().expect("a replica that ran has a log");
        log.clone()
    }

    /// Removes the logs of chapters below this one.
    pub(crate) fn discard(&self, below: u64) {
        self.0.borrow_mut().retain(|chapter, _| *chapter >= below);
    }
}

impl ReplicaLog for MemoryLogs {
    type Chapter = MemoryLog;

    fn chapters(&self) -> Vec<u64> {
        self.0.borrow().keys().copied().collect()
    }
    fn begin(&mut self, chapter: u64) -> Result<MemoryLog, LogFault> {
        let log = MemoryLog::default();
        self.0.borrow_mut().insert(chapter, log.clone());
        Ok(log)
    }
    fn open(&mut self, chapter: u64) -> Result<MemoryLog, LogFault> {
        let log = self.0.borrow().get(&chapter).cloned();
        log.ok_or_else(|| LogFault("there is no such log".to_owned()))
    }
}

/// The log of one chapter.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryLog(Rc<RefCell<Disk>>);

impl MemoryLog {
    /// Loses what was not synced.
    pub(crate) fn crash(&self) {
        let mut disk = self.0.borrow_mut();
        disk.staged = disk.durable.clone();
        disk.dirty = false;
    }

    /// Returns the number of entries, synced or not.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().staged.entries.len()
    }

    /// Makes room scarce, or ample again.
    pub(crate) fn set_scarce(&self, scarce: bool) {
        self.0.borrow_mut().scarce = scarce;
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> StorageResult<()> {
        let mut disk = self.0.borrow_mut();
        change(&mut disk.staged);
        disk.dirty = true;
        Ok(())
    }
}

impl ChapterLog for MemoryLog {
    fn needs_sync(&self) -> bool {
        self.0.borrow().dirty
    }
    fn sync(&mut self) -> Result<(), LogFault> {
        let mut disk = self.0.borrow_mut();
        disk.durable = disk.staged.clone();
        disk.dirty = false;
        Ok(())
    }
    fn fault(&self) -> Option<LogFault> {
        None
    }

    fn room(&self) -> LogRoom {
        if self.0.borrow().scarce {
            LogRoom::Scarce
        } else {
            LogRoom::Ample
        }
    }
}

impl Storage<Payload> for MemoryLog {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Payload>>) -> StorageResult<()> {
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => self.append_entry(entry)?,
                StorageOp::AppendEntries(entries) => self.append_entries(entries)?,
                StorageOp::AppendOnPrefix(from, entries) => self.append_on_prefix(from, entries)?,
                StorageOp::SetPromise(promise) => self.set_promise(promise)?,
                StorageOp::SetDecidedIndex(decided) => self.set_decided_idx(decided)?,
                StorageOp::SetAcceptedRound(round) => self.set_accepted_round(round)?,
                StorageOp::SetCompactedIdx(_)
                | StorageOp::Trim(_)
                | StorageOp::SetStopsign(_)
                | StorageOp::SetSnapshot(_) => {}
            }
        }
        Ok(())
    }
    fn append_entry(&mut self, entry: Payload) -> StorageResult<()> {
        self.change(|content| content.entries.push(entry))
    }
    fn append_entries(&mut self, entries: Vec<Payload>) -> StorageResult<()> {
        self.change(|content| content.entries.extend(entries))
    }
    fn append_on_prefix(&mut self, from: usize, entries: Vec<Payload>) -> StorageResult<()> {
        self.change(|content| {
            content.entries.truncate(from);
            content.entries.extend(entries);
        })
    }
    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        self.change(|content| content.promise = Some(promise))
    }
    fn set_decided_idx(&mut self, decided: usize) -> StorageResult<()> {
        self.0.borrow_mut().staged.decided = decided;
        Ok(())
    }
    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.0.borrow().staged.decided)
    }
    fn set_accepted_round(&mut self, round: Ballot) -> StorageResult<()> {
        self.change(|content| content.accepted = Some(round))
    }
    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.borrow().staged.accepted)
    }
    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Payload>> {
        Ok(self
            .0
            .borrow()
            .staged
            .entries
            .get(from..to)
            .unwrap_or_default()
            .to_vec())
    }
    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.0.borrow().staged.entries.len())
    }
    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Payload>> {
        Ok(self
            .0
            .borrow()
            .staged
            .entries
            .get(from..)
            .unwrap_or_default()
            .to_vec())
    }
    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.borrow().staged.promise)
    }
    fn set_stopsign(&mut self, _: Option<StopSign>) -> StorageResult<()> {
        Ok(())
    }
    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }
    fn trim(&mut self, _: usize) -> StorageResult<()> {
        Err("trimmed, which the profile rules out".into())
    }
    fn set_compacted_idx(&mut self, _: usize) -> StorageResult<()> {
        Ok(())
    }
    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(0)
    }
    fn set_snapshot(&mut self, _: Option<NoSnapshot>) -> StorageResult<()> {
        Ok(())
    }
    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}
