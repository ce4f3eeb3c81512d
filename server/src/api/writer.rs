//! The writing half of a stream: takes frames out of its queue and coalesces them into messages.
//!
//! It takes whatever is there, up to a bound in bytes, and hands over one message at a time; while the
//! client does not read, the queue fills up behind it. It ends when the owner has closed the stream
//! and everything is handed over, or at once when the stream is ended with a status: then the queue
//! and what it holds are let go even if the client never reads again.

use super::streams::{Queue, QueuedFrames, weight};
use cotter_proto::v1::{ServerBatch, ServerFrame as WireFrame};
use cotter_types::ServerFrame;
use cotter_types::limits::FRAME_BYTES_MAX;
use tokio::sync::mpsc;
use tonic::Status;

/// A message is sent when it has this many bytes, roughly, or nothing more is waiting.
pub const BATCH_BYTES_SOFT: usize = 64 * 1_024;

// One large frame may come on top, and the estimate may be half of the truth.
const _: () = assert!(BATCH_BYTES_SOFT * 16 < FRAME_BYTES_MAX);

/// Writes until the stream ends.
pub(super) async fn write(mut queue: Queue, messages: mpsc::Sender<Result<ServerBatch, Status>>) {
    let out = metrics::counter!("cotter_api_frames_out_total");
    let status = loop {
        let first = tokio::select! {
            biased;
            Some(status) = queue.ending.recv() => break status,
            () = messages.closed() => return,
            frame = queue.frames.next() => match frame {
                Some(frame) => frame,
                // The owner closed the stream, and everything is handed over.
                None => return,
            },
        };
        let place = tokio::select! {
            biased;
            Some(status) = queue.ending.recv() => break status,
            place = messages.reserve() => match place {
                Ok(place) => place,
                Err(_) => return,
            },
        };
        // Filled only now: what came while the message before was on its way goes along.
        let batch = batch(first, &mut queue.frames);
        out.increment(batch.frames.len() as u64);
        place.send(Ok(batch));
    };
    // Lets go of what is queued, and lets the reading half end, before waiting for the client.
    drop(queue);
    // A client that is gone needs no status.
    let _ = messages.send(Err(status)).await;
}

/// Makes a message of the first frame and of what else is there.
fn batch(first: ServerFrame, queued: &mut QueuedFrames) -> ServerBatch {
    let mut bytes = weight(&first);
    let mut frames = vec![WireFrame::from(first)];
    while bytes < BATCH_BYTES_SOFT {
        let Some(frame) = queued.ready() else { break };
        bytes += weight(&frame);
        frames.push(frame.into());
    }
    ServerBatch { frames }
}
