//! Entries of the log, for people to read.
//!
//! What a client wrote is shown as text with everything but plain characters escaped. Nonces and
//! request ids, which prove who may speak for a session, are not shown.

use super::report::Report;
use crate::config::InspectArguments;
use crate::storage::{Files, LogSurvey};
use cotter_cell::Entry;
use serde::Serialize;

/// Most entries of one chapter that are shown at once.
pub(super) const ENTRIES_SHOWN_MAX: u64 = 100_000;

/// Which entries are asked for: indices within each chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    from: u64,
    /// Included.
    to: u64,
}

impl Selection {
    /// Returns what the arguments select, if they ask for entries.
    pub(super) fn new(arguments: &InspectArguments) -> Option<Self> {
        arguments.entries.then(|| Self {
            from: arguments.from.unwrap_or(0),
            to: arguments.to.unwrap_or(u64::MAX),
        })
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct EntryView {
    pub(super) chapter: u64,
    pub(super) index: u64,
    pub(super) bytes: u64,
    pub(super) decided: bool,
    /// What it is, in one line.
    pub(super) entry: String,
    /// Its commands.
    pub(super) commands: Vec<String>,
}

/// Returns the entries that are selected; one that cannot be understood is a finding.
pub(super) fn dump<F: Files>(
    logs: &[LogSurvey<F>],
    selection: Selection,
    report: &mut Report,
) -> Vec<EntryView> {
    let mut views = Vec::new();
    for log in logs {
        let end = selection.to.saturating_add(1).min(log.entries);
        let shown = selection.from.saturating_add(ENTRIES_SHOWN_MAX).min(end);
        for index in selection.from..shown {
            match view(log, index) {
                Ok(view) => views.push(view),
                Err(why) => report.find(&format!("chapter-{:08}", log.chapter), None, why),
            }
        }
        if shown < end {
            report.notes.push(format!(
                "only {ENTRIES_SHOWN_MAX} entries of chapter {} are shown; go on with --from {shown}",
                log.chapter
            ));
        }
    }
    views
}

fn view<F: Files>(log: &LogSurvey<F>, index: u64) -> Result<EntryView, String> {
    let payload = log
        .entry(index)
        .map_err(|error| format!("entry {index} cannot be read: {error}"))?;
    let bytes = payload.as_bytes();
    let entry: Entry = postcard::from_bytes(bytes).map_err(|error| {
        format!("entry {index} cannot be understood ({error}); a newer cotterd may be able to")
    })?;
    let (entry, commands) = describe(&entry);
    Ok(EntryView {
        chapter: log.chapter,
        index,
        bytes: bytes.len() as u64,
        decided: index < log.decided,
        entry,
        commands,
    })
}

fn describe(entry: &Entry) -> (String, Vec<String>) {
    let Entry::Batch(batch) = entry else {
        return (format!("{entry:?}"), Vec::new());
    };
    let commands = batch.commands.iter();
    let line = format!(
        "Batch {{ epoch: {}, sequence: {}, cell time: {} ms, wall clock: {} ms, commands: {} }}",
        batch.epoch,
        batch.sequence,
        batch.stamp.time.0,
        batch.stamp.wall_ms,
        batch.commands.len()
    );
    (
        line,
        commands.map(|command| format!("{command:?}")).collect(),
    )
}
