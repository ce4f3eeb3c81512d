//! Mastership in the log: epochs rise by accepted take-overs alone, a take-over counts only if no
//! renewal came after what its candidate had seen, and nothing of a past epoch takes effect.

use super::{Step, Verdict, Violation};
use cotter_cell::Entry;
use cotter_types::{Epoch, ReplicaId};

/// The mastership as the committed log says it, kept by the plainest means.
#[derive(Debug, Default)]
pub struct Epochs {
    epoch: Epoch,
    master: Option<ReplicaId>,
    /// How many take-overs, renewals and resignations counted so far.
    sequence: u64,
    attempt: u64,
    batch: u64,
    /// Chapters that have ended.
    seals: u64,
}

impl Epochs {
    /// Looks at one entry.
    ///
    /// # Errors
    /// It took effect against the rules, or did not although it should have.
    pub fn observe(&mut self, step: &Step) -> Verdict {
        let expected = match &step.entry {
            Entry::Batch(batch) => {
                let counts = self.master.is_some()
                    && batch.epoch == self.epoch
                    && batch.sequence > self.batch;
                if counts {
                    self.batch = batch.sequence;
                }
                counts
            }
            Entry::Renew { epoch, attempt } => {
                let counts =
                    self.master.is_some() && *epoch == self.epoch && *attempt > self.attempt;
                if counts {
                    self.attempt = *attempt;
                    self.sequence += 1;
                }
                counts
            }
            Entry::TakeOver {
                replica, last_seen, ..
            } => {
                let counts = *last_seen == self.sequence;
                if counts {
                    self.sequence += 1;
                    self.epoch = self.epoch.next();
                    self.master = Some(*replica);
                    self.attempt = 0;
                    self.batch = 0;
                }
                counts
            }
            Entry::Resign { epoch } => {
                let counts = self.master.is_some() && *epoch == self.epoch;
                if counts {
                    self.master = None;
                    self.sequence += 1;
                }
                counts
            }
            Entry::Seal {
                epoch,
                next_chapter,
                ..
            } => {
                let counts = self.master.is_some()
                    && *epoch == self.epoch
                    && *next_chapter == self.seals + 2;
                if counts {
                    self.seals += 1;
                }
                counts
            }
        };
        if step.applied.accepted == expected {
            return Ok(());
        }
        Err(Violation::new(
            "epochs",
            format!(
                "entry {} {:?} {} in epoch {} of {:?} (sequence {})",
                step.index,
                step.entry,
                if expected {
                    "should have counted and did not"
                } else {
                    "took effect and should not have"
                },
                self.epoch,
                self.master,
                self.sequence,
            ),
        ))
    }
}
