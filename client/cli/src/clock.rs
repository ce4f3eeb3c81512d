//! The one place where the command line reads a clock that deadlines are compared with.
//!
//! `CLOCK_BOOTTIME`, because it counts the time in which the machine was suspended, and through
//! libc, so that a test can bend it. It must never be replaced by the wall clock or by a timer of
//! the runtime: neither notices that the machine slept.

use cotter_types::Moment;
use nix::time::{ClockId, clock_gettime};

/// Reads the clock.
///
/// # Panics
/// If the kernel has no `CLOCK_BOOTTIME`, which every Linux since 2.6.39 has.
#[must_use]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the kernel has CLOCK_BOOTTIME");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Moment(seconds * 1_000_000 + nanoseconds / 1_000)
}
