//! Until when the lease stands, by the client's own clock.
//!
//! The master counts the lease from when it answers; the client from before it asked, and it takes
//! off what two clocks may differ in rate. So the client's belief ends first, always, as long as the
//! drift is within [`CLOCK_DRIFT_PER_MILLE`].

use cotter_types::{Moment, limits::CLOCK_DRIFT_PER_MILLE, mutation};
use std::time::Duration;

/// The end of the client's belief in its lease.
#[derive(Debug)]
pub(crate) struct Belief {
    end: Moment,
    lease_ms: u64,
}

impl Belief {
    /// Believes nothing.
    pub(crate) fn none() -> Self {
        Self {
            end: Moment(0),
            lease_ms: 0,
        }
    }

    /// Returns the moment from which nothing is believed any more.
    pub(crate) fn end(&self) -> Moment {
        self.end
    }

    /// Returns the granted lease, in milliseconds.
    pub(crate) fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Tells whether the lease stands.
    pub(crate) fn stands(&self, now: Moment) -> bool {
        now < self.end
    }

    /// Takes note of the lease that the cell granted.
    pub(crate) fn granted(&mut self, lease_ms: u64) {
        self.lease_ms = lease_ms;
    }

    /// Extends the belief: the master has confirmed, by now, a frame that was sent
    /// at `sent`.
    pub(crate) fn confirmed(&mut self, sent: Moment, now: Moment) {
        let sent = if mutation::active(mutation::Mutation::LeaseCountedFromReceipt) {
            now
        } else {
            sent
        };
        let micros = self.lease_ms.saturating_mul(1_000 - CLOCK_DRIFT_PER_MILLE);
        // Only ever extended: answers can come late, and the newest promise is not the longest.
        self.end = self.end.max(sent.after(Duration::from_micros(micros)));
    }

    /// Ends the belief at once: the cell itself said so.
    pub(crate) fn finish(&mut self, now: Moment) {
        self.end = self.end.min(now);
    }
}
