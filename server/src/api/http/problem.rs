//! What is wrong, in one shape, with the status that says most nearly what to do next.
//!
//! | status | means | what to do |
//! |---|---|---|
//! | 400, 405, 408, 411, 413, 415 | the request cannot be understood | correct it |
//! | 404 | no such node, lock id or resource | |
//! | 409 | decided against, as things stand: held, exists, has children, a lost compare-and-set | look again |
//! | 410 | this acquisition is over: released, or its lease ran out | stop, acquire anew |
//! | 412 | stale sequencer: the lock that the change rests on was lost | stop; never repeat |
//! | 422 | a limit is reached, or the request id was used for something else | repeating does not help |
//! | 429 | overloaded; nothing was done | the same again after `Retry-After` |
//! | 503 | nothing was done here | the same again, at `Cotter-Master` if it is named |
//! | 504 | it may have been done or not | the same again, under the same request id |
//!
//! A lost compare-and-set is 409 and not 412, though RFC 9110 would have 412 for `If-Match`: here 412
//! means one thing only, that whoever writes has lost its lock, and a program must be able to tell
//! "read again and merge" from "stop at once" by the status alone.
//! A limit is not 429, because clients repeat that by themselves; nor 507, because it is not this
//! server's fault.
//!
//! The matches have no catch-all arm: a new refusal does not compile before somebody has thought
//! about its status.

use super::{Answer, Content};
use axum::http::{Method, StatusCode};
use cotter_proto::status::{No, Unknown, code, retry_after_ms};
use cotter_types::{Refusal, Unavailable};
use serde_json::{Value, json};
use tonic::Code;

/// Header with the address of the master.
const MASTER: &str = "cotter-master";
/// When to try again, in seconds.
const RETRY_AFTER: &str = "retry-after";
/// Longest part of a request that is repeated in a text, in characters.
const QUOTED_CHARACTERS_MAX: usize = 128;

/// Something is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// The family: the gRPC code of the same answer, in lower case.
    code: &'static str,
    pub(super) message: String,
    /// What exactly, for programs: `kind`, and what belongs to it.
    reason: Value,
    retry_after_ms: Option<u64>,
    master: Option<String>,
}

impl Problem {
    fn of_request(status: StatusCode, kind: &'static str, message: String) -> Self {
        Self {
            status,
            code: "invalid_argument",
            message,
            reason: json!({ "kind": kind }),
            retry_after_ms: None,
            master: None,
        }
    }

    /// The request, or a part of it, makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::of_request(StatusCode::BAD_REQUEST, "invalid", message.into())
    }

    /// The body is too large.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body is too large; the limit is {limit} bytes");
        let mut problem = Self::of_request(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
        problem.reason["limit"] = limit.into();
        problem
    }

    /// The body is of a kind that is not understood.
    pub(super) fn media_type(message: String) -> Self {
        Self::of_request(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message)
    }

    /// The body did not come in time.
    pub(super) fn slow_body(limit_ms: u64) -> Self {
        let message = format!("the body did not arrive within {limit_ms} ms");
        Self::of_request(StatusCode::REQUEST_TIMEOUT, "slow_body", message)
    }

    /// The resource cannot be asked this.
    pub(super) fn method(method: &Method, path: &str) -> Self {
        let (method, path) = (quoted(method.as_str()), quoted(path));
        let message = format!("{path} has no {method}; the header allow says what it has");
        Self::of_request(StatusCode::METHOD_NOT_ALLOWED, "method", message)
    }

    /// There is no such resource.
    pub(super) fn no_such_resource(path: &str) -> Self {
        let path = quoted(path);
        let message = format!("there is no {path} here; /v1/openapi.json describes what there is");
        let mut problem = Self::of_request(StatusCode::NOT_FOUND, "resource", message);
        problem.code = "not_found";
        problem
    }

    /// The replica knows no master yet.
    pub(super) fn not_ready() -> Self {
        Self::from(No::Unavailable(Unavailable::NotMaster {
            master: None,
            address: None,
        }))
    }

    /// Returns the whole in its one shape.
    fn json(&self) -> Value {
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "reason": self.reason,
        });
        if let Some(ms) = self.retry_after_ms {
            error["retry_after_ms"] = ms.into();
        }
        if let Some(master) = &self.master {
            error["master"] = master.as_str().into();
        }
        json!({ "error": error })
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut headers = Vec::new();
        // Whoever knows the master need not wait.
        if let (Some(ms), None) = (problem.retry_after_ms, &problem.master) {
            headers.push((RETRY_AFTER, ms.div_ceil(1_000).max(1).to_string()));
        }
        headers.extend(problem.master.clone().map(|master| (MASTER, master)));
        Self {
            status: problem.status,
            headers,
            body: Content::Json(problem.json()),
        }
    }
}

