//! One `Attach` stream over gRPC: frames out, frames in.
//!
//! It knows nothing of sessions. Frames that are ready together travel together, up to a size far
//! below what a replica accepts.

use crate::net;
use cotter_proto::v1;
use cotter_proto::v1::cotter_client::CotterClient;
use cotter_types::{ClientFrame, Mutation, ServerFrame, limits};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Most frames in one message.
const BATCH_FRAMES_MAX: usize = 256;
/// A message that has reached this size, in bytes, takes no further frame.
const BATCH_BYTES_FULL: usize = 512 * 1_024;
/// Messages that wait for the network.
const BATCHES_QUEUED_MAX: usize = 4;
/// Longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

const _: () =
    assert!(BATCH_BYTES_FULL + 2 * limits::TRANSACTION_BYTES_MAX < limits::FRAME_BYTES_MAX);

/// Why a stream is of no use any more, for people to read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub(crate) struct StreamError {
    address: String,
    reason: String,
}

impl StreamError {
    fn new(address: &str, reason: impl ToString) -> Self {
        Self {
            address: address.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Returns the reason without the address.
    pub(crate) fn into_reason(self) -> String {
        self.reason
    }
}

/// Connects to a replica.
pub(crate) async fn connect(address: &str) -> Result<Channel, StreamError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| StreamError::new(address, root_cause(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, net::connect(&endpoint)).await;
    let connected = connected.map_err(|_| StreamError::new(address, "connecting took too long"))?;
    connected.map_err(|error| StreamError::new(address, root_cause(&error)))
}

/// Carries frames between a connected replica and two channels, until one of them or the stream
/// ends. The incoming ones are given a `name` by which their receiver knows them.
pub(crate) async fn carry<T>(
    address: &str,
    channel: Channel,
    outgoing: mpsc::Receiver<ClientFrame>,
    incoming: mpsc::Sender<T>,
    name: impl Fn(ServerFrame) -> T,
) -> Result<(), StreamError> {
    let (batches, queued) = mpsc::channel(BATCHES_QUEUED_MAX);
    let send = send(outgoing, batches);
    let receive = async {
        // The replica may answer only after the first frames, so both directions run at once.
        let mut stream = attach(address, channel, queued).await?;
        while let Some(batch) = next(address, &mut stream).await? {
            for frame in batch.frames {
                let frame = ServerFrame::try_from(frame)
                    .map_err(|error| StreamError::new(address, error))?;
                if incoming.send(name(frame)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Err(StreamError::new(address, "the replica closed the stream"))
    };
    tokio::select! {
        ended = receive => ended,
        () = send => Ok(()),
    }
}

async fn attach(
    address: &str,
    channel: Channel,
    queued: mpsc::Receiver<v1::ClientBatch>,
) -> Result<Streaming<v1::ServerBatch>, StreamError> {
    let mut client = CotterClient::new(channel)
        .max_decoding_message_size(limits::FRAME_BYTES_MAX)
        .max_encoding_message_size(limits::FRAME_BYTES_MAX);
    let attached = client.attach(ReceiverStream::new(queued)).await;
    let response = attached.map_err(|status| StreamError::new(address, status.message()))?;
    Ok(response.into_inner())
}

async fn next(
    address: &str,
    stream: &mut Streaming<v1::ServerBatch>,
) -> Result<Option<v1::ServerBatch>, StreamError> {
    let message = stream.message().await;
    message.map_err(|status| StreamError::new(address, status.message()))
}

/// Packs frames into messages. Returns when either side has gone.
async fn send(mut outgoing: mpsc::Receiver<ClientFrame>, batches: mpsc::Sender<v1::ClientBatch>) {
    while let Some(first) = outgoing.recv().await {
        let mut bytes = contents_bytes(&first);
        let mut frames = vec![v1::ClientFrame::from(first)];
        while frames.len() < BATCH_FRAMES_MAX && bytes < BATCH_BYTES_FULL {
            let Ok(frame) = outgoing.try_recv() else {
                break;
            };
            bytes += contents_bytes(&frame);
            frames.push(v1::ClientFrame::from(frame));
        }
        if batches.send(v1::ClientBatch { frames }).await.is_err() {
            return;
        }
    }
}

/// Returns about how many bytes a frame has.
fn contents_bytes(frame: &ClientFrame) -> usize {
    const OTHERWISE: usize = 2 * limits::PATH_BYTES_MAX;
    let ClientFrame::Mutate {
        mutation,
        acknowledged,
        ..
    } = frame
    else {
        return OTHERWISE;
    };
    let contents = match mutation {
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
    };
    OTHERWISE + contents + 24 * acknowledged.above.len()
}

/// Returns the innermost error, which says what happened; the outer ones say only that it did.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
