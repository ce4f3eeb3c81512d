//! Linearizability by log index.
//!
//! It shows that answers respect the order of the log in real time, over all paths together and for
//! runs of any length. It trusts the log's order; `linearizability` does not.
//!
//! Every mutation takes effect at one place of the committed log. If one was answered before another
//! was first sent, its place must be the earlier one. A query must be answered from the state after
//! some entry that is not before anything that was answered before the query was sent.

use super::{History, Verdict, Violation};
use cotter_cell::Cell;
use cotter_types::{Answer, Query, QueryResponse, Refusal, RequestNumber, SessionId};
use std::collections::BTreeMap;

/// What was complete when a request was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// Outcomes up to this ordinal.
    pub ordinal: u64,
    /// States of at least so many entries.
    pub length: usize,
}

/// Remembers what was complete when each request was sent.
#[derive(Debug, Default)]
pub struct Order {
    complete: Floor,
    sent: BTreeMap<(SessionId, RequestNumber), Floor>,
    queries: u64,
}

impl Order {
    /// Returns what is complete now.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.complete
    }

    /// Takes note that a client sends a mutation; only the first time counts.
    pub fn sent(&mut self, session: SessionId, number: RequestNumber) {
        self.sent.entry((session, number)).or_insert(self.complete);
    }

    /// Takes note that the outcome of a mutation has reached its client.
    ///
    /// # Errors
    /// It took effect before something that was complete before it was sent.
    pub fn received(
        &mut self,
        history: &History,
        session: SessionId,
        number: RequestNumber,
    ) -> Verdict {
        let (Some(recorded), Some(floor)) = (
            history.outcome(session, number),
            self.sent.get(&(session, number)),
        ) else {
            return Ok(());
        };
        if recorded.ordinal <= floor.ordinal {
            return Err(Violation::new(
                "order",
                format!(
                    "{session} number {number} took effect as outcome {}, but outcome {} was \
                     complete before it was sent",
                    recorded.ordinal, floor.ordinal
                ),
            ));
        }
        self.complete.ordinal = self.complete.ordinal.max(recorded.ordinal);
        self.complete.length = self.complete.length.max(recorded.index + 1);
        Ok(())
    }

    /// Takes note that the answer to a query, sent when `floor` was complete, has reached its
    /// client.
    ///
    /// # Errors
    /// No state that it may have been answered from gives this answer.
    pub fn query_received(
        &mut self,
        history: &History,
        floor: Floor,
        query: &Query,
        answer: &Result<QueryResponse, Answer>,
    ) -> Verdict {
        let claimed = match answer {
            Ok(QueryResponse::Status(_)) | Err(Answer::Unavailable(_)) => return Ok(()),
            Ok(response) => Ok(comparable(response.clone())),
            Err(Answer::Refused(refusal)) => Err(refusal.clone()),
            Err(Answer::Done(response)) => {
                return Err(Violation::new(
                    "order",
                    format!("{query:?} was answered like a mutation: {response:?}"),
                ));
            }
        };
        self.queries += 1;
        for length in floor.length..=history.length() {
            if let Some((cell, ordinal)) = history.state(length)
                && ordinal >= floor.ordinal
                && agrees(cell, query, &claimed)
            {
                self.complete.length = self.complete.length.max(length);
                return Ok(());
            }
        }
        Err(Violation::new(
            "order",
            format!(
                "{query:?} was answered {claimed:?}, which no state from {} to {} entries gives; \
                 the newest gives {:?}",
                floor.length,
                history.length(),
                history.cell().query(query, history.cell().time()),
            ),
        ))
    }

    /// Returns how many queries were compared.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.queries
    }
}

fn agrees(cell: &Cell, query: &Query, claimed: &Result<QueryResponse, Refusal>) -> bool {
    // Cell time goes on between entries by the master's own clock, so where an answer shows it, the
    // reference is asked for that moment.
    let now = match claimed {
        Ok(QueryResponse::Explain(explanation)) if explanation.now >= cell.time() => {
            explanation.now
        }
        Ok(QueryResponse::Explain(_)) => return false,
        _ => cell.time(),
    };
    cell.query(query, now).map(comparable) == *claimed
}

/// Takes away what depends on the master's own clock.
fn comparable(mut response: QueryResponse) -> QueryResponse {
    match &mut response {
        QueryResponse::Explain(explanation) => {
            explanation.worst_case_free_ms = None;
            for holder in &mut explanation.holders {
                holder.lease_left_ms = None;
            }
        }
        QueryResponse::Locks { rows, .. } => {
            for row in rows {
                row.lock_delay_left_ms = 0;
                if let Some(holder) = &mut row.holder {
                    holder.lease_left_ms = None;
                }
            }
        }
        QueryResponse::Sessions { rows, .. } => {
            for row in rows {
                row.lease_left_ms = None;
            }
        }
        QueryResponse::Node { .. }
        | QueryResponse::Stat { .. }
        | QueryResponse::List { .. }
        | QueryResponse::Sequencer { .. }
        | QueryResponse::Status(_) => {}
    }
    response
}
