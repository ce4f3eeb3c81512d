//! Two clocks that must never be mixed: a machine's own, and the cell's.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A reading of one machine's `CLOCK_BOOTTIME`, in microseconds since an arbitrary start.
///
/// It counts suspended time, never runs backwards, and means nothing on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The far future, further than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the moment `later` than this one, saturating at [`Moment::NEVER`].
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the moment `earlier` than this one, saturating at zero.
    #[must_use]
    pub fn before(self, earlier: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(earlier.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns how much later this moment is than `earlier`; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The cell's own time in milliseconds: stamped on commands by the master, never running backwards,
/// not even across masters. It is no wall clock: it stands still while the cell has no master.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CellTime(pub u64);

impl CellTime {
    /// Returns the time `ms` milliseconds later, saturating.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns how many milliseconds later this time is than `earlier`; zero if it is not later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
