//! `cotterd salvage`: what a single survivor knows of a cell whose majority is lost, as a backup.
//!
//! The survivor's newest checkpoint and every entry that its logs hold since then are applied, those that
//! it had accepted and never learned to be decided too: what a majority acknowledged may have reached
//! this disk as accepted only. The rest of them were promised to nobody, and happen all the same, as
//! after a call whose outcome is not known.
//!
//! What it cannot know is what was decided without the survivor. Nothing here changes the directory, and
//! what cannot be read is left out and said, never guessed.

#[cfg(test)]
mod tests;

use crate::birth::directory_failure;
use crate::clock;
use crate::config::SalvageArguments;
use crate::failure::Failure;
use crate::storage::checkpoint::{self, CHUNK_BYTES, CheckpointError, CheckpointMeta, Verified};
use crate::storage::{
    CellState, Certificate, FIRST_CHAPTER, Files, LogSurvey, OsFiles, ReadOnlyFiles, Survey,
    folder_of, survey,
};
use cotter_cell::{Cell, Entry, FEATURE_LEVEL_MAX};
use std::path::Path;

/// What was found.
#[derive(Debug)]
struct Salvaged {
    cell: Cell,
    /// Entries applied that were not known to be decided.
    undecided: u64,
    /// What there is and could not be used.
    left_out: Vec<String>,
}

/// Writes what a data directory knows into a backup file, and says what was left out.
///
/// # Errors
/// [`Failure`]; with [`Exit::Damaged`](crate::failure::Exit::Damaged) also when the file was written and
/// something had to be left out of it.
pub fn salvage(arguments: &SalvageArguments) -> Result<(), Failure> {
    let (folder, name) = new_file(&arguments.file)?;
    let survey = survey(&ReadOnlyFiles::new(&arguments.data));
    let survey = survey.map_err(|error| directory_failure(&error))?;
    let salvaged = gather(&survey)?;
    let verified = write(&folder, name, &salvaged.cell)?;
    let meta = verified.meta();
    crate::daemon::say(&format!(
        "{}: the cell {} up to chapter {}, log entry {}, revision {}; {} entries were not known to be \
         decided; {} bytes, state {:032x}",
        arguments.file.display(),
        meta.genesis.cell,
        salvaged.cell.chapter().number,
        meta.applied,
        meta.revision,
        salvaged.undecided,
        verified.size().bytes,
        meta.digest
    ));
    for what in &salvaged.left_out {
        crate::daemon::say(&format!("LEFT OUT: {what}"));
    }
    match salvaged.left_out.first() {
        None => Ok(()),
        Some(first) => Err(Failure::damaged(format!(
            "the backup is written, but not all that is there could be used: {first}"
        ))),
    }
}

/// Applies what there is.
fn gather<F: Files>(survey: &Survey<F>) -> Result<Salvaged, Failure> {
    let identity = survey.identity.as_ref().map_err(directory_failure)?;
    if identity.state == CellState::Forming {
        return Err(Failure::config(
            "the birth of the cell was interrupted: there is nothing to be salvaged",
        ));
    }
    let mut left_out = Vec::new();
    if matches!(survey.distrust, Ok((_, true))) {
        left_out.push("the state was found to differ from that of the others".to_owned());
    }
    let begins = log_of(survey, FIRST_CHAPTER).is_some();
    let mut salvaged = Salvaged {
        cell: start(
            &survey.checkpoints,
            begins,
            &identity.certificate,
            &mut left_out,
        )?,
        undecided: 0,
        left_out,
    };
    while let Some(log) = log_of(survey, salvaged.cell.chapter().number) {
        let chapter = log.chapter;
        salvaged.apply(log);
        if salvaged.cell.chapter().number == chapter {
            if let Some(fault) = &log.fault {
                let what = format!("chapter {chapter} from entry {} on: {fault}", log.entries);
                salvaged.left_out.push(what);
            }
            break;
        }
    }
    let reached = salvaged.cell.chapter().number;
    let beyond = survey.logs.iter().filter(|log| log.chapter > reached);
    for log in beyond.filter(|log| log.entries > 0) {
        salvaged.left_out.push(format!(
            "{} entries of chapter {}: what is whole ends in chapter {reached}, and does not lead there",
            log.entries, log.chapter
        ));
    }
    Ok(salvaged)
}

