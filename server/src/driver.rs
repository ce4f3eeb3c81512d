//! The owner: one thread that has the replica to itself, and the law by which it drives it.
//!
//! Take what came in, read the clock *after* that, hand it over, end the turn (which makes
//! everything durable), let out what the replica gives. The thread waits for inputs and for nothing
//! else: what it sends goes into bounded queues that drop, close or begin anew when they are full.
//!
//! A fault ends the process, and so does a panic. Nothing here may try to go on with a replica that
//! found itself broken.

mod base;
mod death;
mod keeper;
#[cfg(not(feature = "simulated"))]
mod scrubber;

use crate::api::Readiness;
use crate::api::door::{Arrival, Door, Inbox};
use crate::api::streams::StreamTable;
use crate::clock;
use crate::failure::Failure;
use crate::history::History;
use crate::link::Peers;
use crate::storage::checkpoint::CheckpointError;
use crate::storage::{
    ChapterLogs, DataDirectory, Difference, FIRST_CHAPTER, LogSettings, OpenError, OsFiles,
    REBUILDS_MAX,
};
use crate::telemetry;
use crate::worker::Worker;
use cotter_replica::{Fault, Input, Output, Replica, ReplicaConfig, ReplicaLog};
use cotter_types::{ReplicaId, ServerFrame};
use keeper::Keeper;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Most inputs that are handled in one turn: what they lead to waits for the turn's flush.
const TURN_INPUTS_MAX: usize = 4_096;
/// The clock is looked at this often even when nothing happens: timers do not count the time that a
/// machine was suspended.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(100);

/// When clients of a replica that stops shall come back, in milliseconds: others serve meanwhile.
const COME_BACK_MS: u64 = 100;

/// What others may know of a replica, as of its last turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether its state is rebuilt and it takes part.
    pub takes_part: bool,
    /// Whether it reigns.
    pub is_master: bool,
    /// Whether it was retired and has laid down what it had.
    pub may_stop: bool,
}

/// Everything that the owner gets.
#[derive(Debug)]
pub struct Owner {
    /// Where what happened goes. Before the directory, whose lock it must not outlive.
    pub history: History,
    /// The data directory, locked.
    pub directory: DataDirectory<OsFiles>,
    /// Its path, for people to read.
    pub path: PathBuf,
    /// What the replica is told.
    pub config: ReplicaConfig,
    /// Where inputs come from.
    pub inbox: Inbox,
    /// Tells the health check whether this replica can lead clients to a master.
    pub readiness: Readiness,
    /// Where frames for clients go.
    pub streams: StreamTable,
    /// Where messages for peers go.
    pub peers: Peers,
    /// How often its disk is read back.
    pub scrub_every: Duration,
    /// Where the keeper of checkpoints and the scrubber report.
    pub door: Door,
}

/// What the owner has while it goes from turn to turn.
struct Course {
    replica: Replica<ChapterLogs<OsFiles>>,
    keeper: Keeper,
    // Held for its `Drop`, which ends the thread.
    #[cfg(not(feature = "simulated"))]
    _scrubber: scrubber::Scrubber,
    inputs: Vec<Input>,
    /// What ended the last wait.
    first: Option<Arrival>,
    /// Whether a turn is being ended, for whoever looks after a panic.
    ending: bool,
}

/// A running owner, seen from outside.
#[derive(Debug)]
pub struct Owned {
    /// How the replica stands.
    pub standing: watch::Receiver<Standing>,
    /// How it ended, once it did.
    pub ended: oneshot::Receiver<Result<(), Failure>>,
    stop: Arc<AtomicBool>,
    worker: Worker,
}

impl Owned {
    /// Stops the owner after its present turn, and waits until its thread is gone and with it the
    /// lock on the data directory.
    pub async fn stop(self, door: &Door) {
        self.stop.store(true, Ordering::Release);
        // Wakes it. If it is gone already, there is nobody to wake.
        let _ = door.send_now(Input::Retire);
        self.worker.ended().await;
    }
}

