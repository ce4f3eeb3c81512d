//! Reads back what a running replica keeps on its disk and does not look at otherwise: the closed
//! segments of its logs and its checkpoints.
//!
//! A disk loses what nobody reads, and a replica would notice at its next start, when it needs it. So
//! this reads as a start does, from the disk and not from the system's memory, and says what is wrong
//! while the replica still has it in its own memory.
//!
//! It never writes, and never looks at the segment that is being written. What goes while it reads is
//! gone and no damage.

use super::chapter_logs::{chapter_name, list_chapters, place_of_fault};
use super::checkpoint::{self, CHECKPOINTS_NAME, CheckpointError};
use super::log_settings::{LogIdentity, OpenError};
use super::{Files, recovery};
use cotter_replica::Damaged;
use cotter_types::CellId;
use std::io;

/// Says how many bytes come next, waits as long as it likes, and tells whether to go on.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The chapter that it belongs to; the one that begins from it, for a checkpoint.
    pub chapter: u64,
    /// What is wrong.
    pub damaged: Damaged,
    /// The file, as a path from the data directory; the directory where no file can be named.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads everything once; `None` when it was told not to go on.
///
/// # Errors
/// What the disk says when it cannot even list what there is.
pub fn scrub<F: Files>(
    files: &F,
    owner: (CellId, u64),
    pace: &mut Pace<'_>,
) -> io::Result<Option<Vec<Damage>>> {
    let mut found = Vec::new();
    let checkpoints = files.directory(CHECKPOINTS_NAME);
    for chapter in listed(&checkpoints)? {
        let read = read_checkpoint(&checkpoints, chapter, pace);
        let Err(error) = read else {
            continue;
        };
        if interrupted(&error) {
            return Ok(None);
        }
        if listed(&checkpoints)?.contains(&chapter) {
            found.push(Damage {
                chapter,
                damaged: Damaged::Checkpoint,
                file: format!(
                    "{CHECKPOINTS_NAME}/{}",
                    checkpoint::checkpoint_name(chapter)
                ),
                why: error.to_string(),
            });
        }
    }
    let chapters = list_chapters(files)?;
    for chapter in &chapters {
        let identity = LogIdentity {
            cell_id: owner.0,
            chapter: *chapter,
            incarnation: owner.1,
        };
        let in_use = chapters.last() == Some(chapter);
        let name = chapter_name(*chapter);
        let read = recovery::check_closed(&files.directory(&name), identity, in_use, pace);
        let Err(error) = read else {
            continue;
        };
        if matches!(&error, OpenError::Disk(error) if error.kind() == io::ErrorKind::Interrupted) {
            return Ok(None);
        }
        if list_chapters(files)?.contains(chapter) {
            let file = place_of_fault(*chapter, &error);
            found.push(Damage {
                chapter: *chapter,
                damaged: Damaged::Log,
                file,
                why: error.to_string(),
            });
        }
    }
    Ok(Some(found))
}

fn listed<F: Files>(checkpoints: &F) -> io::Result<Vec<u64>> {
    match checkpoint::list(checkpoints) {
        Ok(listing) => Ok(listing.chapters),
        Err(CheckpointError::Disk(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn read_checkpoint<F: Files>(
    checkpoints: &F,
    chapter: u64,
    pace: &mut Pace<'_>,
) -> Result<(), CheckpointError> {
    let reader = checkpoint::open(checkpoints, chapter)?;
    checkpoint::verify_paced(reader, |bytes| match pace(bytes) {
        true => Ok(()),
        false => Err(io::ErrorKind::Interrupted.into()),
    })?;
    Ok(())
}

fn interrupted(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::Disk(error) if error.kind() == io::ErrorKind::Interrupted)
}
