//! What a log is opened with, and what opening it answers.

use cotter_types::CellId;
use crc32c::crc32c;
use std::io;

/// Bytes of a segment when nobody says otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 * 1_024 * 1_024;
/// Smallest segment, in bytes: header, state record and some room.
pub const SEGMENT_BYTES_MIN: u64 = 512;
/// Bytes of recent entries kept in memory when nobody says otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 8 * 1_024 * 1_024;

/// Whose log it is. Each segment carries it, and one that carries another is never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The cell.
    pub cell_id: CellId,
    /// The chapter of the cell's log.
    pub chapter: u64,
    /// The disk: drawn at random when the data directory was made.
    pub incarnation: u64,
}

impl LogIdentity {
    /// Returns what the checksums of this log's records are mixed with.
    pub(super) fn salt(&self) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.cell_id.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.chapter.to_le_bytes());
        bytes[16..].copy_from_slice(&self.incarnation.to_le_bytes());
        crc32c(&bytes)
    }
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Bytes of a segment, at least [`SEGMENT_BYTES_MIN`]; a record that is larger gets a segment
    /// that fits it.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub cache_bytes: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }
    }
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// An unfinished end that was cut off, to be told to the operator.
    pub torn: Option<TornTail>,
}

/// The end of the log that a crash left unfinished. It was never durable, so nobody was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Number of the segment.
    pub segment: u64,
    /// Where in the segment the unfinished end began.
    pub offset: u64,
    /// Bytes that were cleared.
    pub bytes: u64,
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no log.
    #[error("there is no log in {0}")]
    Missing(String),
    /// There is a log where a new one was to be made.
    #[error("there is a log in {0} already")]
    Exists(String),
    /// What had been durable is damaged. The replica must not vote in this chapter again.
    #[error("segment {segment} of the log is damaged at byte {offset}: {why}")]
    Corrupt {
        /// Number of the segment.
        segment: u64,
        /// Where in the segment.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log belongs to another cell, chapter or incarnation.
    #[error("segment {segment} belongs to {found:?}, not to {expected:?}")]
    Foreign {
        /// Number of the segment.
        segment: u64,
        /// Whose it is.
        found: LogIdentity,
        /// Whose it should be.
        expected: LogIdentity,
    },
    /// The log is in a format that this daemon does not know.
    #[error("the log has format version {found}, this cotterd knows {known}: use a newer cotterd")]
    Version {
        /// Version of the log.
        found: u32,
        /// Version that this daemon knows.
        known: u32,
    },
    /// The settings make no sense.
    #[error("segments of {0} bytes are too small: at least {SEGMENT_BYTES_MIN} are needed")]
    Settings(u64),
    /// The disk refused.
    #[error("the log could not be opened: {0}")]
    Disk(#[from] io::Error),
}
