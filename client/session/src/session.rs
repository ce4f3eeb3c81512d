//! One session of a cell: what happens on each input.
//!
//! Invariants, checked after every input. A core that breaks one ends its session (the application
//! must never crash by the library) and says which; in debug builds it panics.
//!
//! - **I-SESSION-1** The belief ends no later than a frame's sending + lease − drift, where the
//!   master confirmed that frame on the connection on which it was sent (by construction: only
//!   `Belief::confirmed` extends it).
//! - **I-SESSION-2** The belief's end never moves back, except when the cell says that the lease is
//!   over, or the session ends.
//! - **I-SESSION-3** The session is Safe only while the lease stands by the local clock.
//! - **I-SESSION-4** A number names one mutation for ever; numbers are given in order.
//! - **I-SESSION-5** A number that might be sent again is never acknowledged (by construction: what
//!   is acknowledged is computed from what is not settled).
//! - **I-SESSION-6** Unsettled mutations stay within the window, so the cell can always record one
//!   more outcome.
//! - **I-SESSION-7** A frame of a connection that was left changes nothing.
//! - **I-SESSION-8** A granted lock is reported only while the session is Safe.
//! - **I-SESSION-9** A state that is an end stays.
//! - **I-SESSION-10** No call outlives its deadline.
//! - **I-SESSION-11** A mutation that was sent, other than an acquire, is never said not to have
//!   happened (by construction: the ledger knows whether it was sent).
//! - **I-SESSION-12** The cell counts as usable exactly while the session is attached.

mod due;
mod frames;
mod links;
mod outages;

use crate::belief::Belief;
use crate::circuit::Circuit;
use crate::config::SessionConfig;
use crate::connection::Connection;
use crate::io::{Call, CallId, ConnectionId, Input, Outcome, Output, State};
use crate::ledger::{Finished, Ledger};
use crate::patience::Deadlines;
use crate::queries::Queries;
use crate::search::MasterSearch;
use cotter_types::{Moment, Mutation, Refusal, RequestNumber, SessionId};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Version of the protocol.
const PROTOCOL_VERSION: u32 = 1;
/// Longest time between keepalives.
const KEEPALIVE_MAX: Duration = Duration::from_millis(2_000);
/// Time between keepalives while a call is outstanding: how soon a dead master is noticed.
const KEEPALIVE_OUTSTANDING: Duration = Duration::from_millis(500);
/// Longest time that a master may take to attach a session before another replica is asked.
const ATTACHING_MAX: Duration = Duration::from_millis(5_000);
/// A lease has room for so many keepalives.
const KEEPALIVES_PER_LEASE: u64 = 6;
/// Longest delay that a server's hint can impose, in milliseconds.
const RETRY_MS_MAX: u64 = 10_000;
/// Delay after an answer that has no hint, in milliseconds.
const RETRY_MS: u64 = 100;
/// Delay when the disk of the cell is full, in milliseconds.
const RETRY_DISK_FULL_MS: u64 = 1_000;
/// If a wake-up comes later than this, the client itself stood still, not the server.
const OWN_PAUSE: Duration = Duration::from_millis(250);

/// What is to be sent again at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Mutation(RequestNumber),
    Query(u64),
}

/// The session as the cell knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not opened. `asked` tells whether an `Open` ever left, so that the cell may know it.
    Unborn { asked: bool },
    /// Opened.
    Born(SessionId),
}

/// One session: feed it with [`Session::handle`], then empty [`Session::poll`].
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    search: MasterSearch,
    connection: Option<Connection>,
    last_connection: u64,
    /// When to connect, if there is no connection.
    connect_at: Moment,
    life: Life,
    state: State,
    belief: Belief,
    jeopardy_since: Moment,
    ledger: Ledger,
    queries: Queries,
    deadlines: Deadlines,
    circuit: Circuit,
    again: BTreeSet<(Moment, Again)>,
    closing: bool,
    refusal: Option<Refusal>,
    broken: Option<&'static str>,
    outputs: VecDeque<Output>,
    wake: Moment,
}

