//! A replica's data directory: who it is, how often it was started, and where its log is.
//!
//! Made once, by the birth of the cell; a replica that finds none never makes one by itself and
//! never votes. Opening one locks it, checks all of it, and durably raises the boot number before
//! anything can be sent, so that peers can tell this life from the one before.
//!
//! What it cannot notice: that the whole directory was replaced by an older copy of itself. Peers
//! notice it by the boot number; when all copies are rolled back at once nobody does.

use super::Files;
use super::chapter_logs::{ChapterLogs, chapter_name, chapter_number};
use super::checkpoint::{self, CHECKPOINTS_NAME, CHUNK_BYTES, CheckpointError, CheckpointMeta};
use super::deaths::Deaths;
use super::distrust::Distrust;
use super::identity::{CellState, Identity};
use super::log::SegmentedLog;
use super::log_settings::{LogIdentity, LogSettings, OpenError};
use super::os_files::OsFiles;
use super::sealed_file::{DIRECTORY_FORMAT_VERSION, SealedFault, read_sealed, write_sealed};
use cotter_cell::Cell;
use std::io;
use std::time::Duration;

const IDENTITY_NAME: &str = "identity";
const BOOT_NAME: &str = "boot";

/// How often a directory that is locked is tried, and the pause in between: half a second in all.
const LOCK_ATTEMPTS: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The chapter with which the log of a cell begins.
pub(crate) const FIRST_CHAPTER: u64 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// There is no directory, or nothing in it.
    #[error(
        "{0} holds no replica: run `cotterd init` with all members present, or name another directory"
    )]
    NotInitialised(String),
    /// There is a replica where a new one was to be made.
    #[error("{0} holds a replica already")]
    AlreadyInitialised(String),
    /// The replica belongs to another cell.
    #[error("{location} belongs to the cell {found:?}, not to {expected:?}")]
    AnotherCell {
        /// The directory.
        location: String,
        /// Name of the cell that it belongs to.
        found: String,
        /// Name of the cell that was expected.
        expected: String,
    },
    /// The directory is in a format that this daemon does not know.
    #[error(
        "{location} has format version {found}, this cotterd knows {known}: use a newer cotterd"
    )]
    Version {
        /// The directory.
        location: String,
        /// Version of the directory.
        found: u32,
        /// Version that this daemon knows.
        known: u32,
    },
    /// What it holds is damaged. The replica must not vote.
    #[error("{file} in {location} is damaged: {why}")]
    Damaged {
        /// The directory.
        location: String,
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Another process uses it.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// An entry of the log killed the replica again and again.
    #[error(
        "applying entry {index} of chapter {chapter} has killed the replica in {location} {count} \
         times: it is stopped for good until the cause is found"
    )]
    Doomed {
        /// The directory.
        location: String,
        /// Chapter of the entry.
        chapter: u64,
        /// Index of the entry.
        index: u64,
        /// Deaths so far.
        count: usize,
    },
    /// The state of the replica differed from that of the others again and again.
    #[error(
        "the state of the replica in {location} has differed from that of the others {count} times: \
         its machine computes wrong results. It is stopped for good; let it join anew on another one"
    )]
    Differed {
        /// The directory.
        location: String,
        /// How often.
        count: usize,
    },
    /// The disk refused.
    #[error("the data directory could not be used: {0}")]
    Disk(#[from] io::Error),
}

