//! The door between the network and the thread that owns the replica.
//!
//! Everything that reaches the owner comes through one [`Inbox`]: frames of clients, what peer links
//! have to say, requests to retire. What goes back to clients goes through a [`StreamTable`], which the
//! owner keeps:
//!
//! ```text
//! let (door, inbox, mut streams) = door();            // the door goes to `api::serve` and the links
//! owner's turn:
//!     inbox.wait(until_next_wake), then inbox.take() until it is empty or enough:
//!         if let Some(input) = streams.admit(arrival) { replica.handle(now, input) }
//!     replica.propose(…), let out what it gives, replica.end_turn(…)
//!     for each output: streams.deliver(stream, frame), streams.close(stream)
//! ```
//!
//! **Which channel, and why.** The owner is a thread that blocks, the senders are async tasks. The
//! inbox is a `std::sync::mpsc` channel: its receiver parks on a futex, so that a wake-up costs
//! microseconds, with no runtime in between and no polling. Its sender never blocks, because the
//! channel itself has no bound; the bound is in *permits* that a task must hold before it sends and
//! that are given back when the owner takes the arrival. Waiting for a permit is async and fair, and
//! that wait is the backpressure which a stream feels: it stops reading, and HTTP/2 stops its client.
//!
//! **Order and priority.** There is one channel, and each stream has one task that sends into it, one
//! frame after the other, so the frames of a stream arrive in their order, keepalives included.
//! Keepalives and peers draw their permits from pools of their own: however many requests of other
//! streams are waiting to be let in, a keepalive or a message of consensus is let in at once and then
//! has at most the bounded contents of the inbox before it. (A keepalive does wait for earlier frames
//! of its own stream, as order demands.)
//!
//! This module must never block the owner, and never let in what nobody counts.

use super::calls::Called;
use super::snapshots::Wanted;
use super::streams::{Outgoing, StreamTable};
use cotter_replica::{Input, StreamId};
use cotter_types::limits::{CONTENTS_BYTES_MAX, STREAMS_MAX, TRANSACTION_BYTES_MAX};
use cotter_types::{Call, CallAnswer, ClientFrame, Mutation};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Most requests that may wait in the inbox, in units: a request is one, and one more for each
/// [`INBOX_UNIT_BYTES`] of contents.
pub const INBOX_UNITS_MAX: usize = 16_384;
/// Bytes of contents that count as one unit more.
pub const INBOX_UNIT_BYTES: usize = 4_096;
/// Most keepalives that may wait in the inbox.
pub const INBOX_KEEPALIVES_MAX: usize = 1_024;
/// Most inputs of peer links that may wait in the inbox.
pub const INBOX_PEER_INPUTS_MAX: usize = 4_096;

// The heaviest request must fit many times over, or one stream could keep all others out.
const _: () = assert!(CONTENTS_BYTES_MAX < TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX / INBOX_UNIT_BYTES * 16 < INBOX_UNITS_MAX);

/// Makes the three ends: the door for the network's side, the inbox and the table for the owner.
#[must_use]
pub fn door() -> (Door, Inbox, StreamTable) {
    let (sender, receiver) = mpsc::channel();
    #[cfg(feature = "simulated")]
    let arrived = Arc::new(tokio::sync::Notify::new());
    let inbox = Inbox {
        arrivals: receiver,
        #[cfg(feature = "simulated")]
        arrived: Arc::clone(&arrived),
    };
    let door = Door {
        inbox: sender,
        #[cfg(feature = "simulated")]
        arrived,
        requests: Arc::new(Semaphore::new(INBOX_UNITS_MAX)),
        keepalives: Arc::new(Semaphore::new(INBOX_KEEPALIVES_MAX)),
        peers: Arc::new(Semaphore::new(INBOX_PEER_INPUTS_MAX)),
        slots: Arc::new(Semaphore::new(STREAMS_MAX)),
        last_stream: Arc::new(AtomicU64::new(0)),
    };
    (door, inbox, StreamTable::default())
}

/// The owner is gone: the replica stops, or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replica is stopping")]
pub struct OwnerGone;

/// Every [`Door`] is dropped: nothing will ever arrive again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing can arrive any more")]
pub struct DoorsGone;

/// Something for the owner, which [`StreamTable::admit`] turns into an [`Input`].
#[derive(Debug)]
pub struct Arrival {
    pub(super) content: Content,
    /// Given back when the arrival is dropped.
    _permit: Permit,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Content {
    /// A client opened a stream, and said hello.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Who is at the other end.
        principal: String,
        /// Where its frames go.
        outgoing: Outgoing,
    },
    /// A client stream is gone.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// Somebody calls, without a stream.
    Called(Called),
    /// Somebody wants the whole state.
    Wanted(Wanted),
    /// Anything else.
    Input(Input),
}

