//! The one place where this library reads a clock.
//!
//! `CLOCK_BOOTTIME` counts the time that the machine was suspended, and nobody sets it. It is read
//! through libc, so that tests can bend it.

use cotter_types::Moment;
use nix::time::{ClockId, clock_gettime};

/// Reads the clock, or says why it cannot.
pub(crate) fn read() -> nix::Result<Moment> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000;
    Ok(Moment(
        seconds.saturating_mul(1_000_000).saturating_add(micros),
    ))
}

/// Returns the present moment of this machine's `CLOCK_BOOTTIME`.
///
/// Without a clock nothing may be believed, so then it is the far future, where every lease has run
/// out. (Connecting has checked that there is one.)
#[must_use]
pub fn now() -> Moment {
    read().unwrap_or(Moment::NEVER)
}
