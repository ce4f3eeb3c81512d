//! The calls that a simulated client makes of its session, and what becomes of them.
//!
//! Each call is answered exactly once, with what the committed log says of it, or it is given up; a
//! session never ends without a word about what was asked of it.

use super::guest::Process;
use super::judgement::Checkers;
use super::network::Parcel;
use super::program::Deed;
use super::world::{Event, World};
use crate::checkers::{Belief, Verdict, Violation};
use cotter_session::{Call, CallId, Input, Outcome, Patience, State};
use cotter_types::{Moment, Mutation, Path, Query, Response};

impl World {
    pub(super) fn completed(&mut self, place: usize, id: CallId, outcome: &Outcome) -> Verdict {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return Ok(());
        };
        let Some((called, call)) = process.calls.remove(&id) else {
            // Given up, and over all the same.
            return Ok(());
        };
        self.tally.completed += 1;
        match outcome {
            Outcome::TimedOut { .. } => self.tally.timed_out += 1,
            Outcome::Unreachable(_) => self.tally.failed_fast += 1,
            Outcome::Done { .. }
            | Outcome::Found(_)
            | Outcome::Refused(_)
            | Outcome::Unknown
            | Outcome::SessionEnded => {}
        }
        let session = process.session.id();
        if let (Some(session), Outcome::Done { number, response }) = (session, outcome) {
            let key = (session, *number);
            let asked = match &call {
                Call::Acquire(acquire) => Some(Mutation::Acquire(acquire.clone())),
                Call::Release { path, number } => Some(Mutation::Release {
                    path: path.clone(),
                    number: *number,
                }),
                Call::Mutate(mutation) => Some(mutation.clone()),
                Call::Close => Some(Mutation::Close),
                Call::Query(_) => None,
            };
            let Checkers {
                witness, history, ..
            } = &mut self.checkers;
            if let Some(mutation) = &asked {
                witness.told(history, key, mutation, response, (called, now));
            }
            let recorded = self.checkers.history.outcome(key.0, key.1);
            let right = asked.as_ref() == self.checkers.once.mutation(key)
                && recorded.is_some_and(|recorded| recorded.result.as_ref() == Ok(response));
            if !right && !matches!(call, Call::Close) {
                let violation = Violation::new(
                    "session",
                    format!(
                        "client {place} is told that {call:?} came to {outcome:?}; the cell says \
                         {recorded:?}"
                    ),
                );
                self.checkers.judged(Err(violation))?;
            }
            if let (Call::Acquire(acquire), Response::Acquired { sequencer, .. }) =
                (&call, response)
            {
                self.checkers.exclusion.begins(Belief {
                    guest: place,
                    session,
                    path: acquire.path.clone(),
                    number: *number,
                    sequencer: sequencer.clone(),
                });
            }
        }
        if let (Some(session), Call::Mutate(asked), Outcome::Refused(refusal)) =
            (session, &call, outcome)
        {
            let Checkers { once, history, .. } = &self.checkers;
            self.checkers
                .judged(once.refused(history, session, asked, refusal))?;
        }
        match (&call, outcome, session) {
            (Call::Query(query), Outcome::Found(response), _) => {
                self.checkers.witness.found(query, response, (called, now));
            }
            (call, Outcome::Refused(refusal), Some(session)) => {
                if let Some(path) = path_of(call) {
                    let interval = (called, now);
                    let witness = &mut self.checkers.witness;
                    witness.refused(session, path, refusal, interval);
                }
            }
            _ => {}
        }
        let guest = &mut self.guests[place];
        if guest.scripted {
            return self.script_completed(place, &call, outcome);
        }
        guest
            .program
            .completed(now, id, &call, outcome, &mut self.knowledge);
        Ok(())
    }

    /// The session is over: everything asked of it must have been answered.
    pub(super) fn end_session(&mut self, place: usize) -> Verdict {
        let now = self.now();
        let Some(process) = self.guests[place].process.take() else {
            return Ok(());
        };
        let state = process.session.state();
        self.note(|| format!("client {place}: session over, {state:?}"));
        if !process.calls.is_empty() {
            return Err(Violation::new(
                "session",
                format!(
                    "client {place}: the session ended ({state:?}) without a word about {:?}",
                    process.calls
                ),
            ));
        }
        if state == State::Failed {
            return Err(Violation::new(
                "session",
                format!("client {place}: {:?}", process.session.refusal()),
            ));
        }
        let guest = &mut self.guests[place];
        guest.life += 1;
        if let Some((_, key)) = process.connection {
            self.send(key, 0, Parcel::End);
        }
        let guest = &mut self.guests[place];
        guest.program.restart(now);
        if guest.scripted {
            if !guest.script.is_empty() && !self.checkers.is_spoilt() {
                return Err(Violation::new(
                    "liveness",
                    format!(
                        "the last client's session ended with {:?} to do",
                        guest.script
                    ),
                ));
            }
            guest.finished = true;
            return Ok(());
        }
        let pause = guest.random.around(500_000);
        self.agenda.after(pause, Event::GuestStart { guest: place });
        Ok(())
    }

    /// Lets the program do what it wants. Returns whether it did anything.
    pub(super) fn run_program(&mut self, place: usize) -> bool {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return false;
        };
        if guest.scripted {
            return self.run_script(place);
        }
        if process.closing {
            return false;
        }
        let reading = guest.clock.read(now);
        let deeds = guest.program.deeds(now, &self.knowledge);
        let any = !deeds.is_empty();
        for deed in deeds {
            match deed {
                Deed::Call(slot, call) => {
                    if process.closing {
                        continue;
                    }
                    let id = CallId(process.next_call);
                    let patience = guest.program.called(slot, id, &call, (now, reading));
                    let exclusion = &mut self.checkers.exclusion;
                    make_call(place, process, (now, reading, patience), call, exclusion);
                }
                Deed::Abandon(id) => {
                    process.calls.remove(&id);
                    self.tally.abandoned += 1;
                    process.session.handle(reading, Input::Abandon { id });
                }
            }
        }
        any
    }

    fn run_script(&mut self, place: usize) -> bool {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return false;
        };
        if !process.calls.is_empty() || process.closing {
            return false;
        }
        let Some(call) = guest.script.pop_front() else {
            return false;
        };
        let reading = guest.clock.read(now);
        let exclusion = &mut self.checkers.exclusion;
        make_call(
            place,
            process,
            (now, reading, Patience::FOR_EVER),
            call,
            exclusion,
        );
        true
    }

    fn script_completed(&mut self, place: usize, call: &Call, outcome: &Outcome) -> Verdict {
        match outcome {
            Outcome::Done {
                number,
                response: Response::Acquired { sequencer, .. },
            } => {
                let path = match call {
                    Call::Acquire(acquire) => acquire.path.clone(),
                    _ => sequencer.path.clone(),
                };
                self.guests[place].script.push_front(Call::Release {
                    path,
                    number: *number,
                });
                Ok(())
            }
            Outcome::Done { .. } | Outcome::Found(_) => Ok(()),
            _ if self.checkers.is_spoilt() => Ok(()),
            other => Err(Violation::new(
                "liveness",
                format!("in a healed world {call:?} came to {other:?}"),
            )),
        }
    }
}