/// What bounds the number of arrivals that wait.
#[derive(Debug)]
enum Permit {
    /// A part of one of the door's pools.
    Pool { _part: OwnedSemaphorePermit },
    /// The slot of the stream that comes or goes: at most two arrivals for each.
    Slot { _slot: Slot },
    /// Nothing: the sender answers for the number.
    Exempt,
}

/// One of the places for a stream. Taken until everything that belongs to the stream is gone.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// The network's side. Clones are cheap and lead to the same owner.
#[derive(Clone, Debug)]
pub struct Door {
    inbox: Sender<Arrival>,
    /// Wakes an owner that is a task.
    #[cfg(feature = "simulated")]
    arrived: Arc<tokio::sync::Notify>,
    requests: Arc<Semaphore>,
    keepalives: Arc<Semaphore>,
    peers: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    last_stream: Arc<AtomicU64>,
}

impl Door {
    /// Sends an input that does not come from a client: from a peer link, or from the process itself.
    /// Waits while too many wait already.
    ///
    /// # Errors
    /// [`OwnerGone`] if nobody will ever take it.
    pub async fn send(&self, input: Input) -> Result<(), OwnerGone> {
        let (pool, units) = match &input {
            Input::Frame {
                frame: ClientFrame::KeepAlive { .. },
                ..
            } => (&self.keepalives, 1),
            Input::Frame { frame, .. } => (&self.requests, units(frame)),
            Input::PeerConnected { .. }
            | Input::PeerLost { .. }
            | Input::Peer { .. }
            | Input::StreamOpened { .. }
            | Input::StreamClosed { .. }
            | Input::Call { .. }
            | Input::Retire
            | Input::CheckpointWritten { .. }
            | Input::Damaged { .. } => (&self.peers, 1),
        };
        let part = Arc::clone(pool).acquire_many_owned(units).await;
        // The pools are never closed.
        let _part = part.map_err(|_| OwnerGone)?;
        self.push(Content::Input(input), Permit::Pool { _part })
    }

    /// Sends a call to the owner. Renewals go with the keepalives, past waiting requests.
    pub(super) async fn push_call(
        &self,
        principal: String,
        call: Call,
        reply: oneshot::Sender<CallAnswer>,
    ) -> Result<(), OwnerGone> {
        let (pool, bytes) = match &call {
            Call::Renew { .. } => (&self.keepalives, 0),
            Call::Change { change, .. } => (&self.requests, change.bytes()),
            Call::Acquire { .. } | Call::Release { .. } | Call::Query(_) | Call::Administer(_) => {
                (&self.requests, 0)
            }
        };
        let part = Arc::clone(pool).acquire_many_owned(units_of(bytes)).await;
        // The pools are never closed.
        let _part = part.map_err(|_| OwnerGone)?;
        let called = Called {
            principal,
            call,
            reply,
        };
        self.push(Content::Called(called), Permit::Pool { _part })
    }

    /// Asks the owner for the whole state.
    pub(super) async fn push_wanted(&self, wanted: Wanted) -> Result<(), OwnerGone> {
        let part = Arc::clone(&self.requests).acquire_owned().await;
        // The pools are never closed.
        let _part = part.map_err(|_| OwnerGone)?;
        self.push(Content::Wanted(wanted), Permit::Pool { _part })
    }

