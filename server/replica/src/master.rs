//! What a master keeps for as long as it reigns, and not a moment longer.
//!
//! Everything here is soft: it is built when this replica's own take-over is applied and dropped when
//! the reign ends. Nothing durable hides in it.

use crate::calls::Calls;
use crate::io::StreamId;
use crate::leases::Leases;
use crate::timing::Timing;
use cotter_cell::{Batch, Cell, Command, Entry, Stamp};
use cotter_types::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{CellTime, Epoch, Moment, Mutation as Change, Nonce, RequestNumber, SessionId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Batches on their way through the log at the same time. More would only lengthen the queue in
/// front of the disk: what waits meanwhile travels together in the next one.
const BATCHES_IN_FLIGHT_MAX: u64 = 8;

/// The reign of this replica.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) epoch: Epoch,
    /// Until when this master may speak, on its own clock.
    lease_until: Moment,
    /// Renewals on their way: attempt, and the moment before it was proposed.
    renewals: VecDeque<(u64, Moment)>,
    renewal_attempts: u64,
    renew_at: Moment,
    /// Cell time at the beginning of the reign, and the moment it belongs to.
    time_base: (CellTime, Moment),
    /// The stamp of the last batch proposed.
    pub(crate) stamped: CellTime,
    pub(crate) leases: Leases,
    /// Mutations admitted and not applied yet, with the stream that they are counted on.
    pub(crate) in_flight: BTreeMap<(SessionId, RequestNumber), StreamId>,
    /// Sessions being opened, with the stream that will have them.
    pub(crate) opening: BTreeMap<Nonce, StreamId>,
    /// Calls of the simple interface that wait for their answer.
    pub(crate) calls: Calls,
    urgent: VecDeque<Command>,
    ordinary: VecDeque<Command>,
    batches_proposed: u64,
    batches_applied: u64,
    /// The feature level proposed in this reign, so that it is proposed once.
    pub(crate) level_proposed: u32,
    /// The chapter that this master has sealed into, from proposing the seal until it leads that
    /// chapter. Commands wait meanwhile: what stands behind a seal is void.
    pub(crate) sealing: Option<u64>,
    /// The seal itself, until it is applied.
    pub(crate) seal: Option<Entry>,
}

impl Master {
    /// Begins a reign: every session that the cell knows gets its full lease from now on, which
    /// covers whatever the predecessor promised (DESIGN 3.8).
    pub(crate) fn begin(cell: &Cell, lease_from: Moment, now: Moment, timing: &Timing) -> Self {
        let mut leases = Leases::default();
        for (session, lease_ms) in cell.sessions() {
            let length = if mutation::active(Mutation::NoLeaseExtensionAtTakeOver) {
                Duration::ZERO
            } else {
                Duration::from_millis(lease_ms)
            };
            leases.begin(session, length, now);
        }
        Self {
            epoch: cell.mastership().epoch,
            lease_until: lease_from.after(timing.lease()),
            renewals: VecDeque::new(),
            renewal_attempts: 0,
            renew_at: lease_from.after(timing.renewal()),
            time_base: (cell.time(), now),
            stamped: cell.time(),
            leases,
            in_flight: BTreeMap::new(),
            opening: BTreeMap::new(),
            calls: Calls::default(),
            urgent: VecDeque::new(),
            ordinary: VecDeque::new(),
            batches_proposed: 0,
            batches_applied: 0,
            level_proposed: 0,
            sealing: None,
            seal: None,
        }
    }

    /// Tells whether the lease stands, so that this master may speak.
    pub(crate) fn lease_stands(&self, now: Moment) -> bool {
        now < self.lease_until
    }

    /// Returns the end of the lease.
    pub(crate) fn lease_until(&self) -> Moment {
        self.lease_until
    }

    /// Returns the cell time: the last stamp that was applied when the reign began, plus what this
    /// master's own clock has measured since.
    pub(crate) fn cell_time(&self, now: Moment) -> CellTime {
        let (base, from) = self.time_base;
        let elapsed = u64::try_from(now.since(from).as_millis()).unwrap_or(u64::MAX);
        base.after_ms(elapsed).max(self.stamped)
    }

    /// Returns the moment at which the cell time reaches `time`.
    pub(crate) fn moment_of(&self, time: CellTime) -> Moment {
        let (base, from) = self.time_base;
        from.after(Duration::from_millis(time.since_ms(base)))
    }

    /// Begins a renewal if one is due, and returns its attempt. The lease counts from `now`, which
    /// was read before it is proposed.
    pub(crate) fn begin_renewal(&mut self, now: Moment, timing: &Timing) -> Option<u64> {
        if now < self.renew_at {
            return None;
        }
        self.renew_at = now.after(timing.renewal());
        self.renewal_attempts += 1;
        self.renewals.push_back((self.renewal_attempts, now));
        Some(self.renewal_attempts)
    }

    /// Goes on in the chapter that this master has sealed into, with a renewal at once: a chapter
    /// counts as begun when it has decided its first entry.
    pub(crate) fn cross(&mut self, now: Moment) {
        self.sealing = None;
        self.seal = None;
        self.renew_at = now;
    }

    /// Extends the lease by a renewal that was applied as accepted.
    pub(crate) fn renewed(&mut self, attempt: u64, timing: &Timing) {
        while let Some((pending, from)) = self.renewals.front().copied().filter(|r| r.0 <= attempt)
        {
            self.renewals.pop_front();
            if pending == attempt {
                self.lease_until = self.lease_until.max(from.after(timing.lease()));
            }
        }
    }

