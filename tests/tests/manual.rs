//! The manual: `docs/CLI.md`, the man pages and the completion scripts say what the programs do.
//!
//! All of it is made from the definitions of the command lines. After a change of one,
//! `UPDATE_GOLDEN=1 cargo test -p cotter-tests --test manual` writes `docs/CLI.md` anew.

use clap::{Arg, Command, CommandFactory};
use cotter_manual::{pages, reference};
use cotter_server::config::CommandLine;
use std::path::Path;
use std::process;

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p cotter-tests --test manual";

const HEAD: &str = "\
# The command line

<!-- This page is generated: do not edit it. UPDATE_GOLDEN=1 cargo test -p cotter-tests --test manual -->

Every verb of `cotter`, the command line, and of `cotterd`, the daemon, as `--help` tells it.
`cotter man --dir DIR` and `cotterd man --dir DIR` write the same as man pages, and `cotter completions SHELL` prints a completion script.
An argument in `<ANGLE BRACKETS>` must be given, one in `[SQUARE BRACKETS]` may be.
";

fn programs() -> [Command; 2] {
    [cotter_cli::definition(), CommandLine::command()]
}

/// Calls `visit` with every verb of a program that people see, and its name as it is typed.
fn each_verb(command: &Command, name: &str, visit: &mut impl FnMut(&Command, &str)) {
    visit(command, name);
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in shown {
        each_verb(verb, &format!("{name} {}", verb.get_name()), visit);
    }
}

#[test]
fn reference_of_the_command_line_is_what_its_definition_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CLI.md");
    let expected = reference(HEAD, &programs());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).expect("docs/CLI.md can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        let line = number + 1;
        assert_eq!(
            found, expected,
            "docs/CLI.md, line {line}, is old: {UPDATE}"
        );
    }
    assert!(found == expected, "docs/CLI.md is not whole: {UPDATE}");
}

#[test]
fn reference_has_every_verb_option_and_exit_status() {
    let text = reference(HEAD, &programs());
    let mut verbs = 0;
    for program in programs() {
        each_verb(&program, program.get_name(), &mut |verb, name| {
            verbs += 1;
            assert!(text.contains(&format!("# {name}\n")), "{name}");
            for argument in verb.get_arguments() {
                if let Some(long) = argument.get_long() {
                    assert!(text.contains(&format!("`--{long}")), "{name} --{long}");
                }
                if let Some(variable) = argument.get_env().and_then(|name| name.to_str()) {
                    assert!(text.contains(&format!("`{variable}`")), "{variable}");
                }
            }
        });
    }
    assert!(verbs >= 20, "only {verbs} verbs were seen");
    for status in ["64  ", "69  ", "75  ", "78  ", "117  "] {
        let told = text
            .lines()
            .any(|line| line.trim_start().starts_with(status));
        assert!(told, "status {status}is missing");
    }
    for hidden in ["keeper", "trampoline"] {
        assert!(!text.contains(&format!("# cotter {hidden}")), "{hidden}");
    }
}

/// Values that are counts or times, which have a unit and bounds.
const COUNTED: [&str; 7] = ["SECONDS", "TIME", "MS", "N", "LEVELS", "CODE", "ID"];

fn help_of(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    help.unwrap_or_default()
}

#[test]
fn every_option_says_what_it_is_its_bounds_and_what_holds_without_it() {
    let mut counted = 0;
    for program in programs() {
        each_verb(&program, program.get_name(), &mut |verb, name| {
            assert!(verb.get_about().is_some(), "{name} does not say what it is");
            for argument in verb.get_arguments() {
                let help = help_of(argument);
                let id = argument.get_id();
                assert!(!help.is_empty(), "{name} {id} has no help");
                assert!(!help.ends_with('.'), "{name} {id} ends with a full stop");
                let value = argument.get_value_names().unwrap_or_default().first();
                if value.is_none_or(|value| !COUNTED.contains(&value.as_str())) {
                    continue;
                }
                counted += 1;
                let bounded = ["0", "1", "2", "5"]
                    .iter()
                    .any(|digit| help.contains(digit));
                assert!(bounded, "{name} {id} does not say its bounds: {help}");
                let settled = argument.is_required_set()
                    || !argument.get_default_values().is_empty()
                    || help.contains("without it")
                    || help.contains("Replaces");
                assert!(
                    settled,
                    "{name} {id} does not say what holds without it: {help}"
                );
            }
        });
    }
    assert!(counted >= 15, "only {counted} counted options were seen");
}

#[test]
fn each_verb_has_a_man_page_with_its_synopsis_and_exit_status() {
    for (program, section) in programs().iter().zip([1, 8]) {
        let pages = pages(program, section).expect("pages are rendered in memory");
        let find = |name: &str| {
            let file = format!("{}.{section}", name.replace(' ', "-"));
            let page = pages.iter().find(|page| page.name == file);
            let page = page.unwrap_or_else(|| panic!("{file} is missing"));
            String::from_utf8(page.text.clone()).expect("a page is text")
        };
        let mut verbs = 0;
        each_verb(program, program.get_name(), &mut |verb, name| {
            verbs += 1;
            let text = find(name);
            assert!(text.contains("\n.SH \"EXIT STATUS\"\n"), "{name}: {text}");
            for argument in verb.get_arguments() {
                if let Some(long) = argument.get_long() {
                    let escaped = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(text.contains(&escaped), "{name} --{long}: {text}");
                }
            }
        });
        assert_eq!(pages.len(), verbs, "there is a page for what is no verb");
    }
}

#[test]
fn man_pages_please_mandoc() {
    let ready = process::Command::new("mandoc")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if !ready {
        println!("skipped: mandoc is not installed (Debian package mandoc)");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut written = Vec::new();
    for (program, section) in programs().iter().zip([1, 8]) {
        let paths = cotter_manual::write_pages(program, section, directory.path());
        written.extend(paths.expect("pages are written"));
    }
    let lint = process::Command::new("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .args(&written)
        .output()
        .expect("mandoc runs");
    let said = String::from_utf8_lossy(&lint.stdout);
    assert!(lint.status.success() && said.is_empty(), "{said}");
}