impl Session {
    /// Starts a session. It has its first wish at once: call [`Session::poll`].
    #[must_use]
    pub fn new(config: SessionConfig, now: Moment) -> Self {
        let search = MasterSearch::new(config.endpoints.clone(), config.cell, config.seed);
        let mut circuit = Circuit::new(Duration::from_millis(config.unreachable_after_ms));
        circuit.lost(now);
        let mut session = Self {
            config,
            search,
            connection: None,
            last_connection: 0,
            connect_at: now,
            life: Life::Unborn { asked: false },
            state: State::Opening,
            belief: Belief::none(),
            jeopardy_since: now,
            ledger: Ledger::default(),
            queries: Queries::default(),
            deadlines: Deadlines::default(),
            circuit,
            again: BTreeSet::new(),
            closing: false,
            refusal: None,
            broken: None,
            outputs: VecDeque::new(),
            wake: now,
        };
        session.handle(now, Input::Tick);
        session
    }

    /// Takes an input. `now` must not run backwards.
    pub fn handle(&mut self, now: Moment, input: Input) {
        let late = now.since(self.wake);
        if late > OWN_PAUSE {
            self.circuit.forgive(late);
            if let Some(connection) = &mut self.connection {
                connection.forgive(now);
            }
        }
        // First what the clock says, so that a client that stood still believes nothing else before
        // it has noticed that its time is up.
        self.settle(now);
        let end = self.belief.end();
        if self.is_over() {
            self.handle_after_end(input);
        } else {
            self.accept(now, input);
            self.settle(now);
            self.advance(now);
            self.verify(now, end);
        }
        self.wake = self.compute_wake();
    }

    /// Returns the next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        self.wake
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the end of the belief in the lease, the drift taken off. Nothing that rests on the
    /// session may be believed from this moment on, whether the core has been told the time or not.
    #[must_use]
    pub fn lease_end(&self) -> Moment {
        self.belief.end()
    }

