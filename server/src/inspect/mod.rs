//! `cotterd inspect`: what is on a disk, and what is wrong with it, without changing anything.
//!
//! A data directory is looked at as a whole: identity, boot number, deaths, the log of each chapter,
//! checkpoints. A file is taken for a backup, which has the format of a checkpoint. Everything that
//! cannot be read is a finding that names file and place; it never keeps the rest from being looked
//! at.
//!
//! It must never repair, nor say that something is whole which it has not read to its end.

mod entries;
mod report;
mod text;

#[cfg(test)]
mod tests;

use crate::birth::directory_failure;
use crate::config::InspectArguments;
use crate::failure::Failure;
use crate::storage::{ReadOnlyFiles, survey};
use report::Report;
use std::io::Write;
use std::path::Path;

/// Looks at a data directory or a backup, and prints what is found.
///
/// # Errors
/// [`Failure`] with [`Exit::Damaged`](crate::failure::Exit::Damaged) when something is wrong with
/// it; else when it is in use, is no replica's, or cannot be read at all.
pub fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let report = inspect_to(arguments, &mut output)?;
    match report.findings.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => Err(Failure::damaged(match rest.len() {
            0 => format!("{first}"),
            more => format!("{first}, and {more} more"),
        })),
    }
}

/// Looks and writes to `output`; returns what was found.
fn inspect_to(arguments: &InspectArguments, output: &mut impl Write) -> Result<Report, Failure> {
    let path = &arguments.path;
    let (report, dump) = if path.is_dir() {
        let files = ReadOnlyFiles::new(path);
        let survey = survey(&files).map_err(|error| directory_failure(&error))?;
        let mut report = Report::of_directory(&survey);
        let dump = entries::Selection::new(arguments)
            .map(|selection| entries::dump(&survey.logs, selection, &mut report));
        (report, dump)
    } else {
        (of_file(path)?, None)
    };
    let report = Report {
        path: path.display().to_string(),
        ..report
    };
    let written = write(arguments, &report, dump.as_deref(), output);
    // That nobody reads on, as in a pipe to `head`, changes nothing about what was found.
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::input_output(
            format!("it could not be shown: {error}"),
        )),
        _ => Ok(report),
    }
}

fn write(
    arguments: &InspectArguments,
    report: &Report,
    dump: Option<&[entries::EntryView]>,
    output: &mut impl Write,
) -> std::io::Result<()> {
    match arguments.output {
        crate::config::InspectOutput::Text => text::write(report, dump, output),
        crate::config::InspectOutput::Json => {
            let whole = report::Whole {
                report,
                entries: dump,
            };
            serde_json::to_writer_pretty(&mut *output, &whole)?;
            writeln!(output)
        }
    }
}

fn of_file(path: &Path) -> Result<Report, Failure> {
    let Some((files, name)) = ReadOnlyFiles::beside(path) else {
        return Err(Failure::config(format!(
            "{} is neither a data directory nor a backup",
            path.display()
        )));
    };
    Ok(Report::of_file(&files, &name))
}
