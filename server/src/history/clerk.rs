//! The thread that keeps the history.
//!
//! It does one thing after the other: what happened is gathered into parts, which are written in the order
//! in which it came, and who asks is answered in between, once what was gathered is written, so that an
//! answer knows everything that was told before the question.
//! It yields to every other thread of the machine. Whatever goes wrong, a panic of sled included, turns
//! the history off and ends the thread, and nothing else.

use super::shelf::{PART_EVENTS_MAX, Shelf};
use super::{Errand, HistorySettings, HistoryTrouble, Question, Shared, weight_of};
use crate::clock;
use cotter_replica::Past;
use cotter_types::CellId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, io};

/// Between two flushes. What is lost by a crash in between is told again from the log.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Pause between two looks at what happened, so that a busy replica does not wake the thread each turn.
/// Who asks waits for it at most once.
const REST: Duration = Duration::from_millis(20);
/// How far the thread stands back behind others, as `nice` counts.
const NICENESS: i32 = 19;
/// Most old events that are removed at each flush for their age alone.
const AGED_REMOVED_MAX: u64 = 20_000;
/// Old events that may go for each new one, when there are too many.
const REMOVED_PER_KEPT: u64 = 2;
/// How long opening may take without progress.
const OPENING_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 20 });
/// After so many starts in a row that did not get through its opening, the history is begun anew.
const OPENINGS_MAX: u32 = 3;

/// Everything that the thread has.
pub(super) struct Clerk {
    directory: PathBuf,
    cell: CellId,
    settings: HistorySettings,
    shared: Arc<Shared>,
}

