//! Locks: how one is acquired, and what its holder may believe.

use crate::error::{AcquireError, Lost, ReleaseError};
use crate::shared::{Conflict, Grant, Handle};
use cotter_session::Outcome;
use cotter_types::{
    Acquire, FencingToken, Lifetime, LockMode, Moment, Path, Refusal, RequestNumber, Sequencer,
    SessionId, Wait,
};
use std::time::Duration;
use tokio::sync::watch;

/// Acquires a lock.
#[derive(Debug)]
#[must_use = "nothing happens until it is acquired"]
pub struct LockRequest {
    handle: Handle,
    acquire: Acquire,
}

impl LockRequest {
    pub(crate) fn new(handle: Handle, path: Path) -> Self {
        let acquire = Acquire {
            path,
            mode: LockMode::Exclusive,
            wait: Wait::Forever,
            lock_delay_ms: 0,
            conflict_notice: false,
            create: Some(Lifetime::Permanent),
        };
        Self { handle, acquire }
    }

    /// Shares it with other shared holders.
    pub fn shared(mut self) -> Self {
        self.acquire.mode = LockMode::Shared;
        self
    }

    /// Holds it alone. The default.
    pub fn exclusive(mut self) -> Self {
        self.acquire.mode = LockMode::Exclusive;
        self
    }

    /// Says how long to wait in the cell's queue. The default is for ever.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.acquire.wait = wait;
        self
    }

    /// Keeps the lock unavailable for so long, at most 60 s, if this session expires while holding
    /// it. The default is not at all.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.acquire.lock_delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Creates the node, if there is none, with this lifetime (and missing parents as permanent
    /// nodes); or refuses, with nothing. The default is a permanent node.
    pub fn create(mut self, lifetime: Option<Lifetime>) -> Self {
        self.acquire.create = lifetime;
        self
    }

    /// Asks to be told when others wait: see [`Guard::conflict`].
    pub fn conflict_notice(mut self, notice: bool) -> Self {
        self.acquire.conflict_notice = notice;
        self
    }

    /// Acquires the lock. To cancel, drop the future: nothing is left behind in the cell.
    ///
    /// It may take the client's call timeout longer than its wait. A wait for ever has no such end:
    /// once it stands in the cell's queue, it goes on through any outage that the session survives.
    /// What never came as far fails when the cell is unreachable, like every other call.
    ///
    /// # Errors
    /// An [`AcquireError`]; in each case the lock is not held.
    pub async fn acquire(self) -> Result<Guard, AcquireError> {
        match self.handle.acquire(self.acquire).await {
            Ok(grant) => Ok(Guard { grant }),
            Err(outcome) => Err(refusal_of(outcome)),
        }
    }
}

fn refusal_of(outcome: Outcome) -> AcquireError {
    match outcome {
        Outcome::Refused(refusal) => match refusal {
            Refusal::Held { .. } | Refusal::LockDelayed { .. } | Refusal::WaitTimeout { .. } => {
                AcquireError::NotAcquired(refusal)
            }
            refusal => AcquireError::Refused(refusal),
        },
        Outcome::Unknown | Outcome::SessionEnded => AcquireError::SessionEnded,
        Outcome::Done { .. } | Outcome::Found(_) => AcquireError::Misfit,
        Outcome::TimedOut { .. } => AcquireError::TimedOut,
        Outcome::Unreachable(report) => AcquireError::Unreachable(report),
    }
}

/// A lock that was acquired. Dropping it releases the lock in the background.
///
/// It never says "you hold the lock": that can be over by the time the answer is read. It gives a
/// sequencer to show to others, who can tell whether it is of the past, and it says when this process
/// must stop believing.
#[derive(Debug)]
pub struct Guard {
    grant: Grant,
}

impl Guard {
    /// Returns the lock's path as it was asked for.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.grant.hold.path
    }

    /// Returns the session that holds the lock.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.grant.hold.handle.shared.session()
    }

    /// Returns the number of the acquire that got the lock.
    #[must_use]
    pub fn number(&self) -> RequestNumber {
        self.grant.hold.number
    }

    /// Returns how long it waited in the queue, by the cell's clock.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.grant.waited
    }

    /// Returns the sequencer, if the lease stands at this very moment.
    ///
    /// The clock is read here, on the caller's thread: a process that was stopped notices it.
    ///
    /// # Errors
    /// [`Lost`] if the lease may have run out.
    pub fn sequencer(&self) -> Result<Sequencer, Lost> {
        self.grant.hold.handle.shared.check()?;
        Ok(self.grant.sequencer.clone())
    }

    /// Returns the fencing token. It says which acquisition this was, and stays true afterwards.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.grant.sequencer.token
    }

    /// Returns the moment, on [`now`](crate::now)'s clock, from which nothing may be believed any
    /// more unless the lease is extended before.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.grant.hold.handle.shared.lease_end()
    }

    /// Returns how much of the lease is left; zero when it has run out.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().since(crate::now())
    }

    /// Resolves when the lock may have been lost, however shortly, since this was called: at
    /// jeopardy, not only at the end.
    ///
    /// If the session then proves to be alive, the lock is still held, the guard gives its sequencer
    /// again, and another call waits for the next time.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        self.grant.hold.handle.shared.lost()
    }

    /// Returns who waits for the lock, to be watched, if a conflict notice was asked for.
    #[must_use]
    pub fn conflict(&self) -> watch::Receiver<Conflict> {
        self.grant.conflict.clone()
    }

    /// Gives the release another time limit than the client has. See
    /// [`ClientBuilder::call_timeout`](crate::ClientBuilder::call_timeout).
    #[must_use]
    pub fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.grant.hold.handle.call_timeout = Some(timeout);
        self
    }

    /// Lets the release wait for ever, through any outage.
    #[must_use]
    pub fn without_call_timeout(mut self) -> Self {
        self.grant.hold.handle.call_timeout = None;
        self
    }

    /// Releases the lock and waits until the cell has confirmed it. Whatever comes of that, this
    /// process does not hold it any more, and the session goes on trying until the cell has heard of
    /// it.
    ///
    /// # Errors
    /// A [`ReleaseError`] if it is not certain that the lock is free.
    pub async fn release(self) -> Result<(), ReleaseError> {
        match self.grant.hold.release().await {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused(refusal) => Err(ReleaseError::Refused(refusal)),
            Outcome::Unknown | Outcome::SessionEnded | Outcome::Found(_) => {
                Err(ReleaseError::SessionEnded)
            }
            Outcome::TimedOut { .. } => Err(ReleaseError::TimedOut),
            Outcome::Unreachable(report) => Err(ReleaseError::Unreachable(report)),
        }
    }
}
