//! The client streams, as the owner of the replica sees them.
//!
//! Each stream has a bounded queue of frames that wait to be written. The owner never waits for a
//! client: when a queue is full, its stream is ended, with a status that says so, and everybody else
//! goes on. The replica hears of that end as of any other, as an [`Input::StreamClosed`] that comes
//! through the inbox.

use super::calls::CallTable;
use super::door::{Arrival, Content};
use super::snapshots::SnapshotTable;
use cotter_cell::Cell;
use cotter_replica::{CallId, Input, StreamId};
use cotter_types::limits::{IN_FLIGHT_PER_STREAM_MAX, SESSIONS_PER_STREAM_MAX};
use cotter_types::{Answer, CallAnswer, QueryResponse, ServerFrame, Unavailable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tonic::Status;

/// Most frames that may wait to be written to one stream: one for every request in flight and for
/// every session of the stream, twice over.
pub const OUTGOING_FRAMES_MAX: usize = 2 * (IN_FLIGHT_PER_STREAM_MAX + SESSIONS_PER_STREAM_MAX);
/// Most bytes, roughly, that may wait to be written to one stream.
pub const OUTGOING_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// What a client is told whose stream is full.
pub(super) const TOO_SLOW: &str =
    "the client reads too slowly: too much waits to be written; connect again";

/// Makes the queue of one stream.
pub(super) fn outgoing() -> (Outgoing, Queue) {
    let (frames, queued) = mpsc::channel(OUTGOING_FRAMES_MAX);
    // One place: the first reason to end a stream is the one that the client is told.
    let (end, ending) = mpsc::channel(1);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outgoing = Outgoing {
        frames,
        bytes: Arc::clone(&bytes),
        end,
    };
    let queue = Queue {
        frames: QueuedFrames { queued, bytes },
        ending,
    };
    (outgoing, queue)
}

/// The end of a queue into which frames are put.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    frames: mpsc::Sender<ServerFrame>,
    bytes: Arc<AtomicUsize>,
    /// Ends the stream with a status.
    pub(super) end: mpsc::Sender<Status>,
}

/// The end of a queue from which frames are written.
#[derive(Debug)]
pub(super) struct Queue {
    /// The frames, in order.
    pub(super) frames: QueuedFrames,
    /// Why the stream shall end before its queue is empty.
    pub(super) ending: mpsc::Receiver<Status>,
}

/// Frames that wait to be written.
#[derive(Debug)]
pub(super) struct QueuedFrames {
    queued: mpsc::Receiver<ServerFrame>,
    bytes: Arc<AtomicUsize>,
}

/// A queue is full, or its stream has ended.
#[derive(Debug)]
pub(super) struct Full;

impl Outgoing {
    /// Puts a frame into the queue, if there is room.
    pub(super) fn put(&self, frame: ServerFrame) -> Result<(), Full> {
        let weight = weight(&frame);
        if self.bytes.load(Ordering::Relaxed) + weight > OUTGOING_BYTES_MAX {
            return Err(Full);
        }
        // Added before the frame can be taken, so that the count never falls below zero.
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.frames.try_send(frame).map_err(|_| {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            Full
        })
    }

    /// Returns a handle that does not keep the stream open.
    pub(super) fn weak(&self) -> WeakOutgoing {
        WeakOutgoing {
            frames: self.frames.downgrade(),
            bytes: Arc::clone(&self.bytes),
            end: self.end.clone(),
        }
    }
}

/// What a stream's own task holds: it may answer and end the stream, but only the owner keeps it open.
#[derive(Debug)]
pub(super) struct WeakOutgoing {
    frames: mpsc::WeakSender<ServerFrame>,
    bytes: Arc<AtomicUsize>,
    end: mpsc::Sender<Status>,
}

impl WeakOutgoing {
    /// Puts a frame into the queue, if there is room and the stream is still open.
    pub(super) fn put(&self, frame: ServerFrame) -> Result<(), Full> {
        let frames = self.frames.upgrade().ok_or(Full)?;
        let outgoing = Outgoing {
            frames,
            bytes: Arc::clone(&self.bytes),
            end: self.end.clone(),
        };
        outgoing.put(frame)
    }

    /// Ends the stream with a status, unless it has ended already.
    pub(super) fn end(&self, status: Status) {
        // If there is a reason already, that one stands.
        let _ = self.end.try_send(status);
    }

    /// Waits until nothing can be written any more.
    pub(super) async fn ended(&self) {
        self.end.closed().await;
    }
}

impl QueuedFrames {
    /// Waits for the next frame; nothing when the stream is closed and everything was taken.
    pub(super) async fn next(&mut self) -> Option<ServerFrame> {
        let frame = self.queued.recv().await;
        self.taken(frame)
    }

    /// Returns the next frame that is there already.
    pub(super) fn ready(&mut self) -> Option<ServerFrame> {
        let frame = self.queued.try_recv().ok();
        self.taken(frame)
    }

