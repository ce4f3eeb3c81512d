//! When a replica that is not master may try to become it (I-MASTER-2).
//!
//! Mastership is in the log, apart from the log's own leadership. A candidate waits out the old
//! master's lease on its own clock, counted from when it *applied* the last renewal, and names that
//! renewal in its take-over; `apply` rejects it if a later one stands in the log.

use crate::timing::Timing;
use cotter_cell::Mastership;
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Moment, ReplicaId};

/// One attempt to take over: the replica's boot number and a count.
pub(crate) type Attempt = (u64, u64);

/// The wait and the attempts of one replica.
#[derive(Debug)]
pub(crate) struct Candidate {
    own: ReplicaId,
    boot: u64,
    /// The last mastership sequence that was seen applied, and when.
    seen: (u64, Moment),
    attempts: u64,
    /// The attempt on its way: which, and from before when its lease would count.
    pending: Option<(Attempt, Moment)>,
    retired: bool,
    /// Another is to have the mastership, and gets until then.
    yields_until: Moment,
}

impl Candidate {
    /// Begins the wait anew, as every start of a replica must.
    pub(crate) fn new(own: ReplicaId, boot: u64, sequence: u64, now: Moment) -> Self {
        Self {
            own,
            boot,
            seen: (sequence, now),
            attempts: 0,
            pending: None,
            retired: false,
            yields_until: Moment::default(),
        }
    }

    /// Notes that a take-over, renewal or resignation was applied: the wait begins anew, and an
    /// attempt on its way, which builds on an older one, can no longer succeed.
    pub(crate) fn saw(&mut self, sequence: u64, now: Moment) {
        if sequence != self.seen.0 {
            self.seen = (sequence, now);
            self.pending = None;
        }
    }

    /// Begins the wait anew: the state was replaced by another, and nobody knows here when its last
    /// renewal was applied.
    pub(crate) fn start_anew(&mut self, sequence: u64, now: Moment) {
        self.seen = (sequence, now);
        self.pending = None;
    }

    /// Leaves the mastership to another until then.
    pub(crate) fn yields(&mut self, until: Moment) {
        self.yields_until = until;
        self.pending = None;
    }

    /// Takes no mastership any more.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
        self.pending = None;
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Returns the moment from which a take-over may be proposed, or nothing if it must not be.
    ///
    /// Nobody's mastership, and one's own of a past reign or life, need no wait: whoever held it has
    /// laid it down, or was this replica, which no longer speaks for it.
    pub(crate) fn ready_at(&self, mastership: &Mastership, timing: &Timing) -> Option<Moment> {
        if self.retired {
            return None;
        }
        let waited = match mastership.master {
            None => Moment::default(),
            Some(master) if master == self.own => Moment::default(),
            Some(_) if mutation::active(Mutation::TakeOverWithoutWait) => Moment::default(),
            Some(_) => self.seen.1.after(timing.take_over_wait()),
        };
        let again = self.pending.map_or(Moment::default(), |(_, proposed)| {
            proposed.after(timing.rounds(4))
        });
        Some(waited.max(again).max(self.yields_until))
    }

    /// Begins an attempt and returns its name and the sequence it builds on.
    pub(crate) fn attempt(&mut self, mastership: &Mastership, now: Moment) -> (Attempt, u64) {
        self.attempts += 1;
        let attempt = (self.boot, self.attempts);
        self.pending = Some((attempt, now));
        (attempt, mastership.sequence)
    }

    /// Tells whether an applied take-over is the attempt on its way, and from when its lease counts.
    pub(crate) fn won(&mut self, attempt: Attempt) -> Option<Moment> {
        let (_, proposed) = self.pending.filter(|(pending, _)| *pending == attempt)?;
        self.pending = None;
        Some(proposed)
    }
}
