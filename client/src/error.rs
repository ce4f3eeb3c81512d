//! What can go wrong, one small enum for each kind of operation.
//!
//! Each error says what a caller must know to go on: whether the cell decided, whether nothing
//! happened, or whether the outcome is unknown. Nothing is ever guessed.

use cotter_session::{Trouble, Unreachable};
use cotter_types::{PathError, Refusal};
use std::fmt;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No endpoint was given.
    #[error("no endpoint given; name at least one replica as host:port")]
    NoEndpoints,
    /// An endpoint is no address.
    #[error("{endpoint:?} is no endpoint: {problem}; expected host:port")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The cell refused the session.
    #[error("the cell refused the session: {0}")]
    Refused(Refusal),
    /// No replica could be used for so long that the cell counts as unreachable.
    #[error(transparent)]
    Unreachable(Box<Unreachable>),
    /// There was no session within the time that a call may take.
    #[error("no master of the cell was reached within {timeout_ms} ms{}", Met(.troubles))]
    TimedOut {
        /// How long it was tried, in milliseconds.
        timeout_ms: u64,
        /// What went wrong last at each endpoint that was tried.
        troubles: Vec<Trouble>,
    },
    /// This machine has no `CLOCK_BOOTTIME`, without which no lease can be kept.
    #[error("this machine has no clock that counts suspended time: {0}")]
    NoClock(String),
    /// The thread that keeps the session could not be started.
    #[error("cannot start the session's thread: {0}")]
    NoThread(std::io::Error),
}

/// Shows what was met on the way, in brackets.
struct Met<'a>(&'a [Trouble]);

impl fmt::Display for Met<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trouble) in self.0.iter().enumerate() {
            let before = if index == 0 { " (" } else { "; " };
            write!(f, "{before}{trouble}")?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

/// What cut a call short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// The call's own time limit.
    TimedOut,
    /// The end of the session.
    SessionEnded,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no answer in time",
            Self::SessionEnded => "the session has ended",
        })
    }
}

/// Why a change was not made, or may not have been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The cell decided, and the answer is no. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It never left this process. Nothing has changed.
    #[error("nothing was changed: {0}")]
    NotSent(Cut),
    /// The cell is unreachable, so it was not sent. Nothing has changed, and nothing will.
    #[error("nothing was changed: {0}")]
    Unreachable(Box<Unreachable>),
    /// It was sent, and no answer came: it may have been done or not, or may yet be done. It is done
    /// at most once. Do not send it anew without looking first, unless doing it twice does no harm.
    #[error("the outcome is unknown: {0}")]
    Unknown(Cut),
    /// The replica answered with something else than was asked.
    #[error("the outcome is unknown: the replica gave an answer that does not fit")]
    Misfit,
}

/// Why nothing was found out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The path breaks a rule.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The cell decided, and the answer is no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer came in time.
    #[error("no answer of the cell in time{}", Met(.troubles))]
    TimedOut {
        /// What went wrong last at each endpoint, if anything did.
        troubles: Vec<Trouble>,
    },
    /// The cell is unreachable.
    #[error(transparent)]
    Unreachable(Box<Unreachable>),
    /// The session has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The replica answered with something else than was asked.
    #[error("the replica gave an answer that does not fit the question")]
    Misfit,
}

/// Why a lock is not held.
///
/// Whichever it is, nothing is left behind in the cell: an acquire whose outcome is not known is
/// cancelled there until the cell has confirmed it, or has ended the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Somebody else holds the lock (or its lock-delay runs), and the wait is over.
    #[error(transparent)]
    NotAcquired(Refusal),
    /// The cell refused for another reason.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer came in time.
    #[error("no answer of the cell in time")]
    TimedOut,
    /// The cell is unreachable.
    #[error(transparent)]
    Unreachable(Box<Unreachable>),
    /// The session has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The replica answered with something else than was asked.
    #[error("the replica gave an answer that does not fit the question")]
    Misfit,
}

/// Why it is not certain that a lock is free again. It is not held by this process any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The cell says that the lock was not held.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer came in time. The session goes on trying.
    #[error("the release is not confirmed yet: no answer in time")]
    TimedOut,
    /// The cell is unreachable. The session goes on trying.
    #[error("the release is not confirmed yet: {0}")]
    Unreachable(Box<Unreachable>),
    /// The session has ended, and its locks with it (a lock-delay may run).
    #[error("the session has ended")]
    SessionEnded,
}

/// Why it is not certain that the session is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// No answer came in time. What is left in the cell goes when the lease runs out.
    #[error("the close is not confirmed: no answer in time")]
    TimedOut,
    /// The cell is unreachable. What is left in the cell goes when the lease runs out.
    #[error("the close is not confirmed: {0}")]
    Unreachable(Box<Unreachable>),
    /// The session had ended before.
    #[error("the session has ended")]
    SessionEnded,
}

/// Why a guard gives no sequencer: the lock may be somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The lease ran out by the local clock. The session may yet prove to be alive, and then the
    /// lock is still held.
    #[error("the session's lease has run out; the lock may be lost")]
    Jeopardy,
    /// The session is over, and the lock with it.
    #[error("the session has ended; the lock is lost")]
    SessionEnded,
}
