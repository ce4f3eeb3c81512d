//! Exactly once: a number means one mutation, has one outcome, and every answer that a master gives
//! is that outcome, already committed.
//!
//! It compares answers with the committed log by request number, and says nothing of real time.

use super::{History, Step, Verdict, Violation};
use cotter_cell::{Command, Effect, Entry};
use cotter_types::{Answer, Mutation, Refusal, RequestNumber, Response, SessionId};
use std::collections::{BTreeMap, BTreeSet};

type Key = (SessionId, RequestNumber);

/// Remembers what each number was sent for and what it came to.
#[derive(Debug, Default)]
pub struct Once {
    sent: BTreeMap<Key, Mutation>,
    outcomes: BTreeMap<Key, Result<Response, Refusal>>,
    acknowledged: BTreeSet<Key>,
}

impl Once {
    /// Takes note that a client sends a mutation.
    ///
    /// # Errors
    /// It has sent another one under that number before.
    pub fn sent(&mut self, key: Key, mutation: &Mutation) -> Verdict {
        match self.sent.get(&key) {
            None => {
                self.sent.insert(key, mutation.clone());
                Ok(())
            }
            Some(before) if before == mutation => Ok(()),
            Some(before) => Err(violation(
                key,
                format!("was sent for {before:?} and then for {mutation:?}"),
            )),
        }
    }

    /// Looks at the commands and outcomes of one entry.
    ///
    /// # Errors
    /// A number has a second, other outcome, or stands for something that was never sent.
    pub fn observe(&mut self, step: &Step) -> Verdict {
        if !step.applied.accepted {
            return Ok(());
        }
        if let Entry::Batch(batch) = &step.entry {
            for command in &batch.commands {
                self.command(command)?;
            }
        }
        for effect in &step.applied.effects {
            match effect {
                Effect::Answered {
                    session,
                    number,
                    result,
                } => self.outcome((*session, *number), result)?,
                Effect::Queued { session, number } => {
                    if let Some(result) = self.outcomes.get(&(*session, *number)) {
                        return Err(violation(
                            (*session, *number),
                            format!("waits again although it came to {result:?}"),
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks at an answer that a master gives.
    ///
    /// # Errors
    /// It is not the committed outcome.
    pub fn answered(&mut self, history: &History, key: Key, answer: &Answer) -> Verdict {
        let claimed = match answer {
            Answer::Done(response) => Ok(response.clone()),
            Answer::Refused(refusal) => Err(refusal.clone()),
            Answer::Unavailable(_) => return Ok(()),
        };
        match (history.outcome(key.0, key.1), &claimed) {
            (Some(recorded), claimed) if recorded.result == *claimed => {
                self.acknowledged.insert(key);
                Ok(())
            }
            // Said before anything was proposed: nothing of it is in the log.
            (None, Err(Refusal::Invalid { .. } | Refusal::OtherCell { .. })) => Ok(()),
            (_, Err(Refusal::NoSession { session }))
                if history.cell().session(*session).is_none() =>
            {
                Ok(())
            }
            (Some(_), Err(Refusal::Acknowledged { .. })) => Ok(()),
            (Some(recorded), claimed) => Err(violation(
                key,
                format!(
                    "was answered {claimed:?}, but came to {:?}",
                    recorded.result
                ),
            )),
            (None, claimed) => Err(violation(
                key,
                format!("was answered {claimed:?} before any replica applied it"),
            )),
        }
    }

    /// Looks at a refusal that a client's program is told of, for a mutation that it asked for.
    ///
    /// # Errors
    /// Nothing that the session sent for it was refused so.
    pub fn refused(
        &self,
        history: &History,
        session: SessionId,
        asked: &Mutation,
        refusal: &Refusal,
    ) -> Verdict {
        let numbers = (session, RequestNumber(0))..=(session, RequestNumber(u64::MAX));
        let right = self
            .sent
            .range(numbers)
            .filter(|(_, sent)| *sent == asked)
            .any(|((_, number), _)| {
                history
                    .outcome(session, *number)
                    .is_some_and(|recorded| recorded.result.as_ref() == Err(refusal))
            });
        if right {
            return Ok(());
        }
        Err(Violation::new(
            "once",
            format!("{session} told its program that {asked:?} was refused: {refusal:?}"),
        ))
    }

    /// Checks at the end that everything acknowledged is in the history of the whole cell.
    ///
    /// # Errors
    /// Something was lost.
    pub fn check_kept(&self, history: &History, applied_least: usize) -> Verdict {
        for key in &self.acknowledged {
            match history.outcome(key.0, key.1) {
                Some(recorded) if recorded.index < applied_least => {}
                _ => {
                    return Err(violation(
                        *key,
                        "was acknowledged, and not every replica has it in the end".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns how many mutations were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Returns what was sent under a number.
    #[must_use]
    pub fn mutation(&self, key: Key) -> Option<&Mutation> {
        self.sent.get(&key)
    }

    fn command(&mut self, command: &Command) -> Verdict {
        let Command::Mutate {
            session,
            number,
            mutation,
            ..
        } = command
        else {
            return Ok(());
        };
        match self.sent.get(&(*session, *number)) {
            Some(sent) if sent == mutation => Ok(()),
            sent => Err(violation(
                (*session, *number),
                format!("stands in the log for {mutation:?}, and was sent for {sent:?}"),
            )),
        }
    }

    fn outcome(&mut self, key: Key, result: &Result<Response, Refusal>) -> Verdict {
        match self.outcomes.get(&key) {
            None => {
                self.outcomes.insert(key, result.clone());
                Ok(())
            }
            Some(first) if first == result => Ok(()),
            // A late repetition of what the client has acknowledged has no outcome any more.
            Some(_) if matches!(result, Err(Refusal::Acknowledged { .. })) => Ok(()),
            Some(_) if matches!(result, Err(Refusal::NoSession { .. })) => Ok(()),
            Some(first) => Err(violation(
                key,
                format!("came to {first:?} and then to {result:?}"),
            )),
        }
    }
}

fn violation((session, number): Key, what: String) -> Violation {
    Violation::new("once", format!("{session} number {number} {what}"))
}