impl Owner {
    /// Starts the thread, which rebuilds the replica from its log first.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no thread.
    pub fn start(self) -> Result<Owned, Failure> {
        let (standing_sender, standing) = watch::channel(Standing::default());
        let (ended_sender, ended) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        #[cfg(not(feature = "simulated"))]
        let worker = Worker::start(format!("replica-{}", self.config.id), move || {
            let result = self.own(&standing_sender, &stopping);
            // Nobody listens when the process is ending anyway.
            let _ = ended_sender.send(result);
        })
        .map_err(|error| Failure::unavailable(format!("no thread for a replica: {error}")))?;
        #[cfg(feature = "simulated")]
        let worker = Worker::start(async move {
            let result = self.own_in_task(&standing_sender, &stopping).await;
            // Nobody listens when the process is ending anyway.
            let _ = ended_sender.send(result);
        });
        Ok(Owned {
            standing,
            ended,
            stop,
            worker,
        })
    }

    /// Owns the replica until it is asked to stop or breaks.
    #[cfg(not(feature = "simulated"))]
    fn own(
        mut self,
        standing: &watch::Sender<Standing>,
        stopping: &AtomicBool,
    ) -> Result<(), Failure> {
        let mut course = self.rebuild()?;
        while !stopping.load(Ordering::Acquire) {
            self.guarded_turn(&mut course, standing)?;
            course.first = self.wait(&course.replica);
        }
        self.say_goodbye();
        Ok(())
    }

    /// Does the same in a task, which differs in how it waits.
    #[cfg(feature = "simulated")]
    async fn own_in_task(
        mut self,
        standing: &watch::Sender<Standing>,
        stopping: &AtomicBool,
    ) -> Result<(), Failure> {
        let mut course = self.rebuild()?;
        while !stopping.load(Ordering::Acquire) {
            self.guarded_turn(&mut course, standing)?;
            let wake = course.replica.next_wake();
            let left = wake.since(clock::now()).min(LOOK_AT_CLOCK);
            course.first = match left.is_zero() {
                true => None,
                false => self.inbox.arrival(left).await,
            };
            // A replica that always has something to do must let its neighbours run too.
            tokio::task::yield_now().await;
        }
        self.say_goodbye();
        Ok(())
    }

    fn say_goodbye(&mut self) {
        self.streams.close_all(&ServerFrame::GoAway {
            reason: "this replica is stopping".to_owned(),
            retry_after_ms: COME_BACK_MS,
        });
    }

    /// Rebuilds the replica from its newest checkpoint and the logs since.
    fn rebuild(&self) -> Result<Course, Failure> {
        let id = self.config.id;
        let found = keeper::find(self.directory.files(), id, self.config.rebuild);
        let found = found.map_err(|error| {
            let message = format!("{}: {error}", self.path.display());
            match error {
                CheckpointError::Damaged { .. } => Failure::damaged(message),
                _ => Failure::unavailable(message),
            }
        })?;
        let identity = self.directory.identity();
        let rebuild = self.config.rebuild || base::must_be_fetched(identity, &found);
        // Whoever trusts nothing that is here applies nothing to it either.
        if !rebuild && let Some(why) = base::refusal(identity, &found) {
            return Err(Failure::damaged(format!("{}: {why}", self.path.display())));
        }
        let logs = self.find_logs(&found)?;
        let refusal = logs.refusal();
        let keeper::Found {
            start,
            state_from,
            durable,
        } = found;
        let config = ReplicaConfig {
            state_from,
            rebuild,
            ..self.config.clone()
        };
        let built = catch_unwind(AssertUnwindSafe(|| {
            Replica::new(config, start, durable, logs, clock::now())
        }));
        let replica = match built {
            Ok(Ok(replica)) => replica,
            Ok(Err(fault)) => {
                return Err(match refusal.take() {
                    Some((place, error)) => {
                        crate::birth::log_failure(&self.path.join(place), &error)
                    }
                    None => faulted(id, &fault),
                });
            }
            Err(_) => death::while_rebuilding(&self.directory, &self.config),
        };
        let keeper = Keeper::start(self.directory.files().clone(), id, self.door.clone())
            .map_err(|error| Failure::unavailable(format!("no thread for a replica: {error}")))?;
        Ok(Course {
            replica,
            keeper,
            #[cfg(not(feature = "simulated"))]
            _scrubber: self.scrub()?,
            inputs: Vec::with_capacity(TURN_INPUTS_MAX),
            first: None,
            ending: false,
        })
    }

