//! The one place where the cell's answers become gRPC statuses.
//!
//! A unary call that is refused, and a stream that is ended, carry a status: a code for programs that
//! know nothing of Cotter, a text for people, and the typed refusal itself as a detail in the standard
//! `grpc-status-details-bin`. Frames of the `Attach` stream carry refusals as they are and need none
//! of this.
//!
//! `RESOURCE_EXHAUSTED` may be retried exactly when the status carries `RetryInfo`: "too much to do
//! now" does, "a limit is reached" does not. The match has no catch-all arm: a new refusal does not
//! compile before somebody has thought about its code.

use crate::v1;
use cotter_types::{Answer, Refusal, Response, Unavailable};
use prost::Message;
use std::fmt;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// What a call can be told instead of success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// It was decided, and the answer is no.
    Refused(Refusal),
    /// Nothing was decided; the call may be repeated.
    Unavailable(Unavailable),
    /// It may have been done, or not.
    Unknown(Unknown),
}

/// A call's answer was lost: whether it is done is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Whether the same call, with the same request id if it has one, may be made again: then it is
    /// done once.
    pub repeatable: bool,
    /// Whether the caller's deadline passed; otherwise the master's reign, or the replica, ended.
    pub late: bool,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.late {
            "the deadline passed before the answer"
        } else {
            "the answer was lost with the master's reign"
        })?;
        f.write_str(if self.repeatable {
            "; make the same call again, with the same request id if it has one: it is done once"
        } else {
            "; whether the change was made is not known, and it has no request id by which to repeat \
             it safely: look before you make it again"
        })
    }
}

impl No {
    /// Splits an answer into what was done and why nothing was.
    ///
    /// # Errors
    /// The refusal or unavailability that the answer holds.
    pub fn split(answer: Answer) -> Result<Response, Self> {
        match answer {
            Answer::Done(response) => Ok(response),
            Answer::Refused(refusal) => Err(Self::Refused(refusal)),
            Answer::Unavailable(unavailable) => Err(Self::Unavailable(unavailable)),
        }
    }
}

/// Names of the details that a status can carry.
const REFUSAL_URL: &str = "type.googleapis.com/cotter.v1.Refusal";
const UNAVAILABLE_URL: &str = "type.googleapis.com/cotter.v1.Unavailable";
const UNKNOWN_URL: &str = "type.googleapis.com/cotter.v1.Unknown";
const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The metadata in which a replica that is not the master says where the master is, for programs that
/// do not decode details.
pub const MASTER_KEY: &str = "cotter-master";

/// Longest text of a status, in bytes: it travels percent-encoded in a header, which has a limit.
const STATUS_TEXT_BYTES_MAX: usize = 1_024;

/// Milliseconds after which an unavailable cell may be asked again when nothing better is known.
const RETRY_AFTER_MS_DEFAULT: u64 = 100;

/// Returns the gRPC code that says most nearly the same.
#[must_use]
pub fn code(no: &No) -> Code {
    match no {
        No::Refused(refusal) => match refusal {
            Refusal::NotFound { .. } | Refusal::UnknownLock => Code::NotFound,
            Refusal::AlreadyExists { .. } => Code::AlreadyExists,
            Refusal::Changed { .. } | Refusal::TransactionFailed { compare: true, .. } => {
                Code::Aborted
            }
            Refusal::HasChildren { .. }
            | Refusal::TooManyNodes { .. }
            | Refusal::EphemeralParent { .. }
            | Refusal::TtlParent { .. }
            | Refusal::TransactionFailed { compare: false, .. }
            | Refusal::NotEphemeral { .. }
            | Refusal::IsRoot { .. }
            | Refusal::LockInUse { .. }
            | Refusal::Held { .. }
            | Refusal::LockDelayed { .. }
            | Refusal::NotHeld { .. }
            | Refusal::NoSession { .. }
            | Refusal::LockEnded { .. }
            | Refusal::StaleSequencer { .. }
            | Refusal::NotAdministered { .. }
            | Refusal::Acknowledged { .. } => Code::FailedPrecondition,
            Refusal::WaitTimeout { .. } => Code::DeadlineExceeded,
            Refusal::Cancelled => Code::Cancelled,
            Refusal::Limit { .. } => Code::ResourceExhausted,
            Refusal::OtherCell { .. } | Refusal::Invalid { .. } | Refusal::RequestIdReused => {
                Code::InvalidArgument
            }
        },
        No::Unavailable(unavailable) => match unavailable {
            Unavailable::Overloaded { .. } => Code::ResourceExhausted,
            Unavailable::NotMaster { .. } | Unavailable::DiskFull | Unavailable::Condemned => {
                Code::Unavailable
            }
        },
        No::Unknown(Unknown { late: true, .. }) => Code::DeadlineExceeded,
        // Clients repeat UNAVAILABLE by themselves, and that is what they shall do.
        No::Unknown(Unknown {
            repeatable: true, ..
        }) => Code::Unavailable,
        // Nobody repeats UNKNOWN, and nobody should.
        No::Unknown(Unknown {
            repeatable: false, ..
        }) => Code::Unknown,
    }
}

