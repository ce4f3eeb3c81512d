//! Bounded waits, and how long faults go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a test waits for something that must come, before it fails. Far more than it takes on a
/// machine with nothing else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the scenarios of one test program that ask for it run one at a time: they have deadlines, and two
/// cells at once would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Length of one fault scenario without `COTTER_FAULT_SECONDS`, in seconds.
const FAULT_SECONDS_DEFAULT: u64 = 12;

/// Returns for how long each fault scenario goes on: `COTTER_FAULT_SECONDS`, or 12 s, which suits a
/// test run after each change. Before a release it is 60 or more.
///
/// # Panics
/// If the variable is set to something else than a whole number of at least 5.
#[must_use]
pub fn fault_time() -> Duration {
    let seconds = match std::env::var("COTTER_FAULT_SECONDS") {
        Ok(text) => text.parse().ok().filter(|seconds| *seconds >= 5),
        Err(_) => Some(FAULT_SECONDS_DEFAULT),
    };
    Duration::from_secs(seconds.expect("COTTER_FAULT_SECONDS must be a whole number, 5 at least"))
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// If it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}
