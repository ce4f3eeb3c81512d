//! Calls of the simple interface: what a request id has come to stays what it has come to, and nobody
//! is told anything else.

use super::{History, Step, Verdict, Violation};
use cotter_cell::{Effect, RememberedCall};
use cotter_types::{CallAnswer, CallResponse, LockId, Refusal, RequestId, Response};
use std::collections::BTreeMap;

/// Remembers the first outcome of every request.
#[derive(Debug, Default)]
pub struct Calls {
    outcomes: BTreeMap<RequestId, Result<Response, Refusal>>,
    told: u64,
}

impl Calls {
    /// Looks at one entry.
    ///
    /// # Errors
    /// A request has come to two things.
    pub fn observe(&mut self, step: &Step) -> Verdict {
        for effect in &step.applied.effects {
            let Effect::Called {
                request, result, ..
            } = effect
            else {
                continue;
            };
            let first = self
                .outcomes
                .entry(*request)
                .or_insert_with(|| result.clone());
            if !follows(first, result) {
                return Err(Violation::new(
                    "calls",
                    format!(
                        "entry {}: a request came to {first:?} and then to {result:?}",
                        step.index
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Looks at the answer to an acquire or a change.
    ///
    /// # Errors
    /// It is not what the committed log says.
    pub fn told(&mut self, request: RequestId, answer: &CallAnswer) -> Verdict {
        let said = match answer {
            CallAnswer::Done(CallResponse::Acquired {
                sequencer,
                waited_ms,
                ..
            }) => Ok(Response::Acquired {
                sequencer: sequencer.clone(),
                waited_ms: *waited_ms,
            }),
            CallAnswer::Done(CallResponse::Changed(response)) => Ok(response.clone()),
            CallAnswer::Refused(refusal) => Err(refusal.clone()),
            CallAnswer::Done(_) | CallAnswer::Unavailable(_) | CallAnswer::Interrupted => {
                return Ok(());
            }
        };
        self.told += 1;
        match self.outcomes.get(&request) {
            Some(first) if follows(first, &said) => Ok(()),
            first => Err(Violation::new(
                "calls",
                format!("a caller is told {said:?}; the log says {first:?}"),
            )),
        }
    }

    /// Looks at the answer to a release: what is said to be released is.
    ///
    /// # Errors
    /// The lock lives.
    pub fn released(&self, history: &History, lock: LockId, answer: &CallAnswer) -> Verdict {
        let lives = matches!(
            history.cell().lock_by_id(lock),
            RememberedCall::Lives { .. }
        );
        if lives && *answer == CallAnswer::Done(CallResponse::Released) {
            return Err(Violation::new(
                "calls",
                format!("{} is said to be released, and lives", lock.session),
            ));
        }
        Ok(())
    }

    /// Returns how many outcomes callers were told.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.told
    }
}

/// Tells whether a request that first came to `first` may be said to have come to `later`: to the
/// same, but that a lock which was acquired can have ended since.
fn follows(first: &Result<Response, Refusal>, later: &Result<Response, Refusal>) -> bool {
    let ended = matches!(later, Err(Refusal::LockEnded { .. }));
    first == later || (ended && matches!(first, Ok(Response::Acquired { .. })))
}
