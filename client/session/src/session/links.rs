//! Connections come and go.

use super::{PROTOCOL_VERSION, RETRY_MS, Session};
use crate::connection::{Attachment, Connection, Stage};
use crate::io::{ConnectionId, Output};
use crate::search::Verdict;
use cotter_types::{ClientFrame, Moment, Welcome};
use std::time::Duration;

impl Session {
    pub(super) fn connect(&mut self, now: Moment, address: String) {
        self.leave(now);
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        self.connection = Some(Connection::new(id, address.clone(), now));
        self.outputs.push_back(Output::Connect {
            connection: id,
            address,
        });
    }

    /// Forgets the present connection, and what was sent on it counts as not sent.
    pub(super) fn leave(&mut self, now: Moment) -> Option<Connection> {
        self.all_again(now);
        self.connection.take()
    }

    /// Counts everything that is not answered as not sent: whoever had it has forgotten it.
    pub(super) fn all_again(&mut self, now: Moment) {
        self.circuit.lost(now);
        self.again.clear();
        self.ledger.all_again();
        self.queries.all_again();
    }

    /// Stays with a replica that is not the master, for as long as the next is not due: it says so
    /// when that changes.
    pub(super) fn listen(&mut self, now: Moment, patience: Duration) {
        self.trouble_here(
            now,
            "it is not the master, and knows of none that can be reached",
        );
        self.all_again(now);
        if let Some(present) = &mut self.connection {
            let until = now.after(patience);
            present.stage = Stage::Listening { until };
        }
    }

    /// Leaves the present connection and tries the next replica after `delay`.
    pub(super) fn retreat(&mut self, now: Moment, delay: Duration) {
        self.leave(now);
        self.connect_at = now.after(delay);
        self.outputs.push_back(Output::Disconnect);
    }

    pub(super) fn connected(&mut self, now: Moment, connection: ConnectionId) {
        let cell = self.search.cell();
        let Some(present) = &mut self.connection else {
            return;
        };
        if present.id != connection || !matches!(present.stage, Stage::Connecting) {
            return;
        }
        present.stage = Stage::Greeting;
        present.forgive(now);
        self.outputs.push_back(Output::Send(ClientFrame::Hello {
            version: PROTOCOL_VERSION,
            client: self.config.client.clone(),
            cell,
        }));
    }

    pub(super) fn disconnected(&mut self, now: Moment, connection: ConnectionId, reason: &str) {
        if !self.is_present(connection) {
            return;
        }
        self.trouble_here(now, reason);
        if let Some(left) = self.leave(now)
            && matches!(left.stage, Stage::Connecting | Stage::Greeting)
        {
            self.search.unreachable(now, &left.address);
        }
        self.connect_at = now.after(self.search.backoff());
    }

    pub(super) fn welcome(&mut self, now: Moment, welcome: &Welcome) {
        let Some(present) = &mut self.connection else {
            return;
        };
        if matches!(present.stage, Stage::Connecting) {
            return;
        }
        match self.search.welcome(now, &present.address, welcome) {
            Verdict::Master => {
                // A master that reigns anew has forgotten who was attached.
                let attachment = present.attachment();
                if attachment.is_none_or(|known| known.epoch != welcome.epoch) {
                    present.stage = Stage::Master(Attachment::new(welcome.epoch, now));
                    self.all_again(now);
                }
            }
            Verdict::Elsewhere(address) => self.connect(now, address),
            Verdict::Listen(patience) => self.listen(now, patience),
            Verdict::OtherCell(delay) => {
                self.trouble_here(now, "it belongs to another cell");
                self.retreat(now, delay);
            }
        }
        if let Some(present) = &mut self.connection {
            present.heard(now);
        }
    }

    /// Asks for attachment again, later.
    pub(super) fn detach(&mut self, now: Moment) {
        let delay = self.search.jittered(RETRY_MS);
        // It is the master that says so.
        self.in_touch();
        self.all_again(now);
        let attachment = self.connection.as_mut().and_then(Connection::attachment);
        if let Some(attachment) = attachment {
            attachment.detached(now.after(delay));
        }
    }
}
