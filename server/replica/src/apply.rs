//! From decided to applied to answered.
//!
//! Every replica applies; only the master whose epoch stands answers, and only after it applied
//! (I-MASTER-3).

use crate::io::{Fault, Output};
use crate::log::ReplicaLog;
use crate::replica::{Replica, decode};
use cotter_cell::{Applied, Batch, Command, Effect, Entry};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{
    Answer, EndReason, Moment, Nonce, Refusal, ReplicaId, RequestNumber, Response, ServerFrame,
    SessionId,
};
use std::time::Duration;

/// Entries read from the log at a time.
const CHUNK: u64 = 256;

impl<L: ReplicaLog> Replica<L> {
    /// Applies what has been decided since the last turn, up to the seal of the chapter: whatever
    /// follows that is void (I-CHAPTER-4).
    pub(crate) fn apply_decided(&mut self, now: Moment) -> Result<(), Fault> {
        let chapter = self.cell.chapter().number;
        let began_at = self.cell.chapter().begins_at;
        let decided = self.consensus.decided();
        let mut from = self.cell.applied() - began_at;
        while from < decided {
            let to = decided.min(from + CHUNK);
            for payload in self.consensus.read(from, to)? {
                let entry = decode(&payload, self.cell.applied())?;
                self.apply_entry(&entry, now)?;
                self.chapters.bytes += payload.as_bytes().len() as u64;
                if self.cell.chapter().number == chapter {
                    continue;
                }
                self.chapters.sealed = Some(began_at);
                if !mutation::active(Mutation::AppliedAfterSeal) {
                    return Ok(());
                }
            }
            from = to;
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: &Entry, now: Moment) -> Result<(), Fault> {
        if let Entry::Batch(batch) = entry {
            self.refuse_unknown(batch)?;
        }
        let spoilt = self.spoilt(entry);
        let entry = spoilt.as_ref().unwrap_or(entry);
        let applied = self.past.apply(&mut self.cell, entry);
        self.digest_if_due();
        if !applied.accepted {
            return Ok(());
        }
        match entry {
            Entry::TakeOver {
                replica, attempt, ..
            } => {
                if *replica == self.config.id && self.master.is_none() {
                    self.begin_reign(*attempt, now);
                } else if *replica != self.config.id {
                    self.superseded(*replica);
                }
                self.handed_over(*replica);
            }
            Entry::Renew { epoch, attempt } => {
                let timing = self.config.timing;
                if let Some(master) = self.master.as_mut().filter(|m| m.epoch == *epoch) {
                    master.renewed(*attempt, &timing);
                }
            }
            Entry::Batch(batch) => self.answer_batch(batch, applied, now),
            Entry::Resign { .. } | Entry::Seal { .. } => {}
        }
        self.change_stands();
        self.candidate.saw(self.cell.mastership().sequence, now);
        Ok(())
    }

    /// Returns what one replica applies instead of an entry: a planted bug. It happens in its first
    /// life only, as a flipped bit in memory does.
    fn spoilt(&self, entry: &Entry) -> Option<Entry> {
        let planted = mutation::active(Mutation::ApplyDiverges)
            && self.config.id == ReplicaId(2)
            && self.config.boot == 1
            && self.master.is_none();
        match entry {
            Entry::Batch(batch) if planted && self.cell.applied() >= 20 => {
                let mut batch = batch.clone();
                batch.commands.pop();
                Some(Entry::Batch(batch))
            }
            _ => None,
        }
    }

    /// Stops before a command that this version would only half understand.
    fn refuse_unknown(&self, batch: &Batch) -> Result<(), Fault> {
        let known = self.config.feature_level_max;
        match batch.feature_level_above(known) {
            None => Ok(()),
            Some(level) => Err(Fault::UnknownEntry {
                index: self.cell.applied(),
                why: format!("it raises the feature level to {level}; this version knows {known}"),
            }),
        }
    }

    /// Tells the clients of this master what a batch of its own did.
    fn answer_batch(&mut self, batch: &Batch, applied: Applied, now: Moment) {
        let Some(master) = self.master.as_mut().filter(|m| m.epoch == batch.epoch) else {
            return;
        };
        master.batch_applied(batch.sequence);
        for command in &batch.commands {
            if let Command::Mutate {
                session, number, ..
            } = command
                && let Some(stream) = master.in_flight.remove(&(*session, *number))
                && let Some(stream) = self.streams.get_mut(stream)
            {
                stream.in_flight = stream.in_flight.saturating_sub(1);
            }
        }
        for request in batch.commands.iter().filter_map(Command::call) {
            master.calls.applied(request);
        }
        for effect in applied.effects {
            self.tell(effect, now);
        }
    }

    fn tell(&mut self, effect: Effect, now: Moment) {
        match effect {
            Effect::Opened { nonce, result } => self.opened(nonce, result, now),
            Effect::Answered {
                session,
                number,
                result,
            } => self.answered(session, number, result),
            Effect::Queued { session, .. } => self.queued(session, now),
            Effect::Called {
                request,
                session,
                result,
            } => self.called(request, session, result),
            Effect::CallReleased { lock, result } => self.call_released(lock, &result),
            Effect::SessionEnded { session, reason } => self.session_ended(session, reason),
            Effect::Notice { session, notice } => {
                if let Some(stream) = self.stream_of_living(session) {
                    self.send(stream, ServerFrame::Notice { session, notice });
                }
            }
            Effect::MasterChanged { .. }
            | Effect::LeaseRenewed { .. }
            | Effect::ChapterBegan { .. } => {}
        }
    }

    fn opened(&mut self, nonce: Nonce, result: Result<(SessionId, u64), Refusal>, now: Moment) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        let stream = master.opening.remove(&nonce);
        match result {
            Ok((session, lease_ms)) => {
                if master.leases.end_of(session, &self.streams).is_none() {
                    master
                        .leases
                        .begin(session, Duration::from_millis(lease_ms), now);
                }
                if let Some(stream) = stream {
                    self.attach(session, stream, now);
                    self.send(
                        stream,
                        ServerFrame::Opened {
                            nonce,
                            session,
                            lease_ms,
                        },
                    );
                }
            }
            Err(refusal) => {
                if let Some(stream) = stream {
                    let answer = Answer::Refused(refusal);
                    self.send(stream, ServerFrame::OpenRefused { nonce, answer });
                }
            }
        }
    }

