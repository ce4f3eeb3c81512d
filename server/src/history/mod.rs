//! The history of a replica: what happened to which path, for people who ask.
//!
//! sled keeps it, in `history` within the data directory, indexed by path and by revision. It is no
//! part of what a cell promises: it can be lost, it can have gaps, and it says what it covers. So:
//!
//! - the owner of the replica hands over what happened and never waits: when too much is queued, it is
//!   dropped, and becomes a gap in the coverage;
//! - one thread of its own, which yields to everybody else's, writes it and reads it for whoever asks;
//! - what cannot be read is deleted and begun anew; opening it is bounded in time, because sled waits
//!   for itself for ever where it finds damage;
//! - after an error of the disk sled may never return from the next write. So the thread is watched,
//!   given up when it makes no progress, and never waited for longer than a moment. The history is off
//!   then until the next start, and everything else goes on.
//!
//! In the stack simulation there is no history: it would take a thread and a disk of its own.
//!
//! This module must never hold up a turn, and never decide anything.

#[cfg(not(feature = "simulated"))]
mod clerk;
#[cfg(not(feature = "simulated"))]
mod coverage;
#[cfg(not(feature = "simulated"))]
mod shelf;
#[cfg(not(feature = "simulated"))]
#[cfg(test)]
mod tests;

use crate::clock;
use cotter_replica::Past;
use cotter_types::limits::HISTORY_QUEUED_MAX;
use cotter_types::{CellId, HistoryPage, HistoryQuery, ReplicaId};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The directory within the data directory.
#[cfg(not(feature = "simulated"))]
const HISTORY_NAME: &str = "history";
/// Bytes of events that are kept when nothing else is configured.
pub const HISTORY_BYTES_DEFAULT: u64 = 128 * 1_024 * 1_024;
/// Days for which events are kept when nothing else is configured.
pub const HISTORY_DAYS_DEFAULT: u64 = 30;
/// Most questions that wait for an answer.
const QUESTIONS_MAX: usize = 8;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A thread that is busy with one thing for so long makes no progress.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How long the thread is waited for at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Bytes of events, the oldest go first; 0 for no history at all.
    pub bytes_max: u64,
    /// For how long.
    pub age_max: Duration,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            bytes_max: HISTORY_BYTES_DEFAULT,
            age_max: Duration::from_secs(HISTORY_DAYS_DEFAULT * 86_400),
        }
    }
}

/// Why a replica tells nothing of the past.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HistoryTrouble {
    /// It was told to keep none.
    #[error("this replica keeps no history: set history.bytes in its configuration")]
    Off,
    /// It failed.
    #[error("the history of this replica is off until its next start: {0}")]
    Failed(String),
    /// Too many ask.
    #[error("the history of this replica is being asked too much: try again in a moment")]
    Busy,
    /// No answer came in time.
    #[error("the history of this replica did not answer in time")]
    Late,
}

/// What the thread is asked to do.
#[cfg_attr(
    feature = "simulated",
    expect(dead_code, reason = "there is no thread")
)]
#[derive(Debug)]
enum Errand {
    Keep(Box<Past>),
    Answer(Question),
    Leave,
}

/// A question, with the way back.
#[cfg_attr(
    feature = "simulated",
    expect(dead_code, reason = "there is no thread")
)]
#[derive(Debug)]
struct Question {
    query: HistoryQuery,
    reply: oneshot::Sender<Result<HistoryPage, HistoryTrouble>>,
    _place: OwnedSemaphorePermit,
}

/// What both sides of the queue know.
#[derive(Debug)]
struct Shared {
    replica: ReplicaId,
    /// Events in the queue; what has none counts as one.
    queued: AtomicUsize,
    /// Since when the thread is busy with the same thing, in microseconds of the clock; 0 if it waits.
    busy_since: AtomicU64,
    /// Why the history is off.
    failed: OnceLock<HistoryTrouble>,
    questions: Arc<Semaphore>,
}

impl Shared {
    fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            queued: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            failed: OnceLock::new(),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// Turns the history off, until the next start.
    fn fail(&self, why: String) {
        tracing::error!(replica = self.replica.0, why, "THE HISTORY IS OFF");
        metrics::counter!("cotter_history_failures_total", "replica" => self.label()).increment(1);
        // The first reason stays.
        let _ = self.failed.set(HistoryTrouble::Failed(why));
    }

    fn is_off(&self) -> bool {
        self.failed.get().is_some()
    }

    fn label(&self) -> String {
        self.replica.0.to_string()
    }
}

/// The owner's end.
#[derive(Debug)]
pub struct History {
    errands: Option<Sender<Errand>>,
    shared: Arc<Shared>,
    /// Ends when the thread does.
    gone: Option<Receiver<()>>,
    /// Whether what happens is dropped until the queue is half empty.
    full: bool,
}

/// The end of whoever asks. Clones lead to the same replica's history.
#[derive(Clone, Debug)]
pub struct HistoryReader {
    errands: Option<Sender<Errand>>,
    shared: Arc<Shared>,
}

