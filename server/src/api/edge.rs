//! What the front doors for programs in any language share: the unary gRPC services and HTTP.
//!
//! A front door reads a request, makes a [`Call`] of it, and hands it to [`Edge::call`], which comes
//! back with what was achieved or with why nothing was ([`No`]). The two doors differ in how they read
//! and write, and in nothing else: request ids, deadlines, what is safe to believe of a lease, and what
//! is known of a call whose answer was lost are decided here.
//!
//! **What is not known is said to be not known.** A call whose answer is lost, because a reign or the
//! process ended or its deadline passed, may have been done. Whoever can make it again under the same
//! name (a query, an acquire, a renewal, a release, a change with a request id of the caller's) is told
//! so. A change without is never suggested for repetition: that would do it twice.
//!
//! **Deadlines.** The caller is answered before its deadline, not at it, or it would never see the
//! answer. An acquire that is still waiting answers `queued` in time. One whose deadline passes is not
//! cancelled: its caller may repeat it, and if nobody does, its lease ends it.
//!
//! This module must never repeat a call by itself, and never promise more of a lease than the cell did.

use super::admission::admitted_path;
use super::door::{Door, OwnerGone};
use cotter_cell::Cell;
use cotter_proto::status::{No, Unknown};
use cotter_types::limits::CLOCK_DRIFT_PER_MILLE;
use cotter_types::{
    Call, CallAnswer, CallResponse, Path, Refusal, RequestId, Sequencer, Unavailable,
};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Which part of the time that a caller gives is kept for the way back.
const MARGIN_PARTS: u32 = 20;
/// Most that is kept for the way back, in milliseconds.
const MARGIN_MS_MAX: u64 = 250;

/// The name of a holder that gives none.
const UNNAMED: &str = "unnamed";

/// The way from a front door to the cell. Clones are cheap and lead to the same replica.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    door: Door,
    cell: Arc<str>,
}

impl Edge {
    /// Leads through `door` to a replica of the cell called `cell`.
    pub(super) fn new(door: Door, cell: &str) -> Self {
        let cell = Arc::from(cell);
        Self { door, cell }
    }

    /// Asks for the whole state as the master may say it now.
    pub(super) async fn snapshot(&self) -> Result<Result<Cell, Unavailable>, OwnerGone> {
        self.door.snapshot().await
    }

    /// Returns a path as the cell knows it.
    ///
    /// # Errors
    /// A refusal if it is of another cell.
    pub(super) fn local(&self, path: &Path) -> Result<Path, Refusal> {
        admitted_path(path, &self.cell)
    }

    /// Makes a call for `principal`, and waits for its answer until shortly before `deadline`.
    ///
    /// # Errors
    /// [`No::Refused`] if it was decided against, [`No::Unavailable`] if nothing was decided and the
    /// call may be made again, [`No::Unknown`] if it may have been done or not.
    pub(super) async fn call(
        &self,
        principal: String,
        mut call: Call,
        deadline: Option<Instant>,
    ) -> Result<CallResponse, No> {
        introduce(&mut call, &principal);
        let repeatable = is_repeatable(&call);
        let lost = |late| No::Unknown(Unknown { repeatable, late });
        let answered = match deadline {
            None => self.door.call(&self.cell, principal, call).await,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let margin = (left / MARGIN_PARTS).min(Duration::from_millis(MARGIN_MS_MAX));
                if left.is_zero() {
                    return Err(lost(true));
                }
                answer_within(&mut call, left - 2 * margin);
                let answer = self.door.call(&self.cell, principal, call);
                match timeout_at(deadline - margin, answer).await {
                    Ok(answered) => answered,
                    Err(_elapsed) => return Err(lost(true)),
                }
            }
        };
        match answered {
            Ok(CallAnswer::Done(response)) => Ok(response),
            Ok(CallAnswer::Refused(refusal)) => Err(No::Refused(refusal)),
            Ok(CallAnswer::Unavailable(unavailable)) => Err(No::Unavailable(unavailable)),
            Ok(CallAnswer::Interrupted) | Err(_) => Err(lost(false)),
        }
    }
}

