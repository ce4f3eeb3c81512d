//! What the checkers get to see of a simulated replica: what it has applied, what it says, and what
//! it proposes.
//!
//! It is looked at where it arises, at the end of a turn, so that nothing which a replica says can
//! reach anybody unchecked.

use super::caller::Caller;
use super::judgement::Checkers;
use super::world::World;
use crate::checkers::{Masters, Step, Verdict, Violation};
use cotter_cell::{Batch, Command, Entry};
use cotter_replica::{CallId, Output};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Call, CallAnswer, CallResponse, Epoch, ServerFrame};

/// Steps between two looks at the invariants of the whole reference state.
const CHECK_INTERVAL: usize = 50;

impl World {
    /// Looks at entries that no replica had applied before.
    pub(super) fn observe(&mut self, steps: &[Step]) -> Verdict {
        let now = self.now();
        for step in steps {
            let Checkers {
                witness, history, ..
            } = &mut self.checkers;
            witness.observe(step, history, now);
            let verdict = self.observe_step(step);
            self.checkers.judged(verdict)?;
        }
        Ok(())
    }

    fn observe_step(&mut self, step: &Step) -> Verdict {
        let now = self.now();
        self.checkers.epochs.observe(step)?;
        self.checkers.once.observe(step)?;
        let once = &self.checkers.once;
        let sent = |key| once.mutation(key);
        self.checkers
            .nodes
            .observe(step, sent, &self.checkers.history)?;
        self.checkers.tokens.observe(step)?;
        self.checkers.locks.observe(step)?;
        self.checkers.calls.observe(step)?;
        let (guests, callers) = (&self.guests, &self.callers);
        self.checkers.truth.observe(step, |session| {
            guests
                .iter()
                .position(|guest| guest.session_id() == Some(session) && guest.believes(now))
                .or_else(|| {
                    let believes = |it: &Caller| it.believes_in(now) == Some(session);
                    let caller = callers.iter().position(believes);
                    caller.map(|caller| guests.len() + caller)
                })
        })?;
        if step.index.is_multiple_of(CHECK_INTERVAL) {
            self.check_reference()?;
        }
        self.note(|| {
            format!(
                "entry {} is {:?} -> {:?}",
                step.index, step.entry, step.applied
            )
        });
        Ok(())
    }

    /// Checks the invariants of the whole replicated state.
    pub(super) fn check_reference(&self) -> Verdict {
        self.checkers
            .history
            .cell()
            .check()
            .map_err(|broken| Violation::new("invariants", broken))
    }

    /// Compares what the replica has applied with what others have.
    pub(super) fn observe_host(&mut self, place: usize) -> Verdict {
        let name = self.host_name(place);
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        let applied = running.replica.cell().applied() as usize;
        if applied == running.observed {
            return Ok(());
        }
        let digest = running.replica.cell().digest();
        while let Some(running) = &mut self.hosts[place].running
            && running.observed < applied
        {
            let from = running.observed;
            let (chapter, begins, ends) = self.checkers.history.chapter_at(from);
            let to = ends.map_or(applied, |ends| ends.min(applied));
            let log = running.logs.get(chapter);
            let entries = log.map(|log| log.entries(from - begins, to - begins));
            let Some(entries) = entries.filter(|entries| !entries.is_empty()) else {
                let what = format!("{name} applied entry {from}, which is not in its log");
                return Err(Violation::new("agreement", what));
            };
            let (steps, taken) = self.checkers.history.applied(&name, from, entries)?;
            running.observed += taken;
            self.observe(&steps)?;
        }
        let digests = self.checkers.history.check_digest(&name, applied, digest);
        // It spreads to whoever fetches the state of the one that went wrong.
        let may_differ = place == 1 || self.profile.rebuilds;
        if digests.is_err() && mutation::active(Mutation::ApplyDiverges) && may_differ {
            // The replicas themselves must notice. What a master says before that is wrong, and no
            // comparison can prevent it.
            if self.hosts[place].is_master() {
                self.checkers.spoilt();
            }
            return Ok(());
        }
        self.checkers.judged(digests)
    }

    pub(super) fn check_statements(
        &mut self,
        place: usize,
        speaks_for: Option<Epoch>,
        outbox: &[Output],
    ) -> Verdict {
        for output in outbox {
            let verdict = self.check_statement(place, speaks_for, output);
            self.checkers.judged(verdict)?;
        }
        Ok(())
    }

