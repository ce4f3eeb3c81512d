//! Why a checkpoint cannot be used.

use super::format::CHECKPOINT_FORMAT_VERSION;
use cotter_cell::RebuildError;
use std::io;

/// What is wrong at one place of a file.
pub(super) type Reason = &'static str;

/// Why a checkpoint cannot be written, read or believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no such checkpoint.
    #[error("there is no {file} in {location}")]
    Missing {
        /// The directory.
        location: String,
        /// The file.
        file: String,
    },
    /// What it holds is not what was written. It must not be used.
    #[error("{file} in {location} is damaged at byte {offset}: {why}")]
    Damaged {
        /// The directory.
        location: String,
        /// The file.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// It is in a format that this daemon does not know.
    #[error(
        "{file} in {location} has format version {found}, this cotterd knows \
         {CHECKPOINT_FORMAT_VERSION}: use a newer cotterd"
    )]
    Version {
        /// The directory.
        location: String,
        /// The file.
        file: String,
        /// Version of the file.
        found: u32,
    },
    /// Something in it is larger than a checkpoint can hold.
    #[error("{what} is too large for a checkpoint")]
    TooLarge {
        /// What.
        what: &'static str,
    },
    /// What was received is not what was announced.
    #[error("a checkpoint of another replica cannot be used: {0}")]
    Received(String),
    /// The disk refused.
    #[error("a checkpoint could not be used: {0}")]
    Disk(#[from] io::Error),
}

/// Where damage is reported.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) location: String,
    pub(super) file: String,
}

impl Place {
    pub(super) fn damaged(&self, offset: u64, why: impl Into<String>) -> CheckpointError {
        CheckpointError::Damaged {
            location: self.location.clone(),
            file: self.file.clone(),
            offset,
            why: why.into(),
        }
    }

    pub(super) fn missing(&self) -> CheckpointError {
        CheckpointError::Missing {
            location: self.location.clone(),
            file: self.file.clone(),
        }
    }

    pub(super) fn version(&self, found: u32) -> CheckpointError {
        CheckpointError::Version {
            location: self.location.clone(),
            file: self.file.clone(),
            found,
        }
    }

    pub(super) fn rebuild(&self, offset: u64, error: &RebuildError) -> CheckpointError {
        self.damaged(offset, error.to_string())
    }
}
