//! What a replica says.

use super::{Again, Life, RETRY_DISK_FULL_MS, RETRY_MS, RETRY_MS_MAX, Session};
use crate::connection::{Attachment, Connection};
use crate::io::{Outcome, Output, State};
use crate::search::Verdict;
use cotter_types::{
    Answer, Moment, QueryResponse, Refusal, RequestNumber, ServerFrame, Unavailable,
};
use std::time::Duration;

impl Session {
    pub(super) fn frame(&mut self, now: Moment, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) => self.welcome(now, &welcome),
            ServerFrame::GoAway {
                retry_after_ms,
                reason,
                ..
            } => {
                self.trouble_here(now, &reason);
                self.go_away(now, retry_after_ms);
            }
            // Only a master speaks of sessions.
            _ if self.attachment().is_none() => {}
            frame => {
                self.told(now, frame);
                if let Some(connection) = &mut self.connection {
                    connection.heard(now);
                }
            }
        }
    }

    /// The master says something.
    fn told(&mut self, now: Moment, frame: ServerFrame) {
        let own = self.id();
        match frame {
            ServerFrame::Opened {
                nonce,
                session,
                lease_ms,
            } if nonce == self.config.nonce && own.is_none() => {
                if let Some(sent) = self.asked_since() {
                    self.life = Life::Born(session);
                    self.outputs.push_back(Output::Opened { session, lease_ms });
                    self.attached(now, sent, lease_ms);
                }
            }
            ServerFrame::OpenRefused { nonce, answer }
                if nonce == self.config.nonce && own.is_none() =>
            {
                self.not_attached(now, answer);
            }
            ServerFrame::Attached { session, lease_ms } if own == Some(session) => {
                if let Some(sent) = self.asked_since() {
                    self.attached(now, sent, lease_ms);
                }
            }
            ServerFrame::AttachRefused { session, answer } if own == Some(session) => {
                self.not_attached(now, answer);
            }
            ServerFrame::KeepAlive { number } => {
                let attachment = self.attachment();
                let sent = attachment.and_then(|own| own.keepalive_answered(number));
                if let Some(sent) = sent {
                    self.belief.confirmed(sent, now);
                }
            }
            ServerFrame::Answer {
                session,
                number,
                answer,
            } if own == Some(session) => self.answer(now, number, answer),
            ServerFrame::QueryAnswer { id, answer } => self.query_answer(now, id, answer),
            ServerFrame::Notice { session, notice } if own == Some(session) => {
                self.outputs.push_back(Output::Notice(notice));
            }
            ServerFrame::Detached { session, condemned } if own == Some(session) => {
                if condemned {
                    self.condemned(now);
                } else {
                    self.detach(now);
                }
            }
            ServerFrame::Ended { session, .. } if own == Some(session) => self.gone(),
            // Of another session, which a stream can have too, or out of place.
            _ => {}
        }
    }

    fn go_away(&mut self, now: Moment, retry_after_ms: u64) {
        // The hint is about this replica; another one may do at once.
        let hint = if self.search.has_others() {
            0
        } else {
            retry_after_ms.min(RETRY_MS_MAX)
        };
        let delay = Duration::from_millis(hint).max(self.search.backoff());
        self.retreat(now, delay);
    }

    fn attachment(&mut self) -> Option<&mut Attachment> {
        self.connection.as_mut().and_then(Connection::attachment)
    }

    /// Returns when the `Open` or `Attach` that is now answered was sent.
    fn asked_since(&self) -> Option<Moment> {
        self.connection.as_ref().and_then(Connection::asked_since)
    }

    /// The session is attached to this stream by the frame that was sent at `sent`.
    fn attached(&mut self, now: Moment, sent: Moment, lease_ms: u64) {
        if let Some(attachment) = self.attachment() {
            attachment.attached(sent);
        }
        self.belief.granted(lease_ms);
        self.belief.confirmed(sent, now);
        self.in_touch();
    }

    /// `Open` or `Attach` was answered with no.
    fn not_attached(&mut self, now: Moment, answer: Answer) {
        if self.asked_since().is_none() {
            return;
        }
        if let Some(attachment) = self.attachment() {
            attachment.asking_ended();
        }
        match (answer, self.life) {
            (Answer::Refused(Refusal::NoSession { .. }), Life::Born(_)) => self.gone(),
            (Answer::Refused(refusal), Life::Unborn { .. }) => {
                self.refusal = Some(refusal);
                self.end(State::Failed);
            }
            (Answer::Unavailable(Unavailable::Condemned), Life::Born(_)) => self.condemned(now),
            (Answer::Unavailable(unavailable), _) => {
                let Some(delay) = self.unavailable(now, &unavailable) else {
                    return;
                };
                if let Some(attachment) = self.attachment() {
                    attachment.detached(now.after(delay));
                }
                // It has answered, if only with "later".
                self.in_touch();
                self.circuit.lost(now);
            }
            // A refusal that does not say that the session is gone (this stream is full, say), or an
            // answer that makes no sense here: another replica or another moment may do.
            (Answer::Refused(refusal), Life::Born(_)) => {
                self.retreat_from(now, &refusal.to_string());
            }
            (Answer::Done(_), _) => self.retreat_from(now, "its answer makes no sense"),
        }
    }

    fn retreat_from(&mut self, now: Moment, problem: &str) {
        self.trouble_here(now, problem);
        let delay = self.search.backoff();
        self.retreat(now, delay);
    }

    fn answer(&mut self, now: Moment, number: RequestNumber, answer: Answer) {
        let finished = match answer {
            Answer::Done(response) => {
                if self.ledger.is_close(number) {
                    return self.closed();
                }
                let safe = self.state == State::Safe;
                self.ledger.done(number, response, safe)
            }
            Answer::Refused(Refusal::NoSession { session }) if self.id() == Some(session) => {
                return self.gone();
            }
            Answer::Refused(refusal) => self.ledger.refused(number, refusal),
            Answer::Unavailable(Unavailable::Condemned) => return self.condemned(now),
            Answer::Unavailable(unavailable) => {
                if self.ledger.is_open(number)
                    && let Some(delay) = self.unavailable(now, &unavailable)
                {
                    self.again
                        .insert((now.after(delay), Again::Mutation(number)));
                }
                None
            }
        };
        if let Some(finished) = finished {
            self.complete(finished);
        }
    }

    fn query_answer(&mut self, now: Moment, id: u64, answer: Result<QueryResponse, Answer>) {
        let outcome = match answer {
            Ok(response) => Outcome::Found(response),
            Err(Answer::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Answer::Done(_)) => {
                let what = "the replica answered a query as if it were a mutation".to_owned();
                Outcome::Refused(Refusal::Invalid { what })
            }
            Err(Answer::Unavailable(unavailable)) => {
                if let Some(delay) = self.unavailable(now, &unavailable) {
                    self.again.insert((now.after(delay), Again::Query(id)));
                }
                return;
            }
        };
        if let Some(asked) = self.queries.remove(id) {
            self.complete((asked.call, outcome));
        }
    }

    /// Returns when to try again on this connection; nothing if it was left.
    fn unavailable(&mut self, now: Moment, unavailable: &Unavailable) -> Option<Duration> {
        match unavailable {
            Unavailable::NotMaster { address, .. } => {
                self.not_master(now, address.as_deref());
                None
            }
            Unavailable::Overloaded { retry_after_ms } => {
                let whole = retry_after_ms
                    .saturating_mul(2)
                    .clamp(RETRY_MS, RETRY_MS_MAX);
                Some(self.search.jittered(whole))
            }
            Unavailable::DiskFull => Some(self.search.jittered(RETRY_DISK_FULL_MS)),
            Unavailable::Condemned => Some(self.search.jittered(RETRY_MS)),
        }
    }

    fn not_master(&mut self, now: Moment, hint: Option<&str>) {
        let Some(present) = &mut self.connection else {
            return;
        };
        match self.search.not_master(now, &present.address, hint) {
            Verdict::Master => {}
            Verdict::Elsewhere(address) => self.connect(now, address),
            Verdict::Listen(delay) | Verdict::OtherCell(delay) => self.listen(now, delay),
        }
    }
}