    /// Answers a mutation, unless its session is condemned: then nothing is said until its end is
    /// decided (I-LEASE-2).
    pub(crate) fn answered(
        &mut self,
        session: SessionId,
        number: RequestNumber,
        result: Result<Response, Refusal>,
    ) {
        if let Some(stream) = self.stream_of_living(session) {
            let answer = match result {
                Ok(response) => Answer::Done(response),
                Err(refusal) => Answer::Refused(refusal),
            };
            self.send(
                stream,
                ServerFrame::Answer {
                    session,
                    number,
                    answer,
                },
            );
        }
    }

    fn session_ended(&mut self, session: SessionId, reason: EndReason) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        match master.leases.end(session) {
            Some(stream) => {
                self.forget_attachment(session, stream);
                self.send(stream, ServerFrame::Ended { session, reason });
            }
            None => {
                // A condemned session has left its stream; whoever still has it in mind learns the
                // end when it tries to attach again.
            }
        }
    }

    fn stream_of_living(&self, session: SessionId) -> Option<crate::io::StreamId> {
        let master = self.master.as_ref()?;
        if master.leases.is_condemned(session) {
            return None;
        }
        master.leases.stream_of(session)
    }

    /// Answers a batch before it is applied: a planted bug.
    pub(crate) fn answer_early(&mut self, batch: &Batch) {
        for command in &batch.commands {
            if let Command::Mutate {
                session,
                number,
                mutation,
                ..
            } = command
                && matches!(mutation, cotter_types::Mutation::Release { .. })
                && let Some(stream) = self.stream_of_living(*session)
            {
                let answer = Answer::Done(Response::Done);
                let (session, number) = (*session, *number);
                self.hold(Output::Frame {
                    stream,
                    frame: ServerFrame::Answer {
                        session,
                        number,
                        answer,
                    },
                });
            }
        }
    }
}
