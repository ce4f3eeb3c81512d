//! The thread that keeps the session.
//!
//! It has a runtime of its own with nothing else on it, so that a busy application can never starve
//! the keepalives (a thing that users of other systems suffered from). It feeds the session core,
//! does what the core says, and publishes what may be believed *before* anything that follows from
//! it.
//!
//! Timers of the runtime do not count suspended time, so the clock itself is read at least every
//! [`TICK`].

use crate::clock;
use crate::shared::{
    CALLS_MAX, Command, Conflict, Grant, Handle, Hold, Reachability, Reply, SessionState, Shared,
};
use crate::stream;
use cotter_session::{
    Call, CallId, ConnectionId, Input, Outcome, Output, Patience, Session, SessionConfig, State,
};
use cotter_types::{
    ClientFrame, Moment, Notice, Path, RequestNumber, Response, ServerFrame, limits,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// Longest time between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// Frames that wait to be sent: what may be on its way at once, and some keepalives.
const OUTGOING_MAX: usize = 2 * CALLS_MAX;
/// Frames that wait to be handled.
const INCOMING_MAX: usize = 1_024;
/// Inputs that are handled before the clock is looked at again.
const BURST_MAX: usize = 256;
/// How long a session that nobody wants any more tries to say goodbye.
const FAREWELL: Duration = Duration::from_millis(1_000);

/// What a connection tells.
#[derive(Debug)]
enum Event {
    Connected(ConnectionId),
    Frame(ConnectionId, ServerFrame),
    Disconnected(ConnectionId, String),
}

/// A call on its way.
#[derive(Debug)]
struct Slot {
    reply: Reply,
    /// Gives the place to another call when this one is over.
    _permit: Option<OwnedSemaphorePermit>,
}

/// The present connection: what is sent on it, and the task that carries it.
#[derive(Debug)]
struct Wire {
    id: ConnectionId,
    outgoing: mpsc::Sender<ClientFrame>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a session on a thread of its own.
pub(crate) fn start(
    config: SessionConfig,
    call_timeout: Option<Duration>,
) -> std::io::Result<Handle> {
    let (sender, commands) = mpsc::unbounded_channel();
    let handle = Handle {
        shared: Arc::new(Shared::new()),
        commands: sender,
        permits: Arc::new(Semaphore::new(CALLS_MAX)),
        next_call: Arc::new(AtomicU64::new(1)),
        call_timeout,
    };
    let shared = Arc::clone(&handle.shared);
    let back = WeakHandle {
        commands: handle.commands.downgrade(),
        permits: Arc::clone(&handle.permits),
        next_call: Arc::clone(&handle.next_call),
        call_timeout,
    };
    keep(async move {
        let _end = EndOfThread(Arc::clone(&shared));
        Driver::new(config, shared, back, commands).run().await;
    })?;
    Ok(handle)
}

/// Lets the driver run on a thread and a runtime of its own.
#[cfg(not(feature = "simulated"))]
fn keep(driver: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("cotter-session".to_owned())
        .spawn(move || runtime.block_on(driver))?;
    Ok(())
}

/// Lets the driver run as a task of its simulated host: a thread would run differently each time.
#[cfg(feature = "simulated")]
fn keep(driver: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    tokio::spawn(driver);
    Ok(())
}

/// However the thread ends, nobody believes anything afterwards.
struct EndOfThread(Arc<Shared>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.0.set_lease_end(Moment(0));
        if !self.0.state().is_over() {
            self.0.set_state(SessionState::Expired);
        }
    }
}

/// A [`Handle`] that does not keep the session alive.
#[derive(Debug)]
struct WeakHandle {
    commands: mpsc::WeakUnboundedSender<Command>,
    permits: Arc<Semaphore>,
    next_call: Arc<AtomicU64>,
    call_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Driver {
    session: Session,
    shared: Arc<Shared>,
    back: WeakHandle,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Receiver<Event>,
    event_sender: mpsc::Sender<Event>,
    wire: Option<Wire>,
    slots: BTreeMap<CallId, Slot>,
    /// Who waits for the locks that are held with a conflict notice.
    conflicts: BTreeMap<RequestNumber, watch::Sender<Conflict>>,
    connections: u64,
    /// When to stop although the cell has not confirmed the close; set when nobody is left.
    leave_at: Option<Moment>,
}

impl Driver {
    fn new(
        config: SessionConfig,
        shared: Arc<Shared>,
        back: WeakHandle,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let (event_sender, events) = mpsc::channel(INCOMING_MAX);
        Self {
            session: Session::new(config, clock::now()),
            shared,
            back,
            commands,
            events,
            event_sender,
            wire: None,
            slots: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            connections: 0,
            leave_at: None,
        }
    }

    async fn run(mut self) {
        self.obey();
        while !self.is_done() {
            let wait = self.wait(clock::now());
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.event(event),
                command = self.commands.recv(), if self.leave_at.is_none() => match command {
                    Some(command) => self.command(command),
                    None => self.farewell(),
                },
                () = tokio::time::sleep(wait) => self.feed(Input::Tick),
            }
            self.burst();
        }
    }

    /// Handles what else has come, but not for ever.
    fn burst(&mut self) {
        for _ in 0..BURST_MAX {
            if let Ok(event) = self.events.try_recv() {
                self.event(event);
            } else if let Ok(command) = self.commands.try_recv() {
                self.command(command);
            } else {
                return;
            }
        }
    }

    /// Returns how long nothing needs to be done.
    fn wait(&self, now: Moment) -> Duration {
        // An ended session needs no clock, but what ends this loop is noticed by it.
        self.session.next_wake().since(now).min(TICK)
    }

    fn is_done(&self) -> bool {
        self.leave_at.is_some_and(|at| {
            SessionState::from(self.session.state()).is_over() || clock::now() >= at
        })
    }

    /// Nobody has a handle or a guard any more: the session is closed, if that is quick.
    fn farewell(&mut self) {
        self.leave_at = Some(clock::now().after(FAREWELL));
        self.feed(Input::Call {
            id: CallId(0),
            call: Call::Close,
            patience: Patience::FOR_EVER,
        });
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(connection) => self.feed(Input::Connected { connection }),
            Event::Frame(connection, frame) => self.feed(Input::Frame { connection, frame }),
            Event::Disconnected(connection, reason) => {
                if self.wire.as_ref().is_some_and(|wire| wire.id == connection) {
                    self.wire = None;
                }
                tracing::debug!(reason, "connection lost");
                self.feed(Input::Disconnected { connection, reason });
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call {
                id,
                call,
                patience,
                reply,
                permit,
            } => {
                if let Call::Release { number, .. } = &call {
                    self.conflicts.remove(number);
                }
                let slot = Slot {
                    reply,
                    _permit: permit,
                };
                self.slots.insert(id, slot);
                self.feed(Input::Call { id, call, patience });
            }
            Command::Abandon(id) => {
                if self.slots.remove(&id).is_some() {
                    self.feed(Input::Abandon { id });
                }
            }
        }
    }

    fn feed(&mut self, input: Input) {
        self.session.handle(clock::now(), input);
        self.obey();
    }

    /// Does what the core says.
    fn obey(&mut self) {
        // A belief that has ended is taken back before anything else is said; one that was extended
        // is published before anything that rests on it.
        self.shared.set_lease_end(self.session.lease_end());
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect {
                    connection,
                    address,
                } => self.connect(connection, address),
                Output::Disconnect => self.wire = None,
                Output::Send(frame) => self.send(frame),
                Output::Complete { id, outcome } => self.complete(id, outcome),
                Output::State(state) => self.publish(state),
                Output::Opened { session, lease_ms } => {
                    tracing::info!(%session, lease_ms, "session opened");
                    self.shared.opened(session, lease_ms);
                }
                Output::Notice(notice) => self.notice(notice),
                Output::Troubles(troubles) => {
                    tracing::debug!(?troubles, "on the way to the cell");
                    self.shared.set_troubles(troubles);
                }
                Output::Unreachable(report) => {
                    metrics::counter!("cotter_client_outages").increment(1);
                    tracing::warn!("{report}");
                    let reachability = Reachability::Unreachable(report);
                    self.shared.set_reachability(reachability);
                }
                Output::Reachable => {
                    tracing::info!("the cell is reachable again");
                    self.shared.set_reachability(Reachability::Reachable);
                }
            }
        }
    }

    fn publish(&mut self, state: State) {
        match state {
            State::Jeopardy => {
                metrics::counter!("cotter_client_jeopardies").increment(1);
                tracing::warn!(session = %self.shared.session(), "session in jeopardy");
            }
            State::Expired => {
                metrics::counter!("cotter_client_sessions_expired").increment(1);
                tracing::warn!(session = %self.shared.session(), "session expired");
            }
            State::Failed => self.shared.set_refusal(self.session.refusal().cloned()),
            State::Opening | State::Safe | State::Closed => {}
        }
        if let Some(broken) = self.session.broken() {
            tracing::error!(broken, "defect of the client library");
        }
        self.shared.set_state(SessionState::from(state));
    }

    fn connect(&mut self, id: ConnectionId, address: String) {
        self.connections += 1;
        if self.connections > 1 {
            metrics::counter!("cotter_client_reconnects").increment(1);
        }
        let (outgoing, queued) = mpsc::channel(OUTGOING_MAX);
        let events = self.event_sender.clone();
        let task = tokio::spawn(carry(id, address, queued, events));
        self.wire = Some(Wire { id, outgoing, task });
    }

    fn send(&mut self, frame: ClientFrame) {
        let Some(wire) = &self.wire else {
            return;
        };
        // A connection that does not take what may be on its way at once is of no use. Its end makes
        // the core look for another, on which all is sent again.
        if wire.outgoing.try_send(frame).is_err() && !wire.outgoing.is_closed() {
            wire.task.abort();
            let connection = wire.id;
            let events = self.event_sender.clone();
            let reason = "the connection takes no more".to_owned();
            tokio::spawn(async move { events.send(Event::Disconnected(connection, reason)).await });
        }
    }

    fn notice(&mut self, notice: Notice) {
        let Notice::Conflict {
            number,
            waiters,
            first,
            ..
        } = notice;
        // It may come a moment before the lock is reported, so it is kept for a lock to come.
        let limit = usize::try_from(limits::LOCKS_PER_SESSION_MAX).unwrap_or(usize::MAX);
        if self.conflicts.len() < limit || self.conflicts.contains_key(&number) {
            let watched = self.conflicts.entry(number).or_default();
            watched.send_replace(Conflict { waiters, first });
        }
    }

    fn complete(&mut self, id: CallId, outcome: Outcome) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        match &outcome {
            Outcome::TimedOut { .. } => {
                metrics::counter!("cotter_client_calls_timed_out").increment(1);
            }
            Outcome::Unreachable(_) => {
                metrics::counter!("cotter_client_calls_failed_fast").increment(1);
            }
            Outcome::Done { .. }
            | Outcome::Found(_)
            | Outcome::Refused(_)
            | Outcome::Unknown
            | Outcome::SessionEnded => {}
        }
        match slot.reply {
            Reply::Caller(sender) => drop(sender.send(outcome)),
            Reply::Acquirer(path, sender) => {
                let ended = match outcome {
                    Outcome::Done {
                        number,
                        response:
                            Response::Acquired {
                                sequencer,
                                waited_ms,
                            },
                    } => {
                        let waited = Duration::from_millis(waited_ms);
                        match self.hold(path, number) {
                            Some(hold) => Ok(Grant {
                                sequencer,
                                waited,
                                conflict: self.conflicts.entry(number).or_default().subscribe(),
                                hold,
                            }),
                            None => Err(Outcome::SessionEnded),
                        }
                    }
                    other => Err(other),
                };
                // If the acquirer has gone, the grant is dropped here, which releases the lock.
                drop(sender.send(ended));
            }
            Reply::Nobody => {}
        }
    }

    /// Returns what releases a lock; nothing if nobody is left who could hold it, and then the
    /// session is being closed.
    fn hold(&self, path: Path, number: RequestNumber) -> Option<Hold> {
        let handle = Handle {
            shared: Arc::clone(&self.shared),
            commands: self.back.commands.upgrade()?,
            permits: Arc::clone(&self.back.permits),
            next_call: Arc::clone(&self.back.next_call),
            call_timeout: self.back.call_timeout,
        };
        Some(Hold {
            handle,
            path,
            number,
            released: false,
        })
    }
}

/// Connects, and carries frames until the connection ends.
async fn carry(
    id: ConnectionId,
    address: String,
    queued: mpsc::Receiver<ClientFrame>,
    events: mpsc::Sender<Event>,
) {
    let ended = match stream::connect(&address).await {
        Ok(channel) => {
            if events.send(Event::Connected(id)).await.is_err() {
                return;
            }
            let name = |frame| Event::Frame(id, frame);
            stream::carry(&address, channel, queued, events.clone(), name).await
        }
        Err(error) => Err(error),
    };
    let reason = ended.map_or_else(stream::StreamError::into_reason, |()| {
        "the connection was closed".to_owned()
    });
    let event = Event::Disconnected(id, reason);
    // Nobody listens any more if the thread ends.
    let _ = events.send(event).await;
}
