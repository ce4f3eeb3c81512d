//! Man pages: one for the program and one for each verb.
//!
//! `clap_mangen` writes names and options; the synopsis and what stands below the options are
//! written here, because it would leave out the two dashes before a command and run tables together.

use crate::after_help::{self, Block};
use crate::{built, typed_name, usage, verbs};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One man page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its file name, such as `cotter-lock.1`.
    pub name: String,
    /// Its source, in roff.
    pub text: Vec<u8>,
}

/// Renders the pages of a program and of all its verbs, the program's first. `section` is the
/// manual's: 1 for what people run, 8 for daemons.
///
/// # Errors
/// None that a definition which passes clap's own checks can bring about.
pub fn pages(command: &Command, section: u8) -> io::Result<Vec<Page>> {
    let command = built(command);
    let manual = Manual {
        program: command.get_name(),
        version: command.get_version().unwrap_or_default(),
        section,
    };
    let mut found = Vec::new();
    collect(&command, None, manual, &mut found)?;
    Ok(found)
}

/// What all pages of a program have in common.
#[derive(Clone, Copy, Debug)]
struct Manual<'a> {
    program: &'a str,
    version: &'a str,
    section: u8,
}

/// Writes the pages into `directory`, which is made if it is missing; pages that are there already
/// are replaced. Returns their paths.
///
/// # Errors
/// What the file system says, with the path in the message.
pub fn write_pages(command: &Command, section: u8, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(|error| named(directory, error))?;
    let mut written = Vec::new();
    for page in pages(command, section)? {
        let path = directory.join(page.name);
        fs::write(&path, page.text).map_err(|error| named(&path, error))?;
        written.push(path);
    }
    Ok(written)
}

fn collect(
    command: &Command,
    parent: Option<&str>,
    manual: Manual<'_>,
    found: &mut Vec<Page>,
) -> io::Result<()> {
    let name = page_name(command);
    found.push(Page {
        name: format!("{name}.{}", manual.section),
        text: render(command, parent, manual)?,
    });
    for verb in verbs(command) {
        collect(verb, Some(&name), manual, found)?;
    }
    Ok(())
}

/// Returns `cotter-cell-status` for the verb that is typed `cotter cell status`.
fn page_name(command: &Command) -> String {
    typed_name(command).replace(' ', "-")
}

fn render(command: &Command, parent: Option<&str>, manual: Manual<'_>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).section(manual.section.to_string());
    let mut text = Vec::new();
    title(command, manual).to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if verbs(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    below(command, manual).to_writer(&mut text)?;
    see_also(parent, manual).to_writer(&mut text)?;
    Ok(text)
}

/// The head of a page. The date is left empty, so that the same program always writes the same
/// bytes; it is quoted here because an empty argument must not be left out.
fn title(command: &Command, manual: Manual<'_>) -> Roff {
    let name = page_name(command).to_uppercase();
    let section = manual.section.to_string();
    let source = format!("{} {}", manual.program, manual.version);
    let mut roff = Roff::default();
    roff.control("TH", [&name, &section, "\"\"", source.trim_end(), "Cotter"]);
    roff
}

fn synopsis(command: &Command) -> Roff {
    let name = typed_name(command);
    let usage = usage(command);
    let mut roff = Roff::default();
    roff.control("SH", ["SYNOPSIS"]);
    match usage.strip_prefix(name) {
        Some(rest) => roff.text([bold(name), roman(rest)]),
        None => roff.text([roman(usage)]),
    };
    roff
}

fn below(command: &Command, manual: Manual<'_>) -> Roff {
    let blocks = after_help::blocks(command);
    let mut roff = Roff::default();
    // A paragraph is begun by its macro unless a section has just begun.
    let mut begins_section = false;
    if blocks
        .first()
        .is_some_and(|first| !matches!(first, Block::Heading(_)))
    {
        roff.control("SH", ["NOTES"]);
        begins_section = true;
    }
    for block in &blocks {
        if !begins_section && !matches!(block, Block::Heading(_)) {
            roff.control("PP", []);
        }
        begins_section = false;
        match block {
            Block::Heading(words) => {
                roff.control("SH", [words.to_uppercase().as_str()]);
                begins_section = true;
            }
            Block::Prose(text) => {
                roff.text([roman(text.as_str())]);
            }
            Block::Kept(lines) => {
                roff.control("nf", []);
                for line in lines {
                    roff.text([roman(line.as_str())]);
                }
                roff.control("fi", []);
            }
        }
    }
    if !after_help::tells_status(&blocks) {
        let section = manual.section;
        roff.control("SH", ["EXIT STATUS"]);
        roff.text([
            roman("See "),
            bold(manual.program),
            roman(format!("({section}).")),
        ]);
    }
    roff
}

fn see_also(parent: Option<&str>, manual: Manual<'_>) -> Roff {
    let mut roff = Roff::default();
    if let Some(parent) = parent {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(parent), roman(format!("({})", manual.section))]);
    }
    roff
}
