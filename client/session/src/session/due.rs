//! What is due, and when to look again.

use super::{
    ATTACHING_MAX, Again, KEEPALIVE_MAX, KEEPALIVE_OUTSTANDING, KEEPALIVES_PER_LEASE, Life, Session,
};
use crate::connection::{Connection, SILENCE, Stage, Standing};
use crate::io::{Output, State};
use cotter_types::{ClientFrame, Moment, OpenSession};
use std::time::Duration;

impl Session {
    pub(super) fn advance(&mut self, now: Moment) {
        if self.is_over() {
            return;
        }
        self.drop_silent(now);
        match &self.connection {
            None if now >= self.connect_at => self.connect_next(now),
            Some(Connection {
                stage: Stage::Listening { until },
                ..
            }) if now >= *until => self.connect_next(now),
            _ => {}
        }
        self.break_circuit(now);
        // What is given up is not sent any more; the cancels that follow from it are.
        self.give_up(now);
        self.ask(now);
        self.flush(now);
        self.keep_alive(now);
    }

    pub(super) fn connect_next(&mut self, now: Moment) {
        match self.search.next_address(now) {
            Some(address) => self.connect(now, address),
            None => self.connect_at = now.after(KEEPALIVE_MAX),
        }
    }

    /// Leaves a connection on which nothing is heard, or not what was asked for.
    pub(super) fn drop_silent(&mut self, now: Moment) {
        let Some(connection) = &self.connection else {
            return;
        };
        let silent = connection.silent_since;
        let silent = silent.filter(|since| now >= since.after(SILENCE));
        let asked = connection.asked_since();
        if silent.is_none() && asked.is_none_or(|since| now < since.after(ATTACHING_MAX)) {
            return;
        }
        let problem = match (&connection.stage, silent) {
            (Stage::Connecting, _) => "connecting took too long",
            (_, Some(_)) => "no answer",
            (_, None) => "the master does not take the session up",
        };
        // Nobody could be used since then; that it is noticed only now changes nothing.
        self.circuit.lost(silent.unwrap_or(now));
        self.trouble_here(now, problem);
        if let Some(left) = self.leave(now) {
            self.search.unreachable(now, &left.address);
        }
        // The time that it took was wait enough.
        self.connect_next(now);
    }

    /// Sends `Open` or `Attach`, if it is time.
    pub(super) fn ask(&mut self, now: Moment) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(attachment) = connection.attachment() else {
            return;
        };
        if !matches!(attachment.standing, Standing::Detached { ask_at } if now >= ask_at) {
            return;
        }
        attachment.ask(now);
        connection.sent_prompt(now);
        let frame = match &mut self.life {
            Life::Unborn { asked } => {
                *asked = true;
                ClientFrame::Open(OpenSession {
                    nonce: self.config.nonce,
                    lease_ms: self.config.lease_ms,
                    metadata: self.config.metadata.clone(),
                })
            }
            Life::Born(session) => ClientFrame::Attach {
                session: *session,
                nonce: self.config.nonce,
            },
        };
        self.outputs.push_back(Output::Send(frame));
    }

    /// Tells whether requests may leave: in jeopardy, calls wait.
    pub(super) fn may_send(&self) -> bool {
        self.state == State::Safe
            && self
                .connection
                .as_ref()
                .is_some_and(Connection::is_attached)
    }

    pub(super) fn flush(&mut self, now: Moment) {
        let Some(session) = self.id().filter(|_| self.may_send()) else {
            return;
        };
        while let Some((at, again)) = self.again.first().copied()
            && now >= at
        {
            self.again.remove(&(at, again));
            match again {
                Again::Mutation(number) => self.ledger.again(number),
                Again::Query(id) => self.queries.again(id),
            }
        }
        let mut sent = false;
        while let Some((number, mutation)) = self.ledger.take_unsent() {
            sent = true;
            self.outputs.push_back(Output::Send(ClientFrame::Mutate {
                session,
                number,
                acknowledged: self.ledger.acknowledged(),
                mutation,
            }));
        }
        while let Some((id, query)) = self.queries.take_unsent() {
            sent = true;
            let frame = ClientFrame::Query { id, query };
            self.outputs.push_back(Output::Send(frame));
        }
        if sent && let Some(connection) = &mut self.connection {
            connection.sent_prompt(now);
        }
    }

    pub(super) fn keepalive_interval(&self) -> Duration {
        if !matches!(&self.connection, Some(own) if own.is_attached()) {
            return KEEPALIVE_OUTSTANDING;
        }
        let lease = Duration::from_millis(self.belief.lease_ms() / KEEPALIVES_PER_LEASE);
        let interval = lease.min(KEEPALIVE_MAX);
        if self.ledger.is_outstanding() || !self.queries.is_empty() {
            interval.min(KEEPALIVE_OUTSTANDING)
        } else {
            interval
        }
    }

    pub(super) fn keep_alive(&mut self, now: Moment) {
        let interval = self.keepalive_interval();
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(attachment) = connection.attachment() else {
            return;
        };
        // Also while the master has not answered yet: opening a session takes a log entry, and an
        // answer to a keepalive tells a slow master from a dead one.
        let detached = matches!(attachment.standing, Standing::Detached { .. });
        if detached || now < attachment.keepalive_due(interval) {
            return;
        }
        let number = attachment.keepalive(now);
        connection.sent_prompt(now);
        let frame = ClientFrame::KeepAlive { number };
        self.outputs.push_back(Output::Send(frame));
    }

    pub(super) fn compute_wake(&self) -> Moment {
        if self.is_over() {
            return Moment::NEVER;
        }
        let clock = match self.state {
            State::Safe => self.belief.end(),
            State::Jeopardy => self.grace_end(),
            State::Opening | State::Expired | State::Closed | State::Failed => Moment::NEVER,
        };
        let clock = clock
            .min(self.deadlines.next())
            .min(self.circuit.opens_at());
        let Some(connection) = &self.connection else {
            return clock.min(self.connect_at);
        };
        let silence = connection
            .silent_since
            .map_or(Moment::NEVER, |since| since.after(SILENCE));
        let stage = match &connection.stage {
            Stage::Connecting | Stage::Greeting => Moment::NEVER,
            Stage::Listening { until } => *until,
            Stage::Master(attachment) => match attachment.standing {
                Standing::Detached { ask_at } => ask_at,
                Standing::Asked { sent } => attachment
                    .keepalive_due(self.keepalive_interval())
                    .min(sent.after(ATTACHING_MAX)),
                Standing::Attached => attachment.keepalive_due(self.keepalive_interval()),
            },
        };
        let again = self.again.first().filter(|_| self.may_send());
        let again = again.map_or(Moment::NEVER, |(at, _)| *at);
        clock.min(silence).min(stage).min(again)
    }
}
