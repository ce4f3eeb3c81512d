//! Whoever runs the simulated cell: disks are lost and replaced, members removed and added, and
//! mastership is sent elsewhere.
//!
//! It has a chance of its own, so that the rest of a run does not depend on it. A disk is taken away
//! only while all others stand in the newest chapter: what is acknowledged survives the loss of a
//! minority, and of no more. The repair is the operator's, by the same calls that a person makes; some
//! replicas ask for theirs by themselves.

use super::disk::Disk;
use super::random::Random;
use super::world::{Event, World};
use cotter_cell::{Chapter, Voter};
use cotter_replica::{CallId, Input};
use cotter_types::{Administration, Call, ReplicaId};

/// Names the operator's calls; those of others are numbered from 0.
const CALLS_FROM: u64 = 1 << 60;

/// Longest time for which a master tries to make a change, and somewhat more.
const REMOVAL_US_MAX: u64 = 21_000_000;

/// How long a member that is gone may count as heard, and somewhat more.
const NOTICED_US: u64 = 500_000;

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    random: Random,
    /// Mean time between two deeds, in microseconds; 0 for one who only looks.
    pace_us: u64,
    calls: u64,
    /// Until when a removal that was asked for may still be made. A cell of three that becomes one of
    /// two has no disk to spare, so none is taken away meanwhile.
    removing_until: u64,
    /// When a disk was taken away last.
    wiped_at: u64,
    /// Disks handed out beyond those that the cell was born with.
    disks: u64,
}

impl Operator {
    /// Draws how busy the operator of a seed is.
    #[must_use]
    pub(super) fn new(seed: u64, replicas: usize) -> Self {
        let mut random = Random::new(seed ^ 0x6f70_6572_6174_6f72);
        let busy = replicas > 1 && random.chance(500);
        let pace_us = if busy {
            random.between(400_000, 4_000_000)
        } else {
            0
        };
        Self {
            random,
            pace_us,
            calls: 0,
            removing_until: 0,
            wiped_at: 0,
            disks: 0,
        }
    }

    /// Draws when to look next.
    fn pause(&mut self) -> u64 {
        100_000 + self.random.between(0, 400_000)
    }
}

impl World {
    pub(super) fn operator_later(&mut self) {
        let pause = self.operator.pause();
        self.agenda.after(pause, Event::Operator);
    }

    /// Looks at the cell, repairs what is to be repaired, and sometimes does something to it.
    pub(super) fn operator_looks(&mut self) {
        self.operator_later();
        if self.profile.replicas == 1 {
            return;
        }
        self.decide_dispute();
        let Some(chapter) = self.newest_chapter() else {
            return;
        };
        if let Some(place) = self.without_vote(&chapter) {
            // No master can know of a loss that it has not had the time to notice.
            let noticed = self.now() > self.operator.wiped_at + NOTICED_US;
            if !self.healed && noticed && self.operator.random.chance(150) {
                // A mistake: it may leave too few of those who have a vote, and is refused then.
                let another = self.operator.random.index(self.hosts.len());
                return self.remove(another, &chapter);
            }
            let replica = Self::replica_id(place);
            let known = chapter.voters.iter().any(|voter| voter.id == replica);
            let asks = self.hosts[place].take_back && known;
            if !asks || self.healed {
                self.administer(if known {
                    Administration::Replace { replica }
                } else {
                    Administration::Add { replica }
                });
            }
            return;
        }
        let pace = self.operator.pace_us;
        // It looks about every 300 ms.
        if self.healed || pace == 0 || !self.operator.random.chance(300_000_000 / pace) {
            return;
        }
        let place = self.operator.random.index(self.hosts.len());
        match self.operator.random.below(4) {
            0 => self.transfer(place),
            1 => self.remove(place, &chapter),
            _ => self.wipe(place, &chapter),
        }
    }

