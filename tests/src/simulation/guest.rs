//! A simulated client machine: a real session core, a program that uses it, and a clock.

use super::clock::Clock;
use super::host::random_rate;
use super::network::{ConnectionKey, Machine, Parcel};
use super::profile::Profile;
use super::program::{Deed, Program};
use super::random::Random;
use super::world::{Event, World};
use crate::checkers::{Belief, Floor, Verdict, Violation};
use cotter_session::{
    Call, CallId, ConnectionId, Input, Outcome, Output, Session, SessionConfig, State,
};
use cotter_types::{
    Answer, ClientFrame, Moment, Mutation, Nonce, Query, Response, ServerFrame, SessionId,
    SessionMetadata,
};
use std::collections::{BTreeMap, VecDeque};

/// A client machine.
pub(super) struct Guest {
    pub(super) place: usize,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    /// Rises with every new session, so that what was meant for an older one is dropped.
    pub(super) life: u32,
    pub(super) paused: bool,
    pub(super) process: Option<Process>,
    pub(super) program: Program,
    pub(super) random: Random,
    /// What the last client of all asks for in the end, one after the other, each to succeed.
    pub(super) script: VecDeque<Call>,
    pub(super) scripted: bool,
    pub(super) finished: bool,
}

/// One session and what belongs to it.
pub(super) struct Process {
    pub(super) session: Session,
    inbox: VecDeque<Input>,
    connection: Option<(ConnectionId, ConnectionKey)>,
    dialling: Option<ConnectionId>,
    wake_at: u64,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    queries: BTreeMap<(ConnectionId, u64), (Floor, Query)>,
    closing: bool,
    over: bool,
}

impl Guest {
    pub(super) fn new(
        place: usize,
        machine: Machine,
        _profile: &Profile,
        random: &mut Random,
    ) -> Self {
        let mut own = random.fork();
        let rate = random_rate(&mut own);
        let reading = own.between(0, 1 << 40);
        Self {
            place,
            machine,
            clock: Clock::new(0, reading, rate),
            life: 0,
            paused: false,
            process: None,
            program: Program::new(own.fork(), 0),
            random: own,
            script: VecDeque::new(),
            scripted: false,
            finished: false,
        }
    }

    /// Tells whether this client believes at this moment that its lease stands.
    pub(super) fn believes(&self, now: u64) -> bool {
        self.process.as_ref().is_some_and(|process| {
            !process.closing
                && process.session.state() == State::Safe
                && self.clock.read(now) < process.session.lease_end()
        })
    }

    pub(super) fn session_id(&self) -> Option<SessionId> {
        self.process.as_ref()?.session.id()
    }

    pub(super) fn state(&self) -> Option<State> {
        Some(self.process.as_ref()?.session.state())
    }

    pub(super) fn calls(&self) -> usize {
        self.process
            .as_ref()
            .map_or(0, |process| process.calls.len())
    }
}

impl World {
    pub(super) fn start_guest(&mut self, place: usize) -> Verdict {
        let now = self.now();
        if self.guests[place].process.is_some() || self.guests[place].finished {
            return Ok(());
        }
        let mut endpoints: Vec<String> = self
            .hosts
            .iter()
            .map(|host| host.client_address().to_owned())
            .collect();
        let guest = &mut self.guests[place];
        if guest.random.chance(300) {
            let keep = guest.random.index(endpoints.len());
            endpoints = vec![endpoints.swap_remove(keep)];
        }
        guest.life += 1;
        guest.paused = false;
        let nonce = Nonce(u128::from(guest.random.bits()) << 64 | u128::from(guest.random.bits()));
        let seed = guest.random.bits();
        let lease_ms = self.profile.lease_ms * guest.random.pick(&[1, 1, 1, 2, 3]);
        let config = SessionConfig {
            lease_ms,
            grace_ms: self.profile.grace_ms,
            metadata: SessionMetadata {
                name: format!("client {place} life {}", guest.life),
                host: format!("host-{place}"),
                pid: guest.life,
                program: "simulate".to_owned(),
            },
            client: "simulate".to_owned(),
            ..SessionConfig::new(endpoints, nonce, seed)
        };
        guest.program.restart(now);
        guest.process = Some(Process {
            session: Session::new(config, guest.clock.read(now)),
            inbox: VecDeque::new(),
            connection: None,
            dialling: None,
            wake_at: u64::MAX,
            calls: BTreeMap::new(),
            next_call: 1,
            queries: BTreeMap::new(),
            closing: false,
            over: false,
        });
        self.mark(10, place as u64);
        self.note(|| format!("client {place} opens a session"));
        self.guest_step(place)
    }

