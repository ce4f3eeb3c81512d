//! What a session is started with.

use cotter_types::{CellId, Nonce, SessionMetadata, limits};

/// Settings of one session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Addresses (`host:port`) of replicas, at least one; the others are learned.
    pub endpoints: Vec<String>,
    /// The lease to ask for, in milliseconds; 0 for the cell's default.
    pub lease_ms: u64,
    /// How long jeopardy may last, in milliseconds.
    pub grace_ms: u64,
    /// After how long without a replica that can be used the cell counts as unreachable, in
    /// milliseconds.
    pub unreachable_after_ms: u64,
    /// Who this is, for people to read.
    pub metadata: SessionMetadata,
    /// 128 random bits, another for every session.
    pub nonce: Nonce,
    /// Seed of the jitter.
    pub seed: u64,
    /// Program and version, for the server's log.
    pub client: String,
    /// The only cell to talk to; nothing for whichever answers first.
    pub cell: Option<CellId>,
}

impl SessionConfig {
    /// Returns the defaults for a session at `endpoints`.
    #[must_use]
    pub fn new(endpoints: Vec<String>, nonce: Nonce, seed: u64) -> Self {
        Self {
            endpoints,
            lease_ms: limits::LEASE_MS_DEFAULT,
            grace_ms: limits::GRACE_MS_DEFAULT,
            unreachable_after_ms: limits::UNREACHABLE_AFTER_MS_DEFAULT,
            metadata: SessionMetadata::default(),
            nonce,
            seed,
            client: String::new(),
            cell: None,
        }
    }
}
