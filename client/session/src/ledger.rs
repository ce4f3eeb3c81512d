//! Mutations: their numbers, the window, what is answered, what is acknowledged.
//!
//! A mutation gets its number when it enters the window, and keeps it until it is answered, over any
//! number of connections and masters. What the cell may forget is computed from what is *not*
//! settled here, so that it can never forget what might still be sent.
//!
//! Cancels, releases and the close may enter when the window is full for everything else: otherwise
//! a session full of waits could not be rid of one.

use crate::io::{CallId, Outcome};
use cotter_types::{
    Acknowledged, Mutation, Refusal, RequestNumber, Response, Wait,
    limits::{ACKNOWLEDGED_RANGES_MAX, OUTCOMES_PER_SESSION_MAX},
    mutation,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most unsettled mutations.
pub(crate) const WINDOW: usize = OUTCOMES_PER_SESSION_MAX as usize / 2;
/// Most unsettled mutations when the next one ends something. The rest is left for outcomes that
/// are settled here but not acknowledged yet.
pub(crate) const WINDOW_ENDING: usize = WINDOW + WINDOW / 2;
/// While the numbers above the floor span no more than this, the floor alone is sent.
const SPAN_WITHOUT_RANGES: u64 = 256;

const _: () = assert!(WINDOW_ENDING as u64 + SPAN_WITHOUT_RANGES < OUTCOMES_PER_SESSION_MAX);

/// What has become of a numbered mutation.
#[derive(Debug)]
enum Fate {
    /// Not answered.
    Open,
    /// A lock was granted when the lease was in doubt: told once it is sure again.
    Held(Response),
    /// An acquire that nobody wants any more: settled when its cancel is confirmed.
    Cancelling,
}

#[derive(Debug)]
struct Pending {
    mutation: Mutation,
    call: Option<CallId>,
    /// Whether it was ever sent, on any connection.
    sent: bool,
    fate: Fate,
}

/// Where a call of the application is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Local(u64),
    Numbered(RequestNumber),
}

/// A call that is over, and what it came to.
pub(crate) type Finished = (CallId, Outcome);

/// All mutations of a session that are not settled.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last: RequestNumber,
    pending: BTreeMap<RequestNumber, Pending>,
    /// To be sent on the present connection, in order.
    unsent: BTreeSet<RequestNumber>,
    /// Outside the window, in order of arrival.
    local: BTreeMap<u64, (Option<CallId>, Mutation)>,
    /// The same, of those that end something.
    local_ending: BTreeMap<u64, (Option<CallId>, Mutation)>,
    arrivals: u64,
    close: Option<RequestNumber>,
    calls: BTreeMap<CallId, Place>,
}

fn is_ending(mutation: &Mutation) -> bool {
    matches!(
        mutation,
        Mutation::Cancel { .. } | Mutation::Release { .. } | Mutation::Close
    )
}

impl Ledger {
    /// Takes a mutation on.
    pub(crate) fn submit(&mut self, call: Option<CallId>, mutation: Mutation) {
        self.arrivals += 1;
        if let Some(call) = call {
            self.calls.insert(call, Place::Local(self.arrivals));
        }
        let queue = if is_ending(&mutation) {
            &mut self.local_ending
        } else {
            &mut self.local
        };
        queue.insert(self.arrivals, (call, mutation));
        self.admit();
    }

    /// Lets what waits into the window, as far as there is room.
    fn admit(&mut self) {
        loop {
            let ending = self.local_ending.first_key_value().map(|(at, _)| *at);
            let other = self.local.first_key_value().map(|(at, _)| *at);
            let room = self.pending.len() < WINDOW;
            let room_ending = self.pending.len() < WINDOW_ENDING;
            let next = match (ending, other) {
                (Some(ending), Some(other)) if room && other < ending => self.local.pop_first(),
                (Some(_), _) if room_ending => self.local_ending.pop_first(),
                (None, Some(_)) if room => self.local.pop_first(),
                _ => None,
            };
            let Some((_, (call, mutation))) = next else {
                return;
            };
            self.number(call, mutation);
        }
    }

    fn number(&mut self, call: Option<CallId>, mutation: Mutation) {
        self.last = self.last.next();
        if let Some(call) = call {
            self.calls.insert(call, Place::Numbered(self.last));
        }
        if mutation == Mutation::Close {
            self.close = Some(self.last);
        }
        self.unsent.insert(self.last);
        self.pending.insert(
            self.last,
            Pending {
                mutation,
                call,
                sent: false,
                fate: Fate::Open,
            },
        );
    }

