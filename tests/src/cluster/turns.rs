//! Processes that take turns under one lock, each checking by itself that it is alone.

use super::journal::Journal;
use super::process::{Finished, finish_within};
use super::waiting::PATIENCE;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The script of a turn.
const TURN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster/turn.sh");

/// The directory that all who take turns share, which nothing but the lock protects.
#[derive(Debug)]
pub struct Track {
    directory: TempDir,
}

impl Default for Track {
    fn default() -> Self {
        Self::new()
    }
}

impl Track {
    /// Makes an empty track.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory for a track"),
        }
    }

    /// Returns its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a turn of `seconds` to `command`, which is a `cotter lock` that lacks its command.
    #[must_use]
    pub fn turn(&self, command: Command, name: &str, seconds: &str) -> Command {
        add_turn(command, self.path(), name, seconds)
    }

    /// Reads the journal of all turns so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::read(self.path())
    }
}

fn add_turn(mut command: Command, track: &Path, name: &str, seconds: &str) -> Command {
    command
        .args(["--", "sh", TURN])
        .arg(track)
        .args([name, seconds]);
    command
}

/// Many who take turn after turn under one lock until they are told to stop.
#[derive(Debug)]
pub struct Contenders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64, String>>>,
}

impl Contenders {
    /// Starts `count` of them; `lock` makes a `cotter lock PATH` that waits.
    pub fn start(
        track: &Track,
        count: usize,
        seconds: &'static str,
        lock: impl Fn() -> Command + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|number| {
                let (stop, lock) = (Arc::clone(&stop), lock.clone());
                let track = track.path().to_owned();
                std::thread::spawn(move || contend(&stop, &lock, &track, number, seconds))
            })
            .collect();
        Self { stop, threads }
    }

    /// Lets everybody end the turn that it waits for, and returns how many turns each had.
    ///
    /// # Errors
    /// What `cotter lock` has said to those of whom one failed.
    ///
    /// # Panics
    /// If a turn did not come within [`PATIENCE`].
    pub fn stop(self) -> Result<Vec<u64>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let results: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        results
            .into_iter()
            .map(|result| result.expect("every turn comes to its end"))
            .collect()
    }
}

fn contend(
    stop: &AtomicBool,
    lock: &impl Fn() -> Command,
    track: &Path,
    number: usize,
    seconds: &str,
) -> Result<u64, String> {
    let name = format!("contender-{number}");
    let mut turns = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut command = add_turn(lock(), track, &name, seconds);
        let finished: Finished = finish_within(PATIENCE, &mut command);
        if finished.code != 0 {
            let said = finished.errors.trim();
            return Err(format!(
                "{name}, turn {turns}: status {}: {said}",
                finished.code
            ));
        }
        turns += 1;
    }
    Ok(turns)
}
