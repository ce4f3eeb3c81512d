//! Applying entries: the only way in which a cell changes.
//!
//! A log entry is either accepted or does nothing at all. An accepted batch first moves cell time,
//! which may end waits, lock-delays and times to live, then applies its commands in order. After each of these
//! steps the locks that were disturbed are settled, so that the entry that frees a lock is the one
//! that grants it.
//!
//! `apply` reads no clock and cannot fail: what is refused is an outcome like any other. It must
//! never iterate over anything that grows with the tree or with the number of sessions.

use crate::cell::FEATURE_LEVEL_MAX;
use crate::effect::{Applied, Effect};
use crate::footprint::{Cacheable, Footprint};
use crate::settle::Disturbed;
use crate::state::{Chapter, DeadlineKind, membership_is_sound};
use crate::{Batch, Cell, Command, Entry, MemberAddress, Voter};
use cotter_types::limits::REPLICAS_MAX;
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{Doer, EndReason, Epoch, PastChange, PastEvent, Path, ReplicaId, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Cell {
    /// Applies one log entry. Cannot fail: what is refused is an outcome too.
    ///
    /// # Panics
    /// If an invariant is broken: the replica stops rather than answer wrongly. Also if the entry
    /// raises the feature level above what this program knows.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        self.header.applied += 1;
        match entry {
            Entry::Batch(batch) => self.apply_batch(batch),
            Entry::Renew { epoch, attempt } => self.apply_renewal(*epoch, *attempt),
            Entry::TakeOver {
                replica,
                attempt,
                last_seen,
            } => self.apply_take_over(*replica, *attempt, *last_seen),
            Entry::Resign { epoch } => self.apply_resignation(*epoch),
            Entry::Seal {
                epoch,
                next_chapter,
                voters,
                addresses,
            } => self.apply_seal(*epoch, *next_chapter, voters, addresses),
        }
    }

    /// Tells whether a master with this epoch reigns.
    fn reigns(&self, epoch: Epoch) -> bool {
        let standing = &self.header.mastership;
        standing.master.is_some() && standing.epoch == epoch
    }

    fn apply_batch(&mut self, batch: &Batch) -> Applied {
        let stale = !self.reigns(batch.epoch) || batch.sequence <= self.header.batch;
        if stale && !mutation::active(Bug::StaleEpochAccepted) {
            return Applied::default();
        }
        self.header.batch = batch.sequence;
        let mut application = Application::new(self, batch.stamp.wall_ms);
        application.move_time(batch.stamp.time);
        for command in &batch.commands {
            application.command(command);
        }
        application.finish()
    }

    fn apply_renewal(&mut self, epoch: Epoch, attempt: u64) -> Applied {
        if !self.reigns(epoch) || attempt <= self.header.mastership.attempt {
            return Applied::default();
        }
        let standing = &mut self.header.mastership;
        standing.attempt = attempt;
        standing.sequence += 1;
        Applied::of(Effect::LeaseRenewed {
            epoch,
            attempt,
            sequence: standing.sequence,
        })
    }

    fn apply_take_over(
        &mut self,
        replica: ReplicaId,
        attempt: (u64, u64),
        last_seen: u64,
    ) -> Applied {
        let standing = &mut self.header.mastership;
        let ignore = mutation::active(Bug::TakeOverIgnoresRenewals);
        if last_seen != standing.sequence && !ignore {
            return Applied::default();
        }
        standing.epoch = standing.epoch.next();
        standing.master = Some(replica);
        standing.sequence += 1;
        standing.attempt = 0;
        standing.take_over = attempt;
        self.header.batch = 0;
        Applied::of(Effect::MasterChanged {
            epoch: standing.epoch,
            master: Some(replica),
            attempt,
            sequence: standing.sequence,
        })
    }

    fn apply_resignation(&mut self, epoch: Epoch) -> Applied {
        if !self.reigns(epoch) {
            return Applied::default();
        }
        let standing = &mut self.header.mastership;
        standing.master = None;
        standing.sequence += 1;
        Applied::of(Effect::MasterChanged {
            epoch,
            master: None,
            attempt: standing.take_over,
            sequence: standing.sequence,
        })
    }
}

