//! Mutual exclusion as the clients believe it, in true time.
//!
//! A client believes that it holds a lock from the moment at which its session core reports the
//! acquisition until it asks for the release, for as long as the session is safe and the end of its
//! lease, by the client's own clock, has not come. No two such beliefs may contradict each other at
//! any moment, however late the clients learn of anything.

use super::{Verdict, Violation};
use cotter_types::{LockMode, Path, RequestNumber, Sequencer, SessionId};

/// One client's belief that it holds one lock.
#[derive(Clone, Debug)]
pub struct Belief {
    /// The client.
    pub guest: usize,
    /// Its session.
    pub session: SessionId,
    /// The lock.
    pub path: Path,
    /// The acquire.
    pub number: RequestNumber,
    /// What it got.
    pub sequencer: Sequencer,
}

/// All beliefs of all clients.
#[derive(Debug, Default)]
pub struct Exclusion {
    beliefs: Vec<Belief>,
}

impl Exclusion {
    /// A client learns that it holds a lock.
    pub fn begins(&mut self, belief: Belief) {
        self.beliefs.push(belief);
    }

    /// A client gives a lock back.
    pub fn ends(&mut self, session: SessionId, number: RequestNumber) {
        self.beliefs
            .retain(|belief| belief.session != session || belief.number != number);
    }

    /// A client's session is over for it, or the client died.
    pub fn session_over(&mut self, guest: usize) {
        self.beliefs.retain(|belief| belief.guest != guest);
    }

    /// Compares the beliefs of `guest` with those of all others. `stands` tells whether a client's
    /// lease stands at this moment, as the client believes.
    ///
    /// # Errors
    /// Two beliefs contradict each other.
    pub fn check(&self, guest: usize, now: u64, stands: impl Fn(usize) -> bool) -> Verdict {
        if !self.beliefs.iter().any(|mine| mine.guest == guest) || !stands(guest) {
            return Ok(());
        }
        for (place, mine) in self.beliefs.iter().enumerate() {
            if mine.guest != guest {
                continue;
            }
            for (other_place, other) in self.beliefs.iter().enumerate() {
                let both_shared = mine.sequencer.mode == LockMode::Shared
                    && other.sequencer.mode == LockMode::Shared;
                if other_place != place
                    && other.path == mine.path
                    && !both_shared
                    && stands(other.guest)
                {
                    return Err(Violation::new(
                        "exclusion",
                        format!(
                            "at {now} µs both believe that they hold {}: client {} ({} number {}) \
                             with {}, client {} ({} number {}) with {}",
                            mine.path,
                            mine.guest,
                            mine.session,
                            mine.number,
                            mine.sequencer,
                            other.guest,
                            other.session,
                            other.number,
                            other.sequencer
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns how many beliefs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.beliefs.len()
    }
}
