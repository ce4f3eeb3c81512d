//! One log, seen by consensus, which writes to it, and by the replica, which flushes it.
//!
//! OmniPaxos owns its storage and gives no way back to it, so both hold a counted reference. They
//! live on one thread and take turns; a borrow never outlives a call.

use crate::log::{ChapterLog, LogFault, LogRoom, Payload};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use std::cell::RefCell;
use std::rc::Rc;

/// A counted reference to the replica's log.
pub(crate) struct SharedLog<L>(Rc<RefCell<L>>);

impl<L> Clone for SharedLog<L> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<L: ChapterLog> SharedLog<L> {
    pub(crate) fn new(log: L) -> Self {
        Self(Rc::new(RefCell::new(log)))
    }

    pub(crate) fn needs_sync(&self) -> bool {
        self.0.borrow().needs_sync()
    }

    pub(crate) fn sync(&self) -> Result<(), LogFault> {
        self.0.borrow_mut().sync()
    }

    pub(crate) fn room(&self) -> LogRoom {
        self.0.borrow().room()
    }

    pub(crate) fn fault(&self) -> Option<LogFault> {
        self.0.borrow().fault()
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.0
            .borrow()
            .get_log_len()
            .expect("I-STORE-4: a log that fails stops the replica")
    }

    /// Returns the decided index.
    pub(crate) fn decided(&self) -> usize {
        self.0
            .borrow()
            .get_decided_idx()
            .expect("I-STORE-4: a log that fails stops the replica")
    }

    /// Reads entries.
    pub(crate) fn entries(&self, from: usize, to: usize) -> Result<Vec<Payload>, LogFault> {
        self.0
            .borrow()
            .get_entries(from, to)
            .map_err(|error| LogFault(error.to_string()))
    }

    /// Replaces what stands from `from` on by entries that are decided, all in one record.
    pub(crate) fn adopt(&self, from: usize, entries: Vec<Payload>) {
        let end = from + entries.len();
        let mut operations = vec![StorageOp::AppendOnPrefix(from, entries)];
        if self.decided() < end {
            operations.push(StorageOp::SetDecidedIndex(end));
        }
        self.0
            .borrow_mut()
            .write_atomically(operations)
            .expect("I-STORE-4: a log that fails stops the replica");
    }

    /// Marks everything as decided: for a cell of one, after a flush.
    pub(crate) fn decide_all(&self) -> Result<(), LogFault> {
        let len = self.len();
        if self.decided() < len {
            self.0
                .borrow_mut()
                .set_decided_idx(len)
                .map_err(|error| LogFault(error.to_string()))?;
        }
        Ok(())
    }
}

impl<L: ChapterLog> Storage<Payload> for SharedLog<L> {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Payload>>) -> StorageResult<()> {
        self.0.borrow_mut().write_atomically(ops)
    }
    fn append_entry(&mut self, entry: Payload) -> StorageResult<()> {
        self.0.borrow_mut().append_entry(entry)
    }
    fn append_entries(&mut self, entries: Vec<Payload>) -> StorageResult<()> {
        self.0.borrow_mut().append_entries(entries)
    }
    fn append_on_prefix(&mut self, from: usize, entries: Vec<Payload>) -> StorageResult<()> {
        self.0.borrow_mut().append_on_prefix(from, entries)
    }
    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        self.0.borrow_mut().set_promise(promise)
    }
    fn set_decided_idx(&mut self, decided: usize) -> StorageResult<()> {
        self.0.borrow_mut().set_decided_idx(decided)
    }
    fn get_decided_idx(&self) -> StorageResult<usize> {
        self.0.borrow().get_decided_idx()
    }
    fn set_accepted_round(&mut self, round: Ballot) -> StorageResult<()> {
        self.0.borrow_mut().set_accepted_round(round)
    }
    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        self.0.borrow().get_accepted_round()
    }
    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Payload>> {
        self.0.borrow().get_entries(from, to)
    }
    fn get_log_len(&self) -> StorageResult<usize> {
        self.0.borrow().get_log_len()
    }
    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Payload>> {
        self.0.borrow().get_suffix(from)
    }
    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        self.0.borrow().get_promise()
    }
    fn set_stopsign(&mut self, stopsign: Option<StopSign>) -> StorageResult<()> {
        self.0.borrow_mut().set_stopsign(stopsign)
    }
    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        self.0.borrow().get_stopsign()
    }
    fn trim(&mut self, index: usize) -> StorageResult<()> {
        self.0.borrow_mut().trim(index)
    }
    fn set_compacted_idx(&mut self, index: usize) -> StorageResult<()> {
        self.0.borrow_mut().set_compacted_idx(index)
    }
    fn get_compacted_idx(&self) -> StorageResult<usize> {
        self.0.borrow().get_compacted_idx()
    }
    fn set_snapshot(&mut self, snapshot: Option<NoSnapshot>) -> StorageResult<()> {
        self.0.borrow_mut().set_snapshot(snapshot)
    }
    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        self.0.borrow().get_snapshot()
    }
}
