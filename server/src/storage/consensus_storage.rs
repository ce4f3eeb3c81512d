//! OmniPaxos' [`Storage`] on the segmented log.
//!
//! Each call is one record. What the profile never uses (trimming, snapshots, stop signs) is
//! refused unless it changes nothing.

use super::{Files, SegmentedLog};
use cotter_replica::Payload;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};

impl<F: Files> Storage<Payload> for SegmentedLog<F> {
    fn write_atomically(&mut self, operations: Vec<StorageOp<Payload>>) -> StorageResult<()> {
        Ok(self.stage(operations)?)
    }

    fn append_entry(&mut self, entry: Payload) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::AppendEntry(entry)])?)
    }

    fn append_entries(&mut self, entries: Vec<Payload>) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::AppendEntries(entries)])?)
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Payload>) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::AppendOnPrefix(from, entries)])?)
    }

    fn set_promise(&mut self, promise: Ballot) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetPromise(promise)])?)
    }

    fn set_decided_idx(&mut self, index: usize) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetDecidedIndex(index)])?)
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.index.decided)
    }

    fn set_accepted_round(&mut self, round: Ballot) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetAcceptedRound(round)])?)
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.index.accepted_round)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Payload>> {
        if from > to || to > self.index.length() {
            return Ok(Vec::new());
        }
        Ok(self.read(from, to)?)
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.index.length())
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Payload>> {
        self.get_entries(from, self.index.length())
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.index.promise)
    }

    fn set_stopsign(&mut self, stop_sign: Option<StopSign>) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetStopsign(stop_sign)])?)
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }

    fn trim(&mut self, index: usize) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::Trim(index)])?)
    }

    fn set_compacted_idx(&mut self, index: usize) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetCompactedIdx(index)])?)
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(0)
    }

    fn set_snapshot(&mut self, snapshot: Option<NoSnapshot>) -> StorageResult<()> {
        Ok(self.stage(vec![StorageOp::SetSnapshot(snapshot)])?)
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}
