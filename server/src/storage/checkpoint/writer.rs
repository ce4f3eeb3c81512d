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
    if meta.beside.len() > BESIDE_BYTES_MAX {
        return Err(CheckpointError::TooLarge {
            what: "what is kept beside the state",
        });
    }
    let (header, mut previous) =
        encode_header(meta).ok_or(CheckpointError::TooLarge { what: "the header" })?;
    let mut output = Output {
        file: files.create(aside)?,
        files,
        offset: 0,
        synced: 0,
        digest: Xxh3::new(),
    };
    output.append(&header)?;
    output.digest.update(&header);
    let (mut rows, mut count) = (0, 0);
    let mut record = Vec::new();
    for chunk in chunks {
        if chunk.bytes.len() > BODY_BYTES_MAX {
            return Err(CheckpointError::TooLarge { what: "a chunk" });
        }
        previous = encode_chunk(&chunk, previous, &mut record);
        output.append(&record)?;
        output.digest.update(&record);
        count += 1;
        rows += u64::from(chunk.rows);
    }
    let end = End {
        digest: output.digest.digest128(),
        chunks: count,
        rows,
    };
    encode_end(end, previous, &mut record);
    output.append(&record)?;
    output.files.sync_data(&output.file)?;
    Ok(())
}

struct Output<'a, F: Files> {
    files: &'a F,
    file: F::File,
    offset: u64,
    synced: u64,
    digest: Xxh3,
}

impl<F: Files> Output<'_, F> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files.write_at(&self.file, self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        if self.offset - self.synced >= SYNC_BYTES {
            self.files.sync_data(&self.file)?;
            self.synced = self.offset;
        }
        Ok(())
    }
}
