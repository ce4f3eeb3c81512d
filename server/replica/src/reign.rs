//! How a reign begins, goes on and ends.
//!
//! A reign begins when this replica's own take-over is applied, and ends at the first of: the lease
//! lapses, the leadership of the log goes elsewhere, somebody else's take-over is applied, or the
//! replica retires. It never resumes: what follows is another reign, with another epoch.

use crate::candidate::Attempt;
use crate::io::{Happening, StreamId};
use crate::log::ReplicaLog;
use crate::master::Master;
use crate::replica::Replica;
use cotter_cell::{Command, Entry};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{Moment, ReplicaId, ServerFrame, SessionId};

impl<L: ReplicaLog> Replica<L> {
    /// Proposes to take over when nobody can be master any more (I-MASTER-2). Only the log's leader
    /// tries, so that rivals are rare; the log decides between them.
    pub(crate) fn take_over_if_ready(&mut self, now: Moment) {
        if self.master.is_some() || !self.may_take_over(now) {
            return;
        }
        let mastership = self.cell.mastership().clone();
        let Some(ready) = self.candidate.ready_at(&mastership, &self.config.timing) else {
            return;
        };
        if now < ready {
            return;
        }
        let (attempt, last_seen) = self.candidate.attempt(&mastership, now);
        self.append(&Entry::TakeOver {
            replica: self.config.id,
            attempt,
            last_seen,
        });
    }

    /// Tells whether anything but time stands in the way of a reign.
    pub(crate) fn may_take_over(&self, now: Moment) -> bool {
        self.consensus.leads() && self.hears_majority(now) && !self.digests.are_disputed()
    }

    /// Ends the reign if the log is led by another: what this master would append might be lost
    /// (DESIGN 4.4).
    pub(crate) fn follow_leadership(&mut self) {
        let crossing = self.is_crossing();
        let now = self.last_now;
        let Some(master) = self.master.as_mut() else {
            return;
        };
        let leads = self.consensus.leads();
        let leader = self.consensus.leadership().leader;
        let another_leads = leader.is_some_and(|leader| leader != self.config.id);
        if leads && crossing {
            master.cross(now);
        } else if !leads && (another_leads || !crossing) {
            self.step_down("another replica leads the log");
        }
    }

    /// Tells whether this master has sealed a chapter, and the next one has no leader yet: the reign
    /// goes on as long as its lease stands and nobody else leads (I-CHAPTER-5).
    fn is_crossing(&self) -> bool {
        let chapter = self.cell.chapter().number;
        self.master
            .as_ref()
            .is_some_and(|master| master.sealing == Some(chapter))
    }

    /// Does what a master does by itself: renews its lease, ends overdue sessions, proposes.
    pub(crate) fn reign(&mut self, now: Moment, wall_ms: u64) {
        self.condemn_overdue(now);
        self.tell_places(now);
        self.take_back(now);
        let level = self.feature_level_to_raise();
        let Some(master) = self.master.as_mut() else {
            return;
        };
        if let Some(level) = level.filter(|level| *level > master.level_proposed) {
            master.level_proposed = level;
            master.enqueue(Command::RaiseFeatureLevel { level });
        }
        let epoch = master.epoch;
        let renewal = master.begin_renewal(now, &self.config.timing);
        if let Some(attempt) = renewal {
            self.append(&Entry::Renew { epoch, attempt });
        }
        self.seal_if_due(now, renewal.is_some());
        while let Some(batch) = self
            .master
            .as_mut()
            .and_then(|master| master.next_batch(&self.cell, now, wall_ms))
        {
            if mutation::active(Mutation::AnswerBeforeApply) {
                self.answer_early(&batch);
            }
            self.append(&Entry::Batch(batch));
        }
    }

    /// Condemns the sessions whose lease ran out: from here on nothing is promised to them, and their
    /// end goes into the log. It is looked at only after the turn's inputs, so that a keepalive which
    /// waited behind a slow turn still counts (I-LEASE-3).
    fn condemn_overdue(&mut self, now: Moment) {
        let Some(master) = self.master.as_mut() else {
            return;
        };
        let overdue = master.leases.condemn_overdue(now, &self.streams);
        for (session, _) in &overdue {
            master.enqueue(Command::Expire { session: *session });
        }
        for (session, stream) in overdue {
            let name = self.cell.session(session).map(|s| s.metadata.name.clone());
            self.log(Happening::SessionExpired {
                session,
                name: name.unwrap_or_default(),
            });
            if let Some(stream) = stream {
                self.forget_attachment(session, stream);
                if !mutation::active(Mutation::KeepAliveForCondemned) {
                    self.send(
                        stream,
                        ServerFrame::Detached {
                            session,
                            condemned: true,
                        },
                    );
                }
            }
        }
    }

    /// Begins a reign: this replica's own take-over was applied.
    pub(crate) fn begin_reign(&mut self, attempt: Attempt, now: Moment) {
        let Some(lease_from) = self.candidate.won(attempt) else {
            return;
        };
        let master = Master::begin(&self.cell, lease_from, now, &self.config.timing);
        if !master.lease_stands(now) {
            return;
        }
        let epoch = master.epoch;
        self.master = Some(Box::new(master));
        let sessions = self.cell.counts().sessions;
        self.log(Happening::BecameMaster { epoch, sessions });
        self.announce();
    }

    /// Ends the reign. From proposing the resignation on, decided or not, this replica says nothing
    /// that rests on its state or its lease (I-MASTER-5).
    pub(crate) fn step_down(&mut self, reason: &'static str) {
        let Some(mut master) = self.master.take() else {
            return;
        };
        let epoch = master.epoch;
        self.streams.end_reign();
        self.interrupt(std::mem::take(&mut master.calls));
        self.interrupt_change();
        if self.cell.mastership().epoch == epoch {
            self.append(&Entry::Resign { epoch });
        }
        self.log(Happening::SteppedDown { epoch, reason });
        self.announce();
    }

    /// Ends the reign because the log says that another one has begun.
    pub(crate) fn superseded(&mut self, by: ReplicaId) {
        if self.master.is_some() {
            self.step_down("another replica has taken over");
        }
        let epoch = self.cell.mastership().epoch;
        self.log(Happening::NewMaster { replica: by, epoch });
        self.announce();
    }

    /// Lays mastership down and takes none any more.
    pub(crate) fn retire(&mut self) {
        self.candidate.retire();
        if mutation::active(Mutation::ResigningMasterReads) {
            if let Some(master) = &self.master {
                let epoch = master.epoch;
                self.append(&Entry::Resign { epoch });
            }
            return;
        }
        if self.master.is_some() {
            self.step_down("it is about to stop");
            self.ask_for_successor();
        }
    }

    pub(crate) fn forget_attachment(&mut self, session: SessionId, stream: StreamId) {
        if mutation::active(Mutation::KeepAliveForCondemned) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.attached.remove(&session);
        }
    }
}
