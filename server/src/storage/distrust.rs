//! When the state of a replica was found to differ from that of the others (I-DIGEST-2).
//!
//! The replica stops, and this note is what the next start knows of it: the state on this disk is not
//! used any more, only what the logs say that the replica has promised. It is fetched from a peer, and
//! when that is durable and what was there before is gone the note is settled.
//!
//! The differences stay written down. A machine that goes wrong again and again is not rebuilt for
//! ever: beyond a bound the directory is refused. Nothing here ever says that a state is right.

use super::Files;
use super::data_directory::DirectoryError;
use super::sealed_file::{read_sealed, write_sealed};
use serde::{Deserialize, Serialize};
use std::io;

/// Name of the file.
pub(super) const DISTRUST_NAME: &str = "distrust";
/// Times that one data directory is rebuilt.
pub const REBUILDS_MAX: usize = 3;

/// How the state of a replica differed from that of a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Entries that were applied.
    pub applied: u64,
    /// The replica's own digest.
    pub own: u128,
    /// The digest of the majority.
    pub theirs: u128,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// The state on this disk must not be used.
    open: bool,
    differences: Vec<Difference>,
}

/// The note in one data directory.
#[derive(Clone, Debug)]
pub struct Distrust<F: Files> {
    files: F,
}

impl<F: Files> Distrust<F> {
    pub(crate) fn new(files: F) -> Self {
        Self { files }
    }

    /// Writes down, durably, that the state differs and must not be used. Returns how often it was
    /// found to differ.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn record(&self, difference: Difference) -> Result<usize, DirectoryError> {
        let mut note = self.load()?;
        note.open = true;
        // Nothing is started with more, so there never are many.
        note.differences.push(difference);
        self.store(&note)?;
        Ok(note.differences.len())
    }

    /// Writes down, durably, that the state must not be used because somebody says so.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn doubt(&self) -> Result<(), DirectoryError> {
        let note = self.load()?;
        self.store(&Note { open: true, ..note })
    }

    /// Tells whether the state on this disk must not be used.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn is_open(&self) -> Result<bool, DirectoryError> {
        Ok(self.load()?.open)
    }

    /// Notes, durably, that another state has taken the place of the one that differed, all of whose
    /// files are gone.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn settle(&self) -> Result<(), DirectoryError> {
        let note = self.load()?;
        self.store(&Note {
            open: false,
            ..note
        })
    }

    /// Returns every difference that was found, in order, and whether the state must not be used.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn read(&self) -> Result<(Vec<Difference>, bool), DirectoryError> {
        let note = self.load()?;
        Ok((note.differences, note.open))
    }

    /// Refuses when the state differed too often.
    ///
    /// # Errors
    /// [`DirectoryError::Differed`].
    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        let count = self.load()?.differences.len();
        if count > REBUILDS_MAX {
            let location = self.files.location();
            return Err(DirectoryError::Differed { location, count });
        }
        Ok(())
    }

    fn load(&self) -> Result<Note, DirectoryError> {
        let damaged = |why| DirectoryError::damaged(&self.files, DISTRUST_NAME, why);
        match read_sealed(&self.files, DISTRUST_NAME) {
            Ok(None) => Ok(Note::default()),
            Ok(Some(body)) => postcard::from_bytes(&body).map_err(|_| damaged("it is malformed")),
            Err(fault) => Err(DirectoryError::from_sealed(
                &self.files,
                DISTRUST_NAME,
                fault,
            )),
        }
    }

    fn store(&self, note: &Note) -> Result<(), DirectoryError> {
        let body = postcard::to_stdvec(note).map_err(io::Error::other)?;
        Ok(write_sealed(&self.files, DISTRUST_NAME, &body)?)
    }
}
