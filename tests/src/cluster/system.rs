//! What the kernel says about processes and time.

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Reads `CLOCK_BOOTTIME`, in milliseconds: the clock of `/proc/uptime`, which scripts can read too.
///
/// # Panics
/// If the kernel has no such clock.
#[must_use]
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the kernel has CLOCK_BOOTTIME");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds * 1_000 + nanoseconds / 1_000_000
}

/// Returns the state letter of a process as `ps` shows it (`T` is stopped, `Z` a zombie), or nothing
/// if there is no such process.
#[must_use]
pub fn state_of(process: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in parentheses and may contain anything, so what follows the last one counts.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Tells whether a process lives; a zombie does not.
#[must_use]
pub fn lives(process: Pid) -> bool {
    state_of(process).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Returns the short name of a process.
#[must_use]
pub fn name_of(process: Pid) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Returns the children of a process.
#[must_use]
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(directory) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    directory
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|process| parent_of(*process) == Some(parent))
        .collect()
}

fn parent_of(process: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
    Some(Pid::from_raw(parent.parse().ok()?))
}
