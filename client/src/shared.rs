//! What the session's thread tells everybody else.
//!
//! Guards do not ask the thread whether the lease stands: they read the clock and compare it with a
//! number in here, on the caller's own thread. So a thread that was starved, or a process that was
//! stopped, makes nobody believe too long.

use crate::clock;
use crate::error::Lost;
use cotter_session::{Call, CallId, Outcome, Patience, State, Trouble, Unreachable};
use cotter_types::{Acquire, Moment, Path, Refusal, RequestNumber, Sequencer, SessionId, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Most calls of one client that are on their way, waits included; others wait for their turn.
pub(crate) const CALLS_MAX: usize = 8_192;

/// What a client may believe of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Not opened yet.
    Opening,
    /// The lease stands.
    Safe,
    /// The lease ran out by the local clock: no guard gives a sequencer, and calls wait. Ends with
    /// `Safe` or `Expired`.
    Jeopardy,
    /// The session is over: the cell said so, or the grace period has passed.
    Expired,
    /// Closed by this process.
    Closed,
    /// The cell refused the session.
    Refused,
}

impl SessionState {
    /// Tells whether the session is over for good.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Opening | Self::Safe | Self::Jeopardy => false,
            Self::Expired | Self::Closed | Self::Refused => true,
        }
    }
}

impl From<State> for SessionState {
    fn from(state: State) -> Self {
        match state {
            State::Opening => Self::Opening,
            State::Safe => Self::Safe,
            State::Jeopardy => Self::Jeopardy,
            State::Expired => Self::Expired,
            State::Closed => Self::Closed,
            State::Failed => Self::Refused,
        }
    }
}

/// Who waits for a lock that a guard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    /// How many wait.
    pub waiters: u64,
    /// Who waits first, for people to read.
    pub first: String,
}

/// Whether the cell can be reached, as far as the session knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reachability {
    /// It can, or it is not long enough that it cannot.
    Reachable,
    /// It cannot: no replica has been of use for too long. The session goes on trying by itself, and
    /// calls that would only wait fail at once. The report is of the moment when this began.
    Unreachable(Unreachable),
}

/// A lock that was granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) sequencer: Sequencer,
    pub(crate) waited: Duration,
    pub(crate) conflict: watch::Receiver<Conflict>,
    pub(crate) hold: Hold,
}

/// Where the end of a call is told.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To a caller.
    Caller(oneshot::Sender<Outcome>),
    /// To a caller who acquires a lock.
    Acquirer(Path, oneshot::Sender<Result<Grant, Outcome>>),
    /// Nobody waits for it.
    Nobody,
}

/// What the session's thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A call begins.
    Call {
        id: CallId,
        call: Call,
        patience: Patience,
        reply: Reply,
        permit: Option<OwnedSemaphorePermit>,
    },
    /// Nobody waits for a call any more.
    Abandon(CallId),
}

/// Written by the session's thread, read by everybody.
#[derive(Debug)]
pub(crate) struct Shared {
    /// End of the belief in the lease, as the number in a [`Moment`].
    lease_end: AtomicU64,
    lease_ms: AtomicU64,
    session: AtomicU64,
    state: watch::Sender<SessionState>,
    /// How often the belief has ended.
    losses: watch::Sender<u64>,
    reachability: watch::Sender<Reachability>,
    troubles: Mutex<Vec<Trouble>>,
    refusal: Mutex<Option<Refusal>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            lease_end: AtomicU64::new(0),
            lease_ms: AtomicU64::new(0),
            session: AtomicU64::new(0),
            state: watch::Sender::new(SessionState::Opening),
            losses: watch::Sender::new(0),
            reachability: watch::Sender::new(Reachability::Reachable),
            troubles: Mutex::new(Vec::new()),
            refusal: Mutex::new(None),
        }
    }

    /// Returns the moment from which nothing may be believed.
    pub(crate) fn lease_end(&self) -> Moment {
        Moment(self.lease_end.load(Ordering::SeqCst))
    }

    pub(crate) fn set_lease_end(&self, end: Moment) {
        self.lease_end.store(end.0, Ordering::SeqCst);
    }

    /// Tells whether the lease stands, by the clock and not by what anybody has noticed yet.
    pub(crate) fn check(&self) -> Result<(), Lost> {
        if clock::now() < self.lease_end() {
            Ok(())
        } else if self.state().is_over() {
            Err(Lost::SessionEnded)
        } else {
            Err(Lost::Jeopardy)
        }
    }

    pub(crate) fn state(&self) -> SessionState {
        *self.state.borrow()
    }

    pub(crate) fn watch_state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Publishes a state. The end of the lease stands in here already.
    pub(crate) fn set_state(&self, state: SessionState) {
        if matches!(state, SessionState::Jeopardy) || state.is_over() {
            self.losses.send_modify(|losses| *losses += 1);
        }
        self.state.send_replace(state);
    }

    /// Resolves when the belief has ended since this was called, however shortly.
    pub(crate) fn lost(self: &Arc<Self>) -> impl Future<Output = Lost> + Send + use<> {
        let mut losses = self.losses.subscribe();
        let shared = Arc::clone(self);
        async move {
            if let Err(lost) = shared.check() {
                return lost;
            }
            // The sender is in `shared`, so it lives.
            let _ = losses.changed().await;
            shared.check().err().unwrap_or(Lost::Jeopardy)
        }
    }

    pub(crate) fn opened(&self, session: SessionId, lease_ms: u64) {
        self.session.store(session.0, Ordering::SeqCst);
        self.lease_ms.store(lease_ms, Ordering::SeqCst);
    }

    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.session.load(Ordering::SeqCst))
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn watch_reachability(&self) -> watch::Receiver<Reachability> {
        self.reachability.subscribe()
    }

    pub(crate) fn set_reachability(&self, reachability: Reachability) {
        self.reachability.send_replace(reachability);
    }

    /// Resolves when the cell is unreachable.
    pub(crate) async fn unreachable(&self) -> Unreachable {
        let mut watched = self.reachability.subscribe();
        loop {
            if let Reachability::Unreachable(report) = &*watched.borrow_and_update() {
                return report.clone();
            }
            // The sender is in `self`, so it lives.
            let _ = watched.changed().await;
        }
    }

    /// Returns what went wrong on the way to the cell since it last answered.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let troubles = self.troubles.lock();
        troubles.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_troubles(&self, troubles: Vec<Trouble>) {
        *self.troubles.lock().unwrap_or_else(PoisonError::into_inner) = troubles;
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let refusal = self.refusal.lock();
        refusal.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_refusal(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

/// A way to the session's thread. When the last one is dropped, the session is closed.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    /// Never full, and bounded all the same: a call needs a permit, is abandoned at most once, and
    /// each lock is released once.
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) next_call: Arc<AtomicU64>,
    /// How long a call may take; nothing for ever, and through any outage.
    pub(crate) call_timeout: Option<Duration>,
}

