//! The logs of all chapters in one data directory: one directory for each, begun once and removed
//! as a whole.
//!
//! A chapter has a log from the moment at which its first segment has its name, which is durable
//! before anything else is written. What lacks a first segment was begun and never used, or is being
//! removed; it is no log.

use super::Files;
use super::log::SegmentedLog;
use super::log_settings::{LogIdentity, LogSettings, OpenError};
use super::segment::segment_name;
use cotter_replica::{LogFault, ReplicaLog};
use cotter_types::CellId;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

const CHAPTER_PREFIX: &str = "chapter-";

/// The logs of one replica's chapters. Not for several threads.
#[derive(Debug)]
pub struct ChapterLogs<F: Files> {
    files: F,
    cell_id: CellId,
    incarnation: u64,
    settings: LogSettings,
    known: Vec<u64>,
    refusal: Rc<RefCell<Option<(String, OpenError)>>>,
}

/// Why the last log that was refused was refused; shared with whoever asked first.
#[derive(Clone, Debug)]
pub struct Refusal(Rc<RefCell<Option<(String, OpenError)>>>);

impl Refusal {
    /// Takes it, with where in the data directory it lies; what is to be told to the operator is more
    /// than the replica needs to know.
    #[must_use]
    pub fn take(&self) -> Option<(String, OpenError)> {
        self.0.take()
    }
}

impl<F: Files> ChapterLogs<F> {
    /// Finds the logs in a data directory.
    ///
    /// # Errors
    /// What the disk says.
    pub fn new(
        files: F,
        cell_id: CellId,
        incarnation: u64,
        settings: LogSettings,
    ) -> io::Result<Self> {
        let known = list_chapters(&files)?;
        Ok(Self {
            files,
            cell_id,
            incarnation,
            settings,
            known,
            refusal: Rc::default(),
        })
    }

    /// Returns where the reason will be found if a log is refused.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal(Rc::clone(&self.refusal))
    }

    fn identity(&self, chapter: u64) -> LogIdentity {
        LogIdentity {
            cell_id: self.cell_id,
            chapter,
            incarnation: self.incarnation,
        }
    }

    fn refused(&self, chapter: u64, error: OpenError) -> LogFault {
        let fault = LogFault(error.to_string());
        let place = place_of_fault(chapter, &error);
        self.refusal.replace(Some((place, error)));
        fault
    }
}

impl<F: Files> ReplicaLog for ChapterLogs<F> {
    type Chapter = SegmentedLog<F>;

    fn chapters(&self) -> Vec<u64> {
        self.known.clone()
    }

    fn begin(&mut self, chapter: u64) -> Result<SegmentedLog<F>, LogFault> {
        let identity = self.identity(chapter);
        let log = self
            .files
            .create_directory(&chapter_name(chapter))
            .map_err(OpenError::from)
            .and_then(|files| SegmentedLog::create(files, identity, self.settings))
            .map_err(|error| self.refused(chapter, error))?;
        self.known.push(chapter);
        self.known.sort_unstable();
        Ok(log)
    }

    fn open(&mut self, chapter: u64) -> Result<SegmentedLog<F>, LogFault> {
        let files = self.files.directory(&chapter_name(chapter));
        let log = SegmentedLog::open(files, self.identity(chapter), self.settings)
            .map_err(|error| self.refused(chapter, error))?;
        let report = log.report();
        if let Some(torn) = report.torn {
            tracing::warn!(
                chapter,
                segment = torn.segment,
                offset = torn.offset,
                bytes = torn.bytes,
                "an unfinished end of the log was cut off; nobody had been told of it"
            );
        }
        tracing::info!(
            chapter,
            segments = report.segments,
            records = report.records,
            log = %self.files.location(),
            "log read"
        );
        Ok(log)
    }
}

/// Lists the chapters that have a log, in order.
///
/// # Errors
/// What the disk says.
pub fn list_chapters<F: Files>(files: &F) -> io::Result<Vec<u64>> {
    let first = segment_name(1);
    let mut chapters = Vec::new();
    for name in files.list()? {
        if let Some(chapter) = chapter_number(&name)
            && files.directory(&name).list()?.contains(&first)
        {
            chapters.push(chapter);
        }
    }
    chapters.sort_unstable();
    Ok(chapters)
}

/// Removes the logs of all chapters below this one, and what is left of some that were removed
/// before. Each ceases to be a log at once, before the rest of it goes.
///
/// # Errors
/// What the disk says; the next call removes what was left.
pub fn discard_chapters<F: Files>(files: &F, below: u64) -> io::Result<()> {
    let first = segment_name(1);
    for name in files.list()? {
        if chapter_number(&name).is_none_or(|chapter| chapter >= below) {
            continue;
        }
        let chapter = files.directory(&name);
        let mut segments = chapter.list()?;
        segments.sort_by_key(|segment| *segment != first);
        for segment in segments {
            chapter.remove(&segment)?;
            if segment == first {
                chapter.sync_directory()?;
            }
        }
        files.remove_directory(&name)?;
    }
    files.sync_directory()
}

/// Returns what in the data directory a log could not be used for: the file if one is damaged,
/// else the directory of the chapter.
pub(crate) fn place_of_fault(chapter: u64, error: &OpenError) -> String {
    let name = chapter_name(chapter);
    match error {
        OpenError::Corrupt { segment, .. } => format!("{name}/{}", segment_name(*segment)),
        _ => name,
    }
}

/// Returns the name of a chapter's directory.
pub(super) fn chapter_name(chapter: u64) -> String {
    format!("{CHAPTER_PREFIX}{chapter:08}")
}

/// Returns the number of the chapter whose directory has this name, if it is one's.
pub(super) fn chapter_number(name: &str) -> Option<u64> {
    let chapter = name.strip_prefix(CHAPTER_PREFIX)?.parse().ok()?;
    (chapter_name(chapter) == name).then_some(chapter)
}
