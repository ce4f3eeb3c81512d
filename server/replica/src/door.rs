//! The one door by which requests come in: frames of client streams.
//!
//! Here a request becomes an admitted one: its stream has said hello, this replica reigns and its
//! lease stands, the session is attached to this very stream, nothing is over its limit. What is
//! refused here was never proposed and may be sent again.

use crate::io::{Output, StreamId};
use crate::log::{LogRoom, ReplicaLog};
use crate::master::change_frees_something;
use crate::replica::Replica;
use cotter_cell::{Command, Recorded};
use cotter_types::limits::{
    IN_FLIGHT_MAX, IN_FLIGHT_PER_STREAM_MAX, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN,
    SESSIONS_PER_STREAM_MAX,
};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{
    Acknowledged, Answer, ClientFrame, Moment, Mutation as Change, Nonce, OpenSession, Query,
    QueryResponse, Refusal, RequestNumber, ServerFrame, SessionId, Unavailable,
};

/// How long a client should wait after a refusal for load, in milliseconds.
const OVERLOAD_RETRY_MS: u64 = 50;

/// Returns the refusal for load.
pub(crate) fn overloaded() -> Unavailable {
    Unavailable::Overloaded {
        retry_after_ms: OVERLOAD_RETRY_MS,
    }
}

/// What becomes of a mutation at the door.
enum AtTheDoor {
    /// It is answered without the log.
    Answer(Answer),
    /// It waits in the cell's queue already; its answer comes with the grant.
    Wait,
    /// Its session is not attached to the stream (any more, or not yet in this reign): the client is
    /// told so, attaches, and sends it again.
    Detached,
    /// It goes into the log.
    Propose,
}

impl<L: ReplicaLog> Replica<L> {
    pub(crate) fn frame(&mut self, now: Moment, stream: StreamId, frame: ClientFrame) {
        let Some(known) = self.streams.get_mut(stream) else {
            return;
        };
        if let ClientFrame::Hello { cell, .. } = &frame {
            if known.greeted || cell.is_some_and(|cell| cell != self.cell.cell_id()) {
                let reason = if known.greeted {
                    "a second hello on one stream".to_owned()
                } else {
                    format!("this is another cell: {}", self.cell.cell_id())
                };
                self.send(
                    stream,
                    ServerFrame::GoAway {
                        reason,
                        retry_after_ms: 1_000,
                    },
                );
                self.hold(Output::CloseStream { stream });
                return;
            }
            known.greeted = true;
            let welcome = self.welcome();
            self.send(stream, ServerFrame::Welcome(welcome));
            return;
        }
        if !known.greeted {
            let reason = "the first frame must be a hello".to_owned();
            self.send(
                stream,
                ServerFrame::GoAway {
                    reason,
                    retry_after_ms: 1_000,
                },
            );
            self.hold(Output::CloseStream { stream });
            return;
        }
        if let ClientFrame::Query {
            id,
            query: Query::Status,
        } = frame
        {
            let answer = Ok(QueryResponse::Status(Box::new(self.status(now))));
            self.send(stream, ServerFrame::QueryAnswer { id, answer });
        } else if self.master.is_some() {
            self.admit(now, stream, frame);
        } else {
            self.refuse(stream, frame, self.not_master());
        }
    }

    pub(crate) fn stream_closed(&mut self, id: StreamId) {
        let Some(stream) = self.streams.close(id) else {
            return;
        };
        let Some(master) = self.master.as_mut() else {
            return;
        };
        for session in stream.attached {
            master.leases.detach(session, stream.renewed);
        }
    }

