//! The operations of one atomic write, as bytes and back.
//!
//! Only what the profile of consensus uses can be written: there is no trimming, no snapshot and no
//! stop sign in this log; chapters take their place.

use cotter_replica::{LogFault, Payload};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::StorageOp;

const APPEND: u8 = 1;
const APPEND_ON_PREFIX: u8 = 2;
const PROMISE: u8 = 3;
const DECIDED: u8 = 4;
const ACCEPTED: u8 = 5;

/// Bytes of a written ballot.
const BALLOT_BYTES: usize = 20;

/// A change of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Append(Vec<Payload>),
    AppendOnPrefix(usize, Vec<Payload>),
    Promise(Ballot),
    Decided(usize),
    Accepted(Ballot),
}

impl Change {
    /// Tells whether messages may rest on the change, so that it must be durable before they leave.
    pub(super) fn owes_sync(&self) -> bool {
        !matches!(self, Self::Decided(_))
    }

    fn encoded_bytes(&self) -> usize {
        let entries_bytes = |entries: &[Payload]| {
            4 + entries
                .iter()
                .map(|entry| 4 + entry.as_bytes().len())
                .sum::<usize>()
        };
        1 + match self {
            Self::Append(entries) => entries_bytes(entries),
            Self::AppendOnPrefix(_, entries) => 8 + entries_bytes(entries),
            Self::Promise(_) | Self::Accepted(_) => BALLOT_BYTES,
            Self::Decided(_) => 8,
        }
    }
}

/// Turns operations into changes, leaving out those that change nothing.
///
/// # Errors
/// For operations outside the profile.
pub(super) fn changes(operations: Vec<StorageOp<Payload>>) -> Result<Vec<Change>, LogFault> {
    let mut changes = Vec::with_capacity(operations.len());
    for operation in operations {
        changes.push(match operation {
            StorageOp::AppendEntry(entry) => Change::Append(vec![entry]),
            StorageOp::AppendEntries(entries) if entries.is_empty() => continue,
            StorageOp::AppendEntries(entries) => Change::Append(entries),
            StorageOp::AppendOnPrefix(from, entries) => Change::AppendOnPrefix(from, entries),
            StorageOp::SetPromise(ballot) => Change::Promise(ballot),
            StorageOp::SetDecidedIndex(index) => Change::Decided(index),
            StorageOp::SetAcceptedRound(ballot) => Change::Accepted(ballot),
            StorageOp::SetCompactedIdx(0)
            | StorageOp::Trim(0)
            | StorageOp::SetStopsign(None)
            | StorageOp::SetSnapshot(None) => continue,
            StorageOp::SetCompactedIdx(_) | StorageOp::Trim(_) => {
                return Err(LogFault("this log is never trimmed".to_owned()));
            }
            StorageOp::SetStopsign(Some(_)) => {
                return Err(LogFault("this log holds no stop sign".to_owned()));
            }
            StorageOp::SetSnapshot(Some(_)) => {
                return Err(LogFault("this log holds no snapshot".to_owned()));
            }
        });
    }
    Ok(changes)
}

/// Returns how many bytes [`encode`] will write.
pub(super) fn encoded_bytes(changes: &[Change]) -> usize {
    changes.iter().map(Change::encoded_bytes).sum()
}

/// Writes the changes and returns where in `out` each entry's bytes begin.
pub(super) fn encode(changes: &[Change], out: &mut Vec<u8>) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut encode_entries = |entries: &[Payload], out: &mut Vec<u8>| {
        out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        for entry in entries {
            out.extend_from_slice(&(entry.as_bytes().len() as u32).to_le_bytes());
            starts.push(out.len());
            out.extend_from_slice(entry.as_bytes());
        }
    };
    for change in changes {
        match change {
            Change::Append(entries) => {
                out.push(APPEND);
                encode_entries(entries, out);
            }
            Change::AppendOnPrefix(from, entries) => {
                out.push(APPEND_ON_PREFIX);
                out.extend_from_slice(&(*from as u64).to_le_bytes());
                encode_entries(entries, out);
            }
            Change::Promise(ballot) => {
                out.push(PROMISE);
                encode_ballot(ballot, out);
            }
            Change::Decided(index) => {
                out.push(DECIDED);
                out.extend_from_slice(&(*index as u64).to_le_bytes());
            }
            Change::Accepted(ballot) => {
                out.push(ACCEPTED);
                encode_ballot(ballot, out);
            }
        }
    }
    starts
}