/// Returns the one path that a call is about.
fn path_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Acquire(acquire) => Some(&acquire.path),
        Call::Mutate(Mutation::Create(create)) => Some(&create.path),
        Call::Mutate(Mutation::Set(set)) => Some(&set.path),
        Call::Mutate(Mutation::Delete(delete)) => Some(&delete.path),
        Call::Query(Query::Get { path } | Query::Stat { path } | Query::Explain { path }) => {
            Some(path)
        }
        Call::Mutate(_) | Call::Query(_) | Call::Release { .. } | Call::Close => None,
    }
}

fn make_call(
    place: usize,
    process: &mut Process,
    (now, reading, patience): (u64, Moment, Patience),
    call: Call,
    exclusion: &mut crate::checkers::Exclusion,
) {
    let id = CallId(process.next_call);
    process.next_call += 1;
    match &call {
        Call::Release { number, .. } => {
            if let Some(session) = process.session.id() {
                exclusion.ends(session, *number);
            }
        }
        Call::Close => {
            process.closing = true;
            exclusion.session_over(place);
        }
        Call::Acquire(_) | Call::Mutate(_) | Call::Query(_) => {}
    }
    process.calls.insert(id, (now, call.clone()));
    let input = Input::Call { id, call, patience };
    process.session.handle(reading, input);
}