impl DirectoryError {
    pub(super) fn damaged<F: Files>(files: &F, file: &str, why: &str) -> Self {
        Self::Damaged {
            location: files.location(),
            file: file.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(super) fn from_sealed<F: Files>(files: &F, file: &str, fault: SealedFault) -> Self {
        match fault {
            SealedFault::Damaged(why) => Self::damaged(files, file, why),
            SealedFault::Disk(error) => Self::Disk(error),
            SealedFault::Version(found) => Self::Version {
                location: files.location(),
                found,
                known: DIRECTORY_FORMAT_VERSION,
            },
        }
    }
}

/// An open data directory, locked for as long as the value lives.
#[derive(Debug)]
pub struct DataDirectory<F: Files> {
    files: F,
    identity: Identity,
    boot: u64,
    _lock: F::Lock,
}

impl DataDirectory<OsFiles> {
    /// Makes the directory at `path`, with all that lead to it, into a replica's; see
    /// [`DataDirectory::create`].
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn create_at(
        path: &std::path::Path,
        identity: Identity,
        base: Option<&(CheckpointMeta, Cell)>,
    ) -> Result<Self, DirectoryError> {
        Self::create(OsFiles::create_all(path)?, identity, base)
    }

    /// Opens the directory at `path`; see [`DataDirectory::open`].
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open_at(
        path: &std::path::Path,
        cell_name: Option<&str>,
    ) -> Result<Self, DirectoryError> {
        Self::open(OsFiles::new(path), cell_name)
    }
}

impl<F: Files> DataDirectory<F> {
    /// Makes an existing directory into a replica's, durably. Its boot number is 1. `base` is what a
    /// restored cell begins with: it is there, and was read back, before anybody can take the directory
    /// for a replica's.
    ///
    /// # Errors
    /// [`DirectoryError::AlreadyInitialised`] when it is one already; [`DirectoryError::Damaged`]
    /// when chapters or checkpoints are there without an identity, or the identity contradicts itself.
    /// What an interrupted restore left is replaced by another one.
    pub fn create(
        files: F,
        identity: Identity,
        base: Option<&(CheckpointMeta, Cell)>,
    ) -> Result<Self, DirectoryError> {
        let lock = lock(&files)?;
        if let Some(why) = identity.contradiction() {
            return Err(DirectoryError::damaged(&files, IDENTITY_NAME, &why));
        }
        let names = files.list()?;
        if names.iter().any(|name| name == IDENTITY_NAME) {
            return Err(DirectoryError::AlreadyInitialised(files.location()));
        }
        check_no_chapters(&files, &names)?;
        check_no_checkpoints(&files, base.is_some())?;
        if let Some((meta, cell)) = base {
            let checkpoints = files.create_directory(CHECKPOINTS_NAME)?;
            checkpoint::write(&checkpoints, meta, cell.walk(CHUNK_BYTES)).map_err(undone)?;
        }
        // The identity comes last: with it the directory is a replica's, and whole.
        write_boot(&files, identity.incarnation, 1)?;
        write_identity(&files, &identity)?;
        Ok(Self {
            files,
            identity,
            boot: 1,
            _lock: lock,
        })
    }

    /// Opens a replica's directory: locks it, checks it against the name of the cell if one is
    /// given, refuses it when an entry has killed the replica twice, and raises the boot number.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(files: F, cell_name: Option<&str>) -> Result<Self, DirectoryError> {
        match files.list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirectoryError::NotInitialised(files.location()));
            }
            names => names?,
        };
        let lock = lock(&files)?;
        files.sync_directory()?;
        let identity = read_identity(&files)?;
        let found = &identity.certificate.cell_name;
        if let Some(expected) = cell_name.filter(|expected| expected != found) {
            return Err(DirectoryError::AnotherCell {
                location: files.location(),
                found: found.clone(),
                expected: expected.to_owned(),
            });
        }
        Deaths::new(files.clone()).check()?;
        Distrust::new(files.clone()).check()?;
        let boot = read_boot(&files, Some(identity.incarnation))? + 1;
        write_boot(&files, identity.incarnation, boot)?;
        Ok(Self {
            files,
            identity,
            boot,
            _lock: lock,
        })
    }

    /// Says who the replica is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Says how often the replica was started, this time included; durable already.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Records, durably, that every member holds the certificate.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn set_born(&mut self) -> Result<(), DirectoryError> {
        let born = Identity {
            state: CellState::Born,
            ..self.identity.clone()
        };
        write_identity(&self.files, &born)?;
        self.identity = born;
        Ok(())
    }

    /// Returns the record of deaths, for the panic hook.
    #[must_use]
    pub fn deaths(&self) -> Deaths<F> {
        Deaths::new(self.files.clone())
    }

    /// Returns the note of a state that differed from that of the others.
    #[must_use]
    pub fn distrust(&self) -> Distrust<F> {
        Distrust::new(self.files.clone())
    }

    /// Lists the chapters that have a directory, in order.
    ///
    /// # Errors
    /// What the disk says.
    pub fn chapters(&self) -> Result<Vec<u64>, DirectoryError> {
        let names = self.files.list()?;
        let mut chapters: Vec<u64> = names
            .iter()
            .filter_map(|name| chapter_number(name))
            .collect();
        chapters.sort_unstable();
        Ok(chapters)
    }

    /// Makes the log of a new chapter.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn create_log(
        &self,
        chapter: u64,
        settings: LogSettings,
    ) -> Result<SegmentedLog<F>, OpenError> {
        let files = self.files.create_directory(&chapter_name(chapter))?;
        SegmentedLog::create(files, self.log_identity(chapter), settings)
    }

    /// Opens the log of a chapter.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_log(
        &self,
        chapter: u64,
        settings: LogSettings,
    ) -> Result<SegmentedLog<F>, OpenError> {
        let files = self.files.directory(&chapter_name(chapter));
        SegmentedLog::open(files, self.log_identity(chapter), settings)
    }

    /// Returns the directory of the checkpoints, made durably if it was not there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn checkpoints(&self) -> Result<F, DirectoryError> {
        Ok(self.files.create_directory(CHECKPOINTS_NAME)?)
    }

    /// Finds the logs of all chapters.
    ///
    /// # Errors
    /// What the disk says.
    pub fn logs(&self, settings: LogSettings) -> io::Result<ChapterLogs<F>> {
        let cell_id = self.identity.certificate.cell_id;
        ChapterLogs::new(
            self.files.clone(),
            cell_id,
            self.identity.incarnation,
            settings,
        )
    }

    /// Returns the directory itself, for what has files of its own in it.
    #[must_use]
    pub fn files(&self) -> &F {
        &self.files
    }

    fn log_identity(&self, chapter: u64) -> LogIdentity {
        LogIdentity {
            cell_id: self.identity.certificate.cell_id,
            chapter,
            incarnation: self.identity.incarnation,
        }
    }
}

