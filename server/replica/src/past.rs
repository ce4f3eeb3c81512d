//! What happened, on its way to the history.
//!
//! Applying a batch tells what happened to which path. It is gathered here, with the revisions that it
//! covers, and leaves with the turn that applied it: after the flush, before the answers, so that who
//! got an answer finds what it did. Nothing rests on it. When too much is gathered, as while a log is
//! replayed at the start, the oldest goes, and the revisions of what stays say what is missing.

use crate::io::Output;
use crate::log::ReplicaLog;
use crate::replica::Replica;
use cotter_cell::{Applied, Cell, Entry};
use cotter_types::limits::HISTORY_QUEUED_MAX;
use cotter_types::{PastEvent, Revision};
use std::collections::VecDeque;

/// Most events that leave together, but for those of one log entry.
const PART_EVENTS_MAX: usize = 1_024;
/// Most revisions that leave together without an event.
const PART_REVISIONS_MAX: u64 = 1 << 20;

/// All that happened in some revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// They begin after this revision.
    pub after: Revision,
    /// They end with this one.
    pub to: Revision,
    /// The stamp of the first of them, by the master's wall clock, in milliseconds since 1970.
    pub since_wall_ms: u64,
    /// The stamp of the last.
    pub until_wall_ms: u64,
    /// What happened, in order.
    pub events: Vec<PastEvent>,
}

/// What was applied and has not left yet.
#[derive(Debug, Default)]
pub(crate) struct PastQueue {
    parts: VecDeque<Past>,
    events: usize,
}

impl PastQueue {
    /// Applies an entry, and gathers what it did.
    pub(crate) fn apply(&mut self, cell: &mut Cell, entry: &Entry) -> Applied {
        let before = cell.revision();
        let mut applied = cell.apply(entry);
        self.gather(entry, &mut applied, (before, cell.revision()));
        applied
    }

    /// Gathers what an entry did that led from one revision to another.
    fn gather(&mut self, entry: &Entry, applied: &mut Applied, (after, to): (Revision, Revision)) {
        let Entry::Batch(batch) = entry else {
            return;
        };
        let events = std::mem::take(&mut applied.past);
        if after == to {
            return;
        }
        self.events += events.len();
        let wall_ms = batch.stamp.wall_ms;
        match self.parts.back_mut() {
            Some(last) if last.takes(after, events.len()) => {
                last.to = to;
                last.until_wall_ms = wall_ms;
                last.events.extend(events);
            }
            _ => self.parts.push_back(Past {
                after,
                to,
                since_wall_ms: wall_ms,
                until_wall_ms: wall_ms,
                events,
            }),
        }
        while self.events > HISTORY_QUEUED_MAX && self.parts.len() > 1 {
            self.take();
        }
    }

    /// Takes the oldest part.
    pub(crate) fn take(&mut self) -> Option<Past> {
        let part = self.parts.pop_front()?;
        self.events -= part.events.len();
        Some(part)
    }
}

impl Past {
    /// Tells whether what follows after a revision, with so many events, may be added.
    fn takes(&self, after: Revision, events: usize) -> bool {
        self.to == after
            && self.events.len() + events <= PART_EVENTS_MAX
            && after.0 - self.after.0 <= PART_REVISIONS_MAX
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Lets out what was gathered. What it tells of is durable, since it was decided.
    pub(crate) fn let_past_out(&mut self) {
        while let Some(past) = self.past.take() {
            self.released.push_back(Output::Past(Box::new(past)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PART_EVENTS_MAX, Past, PastQueue};
    use cotter_cell::{Applied, Batch, Entry, Stamp};
    use cotter_types::limits::HISTORY_QUEUED_MAX;
    use cotter_types::{CellTime, Doer, Epoch, PastChange, PastEvent, Path, Revision};

    fn gather(queue: &mut PastQueue, after: u64, events: usize) {
        let entry = Entry::Batch(Batch {
            epoch: Epoch(1),
            sequence: 1,
            stamp: Stamp {
                time: CellTime(after),
                wall_ms: after,
            },
            commands: Vec::new(),
        });
        let event = PastEvent {
            path: Path::root(),
            revision: Revision(after + 1),
            index: 0,
            wall_ms: after,
            who: Doer::default(),
            what: PastChange::NodeDeleted,
        };
        let mut applied = Applied {
            past: vec![event; events],
            ..Applied::default()
        };
        let revisions = (Revision(after), Revision(after + 1));
        queue.gather(&entry, &mut applied, revisions);
    }

    fn all(queue: &mut PastQueue) -> Vec<Past> {
        std::iter::from_fn(|| queue.take()).collect()
    }

    #[test]
    fn what_follows_without_a_gap_leaves_together() {
        let mut queue = PastQueue::default();
        gather(&mut queue, 4, 1);
        gather(&mut queue, 5, 0);
        gather(&mut queue, 6, 2);
        // A state was fetched, say.
        gather(&mut queue, 20, 1);
        let parts = all(&mut queue);
        let spans: Vec<_> = parts
            .iter()
            .map(|part| (part.after.0, part.to.0, part.events.len()))
            .collect();
        assert_eq!(spans, [(4, 7, 3), (20, 21, 1)]);
        assert_eq!((parts[0].since_wall_ms, parts[0].until_wall_ms), (4, 6));
    }

    #[test]
    fn too_much_costs_the_oldest_and_says_so() {
        let mut queue = PastQueue::default();
        let count = 3 * HISTORY_QUEUED_MAX / PART_EVENTS_MAX;
        for after in 0..count as u64 {
            gather(&mut queue, after, PART_EVENTS_MAX);
        }
        let parts = all(&mut queue);
        let events: usize = parts.iter().map(|part| part.events.len()).sum();
        assert_eq!(events, HISTORY_QUEUED_MAX);
        assert!(parts[0].after.0 > 0);
        assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].after));
        assert_eq!(parts.last().unwrap().to.0, count as u64);
    }
}
