//! At which log index applying an entry killed the replica.
//!
//! A command that makes every replica panic would be replayed for ever: each start applies it again.
//! So the daemon's panic hook records the index that was being applied, and a start refuses to run
//! once an index has killed twice (DESIGN 3.9). Recording costs nothing while all is well.
//!
//! Only a panic while an entry is applied may be recorded: a fault of the disk, a signal or a lack
//! of memory says nothing about the entry. A process killed before the hook ends leaves no trace,
//! which errs towards running.

use super::Files;
use super::data_directory::DirectoryError;
use super::sealed_file::{read_sealed, write_sealed};
use std::io;

/// Name of the file.
pub(super) const DEATHS_NAME: &str = "deaths";
/// Most deaths that are remembered; the oldest are forgotten.
const DEATHS_MAX: usize = 256;
/// Deaths at one index that stop the replica for good.
const DEATHS_AT_INDEX_MAX: usize = 2;

/// The record of deaths of one data directory. Clones may be kept by a panic hook.
#[derive(Clone, Debug)]
pub struct Deaths<F: Files> {
    files: F,
}

impl<F: Files> Deaths<F> {
    pub(super) fn new(files: F) -> Self {
        Self { files }
    }

    /// Records that applying the entry at `chapter` and `index` killed the replica, durably.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn record(&self, chapter: u64, index: u64) -> Result<(), DirectoryError> {
        let mut deaths = self.load()?;
        deaths.push((chapter, index));
        let surplus = deaths.len().saturating_sub(DEATHS_MAX);
        deaths.drain(..surplus);
        let body = postcard::to_stdvec(&deaths).map_err(io::Error::other)?;
        Ok(write_sealed(&self.files, DEATHS_NAME, &body)?)
    }

    /// Counts the deaths at `chapter` and `index`.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn at(&self, chapter: u64, index: u64) -> Result<usize, DirectoryError> {
        let deaths = self.load()?;
        Ok(deaths
            .iter()
            .filter(|death| **death == (chapter, index))
            .count())
    }

    /// Refuses when one index has killed the replica too often.
    ///
    /// # Errors
    /// [`DirectoryError::Doomed`], naming the index.
    pub fn check(&self) -> Result<(), DirectoryError> {
        let deaths = self.load()?;
        for (chapter, index) in &deaths {
            let count = deaths
                .iter()
                .filter(|death| **death == (*chapter, *index))
                .count();
            if count >= DEATHS_AT_INDEX_MAX {
                return Err(DirectoryError::Doomed {
                    location: self.files.location(),
                    chapter: *chapter,
                    index: *index,
                    count,
                });
            }
        }
        Ok(())
    }

    /// Forgets all deaths, when somebody has found out what killed the replica.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn forget(&self) -> Result<(), DirectoryError> {
        let body = postcard::to_stdvec(&Vec::<(u64, u64)>::new()).map_err(io::Error::other)?;
        Ok(write_sealed(&self.files, DEATHS_NAME, &body)?)
    }

    pub(super) fn load(&self) -> Result<Vec<(u64, u64)>, DirectoryError> {
        let damaged = |why| DirectoryError::damaged(&self.files, DEATHS_NAME, why);
        match read_sealed(&self.files, DEATHS_NAME) {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(body)) => postcard::from_bytes(&body).map_err(|_| damaged("it is malformed")),
            Err(fault) => Err(DirectoryError::from_sealed(&self.files, DEATHS_NAME, fault)),
        }
    }
}
