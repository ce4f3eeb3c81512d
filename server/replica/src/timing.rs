//! The times that a cell lives by, and their arithmetic.

use cotter_types::limits::{CLOCK_DRIFT_PER_MILLE, LEASE_MS_MIN};
use std::time::Duration;

/// How fast a cell notices that its master is gone, and how much slack it gives a slow one.
///
/// All replicas of a cell must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Length of one round of the election of the log's leader, in milliseconds: a dead leader is
    /// replaced after two to three.
    pub election_round_ms: u64,
    /// How long a master may speak after it began a renewal, in milliseconds.
    pub master_lease_ms: u64,
    /// How much longer than lease and drift a candidate waits, in milliseconds: for clocks that are
    /// read a little late.
    pub lease_margin_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            election_round_ms: 50,
            master_lease_ms: 400,
            lease_margin_ms: 20,
        }
    }
}

/// Renewals within one master lease: three may be lost before it lapses.
const RENEWALS_PER_LEASE: u32 = 4;
/// Ticks of consensus within one election round.
pub(crate) const TICKS_PER_ROUND: u64 = 5;

impl Timing {
    /// Checks that the times fit together.
    ///
    /// # Errors
    /// A sentence that names the key and says what to do.
    pub fn check(&self) -> Result<(), String> {
        if !(10..=5_000).contains(&self.election_round_ms) {
            return Err(format!(
                "election_round_ms is {}, it must be 10 to 5000",
                self.election_round_ms
            ));
        }
        if self.master_lease_ms < 4 * self.election_round_ms {
            return Err(format!(
                "master_lease_ms is {}, it must be at least four election rounds ({})",
                self.master_lease_ms,
                4 * self.election_round_ms
            ));
        }
        if self.master_lease_ms > LEASE_MS_MIN * 10 {
            return Err(format!(
                "master_lease_ms is {}, it must be at most {}",
                self.master_lease_ms,
                LEASE_MS_MIN * 10
            ));
        }
        if self.lease_margin_ms == 0 || self.lease_margin_ms > self.master_lease_ms {
            return Err(format!(
                "lease_margin_ms is {}, it must be 1 to master_lease_ms ({})",
                self.lease_margin_ms, self.master_lease_ms
            ));
        }
        Ok(())
    }

    /// Returns the time between two ticks of consensus.
    pub(crate) fn tick(&self) -> Duration {
        Duration::from_micros(self.election_round_ms * 1_000 / TICKS_PER_ROUND)
    }

    /// Returns the length of `rounds` election rounds.
    pub(crate) fn rounds(&self, rounds: u64) -> Duration {
        Duration::from_millis(self.election_round_ms * rounds)
    }

    /// Returns the master's lease.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.master_lease_ms)
    }

    /// Returns the time between two renewals.
    pub(crate) fn renewal(&self) -> Duration {
        self.lease() / RENEWALS_PER_LEASE
    }

    /// Returns how long a candidate waits after it applied the last renewal: by then the lease is
    /// over on the master's own clock, however the two clocks drift within their bound.
    pub(crate) fn take_over_wait(&self) -> Duration {
        self.lease()
            + Duration::from_micros(self.master_lease_ms * CLOCK_DRIFT_PER_MILLE)
            + Duration::from_millis(self.lease_margin_ms)
    }
}
