//! The verb `cotter lock` itself: lock, command, release.
//!
//! Every way out of here passes the release or the close of the session, so that an interrupted
//! `cotter lock` leaves nothing behind; and the lock is released only when nobody of the command's
//! group lives.

use super::keeper::KeeperSettings;
use super::schedule::{OnLost, Schedule};
use super::signals::Signals;
use super::supervisor::{KeeperProcess, Loss, Report, supervise};
use super::terminal;
use super::wait::{self, Waited};
use crate::args::{Common, LockArgs};
use crate::clock;
use crate::failure::{self, Failure};
use crate::output::{Format, show_json, write_out};
use crate::verbs;
use cotter_client::{Client, Guard, Lost, Moment, ReleaseError};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long an interrupted command line tries to leave nothing behind.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the verb, and returns the exit status.
pub(crate) async fn run(arguments: &LockArgs, common: &Common) -> Result<u8, Failure> {
    let schedule = Schedule::for_lease(arguments.lease, arguments.grace, arguments.on_lost)
        .map_err(|message| Failure::new(failure::USAGE, message))?;
    let foreground = terminal::may_hand_over();
    let stops = terminal::in_foreground() && !foreground;
    let mut signals = Signals::catch(stops).map_err(|error| {
        Failure::new(failure::SOFTWARE, format!("cannot catch signals: {error}"))
    })?;

    let (client, guard) = match wait::for_lock(arguments, common, &mut signals).await? {
        Waited::Held(client, guard) => (client, *guard),
        Waited::Over(status) => return Ok(status),
    };
    let outcome = if arguments.command.is_empty() {
        hold(&guard, common, &mut signals).await
    } else {
        run_command(arguments, schedule, foreground, &guard, &mut signals).await
    };
    release(arguments, common, client, guard).await;
    outcome
}

/// Waits for a signal that ends the wait for the lock. A stop from the terminal only pauses it.
pub(super) async fn interrupted(signals: &mut Signals) -> Signal {
    loop {
        match signals.next().await {
            Signal::SIGTSTP => terminal::pause(false),
            Signal::SIGWINCH | Signal::SIGUSR1 | Signal::SIGUSR2 => {}
            signal => return signal,
        }
    }
}

/// Holds the lock without a command, until a signal.
async fn hold(guard: &Guard, common: &Common, signals: &mut Signals) -> Result<u8, Failure> {
    let lost = guard.lost();
    let sequencer = guard.sequencer().map_err(|lost| loss(guard, lost))?;
    if common.output == Format::Json {
        show_json(&json!({
            "path": guard.path().as_str(),
            "sequencer": sequencer.to_string(),
            "token": sequencer.token.0,
            "mode": sequencer.mode.to_string(),
            "session": guard.session_id().to_string(),
        }))?;
    } else {
        write_out(format!("{sequencer}\n").as_bytes())?;
    }
    tokio::select! {
        _ = interrupted(signals) => Ok(0),
        lost = lost => Err(loss(guard, lost)),
    }
}

fn loss(guard: &Guard, lost: Lost) -> Failure {
    Failure::new(failure::LOST, format!("{}: {lost}", guard.path()))
}

/// Runs the command under a keeper, and returns the exit status.
async fn run_command(
    arguments: &LockArgs,
    schedule: Schedule,
    foreground: bool,
    guard: &Guard,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let sequencer = guard.sequencer().map_err(|lost| loss(guard, lost))?;
    let environment = [
        ("COTTER_LOCK", arguments.path.to_string()),
        ("COTTER_TOKEN", sequencer.token.to_string()),
        ("COTTER_SEQUENCER", sequencer.to_string()),
        ("COTTER_SESSION", guard.session_id().to_string()),
    ];
    let settings = KeeperSettings {
        schedule,
        foreground,
        command: arguments.command.clone(),
    };
    let itself = Path::new("/proc/self/exe");
    let cannot_run = |error: io::Error| {
        let program = arguments.command[0].display();
        Failure::new(failure::SOFTWARE, format!("cannot run {program}: {error}"))
    };
    let keeper =
        KeeperProcess::start(itself, &settings, &environment, io::stdin()).map_err(cannot_run)?;
    let note = |text: &str| eprintln!("cotter: {}: {text}", arguments.path);
    let belief = || belief(guard);
    let report = supervise(keeper, schedule, foreground, signals, belief, note).await;
    judged(arguments, report.map_err(cannot_run)?)
}

/// Returns the end of the belief that the lock is held.
fn belief(guard: &Guard) -> Moment {
    match guard.sequencer() {
        Ok(_) => guard.deadline(),
        // Jeopardy is the passing of the deadline; the end of the session may come before it.
        Err(Lost::Jeopardy) => guard.deadline().min(clock::now()),
        Err(_) => Moment(0),
    }
}

/// Turns what became of the command into an exit status.
fn judged(arguments: &LockArgs, report: Report) -> Result<u8, Failure> {
    let path = &arguments.path;
    let status = report.ending.map_or(failure::SOFTWARE, |it| it.status());
    let (status, message) = match report.loss {
        None => return Ok(status),
        Some(Loss::Ended) if arguments.on_lost == OnLost::Ignore => return Ok(status),
        Some(Loss::Ended) => (
            failure::LOST,
            format!("{path} may have been lost before the command ended"),
        ),
        Some(Loss::Warned) => (
            failure::LOST,
            format!("{path} was about to be lost; the command was told to end, and has ended"),
        ),
        Some(Loss::Killed) => (
            failure::LOST,
            format!("{path} was about to be lost; the command was killed"),
        ),
        Some(Loss::RanOn) => (
            failure::LOST,
            format!(
                "{path} was about to be lost or unguarded, and the command could not be ended, \
                 because it has changed its user; it ran on, perhaps without the lock"
            ),
        ),
        Some(Loss::KeeperFailed) => (
            failure::SOFTWARE,
            format!(
                "the keeper of the command died or froze; the command was killed, {path} freed"
            ),
        ),
        Some(Loss::KeeperFailedBefore) => (
            failure::SOFTWARE,
            format!(
                "the keeper of the command died or froze, and it is not known whether the command \
                 had begun; it has ended, {path} is freed"
            ),
        ),
        Some(Loss::KeeperFailedAfter) => (
            failure::SOFTWARE,
            format!(
                "the keeper of the command died or froze after the command had ended; what was \
                 left of it was killed, {path} is freed"
            ),
        ),
    };
    Err(Failure::new(status, message))
}

/// Releases the lock and closes the session. What cannot be confirmed ends with the lease, so it is
/// not tried for longer than that; a lock that may be lost already is not worth a long wait.
async fn release(arguments: &LockArgs, common: &Common, client: Client, guard: Guard) {
    let limit = match guard.sequencer() {
        Ok(_) => common.call_timeout().min(arguments.lease),
        Err(_) => FAREWELL,
    };
    // An outage may be over before that.
    let guard = guard.without_call_timeout();
    let trouble = match tokio::time::timeout(limit, guard.release()).await {
        Ok(Ok(()) | Err(ReleaseError::SessionEnded)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the release is not confirmed: no answer in time".to_owned()),
    };
    if let Some(trouble) = trouble {
        eprintln!(
            "cotter: {}: {trouble}; it is free when the lease and the lock-delay are over",
            arguments.path
        );
    }
    let _ = tokio::time::timeout(FAREWELL, verbs::nodes::finish(client)).await;
}

pub(super) fn signal_number(signal: Signal) -> u8 {
    u8::try_from(signal as i32).unwrap_or(0)
}
