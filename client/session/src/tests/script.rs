//! Plays a session against a script and writes down what it says.

use crate::{
    Call, CallId, ConnectionId, Input, Outcome, Output, Patience, Session, SessionConfig, State,
};
use cotter_types::{
    Acquire, Answer, CellId, ClientFrame, Epoch, FencingToken, Instance, LockMode, Moment,
    Mutation, Nonce, Notice, Path, Query, ReplicaId, RequestNumber, Response, Sequencer,
    ServerFrame, SessionId, Wait, Welcome,
};
use std::time::Duration;

pub(super) const NONCE: Nonce = Nonce(42);
pub(super) const SESSION: SessionId = SessionId(7);
pub(super) const LEASE_MS: u64 = 12_000;
/// What the client believes of a lease of [`LEASE_MS`].
pub(super) const BELIEF_MS: u64 = LEASE_MS * 990 / 1_000;
const START: Moment = Moment(1_000_000_000);

/// A session, its clock, and everything it has said since somebody last looked.
pub(super) struct Script {
    pub(super) session: Session,
    pub(super) now: Moment,
    said: Vec<String>,
    /// The connection that the session asked for last.
    pub(super) connection: ConnectionId,
    pub(super) address: String,
    /// Whether keepalives are written down.
    pub(super) show_keepalives: bool,
    pub(super) last_keepalive: u64,
    pub(super) last_query: u64,
    /// What the session has said last of what went wrong.
    pub(super) troubles: Vec<String>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut SessionConfig)) -> Self {
        let endpoints = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
        let mut config = SessionConfig::new(endpoints, NONCE, 1);
        change(&mut config);
        let mut script = Self {
            session: Session::new(config, START),
            now: START,
            said: Vec::new(),
            connection: ConnectionId(0),
            address: String::new(),
            show_keepalives: false,
            last_keepalive: 0,
            last_query: 0,
            troubles: Vec::new(),
        };
        script.listen();
        script
    }

    /// A session that is open and attached to `a:1`, master of epoch 3.
    pub(super) fn opened() -> Self {
        let mut script = Self::new();
        script.greeted_by_master(3);
        script.frame(opened());
        script.forget();
        script
    }

    pub(super) fn greeted_by_master(&mut self, epoch: u64) {
        self.connected();
        let address = self.address.clone();
        self.frame(welcome(epoch, true, Some(&address)));
    }

    pub(super) fn connected(&mut self) {
        let connection = self.connection;
        self.feed(Input::Connected { connection });
    }

    pub(super) fn disconnected(&mut self) {
        let connection = self.connection;
        let reason = "gone".to_owned();
        self.feed(Input::Disconnected { connection, reason });
    }

    pub(super) fn frame(&mut self, frame: ServerFrame) {
        let connection = self.connection;
        self.feed(Input::Frame { connection, frame });
    }

    pub(super) fn answer(&mut self, number: u64, answer: Answer) {
        self.frame(ServerFrame::Answer {
            session: SESSION,
            number: RequestNumber(number),
            answer,
        });
    }

    /// Answers the last keepalive.
    pub(super) fn keepalive(&mut self) {
        let number = self.last_keepalive;
        self.frame(ServerFrame::KeepAlive { number });
    }

    pub(super) fn call(&mut self, id: u64, call: Call) {
        self.call_with(id, call, Patience::FOR_EVER);
    }

    /// Calls with a deadline in so many milliseconds, and no patience with a cell that is
    /// unreachable.
    pub(super) fn call_for(&mut self, id: u64, call: Call, ms: u64) {
        let deadline = self.now.after(Duration::from_millis(ms));
        self.call_with(id, call, Patience::until(deadline));
    }

    pub(super) fn call_with(&mut self, id: u64, call: Call, patience: Patience) {
        self.feed(Input::Call {
            id: CallId(id),
            call,
            patience,
        });
    }

    pub(super) fn abandon(&mut self, id: u64) {
        self.feed(Input::Abandon { id: CallId(id) });
    }

    /// Lets time pass, ticking whenever the session asks for it.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        let mut ticks = 0;
        while self.session.next_wake() <= end {
            ticks += 1;
            assert!(ticks < 100_000, "the session never sleeps");
            self.now = self.now.max(self.session.next_wake());
            self.feed(Input::Tick);
        }
        self.now = end;
        self.feed(Input::Tick);
    }

    /// Lets time pass with a master that answers keepalives at once.
    pub(super) fn pass_kept(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        while self.now < end {
            let before = self.last_keepalive;
            self.pass(10);
            if self.last_keepalive != before {
                self.keepalive();
            }
        }
    }

    /// The client stands still: time passes and nothing is handled.
    pub(super) fn sleep(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.session.handle(self.now, input);
        self.listen();
        self.session.check(self.now).unwrap();
    }

    fn listen(&mut self) {
        while let Some(output) = self.session.poll() {
            match &output {
                Output::Connect {
                    connection,
                    address,
                } => {
                    self.connection = *connection;
                    self.address.clone_from(address);
                }
                Output::Send(ClientFrame::KeepAlive { number }) => {
                    self.last_keepalive = *number;
                    if !self.show_keepalives {
                        continue;
                    }
                }
                Output::Send(ClientFrame::Query { id, .. }) => self.last_query = *id,
                Output::Troubles(troubles) => {
                    self.troubles = troubles.iter().map(ToString::to_string).collect();
                    continue;
                }
                _ => {}
            }
            self.said.push(written(&output));
        }
    }

    pub(super) fn forget(&mut self) {
        self.said.clear();
    }

    /// Returns what was said since the last look.
    pub(super) fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    #[track_caller]
    pub(super) fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.said(), lines);
    }

    pub(super) fn lease_left_ms(&self) -> u128 {
        self.session.lease_end().since(self.now).as_millis()
    }

    #[track_caller]
    pub(super) fn expect_state(&self, state: State) {
        assert_eq!(self.session.state(), state);
    }
}

