//! What a data directory holds, as far as it can be read, found out without changing anything.
//!
//! It reads with the same code as a start does, but goes on where a start would stop: damage in one
//! place is noted, and the rest is read all the same. It raises no boot number, cuts off no
//! unfinished end and removes no leftover.

use super::chapter_logs::{chapter_name, chapter_number};
use super::data_directory::{DirectoryError, lock};
use super::data_directory::{read_boot, read_identity};
use super::entry_index::EntryIndex;
use super::log_settings::{LogIdentity, OpenError, TornTail};
use super::recovery::{self, SegmentFound};
use super::segment::{RESERVED_NAME, segment_name};
use super::{Deaths, Difference, Distrust, Files, Identity};
use cotter_replica::Payload;
use omnipaxos::ballot_leader_election::Ballot;
use std::io;

/// A data directory that is looked at, locked for as long as the value lives.
#[derive(Debug)]
pub struct Survey<F: Files> {
    /// Who the replica is.
    pub identity: Result<Identity, DirectoryError>,
    /// How often it was started.
    pub boot: Result<u64, DirectoryError>,
    /// The chapter and index of each death while an entry was applied.
    pub deaths: Result<Vec<(u64, u64)>, DirectoryError>,
    /// How often the state differed from that of the others, and whether it must not be used.
    pub distrust: Result<(Vec<Difference>, bool), DirectoryError>,
    /// The logs, in order of chapter.
    pub logs: Vec<LogSurvey<F>>,
    /// The directory of checkpoints.
    pub checkpoints: F,
    _lock: F::Lock,
}

/// One segment of a log, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Its number.
    pub number: u64,
    /// Bytes up to its last record.
    pub used_bytes: u64,
    /// Records.
    pub records: u64,
    /// How many entries the log has where the segment begins.
    pub entries_from: u64,
    /// And where it ends; fewer, if it replaces what was not decided.
    pub entries_to: u64,
}

/// The log of one chapter, as far as it can be read.
#[derive(Debug)]
pub struct LogSurvey<F: Files> {
    /// The chapter.
    pub chapter: u64,
    /// Its segments.
    pub segments: Vec<SegmentSurvey>,
    /// Entries.
    pub entries: u64,
    /// Entries known to be decided.
    pub decided: u64,
    /// The ballot promised last.
    pub promise: Option<Ballot>,
    /// The round accepted last.
    pub accepted_round: Option<Ballot>,
    /// Whether the next segment is allocated.
    pub reserved: bool,
    /// An end that a crash left unfinished, which the next start cuts off.
    pub torn: Option<TornTail>,
    /// Why it could not be read to its end, if so.
    pub fault: Option<OpenError>,
    files: F,
    index: EntryIndex,
}

/// Looks at a data directory.
///
/// # Errors
/// [`DirectoryError::NotInitialised`] when nothing there is a replica's, [`DirectoryError::Locked`]
/// when it is in use, or what the disk says. Damage is part of the answer.
pub fn survey<F: Files>(files: &F) -> Result<Survey<F>, DirectoryError> {
    let names = match files.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut chapters: Vec<u64> = names
        .iter()
        .filter_map(|name| chapter_number(name))
        .collect();
    chapters.sort_unstable();
    let lock = lock(files)?;
    let identity = match read_identity(files) {
        // A directory with nothing of a replica; one with chapters and no identity is damaged.
        Err(error @ DirectoryError::NotInitialised(_)) => return Err(error),
        identity => identity,
    };
    let incarnation = identity.as_ref().map(|identity| identity.incarnation).ok();
    let own = |chapter| {
        identity.as_ref().ok().map(|identity| LogIdentity {
            cell_id: identity.certificate.cell_id,
            chapter,
            incarnation: identity.incarnation,
        })
    };
    let logs = chapters
        .iter()
        .map(|chapter| survey_log(files, *chapter, own(*chapter)))
        .collect();
    Ok(Survey {
        boot: read_boot(files, incarnation),
        deaths: Deaths::new(files.clone()).load(),
        distrust: Distrust::new(files.clone()).read(),
        checkpoints: files.directory(super::checkpoint::CHECKPOINTS_NAME),
        identity,
        logs,
        _lock: lock,
    })
}

/// Looks at a log; without an identity to compare with, at that of whoever its first segment says.
fn survey_log<F: Files>(files: &F, chapter: u64, own: Option<LogIdentity>) -> LogSurvey<F> {
    let files = files.directory(&chapter_name(chapter));
    let found = match own.map_or_else(|| recovery::owner(&files), Ok) {
        Ok(identity) => recovery::look(&files, identity),
        Err(error) => recovery::Found {
            index: EntryIndex::new(0),
            segments: Vec::new(),
            end: Err(error),
        },
    };
    let (torn, fault) = match found.end {
        Ok(torn) => (torn, None),
        Err(error) => (None, Some(error)),
    };
    LogSurvey {
        chapter,
        segments: found.segments.iter().map(segment).collect(),
        entries: found.index.length() as u64,
        decided: found.index.decided as u64,
        promise: found.index.promise,
        accepted_round: found.index.accepted_round,
        reserved: files.open(RESERVED_NAME).is_ok(),
        torn,
        fault,
        files,
        index: found.index,
    }
}

fn segment(found: &SegmentFound) -> SegmentSurvey {
    SegmentSurvey {
        number: found.number,
        used_bytes: found.used_bytes,
        records: found.records,
        entries_from: found.entries.0,
        entries_to: found.entries.1,
    }
}

impl<F: Files> LogSurvey<F> {
    /// Says where the log is.
    #[must_use]
    pub fn location(&self) -> String {
        self.files.location()
    }

    /// Reads the bytes of an entry, which must be below [`LogSurvey::entries`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn entry(&self, index: u64) -> io::Result<Payload> {
        let index = usize::try_from(index).map_err(io::Error::other)?;
        let position = self.index.position(index);
        let file = self
            .files
            .open(&segment_name(u64::from(position.segment)))?;
        let mut bytes = vec![0; position.bytes as usize];
        self.files
            .read_exact_at(&file, u64::from(position.offset), &mut bytes)?;
        Ok(Payload::from(bytes))
    }
}

/// Returns the name of a segment's file.
#[must_use]
pub fn segment_file(number: u64) -> String {
    segment_name(number)
}