    /// Returns the next mutation to send on this connection.
    pub(crate) fn take_unsent(&mut self) -> Option<(RequestNumber, Mutation)> {
        let number = self.unsent.pop_first()?;
        let pending = self.pending.get_mut(&number)?;
        pending.sent = true;
        Some((number, pending.mutation.clone()))
    }

    /// Sends a mutation again, if it is still open.
    pub(crate) fn again(&mut self, number: RequestNumber) {
        if self.is_open(number) {
            self.unsent.insert(number);
        }
    }

    /// Sends all again: the connection is another.
    pub(crate) fn all_again(&mut self) {
        let open = |pending: &Pending| matches!(pending.fate, Fate::Open);
        self.unsent = self
            .pending
            .iter()
            .filter(|(_, pending)| open(pending))
            .map(|(number, _)| *number)
            .collect();
    }

    /// Tells whether a number waits for its answer.
    pub(crate) fn is_open(&self, number: RequestNumber) -> bool {
        let pending = self.pending.get(&number);
        pending.is_some_and(|pending| matches!(pending.fate, Fate::Open))
    }

    /// Tells whether something is on its way.
    pub(crate) fn is_outstanding(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Tells whether the close was sent.
    pub(crate) fn close_was_sent(&self) -> bool {
        let close = self.close.and_then(|number| self.pending.get(&number));
        close.is_some_and(|pending| pending.sent)
    }

    /// Tells whether a number is the close's.
    pub(crate) fn is_close(&self, number: RequestNumber) -> bool {
        self.close == Some(number)
    }

    /// The close is done, told or inferred.
    pub(crate) fn closed(&mut self) -> Option<Finished> {
        let number = self.close?;
        let response = Response::Done;
        self.settle(number, Outcome::Done { number, response })
    }

    /// Tells whether a call was ever sent; nothing if it is unknown or over.
    pub(crate) fn was_sent(&self, call: CallId) -> Option<bool> {
        Some(match self.calls.get(&call)? {
            Place::Local(_) => false,
            Place::Numbered(number) => self.pending.get(number)?.sent,
        })
    }

    /// Tells whether a call may still come to something that is not known yet: it was sent, and is
    /// more than an acquire that does not wait, which can as well be made anew.
    pub(crate) fn is_worth_waiting(&self, call: CallId) -> bool {
        let Some(Place::Numbered(number)) = self.calls.get(&call) else {
            return false;
        };
        let pending = self.pending.get(number).filter(|pending| pending.sent);
        pending.is_some_and(|pending| match &pending.mutation {
            Mutation::Acquire(acquire) => acquire.wait != Wait::No,
            _ => true,
        })
    }

    /// A mutation was done. While the session is not safe, a granted lock is kept back.
    pub(crate) fn done(
        &mut self,
        number: RequestNumber,
        response: Response,
        safe: bool,
    ) -> Option<Finished> {
        if !self.is_open(number) {
            return None;
        }
        if matches!(response, Response::Acquired { .. }) && !safe {
            self.unsent.remove(&number);
            let pending = self.pending.get_mut(&number)?;
            pending.fate = Fate::Held(response);
            return None;
        }
        self.settle(number, Outcome::Done { number, response })
    }

    /// The cell said no.
    pub(crate) fn refused(&mut self, number: RequestNumber, refusal: Refusal) -> Option<Finished> {
        if !self.is_open(number) {
            return None;
        }
        let session_lives = !matches!(refusal, Refusal::NoSession { .. });
        if let Some(target) = self.cancels(number).filter(|_| session_lives) {
            // What was to be cancelled may still wait or hold: ask again, under another number.
            self.forget(number);
            self.submit(None, Mutation::Cancel { number: target });
            return None;
        }
        self.settle(number, Outcome::Refused(refusal))
    }

    /// Returns the acquire that a pending mutation is to cancel, if that is what it is for.
    fn cancels(&self, number: RequestNumber) -> Option<RequestNumber> {
        match self.pending.get(&number)?.mutation {
            Mutation::Cancel { number: target } => Some(target),
            _ => None,
        }
    }

    fn settle(&mut self, number: RequestNumber, outcome: Outcome) -> Option<Finished> {
        let pending = self.forget(number)?;
        if let Mutation::Cancel { number: cancelled } = pending.mutation {
            self.forget(cancelled);
        }
        self.admit();
        Some((pending.call?, outcome))
    }

    fn forget(&mut self, number: RequestNumber) -> Option<Pending> {
        self.unsent.remove(&number);
        let pending = self.pending.remove(&number)?;
        if let Some(call) = pending.call {
            self.calls.remove(&call);
        }
        Some(pending)
    }

    /// Tells of the locks that were granted while the lease was in doubt. It is sure again.
    pub(crate) fn release_held(&mut self) -> Vec<Finished> {
        let held = |pending: &Pending| match &pending.fate {
            Fate::Held(response) => Some(response.clone()),
            Fate::Open | Fate::Cancelling => None,
        };
        let granted: Vec<_> = self
            .pending
            .iter()
            .filter_map(|(number, pending)| Some((*number, held(pending)?)))
            .collect();
        granted
            .into_iter()
            .filter_map(|(number, response)| {
                self.settle(number, Outcome::Done { number, response })
            })
            .collect()
    }

    /// Nobody waits for a call any more.
    pub(crate) fn abandon(&mut self, call: CallId) {
        let Some(place) = self.calls.remove(&call) else {
            return;
        };
        match place {
            Place::Local(arrival) => {
                self.local.remove(&arrival);
                // What ends something is still wanted, whoever listens.
                if let Some((call, _)) = self.local_ending.get_mut(&arrival) {
                    *call = None;
                }
            }
            Place::Numbered(number) => self.abandon_numbered(number),
        }
    }

    fn abandon_numbered(&mut self, number: RequestNumber) {
        let Some(pending) = self.pending.get_mut(&number) else {
            return;
        };
        pending.call = None;
        if is_ending(&pending.mutation) {
            return;
        }
        let forgotten = matches!(pending.mutation, Mutation::Acquire(_))
            && mutation::active(mutation::Mutation::GivenUpAcquireForgotten);
        if !pending.sent || forgotten {
            // Nothing happened, and nothing will. The number stays unused.
            self.forget(number);
            self.admit();
        } else if matches!(pending.mutation, Mutation::Acquire(_)) {
            // It is not acknowledged before the cancel is confirmed, so that the cell still knows
            // what to cancel.
            pending.fate = Fate::Cancelling;
            self.unsent.remove(&number);
            self.submit(None, Mutation::Cancel { number });
        }
    }

    /// Returns what the cell may forget.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        let first_open = self.pending.first_key_value().map(|(number, _)| number.0);
        let floor = first_open.map_or(self.last.0, |number| number - 1);
        let mut above = Vec::new();
        if self.last.0 - floor > SPAN_WITHOUT_RANGES {
            let mut next = floor + 1;
            let ends = self.pending.keys().map(|number| number.0);
            for open in ends.chain([self.last.0 + 1]) {
                if open > next {
                    above.push((RequestNumber(next), RequestNumber(open - 1)));
                    if above.len() == ACKNOWLEDGED_RANGES_MAX {
                        break;
                    }
                }
                next = open + 1;
            }
        }
        Acknowledged {
            floor: RequestNumber(floor),
            above,
        }
    }

    /// The session is over: ends every call.
    pub(crate) fn end(&mut self) -> Vec<Finished> {
        self.unsent.clear();
        self.calls.clear();
        let mut finished = Vec::new();
        for pending in std::mem::take(&mut self.pending).into_values() {
            let outcome = if pending.sent {
                Outcome::Unknown
            } else {
                Outcome::SessionEnded
            };
            finished.extend(pending.call.map(|call| (call, outcome)));
        }
        let ending = std::mem::take(&mut self.local_ending).into_values();
        let local = std::mem::take(&mut self.local).into_values();
        for (call, _) in ending.chain(local) {
            finished.extend(call.map(|call| (call, Outcome::SessionEnded)));
        }
        finished
    }

    /// Checks what must always hold of the numbers, and says what does not.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let highest = self.pending.last_key_value().map(|(number, _)| *number);
        if highest.is_some_and(|highest| highest > self.last) {
            return Err("I-SESSION-4: a number was used that was not given");
        }
        if self.pending.len() > WINDOW_ENDING {
            return Err("I-SESSION-6: the window is exceeded");
        }
        Ok(())
    }
}
