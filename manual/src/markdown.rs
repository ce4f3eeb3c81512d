//! The written reference: every verb of some programs in one page of Markdown.

use crate::after_help::{self, Block};
use crate::{built, typed_name, usage, verbs};
use clap::{Arg, Command};
use std::fmt::Write as _;

/// Writes the reference of `programs`, below `head`. An argument that holds for every verb of a
/// program is told once, at the program.
#[must_use]
pub fn reference(head: &str, programs: &[Command]) -> String {
    let programs: Vec<Command> = programs.iter().map(built).collect();
    let mut text = format!("{}\n\n", head.trim_end());
    for program in &programs {
        contents(&mut text, program);
    }
    for program in &programs {
        section(&mut text, program, typed_name(program));
    }
    while text.ends_with("\n\n") {
        text.pop();
    }
    text
}

fn contents(text: &mut String, command: &Command) {
    let name = typed_name(command);
    let indentation = "  ".repeat(name.split(' ').count() - 1);
    let about = command.get_about().map(ToString::to_string);
    let about = escaped(&about.unwrap_or_default());
    let anchor = name.replace(' ', "-");
    push(
        text,
        format_args!("{indentation}- [`{name}`](#{anchor}): {about}\n"),
    );
    for verb in verbs(command) {
        contents(text, verb);
    }
    if indentation.is_empty() {
        text.push('\n');
    }
}

fn section(text: &mut String, command: &Command, program: &str) {
    let name = typed_name(command);
    let is_program = name == program;
    let mark = if is_program { "##" } else { "###" };
    push(text, format_args!("{mark} {name}\n\n"));
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        push(text, format_args!("{}\n\n", escaped(&about.to_string())));
    }
    push(text, format_args!("```text\n{}\n```\n\n", usage(command)));

    let shown = |argument: &&Arg| {
        let own = !matches!(argument.get_id().as_str(), "help" | "version");
        own && !argument.is_hide_set() && (is_program || !argument.is_global_set())
    };
    let mut any = false;
    for argument in command.get_arguments().filter(shown) {
        describe(text, argument);
        any = true;
    }
    if any {
        text.push('\n');
    }
    below(text, command, program);
    for verb in verbs(command) {
        section(text, verb, program);
    }
}

/// Writes one argument or option: how it is written, what it is, its values, default and variable.
fn describe(text: &mut String, argument: &Arg) {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    push(
        text,
        format_args!("- {}: {}", written(argument), escaped(&help)),
    );
    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            push(text, format_args!("; one of {}", values.join(", ")));
        }
        let defaults: Vec<_> = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        if !defaults.is_empty() {
            push(text, format_args!("; default `{}`", defaults.join(",")));
        }
    }
    if let Some(variable) = argument.get_env() {
        push(
            text,
            format_args!("; variable `{}`", variable.to_string_lossy()),
        );
    }
    if argument.is_global_set() {
        text.push_str("; holds for every verb");
    }
    text.push_str(".\n");
}

/// Returns the ways in which an argument is written.
fn written(argument: &Arg) -> String {
    let values: Vec<String> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| format!("<{name}>"))
        .collect();
    let values = values.join(" ");
    if argument.is_positional() {
        return format!("`{values}`");
    }
    let mut ways = Vec::new();
    ways.extend(argument.get_short().map(|short| format!("`-{short}`")));
    ways.extend(argument.get_long().map(|long| format!("`--{long}`")));
    for alias in argument.get_visible_aliases().unwrap_or_default() {
        ways.push(format!("`--{alias}`"));
    }
    if argument.get_action().takes_values() {
        let way = ways.pop().unwrap_or_default();
        ways.push(format!("{} {values}`", way.trim_end_matches('`')));
    }
    ways.join(", ")
}

fn below(text: &mut String, command: &Command, program: &str) {
    let blocks = after_help::blocks(command);
    for block in &blocks {
        match block {
            Block::Heading(words) => push(text, format_args!("**{words}**\n\n")),
            Block::Prose(prose) => {
                push(text, format_args!("{}\n\n", sentences(&escaped(prose))));
            }
            Block::Kept(lines) => {
                push(text, format_args!("```text\n{}\n```\n\n", lines.join("\n")))
            }
        }
    }
    if !after_help::tells_status(&blocks) {
        push(
            text,
            format_args!("Exit status: see [`{program}`](#{program}).\n\n"),
        );
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

/// Takes what Markdown would read as its own out of a text for people.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('<', "\\<");
    text.replace('*', "\\*")
}

/// Puts each sentence on a line of its own.
fn sentences(prose: &str) -> String {
    let mut text = String::new();
    for (index, sentence) in prose.split(". ").enumerate() {
        if index > 0 {
            text.push_str(".\n");
        }
        text.push_str(sentence);
    }
    text
}