    /// Returns the session's id, once it is open.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        match self.life {
            Life::Unborn { .. } => None,
            Life::Born(id) => Some(id),
        }
    }

    /// Returns why the session could not be opened, if the state is [`State::Failed`].
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Returns the invariant that was broken, if one was: a defect of this crate.
    #[must_use]
    pub fn broken(&self) -> Option<&'static str> {
        self.broken
    }

    /// Tells whether a call was ever sent to the cell; nothing if it is unknown or over. A call that
    /// was never sent did not happen.
    #[must_use]
    pub fn was_sent(&self, call: CallId) -> Option<bool> {
        self.ledger
            .was_sent(call)
            .or_else(|| self.queries.was_sent(call))
    }

    fn is_over(&self) -> bool {
        match self.state {
            State::Opening | State::Safe | State::Jeopardy => false,
            State::Expired | State::Closed | State::Failed => true,
        }
    }

    fn handle_after_end(&mut self, input: Input) {
        match input {
            Input::Call { id, .. } => self.outputs.push_back(Output::Complete {
                id,
                outcome: Outcome::SessionEnded,
            }),
            Input::Tick
            | Input::Connected { .. }
            | Input::Disconnected { .. }
            | Input::Frame { .. }
            | Input::Abandon { .. } => {}
        }
    }

    fn accept(&mut self, now: Moment, input: Input) {
        match input {
            Input::Tick => {}
            Input::Connected { connection } => self.connected(now, connection),
            Input::Disconnected { connection, reason } => {
                self.disconnected(now, connection, &reason);
            }
            Input::Frame { connection, frame } => {
                if self.is_present(connection) {
                    self.frame(now, frame);
                }
            }
            Input::Call { id, call, patience } => self.begin(now, id, call, patience),
            Input::Abandon { id } => self.abandon(id),
        }
    }

    fn is_present(&self, connection: ConnectionId) -> bool {
        let present = self.connection.as_ref();
        present.is_some_and(|present| present.id == connection)
    }

    fn call(&mut self, id: CallId, call: Call) {
        if self.closing {
            return self.complete((id, Outcome::SessionEnded));
        }
        let mutation = match call {
            Call::Acquire(acquire) => Mutation::Acquire(acquire),
            Call::Release { path, number } => Mutation::Release { path, number },
            Call::Mutate(
                Mutation::Acquire(_)
                | Mutation::Release { .. }
                | Mutation::Cancel { .. }
                | Mutation::Close,
            ) => {
                let what = "this mutation has a call of its own".to_owned();
                return self.complete((id, Outcome::Refused(Refusal::Invalid { what })));
            }
            Call::Mutate(mutation) => mutation,
            Call::Query(query) => return self.queries.ask(id, query),
            Call::Close => {
                self.closing = true;
                if self.life == (Life::Unborn { asked: false }) {
                    self.end(State::Closed);
                    return self.complete((id, Outcome::SessionEnded));
                }
                Mutation::Close
            }
        };
        self.ledger.submit(Some(id), mutation);
    }

    fn complete(&mut self, (id, outcome): Finished) {
        self.deadlines.over(id);
        self.outputs.push_back(Output::Complete { id, outcome });
    }

    /// Draws the consequences of the clock.
    fn settle(&mut self, now: Moment) {
        let Life::Born(_) = self.life else {
            return;
        };
        match (self.state, self.belief.stands(now)) {
            (State::Opening | State::Jeopardy, true) => {
                self.enter(State::Safe);
                for finished in self.ledger.release_held() {
                    self.complete(finished);
                }
            }
            (State::Opening | State::Safe, false) => {
                self.jeopardy_since = self.belief.end();
                self.enter(State::Jeopardy);
            }
            _ => {}
        }
        if self.state == State::Jeopardy && now >= self.grace_end() {
            self.end(State::Expired);
        }
    }

    fn grace_end(&self) -> Moment {
        let grace = Duration::from_millis(self.config.grace_ms);
        self.jeopardy_since.after(grace)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.outputs.push_back(Output::State(state));
    }

    /// Ends the session: the belief first, then the calls, then the connection.
    fn end(&mut self, state: State) {
        self.belief = Belief::none();
        self.enter(state);
        for finished in self.ledger.end() {
            self.complete(finished);
        }
        for asked in self.queries.drain() {
            let outcome = if asked.sent {
                Outcome::Unknown
            } else {
                Outcome::SessionEnded
            };
            self.complete((asked.call, outcome));
        }
        self.again.clear();
        if self.connection.take().is_some() {
            self.outputs.push_back(Output::Disconnect);
        }
    }

    /// The cell does not know the session any more, or has said that it ended.
    fn gone(&mut self) {
        if self.ledger.close_was_sent() {
            self.closed();
        } else {
            self.end(State::Expired);
        }
    }

    /// The session ended because the application closed it.
    fn closed(&mut self) {
        let close = self.ledger.closed();
        // The state is known before anybody is told what follows from it.
        self.end(State::Closed);
        if let Some(close) = close {
            self.complete(close);
        }
    }

    /// The lease is over by the master's word.
    fn condemned(&mut self, now: Moment) {
        self.belief.finish(now);
        self.detach(now);
    }

    fn verify(&mut self, now: Moment, end_before: Moment) {
        if let Err(broken) = self.check(now) {
            return self.fail(broken);
        }
        let condemned = !self.belief.stands(now);
        if self.belief.end() < end_before && !condemned && !self.is_over() {
            self.fail("I-SESSION-2: the belief moved back");
        }
    }

    /// Checks the invariants, and says which one does not hold.
    ///
    /// # Errors
    /// The invariant that is broken.
    pub fn check(&self, now: Moment) -> Result<(), &'static str> {
        if self.state == State::Safe && !self.belief.stands(now) {
            return Err("I-SESSION-3: safe without a lease");
        }
        if self.is_over() && self.ledger.is_outstanding() {
            return Err("I-SESSION-9: a call outlived the session");
        }
        if self.deadlines.next() <= now {
            return Err("I-SESSION-10: a call outlived its deadline");
        }
        let attached = self
            .connection
            .as_ref()
            .is_some_and(Connection::is_attached);
        if !self.is_over() && self.circuit.is_usable() != attached {
            return Err("I-SESSION-12: usable and attached are not the same");
        }
        self.ledger.check()
    }

    /// Ends the session because this crate is wrong.
    fn fail(&mut self, broken: &'static str) {
        debug_assert!(false, "{broken}");
        self.broken = Some(broken);
        self.end(State::Expired);
    }
}