/// Locks a directory. A process that was killed a moment ago may still be giving up what it had.
pub(super) fn lock<F: Files>(files: &F) -> Result<F::Lock, DirectoryError> {
    for attempt in 1.. {
        match files.lock() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if attempt == LOCK_ATTEMPTS => break,
            Err(_) => std::thread::sleep(LOCK_PAUSE),
            Ok(lock) => return Ok(lock),
        }
    }
    Err(DirectoryError::Locked(files.location()))
}

fn check_no_chapters<F: Files>(files: &F, names: &[String]) -> Result<(), DirectoryError> {
    if names.iter().any(|name| chapter_number(name).is_some()) {
        let why = "it is missing, though there are chapters of a log";
        return Err(DirectoryError::damaged(files, IDENTITY_NAME, why));
    }
    Ok(())
}

/// Refuses checkpoints without an identity, but for the one that a restore writes first.
fn check_no_checkpoints<F: Files>(files: &F, restores: bool) -> Result<(), DirectoryError> {
    let found = checkpoint::list(&files.directory(CHECKPOINTS_NAME)).map_err(undone)?;
    let mut chapters = found.chapters.iter();
    if chapters.any(|chapter| !restores || *chapter != FIRST_CHAPTER) {
        let why = "it is missing, though there are checkpoints; if they are what an interrupted restore \
                   left, run cotterd restore again, or remove them";
        return Err(DirectoryError::damaged(files, IDENTITY_NAME, why));
    }
    Ok(())
}

fn undone(error: CheckpointError) -> DirectoryError {
    match error {
        CheckpointError::Disk(error) => DirectoryError::Disk(error),
        other => DirectoryError::Disk(io::Error::other(other.to_string())),
    }
}

fn write_identity<F: Files>(files: &F, identity: &Identity) -> io::Result<()> {
    let body = postcard::to_stdvec(identity).map_err(io::Error::other)?;
    write_sealed(files, IDENTITY_NAME, &body)
}

pub(super) fn read_identity<F: Files>(files: &F) -> Result<Identity, DirectoryError> {
    let damaged = |why: &str| DirectoryError::damaged(files, IDENTITY_NAME, why);
    let body = match read_sealed(files, IDENTITY_NAME) {
        Ok(Some(body)) => body,
        Ok(None) => {
            check_no_chapters(files, &files.list()?)?;
            return Err(DirectoryError::NotInitialised(files.location()));
        }
        Err(fault) => return Err(DirectoryError::from_sealed(files, IDENTITY_NAME, fault)),
    };
    let identity: Identity = postcard::from_bytes(&body).map_err(|_| damaged("it is malformed"))?;
    match identity.contradiction() {
        Some(why) => Err(damaged(&why)),
        None => Ok(identity),
    }
}

fn write_boot<F: Files>(files: &F, incarnation: u64, boot: u64) -> io::Result<()> {
    let body = [incarnation.to_le_bytes(), boot.to_le_bytes()].concat();
    write_sealed(files, BOOT_NAME, &body)
}

/// Reads the boot number, and checks whose it is if that is known.
pub(super) fn read_boot<F: Files>(
    files: &F,
    incarnation: Option<u64>,
) -> Result<u64, DirectoryError> {
    let damaged = |why| DirectoryError::damaged(files, BOOT_NAME, why);
    let body = match read_sealed(files, BOOT_NAME) {
        Ok(Some(body)) => body,
        Ok(None) => return Err(damaged("it is missing")),
        Err(fault) => return Err(DirectoryError::from_sealed(files, BOOT_NAME, fault)),
    };
    let (Some(own), Some(boot), 16) = (body.first_chunk::<8>(), body.last_chunk::<8>(), body.len())
    else {
        return Err(damaged("it is malformed"));
    };
    if incarnation.is_some_and(|incarnation| u64::from_le_bytes(*own) != incarnation) {
        return Err(damaged("it belongs to another incarnation"));
    }
    Ok(u64::from_le_bytes(*boot))
}
