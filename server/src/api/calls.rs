//! Calls of the simple interface on their way to the owner and back.
//!
//! A call is one message in and one answer out, so each carries its own way back: a channel for one
//! value. What the door can check is checked here, with the same words as for the `Attach` stream.
//!
//! This module must never leave a caller without an answer: when the owner is gone, so is the way
//! back, and the caller learns that.

use super::admission::{admitted_change, admitted_path, admitted_query};
use super::door::{Door, OwnerGone};
use cotter_replica::{CallId, Input};
use cotter_types::{Call, CallAnswer, Refusal, Sequencer};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

impl Door {
    /// Makes a call for `principal` at the replica of the cell called `cell`, and waits for its answer.
    /// A caller that goes away before has made the call nevertheless.
    ///
    /// # Errors
    /// [`OwnerGone`] if the replica stops before it answers: whether the call is done is not known.
    pub async fn call(
        &self,
        cell: &str,
        principal: String,
        call: Call,
    ) -> Result<CallAnswer, OwnerGone> {
        let call = match admitted(call, cell) {
            Ok(call) => call,
            Err(refusal) => return Ok(CallAnswer::Refused(refusal)),
        };
        metrics::counter!("cotter_api_calls_total").increment(1);
        let (reply, answer) = oneshot::channel();
        self.push_call(principal, call, reply).await?;
        answer.await.map_err(|_| OwnerGone)
    }
}

/// Returns the call as the owner shall see it.
fn admitted(call: Call, cell: &str) -> Result<Call, Refusal> {
    Ok(match call {
        Call::Acquire {
            request,
            mut acquire,
            answer_within_ms,
        } => {
            acquire.path = admitted_path(&acquire.path, cell)?;
            Call::Acquire {
                request,
                acquire,
                answer_within_ms,
            }
        }
        Call::Change {
            request,
            repeatable,
            sequencer,
            change,
        } => Call::Change {
            request,
            repeatable,
            sequencer: sequencer
                .map(|sequencer| {
                    admitted_path(&sequencer.path, cell).map(|path| Sequencer { path, ..sequencer })
                })
                .transpose()?,
            change: admitted_change(change, cell)?,
        },
        Call::Query(query) => Call::Query(admitted_query(query, cell)?),
        call @ (Call::Renew { .. } | Call::Release { .. } | Call::Administer(_)) => call,
    })
}

/// The calls that the owner has not answered yet. The owner of the replica keeps it, and nobody else.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    last: u64,
    waiting: BTreeMap<CallId, oneshot::Sender<CallAnswer>>,
}

impl CallTable {
    /// Turns a call into an input for the replica.
    pub(super) fn admit(&mut self, called: Called) -> Input {
        self.last += 1;
        let call = CallId(self.last);
        self.waiting.insert(call, called.reply);
        self.count();
        Input::Call {
            call,
            principal: called.principal,
            request: called.call,
        }
    }

    /// Answers a call. Whoever does not wait any more is not told.
    pub(super) fn answer(&mut self, call: CallId, answer: CallAnswer) {
        if let Some(reply) = self.waiting.remove(&call) {
            let _ = reply.send(answer);
            self.count();
        }
    }

    fn count(&self) {
        metrics::gauge!("cotter_api_calls_waiting").set(self.waiting.len() as f64);
    }
}

/// A call that arrives at the owner.
#[derive(Debug)]
pub(super) struct Called {
    /// Who calls.
    pub(super) principal: String,
    /// What for.
    pub(super) call: Call,
    /// The way back.
    pub(super) reply: oneshot::Sender<CallAnswer>,
}