impl Cell {
    /// Ends the chapter. Refused are the seal of a master that is none any more, one for another
    /// chapter, and one that names nobody, too many, or somebody twice (I-CELL-18).
    fn apply_seal(
        &mut self,
        epoch: Epoch,
        next_chapter: u64,
        voters: &[Voter],
        addresses: &[MemberAddress],
    ) -> Applied {
        let follows = next_chapter == self.header.chapter.number + 1;
        let sound =
            (1..=REPLICAS_MAX).contains(&voters.len()) && membership_is_sound(voters, addresses);
        if !self.reigns(epoch) || !follows || !sound {
            return Applied::default();
        }
        self.header.chapter = Chapter {
            number: next_chapter,
            begins_at: self.header.applied,
            voters: voters.into(),
            addresses: addresses.into(),
        };
        Applied::of(Effect::ChapterBegan {
            number: next_chapter,
        })
    }
}

impl Applied {
    /// Makes what an accepted entry with one effect did.
    fn of(effect: Effect) -> Self {
        Self {
            accepted: true,
            effects: vec![effect],
            ..Self::default()
        }
    }
}

/// One batch on its way into the cell.
pub(crate) struct Application<'a> {
    pub(crate) cell: &'a mut Cell,
    /// The stamp's wall clock, for display only.
    pub(crate) wall_ms: u64,
    applied: Applied,
    /// Locks changed by the present step and not settled yet, as they were before it.
    pub(crate) disturbed: BTreeMap<Path, Disturbed>,
    /// Sessions of the simple interface whose acquire was refused in the present step.
    pub(crate) fruitless: Vec<SessionId>,
    /// Who creates nodes where no session does.
    pub(crate) creator: Option<Arc<str>>,
    /// The session whose command is applied.
    pub(crate) acting: Option<SessionId>,
}

/// Everything that a step can change, as it was before.
pub(crate) struct Savepoint {
    cell: Cell,
    touched: Footprint,
    effects: usize,
    past: usize,
}

impl<'a> Application<'a> {
    pub(crate) fn new(cell: &'a mut Cell, wall_ms: u64) -> Self {
        Self {
            cell,
            wall_ms,
            applied: Applied {
                accepted: true,
                ..Applied::default()
            },
            disturbed: BTreeMap::new(),
            fruitless: Vec::new(),
            creator: None,
            acting: None,
        }
    }

    pub(crate) fn finish(self) -> Applied {
        assert!(
            self.disturbed.is_empty() && self.fruitless.is_empty(),
            "invariant I-CELL-5: a lock was left unsettled"
        );
        self.applied
    }

    /// Records for the history what happened to a path.
    pub(crate) fn note(&mut self, path: &Path, who: Doer, what: PastChange) {
        let past = &mut self.applied.past;
        past.push(PastEvent {
            path: path.clone(),
            revision: self.cell.header.revision,
            index: u32::try_from(past.len()).unwrap_or(u32::MAX),
            wall_ms: self.wall_ms,
            who,
            what,
        });
    }

    /// Returns who a session is, for the history.
    pub(crate) fn doer(&self, session: SessionId) -> Doer {
        let row = self.cell.session(session);
        let metadata = row.map(|row| row.metadata.clone()).unwrap_or_default();
        Doer {
            session: Some(session),
            name: metadata.name,
            host: metadata.host,
            pid: metadata.pid,
        }
    }

    /// Returns whose command is applied, for the history.
    pub(crate) fn acting_doer(&self) -> Doer {
        match (&self.creator, self.acting) {
            (Some(principal), _) => Doer {
                name: principal.to_string(),
                ..Doer::default()
            },
            (None, Some(session)) => self.doer(session),
            (None, None) => Doer::default(),
        }
    }