    fn admit(&mut self, now: Moment, stream: StreamId, frame: ClientFrame) {
        match frame {
            ClientFrame::Hello { .. } => {}
            ClientFrame::Open(open) => self.admit_open(now, stream, open),
            ClientFrame::Attach { session, nonce } => {
                self.admit_attach(now, stream, session, nonce);
            }
            ClientFrame::KeepAlive { number } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.renewed = now;
                }
                self.send(stream, ServerFrame::KeepAlive { number });
            }
            ClientFrame::Mutate {
                session,
                number,
                acknowledged,
                mutation,
            } => {
                self.admit_mutation(stream, session, number, acknowledged, mutation);
            }
            ClientFrame::Query { id, query } => {
                let answer = self.answer_query(now, &query);
                self.send(stream, ServerFrame::QueryAnswer { id, answer });
            }
        }
    }

    fn admit_open(&mut self, now: Moment, stream: StreamId, mut open: OpenSession) {
        let nonce = open.nonce;
        if let Some(session) = self.cell.session_by_nonce(nonce) {
            if self.cell.is_of_a_call(session) {
                let answer = Answer::Refused(Refusal::RequestIdReused);
                self.send(stream, ServerFrame::OpenRefused { nonce, answer });
                return;
            }
            self.reopen(now, stream, nonce, session);
            return;
        }
        if open.lease_ms == 0 {
            open.lease_ms = LEASE_MS_DEFAULT;
        }
        let refused = self.refusal_of_open(stream, &open);
        let Some(master) = self.master.as_mut() else {
            return;
        };
        if let Some(answer) = refused {
            self.send(stream, ServerFrame::OpenRefused { nonce, answer });
            return;
        }
        if master.opening.insert(nonce, stream).is_none() {
            let principal = self
                .streams
                .get(stream)
                .map(|s| s.principal.clone())
                .unwrap_or_default();
            master.enqueue(Command::Open { open, principal });
        }
    }

    fn refusal_of_open(&self, stream: StreamId, open: &OpenSession) -> Option<Answer> {
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&open.lease_ms) {
            let what = format!(
                "a lease of {} ms; it must be {LEASE_MS_MIN} to {LEASE_MS_MAX}",
                open.lease_ms
            );
            return Some(Answer::Refused(Refusal::Invalid { what }));
        }
        let attached = self
            .streams
            .get(stream)
            .map_or(0, |stream| stream.attached.len());
        if attached >= SESSIONS_PER_STREAM_MAX {
            return Some(Answer::Refused(Refusal::Limit {
                what: "sessions on one stream".to_owned(),
                limit: SESSIONS_PER_STREAM_MAX as u64,
            }));
        }
        self.overload(false).map(Answer::Unavailable)
    }

    /// Finds the session that an earlier attempt to open it has made.
    fn reopen(&mut self, now: Moment, stream: StreamId, nonce: Nonce, session: SessionId) {
        let Some(master) = self.master.as_ref() else {
            return;
        };
        if master.leases.is_condemned(session) {
            let answer = Answer::Unavailable(Unavailable::Condemned);
            self.send(stream, ServerFrame::OpenRefused { nonce, answer });
            return;
        }
        let lease_ms = self
            .cell
            .session(session)
            .map_or(0, |session| session.lease_ms);
        self.attach(session, stream, now);
        self.send(
            stream,
            ServerFrame::Opened {
                nonce,
                session,
                lease_ms,
            },
        );
    }

    fn admit_attach(&mut self, now: Moment, stream: StreamId, session: SessionId, nonce: Nonce) {
        let lease_ms = self
            .cell
            .session(session)
            .filter(|known| known.nonce == nonce && !self.cell.is_of_a_call(session))
            .map(|known| known.lease_ms);
        let attached = self
            .streams
            .get(stream)
            .map_or(0, |stream| stream.attached.len());
        let Some(master) = self.master.as_ref() else {
            return;
        };
        let refused = match lease_ms {
            None => Some(Answer::Refused(Refusal::NoSession { session })),
            Some(_) if master.leases.is_condemned(session) => {
                Some(Answer::Unavailable(Unavailable::Condemned))
            }
            Some(_) if attached >= SESSIONS_PER_STREAM_MAX => {
                Some(Answer::Unavailable(Unavailable::Overloaded {
                    retry_after_ms: OVERLOAD_RETRY_MS,
                }))
            }
            Some(_) => None,
        };
        if let Some(answer) = refused {
            self.send(stream, ServerFrame::AttachRefused { session, answer });
            return;
        }
        self.attach(session, stream, now);
        let lease_ms = lease_ms.unwrap_or_default();
        self.send(stream, ServerFrame::Attached { session, lease_ms });
        for notice in self.cell.conflicts_of(session) {
            self.send(stream, ServerFrame::Notice { session, notice });
        }
    }

    /// Extends a session's lease and moves it to a stream, telling the one that it leaves.
    pub(crate) fn attach(&mut self, session: SessionId, stream: StreamId, now: Moment) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        entry.attached.insert(session);
        if let Some(left) = master.leases.attach(session, stream, now) {
            self.forget_attachment(session, left);
            self.send(
                left,
                ServerFrame::Detached {
                    session,
                    condemned: false,
                },
            );
        }
    }

    fn admit_mutation(
        &mut self,
        stream: StreamId,
        session: SessionId,
        number: RequestNumber,
        acknowledged: Acknowledged,
        change: Change,
    ) {
        match self.decide_at_the_door(stream, session, number, &change) {
            AtTheDoor::Answer(answer) => {
                self.send(
                    stream,
                    ServerFrame::Answer {
                        session,
                        number,
                        answer,
                    },
                );
            }
            AtTheDoor::Wait => {}
            AtTheDoor::Detached => {
                let condemned = false;
                self.send(stream, ServerFrame::Detached { session, condemned });
            }
            AtTheDoor::Propose => {
                let Some(master) = self.master.as_mut() else {
                    return;
                };
                let before = master.in_flight.insert((session, number), stream);
                if before.is_none() || mutation::active(Mutation::DedupeSkipped) {
                    let mutation = change;
                    master.enqueue(Command::Mutate {
                        session,
                        number,
                        acknowledged,
                        mutation,
                    });
                }
                self.streams.count_in_flight(stream, before);
            }
        }
    }

    /// Decides what needs no log entry: what is known already, and what must not go further.
    fn decide_at_the_door(
        &self,
        stream: StreamId,
        session: SessionId,
        number: RequestNumber,
        change: &Change,
    ) -> AtTheDoor {
        let Some(master) = self.master.as_ref() else {
            return AtTheDoor::Answer(Answer::Unavailable(self.not_master()));
        };
        if self.cell.session(session).is_none() {
            return AtTheDoor::Answer(Answer::Refused(Refusal::NoSession { session }));
        }
        if master.leases.is_condemned(session) {
            return AtTheDoor::Answer(Answer::Unavailable(Unavailable::Condemned));
        }
        if master.leases.stream_of(session) != Some(stream) {
            return AtTheDoor::Detached;
        }
        match self.cell.outcome(session, number) {
            _ if mutation::active(Mutation::DedupeSkipped) => {}
            Recorded::Done(Ok(response)) => return AtTheDoor::Answer(Answer::Done(response)),
            Recorded::Done(Err(refusal)) => return AtTheDoor::Answer(Answer::Refused(refusal)),
            Recorded::Acknowledged => {
                return AtTheDoor::Answer(Answer::Refused(Refusal::Acknowledged { number }));
            }
            Recorded::NoSession => {
                return AtTheDoor::Answer(Answer::Refused(Refusal::NoSession { session }));
            }
            Recorded::Waiting => return AtTheDoor::Wait,
            Recorded::Unseen => {}
        }
        let frees = change_frees_something(change);
        let in_flight = self
            .streams
            .get(stream)
            .map_or(0, |stream| stream.in_flight);
        let crowded = in_flight >= IN_FLIGHT_PER_STREAM_MAX;
        if crowded && !master.in_flight.contains_key(&(session, number)) {
            let retry_after_ms = OVERLOAD_RETRY_MS;
            return AtTheDoor::Answer(Answer::Unavailable(Unavailable::Overloaded {
                retry_after_ms,
            }));
        }
        self.overload(frees).map_or(AtTheDoor::Propose, |why| {
            AtTheDoor::Answer(Answer::Unavailable(why))
        })
    }

    /// Tells why nothing more can be admitted; what frees something always is, up to twice the bound.
    pub(crate) fn overload(&self, frees: bool) -> Option<Unavailable> {
        let load = self.master.as_ref().map_or(0, |master| master.load());
        if load >= IN_FLIGHT_MAX * if frees { 2 } else { 1 } {
            return Some(overloaded());
        }
        (!frees && self.consensus.room() == LogRoom::Scarce).then_some(Unavailable::DiskFull)
    }

    /// Answers a query from the applied state. The lease was looked at after the query arrived: this
    /// turn's `now` is later than its arrival, and a lapsed lease has ended the reign (I-MASTER-4).
    pub(crate) fn answer_query(&self, now: Moment, query: &Query) -> Result<QueryResponse, Answer> {
        let Some(master) = self.master.as_ref() else {
            return Err(Answer::Unavailable(self.not_master()));
        };
        let mut response = self
            .cell
            .query(query, master.cell_time(now))
            .map_err(Answer::Refused)?;
        let left = |session: SessionId| {
            let end = master.leases.end_of(session, &self.streams)?;
            u64::try_from(end.since(now).as_millis()).ok()
        };
        match &mut response {
            QueryResponse::Explain(explanation) => {
                for holder in &mut explanation.holders {
                    holder.lease_left_ms = left(holder.session);
                }
                explanation.worst_case_free_ms = explanation
                    .holders
                    .iter()
                    .map(|holder| holder.lease_left_ms.unwrap_or(0) + holder.lock_delay_ms)
                    .max()
                    .map(|worst| worst.max(explanation.lock_delay_left_ms));
            }
            QueryResponse::Locks { rows, .. } => {
                for holder in rows.iter_mut().filter_map(|row| row.holder.as_mut()) {
                    holder.lease_left_ms = left(holder.session);
                }
            }
            QueryResponse::Sessions { rows, .. } => {
                for row in rows {
                    row.lease_left_ms = left(row.session);
                }
            }
            QueryResponse::Node { .. }
            | QueryResponse::Stat { .. }
            | QueryResponse::List { .. }
            | QueryResponse::Sequencer { .. }
            | QueryResponse::Status(_) => {}
        }
        Ok(response)
    }

    /// Says that this replica cannot help, in the form that the frame asks for.
    fn refuse(&mut self, stream: StreamId, frame: ClientFrame, why: Unavailable) {
        let answer = Answer::Unavailable(why);
        let reply = match frame {
            ClientFrame::Hello { .. } => return,
            // Silence is the answer that extends nothing; the welcome has said who is master.
            ClientFrame::KeepAlive { .. } => return,
            ClientFrame::Open(open) => ServerFrame::OpenRefused {
                nonce: open.nonce,
                answer,
            },
            ClientFrame::Attach { session, .. } => ServerFrame::AttachRefused { session, answer },
            ClientFrame::Mutate {
                session, number, ..
            } => ServerFrame::Answer {
                session,
                number,
                answer,
            },
            ClientFrame::Query { id, .. } => ServerFrame::QueryAnswer {
                id,
                answer: Err(answer),
            },
        };
        self.send(stream, reply);
    }
}