    fn check_statement(
        &mut self,
        place: usize,
        speaks_for: Option<Epoch>,
        output: &Output,
    ) -> Verdict {
        let now = self.now();
        let name = self.host_name(place);
        if let Output::CallAnswer { call, answer } = output {
            self.check_call_answer(place, speaks_for, *call, answer)?;
        }
        let Output::Frame { stream, frame } = output else {
            return Ok(());
        };
        if Masters::is_statement(frame) {
            self.checkers.masters.spoke(&name, speaks_for, now, frame)?;
        }
        if let ServerFrame::Answer {
            session,
            number,
            answer,
        } = frame
        {
            let key = (*session, *number);
            self.checkers
                .once
                .answered(&self.checkers.history, key, answer)?;
        }
        let Some(running) = &mut self.hosts[place].running else {
            return Ok(());
        };
        let Some(stream) = running.streams.get_mut(stream) else {
            return Ok(());
        };
        if let Some(epoch) = speaks_for {
            self.checkers
                .condemned
                .observe(epoch, &stream.attached, frame)?;
        }
        match frame {
            ServerFrame::Attached { session, .. } | ServerFrame::Opened { session, .. } => {
                stream.attached.push(*session);
            }
            ServerFrame::Detached { session, condemned } => {
                stream.attached.retain(|attached| attached != session);
                if let Some(epoch) = speaks_for.filter(|_| *condemned) {
                    self.checkers.condemned.proposed(epoch, *session);
                }
            }
            ServerFrame::Ended { session, .. } => {
                stream.attached.retain(|attached| attached != session);
            }
            // Another reign: whoever was attached has to ask again.
            ServerFrame::Welcome(_) => stream.attached.clear(),
            _ => {}
        }
        Ok(())
    }

    fn check_call_answer(
        &mut self,
        place: usize,
        speaks_for: Option<Epoch>,
        call: CallId,
        answer: &CallAnswer,
    ) -> Verdict {
        let now = self.now();
        let name = self.host_name(place);
        let running = self.hosts[place].running.as_ref();
        let asked = running.and_then(|running| running.calls.get(&call));
        let Some((_, asked)) = asked else {
            return Ok(());
        };
        match asked {
            Call::Acquire { request, .. } | Call::Change { request, .. } => {
                self.checkers.calls.told(*request, answer)?;
            }
            Call::Release { lock } => {
                let history = &self.checkers.history;
                self.checkers.calls.released(history, *lock, answer)?;
            }
            Call::Renew { .. } | Call::Query(_) | Call::Administer(_) => {}
        }
        let promised = match (asked, answer) {
            (Call::Renew { lock, .. }, CallAnswer::Done(_)) => lock.session,
            (
                _,
                CallAnswer::Done(
                    CallResponse::Acquired { lock, .. } | CallResponse::Queued { lock, .. },
                ),
            ) => lock.session,
            _ => return Ok(()),
        };
        self.checkers
            .masters
            .spoke(&name, speaks_for, now, answer)?;
        match speaks_for {
            Some(epoch) => self.checkers.condemned.promises(epoch, promised, answer),
            None => Ok(()),
        }
    }

    /// Reads in the master's log which sessions it has proposed to end.
    pub(super) fn observe_proposals(&mut self, place: usize, speaks_for: Option<Epoch>) {
        let Some(running) = &mut self.hosts[place].running else {
            return;
        };
        let chapter = running.replica.cell().chapter().number;
        let Some(log) = running.logs.get(chapter) else {
            return;
        };
        let length = log.length();
        let from = match running.log_seen {
            (seen, from) if seen == chapter => from.min(length),
            _ => 0,
        };
        running.log_seen = (chapter, length);
        let Some(reigning) = speaks_for.filter(|_| length > from) else {
            return;
        };
        for payload in log.entries(from, length) {
            if let Ok(Entry::Batch(Batch {
                epoch, commands, ..
            })) = postcard::from_bytes(payload.as_bytes())
                && epoch == reigning
            {
                for command in commands {
                    if let Command::Expire { session } = command {
                        self.checkers.condemned.proposed(epoch, session);
                    }
                }
            }
        }
    }
}
