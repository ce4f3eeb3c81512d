//! A session's numbered request on its way to its outcome.
//!
//! The first time that a number arrives it is executed, and its outcome is recorded; every later
//! time it gets the recorded outcome. What the client has acknowledged is forgotten, and its numbers
//! are refused.
//!
//! When a session has not acknowledged [`limits::OUTCOMES_PER_SESSION_MAX`] outcomes it gets no more
//! room, save that requests which free something are taken until twice as many. A request refused for
//! that reason leaves no outcome; its number counts as acknowledged, so that it can never be executed
//! by a late copy.

use crate::apply::Application;
use crate::cell::Cell;
use crate::effect::{Effect, Recorded};
use crate::state::Outcome;
use crate::tree::limit;
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    Acknowledged, EndReason, Mutation, Refusal, RequestNumber, Response, SessionId, limits,
};

/// How a request is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// With this outcome, now.
    Now(Result<Response, Refusal>),
    /// Later: it waits in a queue, and its outcome says so.
    Queued,
}

/// Most outcomes kept for a session whatever they are. A cancel may record two.
const OUTCOMES_HARD_MAX: u64 = 2 * limits::OUTCOMES_PER_SESSION_MAX;

impl Application<'_> {
    pub(crate) fn mutate(
        &mut self,
        session: SessionId,
        number: RequestNumber,
        acknowledged: &Acknowledged,
        mutation: &Mutation,
    ) {
        if self.cell.is_of_a_call(session) {
            // Only its call may end it.
            return self.answer(session, number, Err(Refusal::NoSession { session }));
        }
        let acknowledgement = self.acknowledge(session, acknowledged);
        let known = match self.cell.outcome(session, number) {
            Recorded::NoSession => Some(Err(Refusal::NoSession { session })),
            Recorded::Waiting => return self.tell(Effect::Queued { session, number }),
            Recorded::Done(_) if mutation::active(Bug::DedupeSkipped) => None,
            Recorded::Done(result) => Some(result),
            Recorded::Acknowledged if number.0 == 0 => Some(Err(Refusal::Invalid {
                what: "request numbers begin with 1".to_owned(),
            })),
            Recorded::Acknowledged => Some(Err(Refusal::Acknowledged { number })),
            Recorded::Unseen => None,
        };
        if let Some(result) = known {
            return self.answer(session, number, result);
        }
        if let Err(refusal) = self.check_room(session, mutation) {
            self.cell.close_number(session, number);
            return self.answer(session, number, Err(refusal));
        }
        let reply = match acknowledgement {
            Err(refusal) => Reply::Now(Err(refusal)),
            Ok(()) => self.execute(session, number, mutation),
        };
        match reply {
            Reply::Queued => self.tell(Effect::Queued { session, number }),
            Reply::Now(result) => {
                let closes = result.is_ok() && *mutation == Mutation::Close;
                self.record(session, number, result.clone());
                self.answer(session, number, result);
                if closes {
                    self.end_session(session, EndReason::Closed);
                }
            }
        }
    }

    fn execute(&mut self, session: SessionId, number: RequestNumber, mutation: &Mutation) -> Reply {
        Reply::Now(match mutation {
            Mutation::Create(create) => self.create(session, create),
            Mutation::Set(set) => self.set(set),
            Mutation::Delete(delete) => self.delete(delete),
            Mutation::Unhold { path } => self.unhold(session, path),
            Mutation::Acquire(acquire) => return self.acquire(session, number, acquire),
            Mutation::Release { path, number } => self.release(session, path, *number),
            Mutation::Cancel { number: target } => self.cancel(session, number, *target),
            Mutation::Close => Ok(Response::Done),
            Mutation::CreateSequential(create) => self.create_sequential(session, create),
            Mutation::Transaction(transaction) => self.transaction(session, transaction),
        })
    }

    fn answer(
        &mut self,
        session: SessionId,
        number: RequestNumber,
        result: Result<Response, Refusal>,
    ) {
        self.tell(Effect::Answered {
            session,
            number,
            result,
        });
    }

    /// Keeps an outcome until the client acknowledges it.
    pub(crate) fn record(
        &mut self,
        session: SessionId,
        number: RequestNumber,
        result: Result<Response, Refusal>,
    ) {
        let key = (session, number);
        let acknowledged = self
            .cell
            .ledgers
            .get(&session)
            .is_none_or(|ledger| ledger.has_acknowledged(number));
        if acknowledged {
            return;
        }
        let new = !self.cell.outcomes.contains(&key);
        self.cell.outcomes.insert(key, Outcome::Done(result));
        self.cell
            .ledgers
            .update(&session, |ledger| ledger.outcomes += u64::from(new));
    }

    /// Refuses a request whose outcome would be too many.
    fn check_room(&self, session: SessionId, mutation: &Mutation) -> Result<(), Refusal> {
        let kept = self
            .cell
            .ledgers
            .get(&session)
            .map_or(0, |row| row.outcomes);
        let most = match mutation {
            Mutation::Close => return Ok(()),
            Mutation::Delete(_)
            | Mutation::Unhold { .. }
            | Mutation::Release { .. }
            | Mutation::Cancel { .. } => OUTCOMES_HARD_MAX - 1,
            Mutation::Transaction(transaction) if transaction.only_frees() => OUTCOMES_HARD_MAX - 1,
            Mutation::Create(_)
            | Mutation::CreateSequential(_)
            | Mutation::Set(_)
            | Mutation::Acquire(_)
            | Mutation::Transaction(_) => limits::OUTCOMES_PER_SESSION_MAX,
        };
        if kept < most {
            return Ok(());
        }
        Err(limit(
            "unacknowledged outcomes of one session",
            limits::OUTCOMES_PER_SESSION_MAX,
        ))
    }

    /// Takes note of what the client needs no more, and forgets it. A malformed acknowledgement
    /// changes nothing.
    fn acknowledge(
        &mut self,
        session: SessionId,
        acknowledged: &Acknowledged,
    ) -> Result<(), Refusal> {
        let Some(ledger) = self.cell.ledgers.get(&session) else {
            return Ok(());
        };
        let mut news = ledger.news_in(acknowledged)?;
        if news.is_empty() {
            return Ok(());
        }
        let (mut floor, mut above) = ledger.with(acknowledged);
        if above.len() > limits::ACKNOWLEDGED_RANGES_MAX {
            // There is no room for so many separate ranges. The floor still counts, and makes room;
            // the request that carried the rest is not the one to suffer.
            let floor_only = Acknowledged {
                floor: acknowledged.floor,
                above: Vec::new(),
            };
            news = ledger.news_in(&floor_only)?;
            (floor, above) = ledger.with(&floor_only);
        }
        let mut forgotten = Vec::new();
        for (first, last) in news {
            // What still waits stays: its waiter must not be left without an outcome. It is
            // forgotten when the wait ends.
            let done = self
                .cell
                .outcomes_of(session, first, last)
                .filter(|(_, outcome)| matches!(outcome, Outcome::Done(_)))
                .map(|(number, _)| number);
            forgotten.extend(done);
        }
        for number in &forgotten {
            self.cell.outcomes.remove(&(session, *number));
        }
        self.cell.ledgers.update(&session, |ledger| {
            ledger.floor = floor;
            ledger.above = above;
            ledger.outcomes -= forgotten.len() as u64;
        });
        Ok(())
    }
}

impl Cell {
    /// Makes a number count as acknowledged without an outcome. When the client has spoiled even the
    /// room for that, nothing is kept: then a late copy finds the same lack of room.
    fn close_number(&mut self, session: SessionId, number: RequestNumber) {
        let Some(ledger) = self.ledgers.get(&session) else {
            return;
        };
        let (floor, above) = ledger.with(&Acknowledged {
            floor: ledger.floor,
            above: vec![(number, number)],
        });
        if above.len() <= limits::ACKNOWLEDGED_RANGES_MAX {
            self.ledgers.update(&session, |ledger| {
                ledger.floor = floor;
                ledger.above = above;
            });
        }
    }
}
