//! The configuration file as it is written, before anything is checked.

use crate::failure::Failure;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The whole file. Everything is optional here, because flags and variables may say it instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) cell: Option<String>,
    pub(super) replica: Option<u64>,
    pub(super) data: Option<PathBuf>,
    pub(super) log_format: Option<String>,
    pub(super) rejoin: Option<bool>,
    #[serde(default)]
    pub(super) client: Door,
    #[serde(default)]
    pub(super) peer: Door,
    #[serde(default)]
    pub(super) members: Vec<Row>,
    #[serde(default)]
    pub(super) timing: TimingSection,
    #[serde(default)]
    pub(super) chapter: ChapterSection,
    #[serde(default)]
    pub(super) history: HistorySection,
    #[serde(default)]
    pub(super) scrub: ScrubSection,
}

/// Where to listen, and what address to tell others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Door {
    pub(super) listen: Option<String>,
    pub(super) advertise: Option<String>,
}

/// One member of the cell.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) client: String,
    pub(super) peer: String,
}

/// Rounds and leases.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimingSection {
    pub(super) election_round_ms: Option<u64>,
    pub(super) master_lease_ms: Option<u64>,
}

/// When a chapter of the log is sealed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChapterSection {
    pub(super) bytes: Option<u64>,
    pub(super) age: Option<String>,
}

/// How much history is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistorySection {
    pub(super) bytes: Option<u64>,
    pub(super) days: Option<u64>,
}

/// How often the disk is read back.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScrubSection {
    pub(super) every: Option<String>,
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::config(format!(
            "cannot read the configuration file {}: {error}",
            path.display()
        ))
    };
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::config(format!(
            "the configuration file {} has {length} bytes, more than {FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    parse(&text).map_err(|why| Failure::config(format!("{}: {why}", path.display())))
}

/// Parses the text of a file; an error says the line and what is wrong there, in one line.
pub(super) fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let what = error.message().lines().collect::<Vec<_>>().join("; ");
        match line {
            Some(line) => format!("line {line}: {what}"),
            None => what,
        }
    })
}
