//! Checkpoints: the whole cell at one position of the log, in a file that is believed only when it
//! has been read back.
//!
//! A checkpoint is named after the chapter that *begins* from it. It is written aside, synced, read
//! back from the disk, and only then given its name; so a file with a checkpoint's name is whole
//! unless the disk spoilt it later. What was interrupted keeps the name of something unfinished, and
//! [`remove_unfinished`] takes it away at the next start.
//!
//! Three things must agree before a checkpoint is believed: the checksum of each record, which is
//! chained to the one before; the digest over all bytes, in the end record; and the digest of the
//! cell, counted from the rows, with the one that was noted when the walk began. [`Verified`] is the
//! proof that they did. [`remove_older`] asks for that proof: nothing older goes before it.
//!
//! Nothing here runs on the owner's thread: a walk owns its snapshot, and a [`Files`] of the
//! operating system can be sent to another thread.
//!
//! What it cannot notice: a disk that answers a read from its own cache and spoils the platter
//! later. Two checkpoints are kept for that, and each is verified again before it is used.

mod damage;
mod format;
mod pieces;
mod reader;
mod writer;

use super::Files;
use cotter_cell::{Cell, ChunkDigest, ChunkSum, Genesis};
use cotter_types::Revision;
use serde::{Deserialize, Serialize};
use std::io;

pub use damage::CheckpointError;
pub use format::CHECKPOINT_FORMAT_VERSION;
pub use pieces::{Assembly, Offer, PIECE_BYTES_MAX, PieceReader};
pub use reader::CheckpointReader;
pub use writer::{Encoder, write, write_as};

/// Bytes of a chunk; a single row may be larger.
pub const CHUNK_BYTES: usize = 256 * 1_024;
/// Checkpoints kept: the newest that was verified, and the one before.
pub const CHECKPOINTS_KEPT: usize = 2;

/// Name of the directory that holds a replica's checkpoints, within its data directory.
pub const CHECKPOINTS_NAME: &str = "checkpoints";
const PREFIX: &str = "checkpoint-";
const UNFINISHED_SUFFIX: &str = ".unfinished";

/// Says what a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// What the cell was born with: its id and name among it.
    pub genesis: Genesis,
    /// The chapter that begins from this state.
    pub chapter: u64,
    /// Log entries that the cell had applied.
    pub applied: u64,
    /// Its count of applied commands.
    pub revision: Revision,
    /// Digest of the cell.
    pub digest: u128,
    /// When it was written by the writer's wall clock, in milliseconds since 1970; for display only.
    pub written_wall_ms: u64,
    /// Version of the program that wrote it, for people to read.
    pub program: String,
    /// What whoever begins the chapter needs beside the state, such as its membership; not looked
    /// into here. At most 64 KiB.
    pub beside: Vec<u8>,
}

impl CheckpointMeta {
    /// Describes a cell as it is now.
    #[must_use]
    pub fn of(cell: &Cell, chapter: u64, written_wall_ms: u64, beside: Vec<u8>) -> Self {
        Self {
            genesis: cell.genesis().clone(),
            chapter,
            applied: cell.applied(),
            revision: cell.revision(),
            digest: cell.digest(),
            written_wall_ms,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            beside,
        }
    }

    /// Tells what does not fit what the chunks add up to.
    fn contradiction(&self, sum: &ChunkSum) -> Option<String> {
        let own = (self.digest, self.applied, self.revision);
        let found = (sum.digest, sum.applied, sum.revision);
        (own != found).then(|| {
            format!(
                "the cell in it has digest {:032x} at entry {}, revision {}; it was written with \
                 digest {:032x} at entry {}, revision {}",
                sum.digest, sum.applied, sum.revision, self.digest, self.applied, self.revision
            )
        })
    }
}

/// How large a checkpoint's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSize {
    /// Bytes of the file.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Digest of all bytes before the end record.
    pub file_digest: u128,
}

/// The proof that a checkpoint was read from the disk, and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    meta: CheckpointMeta,
    size: CheckpointSize,
}

impl Verified {
    /// Says what it is of.
    #[must_use]
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// Says how large it is.
    #[must_use]
    pub fn size(&self) -> CheckpointSize {
        self.size
    }
}

/// What is in a directory of checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Chapters that a checkpoint is named after, in order.
    pub chapters: Vec<u64>,
    /// Names of what was never finished.
    pub unfinished: Vec<String>,
}

/// Lists the checkpoints in a directory, which need not exist. Whether they are whole only
/// [`verify`] tells.
///
/// # Errors
/// What the disk says.
pub fn list<F: Files>(files: &F) -> Result<Listing, CheckpointError> {
    let names = match files.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut listing = Listing::default();
    for name in names {
        if name.ends_with(UNFINISHED_SUFFIX) {
            listing.unfinished.push(name);
        } else if let Some(chapter) = chapter_of(&name) {
            listing.chapters.push(chapter);
        }
    }
    listing.chapters.sort_unstable();
    Ok(listing)
}

/// Removes what was never finished; for the start, before anything else is written. Returns the
/// names.
///
/// # Errors
/// What the disk says.
pub fn remove_unfinished<F: Files>(files: &F) -> Result<Vec<String>, CheckpointError> {
    let unfinished = list(files)?.unfinished;
    for name in &unfinished {
        files.remove(name)?;
    }
    if !unfinished.is_empty() {
        files.sync_directory()?;
    }
    Ok(unfinished)
}

