//! The keeper of checkpoints: a thread beside the owner that writes them, reads them back, and takes
//! away what they replace, so that none of it ever stalls a turn.
//!
//! It never decides what may go: the replica says so, and only of what lies before a checkpoint that
//! this thread has reported as written and read back (I-CHAPTER-6).

use crate::api::door::Door;
use crate::clock;
use crate::storage::checkpoint::{
    self, CHECKPOINTS_NAME, CHUNK_BYTES, CheckpointError, CheckpointMeta,
};
use crate::storage::{Distrust, FIRST_CHAPTER, Files, OsFiles, discard_chapters};
use cotter_cell::Cell;
use cotter_replica::Input;
use cotter_types::ReplicaId;
use std::io;
#[cfg(not(feature = "simulated"))]
use std::sync::mpsc::Sender;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long to wait before a checkpoint that could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What the keeper is asked.
#[derive(Debug)]
enum Wish {
    /// Write the state that a chapter begins from, and from whom it was fetched.
    Write(Box<Cell>, Option<ReplicaId>),
    /// Remove the logs and checkpoints of chapters below this one.
    Discard(u64),
    /// Do that, and then settle the note that the data are not trusted.
    Rebuilt(u64),
}

/// The owner's end; when it is dropped, the thread ends after what it is doing.
///
/// In the stack simulation there is no thread, whose timing would differ from run to run: each wish is
/// done at once.
#[derive(Debug)]
pub(super) struct Keeper {
    #[cfg(not(feature = "simulated"))]
    wishes: Option<Sender<Wish>>,
    #[cfg(not(feature = "simulated"))]
    thread: Option<std::thread::JoinHandle<()>>,
    #[cfg(feature = "simulated")]
    place: (OsFiles, ReplicaId, Door),
}

/// What checkpoints there are at the start.
#[derive(Debug)]
pub(super) struct Found {
    /// The state in the newest that is whole.
    pub(super) start: Option<Cell>,
    /// From whom that was fetched, if no other voter had confirmed it.
    pub(super) state_from: Option<ReplicaId>,
    /// The chapters of that one and those before it, in order.
    pub(super) durable: Vec<u64>,
}

/// Looks for the newest checkpoint that is whole, and puts aside what is not: an older one and the
/// logs since then lead to the same state. With `rebuild` nothing that is here is going to be used.
pub(super) fn find(
    files: &OsFiles,
    replica: ReplicaId,
    rebuild: bool,
) -> Result<Found, CheckpointError> {
    let checkpoints = files.directory(CHECKPOINTS_NAME);
    checkpoint::remove_unfinished(&checkpoints)?;
    let mut durable = checkpoint::list(&checkpoints)?.chapters;
    while let Some(chapter) = durable.last().copied() {
        let began = Instant::now();
        match checkpoint::open(&checkpoints, chapter).and_then(checkpoint::load_cell) {
            Ok((cell, verified)) => {
                tracing::info!(
                    replica = replica.0,
                    chapter,
                    applied = cell.applied(),
                    bytes = verified.size().bytes,
                    took_ms = millis(began),
                    "checkpoint read"
                );
                return Ok(Found {
                    start: Some(cell),
                    state_from: source_in(verified.meta()),
                    durable,
                });
            }
            Err(error) => {
                tracing::error!(
                    replica = replica.0,
                    chapter,
                    %error,
                    "A CHECKPOINT IS DAMAGED; an older one and the logs since are used instead"
                );
                if chapter == FIRST_CHAPTER && !rebuild {
                    // A restored cell begins from it, and from nothing else.
                    return Err(error);
                }
                durable.pop();
            }
        }
    }
    Ok(Found {
        start: None,
        state_from: None,
        durable,
    })
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(not(feature = "simulated"))]
    pub(super) fn start(files: OsFiles, replica: ReplicaId, door: Door) -> io::Result<Self> {
        let (wishes, asked) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("keeper-{replica}"))
            .spawn(move || keep(&files, replica, &door, &asked))?;
        Ok(Self {
            wishes: Some(wishes),
            thread: Some(thread),
        })
    }

    /// Remembers where to write.
    #[cfg(feature = "simulated")]
    pub(super) fn start(files: OsFiles, replica: ReplicaId, door: Door) -> io::Result<Self> {
        let place = (files, replica, door);
        Ok(Self { place })
    }

    /// Asks for a checkpoint. One that waits is forgotten for it: the newest is what counts.
    pub(super) fn write(&self, cell: Box<Cell>, source: Option<ReplicaId>) {
        self.ask(Wish::Write(cell, source));
    }

    /// Asks for room.
    pub(super) fn discard(&self, below: u64) {
        self.ask(Wish::Discard(below));
    }

    /// Asks for what a state that was not trusted has left to be removed, and the note settled.
    pub(super) fn rebuilt(&self, below: u64) {
        self.ask(Wish::Rebuilt(below));
    }

    #[cfg(feature = "simulated")]
    fn ask(&self, wish: Wish) {
        let (wishes, asked) = mpsc::channel();
        // The other end stands right here.
        let _ = wishes.send(wish);
        drop(wishes);
        let (files, replica, door) = &self.place;
        keep(files, *replica, door, &asked);
    }

    #[cfg(not(feature = "simulated"))]
    fn ask(&self, wish: Wish) {
        if let Some(wishes) = &self.wishes {
            // The thread ends only with this end of the channel, or by a panic of its own, after which
            // there are no checkpoints until the next start; the log goes on.
            let _ = wishes.send(wish);
        }
    }
}

