//! Mastership handed over on purpose (DESIGN 3.8).
//!
//! The master resigns, so that nobody has to wait out its lease, and asks its successor to lead the log,
//! so that nobody has to wait for an election. Nothing rests on that: if the word is lost, or the one
//! who was asked is gone, the members elect as ever.

use super::Obstacle;
use crate::io::{CallId, Output, PeerMessage};
use crate::log::ReplicaLog;
use crate::replica::Replica;
use cotter_types::{Administered, CallAnswer, Moment, ReplicaId};
use std::time::Duration;

/// Longest time for another replica to take mastership over.
const TRANSFER_WAIT: Duration = Duration::from_secs(5);
/// Election rounds for which a replica that handed its mastership over takes none.
const YIELD_ROUNDS: u64 = 40;

/// Mastership on its way to another replica.
#[derive(Debug)]
pub(super) struct Handover {
    call: CallId,
    until: Moment,
}

impl<L: ReplicaLog> Replica<L> {
    pub(super) fn hand_over(
        &mut self,
        now: Moment,
        call: CallId,
        to: Option<ReplicaId>,
    ) -> Result<(), Obstacle> {
        if self.membership.change.is_some() || self.membership.handover.is_some() {
            return Err(Obstacle::Busy);
        }
        let timing = &self.config.timing;
        let to = match to {
            Some(to) => {
                let votes = self.cell.chapter().voters.iter().any(|it| it.id == to);
                if !votes {
                    return Err(Obstacle::NoMember(to));
                }
                if to == self.config.id {
                    let epoch = self.cell.mastership().epoch;
                    let done = Administered::Master { replica: to, epoch };
                    self.tell_done(Some(call), done);
                    return Ok(());
                }
                let heard = self.watchdog.speaks(to, timing, now);
                heard.then_some(to).ok_or(Obstacle::NotHeard(to))?
            }
            None => {
                let last = self.watchdog.spoke_last(timing, now);
                last.ok_or(Obstacle::NobodyHeard)?
            }
        };
        let until = now.after(TRANSFER_WAIT);
        self.membership.handover = Some(Handover { call, until });
        self.candidate
            .yields(now.after(timing.rounds(YIELD_ROUNDS)));
        self.step_down("its mastership is transferred");
        self.hold(Output::Peer {
            to,
            message: PeerMessage::TakeLead,
        });
        Ok(())
    }

    /// Asks whoever was heard last to lead the log: this replica is about to stop.
    pub(crate) fn ask_for_successor(&mut self) {
        let timing = &self.config.timing;
        if let Some(to) = self.watchdog.spoke_last(timing, self.last_now) {
            self.hold(Output::Peer {
                to,
                message: PeerMessage::TakeLead,
            });
        }
    }

    /// Leads the log, since the master that did has laid its mastership down.
    pub(crate) fn asked_to_lead(&mut self) {
        if !self.candidate.is_retired() {
            self.consensus.try_become_leader();
        }
    }

    /// Answers for a handover: a replica has taken over.
    pub(crate) fn handed_over(&mut self, replica: ReplicaId) {
        if let Some(handover) = self.membership.handover.take() {
            let epoch = self.cell.mastership().epoch;
            let done = Administered::Master { replica, epoch };
            self.tell_done(Some(handover.call), done);
        }
    }

    /// Gives up waiting for a handover.
    pub(crate) fn watch_handover(&mut self, now: Moment) {
        let late = |handover: &mut Handover| now >= handover.until;
        if let Some(handover) = self.membership.handover.take_if(late) {
            self.tell_asker(Some(handover.call), CallAnswer::Interrupted);
        }
    }
}