    /// The client's process dies.
    pub(super) fn kill_guest(&mut self, place: usize) {
        let Some(process) = self.guests[place].process.take() else {
            return;
        };
        self.guests[place].life += 1;
        self.guests[place].paused = false;
        self.checkers.exclusion.session_over(place);
        self.mark(11, place as u64);
        self.note(|| format!("client {place} dies"));
        if let Some((_, key)) = process.connection {
            let unnoticed = self.random.chance(300);
            let notice = if unnoticed {
                self.random.around(10_000_000)
            } else {
                0
            };
            self.break_connection(key, 0, notice);
        }
        let pause = self.random.around(1_000_000);
        self.agenda.after(pause, Event::GuestStart { guest: place });
    }

    pub(super) fn guest_resume(&mut self, place: usize, life: u32) -> Verdict {
        let guest = &mut self.guests[place];
        if guest.life != life || !guest.paused {
            return Ok(());
        }
        guest.paused = false;
        self.note(|| format!("client {place} goes on"));
        loop {
            let next = self.guests[place]
                .process
                .as_mut()
                .and_then(|process| process.inbox.pop_front());
            match next {
                Some(input) => self.guest_input(place, life, input)?,
                None => return self.guest_input(place, life, Input::Tick),
            }
        }
    }

    pub(super) fn guest_wake(&mut self, place: usize, life: u32) -> Verdict {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = guest.process.as_mut().filter(|_| guest.life == life) else {
            return Ok(());
        };
        if process.wake_at != now || guest.paused {
            return Ok(());
        }
        process.wake_at = u64::MAX;
        self.guest_input(place, life, Input::Tick)
    }

    pub(super) fn frame_for_guest(
        &mut self,
        guest: (usize, u32),
        connection: ConnectionId,
        frame: ServerFrame,
    ) -> Verdict {
        let current = self.guests[guest.0]
            .process
            .as_ref()
            .and_then(|process| process.connection)
            .is_some_and(|(current, _)| current == connection);
        if !current {
            return Ok(());
        }
        self.guest_input(guest.0, guest.1, Input::Frame { connection, frame })
    }

    pub(super) fn guest_broken(
        &mut self,
        place: usize,
        life: u32,
        connection: ConnectionId,
    ) -> Verdict {
        let guest = &mut self.guests[place];
        let Some(process) = guest.process.as_mut().filter(|_| guest.life == life) else {
            return Ok(());
        };
        if process
            .connection
            .is_some_and(|(current, _)| current == connection)
        {
            process.connection = None;
            let reason = "the connection broke".to_owned();
            return self.guest_input(place, life, Input::Disconnected { connection, reason });
        }
        Ok(())
    }

    pub(super) fn dialled(
        &mut self,
        place: usize,
        life: u32,
        connection: ConnectionId,
        key: Option<ConnectionKey>,
    ) -> Verdict {
        let guest = &mut self.guests[place];
        let wanted = guest
            .process
            .as_mut()
            .filter(|process| guest.life == life && process.dialling == Some(connection));
        let Some(process) = wanted else {
            if let Some(key) = key {
                self.send(key, 0, Parcel::End);
            }
            return Ok(());
        };
        process.dialling = None;
        match key {
            Some(key) if self.network.connection(key).stands() => {
                process.connection = Some((connection, key));
                self.guest_input(place, life, Input::Connected { connection })
            }
            _ => {
                let reason = "could not connect".to_owned();
                self.guest_input(place, life, Input::Disconnected { connection, reason })
            }
        }
    }

