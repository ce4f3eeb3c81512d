//! A checkpoint on its way from one replica to another, in bounded pieces, outside of consensus.
//!
//! The sender opens a [`PieceReader`], which keeps the file open: it stays readable when a newer
//! checkpoint takes its place. Its [`Offer`] says what the receiver shall end up with. The receiver's
//! [`Assembly`] takes the pieces in order, writes them aside, and at the end does with them exactly
//! what is done with a checkpoint that was written here: sync, read back, check everything, name.
//! Until then nothing that was received is believed; the sender may be wrong, or of another cell.

use super::writer::adopt;
use super::{
    CheckpointError, CheckpointMeta, CheckpointReader, CheckpointSize, Verified, checkpoint_name,
    open, unfinished_name, verify_open,
};
use crate::storage::Files;
use cotter_types::CellId;
use serde::{Deserialize, Serialize};
use std::io;

/// Most bytes of one piece.
pub const PIECE_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes received between two syncs.
const SYNC_BYTES: u64 = 4 * 1_024 * 1_024;

/// What a sender of a checkpoint announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The cell.
    pub cell_id: CellId,
    /// The chapter that begins from it.
    pub chapter: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Digest of the cell in it.
    pub digest: u128,
}

/// A checkpoint that is being sent.
#[derive(Debug)]
pub struct PieceReader<F: Files> {
    reader: CheckpointReader<F>,
    offer: Offer,
}

impl<F: Files> PieceReader<F> {
    /// Opens the checkpoint that `chapter` begins from, and reads all of it once: what is damaged
    /// here is not sent.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(files: &F, chapter: u64) -> Result<Self, CheckpointError> {
        let mut reader = open(files, chapter)?;
        let Verified { meta, size } = verify_open(&mut reader, |_| Ok(()))?;
        Ok(Self {
            offer: offer(&meta, size),
            reader,
        })
    }

    /// Says what is sent.
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Reads the piece at `offset`, of at most `length` bytes and at most [`PIECE_BYTES_MAX`]; empty
    /// from the end on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn piece(&self, offset: u64, length: usize) -> Result<Vec<u8>, CheckpointError> {
        let left = self.offer.bytes.saturating_sub(offset);
        let length = length.min(PIECE_BYTES_MAX) as u64;
        let mut bytes = vec![0; length.min(left) as usize];
        self.reader.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

fn offer(meta: &CheckpointMeta, size: CheckpointSize) -> Offer {
    Offer {
        cell_id: meta.genesis.cell_id,
        chapter: meta.chapter,
        bytes: size.bytes,
        digest: meta.digest,
    }
}

/// A checkpoint that is being received.
#[derive(Debug)]
pub struct Assembly<F: Files> {
    files: F,
    file: F::File,
    offer: Offer,
    received: u64,
    synced: u64,
}

impl<F: Files> Assembly<F> {
    /// Begins to receive what was offered, in the directory of checkpoints, which must exist. What
    /// an earlier attempt for the same chapter left is thrown away.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(files: &F, offer: Offer) -> Result<Self, CheckpointError> {
        let aside = unfinished_name(&checkpoint_name(offer.chapter));
        match files.remove(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        Ok(Self {
            file: files.create(&aside)?,
            files: files.clone(),
            offer,
            received: 0,
            synced: 0,
        })
    }

    /// Says what is received.
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Returns how many bytes are here: where the next piece must begin.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Tells whether all pieces are here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.received == self.offer.bytes
    }

    /// Takes the piece that begins at `offset`.
    ///
    /// # Errors
    /// [`CheckpointError::Received`] if it is not the next one or reaches past the end; nothing is
    /// changed then. Else what the disk says.
    pub fn add(&mut self, offset: u64, piece: &[u8]) -> Result<(), CheckpointError> {
        let refused = |why: String| Err(CheckpointError::Received(why));
        if offset != self.received {
            let next = self.received;
            return refused(format!("a piece at {offset} came where {next} was next"));
        }
        if piece.len() > PIECE_BYTES_MAX || piece.len() as u64 > self.offer.bytes - self.received {
            let (length, whole) = (piece.len(), self.offer.bytes);
            return refused(format!(
                "a piece of {length} bytes at {offset} is too long for a file of {whole} bytes"
            ));
        }
        self.files.write_at(&self.file, offset, piece)?;
        self.received += piece.len() as u64;
        if self.received - self.synced >= SYNC_BYTES {
            self.files.sync_data(&self.file)?;
            self.synced = self.received;
        }
        Ok(())
    }

    /// Makes a checkpoint of what was received: syncs it, reads it back, compares it with the offer
    /// and gives it its name.
    ///
    /// # Errors
    /// [`CheckpointError`]; nothing of it is left then.
    pub fn finish(self) -> Result<Verified, CheckpointError> {
        let name = checkpoint_name(self.offer.chapter);
        let aside = unfinished_name(&name);
        let adopted = self
            .sync_and_compare(&aside)
            .and_then(|()| adopt(&self.files, &name));
        if adopted.is_err() {
            // If it cannot be removed now, the next start does it.
            let _ = self.files.remove(&aside);
        }
        adopted
    }

    fn sync_and_compare(&self, aside: &str) -> Result<(), CheckpointError> {
        let refused = |why: String| Err(CheckpointError::Received(why));
        if !self.is_complete() {
            let (received, whole) = (self.received, self.offer.bytes);
            return refused(format!("{received} of {whole} bytes came"));
        }
        self.files.sync_data(&self.file)?;
        let reader = super::open_file(&self.files, aside)?;
        let meta = reader.meta();
        let found = (meta.genesis.cell_id, meta.chapter, meta.digest);
        let offered = (self.offer.cell_id, self.offer.chapter, self.offer.digest);
        if found != offered {
            return refused(format!(
                "it is of cell {}, chapter {}, digest {:032x}, and was offered as of cell {}, \
                 chapter {}, digest {:032x}",
                found.0, found.1, found.2, offered.0, offered.1, offered.2
            ));
        }
        Ok(())
    }
}
