//! Man pages and the written reference of a command line, made from its own clap definition.
//!
//! What `--help` says is the only text there is: the pages and `docs/CLI.md` are the same words in
//! another form, so none of them can fall behind. [`write_pages`] is what `cotter man` and
//! `cotterd man` call; [`reference()`] is called by a test, which compares it with the file.
//!
//! It stands in a crate of its own because both programs need it and neither may depend on the other.
//! Nothing in here knows a verb by its name, and no page has a date: the same program always writes
//! the same bytes.

mod after_help;
mod man;
mod markdown;

pub use man::{Page, pages, write_pages};
pub use markdown::reference;

use clap::Command;

/// Prepares a definition to be read: everything inherited is filled in, and clap's own verb `help`,
/// which says nothing that `--help` does not, is left out.
fn built(command: &Command) -> Command {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    command
}

/// Returns the verbs of `command` that are shown to people.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// Returns the whole name of a verb, as it is typed.
fn typed_name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// Returns how `command` is called, from its name on, in one line.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage);
    usage.split_whitespace().collect::<Vec<_>>().join(" ")
}