impl From<No> for Problem {
    fn from(no: No) -> Self {
        let (message, mut reason, master) = match &no {
            No::Refused(refusal) => (refusal.to_string(), refused(refusal), None),
            No::Unavailable(unavailable) => {
                let master = match unavailable {
                    Unavailable::NotMaster { address, .. } => address.clone(),
                    Unavailable::Overloaded { .. }
                    | Unavailable::DiskFull
                    | Unavailable::Condemned => None,
                };
                let mut message = unavailable.to_string();
                if let Some(address) = &master {
                    message = format!("{message}; the master is at {address}");
                }
                (message, missing(unavailable), master)
            }
            No::Unknown(unknown) => (unknown.to_string(), json!({}), None),
        };
        reason["kind"] = kind(&no).into();
        if let No::Unknown(Unknown { repeatable, .. }) = no {
            reason["repeatable"] = repeatable.into();
        }
        Self {
            status: status(&no),
            code: code_name(code(&no)),
            message,
            reason,
            retry_after_ms: retry_after_ms(&no),
            master,
        }
    }
}

/// Returns the status that says most nearly the same.
pub(super) fn status(no: &No) -> StatusCode {
    match no {
        No::Refused(refusal) => match refusal {
            Refusal::NotFound { .. } | Refusal::UnknownLock => StatusCode::NOT_FOUND,
            Refusal::AlreadyExists { .. }
            | Refusal::Changed { .. }
            | Refusal::TransactionFailed { .. }
            | Refusal::HasChildren { .. }
            | Refusal::EphemeralParent { .. }
            | Refusal::TtlParent { .. }
            | Refusal::NotEphemeral { .. }
            | Refusal::IsRoot { .. }
            | Refusal::LockInUse { .. }
            | Refusal::Held { .. }
            | Refusal::LockDelayed { .. }
            | Refusal::WaitTimeout { .. }
            | Refusal::NotHeld { .. } => StatusCode::CONFLICT,
            Refusal::LockEnded { .. }
            | Refusal::Cancelled
            | Refusal::NoSession { .. }
            | Refusal::Acknowledged { .. } => StatusCode::GONE,
            Refusal::StaleSequencer { .. } => StatusCode::PRECONDITION_FAILED,
            Refusal::NotAdministered { .. } => StatusCode::CONFLICT,
            Refusal::TooManyNodes { .. } | Refusal::Limit { .. } | Refusal::RequestIdReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Refusal::OtherCell { .. } | Refusal::Invalid { .. } => StatusCode::BAD_REQUEST,
        },
        No::Unavailable(unavailable) => match unavailable {
            Unavailable::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Unavailable::NotMaster { .. } | Unavailable::DiskFull | Unavailable::Condemned => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        },
        // Whether the deadline passed or the reign ended, the caller must do the same.
        No::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// Returns the name of the exact reason.
fn kind(no: &No) -> &'static str {
    match no {
        No::Refused(refusal) => match refusal {
            Refusal::NotFound { .. } => "not_found",
            Refusal::AlreadyExists { .. } => "already_exists",
            Refusal::Changed { .. } => "changed",
            Refusal::HasChildren { .. } => "has_children",
            Refusal::TooManyNodes { .. } => "too_many_nodes",
            Refusal::EphemeralParent { .. } => "ephemeral_parent",
            Refusal::NotEphemeral { .. } => "not_ephemeral",
            Refusal::IsRoot { .. } => "is_root",
            Refusal::LockInUse { .. } => "lock_in_use",
            Refusal::Held { .. } => "held",
            Refusal::LockDelayed { .. } => "lock_delayed",
            Refusal::WaitTimeout { .. } => "wait_timeout",
            Refusal::Cancelled => "cancelled",
            Refusal::NotHeld { .. } => "not_held",
            Refusal::OtherCell { .. } => "other_cell",
            Refusal::NoSession { .. } => "no_session",
            Refusal::Acknowledged { .. } => "acknowledged",
            Refusal::Limit { .. } => "limit",
            Refusal::Invalid { .. } => "invalid",
            Refusal::TtlParent { .. } => "ttl_parent",
            Refusal::TransactionFailed { .. } => "transaction_failed",
            Refusal::LockEnded { .. } => "lock_ended",
            Refusal::UnknownLock => "unknown_lock",
            Refusal::RequestIdReused => "request_id_reused",
            Refusal::StaleSequencer { .. } => "stale_sequencer",
            Refusal::NotAdministered { .. } => "not_administered",
        },
        No::Unavailable(unavailable) => match unavailable {
            Unavailable::NotMaster { .. } => "not_master",
            Unavailable::Overloaded { .. } => "overloaded",
            Unavailable::DiskFull => "disk_full",
            Unavailable::Condemned => "condemned",
        },
        No::Unknown(_) => "unknown",
    }
}

/// Returns what belongs to a refusal.
fn refused(refusal: &Refusal) -> Value {
    match refusal {
        Refusal::NotFound { path }
        | Refusal::AlreadyExists { path }
        | Refusal::EphemeralParent { path }
        | Refusal::NotEphemeral { path }
        | Refusal::IsRoot { path }
        | Refusal::LockInUse { path }
        | Refusal::TtlParent { path } => json!({ "path": path }),
        Refusal::Changed {
            path,
            content_generation,
            instance,
        } => json!({
            "path": path,
            "content_generation": content_generation,
            "instance": instance,
            "etag": super::views::etag(*instance, *content_generation),
        }),
        Refusal::HasChildren { path, children } => json!({ "path": path, "children": children }),
        Refusal::TooManyNodes { path, limit } => json!({ "path": path, "limit": limit }),
        Refusal::Held {
            path,
            session,
            holder,
        } => json!({ "path": path, "session": session.to_string(), "holder": holder }),
        Refusal::LockDelayed { path, left_ms } => json!({ "path": path, "left_ms": left_ms }),
        Refusal::WaitTimeout { path, waited_ms } => {
            json!({ "path": path, "waited_ms": waited_ms })
        }
        Refusal::NotHeld { path, number } => json!({ "path": path, "number": number.0 }),
        Refusal::OtherCell { path, cell } => json!({ "path": path, "cell": cell }),
        Refusal::NoSession { session } => json!({ "session": session.to_string() }),
        Refusal::Acknowledged { number } => json!({ "number": number.0 }),
        Refusal::Limit { what, limit } => json!({ "what": what, "limit": limit }),
        Refusal::TransactionFailed { index, compare, .. } => {
            // Counted from 1, as in the text, and named as in the request.
            let list = if *compare { "if" } else { "do" };
            json!({ "list": list, "place": u64::from(*index) + 1 })
        }
        Refusal::LockEnded { path, expired } => json!({ "path": path, "expired": expired }),
        Refusal::StaleSequencer { path, token } => json!({ "path": path, "token": token }),
        Refusal::NotAdministered { why } => json!({ "why": why }),
        Refusal::Cancelled
        | Refusal::Invalid { .. }
        | Refusal::UnknownLock
        | Refusal::RequestIdReused => json!({}),
    }
}

/// Returns what belongs to an unavailability.
fn missing(unavailable: &Unavailable) -> Value {
    match unavailable {
        Unavailable::NotMaster { master, address } => json!({
            "master": master.map(|master| master.0),
            "address": address,
        }),
        Unavailable::Overloaded { .. } | Unavailable::DiskFull | Unavailable::Condemned => {
            json!({})
        }
    }
}

/// Returns the name of a gRPC code, as JSON writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Repeats a part of a request in a text, shortened and with nothing that a terminal would obey.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
