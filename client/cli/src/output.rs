//! How results are shown: tables for people, JSON for programs, tab-separated lines for scripts.
//!
//! Names, hosts and programs come from other people's machines, so control characters in them are
//! shown escaped: nobody's session name may move another one's cursor.

use crate::failure::Failure;
use clap::ValueEnum;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns with a head, or sentences
    Table,
    /// One JSON value
    Json,
    /// Tab-separated, without a head
    Plain,
}

/// Rows under heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// One head for each column.
    pub heads: Vec<&'static str>,
    /// The cells, as many in each row as there are heads.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table.
    #[must_use]
    pub fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Returns the table with aligned columns, the heads in bold if wished.
    #[must_use]
    pub fn aligned(&self, bold: bool) -> String {
        let heads = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| visible(cell)).collect())
            .collect();
        let mut widths = vec![0; self.heads.len()];
        for row in rows.iter().chain([&heads]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head = line(&heads, &widths);
        let mut text = if bold {
            format!("\x1b[1m{head}\x1b[0m\n")
        } else {
            format!("{head}\n")
        };
        for row in &rows {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }

    /// Returns the rows, tab-separated.
    #[must_use]
    pub fn tabbed(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| visible(cell)).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width - cell.chars().count();
        let _ = write!(text, "{cell}{:padding$}  ", "");
    }
    text.trim_end().to_owned()
}

/// Returns the text with control characters escaped, and `-` for no text at all.
#[must_use]
pub fn visible(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            let kept = escaped.is_none().then_some(character);
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}

/// Shows a table, or the same facts as JSON.
///
/// # Errors
/// If standard output cannot be written.
pub fn show(format: Format, table: &Table, json: &Value) -> Result<(), Failure> {
    match format {
        Format::Table => write_out(table.aligned(colourful()).as_bytes()),
        Format::Plain => write_out(table.tabbed().as_bytes()),
        Format::Json => show_json(json),
    }
}

/// Shows a JSON value: indented for a terminal, on one line otherwise.
///
/// # Errors
/// If standard output cannot be written.
pub fn show_json(json: &Value) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        format!("{json:#}\n")
    } else {
        format!("{json}\n")
    };
    write_out(text.as_bytes())
}

/// Writes bytes to standard output, and flushes it.
///
/// # Errors
/// If that fails. A reader that went away is a failure without words, as for other programs.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(141, ""),
        _ => Failure::of_file("standard output", &error),
    })
}

/// Tells whether standard output likes colour.
#[must_use]
pub fn colourful() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !refused
}

/// Returns a time span for people: `350 ms`, `4.2 s`, `3 min 10 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Returns a wall-clock time in UTC, as in `2026-11-23 18:28:03Z`.
#[must_use]
pub fn utc(wall_ms: u64) -> String {
    let seconds = wall_ms / 1_000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the date of a day counted from 1970-01-01: years of March to February, so that the leap
/// day comes last, in eras of 400 years.
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// Returns how long ago a wall-clock time is, by this machine's own clock; zero for the future.
#[must_use]
pub fn ago_ms(wall_ms: u64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_sub(wall_ms)
}

#[cfg(test)]
mod tests {
    use super::{Table, span, utc, visible};

    #[test]
    fn control_characters_never_reach_a_terminal() {
        assert_eq!(visible("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(visible(""), "-");
        assert_eq!(visible("zwölf"), "zwölf");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "N"]);
        table.rows.push(vec!["a longer one".into(), "1".into()]);
        table.rows.push(vec!["b".into(), "22".into()]);
        assert_eq!(
            table.aligned(false),
            "NAME          N\na longer one  1\nb             22\n"
        );
        assert_eq!(table.tabbed(), "a longer one\t1\nb\t22\n");
    }

    #[test]
    fn times_are_told_as_calendars_tell_them() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_735_689_599_000), "2024-12-31 23:59:59Z");
    }

    #[test]
    fn spans_have_the_unit_that_fits() {
        assert_eq!(span(350), "350 ms");
        assert_eq!(span(4_250), "4.2 s");
        assert_eq!(span(190_000), "3 min 10 s");
        assert_eq!(span(90_000_000), "1 d 1 h");
    }
}
