//! The scrubber: a thread beside the owner that reads back what is on the disk, from time to time and
//! slowly, and says what is wrong with it.
//!
//! What is to be done about it the replica decides: a checkpoint is written once more, or the chapter is
//! sealed early, so that what is damaged is needed no more.
//!
//! In the stack simulation there is none: its disks are real and spoil nothing.

use crate::api::door::Door;
use crate::storage::{Damage, OsFiles, scrub};
use cotter_replica::Input;
use cotter_types::limits::SCRUB_BYTES_PER_SECOND_MAX;
use cotter_types::{CellId, ReplicaId};
use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A replica that was just started has more to do; but one that never lives long is scrubbed too.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(10 * 60);

/// What is scrubbed, how often, and who is told.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) files: OsFiles,
    /// The cell, and the disk's id.
    pub(super) owner: (CellId, u64),
    pub(super) replica: ReplicaId,
    pub(super) every: Duration,
    pub(super) door: Door,
}

/// The owner's end; when it is dropped, the thread ends at once.
#[derive(Debug)]
pub(super) struct Scrubber {
    alive: Option<Sender<Infallible>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scrubber {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(beat: Beat) -> io::Result<Self> {
        let (alive, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("scrubber-{}", beat.replica))
            .spawn(move || beat.walk(&ended))?;
        Ok(Self {
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // A panic was told by the hook.
            let _ = thread.join();
        }
    }
}

/// Waits, and tells whether the owner is still there.
fn waits(ended: &Receiver<Infallible>, time: Duration) -> bool {
    matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

impl Beat {
    fn walk(&self, ended: &Receiver<Infallible>) {
        let mut pause = self.every.min(FIRST_AFTER_MAX);
        while waits(ended, pause) {
            pause = self.every;
            let began = Instant::now();
            let mut bytes = 0;
            let pace = &mut |more: u64| {
                bytes += more;
                let micros = more.saturating_mul(1_000_000) / SCRUB_BYTES_PER_SECOND_MAX;
                waits(ended, Duration::from_micros(micros))
            };
            let replica = self.replica.0;
            match scrub(&self.files, self.owner, pace) {
                Ok(Some(found)) => {
                    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let damaged = found.len();
                    metrics::counter!("cotter_scrubbed_bytes_total").increment(bytes);
                    tracing::info!(replica, bytes, damaged, took_ms, "disk read back");
                    found.into_iter().for_each(|damage| self.tell(damage));
                }
                Ok(None) => return,
                Err(error) => {
                    metrics::counter!("cotter_scrub_failures_total").increment(1);
                    tracing::error!(replica, %error, "THE DISK could not be read back");
                }
            }
        }
    }

    fn tell(&self, damage: Damage) {
        let Damage {
            chapter,
            damaged,
            file,
            why,
        } = damage;
        metrics::counter!("cotter_scrub_damaged_total").increment(1);
        tracing::error!(
            replica = self.replica.0,
            chapter,
            file,
            why,
            "THE DISK HAS LOST something that was whole; it is replaced, but look at the disk"
        );
        // A closed door means that the replica is stopping.
        let _ = self.door.send_now(Input::Damaged { chapter, damaged });
    }
}
