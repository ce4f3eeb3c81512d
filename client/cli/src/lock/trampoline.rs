//! The trampoline: what a command is for the moment before it becomes itself.
//!
//! Everything that must be true of a command *before* its first instruction is arranged here, in the
//! very process that the command will be: its parent's death signal, its standard input, and the
//! terminal's foreground. Another program could do this in the child after `fork`, but that needs
//! `unsafe`; a small program of our own that executes the command at its end does not.
//!
//! It must never execute the command unless its keeper lives.

use super::protocol::receive_descriptor;
use super::terminal;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, dup2_stdin, getppid};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The first argument with which the program starts itself as a trampoline.
pub const VERB: &str = "lock-trampoline";
/// Exit status when the command was not found, as shells and `env` have it.
pub const NOT_FOUND: u8 = 127;
/// Exit status when the command was found and could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;

/// What a trampoline is started with.
#[derive(Clone, Debug)]
pub struct TrampolineSettings {
    /// Process id of the keeper, which must be the parent.
    pub keeper: i32,
    /// Make this process group the foreground group of the terminal.
    pub foreground: bool,
    /// Ask for no death signal: the command may outlive its keeper.
    pub outlive: bool,
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
}

/// Waits at the gate (standard input), then becomes the command. Returns only if that fails.
#[must_use]
pub fn run(settings: &TrampolineSettings) -> ExitCode {
    let Some((program, arguments)) = settings.command.split_first() else {
        return ExitCode::from(NOT_FOUND);
    };
    if pass_gate(settings).is_err() {
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("cotter: cannot run {}: {error}", program.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    })
}

/// Arranges everything, and waits for the word of the keeper in between.
fn pass_gate(settings: &TrampolineSettings) -> io::Result<()> {
    if !settings.outlive {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
    }
    let input = receive_descriptor(io::stdin())?;
    // The death signal is sent for a death that comes after it was asked for; this is the other one.
    if getppid() != Pid::from_raw(settings.keeper) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    dup2_stdin(input.as_fd())?;
    if settings.foreground {
        // Without the terminal the command can still run: it is stopped when it reads from it.
        let _ = terminal::take_foreground();
    }
    // The keeper blocks every signal, and a mask is inherited.
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