#[cfg(not(feature = "simulated"))]
impl Drop for Keeper {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            // A panic was told by the hook.
            let _ = thread.join();
        }
    }
}

fn keep(files: &OsFiles, replica: ReplicaId, door: &Door, asked: &Receiver<Wish>) {
    let mut owed: Option<(Box<Cell>, Option<ReplicaId>)> = None;
    loop {
        let wish = match owed {
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => asked.recv_timeout(TRY_AGAIN),
        };
        let (mut below, mut rebuilt) = (0, false);
        match wish {
            Ok(wish) => {
                for wish in std::iter::once(wish).chain(asked.try_iter()) {
                    match wish {
                        Wish::Write(cell, source) => owed = Some((cell, source)),
                        Wish::Discard(chapter) => below = below.max(chapter),
                        Wish::Rebuilt(chapter) => {
                            below = below.max(chapter);
                            rebuilt = true;
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if below > 0 {
            match discard(files, below) {
                Ok(()) if rebuilt => settle(files, replica),
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(replica = replica.0, below, %error, "old logs could not be removed");
                }
            }
        }
        let Some((cell, source)) = owed.take() else {
            continue;
        };
        match write(files, replica, &cell, source) {
            Ok(()) => {
                let chapter = cell.chapter().number;
                // A closed door means that the replica is stopping.
                let _ = door.send_now(Input::CheckpointWritten { chapter });
            }
            Err(error) => {
                metrics::counter!("cotter_checkpoints_failed_total").increment(1);
                tracing::error!(
                    replica = replica.0,
                    %error,
                    "a checkpoint could not be written, and is tried again; the log grows meanwhile"
                );
                owed = Some((cell, source));
            }
        }
    }
}

/// Reads from whom the state in a checkpoint was fetched.
fn source_in(meta: &CheckpointMeta) -> Option<ReplicaId> {
    let id = meta.beside.as_slice().try_into().ok()?;
    Some(ReplicaId(u64::from_le_bytes(id)))
}

fn write(
    files: &OsFiles,
    replica: ReplicaId,
    cell: &Cell,
    source: Option<ReplicaId>,
) -> Result<(), CheckpointError> {
    let began = Instant::now();
    let checkpoints = files.create_directory(CHECKPOINTS_NAME)?;
    let chapter = cell.chapter().number;
    let beside = source.map_or_else(Vec::new, |id| id.0.to_le_bytes().to_vec());
    let meta = CheckpointMeta::of(cell, chapter, clock::wall_ms(), beside);
    let verified = checkpoint::write(&checkpoints, &meta, cell.walk(CHUNK_BYTES))?;
    metrics::counter!("cotter_checkpoints_written_total").increment(1);
    tracing::info!(
        replica = replica.0,
        chapter,
        bytes = verified.size().bytes,
        rows = verified.size().rows,
        took_ms = millis(began),
        "checkpoint written and read back"
    );
    Ok(())
}

fn discard(files: &OsFiles, below: u64) -> io::Result<()> {
    discard_chapters(files, below)?;
    let checkpoints = files.directory(CHECKPOINTS_NAME);
    for name in checkpoints.list()? {
        if checkpoint::chapter_of(&name).is_some_and(|chapter| chapter < below) {
            checkpoints.remove(&name)?;
        }
    }
    checkpoints.sync_directory()
}

/// Settles the note, now that nothing is left of the state that differed. If that fails, the next start
/// fetches the state once more.
fn settle(files: &OsFiles, replica: ReplicaId) {
    match Distrust::new(files.clone()).settle() {
        Ok(()) => tracing::warn!(replica = replica.0, "the state was rebuilt from the others"),
        Err(error) => {
            tracing::error!(replica = replica.0, %error, "the state was rebuilt, and that could not be noted");
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