    #[cfg(not(feature = "simulated"))]
    fn scrub(&self) -> Result<scrubber::Scrubber, Failure> {
        let identity = self.directory.identity();
        let beat = scrubber::Beat {
            files: self.directory.files().clone(),
            owner: (identity.certificate.cell_id, identity.incarnation),
            replica: self.config.id,
            every: self.scrub_every,
            door: self.door.clone(),
        };
        scrubber::Scrubber::start(beat)
            .map_err(|error| Failure::unavailable(format!("no thread for a replica: {error}")))
    }

    /// Takes one turn. A panic in it ends the process.
    fn guarded_turn(
        &mut self,
        course: &mut Course,
        standing: &watch::Sender<Standing>,
    ) -> Result<(), Failure> {
        let turned = catch_unwind(AssertUnwindSafe(|| self.turn(course, standing)));
        match turned {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(self.stopped(&fault)),
            Err(_) => {
                let fault = death::while_running(&self.directory, &course.replica, course.ending);
                Err(self.stopped(&Fault::Log(fault)))
            }
        }
    }

    /// Says why the replica stops. A state that differs is never used again: that is written down
    /// before the process ends.
    fn stopped(&self, fault: &Fault) -> Failure {
        let failure = faulted(self.config.id, fault);
        let Fault::Differs {
            applied,
            own,
            theirs,
        } = *fault
        else {
            return failure;
        };
        metrics::counter!("cotter_state_differs_total").increment(1);
        let difference = Difference {
            applied,
            own,
            theirs,
        };
        let what = match self.directory.distrust().record(difference) {
            Ok(count) if count <= REBUILDS_MAX => format!(
                "started again it fetches its state from the others ({count} of at most \
                 {REBUILDS_MAX} times)"
            ),
            Ok(_) => {
                "it differed too often, and does not start again from this directory".to_owned()
            }
            Err(error) => format!(
                "AND THAT COULD NOT BE WRITTEN DOWN ({error}): do not start it from this directory \
                 again, let it join anew"
            ),
        };
        Failure::software(format!("{failure}; {what}"))
    }

    /// Finds the logs; a replica that has neither a log nor a checkpoint has forgotten what it was born
    /// with, and must not vote; so has one of a restored cell that has no log, though what the cell
    /// began with is there. One that has joined was born with nothing.
    fn find_logs(&self, found: &keeper::Found) -> Result<ChapterLogs<OsFiles>, Failure> {
        let refused = |error: OpenError| crate::birth::log_failure(&self.path, &error);
        let logs = self.directory.logs(LogSettings::default());
        let logs = logs.map_err(|error| refused(error.into()))?;
        let chapters = logs.chapters();
        let may_be_empty = self.config.joined;
        let from_the_first = found
            .start
            .as_ref()
            .is_none_or(|start| start.chapter().number == FIRST_CHAPTER);
        if chapters.is_empty() && from_the_first && !may_be_empty {
            return Err(refused(OpenError::Missing(self.path.display().to_string())));
        }
        tracing::info!(
            replica = self.config.id.0,
            boot = self.config.boot,
            cell = self.config.genesis.cell,
            cell_id = %self.config.genesis.cell_id,
            chapters = ?chapters,
            data = %self.path.display(),
            "replica starts"
        );
        Ok(logs)
    }

