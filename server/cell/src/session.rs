//! Sessions: how they begin and how they end.
//!
//! A session's end costs what the session owns, and nothing else. Its waits go first, so that
//! nothing that its own locks free can be granted to it.

use crate::apply::Application;
use crate::effect::Effect;
use crate::state::{Ledger, Outcome, Session};
use crate::tree::limit;
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    EndReason, HandEnd, OpenSession, Refusal, RequestNumber, SessionId, check_lease_ms, limits,
};
use std::sync::Arc;

impl Application<'_> {
    /// Opens a session, or finds the one that the same nonce opened before.
    pub(crate) fn open(&mut self, open: &OpenSession, principal: &str) {
        let result = self.open_or_find(open, principal);
        self.tell(Effect::Opened {
            nonce: open.nonce,
            result,
        });
    }

    pub(crate) fn open_or_find(
        &mut self,
        open: &OpenSession,
        principal: &str,
    ) -> Result<(SessionId, u64), Refusal> {
        if let Some(id) = self.cell.session_by_nonce(open.nonce) {
            let known = self.cell.session(id).expect("a nonce has a session");
            if self.cell.is_of_a_call(id) {
                return Err(Refusal::RequestIdReused);
            }
            if known.principal != principal {
                return Err(Refusal::Invalid {
                    what: "the nonce belongs to a session of another principal".to_owned(),
                });
            }
            return Ok((id, known.lease_ms));
        }
        check_open(open, principal)?;
        if self.cell.sessions.len() >= limits::SESSIONS_MAX {
            return Err(limit("sessions in the cell", limits::SESSIONS_MAX));
        }
        let header = &mut self.cell.header;
        header.session = header.session.next();
        let id = header.session;
        let session = Session {
            nonce: open.nonce,
            lease_ms: open.lease_ms,
            metadata: open.metadata.clone(),
            principal: principal.to_owned(),
            opened: header.time,
            opened_wall_ms: self.wall_ms,
        };
        self.cell.sessions.insert(id, Arc::new(session));
        self.cell.ledgers.insert(id, Ledger::default());
        self.cell.indexes.nonces.insert(open.nonce, id);
        Ok((id, open.lease_ms))
    }

    /// Ends a session that exists, with everything that it owns.
    pub(crate) fn end_session(&mut self, session: SessionId, reason: EndReason) {
        self.tell(Effect::SessionEnded { session, reason });
        self.call_ends(session, reason);
        let outcomes: Vec<_> = self
            .cell
            .outcomes_of(session, RequestNumber(0), RequestNumber(u64::MAX))
            .map(|(number, outcome)| (number, outcome.clone()))
            .collect();
        for (number, outcome) in outcomes {
            if let Outcome::Waiting(path, place) = outcome {
                self.end_wait_of_ended(&path, place);
            }
            self.cell.outcomes.remove(&(session, number));
        }
        let holds: Vec<_> = self
            .cell
            .holds_of(session)
            .map(|(_, path, place)| (path.clone(), place))
            .collect();
        let end = match reason {
            EndReason::Closed => HandEnd::SessionClosed,
            EndReason::Expired => HandEnd::SessionExpired,
        };
        for (path, place) in holds {
            self.end_hold(&path, place, end);
        }
        let opens: Vec<_> = self.cell.opens_of(session).cloned().collect();
        for path in opens {
            self.close_node(session, &path);
        }
        let ledger = self.cell.ledgers.remove(&session).unwrap_or_default();
        assert!(
            ledger.holds == 0 && ledger.opens == 0,
            "invariant I-CELL-3: {session} ended and left something behind"
        );
        if let Some(row) = self.cell.sessions.remove(&session) {
            self.cell.indexes.nonces.remove(&row.nonce);
        }
    }

    fn end_wait_of_ended(&mut self, path: &cotter_types::Path, place: u64) {
        let survives = mutation::active(Bug::WaiterSurvivesSession)
            || mutation::active(Bug::GrantWithoutLivenessCheck);
        if survives {
            return;
        }
        self.disturb(path);
        let waiter = self.cell.waiters.get(&(path.clone(), place));
        let waiter = waiter
            .cloned()
            .expect("invariant I-CELL-4: a wait has a waiter");
        self.remove_waiter(path, place, &waiter);
    }
}

/// Checks what a client says of itself; the door has checked it before.
fn check_open(open: &OpenSession, principal: &str) -> Result<(), Refusal> {
    check_lease_ms(open.lease_ms)?;
    let labels = [
        ("bytes of a session's name", open.metadata.name.as_str()),
        ("bytes of a session's host", &open.metadata.host),
        ("bytes of a session's program", &open.metadata.program),
        ("bytes of a session's principal", principal),
    ];
    for (what, label) in labels {
        if label.len() > limits::LABEL_BYTES_MAX {
            return Err(limit(what, limits::LABEL_BYTES_MAX as u64));
        }
    }
    Ok(())
}