    fn taken(&self, frame: Option<ServerFrame>) -> Option<ServerFrame> {
        let frame = frame?;
        self.bytes.fetch_sub(weight(&frame), Ordering::Relaxed);
        Some(frame)
    }
}

/// Returns roughly how many bytes a frame takes on the wire; never less than half of it for what can be
/// large.
pub(super) fn weight(frame: &ServerFrame) -> usize {
    /// A frame without anything of variable length that matters.
    const FRAME: usize = 128;
    /// A row of a listing: a path or name, and a handful of labels.
    const ROW: usize = 1_024;
    let ServerFrame::QueryAnswer { answer, .. } = frame else {
        return FRAME;
    };
    FRAME
        + match answer {
            Ok(QueryResponse::Node { contents, .. }) => contents.len(),
            Ok(QueryResponse::List { page, .. }) => page.children.len() * ROW,
            Ok(QueryResponse::Explain(explanation)) => {
                let rows = explanation.holders.len()
                    + explanation.waiters.len()
                    + explanation.history.len();
                (1 + rows) * ROW
            }
            Ok(QueryResponse::Locks { rows, .. }) => rows.len() * 2 * ROW,
            Ok(QueryResponse::Sessions { rows, .. }) => rows.len() * ROW,
            Ok(QueryResponse::Status(_)) => ROW,
            Ok(QueryResponse::Stat { .. } | QueryResponse::Sequencer { .. }) => 0,
            Err(Answer::Done(_) | Answer::Refused(_) | Answer::Unavailable(_)) => 0,
        }
}

/// The streams that are open, and the calls that are not answered yet. The owner of the replica keeps it, and nobody else.
#[derive(Debug, Default)]
pub struct StreamTable {
    open: BTreeMap<StreamId, Entry>,
    calls: CallTable,
    snapshots: SnapshotTable,
}

/// What the table knows of a stream, until the replica has heard of its end.
#[derive(Debug)]
enum Entry {
    /// Frames can be put.
    Open(Outgoing),
    /// Its end is on its way through the inbox; what comes for it or from it is dropped.
    Ending,
}

impl StreamTable {
    /// Turns an arrival into an input for the replica; nothing if it concerns a stream that was ended
    /// here before.
    #[must_use]
    pub fn admit(&mut self, arrival: Arrival) -> Option<Input> {
        match arrival.content {
            Content::Opened {
                stream,
                principal,
                outgoing,
            } => {
                self.open.insert(stream, Entry::Open(outgoing));
                self.count();
                Some(Input::StreamOpened { stream, principal })
            }
            Content::Closed { stream } => {
                self.open.remove(&stream)?;
                self.count();
                Some(Input::StreamClosed { stream })
            }
            Content::Input(Input::Frame { stream, frame }) => {
                let is_open = matches!(self.open.get(&stream), Some(Entry::Open(_)));
                is_open.then_some(Input::Frame { stream, frame })
            }
            Content::Called(called) => Some(self.calls.admit(called)),
            Content::Wanted(wanted) => {
                self.snapshots.admit(wanted);
                None
            }
            Content::Input(input) => Some(input),
        }
    }

    fn count(&self) {
        metrics::gauge!("cotter_api_streams_open").set(self.open.len() as f64);
    }

    /// Puts a frame into the queue of a stream. Ends the stream if the queue is full; drops the frame
    /// if the stream is gone.
    pub fn deliver(&mut self, stream: StreamId, frame: ServerFrame) {
        let Some(Entry::Open(outgoing)) = self.open.get(&stream) else {
            return;
        };
        if outgoing.put(frame).is_err() {
            let status = Status::resource_exhausted(TOO_SLOW);
            // A reason that is there already stands.
            let _ = outgoing.end.try_send(status);
            metrics::counter!("cotter_api_streams_overflowed_total").increment(1);
            self.open.insert(stream, Entry::Ending);
        }
    }

    /// Answers a call of the simple interface.
    pub fn answer(&mut self, call: CallId, answer: CallAnswer) {
        self.calls.answer(call, answer);
    }

    /// Hands out what `take` gives to everybody who wants the whole state; `take` is not called if
    /// nobody does.
    pub fn hand_out(&mut self, take: impl FnMut() -> Result<Cell, Unavailable>) {
        self.snapshots.hand_out(take);
    }

    /// Closes a stream after what was delivered to it before.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(entry) = self.open.get_mut(&stream) {
            *entry = Entry::Ending;
        }
    }

    /// Closes every stream after a last word to each, because the process is about to stop.
    pub fn close_all(&mut self, last_word: &ServerFrame) {
        for entry in self.open.values_mut() {
            if let Entry::Open(outgoing) = entry {
                // Whoever has no room for a last word is told by the end itself.
                let _ = outgoing.put(last_word.clone());
            }
            *entry = Entry::Ending;
        }
    }

    /// Returns how many streams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Tells whether there is no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