/// Reads what [`encode`] wrote: the changes, and where in `body` each entry's bytes begin.
pub(super) fn decode(body: &[u8]) -> Result<(Vec<Change>, Vec<usize>), &'static str> {
    let mut reader = Reader { bytes: body, at: 0 };
    let mut changes = Vec::new();
    let mut starts = Vec::new();
    while reader.at < body.len() {
        changes.push(match reader.byte()? {
            APPEND => Change::Append(reader.entries(&mut starts)?),
            APPEND_ON_PREFIX => {
                let from = reader.index()?;
                Change::AppendOnPrefix(from, reader.entries(&mut starts)?)
            }
            PROMISE => Change::Promise(reader.ballot()?),
            DECIDED => Change::Decided(reader.index()?),
            ACCEPTED => Change::Accepted(reader.ballot()?),
            _ => return Err("an operation is of an unknown kind"),
        });
    }
    Ok((changes, starts))
}

/// Writes the state that a segment begins with.
pub(super) fn encode_state(state: &SegmentState, out: &mut Vec<u8>) {
    for ballot in [&state.promise, &state.accepted_round] {
        out.push(u8::from(ballot.is_some()));
        encode_ballot(&ballot.unwrap_or_default(), out);
    }
    out.extend_from_slice(&(state.decided as u64).to_le_bytes());
    out.extend_from_slice(&(state.length as u64).to_le_bytes());
}

/// Bytes that [`encode_state`] writes.
pub(super) const STATE_BYTES: usize = 2 * (1 + BALLOT_BYTES) + 16;

/// Reads what [`encode_state`] wrote.
pub(super) fn decode_state(body: &[u8]) -> Result<SegmentState, &'static str> {
    let mut reader = Reader { bytes: body, at: 0 };
    let mut ballots = [None, None];
    for ballot in &mut ballots {
        let present = reader.byte()?;
        let value = reader.ballot()?;
        *ballot = match present {
            0 => None,
            1 => Some(value),
            _ => return Err("a state record is malformed"),
        };
    }
    let state = SegmentState {
        promise: ballots[0],
        accepted_round: ballots[1],
        decided: reader.index()?,
        length: reader.index()?,
    };
    if reader.at != body.len() {
        return Err("a state record is too long");
    }
    Ok(state)
}

/// What the log stands at where a segment begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SegmentState {
    pub(super) promise: Option<Ballot>,
    pub(super) accepted_round: Option<Ballot>,
    pub(super) decided: usize,
    pub(super) length: usize,
}

fn encode_ballot(ballot: &Ballot, out: &mut Vec<u8>) {
    out.extend_from_slice(&ballot.config_id.to_le_bytes());
    out.extend_from_slice(&ballot.n.to_le_bytes());
    out.extend_from_slice(&ballot.priority.to_le_bytes());
    out.extend_from_slice(&ballot.pid.to_le_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let end = self
            .at
            .checked_add(length)
            .ok_or("a length is out of bounds")?;
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or("a record ends within an operation")?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn index(&mut self) -> Result<usize, &'static str> {
        usize::try_from(self.u64()?).map_err(|_| "an index is out of bounds")
    }

    fn ballot(&mut self) -> Result<Ballot, &'static str> {
        Ok(Ballot {
            config_id: self.u32()?,
            n: self.u32()?,
            priority: self.u32()?,
            pid: self.u64()?,
        })
    }

    fn entries(&mut self, starts: &mut Vec<usize>) -> Result<Vec<Payload>, &'static str> {
        let count = self.u32()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let length = self.u32()? as usize;
            starts.push(self.at);
            entries.push(Payload::from(self.take(length)?));
        }
        Ok(entries)
    }
}