impl Salvaged {
    /// Applies the entries of a chapter, up to its seal.
    fn apply<F: Files>(&mut self, log: &LogSurvey<F>) {
        for index in 0..log.entries {
            let entry = match read(log, index) {
                Ok(entry) => entry,
                Err(why) => {
                    let what = format!("chapter {} from entry {index} on: {why}", log.chapter);
                    self.left_out.push(what);
                    return;
                }
            };
            self.cell.apply(&entry);
            self.undecided += u64::from(index >= log.decided);
            if self.cell.chapter().number != log.chapter {
                return;
            }
        }
    }
}

fn log_of<F: Files>(survey: &Survey<F>, chapter: u64) -> Option<&LogSurvey<F>> {
    survey.logs.iter().find(|log| log.chapter == chapter)
}

fn read<F: Files>(log: &LogSurvey<F>, index: u64) -> Result<Entry, String> {
    let payload = log.entry(index).map_err(|error| error.to_string())?;
    let entry: Entry =
        postcard::from_bytes(payload.as_bytes()).map_err(|error| error.to_string())?;
    if let Entry::Batch(batch) = &entry
        && let Some(level) = batch.feature_level_above(FEATURE_LEVEL_MAX)
    {
        return Err(format!(
            "it raises the feature level to {level}; this cotterd knows {FEATURE_LEVEL_MAX}"
        ));
    }
    Ok(entry)
}

/// Finds the state from which the logs go on: the newest checkpoint that is whole, or the empty cell if it
/// began empty and its first log is there, as `begins` tells.
fn start<F: Files>(
    checkpoints: &F,
    begins: bool,
    certificate: &Certificate,
    left_out: &mut Vec<String>,
) -> Result<Cell, Failure> {
    let unusable = |error: CheckpointError| match error {
        CheckpointError::Disk(_) => Failure::unavailable(error.to_string()),
        _ => Failure::damaged(error.to_string()),
    };
    let chapters = checkpoint::list(checkpoints).map_err(unusable)?.chapters;
    for chapter in chapters.into_iter().rev() {
        let opened = checkpoint::open(checkpoints, chapter).and_then(checkpoint::load_cell);
        match opened {
            Ok((cell, _)) if cell.cell_id() == certificate.cell_id => return Ok(cell),
            Ok((cell, _)) => left_out.push(format!(
                "the checkpoint of chapter {chapter}: it is of the cell with id {}",
                cell.cell_id()
            )),
            Err(error) => left_out.push(error.to_string()),
        }
    }
    if certificate.base.is_some() || !begins {
        return Err(Failure::damaged(
            "neither the state or the log that the cell began with nor a later checkpoint is there and \
             whole: nothing can be salvaged",
        ));
    }
    Ok(Cell::born(&certificate.genesis()))
}

/// Names the file that is to be made, which must not be there yet.
fn new_file(path: &Path) -> Result<(OsFiles, &str), Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|_| !path.exists()) else {
        return Err(Failure::config(format!(
            "{} is no name of a file that can be made: a file that is there is never replaced",
            path.display()
        )));
    };
    Ok((OsFiles::new(folder_of(path)), name))
}

fn write(folder: &OsFiles, name: &str, cell: &Cell) -> Result<Verified, Failure> {
    let cell = cell.without_secrets();
    let meta = CheckpointMeta::of(&cell, 0, clock::wall_ms(), Vec::new());
    checkpoint::write_as(folder, name, &meta, cell.walk(CHUNK_BYTES))
        .map_err(|error| Failure::input_output(error.to_string()))
}
