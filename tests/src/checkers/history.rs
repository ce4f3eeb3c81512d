//! Agreement: all replicas apply the same entries in the same order and come to the same state.
//!
//! The committed log is the union of what the replicas have applied. It is applied once more to a
//! reference cell, whose past states are kept for as long as a query may still be answered from
//! them.

use super::{Verdict, Violation};
use cotter_cell::{Applied, Cell, Effect, Entry, Genesis};
use cotter_replica::Payload;
use cotter_types::{Refusal, RequestNumber, Response, SessionId};
use std::collections::{BTreeMap, VecDeque};

/// One committed entry, as it was first applied anywhere.
#[derive(Debug)]
pub struct Step {
    /// Its place in the log, from 0.
    pub index: usize,
    /// The entry.
    pub entry: Entry,
    /// What it did to the reference cell.
    pub applied: Applied,
}

/// The outcome of a mutation, and where in the committed log it took effect.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Rises with every outcome of the whole history.
    pub ordinal: u64,
    /// The entry's place in the log.
    pub index: usize,
    /// What it came to.
    pub result: Result<Response, Refusal>,
}

/// The committed log and what it means.
pub struct History {
    entries: Vec<Payload>,
    digests: Vec<u128>,
    /// Where each chapter begins, from the first on.
    chapters: Vec<usize>,
    reference: Cell,
    /// Past states; the first is the state after `states_from` entries.
    states: VecDeque<(Cell, u64)>,
    states_from: usize,
    outcomes: BTreeMap<(SessionId, RequestNumber), Recorded>,
    ordinal: u64,
}

impl History {
    /// Begins with the state that the cell is born with.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let reference = Cell::born(genesis);
        Self {
            entries: Vec::new(),
            digests: vec![reference.digest()],
            chapters: vec![0],
            states: VecDeque::from([(reference.snapshot(), 0)]),
            states_from: 0,
            reference,
            outcomes: BTreeMap::new(),
            ordinal: 0,
        }
    }

    /// Returns the number of committed entries.
    #[must_use]
    pub fn length(&self) -> usize {
        self.entries.len()
    }

    /// Returns a committed entry.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<&Payload> {
        self.entries.get(index)
    }

    /// Returns the state after the last committed entry.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        &self.reference
    }

    /// Returns the state after `length` entries with the ordinal of its last outcome, if it is
    /// still kept.
    #[must_use]
    pub fn state(&self, length: usize) -> Option<(&Cell, u64)> {
        let place = length.checked_sub(self.states_from)?;
        self.states
            .get(place)
            .map(|(cell, ordinal)| (cell, *ordinal))
    }

    /// Forgets states of fewer than `length` entries, but never the newest.
    pub fn forget_before(&mut self, length: usize) {
        while self.states_from < length && self.states.len() > 1 {
            self.states.pop_front();
            self.states_from += 1;
        }
    }

    /// Returns the outcome of a mutation, if it is committed.
    #[must_use]
    pub fn outcome(&self, session: SessionId, number: RequestNumber) -> Option<&Recorded> {
        self.outcomes.get(&(session, number))
    }

    /// Returns the chapter that an entry stands in, where that begins, and where it ends, if it does.
    #[must_use]
    pub fn chapter_at(&self, index: usize) -> (u64, usize, Option<usize>) {
        let later = self.chapters.partition_point(|begins| *begins <= index);
        let begins = self.chapters[later - 1];
        (later as u64, begins, self.chapters.get(later).copied())
    }

    /// Takes note that a replica has applied `entries` from place `from` on, up to the first seal
    /// among them that nobody knew. Returns the steps that no replica had applied before, and how many
    /// entries were taken.
    ///
    /// # Errors
    /// The replica has applied something else than another before it.
    pub fn applied(
        &mut self,
        who: &str,
        from: usize,
        entries: Vec<Payload>,
    ) -> Result<(Vec<Step>, usize), Violation> {
        let mut steps = Vec::new();
        let mut taken = 0;
        for (offset, payload) in entries.into_iter().enumerate() {
            let index = from + offset;
            taken += 1;
            match self.entries.get(index) {
                Some(known) if *known == payload => {}
                Some(known) => {
                    return Err(Violation::new(
                        "agreement",
                        format!(
                            "{who} applied {:?} as entry {index}, where another applied {:?}",
                            decode(&payload, index)?,
                            decode(known, index)?
                        ),
                    ));
                }
                None => {
                    let chapters = self.chapters.len();
                    steps.push(self.extend(index, payload)?);
                    if self.chapters.len() > chapters {
                        break;
                    }
                }
            }
        }
        Ok((steps, taken))
    }

    /// Compares a replica's digest after `length` entries with the one that belongs there.
    ///
    /// # Errors
    /// They differ.
    pub fn check_digest(&self, who: &str, length: usize, digest: u128) -> Verdict {
        match self.digests.get(length) {
            Some(expected) if *expected == digest => Ok(()),
            Some(expected) => Err(Violation::new(
                "digests",
                format!("{who} has {digest:032x} after {length} entries, not {expected:032x}"),
            )),
            None => Err(Violation::new(
                "digests",
                format!("{who} applied {length} entries, of which only some are known"),
            )),
        }
    }

    fn extend(&mut self, index: usize, payload: Payload) -> Result<Step, Violation> {
        let entry = decode(&payload, index)?;
        let applied = self.reference.apply(&entry);
        self.entries.push(payload);
        self.digests.push(self.reference.digest());
        if self.reference.chapter().number > self.chapters.len() as u64 {
            self.chapters.push(index + 1);
        }
        for effect in &applied.effects {
            if let Effect::Answered {
                session,
                number,
                result,
            } = effect
            {
                self.ordinal += 1;
                let ordinal = self.ordinal;
                self.outcomes
                    .entry((*session, *number))
                    .or_insert_with(|| Recorded {
                        ordinal,
                        index,
                        result: result.clone(),
                    });
            }
        }
        self.states
            .push_back((self.reference.snapshot(), self.ordinal));
        Ok(Step {
            index,
            entry,
            applied,
        })
    }
}

fn decode(payload: &Payload, index: usize) -> Result<Entry, Violation> {
    postcard::from_bytes(payload.as_bytes()).map_err(|error| {
        Violation::new(
            "agreement",
            format!("entry {index} cannot be read: {error}"),
        )
    })
}