/// Returns after how many milliseconds the same call may be repeated; nothing if repeating it makes
/// no sense.
#[must_use]
pub fn retry_after_ms(no: &No) -> Option<u64> {
    match no {
        No::Refused(_) => None,
        No::Unavailable(unavailable) => Some(match unavailable {
            Unavailable::Overloaded { retry_after_ms } => *retry_after_ms,
            Unavailable::NotMaster { .. } | Unavailable::DiskFull | Unavailable::Condemned => {
                RETRY_AFTER_MS_DEFAULT
            }
        }),
        No::Unknown(unknown) => unknown.repeatable.then_some(RETRY_AFTER_MS_DEFAULT),
    }
}

/// Returns what to tell gRPC clients that repeat calls by themselves: after how many milliseconds, or
/// not at all (-1); nothing where the code says so already.
fn push_back_ms(no: &No) -> Option<i32> {
    match (no, retry_after_ms(no)) {
        (_, Some(ms)) => Some(i32::try_from(ms).unwrap_or(i32::MAX)),
        (No::Unknown(_), None) => Some(-1),
        (No::Refused(_) | No::Unavailable(_), None) => None,
    }
}

/// Returns the status that tells a client `no`, with the typed reason and, where the call may be
/// repeated, with `RetryInfo` and the push-back that gRPC clients obey by themselves.
#[must_use]
pub fn status(no: &No) -> Status {
    let code = code(no);
    let retry_after_ms = retry_after_ms(no);
    let (text, reason) = match no {
        No::Refused(refusal) => (
            refusal.to_string(),
            any(REFUSAL_URL, &v1::Refusal::from(refusal.clone())),
        ),
        No::Unavailable(unavailable) => (
            unavailable.to_string(),
            any(UNAVAILABLE_URL, &v1::Unavailable::from(unavailable.clone())),
        ),
        No::Unknown(unknown) => (
            unknown.to_string(),
            any(UNKNOWN_URL, &v1::Unknown::from(*unknown)),
        ),
    };
    let text = shortened(text);
    let mut details = vec![reason];
    details.extend(retry_after_ms.map(retry_info));
    let details = RpcStatus {
        code: code.into(),
        message: text.clone(),
        details,
    };
    let mut status = Status::with_details(code, text, details.encode_to_vec().into());
    if let Some(ms) = push_back_ms(no) {
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", MetadataValue::from(ms));
    }
    if let No::Unavailable(Unavailable::NotMaster {
        address: Some(address),
        ..
    }) = no
        && let Ok(address) = address.parse()
    {
        status.metadata_mut().insert(MASTER_KEY, address);
    }
    status
}

/// Reads back what [`status`] wrote; nothing if the status came from elsewhere.
#[must_use]
pub fn reason(status: &Status) -> Option<No> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    details.iter().find_map(|detail| {
        if detail.type_url == REFUSAL_URL {
            let message = v1::Refusal::decode(detail.value.as_slice()).ok()?;
            message.try_into().ok().map(No::Refused)
        } else if detail.type_url == UNAVAILABLE_URL {
            let message = v1::Unavailable::decode(detail.value.as_slice()).ok()?;
            message.try_into().ok().map(No::Unavailable)
        } else if detail.type_url == UNKNOWN_URL {
            let message = v1::Unknown::decode(detail.value.as_slice()).ok()?;
            Some(No::Unknown(message.into()))
        } else {
            None
        }
    })
}

/// Cuts a text that would not fit into a header.
#[must_use]
pub fn shortened(mut text: String) -> String {
    if text.len() > STATUS_TEXT_BYTES_MAX {
        let mut end = STATUS_TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Packs a message into a detail.
fn any(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

/// Packs a delay into the standard detail.
fn retry_info(after_ms: u64) -> Any {
    let info = RetryInfo {
        retry_delay: Some(Duration {
            seconds: i64::try_from(after_ms / 1_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(after_ms % 1_000 * 1_000_000).unwrap_or_default(),
        }),
    };
    any(RETRY_INFO_URL, &info)
}

/// `google.rpc.Status`, the form in which details travel.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests;
