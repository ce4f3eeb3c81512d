//! From nothing to the lock: a session, a place in the queue, a grant.
//!
//! An outage of the cell ends no wait that the user has not limited. At the start it is another
//! matter: an endpoint that is wrong should be told soon, so the cell has a limited time to answer
//! first.

use super::narrator;
use super::outage::Outage;
use super::signals::Signals;
use super::verb::{FAREWELL, interrupted, signal_number};
use crate::args::{Common, LockArgs};
use crate::failure::{self, Failure};
use crate::verbs;
use cotter_client::{
    AcquireError, Client, ConnectError, Guard, Lifetime, PathError, Refusal,
    UNREACHABLE_AFTER_DEFAULT, Wait,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// Connecting may take so long however short `--wait` is: a failover must not look like an outage.
const CONNECT_MIN: Duration = Duration::from_secs(2);

/// How a wait ended.
pub(super) enum Waited {
    /// The lock is held.
    Held(Client, Box<Guard>),
    /// It is not, and this is the exit status.
    Over(u8),
}

/// Waits for the lock, as long as the arguments say.
pub(super) async fn for_lock(
    arguments: &LockArgs,
    common: &Common,
    signals: &mut Signals,
) -> Result<Waited, Failure> {
    let begun = Instant::now();
    let mut outage = Outage::default();
    let mut limit = Some(first_limit(arguments, common));
    loop {
        let client = tokio::select! {
            client = connect(arguments, common, limit, &mut outage) => client?,
            signal = interrupted(signals) => return Ok(Waited::Over(128 + signal_number(signal))),
        };
        let acquired = tokio::select! {
            acquired = acquire(&client, arguments, common, begun) => acquired,
            never = outage.tell(&client) => match never {},
            signal = interrupted(signals) => {
                // The wait is cancelled by now; closing the session makes sure that the cell knows
                // it before this process, and with it the session's thread, is gone.
                leave(client).await;
                return Ok(Waited::Over(128 + signal_number(signal)));
            }
        };
        match acquired {
            Ok(guard) => return Ok(Waited::Held(client, Box::new(guard))),
            Err(AcquireError::SessionEnded) if wait_of(arguments, begun) == Wait::Forever => {
                eprintln!(
                    "cotter: the session ended while waiting for {}; waiting in another one",
                    arguments.path
                );
                leave(client).await;
                limit = None;
            }
            // It did not come as far as the queue, so another session does as well.
            Err(AcquireError::Unreachable(report))
                if matches!(wait_of(arguments, begun), Wait::Ms(_)) =>
            {
                outage.begins(&report);
                leave(client).await;
                let wait = arguments.wait.unwrap_or_default();
                limit = Some(wait.saturating_sub(begun.elapsed()));
            }
            Err(error) => {
                leave(client).await;
                return not_acquired(arguments, error).map(Waited::Over);
            }
        }
    }
}

async fn leave(client: Client) {
    let _ = tokio::time::timeout(FAREWELL, verbs::nodes::finish(client)).await;
}

/// Returns how long the cell may take to answer first.
fn first_limit(arguments: &LockArgs, common: &Common) -> Duration {
    if wait_of(arguments, Instant::now()) == Wait::No {
        return common.unreachable_after();
    }
    let wait = arguments.wait.unwrap_or(Duration::MAX).max(CONNECT_MIN);
    wait.min(common.call_timeout())
}

/// Opens a session within `limit`; nothing for no limit.
async fn connect(
    arguments: &LockArgs,
    common: &Common,
    limit: Option<Duration>,
    outage: &mut Outage,
) -> Result<Client, Failure> {
    let begun = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
        let connected = verbs::builder(common)
            .name(session_name(arguments))
            .lease(arguments.lease)
            .unreachable_after(UNREACHABLE_AFTER_DEFAULT)
            .call_timeout(left.unwrap_or(common.call_timeout()))
            .connect()
            .await;
        let error = match connected {
            Ok(client) => {
                outage.ends();
                return Ok(client.with_call_timeout(common.call_timeout()));
            }
            Err(error) => error,
        };
        let over = limit.is_some_and(|limit| begun.elapsed() >= limit);
        match &error {
            ConnectError::Unreachable(_) | ConnectError::TimedOut { .. } if !over => {
                outage.begins(&error);
            }
            _ => return Err(error.into()),
        }
    }
}

/// Returns how long to wait in the queue, if it is joined now.
fn wait_of(arguments: &LockArgs, begun: Instant) -> Wait {
    match (arguments.nonblock, arguments.wait) {
        (true, _) | (_, Some(Duration::ZERO)) => Wait::No,
        (false, None) => Wait::Forever,
        (false, Some(limit)) => {
            let left = limit.saturating_sub(begun.elapsed());
            Wait::Ms(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
        }
    }
}

/// Acquires the lock. Dropping this cancels it.
async fn acquire(
    client: &Client,
    arguments: &LockArgs,
    common: &Common,
    begun: Instant,
) -> Result<Guard, AcquireError> {
    let wait = wait_of(arguments, begun);
    let client = match wait {
        Wait::No => client.with_call_timeout(common.call_timeout()),
        // The cell ends the wait; without a cell it is not much longer.
        Wait::Ms(_) => client.with_call_timeout(common.unreachable_after()),
        Wait::Forever => client.without_call_timeout(),
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
