//! The golden scripts: the specification of the cell, by example.
//!
//! Each file in `tests/scripts` is one situation. Its name is a sentence, its head says what it is
//! about, and below a line `---` every line that begins with `> ` is a command, followed by what it
//! did. `UPDATE_GOLDEN=1` rewrites the files; the diff is what a reviewer reads. The invariants are
//! checked after every command. The language is described in `golden/language.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

#[path = "golden/calls.rs"]
mod calls;
#[path = "golden/language.rs"]
mod language;
#[path = "golden/show.rs"]
mod show;

use language::Stage;
use std::fs;
use std::path::PathBuf;

/// Plays a script and returns it with what its commands really did.
fn play(text: &str) -> String {
    let (head, body) = text
        .split_once("\n---\n")
        .expect("a script has a line --- between its intent and its transcript");
    assert!(head.trim().len() > 40, "a script says what it is about");
    let mut stage = Stage::new();
    let mut played = format!("{head}\n---\n");
    for line in body.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            played.push_str(line);
            played.push('\n');
            for shown in stage.command(command) {
                played.push_str(&shown);
                played.push('\n');
            }
        } else if line.is_empty() || line.starts_with('#') {
            played.push_str(line);
            played.push('\n');
        }
    }
    played
}

#[test]
fn scripts_are_played_as_they_are_written() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 30, "the specification has lost scripts");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let played = play(&written);
        if update {
            fs::write(&file, &played).unwrap();
        } else if played != written {
            wrong.push(format!("{}:\n{played}", file.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "scripts that went otherwise:\n\n{}",
        wrong.join("\n")
    );
}
