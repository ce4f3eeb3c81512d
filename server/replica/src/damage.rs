//! What is done about damage that was found on the own disk while the replica still has in its memory
//! what was there.
//!
//! The state that the present chapter begins from is written once more. All else is needed by a restart
//! only until the next checkpoint is durable, so the chapter is sealed early: by this replica if it is
//! the master, else the master is asked until the chapter has ended.

use crate::io::{Damaged, Happening, Output, PeerMessage};
use crate::log::ReplicaLog;
use crate::replica::Replica;
use cotter_types::Moment;

/// Election rounds between two requests.
const ASK_ROUNDS: u64 = 20;

impl<L: ReplicaLog> Replica<L> {
    /// Takes note of damage in the log of a chapter, or in the checkpoint that one begins from.
    pub(crate) fn damage_found(&mut self, chapter: u64, damaged: Damaged) {
        let present = self.cell.chapter().number;
        let goes = chapter > present || !self.chapters.is_kept(chapter);
        if self.consensus.is_absent() || goes {
            return;
        }
        if damaged == Damaged::Checkpoint && chapter == self.chapters.start.chapter().number {
            let cell = Box::new(self.chapters.start.snapshot());
            let source = self.digests.source();
            self.hold(Output::WriteCheckpoint { cell, source });
        } else if self.chapters.worn != Some(present) {
            self.chapters.worn = Some(present);
            self.log(Happening::SealsEarly { chapter: present });
        }
    }

    /// Asks the master, from time to time, to seal a chapter that is damaged here.
    pub(crate) fn ask_for_seal(&mut self, now: Moment) {
        let present = self.cell.chapter().number;
        let pause = self.config.timing.rounds(ASK_ROUNDS);
        let due = now.since(self.chapters.asked) >= pause;
        if self.chapters.worn != Some(present) || self.master.is_some() || !due {
            return;
        }
        self.chapters.asked = now;
        let master = self.cell.mastership().master;
        if let Some(to) = master.filter(|master| *master != self.config.id) {
            let message = PeerMessage::SealSoon { chapter: present };
            self.hold(Output::Peer { to, message });
        }
    }

    /// Seals the chapter early because another replica's disk has lost some of it.
    pub(crate) fn asked_for_seal(&mut self, chapter: u64) {
        let reigns = self.master.is_some();
        if reigns && chapter == self.cell.chapter().number && self.chapters.worn != Some(chapter) {
            self.chapters.worn = Some(chapter);
            self.log(Happening::SealsEarly { chapter });
        }
    }
}
