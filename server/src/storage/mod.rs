//! What a replica keeps on disk: its identity and the logs of its last chapters.
//!
//! Everything goes through [`Files`], a seam small enough that a simulator can stand in for the
//! disk and lose, tear and corrupt exactly what a disk can ([`SimFiles`]); the daemon uses
//! [`OsFiles`]. [`SegmentedLog`] is the log behind consensus, [`DataDirectory`] the rest: who this
//! replica is, how often it was started, where it died.
//!
//! The layout of a data directory:
//!
//! ```text
//! identity             certificate of the cell, own id and incarnation, forming or born
//! boot                 how often the replica was started
//! deaths               log indices at which applying an entry killed the replica
//! distrust             when its state differed from that of the others, and whether it is used
//! lock                 held by the running daemon
//! chapter-00000001/    the log of one chapter
//!   segment-00000001   …
//!   reserved           the next segment, allocated ahead
//! checkpoints/
//!   checkpoint-00000002  the cell as chapter 2 begins with it
//! ```
//!
//! Nothing here ever repairs in silence, goes on after a failed write or sync, or lets what was
//! damaged pass for what is merely unfinished.

mod chapter_logs;
pub mod checkpoint;
mod consensus_storage;
mod data_directory;
mod deaths;
mod distrust;
mod entry_index;
mod files;
mod identity;
mod log;
mod log_settings;
mod operation;
mod os_files;
mod read_only_files;
mod record;
mod recovery;
mod reserved;
mod scrub;
mod sealed_file;
mod segment;
mod sim_disk;
mod sim_files;
mod survey;

pub(crate) use chapter_logs::place_of_fault;
pub use chapter_logs::{ChapterLogs, Refusal, discard_chapters, list_chapters};
pub(crate) use data_directory::FIRST_CHAPTER;
pub use data_directory::{DataDirectory, DirectoryError};
pub use deaths::Deaths;
pub use distrust::{Difference, Distrust, REBUILDS_MAX};
pub use files::Files;
pub use identity::{CellState, Certificate, CertifiedBase, CertifiedMember, Identity};
pub use log::SegmentedLog;
pub use log_settings::{
    CACHE_BYTES_DEFAULT, LogIdentity, LogSettings, OpenError, OpenReport, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MIN, TornTail,
};
pub use os_files::OsFiles;
pub use read_only_files::ReadOnlyFiles;
pub(crate) use read_only_files::folder_of;
pub use scrub::{Damage, Pace, scrub};
pub use sim_files::SimFiles;
pub use survey::{LogSurvey, SegmentSurvey, Survey, segment_file, survey};

#[cfg(test)]
mod tests;