fn written(output: &Output) -> String {
    match output {
        Output::Connect { address, .. } => format!("connect {address}"),
        Output::Disconnect => "disconnect".to_owned(),
        Output::Send(frame) => match frame {
            ClientFrame::Hello { .. } => "hello".to_owned(),
            ClientFrame::Open(_) => "open".to_owned(),
            ClientFrame::Attach { session, .. } => format!("attach {session}"),
            ClientFrame::KeepAlive { number } => format!("keepalive {number}"),
            ClientFrame::Mutate {
                number,
                mutation,
                acknowledged,
                ..
            } => {
                let what = match mutation {
                    Mutation::Create(create) => format!("create {}", create.path),
                    Mutation::Set(set) => format!("set {}", set.path),
                    Mutation::Delete(delete) => format!("delete {}", delete.path),
                    Mutation::Unhold { path } => format!("unhold {path}"),
                    Mutation::Acquire(acquire) => format!("acquire {}", acquire.path),
                    Mutation::Release { number, .. } => format!("release {number}"),
                    Mutation::Cancel { number } => format!("cancel {number}"),
                    Mutation::Close => "close".to_owned(),
                    Mutation::CreateSequential(create) => format!("create {}#", create.path),
                    Mutation::Transaction(transaction) => {
                        format!("transaction of {}", transaction.operations.len())
                    }
                };
                let floor = acknowledged.floor;
                format!("mutate {number}: {what} (acknowledged {floor})")
            }
            ClientFrame::Query { id, .. } => format!("query {id}"),
        },
        Output::Complete { id, outcome } => {
            let what = match outcome {
                Outcome::Done {
                    response: Response::Acquired { sequencer, .. },
                    number,
                } => format!("acquired by {number}, token {}", sequencer.token),
                Outcome::Done { .. } => "done".to_owned(),
                Outcome::Found(_) => "found".to_owned(),
                Outcome::Refused(refusal) => format!("refused: {refusal}"),
                Outcome::Unknown => "unknown".to_owned(),
                Outcome::SessionEnded => "session ended".to_owned(),
                Outcome::TimedOut { sent: true } => "timed out".to_owned(),
                Outcome::TimedOut { sent: false } => "timed out, never sent".to_owned(),
                Outcome::Unreachable(_) => "unreachable".to_owned(),
            };
            format!("call {}: {what}", id.0)
        }
        Output::State(state) => format!("state {state:?}"),
        Output::Opened { session, lease_ms } => format!("opened {session} for {lease_ms} ms"),
        Output::Notice(Notice::Conflict {
            number, waiters, ..
        }) => format!("conflict on {number}: {waiters}"),
        Output::Troubles(troubles) => format!("{} troubles", troubles.len()),
        Output::Unreachable(_) => "unreachable".to_owned(),
        Output::Reachable => "reachable".to_owned(),
    }
}

pub(super) fn path(name: &str) -> Path {
    Path::parse(&format!("/ls/local/{name}")).unwrap()
}

pub(super) fn acquire(name: &str) -> Call {
    Call::Acquire(Acquire {
        path: path(name),
        mode: LockMode::Exclusive,
        wait: Wait::Forever,
        lock_delay_ms: 0,
        conflict_notice: false,
        create: None,
    })
}

pub(super) fn unhold(name: &str) -> Call {
    Call::Mutate(Mutation::Unhold { path: path(name) })
}

pub(super) fn stat(name: &str) -> Call {
    Call::Query(Query::Stat { path: path(name) })
}

pub(super) fn acquired(token: u64) -> Answer {
    Answer::Done(Response::Acquired {
        sequencer: Sequencer {
            path: path("lock"),
            mode: LockMode::Exclusive,
            token: FencingToken(token),
            instance: Instance(1),
            lock_generation: 1,
        },
        waited_ms: 0,
    })
}

pub(super) fn opened() -> ServerFrame {
    ServerFrame::Opened {
        nonce: NONCE,
        session: SESSION,
        lease_ms: LEASE_MS,
    }
}

pub(super) fn attached() -> ServerFrame {
    ServerFrame::Attached {
        session: SESSION,
        lease_ms: LEASE_MS,
    }
}

pub(super) fn welcome(epoch: u64, is_master: bool, master: Option<&str>) -> ServerFrame {
    let mut addresses: Vec<String> = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
    if let Some(master) = master {
        addresses.retain(|address| address != master);
        addresses.insert(0, master.to_owned());
    }
    ServerFrame::Welcome(Welcome {
        cell_id: CellId(9),
        cell: "test".to_owned(),
        replica: ReplicaId(1),
        is_master,
        epoch: Epoch(epoch),
        master: master.map(|_| ReplicaId(2)),
        addresses,
    })
}