    /// Where states differ, no majority agrees and nobody more will come, a person decides whose state is
    /// not trusted, and this one decides right.
    fn decide_dispute(&mut self) {
        let reigns = self.hosts.iter().any(super::host::Host::is_master);
        if !self.profile.rebuilds || !self.healed || reigns {
            return;
        }
        if let Some(place) = self.whose_state_differs() {
            self.tally.fault("decided dispute");
            self.hosts[place].rebuild = true;
            self.kill_host(place, false);
        }
    }

    /// Returns the chapter of whichever replica is the furthest.
    fn newest_chapter(&self) -> Option<Chapter> {
        let running = self.hosts.iter().filter_map(|host| host.running.as_ref());
        let cells = running.map(|running| running.replica.cell());
        let newest = cells.max_by_key(|cell| cell.applied())?;
        Some(newest.chapter().clone())
    }

    /// Returns what stands for a replica on the disk that it has.
    pub(super) fn voter(&self, place: usize) -> Voter {
        Voter {
            id: Self::replica_id(place),
            incarnation: self.hosts[place].disk.incarnation,
        }
    }

    fn without_vote(&self, chapter: &Chapter) -> Option<usize> {
        (0..self.hosts.len()).find(|place| !chapter.voters.contains(&self.voter(*place)))
    }

    /// Tells whether every replica lacks a vote that should have one, for the liveness phase.
    pub(super) fn somebody_has_no_vote(&self) -> bool {
        self.newest_chapter()
            .is_none_or(|chapter| self.without_vote(&chapter).is_some())
    }

    /// Tells whether all other voters stand in the newest chapter, so that one disk may go.
    fn others_are_well(&self, place: usize, chapter: &Chapter) -> bool {
        let others = (0..self.hosts.len()).filter(|other| *other != place);
        others.into_iter().all(|other| {
            let running = self.hosts[other].running.as_ref();
            running.is_some_and(|running| running.replica.cell().chapter().number == chapter.number)
        })
    }

    fn administer(&mut self, what: Administration) {
        let Some(master) = self.hosts.iter().position(super::host::Host::is_master) else {
            return;
        };
        self.operator.calls += 1;
        let life = self.hosts[master].life;
        let input = Input::Call {
            call: CallId(CALLS_FROM + self.operator.calls),
            principal: "operator".to_owned(),
            request: Call::Administer(what),
        };
        self.note(|| format!("the operator asks replica {} for {what:?}", master + 1));
        self.host_input(master, life, input);
    }

    fn transfer(&mut self, place: usize) {
        self.tally.fault("transfer");
        let to = self.operator.random.chance(700);
        let to: Option<ReplicaId> = to.then(|| Self::replica_id(place));
        self.administer(Administration::Transfer { to });
    }

    fn remove(&mut self, place: usize, chapter: &Chapter) {
        if chapter.voters.len() < 3 {
            return;
        }
        self.tally.fault("removed member");
        self.operator.removing_until = self.now() + REMOVAL_US_MAX;
        self.administer(Administration::Remove {
            replica: Self::replica_id(place),
        });
    }

    /// A replica's machine is gone, and comes back with an empty disk.
    fn wipe(&mut self, place: usize, chapter: &Chapter) {
        let running = self.hosts[place].running.is_some();
        let removing = self.now() < self.operator.removing_until;
        if !running || removing || chapter.voters.len() < 3 || !self.others_are_well(place, chapter)
        {
            return;
        }
        self.tally.fault("lost disk");
        self.kill_host(place, true);
        self.operator.wiped_at = self.now();
        self.operator.disks += 1;
        let incarnation = 1_000 + self.operator.disks;
        let take_back = self.operator.random.chance(300);
        let host = &mut self.hosts[place];
        host.disk = Disk::new(
            self.genesis.cell_id,
            incarnation,
            self.profile.segment_bytes,
        );
        host.boot = 0;
        host.joined = true;
        host.take_back = take_back;
        self.note(|| format!("replica {} lost its disk", place + 1));
    }
}
