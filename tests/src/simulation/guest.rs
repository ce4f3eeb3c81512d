//! A simulated client machine: a real session core, a program that uses it, and a clock.

use super::clock::Clock;
use super::host::random_rate;
use super::judgement::Checkers;
use super::network::{ConnectionKey, Machine, Parcel};
use super::profile::Profile;
use super::program::Program;
use super::random::Random;
use super::world::{Event, World};
use crate::checkers::{Floor, Verdict, Violation};
use cotter_session::{Call, CallId, ConnectionId, Input, Output, Session, SessionConfig, State};
use cotter_types::{Answer, ClientFrame, Nonce, Query, ServerFrame, SessionId, SessionMetadata};
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
    pub(super) inbox: VecDeque<Input>,
    pub(super) connection: Option<(ConnectionId, ConnectionKey)>,
    pub(super) dialling: Option<ConnectionId>,
    pub(super) wake_at: u64,
    pub(super) calls: BTreeMap<CallId, (u64, Call)>,
    pub(super) next_call: u64,
    pub(super) queries: BTreeMap<(ConnectionId, u64), (Floor, Query)>,
    pub(super) closing: bool,
    pub(super) over: bool,
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
            // Sometimes shorter than a failover, sometimes longer than a lease.
            unreachable_after_ms: 200 + seed % 4_000,
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
                    let Checkers { order, history, .. } = &mut self.checkers;
                    let verdict = order.received(history, *session, *number);
                    self.checkers.judged(verdict)?;
                }
                ServerFrame::QueryAnswer { id, answer } => {
                    if let Some((floor, query)) = process.queries.remove(&(connection, *id)) {
                        let Checkers { order, history, .. } = &mut self.checkers;
                        let verdict = order.query_received(history, floor, &query, answer);
                        self.checkers.judged(verdict)?;
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
        self.check_exclusion(place)
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
            Output::Unreachable(_) => self.tally.outages += 1,
            Output::Reachable | Output::Troubles(_) => {}
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
                let verdict = self.checkers.once.sent((*session, *number), mutation);
                self.checkers.judged(verdict)?;
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
}
