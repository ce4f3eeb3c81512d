//! Snapshots of the whole state on their way from the owner to a backup.
//!
//! A snapshot costs the owner a few pointers, whatever the cell's size; walking it is the work of
//! whoever got it. It is handed out after the turn in which it was asked for: then everything in it is
//! durable, and the lease is looked at after the request arrived.

use super::door::{Door, OwnerGone};
use cotter_cell::Cell;
use cotter_types::Unavailable;
use tokio::sync::oneshot;

/// The way back to somebody who wants the whole state.
#[derive(Debug)]
pub(super) struct Wanted {
    reply: oneshot::Sender<Result<Cell, Unavailable>>,
}

impl Door {
    /// Asks for the whole state as the master may say it now.
    ///
    /// # Errors
    /// [`OwnerGone`] if the replica stops before it answers.
    pub(super) async fn snapshot(&self) -> Result<Result<Cell, Unavailable>, OwnerGone> {
        let (reply, answer) = oneshot::channel();
        self.push_wanted(Wanted { reply }).await?;
        answer.await.map_err(|_| OwnerGone)
    }
}

/// Who waits for a snapshot. The owner of the replica keeps it, and nobody else.
#[derive(Debug, Default)]
pub(super) struct SnapshotTable {
    waiting: Vec<Wanted>,
}

impl SnapshotTable {
    pub(super) fn admit(&mut self, wanted: Wanted) {
        self.waiting.push(wanted);
    }

    pub(super) fn hand_out(&mut self, mut take: impl FnMut() -> Result<Cell, Unavailable>) {
        for Wanted { reply } in self.waiting.drain(..) {
            // Whoever does not wait any more is not told.
            let _ = reply.send(take());
        }
    }
}
