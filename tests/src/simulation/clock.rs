//! A machine's own clock: an offset and a rate against the true time of the simulated world.
//!
//! Rates stay within half the drift that the leases allow for, so that any two clocks differ by no
//! more than that bound. Beyond it Cotter promises nothing but tokens, and a test of leases beyond
//! it would fail rightly.

use cotter_types::Moment;

/// Largest deviation of a clock's rate from true time, in parts per million: two clocks at opposite
/// ends still differ by less than `CLOCK_DRIFT_PER_MILLE`.
pub(super) const RATE_PPM_MAX: i64 = 4_900;

/// Maps true time, in microseconds since the world began, to one machine's readings.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    true_base: u64,
    local_base: u64,
    rate_ppm: i64,
}

impl Clock {
    /// Makes a clock that shows `reading` at the true time `now`.
    #[must_use]
    pub(super) fn new(now: u64, reading: u64, rate_ppm: i64) -> Self {
        Self {
            true_base: now,
            local_base: reading,
            rate_ppm,
        }
    }

    /// Reads the clock.
    #[must_use]
    pub(super) fn read(&self, now: u64) -> Moment {
        let elapsed = now - self.true_base;
        Moment(self.local_base + scaled(elapsed, 1_000_000 + self.rate_ppm, 1_000_000))
    }

    /// Returns the first true time, not before `now`, at which the clock shows `moment` or more.
    #[must_use]
    pub(super) fn when(&self, moment: Moment, now: u64) -> u64 {
        if moment == Moment::NEVER {
            return u64::MAX;
        }
        let ahead = moment.0.saturating_sub(self.local_base);
        let mut at =
            self.true_base
                .saturating_add(scaled(ahead, 1_000_000, 1_000_000 + self.rate_ppm));
        while self.read(at) < moment {
            at += 1;
        }
        at.max(now)
    }

    /// Changes the rate from `now` on.
    pub(super) fn set_rate(&mut self, now: u64, rate_ppm: i64) {
        self.local_base = self.read(now).0;
        self.true_base = now;
        self.rate_ppm = rate_ppm;
    }
}

fn scaled(value: u64, by: i64, over: i64) -> u64 {
    // Both factors are close to a million and positive, so nothing is lost in 128 bits.
    let wide = u128::from(value) * by.unsigned_abs() as u128 / over.unsigned_abs() as u128;
    u64::try_from(wide).unwrap_or(u64::MAX / 2)
}