    /// Puts a command into its queue. The ends of sessions go first; everything else keeps its order,
    /// so that a release does not overtake a write that its session has sent before it. That what
    /// frees something comes through a crowd is a matter of admission (`door`).
    pub(crate) fn enqueue(&mut self, command: Command) {
        if matches!(command, Command::Expire { .. }) {
            self.urgent.push_back(command);
        } else {
            self.ordinary.push_back(command);
        }
    }

    /// Returns how many commands were admitted and are not applied yet.
    pub(crate) fn load(&self) -> usize {
        self.in_flight.len() + self.opening.len() + self.calls.in_flight()
    }

    /// Makes a batch of what waits, or of nothing but the time if a deadline of the cell is due.
    pub(crate) fn next_batch(&mut self, cell: &Cell, now: Moment, wall_ms: u64) -> Option<Batch> {
        if !self.has_room() {
            return None;
        }
        let time = self.cell_time(now);
        let commands = self.take_commands();
        let due = cell
            .next_deadline()
            .is_some_and(|at| at <= time && self.stamped < at);
        if commands.is_empty() && !due {
            return None;
        }
        self.stamped = time;
        self.batches_proposed += 1;
        let stamp = Stamp { time, wall_ms };
        Some(Batch {
            epoch: self.epoch,
            sequence: self.batches_proposed,
            stamp,
            commands,
        })
    }

    /// Tells whether commands wait that could be proposed at once.
    pub(crate) fn can_propose(&self) -> bool {
        self.has_room() && !(self.urgent.is_empty() && self.ordinary.is_empty())
    }

    fn has_room(&self) -> bool {
        self.sealing.is_none()
            && self.batches_proposed - self.batches_applied < BATCHES_IN_FLIGHT_MAX
    }

    /// Notes that a batch of this reign was applied.
    pub(crate) fn batch_applied(&mut self, sequence: u64) {
        self.batches_applied = self.batches_applied.max(sequence);
    }

    /// Returns when this master has something to do by itself.
    pub(crate) fn next_wake(&self, cell: &Cell) -> Moment {
        if !self.has_room() {
            return self.renew_at.min(self.lease_until);
        }
        let deadline = cell
            .next_deadline()
            .filter(|at| *at > self.stamped)
            .map_or(Moment::NEVER, |at| self.moment_of(at));
        self.renew_at
            .min(self.leases.next_end())
            .min(self.calls.next_due())
            .min(self.lease_until)
            .min(deadline)
    }

    fn take_commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        while commands.len() < BATCH_COMMANDS_MAX {
            let Some(next) = self.urgent.front().or_else(|| self.ordinary.front()) else {
                break;
            };
            let size = size_of_command(next);
            if !commands.is_empty() && bytes + size > BATCH_BYTES_MAX {
                break;
            }
            bytes += size;
            commands.extend(
                self.urgent
                    .pop_front()
                    .or_else(|| self.ordinary.pop_front()),
            );
        }
        commands
    }
}

/// Tells whether a change frees something: these are admitted even when the cell is full.
pub(crate) fn change_frees_something(change: &Change) -> bool {
    match change {
        Change::Release { .. } | Change::Cancel { .. } | Change::Close | Change::Unhold { .. } => {
            true
        }
        Change::Delete(_) => true,
        Change::Transaction(transaction) => transaction.only_frees(),
        Change::Create(_) | Change::CreateSequential(_) | Change::Set(_) | Change::Acquire(_) => {
            false
        }
    }
}

/// Estimates the bytes of a command in the log; contents are what counts.
fn size_of_command(command: &Command) -> usize {
    const FRAME: usize = 256;
    match command {
        Command::Open { open, principal } => {
            let metadata = &open.metadata;
            FRAME
                + metadata.name.len()
                + metadata.host.len()
                + metadata.program.len()
                + principal.len()
        }
        Command::Mutate {
            mutation,
            acknowledged,
            ..
        } => {
            let body = match mutation {
                Change::Create(create) => create.contents.len() + create.path.as_str().len(),
                Change::Set(set) => set.contents.len() + set.path.as_str().len(),
                Change::Delete(delete) => delete.path.as_str().len(),
                Change::Acquire(acquire) => acquire.path.as_str().len(),
                Change::Release { path, .. } | Change::Unhold { path } => path.as_str().len(),
                Change::Cancel { .. } | Change::Close => 0,
                Change::CreateSequential(create) => {
                    create.contents.len() + create.path.as_str().len()
                }
                Change::Transaction(transaction) => transaction.bytes(),
            };
            FRAME + body + acknowledged.above.len() * 20
        }
        Command::Expire { .. }
        | Command::RaiseFeatureLevel { .. }
        | Command::CallRelease { .. } => FRAME,
        Command::CallAcquire {
            principal, acquire, ..
        } => {
            let holder = &acquire.holder;
            FRAME
                + acquire.path.as_str().len()
                + holder.name.len()
                + holder.host.len()
                + holder.program.len()
                + principal.len()
        }
        Command::CallChange {
            principal,
            sequencer,
            change,
            ..
        } => {
            let sequencer = sequencer.as_ref().map_or(0, |it| it.path.as_str().len());
            FRAME + principal.len() + sequencer + change.bytes()
        }
    }
}
