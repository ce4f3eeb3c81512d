//! Words about sessions.

use crate::limits::{LEASE_MS_MAX, LEASE_MS_MIN};
use crate::{CellTime, Nonce, Refusal, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a session tells of itself, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMetadata {
    /// A name chosen by the client.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its program.
    pub program: String,
}

/// Asks for a new session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// Makes a repeated request find the session that the first one opened.
    pub nonce: Nonce,
    /// The lease asked for, in milliseconds; 0 for the default. What is granted is returned,
    /// exactly: within [`LEASE_MS_MIN`](crate::limits::LEASE_MS_MIN) and
    /// [`LEASE_MS_MAX`](crate::limits::LEASE_MS_MAX), or refused.
    pub lease_ms: u64,
    /// Who it is, for people to read.
    pub metadata: SessionMetadata,
}

/// Checks the length of a lease that was asked for, in milliseconds.
///
/// # Errors
/// [`Refusal::Invalid`] outside of [`LEASE_MS_MIN`] to [`LEASE_MS_MAX`].
pub fn check_lease_ms(lease_ms: u64) -> Result<(), Refusal> {
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
        return Ok(());
    }
    Err(Refusal::Invalid {
        what: format!("a lease of {lease_ms} ms; ask for {LEASE_MS_MIN} to {LEASE_MS_MAX} ms"),
    })
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndReason {
    /// The client closed it.
    Closed,
    /// Its lease ran out.
    Expired,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
        })
    }
}

/// One session, as the list of sessions shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub session: SessionId,
    /// Who it is.
    pub metadata: SessionMetadata,
    /// Its principal.
    pub principal: String,
    /// Its lease, in milliseconds.
    pub lease_ms: u64,
    /// When it was opened, in cell time.
    pub opened: CellTime,
    /// When it was opened by the master's wall clock, in milliseconds since 1970; display only.
    pub opened_wall_ms: u64,
    /// How many locks it holds.
    pub locks: u64,
    /// How many locks it waits for.
    pub waits: u64,
    /// What is left of its lease in milliseconds, by the master's own count. Filled in by the master.
    pub lease_left_ms: Option<u64>,
}