/// Opens the checkpoint that `chapter` begins from.
///
/// # Errors
/// [`CheckpointError`].
pub fn open<F: Files>(files: &F, chapter: u64) -> Result<CheckpointReader<F>, CheckpointError> {
    let name = checkpoint_name(chapter);
    let reader = open_file(files, &name)?;
    if reader.meta().chapter != chapter {
        let why = format!("it is the checkpoint of chapter {}", reader.meta().chapter);
        return Err(reader.place().damaged(0, why));
    }
    Ok(reader)
}

/// Opens a file that holds a checkpoint, whatever its name: a backup.
///
/// # Errors
/// [`CheckpointError`].
pub fn open_file<F: Files>(files: &F, name: &str) -> Result<CheckpointReader<F>, CheckpointError> {
    CheckpointReader::open(files, name)
}

/// Reads a checkpoint from the disk to its end, in the memory of one chunk, and checks everything.
///
/// # Errors
/// [`CheckpointError`]; it must not be used then.
pub fn verify<F: Files>(mut reader: CheckpointReader<F>) -> Result<Verified, CheckpointError> {
    verify_open(&mut reader, |_| Ok(()))
}

/// Does the same at the pace that `wait` sets, which is told how many bytes were read since the last
/// time.
///
/// # Errors
/// [`CheckpointError`]; what `wait` says.
pub fn verify_paced<F: Files>(
    mut reader: CheckpointReader<F>,
    wait: impl FnMut(u64) -> io::Result<()>,
) -> Result<Verified, CheckpointError> {
    verify_open(&mut reader, wait)
}

/// Does the same and leaves the file open.
fn verify_open<F: Files>(
    reader: &mut CheckpointReader<F>,
    mut wait: impl FnMut(u64) -> io::Result<()>,
) -> Result<Verified, CheckpointError> {
    let mut digest = ChunkDigest::new();
    loop {
        let begin = reader.offset();
        let Some(chunk) = reader.next() else {
            break;
        };
        let added = digest.add(&chunk?);
        added.map_err(|error| reader.place().rebuild(begin, &error))?;
        wait(reader.offset() - begin)?;
    }
    let sum = digest
        .finish()
        .map_err(|error| reader.place().rebuild(0, &error))?;
    whole(reader, &sum)
}

/// Rebuilds the cell that a checkpoint holds.
///
/// # Errors
/// [`CheckpointError`]; nothing of it may be used then.
pub fn load_cell<F: Files>(
    mut reader: CheckpointReader<F>,
) -> Result<(Cell, Verified), CheckpointError> {
    let genesis = reader.meta().genesis.clone();
    let mut fault = None;
    let chunks = std::iter::from_fn(|| match reader.next()? {
        Ok(chunk) => Some(chunk),
        Err(error) => {
            fault = Some(error);
            None
        }
    });
    let rebuilt = Cell::rebuild(&genesis, chunks);
    if let Some(error) = fault {
        return Err(error);
    }
    let cell = rebuilt.map_err(|error| reader.place().rebuild(reader.offset(), &error))?;
    let sum = ChunkSum {
        digest: cell.digest(),
        applied: cell.applied(),
        revision: cell.revision(),
        rows: reader.whole().map_or(0, |size| size.rows),
    };
    let verified = whole(&reader, &sum)?;
    Ok((cell, verified))
}

/// Says that a checkpoint is whole, if it was read to its end and fits its meta.
fn whole<F: Files>(
    reader: &CheckpointReader<F>,
    sum: &ChunkSum,
) -> Result<Verified, CheckpointError> {
    let meta = reader.meta();
    if let Some(why) = meta.contradiction(sum) {
        return Err(reader.place().damaged(0, why));
    }
    match reader.whole() {
        Some(size) => Ok(Verified {
            meta: meta.clone(),
            size,
        }),
        None => Err(reader.place().damaged(reader.offset(), "it has no end")),
    }
}

/// Removes all but the last [`CHECKPOINTS_KEPT`] checkpoints, of those up to the one that is proved
/// to be whole. Returns the chapters whose checkpoints went.
///
/// # Errors
/// What the disk says.
pub fn remove_older<F: Files>(files: &F, proof: &Verified) -> Result<Vec<u64>, CheckpointError> {
    let mut older = list(files)?.chapters;
    older.retain(|chapter| *chapter <= proof.meta.chapter);
    let surplus = older.len().saturating_sub(CHECKPOINTS_KEPT);
    older.truncate(surplus);
    for chapter in &older {
        files.remove(&checkpoint_name(*chapter))?;
    }
    if !older.is_empty() {
        files.sync_directory()?;
    }
    Ok(older)
}

/// Returns the name of the checkpoint that `chapter` begins from.
#[must_use]
pub fn checkpoint_name(chapter: u64) -> String {
    format!("{PREFIX}{chapter:08}")
}

/// Returns the chapter whose checkpoint has this name, if it is one's.
#[must_use]
pub fn chapter_of(name: &str) -> Option<u64> {
    let chapter = name.strip_prefix(PREFIX)?.parse().ok()?;
    (checkpoint_name(chapter) == name).then_some(chapter)
}

fn unfinished_name(name: &str) -> String {
    format!("{name}{UNFINISHED_SUFFIX}")
}
