//! `cotter.v1.Cell/Backup`: the whole cell as a file, while it goes on living.
//!
//! The owner's thread only hands out a snapshot. It is walked and encoded on a thread for work that
//! blocks, a piece at a time, no faster than the receiver takes the pieces. A receiver that takes none
//! for a while loses its backup, because a snapshot keeps alive what the cell has replaced since.

use super::Unary;
use crate::clock;
use crate::storage::checkpoint::{CHUNK_BYTES, CheckpointError, CheckpointMeta, Encoder};
use crate::worker;
use cotter_cell::{Cell, Walk};
use cotter_proto::status::{No, Unknown, status};
use cotter_proto::v1;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Most backups that one replica makes at the same time.
pub(super) const BACKUPS_MAX: usize = 2;
/// Pieces that wait for the receiver.
const PIECES_QUEUED_MAX: usize = 4;
/// A receiver that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a backup is answered with.
pub(super) type BackupStream = ReceiverStream<Result<v1::BackupResponse, Status>>;

impl Unary {
    /// Begins a backup of the cell as it is now.
    pub(super) async fn begin_backup(&self) -> Result<BackupStream, Status> {
        let place = self.backups.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted(format!(
                "this replica makes {BACKUPS_MAX} backups already; try again when one is done"
            ))
        })?;
        let unknown = No::Unknown(Unknown {
            repeatable: true,
            late: false,
        });
        let snapshot = self.edge.snapshot().await.map_err(|_| status(&unknown))?;
        let cell = snapshot.map_err(|unavailable| status(&No::Unavailable(unavailable)))?;
        // Whoever may ask for a backup must not learn who may speak for a session.
        let cell = worker::away(move || cell.without_secrets());
        let cell = cell
            .await
            .map_err(|_| Status::internal("the cell cannot be backed up"))?;
        let meta = CheckpointMeta::of(&cell, 0, clock::wall_ms(), Vec::new());
        let pieces = Encoder::new(&meta, cell.walk(CHUNK_BYTES)).map_err(broken)?;
        let (sender, receiver) = mpsc::channel(PIECES_QUEUED_MAX);
        tokio::spawn(send(sender, pieces, end_of(&cell), place));
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends all pieces, and the end.
async fn send(
    sender: mpsc::Sender<Result<v1::BackupResponse, Status>>,
    mut pieces: Encoder<Walk>,
    mut end: v1::BackupEnd,
    _place: OwnedSemaphorePermit,
) {
    let mut digest = Box::new(xxhash_rust::xxh3::Xxh3::new());
    loop {
        // A panic of the walk would be a broken invariant; the receiver then sees no end.
        let Ok((rest, piece)) = worker::away(move || {
            let piece = pieces.next();
            (pieces, piece)
        })
        .await
        else {
            return;
        };
        pieces = rest;
        let part = match piece {
            Some(Ok(data)) => {
                digest.update(&data);
                end.bytes += data.len() as u64;
                Ok(v1::backup_response::Part::Data(data.into()))
            }
            Some(Err(error)) => Err(broken(error)),
            None => {
                end.file_digest = format!("{:032x}", digest.digest128());
                Ok(v1::backup_response::Part::End(end.clone()))
            }
        };
        let last = !matches!(part, Ok(v1::backup_response::Part::Data(_)));
        let message = part.map(|part| v1::BackupResponse { part: Some(part) });
        match tokio::time::timeout(PATIENCE, sender.send(message)).await {
            Ok(Ok(())) if !last => {}
            // It is done, or the receiver has gone, or takes nothing.
            Ok(_) | Err(_) => return,
        }
    }
}

fn end_of(cell: &Cell) -> v1::BackupEnd {
    v1::BackupEnd {
        bytes: 0,
        file_digest: String::new(),
        cell: cell.cell_name().to_owned(),
        cell_id: cell.cell_id().to_string(),
        revision: cell.revision().0,
        state_digest: format!("{:032x}", cell.digest()),
    }
}

fn broken(error: CheckpointError) -> Status {
    Status::internal(format!("the cell cannot be backed up: {error}"))
}
