//! Calls whose time is up, and the cell that cannot be reached.
//!
//! What each call may come to without an answer of the cell:
//!
//! | call | when the circuit opens, or is open | at its deadline |
//! |---|---|---|
//! | never sent | `Unreachable`: it has not happened and never will | `TimedOut`, not sent: the same |
//! | query, sent | `Unreachable`: it changes nothing | `TimedOut` |
//! | acquire without a wait, sent | `Unreachable`, and it is cancelled | `TimedOut`, and it is cancelled |
//! | acquire with a wait, sent | it keeps its place in the queue | `TimedOut`, and it is cancelled |
//! | another mutation, sent | it waits for the truth | `TimedOut`, sent: nobody knows |
//! | release, close | told, and still done as soon as it can be | the same |
//!
//! Whatever is reported, a mutation that was sent keeps its number until the cell has answered it: it
//! is sent again on the next connection and acknowledged only then.

use super::Session;
use crate::circuit::Unreachable;
use crate::connection::Stage;
use crate::io::{Call, CallId, Outcome, Output};
use crate::patience::Patience;
use cotter_types::Moment;

impl Session {
    /// Tells whether the cell counts as unreachable, and how things are then.
    #[must_use]
    pub fn unreachable(&self, now: Moment) -> Option<Unreachable> {
        self.circuit.is_open().then(|| self.report(now))
    }

    /// Takes a call on, unless it would only wait for a cell that is unreachable.
    pub(super) fn begin(&mut self, now: Moment, id: CallId, call: Call, patience: Patience) {
        let in_vain = self.circuit.is_open() && !patience.through_outages;
        // What ends something is still wanted, whoever listens.
        let ends = matches!(call, Call::Release { .. } | Call::Close);
        if in_vain && !ends && !self.closing {
            let report = self.report(now);
            return self.complete((id, Outcome::Unreachable(Box::new(report))));
        }
        self.deadlines.begin(id, patience);
        self.call(id, call);
        if in_vain {
            self.fail_fast(now, id);
        }
    }

    /// Nobody waits for a call any more.
    pub(super) fn abandon(&mut self, id: CallId) {
        self.deadlines.over(id);
        self.ledger.abandon(id);
        self.queries.abandon(id);
    }

    /// Ends the calls whose time is up.
    pub(super) fn give_up(&mut self, now: Moment) {
        while let Some(id) = self.deadlines.due(now) {
            let sent = self.was_sent(id).unwrap_or(false);
            self.abandon(id);
            self.complete((id, Outcome::TimedOut { sent }));
        }
    }

    /// Opens the circuit, if it is time, and ends the calls that would only wait.
    pub(super) fn break_circuit(&mut self, now: Moment) {
        if !self.circuit.open_if_due(now) {
            return;
        }
        let report = self.report(now);
        self.outputs.push_back(Output::Unreachable(report));
        for id in self.deadlines.impatient() {
            self.fail_fast(now, id);
        }
    }

    /// Ends a call that would only wait for a cell that is unreachable.
    fn fail_fast(&mut self, now: Moment, id: CallId) {
        let known = self.was_sent(id).is_some();
        if !known || self.ledger.is_worth_waiting(id) {
            return;
        }
        self.abandon(id);
        let report = self.report(now);
        self.complete((id, Outcome::Unreachable(Box::new(report))));
    }

    /// The master has answered the session: it can be used, or soon.
    pub(super) fn in_touch(&mut self) {
        let had_troubles = !self.circuit.troubles().is_empty();
        if self.circuit.answered() {
            self.outputs.push_back(Output::Reachable);
        }
        if had_troubles {
            self.outputs.push_back(Output::Troubles(Vec::new()));
        }
    }

    /// Takes note of what went wrong at an endpoint.
    pub(super) fn trouble(&mut self, now: Moment, endpoint: &str, problem: &str) {
        self.circuit.trouble(now, endpoint, problem);
        let troubles = self.circuit.troubles();
        self.outputs.push_back(Output::Troubles(troubles));
    }

    /// Takes note of what went wrong on the present connection.
    pub(super) fn trouble_here(&mut self, now: Moment, problem: &str) {
        let present = self.connection.as_ref();
        if let Some(address) = present.map(|present| present.address.clone()) {
            self.trouble(now, &address, problem);
        }
    }

    fn report(&self, now: Moment) -> Unreachable {
        let next_try = match &self.connection {
            None => self.connect_at,
            Some(connection) => match &connection.stage {
                Stage::Listening { until } => *until,
                Stage::Connecting | Stage::Greeting | Stage::Master(_) => now,
            },
        };
        self.circuit.report(now, next_try)
    }
}