impl Clerk {
    pub(super) fn new(
        directory: PathBuf,
        cell: CellId,
        settings: HistorySettings,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            directory,
            cell,
            settings,
            shared,
        }
    }

    /// Works until it is told to leave, or the history fails.
    pub(super) fn work(&self, errands: &Receiver<Errand>) {
        // On Linux this is about the calling thread, and those that it starts. A refusal costs speed
        // only.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        self.busy();
        let opened = self.open_or_begin_anew();
        let mut shelf = match opened {
            Ok(shelf) => shelf,
            Err(error) => return self.shared.fail(format!("it cannot be opened: {error}")),
        };
        let worked = catch_unwind(AssertUnwindSafe(|| self.keep_all(&mut shelf, errands)));
        let failed = match worked {
            Ok(Ok(())) if !self.shared.is_off() => {
                drop(shelf);
                return self.idle();
            }
            Ok(Ok(())) => "it was given up".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "sled found what it does not expect".to_owned(),
        };
        // Another write might never return.
        shelf.abandon();
        if !self.shared.is_off() {
            self.shared.fail(failed);
        }
    }

    fn busy(&self) {
        self.shared
            .busy_since
            .store(clock::now().0.max(1), Ordering::Relaxed);
    }

    fn idle(&self) {
        self.shared.busy_since.store(0, Ordering::Relaxed);
    }

    fn keep_all(&self, open: &mut Shelf, errands: &Receiver<Errand>) -> io::Result<()> {
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        let mut gathered = None;
        while !self.shared.is_off() {
            self.idle();
            let first = errands.recv_timeout(flush_at.saturating_duration_since(Instant::now()));
            self.busy();
            let mut rests = true;
            match first {
                Ok(first) => {
                    for errand in std::iter::once(first).chain(errands.try_iter()) {
                        match errand {
                            Errand::Keep(past) => self.gather(open, &mut gathered, *past)?,
                            Errand::Answer(question) => {
                                self.keep(open, gathered.take())?;
                                self.answer(open, question)?;
                                rests = false;
                            }
                            Errand::Leave => return self.leave(open, gathered),
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.leave(open, gathered),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= flush_at {
                self.keep(open, gathered.take())?;
                self.flush(open)?;
                flush_at = Instant::now() + FLUSH_EVERY;
            } else if rests {
                self.idle();
                std::thread::sleep(REST);
            }
        }
        Ok(())
    }

    fn leave(&self, open: &mut Shelf, gathered: Option<Past>) -> io::Result<()> {
        self.keep(open, gathered)?;
        open.flush()
    }

    fn answer(&self, open: &Shelf, question: Question) -> io::Result<()> {
        let page = open.page(&question.query, self.shared.replica);
        let answer = match &page {
            Ok(page) => Ok(page.clone()),
            Err(error) => Err(HistoryTrouble::Failed(error.to_string())),
        };
        // Whoever does not wait any more is not told.
        let _ = question.reply.send(answer);
        page.map(|_| ())
    }

    /// Puts what happened behind what was gathered, if it follows that, and writes when it is enough.
    fn gather(&self, shelf: &mut Shelf, gathered: &mut Option<Past>, past: Past) -> io::Result<()> {
        self.shared
            .queued
            .fetch_sub(weight_of(&past), Ordering::Relaxed);
        match gathered {
            Some(before) if before.to == past.after => {
                before.to = past.to;
                before.until_wall_ms = before.until_wall_ms.max(past.until_wall_ms);
                before.events.extend(past.events);
            }
            _ => {
                let before = gathered.replace(past);
                self.keep(shelf, before)?;
            }
        }
        let enough = |past: &Past| past.events.len() >= PART_EVENTS_MAX;
        match gathered.take_if(|past| enough(past)) {
            Some(past) => self.keep(shelf, Some(past)),
            None => Ok(()),
        }
    }

    fn keep(&self, shelf: &mut Shelf, past: Option<Past>) -> io::Result<()> {
        let Some(past) = past else {
            return Ok(());
        };
        if shelf.keep(&past)? {
            metrics::counter!("cotter_history_gaps_total", "replica" => self.shared.label())
                .increment(1);
        }
        let events = past.events.len() as u64;
        metrics::counter!("cotter_history_events_total", "replica" => self.shared.label())
            .increment(events);
        // No clock here: what is old by the clock goes at the flushes.
        shelf.trim(self.settings.bytes_max, 0, REMOVED_PER_KEPT * events)?;
        Ok(())
    }

    fn flush(&self, shelf: &mut Shelf) -> io::Result<()> {
        let age_ms = u64::try_from(self.settings.age_max.as_millis()).unwrap_or(u64::MAX);
        let since = clock::wall_ms().saturating_sub(age_ms);
        shelf.trim(self.settings.bytes_max, since, AGED_REMOVED_MAX)?;
        shelf.flush()?;
        let label = || self.shared.label();
        // Exact up to 2^53.
        metrics::gauge!("cotter_history_bytes", "replica" => label()).set(shelf.bytes as f64);
        metrics::gauge!("cotter_history_events", "replica" => label()).set(shelf.events as f64);
        Ok(())
    }

    /// Opens what is there, or deletes it and begins anew.
    pub(super) fn open_or_begin_anew(&self) -> io::Result<Shelf> {
        let marker = self.directory.with_extension("openings");
        let openings: u32 = fs::read_to_string(&marker)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        fs::write(&marker, (openings + 1).to_string())?;
        let first = match openings < OPENINGS_MAX {
            true => self.open(),
            false => Err(format!("{openings} starts in a row did not get through it")),
        };
        let shelf = match first {
            Ok(shelf) => shelf,
            Err(why) => {
                tracing::warn!(
                    replica = self.shared.replica.0,
                    directory = %self.directory.display(),
                    why,
                    "the history cannot be read; it is deleted and begun anew"
                );
                metrics::counter!("cotter_history_begun_anew_total",
                    "replica" => self.shared.label())
                .increment(1);
                fs::remove_dir_all(&self.directory)?;
                self.open().map_err(io::Error::other)?
            }
        };
        fs::remove_file(&marker)?;
        tracing::info!(
            replica = self.shared.replica.0,
            events = shelf.events,
            bytes = shelf.bytes,
            "history opened"
        );
        Ok(shelf)
    }

    /// Opens what is there, on a thread that is left behind if it comes to nothing: where sled finds
    /// damage it panics, and then waits for itself for ever while the panic is unwound.
    fn open(&self) -> Result<Shelf, String> {
        let (sender, said) = mpsc::channel();
        let (directory, cell) = (self.directory.clone(), self.cell);
        std::thread::Builder::new()
            .name("history-opening".to_owned())
            .spawn(move || {
                let progress = || {
                    let _ = sender.send(None);
                };
                let opened = Shelf::open(&directory, cell, progress);
                let _ = sender.send(Some(opened));
            })
            .map_err(|error| format!("no thread to open it: {error}"))?;
        loop {
            self.busy();
            match said.recv_timeout(OPENING_WITHIN) {
                Ok(None) => {}
                Ok(Some(opened)) => return opened.map_err(|error| error.to_string()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("sled found what it does not expect".to_owned());
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err("sled did not get through it".to_owned());
                }
            }
        }
    }
}
