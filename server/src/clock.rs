//! The two clocks of a replica, each read in one place.
//!
//! Leases are measured with `CLOCK_BOOTTIME`, which counts the time that a machine was suspended. It
//! is read through libc, so that tests can bend it from outside the process. The wall clock is for
//! display, and once at a cell's birth for the floor of its tokens; no lease may ever depend on it.

use cotter_types::Moment;
use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the wall clock begins in the stack simulation, whose own begins at zero; an unset clock would be
/// refused at a cell's birth. Nothing otherwise.
const SIMULATED_WALL_US: u64 = if cfg!(feature = "simulated") {
    1_800_000_000_000_000
} else {
    0
};

/// Returns the present reading of the machine's `CLOCK_BOOTTIME`.
///
/// # Panics
/// When the system has no such clock: without it a replica cannot keep any promise.
#[must_use]
pub fn now() -> Moment {
    let reading = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    let seconds = u64::try_from(reading.tv_sec()).unwrap_or(0);
    let nanoseconds = u64::try_from(reading.tv_nsec()).unwrap_or(0);
    Moment(seconds * 1_000_000 + nanoseconds / 1_000)
}

/// Returns the wall clock in milliseconds since 1970. For people to read, never for a decision.
#[must_use]
pub fn wall_ms() -> u64 {
    wall_us() / 1_000
}

/// Returns the wall clock in microseconds since 1970: where a new cell's tokens begin.
#[must_use]
pub fn wall_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    since.saturating_add(SIMULATED_WALL_US)
}

#[cfg(test)]
mod tests {
    use super::{now, wall_ms, wall_us};

    #[test]
    fn the_clock_never_runs_backwards() {
        let mut last = now();
        for _ in 0..1_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn wall_time_has_its_units() {
        let (ms, us) = (wall_ms(), wall_us());
        assert!(us / 1_000 - ms < 10_000, "{ms} ms and {us} us");
    }
}
