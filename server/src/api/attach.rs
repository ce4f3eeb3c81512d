//! The `Attach` stream: says hello, reads frames, sends them to the owner in order.
//!
//! Two tasks serve a stream. The reading one, here, decodes each frame, checks what the door can check,
//! and waits for room in the owner's inbox; the other writes (see `writer`). A frame that breaks the
//! protocol ends this stream with a status that names what is wrong; other streams never notice.
//!
//! This module must never let a frame pass before hello, nor one frame pass another of its stream.

use super::admission::admitted;
use super::door::{Door, OpenStream, Slot};
use super::edge::principal;
use super::streams::{Outgoing, TOO_SLOW, WeakOutgoing, outgoing};
use super::writer;
use cotter_proto::status::{No, shortened, status};
use cotter_proto::v1::cotter_server::Cotter;
use cotter_proto::v1::{ClientBatch, ServerBatch};
use cotter_proto::{PROTOCOL_VERSION, WireError};
use cotter_types::{ClientFrame, ServerFrame, Unavailable};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// How long a client may take from opening a stream to its hello.
pub const HELLO_MS_MAX: u64 = 5_000;
/// When a client that found no place for its stream may try again, in milliseconds.
const NO_PLACE_RETRY_MS: u64 = 1_000;
/// Messages that wait for HTTP/2 to take them: one, so that what waits is coalesced further.
const MESSAGES_MAX: usize = 1;

/// The service behind `cotter.v1.Cotter`.
#[derive(Debug)]
pub(super) struct AttachService {
    door: Door,
    cell: Arc<str>,
}

impl AttachService {
    pub(super) fn new(door: Door, cell: &str) -> Self {
        let cell = Arc::from(cell);
        Self { door, cell }
    }
}

#[tonic::async_trait]
impl Cotter for AttachService {
    type AttachStream = ReceiverStream<Result<ServerBatch, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<ClientBatch>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let Some(slot) = self.door.slot() else {
            metrics::counter!("cotter_api_streams_refused_total").increment(1);
            return Err(status(&No::Unavailable(Unavailable::Overloaded {
                retry_after_ms: NO_PLACE_RETRY_MS,
            })));
        };
        let principal = principal(request.remote_addr());
        let (outgoing, queue) = outgoing();
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let reader = Reader {
            door: self.door.clone(),
            cell: Arc::clone(&self.cell),
            weak: outgoing.weak(),
            batches: request.into_inner(),
            waiting: Vec::new().into_iter(),
        };
        tokio::spawn(reader.serve(principal, outgoing, Arc::clone(&slot)));
        tokio::spawn(async move {
            writer::write(queue, sender).await;
            drop(slot);
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// The reading half of a stream.
struct Reader {
    door: Door,
    cell: Arc<str>,
    weak: WeakOutgoing,
    batches: Streaming<ClientBatch>,
    /// Frames of the last message that are still to be read.
    waiting: std::vec::IntoIter<cotter_proto::v1::ClientFrame>,
}

impl Reader {
    /// Reads until the client has nothing more to say, breaks the protocol, or cannot be written to
    /// any more. Whatever keeps the queue open is let go only after the status is given, or the writing
    /// half could end without it.
    async fn serve(mut self, principal: String, outgoing: Outgoing, slot: Slot) {
        let hello = match self.greeting().await {
            Ok(Some(hello)) => hello,
            Ok(None) => return,
            Err(status) => return self.weak.end(status),
        };
        let open = match self.door.open(principal, outgoing.clone(), slot) {
            Ok(open) => open,
            Err(gone) => return self.weak.end(Status::unavailable(gone.to_string())),
        };
        // From here on only the owner keeps the queue open.
        drop(outgoing);
        if let Err(status) = self.converse(&open, hello).await {
            self.weak.end(status);
        }
    }

    /// Waits for the first frame, which must be a hello; nothing if the client went away.
    async fn greeting(&mut self) -> Result<Option<ClientFrame>, Status> {
        let patience = Duration::from_millis(HELLO_MS_MAX);
        let first = tokio::time::timeout(patience, self.next()).await;
        let first = first.map_err(|_| {
            Status::deadline_exceeded(format!("no hello within {HELLO_MS_MAX} ms"))
        })??;
        first.as_ref().map(check_hello).transpose()?;
        Ok(first)
    }

    async fn converse(&mut self, open: &OpenStream, hello: ClientFrame) -> Result<(), Status> {
        let frames_in = metrics::counter!("cotter_api_frames_in_total");
        frames_in.increment(1);
        pass(open, hello).await?;
        while let Some(frame) = self.next().await? {
            frames_in.increment(1);
            if matches!(frame, ClientFrame::Hello { .. }) {
                return Err(broken("a second hello; there is one, at the beginning"));
            }
            match admitted(frame, &self.cell) {
                Ok(frame) => tokio::select! {
                    passed = pass(open, frame) => passed?,
                    () = self.weak.ended() => return Ok(()),
                },
                Err(refused) => self.refuse(*refused)?,
            }
        }
        Ok(())
    }

    /// Answers a request that is refused at the door.
    fn refuse(&self, refused: ServerFrame) -> Result<(), Status> {
        metrics::counter!("cotter_api_frames_refused_total").increment(1);
        self.weak
            .put(refused)
            .map_err(|_| Status::resource_exhausted(TOO_SLOW))
    }

    /// Reads the next frame; nothing at the end of the stream.
    async fn next(&mut self) -> Result<Option<ClientFrame>, Status> {
        loop {
            if let Some(frame) = self.waiting.next() {
                let frame: Result<ClientFrame, WireError> = frame.try_into();
                return frame
                    .map(Some)
                    .map_err(|error| broken(&format!("bad frame: {error}")));
            }
            let message = tokio::select! {
                message = self.batches.message() => message,
                () = self.weak.ended() => return Ok(None),
            };
            match message {
                Ok(Some(batch)) => self.waiting = batch.frames.into_iter(),
                Ok(None) => return Ok(None),
                Err(status) => return unreadable(status),
            }
        }
    }
}

/// Says what became of a stream that cannot be read any further.
fn unreadable(status: Status) -> Result<Option<ClientFrame>, Status> {
    match status.code() {
        // So tonic reports a message that is larger than allowed, and one that is no protobuf.
        Code::OutOfRange | Code::Internal => {
            Err(broken(&format!("bad message: {}", status.message())))
        }
        // The connection is gone, and with it whoever could be told.
        _ => Ok(None),
    }
}

fn check_hello(frame: &ClientFrame) -> Result<(), Status> {
    match frame {
        ClientFrame::Hello { version, .. } if *version == PROTOCOL_VERSION => Ok(()),
        ClientFrame::Hello { version, .. } => Err(Status::failed_precondition(format!(
            "this server speaks version {PROTOCOL_VERSION} of the protocol, the client {version}"
        ))),
        _ => Err(broken("the first frame must be hello")),
    }
}

/// Sends a frame on to the owner.
async fn pass(open: &OpenStream, frame: ClientFrame) -> Result<(), Status> {
    let passed = open.send(frame).await;
    passed.map_err(|gone| Status::unavailable(gone.to_string()))
}

/// Returns the status of a stream that broke the protocol.
fn broken(what: &str) -> Status {
    metrics::counter!("cotter_api_streams_broken_total").increment(1);
    Status::invalid_argument(shortened(what.to_owned()))
}