    /// Records that something happened.
    pub(crate) fn tell(&mut self, effect: Effect) {
        self.applied.effects.push(effect);
    }

    /// Records that a cacheable thing changed.
    pub(crate) fn touch(&mut self, item: Cacheable) {
        self.applied.touched.add(item);
    }

    /// Keeps everything as it is now, to go back to. What the step touches from here on is noted
    /// apart.
    pub(crate) fn savepoint(&mut self) -> Savepoint {
        assert!(
            self.disturbed.is_empty(),
            "invariant I-CELL-5: a lock is unsettled before a transaction"
        );
        Savepoint {
            cell: self.cell.clone(),
            touched: std::mem::take(&mut self.applied.touched),
            effects: self.applied.effects.len(),
            past: self.applied.past.len(),
        }
    }

    /// Goes back to how everything was.
    pub(crate) fn roll_back(&mut self, before: Savepoint) {
        *self.cell = before.cell;
        self.applied.touched = before.touched;
        self.applied.effects.truncate(before.effects);
        self.applied.past.truncate(before.past);
        self.disturbed.clear();
    }

    /// Keeps what the step did since.
    pub(crate) fn keep(&mut self, before: Savepoint) {
        let since = std::mem::replace(&mut self.applied.touched, before.touched);
        self.applied.touched.extend(&since);
    }

    /// Moves cell time, never back, and does what was to be done until then, in order.
    fn move_time(&mut self, stamp: cotter_types::CellTime) {
        self.cell.header.time = self.cell.header.time.max(stamp);
        let mut fired = false;
        while let Some(deadline) = self.cell.indexes.deadlines.get_min().cloned() {
            if deadline.at > self.cell.header.time {
                break;
            }
            fired = true;
            match deadline.kind {
                DeadlineKind::LockDelay => self.end_delay(&deadline.path),
                DeadlineKind::Wait => self.end_wait(&deadline.path, deadline.place),
                DeadlineKind::Ttl => self.end_ttl(&deadline.path),
            }
            assert!(
                !self.cell.indexes.deadlines.contains(&deadline),
                "invariant I-CELL-12: a deadline fired and stayed"
            );
            self.settle();
            self.end_fruitless();
        }
        self.forget_old_calls();
        if fired {
            let revision = self.cell.header.revision.next();
            self.cell.header.revision = revision;
            for event in &mut self.applied.past {
                event.revision = revision;
            }
        }
    }

    fn command(&mut self, command: &Command) {
        self.cell.header.revision = self.cell.header.revision.next();
        match command {
            Command::Open { open, principal } => self.open(open, principal),
            Command::Mutate {
                session,
                number,
                acknowledged,
                mutation,
            } => {
                self.acting = Some(*session);
                self.mutate(*session, *number, acknowledged, mutation);
                self.acting = None;
            }
            Command::Expire { session } => {
                if self.cell.sessions.contains(session) {
                    self.end_session(*session, EndReason::Expired);
                }
            }
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(*level),
            Command::CallAcquire {
                request,
                principal,
                acquire,
            } => self.call_acquire(*request, principal, acquire),
            Command::CallRelease { lock } => self.call_release(*lock),
            Command::CallChange {
                request,
                principal,
                repeatable,
                sequencer,
                change,
            } => self.call_change(*request, principal, *repeatable, sequencer.as_ref(), change),
        }
        self.settle();
        self.end_fruitless();
    }

    fn raise_feature_level(&mut self, level: u32) {
        assert!(
            level <= FEATURE_LEVEL_MAX,
            "invariant I-CELL-14: the log raises the feature level to {level}, and this program \
             knows {FEATURE_LEVEL_MAX}: run a newer version"
        );
        let header = &mut self.cell.header;
        header.feature_level = header.feature_level.max(level);
    }
}
