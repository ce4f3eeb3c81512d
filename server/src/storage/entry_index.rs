//! What the log stands at, in memory: where each entry is on disk, and the recent ones themselves.

use super::operation::{Change, SegmentState};
use cotter_replica::Payload;
use crc32c::crc32c;
use omnipaxos::ballot_leader_election::Ballot;
use std::collections::VecDeque;

/// Where an entry is on disk, and what its bytes must sum up to when they are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) bytes: u32,
    pub(super) checksum: u32,
}

/// The log's state and the index of its entries.
#[derive(Debug)]
pub(super) struct EntryIndex {
    pub(super) promise: Option<Ballot>,
    pub(super) accepted_round: Option<Ballot>,
    pub(super) decided: usize,
    positions: Vec<Position>,
    /// The last entries, as many as fit.
    recent: VecDeque<Payload>,
    recent_bytes: usize,
    recent_bytes_max: usize,
}

impl EntryIndex {
    pub(super) fn new(recent_bytes_max: usize) -> Self {
        Self {
            promise: None,
            accepted_round: None,
            decided: 0,
            positions: Vec::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_bytes_max,
        }
    }

    pub(super) fn length(&self) -> usize {
        self.positions.len()
    }

    pub(super) fn state(&self) -> SegmentState {
        SegmentState {
            promise: self.promise,
            accepted_round: self.accepted_round,
            decided: self.decided,
            length: self.length(),
        }
    }

    pub(super) fn position(&self, index: usize) -> Position {
        self.positions[index]
    }

    /// Returns an entry that is still in memory.
    pub(super) fn recent(&self, index: usize) -> Option<&Payload> {
        let first = self.positions.len() - self.recent.len();
        self.recent.get(index.checked_sub(first)?)
    }

    /// Tells why `changes` must not be applied, if so. An entry known to be decided is never
    /// replaced by another; a late synchronisation may well write it once more.
    pub(super) fn refusal(&self, changes: &[Change]) -> Option<String> {
        let mut length = self.length();
        for change in changes {
            match change {
                Change::Append(entries) => length += entries.len(),
                Change::AppendOnPrefix(from, _) if *from > length => {
                    return Some(format!(
                        "entries from {from} on would leave a hole at {length}"
                    ));
                }
                Change::AppendOnPrefix(from, entries) if self.would_undo(*from, entries) => {
                    return Some(format!(
                        "entries from {from} on would replace decided ones below {}",
                        self.decided
                    ));
                }
                Change::AppendOnPrefix(from, entries) => length = from + entries.len(),
                Change::Promise(_) | Change::Decided(_) | Change::Accepted(_) => {}
            }
        }
        None
    }

    /// Tells whether writing `entries` from `from` on would change or drop a decided entry.
    fn would_undo(&self, from: usize, entries: &[Payload]) -> bool {
        let decided = self.decided.min(self.length());
        let kept = self.positions.get(from..decided).unwrap_or_default();
        entries.len() < kept.len()
            || kept.iter().zip(entries).any(|(position, payload)| {
                let bytes = payload.as_bytes();
                position.bytes as usize != bytes.len() || position.checksum != crc32c(bytes)
            })
    }

    /// Applies changes that were not refused; `starts` says where in the segment each entry is.
    pub(super) fn apply(&mut self, changes: Vec<Change>, segment: u32, starts: &[u32]) {
        let mut starts = starts.iter().copied();
        for change in changes {
            match change {
                Change::Append(entries) => self.extend(entries, segment, &mut starts),
                Change::AppendOnPrefix(from, entries) => {
                    self.truncate(from);
                    self.extend(entries, segment, &mut starts);
                }
                Change::Promise(ballot) => self.promise = Some(ballot),
                Change::Decided(index) => self.decided = index,
                Change::Accepted(ballot) => self.accepted_round = Some(ballot),
            }
        }
    }

    fn truncate(&mut self, length: usize) {
        while self.positions.len() > length {
            self.positions.pop();
            if let Some(payload) = self.recent.pop_back() {
                self.recent_bytes -= payload.as_bytes().len();
            }
        }
    }

    fn extend(
        &mut self,
        entries: Vec<Payload>,
        segment: u32,
        starts: &mut impl Iterator<Item = u32>,
    ) {
        for payload in entries {
            let offset = starts
                .next()
                .expect("each entry of a record has its place in it");
            let bytes = payload.as_bytes();
            self.positions.push(Position {
                segment,
                offset,
                bytes: bytes.len() as u32,
                checksum: crc32c(bytes),
            });
            self.recent_bytes += bytes.len();
            self.recent.push_back(payload);
            while self.recent_bytes > self.recent_bytes_max {
                let dropped = self.recent.pop_front().expect("what takes bytes is there");
                self.recent_bytes -= dropped.as_bytes().len();
            }
        }
    }
}
