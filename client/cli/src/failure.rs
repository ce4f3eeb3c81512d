//! What went wrong, as one line and one exit status.
//!
//! The statuses are those of `sysexits.h`, so that they cannot be mistaken for a command's own, and
//! two of our own: for a lock that was lost, and, as other programs tell that a test came out false,
//! for a transaction whose condition does not hold. This is the only place that chooses among them.

use cotter_client::{AcquireError, AdministrationError, ChangeError, ConnectError, QueryError};
use cotter_types::Refusal;
use std::fmt;
use std::io;

/// A condition of a transaction does not hold, and nothing was changed.
pub const NOT_APPLIED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 64;
/// The node is not as expected.
pub const DATA: u8 = 65;
/// There is no such node or file.
pub const NO_INPUT: u8 = 66;
/// The cell could not be reached, or has no master.
pub const UNAVAILABLE: u8 = 69;
/// Something that should not happen.
pub const SOFTWARE: u8 = 70;
/// A file or a stream could not be read or written.
pub const INPUT_OUTPUT: u8 = 74;
/// The lock was not acquired.
pub const NOT_ACQUIRED: u8 = 75;
/// A lock, or a session, was lost while it was needed.
pub const LOST: u8 = 117;

/// A failure: what to say and with which status to exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit status.
    pub status: u8,
    /// One line, lower-case, without the program's name; nothing to be said if it is empty.
    pub message: String,
}

impl Failure {
    /// Makes a failure.
    #[must_use]
    pub fn new(status: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// Makes the failure of reading or writing `what`.
    #[must_use]
    pub fn of_file(what: impl fmt::Display, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::NotFound => NO_INPUT,
            _ => INPUT_OUTPUT,
        };
        Self::new(status, format!("{what}: {error}"))
    }
}

/// Returns the exit status that tells a refusal.
#[must_use]
pub fn refusal_status(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::NotFound { .. } => NO_INPUT,
        Refusal::AlreadyExists { .. }
        | Refusal::Changed { .. }
        | Refusal::HasChildren { .. }
        | Refusal::TooManyNodes { .. }
        | Refusal::EphemeralParent { .. }
        | Refusal::TtlParent { .. }
        | Refusal::TransactionFailed { compare: false, .. }
        | Refusal::NotEphemeral { .. }
        | Refusal::IsRoot { .. }
        | Refusal::LockInUse { .. }
        | Refusal::OtherCell { .. }
        | Refusal::Invalid { .. } => DATA,
        Refusal::TransactionFailed { compare: true, .. } => NOT_APPLIED,
        Refusal::Held { .. } | Refusal::LockDelayed { .. } | Refusal::WaitTimeout { .. } => {
            NOT_ACQUIRED
        }
        Refusal::NoSession { .. }
        | Refusal::NotHeld { .. }
        | Refusal::LockEnded { .. }
        | Refusal::UnknownLock
        | Refusal::StaleSequencer { .. } => LOST,
        Refusal::Limit { .. } | Refusal::NotAdministered { .. } => UNAVAILABLE,
        // These are this program's own doing.
        Refusal::Cancelled | Refusal::Acknowledged { .. } | Refusal::RequestIdReused => SOFTWARE,
    }
}

impl From<AdministrationError> for Failure {
    fn from(error: AdministrationError) -> Self {
        match error {
            AdministrationError::Query(error) => error.into(),
            error => Self::new(UNAVAILABLE, error.to_string()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal_status(&refusal), refusal.to_string())
    }
}

/// What to do when the cell does not answer.
const HINT: &str = "; is it running, and does --endpoints name it?";

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let status = match &error {
            ConnectError::Refused(refusal) => refusal_status(refusal),
            ConnectError::NoEndpoints | ConnectError::InvalidEndpoint { .. } => USAGE,
            ConnectError::Unreachable(_) | ConnectError::TimedOut { .. } => {
                return Self::new(UNAVAILABLE, format!("{error}{HINT}"));
            }
            _ => SOFTWARE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let status = match &error {
            QueryError::Refused(refusal) => refusal_status(refusal),
            QueryError::Path(_) => USAGE,
            QueryError::Unreachable(_) | QueryError::TimedOut { .. } => {
                return Self::new(UNAVAILABLE, format!("{error}{HINT}"));
            }
            QueryError::SessionEnded => LOST,
            _ => SOFTWARE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let status = match &error {
            ChangeError::Refused(refusal) => refusal_status(refusal),
            ChangeError::NotSent(_) | ChangeError::Unreachable(_) | ChangeError::Unknown(_) => {
                UNAVAILABLE
            }
            _ => SOFTWARE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        let status = match &error {
            AcquireError::NotAcquired(_) => NOT_ACQUIRED,
            AcquireError::Refused(refusal) => refusal_status(refusal),
            AcquireError::TimedOut | AcquireError::Unreachable(_) => UNAVAILABLE,
            AcquireError::SessionEnded => LOST,
            _ => SOFTWARE,
        };
        Self::new(status, error.to_string())
    }
}
