//! What was found, for people to read.

use super::entries::EntryView;
use super::report::{BallotView, ChapterView, CheckpointView, IdentityView, Report};
use std::io::{self, Write};

/// Writes the report, and the entries if they were asked for.
pub(super) fn write(
    report: &Report,
    entries: Option<&[EntryView]>,
    output: &mut impl Write,
) -> io::Result<()> {
    if let Some(identity) = &report.identity {
        write_identity(identity, report, output)?;
    }
    for death in &report.deaths {
        writeln!(
            output,
            "died while entry {} of chapter {} was applied: {} times",
            death.index, death.chapter, death.count
        )?;
    }
    for chapter in &report.chapters {
        write_chapter(chapter, output)?;
    }
    for checkpoint in &report.checkpoints {
        write_checkpoint(checkpoint, output)?;
    }
    for entry in entries.unwrap_or_default() {
        let state = if entry.decided { "" } else { " (not decided)" };
        writeln!(
            output,
            "entry {}/{}{state}: {}",
            entry.chapter, entry.index, entry.entry
        )?;
        for command in &entry.commands {
            writeln!(output, "    {command}")?;
        }
    }
    for note in &report.notes {
        writeln!(output, "note: {note}")?;
    }
    for finding in &report.findings {
        writeln!(output, "DAMAGED: {finding}")?;
    }
    if report.findings.is_empty() {
        writeln!(output, "everything that is there is whole")?;
    }
    Ok(())
}

fn write_identity(
    identity: &IdentityView,
    report: &Report,
    output: &mut impl Write,
) -> io::Result<()> {
    let state = if identity.born { "born" } else { "forming" };
    writeln!(
        output,
        "cell {} (id {}), {state}; replica {}, incarnation {:016x}, started {} times",
        identity.cell,
        identity.cell_id,
        identity.replica,
        identity.incarnation,
        report
            .boot
            .map_or_else(|| "?".to_owned(), |boot| boot.to_string()),
    )?;
    for member in &identity.members {
        writeln!(
            output,
            "  member {}, incarnation {:016x}: clients at {}, peers at {}",
            member.replica, member.incarnation, member.client_address, member.peer_address
        )?;
    }
    if let Some(base) = &identity.base {
        writeln!(
            output,
            "  restored from the file with digest {}, as the state with digest {}",
            base.source, base.state
        )?;
    }
    Ok(())
}

fn write_chapter(chapter: &ChapterView, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "chapter {}: {} entries, {} decided; promised {}, accepted {}; next segment {}",
        chapter.chapter,
        chapter.entries,
        chapter.decided,
        ballot(chapter.promise.as_ref()),
        ballot(chapter.accepted_round.as_ref()),
        if chapter.reserved {
            "allocated"
        } else {
            "not allocated"
        },
    )?;
    for segment in &chapter.segments {
        writeln!(
            output,
            "  {}: {} bytes used, {} records, entries {} to {}",
            segment.file,
            segment.used_bytes,
            segment.records,
            segment.entries_from,
            segment.entries_to
        )?;
    }
    Ok(())
}

fn ballot(ballot: Option<&BallotView>) -> String {
    ballot.map_or_else(
        || "nothing".to_owned(),
        |ballot| format!("ballot {} of replica {}", ballot.number, ballot.replica),
    )
}

fn write_checkpoint(checkpoint: &CheckpointView, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "{}: cell {} (id {}), as chapter {} begins, {} entries applied, revision {}, digest {}",
        checkpoint.file,
        checkpoint.cell,
        checkpoint.cell_id,
        checkpoint.chapter,
        checkpoint.applied,
        checkpoint.revision,
        checkpoint.digest
    )?;
    match (checkpoint.bytes, checkpoint.chunks, checkpoint.rows) {
        (Some(bytes), Some(chunks), Some(rows)) => writeln!(
            output,
            "  whole: {bytes} bytes, {chunks} chunks, {rows} rows; written by cotterd {} at {} ms",
            checkpoint.program, checkpoint.written_wall_ms
        ),
        _ => writeln!(output, "  not whole"),
    }
}
