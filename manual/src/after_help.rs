//! What stands below the options in `--help`, taken apart: headings, prose, and lines to be kept.
//!
//! The text is written for a terminal: paragraphs are separated by empty lines, and whatever is
//! indented is kept as it stands. A paragraph that begins with one of [`HEADINGS`] opens a section.

use clap::Command;

/// The words that open a section, each followed by a colon.
const HEADINGS: [&str; 5] = ["Exit status", "Environment", "Files", "Example", "Examples"];

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A section begins.
    Heading(String),
    /// A paragraph, in one line.
    Prose(String),
    /// Lines that are kept as they are, without their common indentation.
    Kept(Vec<String>),
}

/// Returns the pieces of what stands below the options of `command`.
pub(crate) fn blocks(command: &Command) -> Vec<Block> {
    let text = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    text.map_or_else(Vec::new, |text| take_apart(&text.to_string()))
}

/// Tells whether the text says itself with which status the program ends.
pub(crate) fn tells_status(blocks: &[Block]) -> bool {
    blocks.contains(&Block::Heading("Exit status".to_owned()))
}

fn take_apart(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let mut rest = Vec::new();
        for (index, line) in paragraph.iter().enumerate() {
            match line.split_once(':') {
                Some((word, after)) if index == 0 && HEADINGS.contains(&word) => {
                    blocks.push(Block::Heading(word.to_owned()));
                    rest.extend((!after.trim().is_empty()).then_some(after.trim_start()));
                }
                _ => rest.push(*line),
            }
        }
        for run in rest.chunk_by(|a, b| a.starts_with(' ') == b.starts_with(' ')) {
            blocks.push(if run[0].starts_with(' ') {
                Block::Kept(without_indentation(run))
            } else {
                Block::Prose(run.join(" "))
            });
        }
    }
    blocks
}

fn without_indentation(lines: &[&str]) -> Vec<String> {
    let indentation = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let common = lines.iter().map(indentation).min().unwrap_or(0);
    lines.iter().map(|line| line[common..].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Block, take_apart};

    #[test]
    fn headings_prose_and_kept_lines_are_told_apart() {
        let text =
            "First: of\nall.\n\nExit status: that of\nit, or\n   0  done\n  64  no\n\nFiles:\n  a";
        assert_eq!(
            take_apart(text),
            [
                Block::Prose("First: of all.".to_owned()),
                Block::Heading("Exit status".to_owned()),
                Block::Prose("that of it, or".to_owned()),
                Block::Kept(vec![" 0  done".to_owned(), "64  no".to_owned()]),
                Block::Heading("Files".to_owned()),
                Block::Kept(vec!["a".to_owned()]),
            ]
        );
    }
}
