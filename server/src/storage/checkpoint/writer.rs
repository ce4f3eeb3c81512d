//! Writes a checkpoint: aside, synced, read back, and only then under its name.
//!
//! What was written is synced every few megabytes, so that the disk is never given so much at once
//! that the log's own syncs wait for it.

use super::format::{BODY_BYTES_MAX, End, encode_chunk, encode_end, encode_header};
use super::{
    CheckpointError, CheckpointMeta, Verified, checkpoint_name, open_file, unfinished_name, verify,
};
use crate::storage::Files;
use cotter_cell::Chunk;
use std::fmt;
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// Bytes written between two syncs.
const SYNC_BYTES: u64 = 4 * 1_024 * 1_024;
/// Most bytes of what is kept beside the state.
const BESIDE_BYTES_MAX: usize = 64 * 1_024;

/// Writes the checkpoint that `meta.chapter` begins from, in place of the one that may be there.
/// When it returns, the checkpoint is durable, has its name, and was read back.
///
/// `files` is the directory of checkpoints, which must exist.
///
/// # Errors
/// [`CheckpointError`]; there is no new checkpoint then, and older ones are as they were.
pub fn write<F: Files>(
    files: &F,
    meta: &CheckpointMeta,
    chunks: impl IntoIterator<Item = Chunk>,
) -> Result<Verified, CheckpointError> {
    write_as(files, &checkpoint_name(meta.chapter), meta, chunks)
}

/// Writes a checkpoint under a name of its own: a backup.
///
/// # Errors
/// [`CheckpointError`]; there is no new file then.
pub fn write_as<F: Files>(
    files: &F,
    name: &str,
    meta: &CheckpointMeta,
    chunks: impl IntoIterator<Item = Chunk>,
) -> Result<Verified, CheckpointError> {
    let aside = unfinished_name(name);
    match files.remove(&aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let written = write_aside(files, &aside, meta, chunks).and_then(|()| adopt(files, name));
    if written.is_err() {
        // What is left over takes room and says nothing; if it cannot be removed now, the next start
        // does it.
        let _ = files.remove(&aside);
    }
    written
}

/// Reads back what was written aside, and gives it its name.
pub(super) fn adopt<F: Files>(files: &F, name: &str) -> Result<Verified, CheckpointError> {
    let aside = unfinished_name(name);
    let verified = verify(open_file(files, &aside)?)?;
    files.rename(&aside, name)?;
    files.sync_directory()?;
    Ok(verified)
}

fn write_aside<F: Files>(
    files: &F,
    aside: &str,
    meta: &CheckpointMeta,
    chunks: impl IntoIterator<Item = Chunk>,
) -> Result<(), CheckpointError> {
    let pieces = Encoder::new(meta, chunks.into_iter())?;
    let file = files.create(aside)?;
    let (mut offset, mut synced) = (0, 0);
    for piece in pieces {
        let piece = piece?;
        files.write_at(&file, offset, &piece)?;
        offset += piece.len() as u64;
        if offset - synced >= SYNC_BYTES {
            files.sync_data(&file)?;
            synced = offset;
        }
    }
    files.sync_data(&file)?;
    Ok(())
}

/// The bytes of a checkpoint file, in pieces of about a chunk, in order. Whoever does not take all of
/// them has nothing.
pub struct Encoder<I> {
    chunks: I,
    stage: Stage,
    /// Checksum of the header or record before.
    previous: u32,
    digest: Xxh3,
    count: u64,
    rows: u64,
}

#[derive(Debug)]
enum Stage {
    Header(Vec<u8>),
    Chunks,
    Done,
}

impl<I> fmt::Debug for Encoder<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("stage", &self.stage)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = Chunk>> Encoder<I> {
    /// Begins with the header.
    ///
    /// # Errors
    /// [`CheckpointError::TooLarge`].
    pub fn new(meta: &CheckpointMeta, chunks: I) -> Result<Self, CheckpointError> {
        if meta.beside.len() > BESIDE_BYTES_MAX {
            return Err(CheckpointError::TooLarge {
                what: "what is kept beside the state",
            });
        }
        let (header, previous) =
            encode_header(meta).ok_or(CheckpointError::TooLarge { what: "the header" })?;
        let mut digest = Xxh3::new();
        digest.update(&header);
        Ok(Self {
            chunks,
            stage: Stage::Header(header),
            previous,
            digest,
            count: 0,
            rows: 0,
        })
    }

    fn record(&mut self) -> Result<Vec<u8>, CheckpointError> {
        let mut record = Vec::new();
        match self.chunks.next() {
            Some(chunk) if chunk.bytes.len() > BODY_BYTES_MAX => {
                self.stage = Stage::Done;
                return Err(CheckpointError::TooLarge { what: "a chunk" });
            }
            Some(chunk) => {
                self.previous = encode_chunk(&chunk, self.previous, &mut record);
                self.digest.update(&record);
                self.count += 1;
                self.rows += u64::from(chunk.rows);
            }
            None => {
                self.stage = Stage::Done;
                let end = End {
                    digest: self.digest.digest128(),
                    chunks: self.count,
                    rows: self.rows,
                };
                encode_end(end, self.previous, &mut record);
            }
        }
        Ok(record)
    }
}

impl<I: Iterator<Item = Chunk>> Iterator for Encoder<I> {
    type Item = Result<Vec<u8>, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.stage {
            Stage::Header(header) => {
                let header = std::mem::take(header);
                self.stage = Stage::Chunks;
                Some(Ok(header))
            }
            Stage::Chunks => Some(self.record()),
            Stage::Done => None,
        }
    }
}