    /// Waits for room for one input of a peer link. What takes the room is sent without waiting, so
    /// that it can be decided under a lock whether it still may be.
    ///
    /// # Errors
    /// [`OwnerGone`] if nobody will ever take it.
    pub(crate) async fn reserve(&self) -> Result<Room<'_>, OwnerGone> {
        let part = Arc::clone(&self.peers).acquire_owned().await;
        // The pools are never closed.
        let part = part.map_err(|_| OwnerGone)?;
        Ok(Room { door: self, part })
    }

    /// Sends an input from a thread that must not wait, past the bound. For rare ones only, such as
    /// [`Input::Retire`] or the loss of a link: the caller answers for their number.
    ///
    /// # Errors
    /// [`OwnerGone`] if nobody will ever take it.
    pub fn send_now(&self, input: Input) -> Result<(), OwnerGone> {
        self.push(Content::Input(input), Permit::Exempt)
    }

    /// Takes one of the [`STREAMS_MAX`] places for a stream; nothing if all are taken.
    pub(super) fn slot(&self) -> Option<Slot> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Arc::new(slot))
    }

    /// Tells the owner of a new stream. It is told of its end when the returned value is dropped.
    pub(super) fn open(
        &self,
        principal: String,
        outgoing: Outgoing,
        slot: Slot,
    ) -> Result<OpenStream, OwnerGone> {
        let stream = StreamId(self.last_stream.fetch_add(1, Ordering::Relaxed) + 1);
        let content = Content::Opened {
            stream,
            principal,
            outgoing,
        };
        let _slot = Arc::clone(&slot);
        self.push(content, Permit::Slot { _slot })?;
        Ok(OpenStream {
            stream,
            door: self.clone(),
            slot,
        })
    }

    fn push(&self, content: Content, permit: Permit) -> Result<(), OwnerGone> {
        let arrival = Arrival {
            content,
            _permit: permit,
        };
        self.inbox.send(arrival).map_err(|_| OwnerGone)?;
        #[cfg(feature = "simulated")]
        self.arrived.notify_one();
        Ok(())
    }
}

/// Room in the inbox for one input of a peer link. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    door: &'a Door,
    part: OwnedSemaphorePermit,
}

impl Room<'_> {
    /// Sends `input`, which takes the room. Never waits.
    pub(crate) fn send(self, input: Input) -> Result<(), OwnerGone> {
        let permit = Permit::Pool { _part: self.part };
        self.door.push(Content::Input(input), permit)
    }
}

/// Returns what a request weighs in the inbox. Requests with more contents than a node or a
/// transaction may have are refused before they come here.
fn units(frame: &ClientFrame) -> u32 {
    let bytes = match frame {
        ClientFrame::Mutate { mutation, .. } => match mutation {
            Mutation::Create(create) => create.contents.len(),
            Mutation::Set(set) => set.contents.len(),
            Mutation::CreateSequential(create) => create.contents.len(),
            Mutation::Transaction(transaction) => transaction.bytes(),
            Mutation::Delete(_)
            | Mutation::Unhold { .. }
            | Mutation::Acquire(_)
            | Mutation::Release { .. }
            | Mutation::Cancel { .. }
            | Mutation::Close => 0,
        },
        ClientFrame::Hello { .. }
        | ClientFrame::Open(_)
        | ClientFrame::Attach { .. }
        | ClientFrame::KeepAlive { .. }
        | ClientFrame::Query { .. } => 0,
    };
    units_of(bytes)
}

fn units_of(bytes: usize) -> u32 {
    let units = 1 + bytes.min(TRANSACTION_BYTES_MAX) / INBOX_UNIT_BYTES;
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// A stream that the owner knows. Dropping it tells the owner that the stream is gone, in whatever way
/// its task ends.
#[derive(Debug)]
pub(super) struct OpenStream {
    stream: StreamId,
    door: Door,
    slot: Slot,
}

impl OpenStream {
    /// Sends a frame of this stream to the owner, after the ones before it.
    pub(super) async fn send(&self, frame: ClientFrame) -> Result<(), OwnerGone> {
        let stream = self.stream;
        self.door.send(Input::Frame { stream, frame }).await
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let stream = self.stream;
        let _slot = Arc::clone(&self.slot);
        // If the owner is gone, so is everything that would have to be told.
        let _ = self
            .door
            .push(Content::Closed { stream }, Permit::Slot { _slot });
    }
}

/// The owner's side: what arrived, in order.
#[derive(Debug)]
pub struct Inbox {
    arrivals: Receiver<Arrival>,
    #[cfg(feature = "simulated")]
    arrived: Arc<tokio::sync::Notify>,
}

impl Inbox {
    /// Waits for the next arrival, for at most `at_most`; nothing if none came.
    ///
    /// # Errors
    /// [`DoorsGone`] if nothing will ever arrive again.
    pub fn wait(&self, at_most: Duration) -> Result<Option<Arrival>, DoorsGone> {
        match self.arrivals.recv_timeout(at_most) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(DoorsGone),
        }
    }

    /// Returns the next arrival that is there already.
    #[must_use]
    pub fn take(&self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    /// Waits as [`Inbox::wait`] does, in a task; nothing if none came.
    #[cfg(feature = "simulated")]
    pub async fn arrival(&self, at_most: Duration) -> Option<Arrival> {
        if let Some(arrival) = self.take() {
            return Some(arrival);
        }
        // Either way it is looked whether something is there.
        let _ = tokio::time::timeout(at_most, self.arrived.notified()).await;
        self.take()
    }
}
