//! The terminal's foreground group, handed to the command and taken back.
//!
//! The command runs in a process group of its own, so without this it could not read from the
//! terminal, and Ctrl-C would reach the command line instead of it.
//!
//! A process of a background group that calls `tcsetpgrp` is stopped by `SIGTTOU` unless it blocks or
//! ignores that signal; blocking is what can be done without `unsafe`.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, raise};
use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid, isatty, tcgetpgrp, tcsetpgrp};
use rustix::fs::{FileType, fstat};
use std::io;
use std::os::fd::AsFd;

/// Makes the caller's own process group the foreground group.
///
/// # Errors
/// Those of `tcsetpgrp(3)`: standard input is not the controlling terminal, for example.
pub fn take_foreground() -> io::Result<()> {
    give_foreground(getpgrp())
}

/// Makes `group` the foreground group of the terminal on standard input.
///
/// # Errors
/// Those of `tcsetpgrp(3)`.
pub fn give_foreground(group: Pid) -> io::Result<()> {
    let mut output_stop = SigSet::empty();
    output_stop.add(Signal::SIGTTOU);
    let before = output_stop.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let result = tcsetpgrp(io::stdin(), group);
    before.thread_set_mask()?;
    Ok(result?)
}

/// Tells whether the caller's own group is in the foreground of a terminal on standard input.
#[must_use]
pub fn in_foreground() -> bool {
    is_there() && tcgetpgrp(io::stdin()) == Ok(getpgrp())
}

/// Tells whether standard input is a terminal, so that a stop may come from it.
#[must_use]
pub fn is_there() -> bool {
    isatty(io::stdin()).unwrap_or(false)
}

/// Stops this process as the terminal would, until somebody continues it; with `whole_job` the rest
/// of its process group too (other parts of a pipeline), which a stop of the command's own group has
/// not reached.
///
/// Does nothing where nobody could: when the parent is no shell that controls jobs, as the kernel
/// itself spares such groups the terminal's stop.
pub fn pause(whole_job: bool) {
    let parent = getppid();
    let same_session = getsid(Some(parent)).is_ok_and(|of_parent| getsid(None) == Ok(of_parent));
    let other_group = getpgid(Some(parent)).is_ok_and(|of_parent| of_parent != getpgrp());
    if same_session && other_group {
        let _ = if whole_job {
            killpg(getpgrp(), Signal::SIGSTOP)
        } else {
            raise(Signal::SIGSTOP)
        };
    }
}

/// Tells whether the foreground should be handed to a command from its start.
///
/// Not when an output is a pipe: then the caller is one part of a pipeline, and another part, a
/// pager say, needs the terminal. The command is given it when it asks, by being stopped.
#[must_use]
pub fn may_hand_over() -> bool {
    in_foreground() && !is_pipe(io::stdout()) && !is_pipe(io::stderr())
}

fn is_pipe(descriptor: impl AsFd) -> bool {
    fstat(descriptor).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}
