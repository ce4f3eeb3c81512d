//! The process group of a command: to signal it as a whole, and to know when nobody of it lives.
//!
//! Whoever owns a group is a *subreaper*: grandchildren whose parents have died become its own
//! children, so that it can reap them and see the group become empty. A member that leaves the group
//! (`setsid`, a daemon) is out of reach, which the documentation says.

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{Pid as RawPid, WaitOptions, WaitStatus, wait, waitpgid};

use super::census;
use super::protocol::Ending;

/// Do not block, and tell of stops too.
const OPTIONS: WaitOptions = WaitOptions::NOHANG.union(WaitOptions::UNTRACED);

/// A process group, named by the process id of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    leader: Pid,
}

/// Whether a signal has come to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At least one member got it. Members that changed their user may not have.
    Reached,
    /// There was nobody to get it.
    Nobody,
    /// Somebody lives, and nobody may be signalled: whoever is left has changed its user.
    Refused,
}

/// Something that happened to the leader of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderEvent {
    /// It was stopped by this signal.
    Stopped(i32),
    /// It ended, and was reaped.
    Ended(Ending),
}

impl Group {
    /// Names the group whose leader is the process `leader`; nothing for ids that are no process's
    /// and would mean "everybody".
    #[must_use]
    pub fn of(leader: i32) -> Option<Self> {
        (leader > 1).then(|| Self {
            leader: Pid::from_raw(leader),
        })
    }

    /// Returns the id of the group.
    #[must_use]
    pub fn id(self) -> Pid {
        self.leader
    }

    /// Sends a signal to every member that may be signalled.
    pub fn signal(self, signal: Signal) -> Reach {
        reach(killpg(self.leader, signal), || self.is_gone())
    }

    /// Sends a signal that asks to end, and wakes stopped members so that they can.
    pub fn ask_to_end(self, signal: Signal) -> Reach {
        let reach = self.signal(signal);
        let _ = killpg(self.leader, Signal::SIGCONT);
        reach
    }

    /// Tells whether nobody lives. Zombies do not, which takes a look at all processes to know.
    #[must_use]
    pub fn is_gone(self) -> bool {
        self.is_empty() || census::only_zombies(self.leader) || self.is_empty()
    }

    /// Tells whether nobody is left, zombies that were not reaped included: cheap to ask.
    #[must_use]
    pub fn is_empty(self) -> bool {
        killpg(self.leader, None) == Err(Errno::ESRCH)
    }

    /// Reaps every member that has ended and is a child of the caller, and tells what happened to
    /// the leader.
    pub fn reap_members(self) -> Vec<LeaderEvent> {
        self.reap(|group| waitpgid(group, OPTIONS))
    }

    /// Reaps every child of the caller that has ended, also those that have left the group, and
    /// tells what happened to the leader.
    pub fn reap_all(self) -> Vec<LeaderEvent> {
        self.reap(|_| wait(OPTIONS))
    }

    fn reap(
        self,
        mut next: impl FnMut(RawPid) -> rustix::io::Result<Option<(RawPid, WaitStatus)>>,
    ) -> Vec<LeaderEvent> {
        let mut events = Vec::new();
        let Some(leader) = RawPid::from_raw(self.leader.as_raw()) else {
            return events;
        };
        loop {
            match next(leader) {
                Ok(Some((process, status))) if process == leader => {
                    events.extend(leader_event(status));
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return events,
            }
        }
    }
}

/// Tells from the kernel's answer whether a signal came to a group. The kernel refuses only if it
/// could signal nobody at all; `is_gone` is asked then, because a member that has ended meanwhile, or
/// waits to be reaped, is refused as well.
fn reach(answer: nix::Result<()>, is_gone: impl FnOnce() -> bool) -> Reach {
    match answer {
        Ok(()) => Reach::Reached,
        Err(Errno::ESRCH) => Reach::Nobody,
        Err(_) if is_gone() => Reach::Nobody,
        Err(_) => Reach::Refused,
    }
}

/// Translates a wait status; nothing for one that is neither an end nor a stop.
fn leader_event(status: WaitStatus) -> Option<LeaderEvent> {
    if let Some(code) = status.exit_status() {
        return Some(LeaderEvent::Ended(Ending::Exited(code)));
    }
    if let Some(signal) = status.terminating_signal() {
        return Some(LeaderEvent::Ended(Ending::Killed(signal)));
    }
    status.stopping_signal().map(LeaderEvent::Stopped)
}

#[cfg(test)]
mod tests {
    use super::{Reach, reach};
    use nix::errno::Errno;

    #[test]
    fn only_a_group_that_lives_can_refuse_a_signal() {
        assert_eq!(reach(Ok(()), || false), Reach::Reached);
        assert_eq!(reach(Err(Errno::ESRCH), || false), Reach::Nobody);
        assert_eq!(reach(Err(Errno::EPERM), || true), Reach::Nobody);
        assert_eq!(reach(Err(Errno::EPERM), || false), Reach::Refused);
    }
}