    /// Takes one turn.
    fn turn(
        &mut self,
        course: &mut Course,
        standing: &watch::Sender<Standing>,
    ) -> Result<(), Fault> {
        let Course {
            replica,
            keeper,
            inputs,
            first,
            ending,
            ..
        } = course;
        while inputs.len() < TURN_INPUTS_MAX
            && let Some(arrival) = first.take().or_else(|| self.inbox.take())
        {
            inputs.extend(self.streams.admit(arrival));
        }
        let taken = inputs.len();
        let now = clock::now();
        for input in inputs.drain(..) {
            replica.handle(now, input);
        }
        let before = clock::now();
        *ending = true;
        replica.propose(before, clock::wall_ms());
        self.let_out_all(replica, keeper);
        replica.end_turn(before)?;
        *ending = false;
        self.measure(replica, taken, clock::now().since(before));
        self.let_out_all(replica, keeper);
        self.streams.hand_out(|| replica.backup(clock::now()));
        self.history.watch();
        let stands = Standing {
            takes_part: true,
            is_master: replica.is_master(),
            may_stop: replica.may_stop(),
        };
        let knows_master = replica.cell().mastership().master.is_some();
        self.readiness.set(knows_master);
        standing.send_if_modified(|standing| std::mem::replace(standing, stands) != stands);
        Ok(())
    }

    /// Waits for an arrival, or for the moment at which the replica wants its turn.
    #[cfg(not(feature = "simulated"))]
    fn wait(&self, replica: &Replica<ChapterLogs<OsFiles>>) -> Option<Arrival> {
        let wake = replica.next_wake();
        loop {
            let left = wake.since(clock::now());
            if left.is_zero() {
                return None;
            }
            match self.inbox.wait(left.min(LOOK_AT_CLOCK)) {
                Ok(Some(arrival)) => return Some(arrival),
                Ok(None) => {}
                // Without doors it still has its own time to keep, until it is stopped.
                Err(_) => std::thread::sleep(left.min(LOOK_AT_CLOCK)),
            }
        }
    }

    fn let_out_all(&mut self, replica: &mut Replica<ChapterLogs<OsFiles>>, keeper: &Keeper) {
        while let Some(output) = replica.poll() {
            self.let_out(output, keeper);
        }
    }

    fn let_out(&mut self, output: Output, keeper: &Keeper) {
        match output {
            Output::Peer { to, message } => self.peers.send(to, message),
            Output::Peers { peers } => self.peers.link_with(&peers),
            Output::Frame { stream, frame } => self.streams.deliver(stream, frame),
            Output::CloseStream { stream } => self.streams.close(stream),
            Output::CallAnswer { call, answer } => self.streams.answer(call, answer),
            Output::WriteCheckpoint { cell, source } => keeper.write(cell, source),
            Output::Discard { below } => keeper.discard(below),
            Output::Rebuilt { below } => keeper.rebuilt(below),
            Output::Past(past) => self.history.tell(past),
            Output::Log(happening) => telemetry::happened(self.config.id, &happening),
        }
    }

    fn measure(&self, replica: &Replica<ChapterLogs<OsFiles>>, taken: usize, took: Duration) {
        let id = self.config.id.0;
        let label = || id.to_string();
        metrics::counter!("cotter_turns_total", "replica" => label()).increment(1);
        metrics::histogram!("cotter_turn_end_seconds", "replica" => label())
            .record(took.as_secs_f64());
        metrics::gauge!("cotter_is_master", "replica" => label())
            .set(f64::from(u8::from(replica.is_master())));
        // Exact up to 2^53 entries.
        metrics::gauge!("cotter_applied_entries", "replica" => label())
            .set(replica.cell().applied() as f64);
        metrics::histogram!("cotter_turn_inputs", "replica" => label()).record(taken as f64);
        for (peer, waiting) in self.peers.waiting() {
            metrics::gauge!(
                "cotter_peer_queue_messages",
                "replica" => label(),
                "peer" => peer.0.to_string()
            )
            .set(waiting as f64);
        }
    }
}

fn faulted(id: ReplicaId, fault: &Fault) -> Failure {
    tracing::error!(replica = id.0, %fault, "replica is broken and stops");
    Failure::software(format!("replica {id} stops: {fault}"))
}
