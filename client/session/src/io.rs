//! What goes into a session core and what comes out.
//!
//! The law of use: [`Session::handle`](crate::Session::handle), then
//! [`Session::poll`](crate::Session::poll) until it has nothing more, then wait for the next input
//! or until [`Session::next_wake`](crate::Session::next_wake), when [`Input::Tick`] is due.

use crate::circuit::{Trouble, Unreachable};
use crate::patience::Patience;
use cotter_types::{
    Acquire, ClientFrame, Mutation, Notice, Query, QueryResponse, Refusal, RequestNumber, Response,
    ServerFrame, SessionId,
};

/// Names a call of the application within one session core; chosen by the caller, used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names one attempt to connect; what comes from an older one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Something that happened to the session.
#[derive(Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The stream asked for by [`Output::Connect`] stands; nothing was sent on it yet.
    Connected {
        /// Which attempt.
        connection: ConnectionId,
    },
    /// The stream could not be opened, or has ended.
    Disconnected {
        /// Which attempt.
        connection: ConnectionId,
        /// Why, for people to read.
        reason: String,
    },
    /// A frame of the replica.
    Frame {
        /// The connection that it came on.
        connection: ConnectionId,
        /// What it says.
        frame: ServerFrame,
    },
    /// The application calls.
    Call {
        /// Its name for the call.
        id: CallId,
        /// What it wants.
        call: Call,
        /// How long it may take.
        patience: Patience,
    },
    /// The application has lost interest in a call. An acquire is then cancelled in the cell, until
    /// the cell has confirmed it; anything else is only not reported.
    Abandon {
        /// The call.
        id: CallId,
    },
}

/// What the application can ask for.
#[derive(Clone, Debug)]
pub enum Call {
    /// Acquire a lock.
    Acquire(Acquire),
    /// Release what the acquire `number` got. The belief that it is held ends at once.
    Release {
        /// The lock.
        path: cotter_types::Path,
        /// The number of the acquire.
        number: RequestNumber,
    },
    /// Any other mutation (acquires, releases, cancels and closes are refused here).
    Mutate(Mutation),
    /// A query.
    Query(Query),
    /// Close the session. The core ends with [`State::Closed`] when the cell has confirmed it.
    Close,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A mutation was done. For an acquire it comes with its number, by which it is released.
    Done {
        /// The request's number.
        number: RequestNumber,
        /// The response.
        response: Response,
    },
    /// A query was answered.
    Found(QueryResponse),
    /// The cell said no.
    Refused(Refusal),
    /// The session ended before the outcome was known: it may have happened or not.
    Unknown,
    /// The session has ended, and this was never sent.
    SessionEnded,
    /// No answer came before the call's deadline. An acquire is cancelled in the cell, as if it had
    /// been abandoned; a release and a close are still done.
    TimedOut {
        /// Whether it was ever sent. If not, it has not happened, and never will; a mutation that was
        /// sent may have been done, or may yet be.
        sent: bool,
    },
    /// No replica could be used for too long. Nothing was done: this was never sent, or it is a query
    /// or an acquire, which is then cancelled. A release and a close are still done.
    Unreachable(Box<Unreachable>),
}

/// What the client may believe of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not opened yet.
    Opening,
    /// The lease stands.
    Safe,
    /// The lease ran out by the local clock; the cell may have ended the session. No guard gives a
    /// sequencer. Ends with `Safe` or `Expired`.
    Jeopardy,
    /// The session is over: the cell said so, or the grace period has passed.
    Expired,
    /// Closed by the application.
    Closed,
    /// The session could not be opened: refused for good.
    Failed,
}

/// Something that the driver must do.
#[derive(Debug)]
pub enum Output {
    /// Leave the present connection, if any, and open a stream to this address.
    Connect {
        /// The new attempt's name.
        connection: ConnectionId,
        /// `host:port`.
        address: String,
    },
    /// Leave the present connection for good.
    Disconnect,
    /// Send a frame on the present connection.
    Send(ClientFrame),
    /// A call is over.
    Complete {
        /// The call.
        id: CallId,
        /// What it came to.
        outcome: Outcome,
    },
    /// The state has changed. The driver publishes it before it does anything that follows.
    State(State),
    /// The session has an id.
    Opened {
        /// The id.
        session: SessionId,
        /// The lease granted, in milliseconds.
        lease_ms: u64,
    },
    /// The master says something.
    Notice(Notice),
    /// What went wrong at the endpoints since the master last answered has changed.
    Troubles(Vec<Trouble>),
    /// No replica could be used for too long. Calls that would only wait fail at once, until
    /// [`Output::Reachable`].
    Unreachable(Unreachable),
    /// The master answers again.
    Reachable,
}