/// Starts the history of a replica with the data directory `data`. A failure turns it off and is no
/// reason not to go on.
pub(crate) fn start(
    data: &Path,
    cell: CellId,
    replica: ReplicaId,
    settings: HistorySettings,
) -> (History, HistoryReader) {
    let shared = Arc::new(Shared::new(replica));
    let (errands, gone) = open(data, cell, settings, &shared);
    if errands.is_none() {
        // It is set already if the thread could not be started.
        let _ = shared.failed.set(HistoryTrouble::Off);
    }
    let reader = HistoryReader {
        errands: errands.clone(),
        shared: Arc::clone(&shared),
    };
    let history = History {
        errands,
        shared,
        gone,
        full: false,
    };
    (history, reader)
}

#[cfg(feature = "simulated")]
fn open(
    _data: &Path,
    _cell: CellId,
    _settings: HistorySettings,
    _shared: &Arc<Shared>,
) -> (Option<Sender<Errand>>, Option<Receiver<()>>) {
    (None, None)
}

#[cfg(not(feature = "simulated"))]
fn open(
    data: &Path,
    cell: CellId,
    settings: HistorySettings,
    shared: &Arc<Shared>,
) -> (Option<Sender<Errand>>, Option<Receiver<()>>) {
    if settings.bytes_max == 0 {
        return (None, None);
    }
    let (errands, waiting) = std::sync::mpsc::channel();
    let (going, gone) = std::sync::mpsc::channel::<()>();
    let clerk = clerk::Clerk::new(data.join(HISTORY_NAME), cell, settings, Arc::clone(shared));
    let thread = std::thread::Builder::new()
        .name(format!("history-{}", shared.replica))
        .spawn(move || {
            clerk.work(&waiting);
            drop(going);
        });
    match thread {
        // It is not joined: see the head of the module.
        Ok(_) => (Some(errands), Some(gone)),
        Err(error) => {
            shared.fail(format!("no thread for it: {error}"));
            (None, None)
        }
    }
}

impl History {
    /// Takes note of what happened, or drops it when the queue is full. Never waits.
    pub(crate) fn tell(&mut self, past: Box<Past>) {
        let Some(errands) = self.errands.as_ref().filter(|_| !self.shared.is_off()) else {
            return;
        };
        let weight = weight_of(&past);
        let queued = self.shared.queued.load(Ordering::Relaxed);
        let room = match self.full {
            // Dropped in one piece it makes one gap rather than many.
            true => HISTORY_QUEUED_MAX / 2,
            false => HISTORY_QUEUED_MAX,
        };
        self.full = queued > 0 && queued + weight > room;
        if self.full {
            let label = self.shared.label();
            metrics::counter!("cotter_history_events_dropped_total", "replica" => label)
                .increment(past.events.len() as u64);
            return;
        }
        self.shared.queued.fetch_add(weight, Ordering::Relaxed);
        // A thread that has ended said why.
        let _ = errands.send(Errand::Keep(past));
    }

    /// Looks whether the thread makes progress, and gives it up if it does not.
    pub(crate) fn watch(&self) {
        let since = self.shared.busy_since.load(Ordering::Relaxed);
        let stuck_us = u64::try_from(STUCK_AFTER.as_micros()).unwrap_or(u64::MAX);
        if since > 0 && !self.shared.is_off() && clock::now().0.saturating_sub(since) > stuck_us {
            let seconds = STUCK_AFTER.as_secs();
            self.shared
                .fail(format!("its thread made no progress for {seconds} s"));
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(errands) = self.errands.take() {
            let _ = errands.send(Errand::Leave);
        }
        if let Some(gone) = self.gone.take()
            && !self.shared.is_off()
            && gone.recv_timeout(LEAVE_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!(
                replica = self.shared.replica.0,
                "the history could not be written to its end"
            );
        }
    }
}

impl HistoryReader {
    /// Returns the end of a history that is not kept.
    #[must_use]
    pub fn off() -> Self {
        let shared = Arc::new(Shared::new(ReplicaId(0)));
        let _ = shared.failed.set(HistoryTrouble::Off);
        Self {
            errands: None,
            shared,
        }
    }

    /// Asks what happened. The path must be local.
    pub(crate) async fn ask(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryTrouble> {
        if let Some(trouble) = self.shared.failed.get() {
            return Err(trouble.clone());
        }
        let place = Arc::clone(&self.shared.questions).try_acquire_owned();
        let _place = place.map_err(|_| HistoryTrouble::Busy)?;
        let (reply, answer) = oneshot::channel();
        let question = Question {
            query,
            reply,
            _place,
        };
        let errands = self.errands.as_ref().ok_or(HistoryTrouble::Off)?;
        let stopping = || HistoryTrouble::Failed("the replica is stopping".to_owned());
        errands
            .send(Errand::Answer(question))
            .map_err(|_| stopping())?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(page)) => page,
            Ok(Err(_)) => Err(self.shared.failed.get().cloned().unwrap_or_else(stopping)),
            Err(_) => Err(HistoryTrouble::Late),
        }
    }
}

/// Returns what a part of the past counts in the queue.
fn weight_of(past: &Past) -> usize {
    past.events.len().max(1)
}
