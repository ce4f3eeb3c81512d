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

use crate::belief::Belief;
use crate::config::SessionConfig;
use crate::connection::{Attachment, Connection, SILENCE, Stage, Standing};
use crate::io::{Call, CallId, ConnectionId, Input, Outcome, Output, State};
use crate::ledger::{Finished, Ledger};
use crate::queries::Queries;
use crate::search::{MasterSearch, Verdict};
use cotter_types::{
    Answer, ClientFrame, Moment, Mutation, OpenSession, QueryResponse, Refusal, RequestNumber,
    ServerFrame, SessionId, Unavailable, Welcome,
};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Version of the protocol.
const PROTOCOL_VERSION: u32 = 1;
/// Longest time between keepalives.
const KEEPALIVE_MAX: Duration = Duration::from_millis(2_000);
/// Time between keepalives while a call is outstanding: how soon a dead master is noticed.
const KEEPALIVE_OUTSTANDING: Duration = Duration::from_millis(500);
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
        if now.since(self.wake) > OWN_PAUSE
            && let Some(connection) = &mut self.connection
        {
            connection.forgive(now);
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
            Input::Disconnected { connection, .. } => self.disconnected(now, connection),
            Input::Frame { connection, frame } => {
                if self.is_present(connection) {
                    self.frame(now, frame);
                }
            }
            Input::Call { id, call } => self.call(id, call),
            Input::Abandon { id } => {
                self.ledger.abandon(id);
                self.queries.abandon(id);
            }
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
        self.outputs.push_back(Output::Complete { id, outcome });
    }

    // --- The lease and the states ------------------------------------------------------------

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
        if let Some(finished) = self.ledger.closed() {
            self.complete(finished);
        }
        self.end(State::Closed);
    }

    /// The lease is over by the master's word.
    fn condemned(&mut self, now: Moment) {
        self.belief.finish(now);
        self.detach(now);
    }

    // --- Connections --------------------------------------------------------------------------

    fn connect(&mut self, now: Moment, address: String) {
        self.leave();
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        self.connection = Some(Connection::new(id, address.clone(), now));
        self.outputs.push_back(Output::Connect {
            connection: id,
            address,
        });
    }

    /// Forgets the present connection, and what was sent on it counts as not sent.
    fn leave(&mut self) -> Option<Connection> {
        self.again.clear();
        self.ledger.all_again();
        self.queries.all_again();
        self.connection.take()
    }

    /// Leaves the present connection and tries the next replica after `delay`.
    fn retreat(&mut self, now: Moment, delay: Duration) {
        self.leave();
        self.connect_at = now.after(delay);
        self.outputs.push_back(Output::Disconnect);
    }

    fn connected(&mut self, now: Moment, connection: ConnectionId) {
        let cell = self.search.cell();
        let Some(present) = &mut self.connection else {
            return;
        };
        if present.id != connection || !matches!(present.stage, Stage::Connecting) {
            return;
        }
        present.stage = Stage::Greeting;
        present.forgive(now);
        self.outputs.push_back(Output::Send(ClientFrame::Hello {
            version: PROTOCOL_VERSION,
            client: self.config.client.clone(),
            cell,
        }));
    }

    fn disconnected(&mut self, now: Moment, connection: ConnectionId) {
        if !self.is_present(connection) {
            return;
        }
        if let Some(left) = self.leave()
            && matches!(left.stage, Stage::Connecting | Stage::Greeting)
        {
            self.search.unreachable(now, &left.address);
        }
        self.connect_at = now.after(self.search.backoff());
    }

    fn welcome(&mut self, now: Moment, welcome: &Welcome) {
        let Some(present) = &mut self.connection else {
            return;
        };
        if matches!(present.stage, Stage::Connecting) {
            return;
        }
        match self.search.welcome(now, &present.address, welcome) {
            Verdict::Master => {
                if present.attachment().is_none() {
                    present.stage = Stage::Master(Attachment::new(now));
                }
            }
            Verdict::Elsewhere(address) => self.connect(now, address),
            Verdict::Listen(patience) => {
                let until = now.after(patience);
                present.stage = Stage::Listening { until };
                self.again.clear();
                self.ledger.all_again();
                self.queries.all_again();
            }
            Verdict::OtherCell(delay) => self.retreat(now, delay),
        }
        if let Some(present) = &mut self.connection {
            present.heard(now);
        }
    }

    /// Asks for attachment again, later.
    fn detach(&mut self, now: Moment) {
        let delay = self.search.jittered(RETRY_MS);
        self.again.clear();
        self.ledger.all_again();
        self.queries.all_again();
        let attachment = self.connection.as_mut().and_then(Connection::attachment);
        if let Some(attachment) = attachment {
            attachment.detached(now.after(delay));
        }
    }

    // --- Frames -------------------------------------------------------------------------------

    fn frame(&mut self, now: Moment, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) => return self.welcome(now, &welcome),
            ServerFrame::GoAway { retry_after_ms, .. } => {
                let hint = if self.search.has_others() {
                    0
                } else {
                    retry_after_ms
                };
                let delay = Duration::from_millis(hint.min(RETRY_MS_MAX));
                let delay = delay.max(self.search.backoff());
                return self.retreat(now, delay);
            }
            ServerFrame::Opened { .. }
            | ServerFrame::OpenRefused { .. }
            | ServerFrame::Attached { .. }
            | ServerFrame::AttachRefused { .. }
            | ServerFrame::KeepAlive { .. }
            | ServerFrame::Answer { .. }
            | ServerFrame::QueryAnswer { .. }
            | ServerFrame::Notice { .. }
            | ServerFrame::Detached { .. }
            | ServerFrame::Ended { .. } => {}
        }
        let id = self.id();
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(attachment) = connection.attachment() else {
            return;
        };
        let asked = match attachment.standing {
            Standing::Asked { sent } => Some(sent),
            Standing::Detached { .. } | Standing::Attached => None,
        };
        match frame {
            ServerFrame::Opened {
                nonce,
                session,
                lease_ms,
            } => {
                if let (Some(sent), None) = (asked, id)
                    && nonce == self.config.nonce
                {
                    self.life = Life::Born(session);
                    self.outputs.push_back(Output::Opened { session, lease_ms });
                    self.attached(now, sent, lease_ms);
                }
            }
            ServerFrame::OpenRefused { nonce, answer } => {
                if asked.is_some() && id.is_none() && nonce == self.config.nonce {
                    self.not_attached(now, answer);
                }
            }
            ServerFrame::Attached { session, lease_ms } => {
                if let Some(sent) = asked
                    && id == Some(session)
                {
                    self.attached(now, sent, lease_ms);
                }
            }
            ServerFrame::AttachRefused { session, answer } => {
                if asked.is_some() && id == Some(session) {
                    self.not_attached(now, answer);
                }
            }
            ServerFrame::KeepAlive { number } => {
                if let Some(sent) = attachment.keepalive_answered(number) {
                    self.belief.confirmed(sent, now);
                }
            }
            ServerFrame::Answer {
                session,
                number,
                answer,
            } => {
                if id == Some(session) {
                    self.answer(now, number, answer);
                }
            }
            ServerFrame::QueryAnswer { id, answer } => self.query_answer(now, id, answer),
            ServerFrame::Notice { session, notice } => {
                if id == Some(session) {
                    self.outputs.push_back(Output::Notice(notice));
                }
            }
            ServerFrame::Detached { session, condemned } => {
                if id == Some(session) && condemned {
                    self.condemned(now);
                } else if id == Some(session) {
                    self.detach(now);
                }
            }
            ServerFrame::Ended { session, .. } => {
                if id == Some(session) {
                    self.gone();
                }
            }
            ServerFrame::Welcome(_) | ServerFrame::GoAway { .. } => {}
        }
        if let Some(connection) = &mut self.connection {
            connection.heard(now);
        }
    }

    /// The session is attached to this stream by the frame that was sent at `sent`.
    fn attached(&mut self, now: Moment, sent: Moment, lease_ms: u64) {
        let attachment = self.connection.as_mut().and_then(Connection::attachment);
        if let Some(attachment) = attachment {
            attachment.attached(sent);
        }
        self.belief.granted(lease_ms);
        self.belief.confirmed(sent, now);
    }

    /// `Open` or `Attach` was answered with no.
    fn not_attached(&mut self, now: Moment, answer: Answer) {
        match (answer, self.life) {
            (Answer::Refused(Refusal::NoSession { .. }), Life::Born(_)) => self.gone(),
            (Answer::Refused(refusal), Life::Unborn { .. }) => {
                self.refusal = Some(refusal);
                self.end(State::Failed);
            }
            (Answer::Unavailable(Unavailable::Condemned), Life::Born(_)) => self.condemned(now),
            (Answer::Unavailable(unavailable), _) => {
                let Some(delay) = self.unavailable(now, &unavailable) else {
                    return;
                };
                let attachment = self.connection.as_mut().and_then(Connection::attachment);
                if let Some(attachment) = attachment {
                    attachment.detached(now.after(delay));
                }
            }
            // A refusal that does not say that the session is gone (this stream is full, say), or an
            // answer that makes no sense here: another replica or another moment may do.
            (Answer::Refused(_), Life::Born(_)) | (Answer::Done(_), _) => {
                let delay = self.search.backoff();
                self.retreat(now, delay);
            }
        }
    }

    fn answer(&mut self, now: Moment, number: RequestNumber, answer: Answer) {
        let finished = match answer {
            Answer::Done(response) => {
                if self.ledger.is_close(number) {
                    return self.closed();
                }
                let safe = self.state == State::Safe;
                self.ledger.done(number, response, safe)
            }
            Answer::Refused(Refusal::NoSession { session }) if self.id() == Some(session) => {
                return self.gone();
            }
            Answer::Refused(refusal) => self.ledger.refused(number, refusal),
            Answer::Unavailable(Unavailable::Condemned) => return self.condemned(now),
            Answer::Unavailable(unavailable) => {
                if self.ledger.is_open(number)
                    && let Some(delay) = self.unavailable(now, &unavailable)
                {
                    self.again
                        .insert((now.after(delay), Again::Mutation(number)));
                }
                None
            }
        };
        if let Some(finished) = finished {
            self.complete(finished);
        }
    }

    fn query_answer(&mut self, now: Moment, id: u64, answer: Result<QueryResponse, Answer>) {
        let outcome = match answer {
            Ok(response) => Outcome::Found(response),
            Err(Answer::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Answer::Done(_)) => {
                let what = "the replica answered a query as if it were a mutation".to_owned();
                Outcome::Refused(Refusal::Invalid { what })
            }
            Err(Answer::Unavailable(unavailable)) => {
                if let Some(delay) = self.unavailable(now, &unavailable) {
                    self.again.insert((now.after(delay), Again::Query(id)));
                }
                return;
            }
        };
        if let Some(asked) = self.queries.remove(id) {
            self.complete((asked.call, outcome));
        }
    }

    /// Returns when to try again on this connection; nothing if it was left.
    fn unavailable(&mut self, now: Moment, unavailable: &Unavailable) -> Option<Duration> {
        match unavailable {
            Unavailable::NotMaster { address, .. } => {
                self.not_master(now, address.as_deref());
                None
            }
            Unavailable::Overloaded { retry_after_ms } => {
                let whole = retry_after_ms
                    .saturating_mul(2)
                    .clamp(RETRY_MS, RETRY_MS_MAX);
                Some(self.search.jittered(whole))
            }
            Unavailable::DiskFull => Some(self.search.jittered(RETRY_DISK_FULL_MS)),
            Unavailable::Condemned => Some(self.search.jittered(RETRY_MS)),
        }
    }

    fn not_master(&mut self, now: Moment, hint: Option<&str>) {
        let Some(present) = &mut self.connection else {
            return;
        };
        match self.search.not_master(now, &present.address, hint) {
            Verdict::Master => {}
            Verdict::Elsewhere(address) => self.connect(now, address),
            Verdict::Listen(delay) | Verdict::OtherCell(delay) => {
                let until = now.after(delay);
                present.stage = Stage::Listening { until };
                self.again.clear();
                self.ledger.all_again();
                self.queries.all_again();
            }
        }
    }

    // --- What is due --------------------------------------------------------------------------

    fn advance(&mut self, now: Moment) {
        if self.is_over() {
            return;
        }
        self.drop_silent(now);
        match &self.connection {
            None if now >= self.connect_at => self.connect_next(now),
            Some(Connection {
                stage: Stage::Listening { until },
                ..
            }) if now >= *until => self.connect_next(now),
            _ => {}
        }
        self.ask(now);
        self.flush(now);
        self.keep_alive(now);
    }

    fn connect_next(&mut self, now: Moment) {
        match self.search.next_address() {
            Some(address) => self.connect(now, address),
            None => self.connect_at = now.after(KEEPALIVE_MAX),
        }
    }

    /// Leaves a connection on which nothing is heard.
    fn drop_silent(&mut self, now: Moment) {
        let since = self.connection.as_ref().and_then(|own| own.silent_since);
        let Some(since) = since else {
            return;
        };
        if now < since.after(SILENCE) {
            return;
        }
        if let Some(left) = self.leave() {
            self.search.unreachable(now, &left.address);
        }
        // The silence was wait enough.
        self.connect_next(now);
    }

    /// Sends `Open` or `Attach`, if it is time.
    fn ask(&mut self, now: Moment) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(attachment) = connection.attachment() else {
            return;
        };
        if !matches!(attachment.standing, Standing::Detached { ask_at } if now >= ask_at) {
            return;
        }
        attachment.standing = Standing::Asked { sent: now };
        connection.sent_prompt(now);
        let frame = match &mut self.life {
            Life::Unborn { asked } => {
                *asked = true;
                ClientFrame::Open(OpenSession {
                    nonce: self.config.nonce,
                    lease_ms: self.config.lease_ms,
                    metadata: self.config.metadata.clone(),
                })
            }
            Life::Born(session) => ClientFrame::Attach {
                session: *session,
                nonce: self.config.nonce,
            },
        };
        self.outputs.push_back(Output::Send(frame));
    }

    /// Tells whether requests may leave: in jeopardy, calls wait.
    fn may_send(&self) -> bool {
        self.state == State::Safe
            && self
                .connection
                .as_ref()
                .is_some_and(Connection::is_attached)
    }

    fn flush(&mut self, now: Moment) {
        let Some(session) = self.id().filter(|_| self.may_send()) else {
            return;
        };
        while let Some((at, again)) = self.again.first().copied()
            && now >= at
        {
            self.again.remove(&(at, again));
            match again {
                Again::Mutation(number) => self.ledger.again(number),
                Again::Query(id) => self.queries.again(id),
            }
        }
        let mut sent = false;
        while let Some((number, mutation)) = self.ledger.take_unsent() {
            sent = true;
            self.outputs.push_back(Output::Send(ClientFrame::Mutate {
                session,
                number,
                acknowledged: self.ledger.acknowledged(),
                mutation,
            }));
        }
        while let Some((id, query)) = self.queries.take_unsent() {
            sent = true;
            let frame = ClientFrame::Query { id, query };
            self.outputs.push_back(Output::Send(frame));
        }
        if sent && let Some(connection) = &mut self.connection {
            connection.sent_prompt(now);
        }
    }

    fn keepalive_interval(&self) -> Duration {
        let lease = Duration::from_millis(self.belief.lease_ms() / KEEPALIVES_PER_LEASE);
        let interval = lease.min(KEEPALIVE_MAX);
        if self.ledger.is_outstanding() || !self.queries.is_empty() {
            interval.min(KEEPALIVE_OUTSTANDING)
        } else {
            interval
        }
    }

    fn keep_alive(&mut self, now: Moment) {
        let interval = self.keepalive_interval();
        let Some(connection) = self.connection.as_mut().filter(|own| own.is_attached()) else {
            return;
        };
        let Some(attachment) = connection.attachment() else {
            return;
        };
        if now < attachment.keepalive_due(interval) {
            return;
        }
        let number = attachment.keepalive(now);
        connection.sent_prompt(now);
        let frame = ClientFrame::KeepAlive { number };
        self.outputs.push_back(Output::Send(frame));
    }

    fn compute_wake(&self) -> Moment {
        if self.is_over() {
            return Moment::NEVER;
        }
        let clock = match self.state {
            State::Safe => self.belief.end(),
            State::Jeopardy => self.grace_end(),
            State::Opening | State::Expired | State::Closed | State::Failed => Moment::NEVER,
        };
        let Some(connection) = &self.connection else {
            return clock.min(self.connect_at);
        };
        let silence = connection
            .silent_since
            .map_or(Moment::NEVER, |since| since.after(SILENCE));
        let stage = match &connection.stage {
            Stage::Connecting | Stage::Greeting => Moment::NEVER,
            Stage::Listening { until } => *until,
            Stage::Master(attachment) => match attachment.standing {
                Standing::Detached { ask_at } => ask_at,
                Standing::Asked { .. } => Moment::NEVER,
                Standing::Attached => attachment.keepalive_due(self.keepalive_interval()),
            },
        };
        let again = self.again.first().filter(|_| self.may_send());
        let again = again.map_or(Moment::NEVER, |(at, _)| *at);
        clock.min(silence).min(stage).min(again)
    }

    // --- Invariants ---------------------------------------------------------------------------

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
        self.ledger.check()
    }

    /// Ends the session because this crate is wrong.
    fn fail(&mut self, broken: &'static str) {
        debug_assert!(false, "{broken}");
        self.broken = Some(broken);
        self.end(State::Expired);
    }
}