/// Abandons a call whose future is dropped.
struct Abandon<'a> {
    handle: &'a Handle,
    id: CallId,
    over: bool,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.handle.commands.send(Command::Abandon(self.id));
        }
    }
}

impl Handle {
    /// Makes a call.
    pub(crate) async fn call(&self, call: Call) -> Outcome {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::Caller(sender);
        match self.wait_for(call, self.patience(), reply, receiver).await {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    /// Acquires a lock. The cell ends a wait that has an end; the deadline is for when there is no
    /// cell.
    pub(crate) async fn acquire(&self, acquire: Acquire) -> Result<Grant, Outcome> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::Acquirer(acquire.path.clone(), sender);
        let mut patience = self.patience();
        patience.deadline = match acquire.wait {
            Wait::No => patience.deadline,
            Wait::Ms(ms) => patience.deadline.after(Duration::from_millis(ms)),
            Wait::Forever => Moment::NEVER,
        };
        self.wait_for(Call::Acquire(acquire), patience, reply, receiver)
            .await?
    }

    /// Returns the patience of a call that begins now.
    fn patience(&self) -> Patience {
        self.call_timeout.map_or(Patience::FOR_EVER, |limit| {
            Patience::until(clock::now().after(limit))
        })
    }

    /// Waits until there is room for another call.
    async fn turn(&self, patience: Patience) -> Result<OwnedSemaphorePermit, Outcome> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let left = patience.deadline.since(clock::now());
        tokio::select! {
            biased;
            permit = Arc::clone(&self.permits).acquire_owned() => {
                permit.map_err(|_| Outcome::SessionEnded)
            }
            report = self.shared.unreachable(), if !patience.through_outages => {
                Err(Outcome::Unreachable(Box::new(report)))
            }
            () = tokio::time::sleep(left) => Err(Outcome::TimedOut { sent: false }),
        }
    }

    async fn wait_for<T>(
        &self,
        call: Call,
        patience: Patience,
        reply: Reply,
        receiver: oneshot::Receiver<T>,
    ) -> Result<T, Outcome> {
        let permit = self.turn(patience).await?;
        let id = self.next_id();
        let command = Command::Call {
            id,
            call,
            patience,
            reply,
            permit: Some(permit),
        };
        if self.commands.send(command).is_err() {
            return Err(Outcome::SessionEnded);
        }
        let mut abandon = Abandon {
            handle: self,
            id,
            over: false,
        };
        let received = receiver.await;
        abandon.over = true;
        // The thread has gone without an answer: nobody knows.
        received.map_err(|_| Outcome::Unknown)
    }

    fn next_id(&self) -> CallId {
        CallId(self.next_call.fetch_add(1, Ordering::Relaxed))
    }
}

/// Releases a granted lock when it is dropped, wherever that happens: in a guard, or in a channel
/// whose receiver has gone.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) handle: Handle,
    pub(crate) path: Path,
    pub(crate) number: RequestNumber,
    pub(crate) released: bool,
}

impl Hold {
    /// Releases the lock and waits until the cell has confirmed it.
    pub(crate) async fn release(mut self) -> Outcome {
        self.released = true;
        let (sender, receiver) = oneshot::channel();
        self.submit(self.handle.patience(), Reply::Caller(sender));
        let received = receiver.await;
        received.unwrap_or(Outcome::Unknown)
    }

    /// Needs no permit: a lock can always be released.
    fn submit(&self, patience: Patience, reply: Reply) {
        let _ = self.handle.commands.send(Command::Call {
            id: self.handle.next_id(),
            call: Call::Release {
                path: self.path.clone(),
                number: self.number,
            },
            patience,
            reply,
            permit: None,
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.released {
            self.submit(Patience::FOR_EVER, Reply::Nobody);
        }
    }
}