    /// Gives a client's session an input, or keeps it while the client stands still.
    pub(super) fn guest_input(&mut self, place: usize, life: u32, input: Input) -> Verdict {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = guest.process.as_mut().filter(|_| guest.life == life) else {
            return Ok(());
        };
        if guest.paused {
            process.inbox.push_back(input);
            return Ok(());
        }
        let reading = guest.clock.read(now);
        if let Input::Frame { connection, frame } = &input {
            let connection = *connection;
            match frame {
                ServerFrame::Answer {
                    session,
                    number,
                    answer,
                } if !matches!(answer, Answer::Unavailable(_)) => {
                    self.checkers
                        .order
                        .received(&self.checkers.history, *session, *number)?;
                }
                ServerFrame::QueryAnswer { id, answer } => {
                    if let Some((floor, query)) = process.queries.remove(&(connection, *id)) {
                        self.checkers.order.query_received(
                            &self.checkers.history,
                            floor,
                            &query,
                            answer,
                        )?;
                    }
                }
                _ => {}
            }
        }
        process.session.handle(reading, input);
        self.guest_step(place)
    }

    /// Does what the session wants done, then what the program wants, until nobody wants anything.
    pub(super) fn guest_step(&mut self, place: usize) -> Verdict {
        let now = self.now();
        loop {
            self.drain_session(place)?;
            if self.guests[place].process.is_none() || !self.run_program(place) {
                break;
            }
        }
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return Ok(());
        };
        let reading = guest.clock.read(now);
        process.session.check(reading).map_err(|broken| {
            Violation::new("invariants", format!("session of client {place}: {broken}"))
        })?;
        if let Some(broken) = process.session.broken() {
            return Err(Violation::new(
                "invariants",
                format!("session of client {place}: {broken}"),
            ));
        }
        let late = if guest.random.chance(20) {
            guest.random.between(0, 50_000)
        } else {
            guest.random.between(0, 300)
        };
        let session_due = guest.clock.when(process.session.next_wake(), now);
        let due = session_due.min(guest.program.due());
        if due != u64::MAX {
            let at = due.max(now + 1) + late;
            process.wake_at = at;
            let life = guest.life;
            self.agenda.at(at, Event::GuestWake { guest: place, life });
        }
        let guests = &self.guests;
        self.checkers
            .exclusion
            .check(place, now, |other| guests[other].believes(now))
    }

    fn drain_session(&mut self, place: usize) -> Verdict {
        while let Some(output) = self.guests[place]
            .process
            .as_mut()
            .and_then(|process| process.session.poll())
        {
            self.guest_output(place, output)?;
        }
        let over = self.guests[place]
            .process
            .as_ref()
            .is_some_and(|process| process.over);
        if over {
            self.end_session(place)?;
        }
        Ok(())
    }

    fn guest_output(&mut self, place: usize, output: Output) -> Verdict {
        let life = self.guests[place].life;
        self.mark(12, place as u64);
        self.note(|| format!("client {place}: {output:?}"));
        let Some(process) = &mut self.guests[place].process else {
            return Ok(());
        };
        match output {
            Output::Connect {
                connection,
                address,
            } => {
                self.leave(place);
                let Some(host) = self.host_at(&address) else {
                    return Err(Violation::new(
                        "session",
                        format!("client {place} connects to {address}, where nobody is"),
                    ));
                };
                if let Some(process) = &mut self.guests[place].process {
                    process.dialling = Some(connection);
                }
                let machine = self.guests[place].machine;
                let travel = self.network.travel(machine, host);
                self.agenda.after(
                    travel,
                    Event::Dial {
                        guest: place,
                        life,
                        connection,
                        host,
                    },
                );
            }
            Output::Disconnect => self.leave(place),
            Output::Send(frame) => return self.guest_sends(place, frame),
            Output::Complete { id, outcome } => return self.completed(place, id, &outcome),
            Output::State(State::Expired | State::Closed | State::Failed) => {
                process.over = true;
                self.checkers.exclusion.session_over(place);
            }
            Output::State(state) => {
                if state == State::Jeopardy {
                    self.tally.jeopardies += 1;
                }
            }
            Output::Opened { .. } => self.tally.sessions += 1,
            Output::Notice(_) => self.tally.notices += 1,
        }
        Ok(())
    }

    fn leave(&mut self, place: usize) {
        let Some(process) = &mut self.guests[place].process else {
            return;
        };
        process.dialling = None;
        process.queries.clear();
        if let Some((_, key)) = process.connection.take() {
            self.send(key, 0, Parcel::End);
        }
    }

    fn guest_sends(&mut self, place: usize, frame: ClientFrame) -> Verdict {
        let Some(process) = &mut self.guests[place].process else {
            return Ok(());
        };
        let Some((connection, key)) = process.connection else {
            // The network knows that the connection is broken, and the session does not yet.
            return Ok(());
        };
        match &frame {
            ClientFrame::Mutate {
                session,
                number,
                mutation,
                ..
            } => {
                self.checkers.once.sent((*session, *number), mutation)?;
                self.checkers.order.sent(*session, *number);
            }
            ClientFrame::Query { id, query } => {
                let floor = self.checkers.order.floor();
                process
                    .queries
                    .insert((connection, *id), (floor, query.clone()));
            }
            _ => {}
        }
        self.send(key, 0, Parcel::Up(frame));
        Ok(())
    }

    fn completed(&mut self, place: usize, id: CallId, outcome: &Outcome) -> Verdict {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return Ok(());
        };
        let Some(call) = process.calls.remove(&id) else {
            // Given up, and over all the same.
            return Ok(());
        };
        self.tally.completed += 1;
        let session = process.session.id();
        if let (Some(session), Outcome::Done { number, response }) = (session, outcome) {
            let key = (session, *number);
            let asked = match &call {
                Call::Acquire(acquire) => Some(Mutation::Acquire(acquire.clone())),
                Call::Release { path, number } => Some(Mutation::Release {
                    path: path.clone(),
                    number: *number,
                }),
                Call::Mutate(mutation) => Some(mutation.clone()),
                Call::Close => Some(Mutation::Close),
                Call::Query(_) => None,
            };
            let recorded = self.checkers.history.outcome(key.0, key.1);
            let right = asked.as_ref() == self.checkers.once.mutation(key)
                && recorded.is_some_and(|recorded| recorded.result.as_ref() == Ok(response));
            if !right && !matches!(call, Call::Close) {
                return Err(Violation::new(
                    "session",
                    format!(
                        "client {place} is told that {call:?} came to {outcome:?}; the cell says \
                         {recorded:?}"
                    ),
                ));
            }
            if let (Call::Acquire(acquire), Response::Acquired { sequencer, .. }) =
                (&call, response)
            {
                self.checkers.exclusion.begins(Belief {
                    guest: place,
                    session,
                    path: acquire.path.clone(),
                    number: *number,
                    sequencer: sequencer.clone(),
                });
            }
        }
        if guest.scripted {
            return self.script_completed(place, &call, outcome);
        }
        guest
            .program
            .completed(now, id, &call, outcome, &mut self.knowledge);
        Ok(())
    }

    /// The session is over: everything asked of it must have been answered.
    fn end_session(&mut self, place: usize) -> Verdict {
        let now = self.now();
        let Some(process) = self.guests[place].process.take() else {
            return Ok(());
        };
        let state = process.session.state();
        self.note(|| format!("client {place}: session over, {state:?}"));
        if !process.calls.is_empty() {
            return Err(Violation::new(
                "session",
                format!(
                    "client {place}: the session ended ({state:?}) without a word about {:?}",
                    process.calls
                ),
            ));
        }
        if state == State::Failed {
            return Err(Violation::new(
                "session",
                format!("client {place}: {:?}", process.session.refusal()),
            ));
        }
        let guest = &mut self.guests[place];
        guest.life += 1;
        if let Some((_, key)) = process.connection {
            self.send(key, 0, Parcel::End);
        }
        let guest = &mut self.guests[place];
        guest.program.restart(now);
        if guest.scripted {
            if !guest.script.is_empty() {
                return Err(Violation::new(
                    "liveness",
                    format!(
                        "the last client's session ended with {:?} to do",
                        guest.script
                    ),
                ));
            }
            guest.finished = true;
            return Ok(());
        }
        let pause = guest.random.around(500_000);
        self.agenda.after(pause, Event::GuestStart { guest: place });
        Ok(())
    }

    /// Lets the program do what it wants. Returns whether it did anything.
    fn run_program(&mut self, place: usize) -> bool {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return false;
        };
        if guest.scripted {
            return self.run_script(place);
        }
        if process.closing {
            return false;
        }
        let reading = guest.clock.read(now);
        let deeds = guest.program.deeds(now, &self.knowledge);
        let any = !deeds.is_empty();
        for deed in deeds {
            match deed {
                Deed::Call(slot, call) => {
                    if process.closing {
                        continue;
                    }
                    let id = CallId(process.next_call);
                    guest.program.called(slot, id, &call, now);
                    make_call(place, process, reading, call, &mut self.checkers.exclusion);
                }
                Deed::Abandon(id) => {
                    process.calls.remove(&id);
                    self.tally.abandoned += 1;
                    process.session.handle(reading, Input::Abandon { id });
                }
            }
        }
        any
    }

    fn run_script(&mut self, place: usize) -> bool {
        let now = self.now();
        let guest = &mut self.guests[place];
        let Some(process) = &mut guest.process else {
            return false;
        };
        if !process.calls.is_empty() || process.closing {
            return false;
        }
        let Some(call) = guest.script.pop_front() else {
            return false;
        };
        let reading = guest.clock.read(now);
        make_call(place, process, reading, call, &mut self.checkers.exclusion);
        true
    }

    fn script_completed(&mut self, place: usize, call: &Call, outcome: &Outcome) -> Verdict {
        match outcome {
            Outcome::Done {
                number,
                response: Response::Acquired { sequencer, .. },
            } => {
                let path = match call {
                    Call::Acquire(acquire) => acquire.path.clone(),
                    _ => sequencer.path.clone(),
                };
                self.guests[place].script.push_front(Call::Release {
                    path,
                    number: *number,
                });
                Ok(())
            }
            Outcome::Done { .. } | Outcome::Found(_) => Ok(()),
            other => Err(Violation::new(
                "liveness",
                format!("in a healed world {call:?} came to {other:?}"),
            )),
        }
    }
}

fn make_call(
    place: usize,
    process: &mut Process,
    reading: Moment,
    call: Call,
    exclusion: &mut crate::checkers::Exclusion,
) {
    let id = CallId(process.next_call);
    process.next_call += 1;
    match &call {
        Call::Release { number, .. } => {
            if let Some(session) = process.session.id() {
                exclusion.ends(session, *number);
            }
        }
        Call::Close => {
            process.closing = true;
            exclusion.session_over(place);
        }
        Call::Acquire(_) | Call::Mutate(_) | Call::Query(_) => {}
    }
    process.calls.insert(id, call.clone());
    process.session.handle(reading, Input::Call { id, call });
}
