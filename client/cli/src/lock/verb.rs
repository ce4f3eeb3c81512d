//! The verb `cotter lock` itself: session, lock, command, release.
//!
//! Every way out of here passes the release or the close of the session, so that an interrupted
//! `cotter lock` leaves nothing behind; and the lock is released only when nobody of the command's
//! group lives.

use super::keeper::KeeperSettings;
use super::schedule::{OnLost, Schedule};
use super::signals::Signals;
use super::supervisor::{KeeperProcess, Loss, Report, supervise};
use super::{narrator, terminal};
use crate::args::{Common, LockArgs};
use crate::clock;
use crate::failure::{self, Failure};
use crate::output::{Format, show_json, write_out};
use crate::verbs;
use cotter_client::{
    AcquireError, Client, Guard, Lifetime, Lost, Moment, PathError, Refusal, ReleaseError, Wait,
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connecting may take so long however short `--wait` is: a failover must not look like an outage.
const CONNECT_MIN: Duration = Duration::from_secs(2);
/// How long an interrupted command line tries to leave nothing behind.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the verb, and returns the exit status.
pub(crate) async fn run(arguments: &LockArgs, common: &Common) -> Result<u8, Failure> {
    let schedule = Schedule::for_lease(arguments.lease, arguments.grace, arguments.on_lost)
        .map_err(|message| Failure::new(failure::USAGE, message))?;
    let foreground = terminal::may_hand_over();
    let stops = terminal::in_foreground() && !foreground;
    let mut signals = Signals::catch(stops).map_err(|error| {
        Failure::new(failure::SOFTWARE, format!("cannot catch signals: {error}"))
    })?;

    let begun = Instant::now();
    let client = tokio::select! {
        client = connect(arguments, common) => client?,
        signal = interrupted(&mut signals) => return Ok(128 + signal_number(signal)),
    };
    let acquired = tokio::select! {
        acquired = acquire(&client, arguments, common, begun) => acquired,
        signal = interrupted(&mut signals) => {
            // The wait is cancelled by now; closing the session makes sure that the cell knows it
            // before this process, and with it the session's thread, is gone.
            let _ = tokio::time::timeout(FAREWELL, verbs::nodes::finish(client)).await;
            return Ok(128 + signal_number(signal));
        }
    };
    let guard = match acquired {
        Ok(guard) => guard,
        Err(error) => {
            let _ = tokio::time::timeout(FAREWELL, verbs::nodes::finish(client)).await;
            return not_acquired(arguments, error);
        }
    };
    let outcome = if arguments.command.is_empty() {
        hold(&guard, common, &mut signals).await
    } else {
        run_command(arguments, schedule, foreground, &guard, &mut signals).await
    };
    release(arguments, common, client, guard).await;
    outcome
}

/// Opens a session.
async fn connect(arguments: &LockArgs, common: &Common) -> Result<Client, Failure> {
    let connecting = verbs::builder(common)
        .name(session_name(arguments))
        .lease(arguments.lease)
        .connect();
    let Some(wait) = arguments.wait.filter(|wait| !wait.is_zero()) else {
        return Ok(connecting.await?);
    };
    let limit = wait.max(CONNECT_MIN);
    match tokio::time::timeout(limit, connecting).await {
        Ok(client) => Ok(client?),
        Err(_) => Err(Failure::new(
            failure::UNAVAILABLE,
            format!(
                "no master of the cell was reached within {} s",
                limit.as_secs_f64()
            ),
        )),
    }
}

/// Acquires the lock. Dropping this cancels it.
async fn acquire(
    client: &Client,
    arguments: &LockArgs,
    common: &Common,
    begun: Instant,
) -> Result<Guard, AcquireError> {
    let wait = match (arguments.nonblock, arguments.wait) {
        (true, _) | (_, Some(Duration::ZERO)) => Wait::No,
        (false, None) => Wait::Forever,
        (false, Some(limit)) => {
            let left = limit.saturating_sub(begun.elapsed());
            Wait::Ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
        }
    };
    let lifetime = if arguments.temporary {
        Lifetime::Ephemeral
    } else {
        Lifetime::Permanent
    };
    let invalid = |error: PathError| {
        let what = error.to_string();
        AcquireError::Refused(Refusal::Invalid { what })
    };
    let mut request = client
        .lock(arguments.path.as_str())
        .map_err(invalid)?
        .wait(wait)
        .lock_delay(arguments.lock_delay)
        .create(Some(lifetime));
    if arguments.shared {
        request = request.shared();
    }
    let telling = narrator::tell_while_waiting(arguments, common, client.session_id());
    let guard = tokio::select! {
        acquired = request.acquire() => acquired?,
        never = telling => match never {},
    };
    if arguments.verbose {
        eprintln!(
            "cotter: acquired {} with token {} after {:.3} s",
            arguments.path,
            guard.token(),
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(guard)
}

/// Names the session after the command, unless the user has.
fn session_name(arguments: &LockArgs) -> String {
    if let Some(name) = &arguments.name {
        return name.clone();
    }
    let program = arguments.command.first().map(Path::new);
    let name = program.and_then(Path::file_name);
    name.map_or_else(
        || "cotter lock".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Waits for a signal that ends the wait for the lock. A stop from the terminal only pauses it.
async fn interrupted(signals: &mut Signals) -> Signal {
    loop {
        match signals.next().await {
            Signal::SIGTSTP => terminal::pause(false),
            Signal::SIGWINCH | Signal::SIGUSR1 | Signal::SIGUSR2 => {}
            signal => return signal,
        }
    }
}

/// Tells why the lock was not acquired, as `flock` does: without words, unless asked for.
fn not_acquired(arguments: &LockArgs, error: AcquireError) -> Result<u8, Failure> {
    match error {
        AcquireError::NotAcquired(refusal) => {
            if arguments.verbose {
                eprintln!("cotter: {refusal}");
            }
            Ok(arguments.conflict_exit_code)
        }
        AcquireError::SessionEnded => Err(Failure::new(
            failure::UNAVAILABLE,
            format!("the session ended while waiting for {}", arguments.path),
        )),
        error => Err(error.into()),
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
        Ok(_) => common.timeout.min(arguments.lease),
        Err(_) => FAREWELL,
    };
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

fn signal_number(signal: Signal) -> u8 {
    u8::try_from(signal as i32).unwrap_or(0)
}