/// Tells whether the caller may make the call again, and it is done once.
fn is_repeatable(call: &Call) -> bool {
    match call {
        Call::Change { repeatable, .. } => *repeatable,
        // A change that was made already is refused, which is no answer to whether this one was.
        Call::Administer(_) => false,
        Call::Acquire { .. } | Call::Renew { .. } | Call::Release { .. } | Call::Query(_) => true,
    }
}

/// Gives a holder who does not say who it is a name that people can read, and its address as its host.
fn introduce(call: &mut Call, principal: &str) {
    if let Call::Acquire { acquire, .. } = call {
        let holder = &mut acquire.holder;
        if holder.name.is_empty() {
            UNNAMED.clone_into(&mut holder.name);
        }
        if holder.host.is_empty() {
            let (_, address) = principal.rsplit_once('@').unwrap_or(("", principal));
            address.clone_into(&mut holder.host);
        }
    }
}

/// Lets an acquire that waits say so within `left`.
fn answer_within(call: &mut Call, left: Duration) {
    if let Call::Acquire {
        answer_within_ms, ..
    } = call
    {
        // 0 would leave it to the master.
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        *answer_within_ms = match *answer_within_ms {
            0 => left_ms,
            ms => ms.min(left_ms),
        };
    }
}

/// Returns how long a caller may act on a lease of `lease_ms` milliseconds, counted by its own
/// monotonic clock from when it *sent* the call: the lease less the bound for the drift of clocks, as
/// the client library takes it off too.
pub(super) fn safe_ms(lease_ms: u64) -> u64 {
    u64::try_from(u128::from(lease_ms) * u128::from(1_000 - CLOCK_DRIFT_PER_MILLE) / 1_000)
        .unwrap_or(lease_ms)
}

/// Says who calls. Nobody proves who they are yet, and the name says so.
pub(super) fn principal(address: Option<SocketAddr>) -> String {
    match address {
        Some(address) => format!("anonymous@{}", address.ip().to_canonical()),
        None => "anonymous".to_owned(),
    }
}

/// Reads a request id that must be given.
///
/// # Errors
/// A refusal that names `field`.
pub(super) fn request_id(text: &str, field: &str) -> Result<RequestId, No> {
    text.parse().map_err(|error| invalid(field, error))
}

/// Reads the request id of a change, or draws one; and tells whether the caller knows it and so may
/// repeat the change.
///
/// # Errors
/// A refusal that names `field`.
pub(super) fn change_id(text: Option<&str>, field: &str) -> Result<(RequestId, bool), No> {
    match text {
        Some(text) => Ok((request_id(text, field)?, true)),
        None => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes)
                .map_err(|error| invalid(field, format!("none can be drawn: {error}")))?;
            // 0 is none.
            Ok((RequestId(u128::from_be_bytes(bytes).max(1)), false))
        }
    }
}

/// Reads the printable form of a sequencer.
///
/// # Errors
/// A refusal that names `field`.
pub(super) fn sequencer(text: &str, field: &str) -> Result<Sequencer, No> {
    text.parse().map_err(|error| invalid(field, error))
}

/// Returns the refusal of a field that makes no sense.
pub(super) fn invalid(field: &str, problem: impl Display) -> No {
    let what = format!("{field}: {problem}");
    No::Refused(Refusal::Invalid { what })
}

/// Counts an answer of a front door (`grpc` or `http`): to which method, with which code, and how long
/// it took.
pub(super) fn count(
    door: &'static str,
    method: &'static str,
    code: impl Into<String>,
    took: Duration,
) {
    metrics::counter!("cotter_api_answers_total",
        "door" => door, "method" => method, "code" => code.into())
    .increment(1);
    metrics::histogram!("cotter_api_answer_seconds", "door" => door, "method" => method)
        .record(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::safe_ms;

    #[test]
    fn what_is_safe_of_a_lease_is_less_than_it_by_the_drift() {
        assert_eq!(safe_ms(12_000), 11_880);
        assert_eq!(safe_ms(1), 0);
        assert_eq!(safe_ms(0), 0);
    }
}
