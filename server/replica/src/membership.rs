//! Who makes up the cell, and how that changes (I-MEMBER-1 to I-MEMBER-4).
//!
//! A member is a replica *on a disk*: one that lost its disk has forgotten what it promised, and its
//! new disk has no vote until a chapter of the log begins that names it. So adding, removing and
//! replacing are one act: the master seals the chapter with the next members in the seal.
//!
//! Before: a replica that has joined follows the log without a vote, and says so to everybody
//! (`Here`). It stands in the master's own chapter and is heard, as is a majority of the members to
//! be. After: the next chapter has decided its first entry. In between the reign may end, and then
//! whoever asked is told that the outcome is not known: the seal may be in the log, and one look at
//! the members tells. What must not happen is a chapter that nobody can begin, because too few of its
//! members are there; so the seal is not proposed unless they were heard a moment ago.

mod handover;
mod obstacle;

use crate::io::{CallId, Happening, Output, Peer, PeerMessage};
use crate::log::ReplicaLog;
use crate::replica::{Member, Replica};
use cotter_cell::{Entry, MemberAddress, Voter};
use cotter_types::limits::{ADDRESS_BYTES_MAX, REPLICAS_MAX};
use cotter_types::mutation::{self, Mutation};
use cotter_types::{
    Administered, Administration, CallAnswer, CallResponse, Moment, Refusal, ReplicaId,
};
use handover::Handover;
use obstacle::Obstacle;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time for a change to become possible.
const CHANGE_WAIT: Duration = Duration::from_secs(20);
/// Election rounds between two words of a replica without a vote.
const HERE_ROUNDS: u64 = 2;
/// A replica without a vote counts as heard for so many rounds.
const HEARD_ROUNDS: u64 = 8;
/// Bytes of entries that a new member may have to fetch before it votes. The chapter is sealed first
/// if it has more: until the new member has them, the next chapter may have no majority.
const CHANGE_BYTES_MAX: u64 = 1024 * 1024;

/// What a replica knows of changes under way.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// Replicas without a vote that were heard.
    here: BTreeMap<ReplicaId, Here>,
    change: Option<Change>,
    handover: Option<Handover>,
    /// When this replica last said that it has no vote.
    said: Moment,
}

/// The last word of a replica without a vote.
#[derive(Clone, Copy, Debug)]
struct Here {
    chapter: u64,
    take_back: bool,
    at: Moment,
}

/// A change of the members that this master makes.
#[derive(Debug)]
struct Change {
    /// Who asked; nothing for a replica that is taken back by itself.
    call: Option<CallId>,
    what: Administration,
    until: Moment,
    /// The chapter that begins with the members to be, once it is sealed into.
    sealed: Option<u64>,
}

/// The members of a chapter to be.
struct Next {
    voters: Vec<Voter>,
    addresses: Vec<MemberAddress>,
    /// Who has to fetch what it misses before it can vote.
    newcomer: Option<ReplicaId>,
}

impl Membership {
    /// Forgets what a peer said on an earlier link: it may live on another disk now.
    pub(crate) fn linked_anew(&mut self, peer: ReplicaId) {
        self.here.remove(&peer);
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Returns the members of the chapter with their addresses, in order of id. One that was born with
    /// the cell is where the configuration says; one that joined is where it said itself.
    pub(crate) fn member_table(&self) -> Vec<Member> {
        let voters = self.cell.chapter().voters.iter();
        voters.map(|voter| self.member(voter)).collect()
    }

    fn member(&self, voter: &Voter) -> Member {
        let config = &self.config;
        let mut joined = self.cell.chapter().addresses.iter();
        let joined = joined.find(|row| row.id == voter.id);
        let configured = config.members.iter().find(|row| row.id == voter.id);
        let known = *voter == config.voter() || config.genesis.voters.contains(voter);
        match (configured, joined) {
            (Some(row), _) if known => row.clone(),
            (_, Some(row)) => Member {
                id: row.id,
                client_address: row.client.clone(),
                peer_address: row.peer.clone(),
            },
            (Some(row), None) => row.clone(),
            (None, None) => Member {
                id: voter.id,
                client_address: String::new(),
                peer_address: String::new(),
            },
        }
    }

    /// Returns where clients reach a member of the chapter.
    pub(crate) fn client_address_of(&self, id: ReplicaId) -> Option<String> {
        let mut voters = self.cell.chapter().voters.iter();
        let voter = voters.find(|voter| voter.id == id)?;
        Some(self.member(voter).client_address)
    }

    /// Says whom to be linked with, and whether this replica has a vote.
    pub(crate) fn tell_membership(&mut self) {
        let table = self.member_table();
        // Who has joined and holds no state yet knows the cell as it was born only; who does not trust
        // its state may be wrong about the disks.
        let unsure = self.config.joined || self.config.rebuild;
        let ignorant = unsure && self.consensus.is_absent();
        let chapter = self.cell.chapter();
        let mut peers: Vec<Peer> = chapter
            .voters
            .iter()
            .zip(table)
            .filter(|(voter, _)| voter.id != self.config.id)
            .map(|(voter, member)| Peer {
                id: voter.id,
                incarnation: (!ignorant).then_some(voter.incarnation),
                address: member.peer_address,
            })
            .collect();
        if ignorant {
            let named: Vec<Peer> = self
                .config
                .members
                .iter()
                .filter(|row| row.id != self.config.id && peers.iter().all(|it| it.id != row.id))
                .map(|row| Peer {
                    id: row.id,
                    incarnation: None,
                    address: row.peer_address.clone(),
                })
                .collect();
            peers.extend(named);
        }
        peers.retain(|peer| !peer.address.is_empty());
        self.hold(Output::Peers { peers });
        if !self.has_vote() {
            let chapter = self.cell.chapter();
            let own = chapter.voters.iter().find(|it| it.id == self.config.id);
            let happening = Happening::NoVote {
                chapter: chapter.number,
                voting_disk: own.map(|voter| voter.incarnation),
            };
            self.log(happening);
        }
    }

    /// Tells whether the chapter names this replica on the disk that it lives on.
    pub(crate) fn has_vote(&self) -> bool {
        self.cell.chapter().voters.contains(&self.config.voter())
    }

    /// Says to everybody, from time to time, that this replica does not vote and how far it is.
    pub(crate) fn say_here(&mut self, now: Moment) {
        let pause = self.config.timing.rounds(HERE_ROUNDS);
        // What it knows may be old: one that was removed meanwhile hears of nothing unless it asks.
        if self.consensus.votes() || now.since(self.membership.said) < pause {
            return;
        }
        self.membership.said = now;
        let chapter = match self.consensus.is_absent() {
            true => 0,
            false => self.cell.chapter().number,
        };
        let connected: Vec<ReplicaId> = self.watchdog.connected_peers().collect();
        for to in connected {
            let message = PeerMessage::Here {
                chapter,
                take_back: self.config.take_back,
            };
            self.hold(Output::Peer { to, message });
        }
    }

    /// Notes the word of a replica without a vote, and tells it if it is behind.
    pub(crate) fn heard_here(
        &mut self,
        from: ReplicaId,
        chapter: u64,
        take_back: bool,
        now: Moment,
    ) {
        let here = Here {
            chapter,
            take_back,
            at: now,
        };
        self.membership.here.insert(from, here);
        if chapter < self.cell.chapter().number && !self.consensus.is_absent() {
            self.tell_behind(from, now);
        }
    }

    /// Begins a change of the cell; it is answered when it stands.
    pub(crate) fn administer(&mut self, now: Moment, call: CallId, what: Administration) {
        let begun = match what {
            Administration::Transfer { to } => self.hand_over(now, call, to),
            _ => self.begin_change(now, Some(call), what),
        };
        if let Err(obstacle) = begun {
            self.refuse_change(Some(call), &obstacle);
        }
    }

    fn begin_change(
        &mut self,
        now: Moment,
        call: Option<CallId>,
        what: Administration,
    ) -> Result<(), Obstacle> {
        if self.membership.change.is_some() {
            return Err(Obstacle::Busy);
        }
        self.next_members(what)?;
        self.membership.change = Some(Change {
            call,
            what,
            until: now.after(CHANGE_WAIT),
            sealed: None,
        });
        Ok(())
    }

    /// Says who the members would be, or why there can be no such change.
    fn next_members(&self, what: Administration) -> Result<Next, Obstacle> {
        let chapter = self.cell.chapter();
        let mut voters = chapter.voters.to_vec();
        let mut addresses = chapter.addresses.to_vec();
        let newcomer = what.newcomer();
        let votes = |id: ReplicaId| chapter.voters.iter().find(|voter| voter.id == id);
        if let Some(id) = what.leaver() {
            let leaver = votes(id).ok_or(Obstacle::NoMember(id))?;
            if id == self.config.id {
                return Err(Obstacle::IsMaster(id));
            }
            let peer = self.watchdog.peer(id).filter(|peer| peer.connected);
            let linked = peer.map(|peer| peer.incarnation);
            if newcomer.is_some() && linked == Some(leaver.incarnation) {
                return Err(Obstacle::SameDisk(id));
            }
            voters.retain(|voter| voter.id != id);
            addresses.retain(|row| row.id != id);
        } else if let Some(id) = newcomer {
            if !(1..=REPLICAS_MAX as u64).contains(&id.0) {
                return Err(Obstacle::BadId(id));
            }
            if votes(id).is_some() {
                return Err(Obstacle::IsMember(id));
            }
            if voters.len() >= REPLICAS_MAX {
                return Err(Obstacle::Full);
            }
        }
        if let Some(id) = newcomer {
            let (voter, address) = self.newcomer(id)?;
            voters.push(voter);
            addresses.push(address);
        }
        voters.sort_by_key(|voter| voter.id);
        addresses.sort_by_key(|member| member.id);
        Ok(Next {
            voters,
            addresses,
            newcomer,
        })
    }

    /// Returns a peer as it votes in this chapter, if it votes from the disk that it is linked with
    /// (I-MEMBER-1).
    pub(crate) fn voting_peer(&self, id: ReplicaId) -> Option<Voter> {
        let incarnation = self.watchdog.peer(id)?.incarnation;
        let voter = Voter { id, incarnation };
        Some(voter).filter(|voter| self.cell.chapter().voters.contains(voter))
    }

    /// Returns the disk and the addresses of a replica that has joined.
    fn newcomer(&self, id: ReplicaId) -> Result<(Voter, MemberAddress), Obstacle> {
        let peer = self.watchdog.peer(id).filter(|peer| peer.connected);
        let heard = self.membership.here.contains_key(&id);
        let peer = peer.filter(|_| heard).ok_or(Obstacle::NotHere(id))?;
        let level = self.cell.feature_level();
        if peer.feature_level_max < level {
            return Err(Obstacle::TooOld(id, peer.feature_level_max, level));
        }
        let (client, peer_address) = peer.addresses.clone();
        let usable = |address: &str| (1..=ADDRESS_BYTES_MAX).contains(&address.len());
        if !usable(&client) || !usable(&peer_address) {
            return Err(Obstacle::NoAddress(id));
        }
        let voter = Voter {
            id,
            incarnation: peer.incarnation,
        };
        let address = MemberAddress {
            id,
            client,
            peer: peer_address,
        };
        Ok((voter, address))
    }

    /// Returns in which chapter a newcomer stands, if it was heard a moment ago; 0 for none yet.
    fn newcomer_at(&self, id: ReplicaId, now: Moment) -> Option<u64> {
        let here = self.membership.here.get(&id)?;
        let fresh = now.since(here.at) < self.config.timing.rounds(HEARD_ROUNDS);
        fresh.then_some(here.chapter)
    }

    /// Tells whether a newcomer is on its way to this chapter. It may take longer to get there than a
    /// chapter lasts, and would never arrive if the next one were begun meanwhile.
    pub(crate) fn newcomer_is_coming(&self, now: Moment) -> bool {
        let change = self.membership.change.as_ref();
        let change = change.filter(|change| change.sealed.is_none());
        let newcomer = change.and_then(|change| change.what.newcomer());
        let at = newcomer.and_then(|newcomer| self.newcomer_at(newcomer, now));
        at.is_some_and(|at| at < self.cell.chapter().number)
    }

    /// Says what stands in the way of sealing with the members to be (I-MEMBER-2).
    fn obstacle(&self, next: &Next, now: Moment) -> Option<Obstacle> {
        let timing = &self.config.timing;
        let chapter = self.cell.chapter().number;
        if !self.chapters.start_is_durable(chapter) {
            return Some(Obstacle::StartNotDurable);
        }
        let small = self.chapters.bytes <= CHANGE_BYTES_MAX;
        if let Some(id) = next.newcomer
            && !(small && self.newcomer_at(id, now) == Some(chapter))
            && !mutation::active(Mutation::SealUnheard)
        {
            return Some(Obstacle::NotCaughtUp(id));
        }
        let heard = next.voters.iter().filter(|voter| {
            voter.id == self.config.id
                || next.newcomer == Some(voter.id)
                || self.watchdog.speaks(voter.id, timing, now)
        });
        let heard = heard.count();
        if heard <= next.voters.len() / 2 && !mutation::active(Mutation::SealUnheard) {
            return Some(Obstacle::NoMajority(heard, next.voters.len()));
        }
        None
    }

    /// Returns the seal that makes the change under way, if nothing stands in its way; with what the
    /// chapter should be sealed for first, if it has grown too long for a newcomer.
    pub(crate) fn seal_of_change(&mut self, now: Moment) -> Option<SealFor> {
        let change = self.membership.change.as_ref()?;
        if change.sealed.is_some() {
            return None;
        }
        let (call, what, until) = (change.call, change.what, change.until);
        let next = match self.next_members(what) {
            Ok(next) => next,
            Err(obstacle) => {
                self.membership.change = None;
                self.refuse_change(call, &obstacle);
                return None;
            }
        };
        if let Some(obstacle) = self.obstacle(&next, now) {
            if now >= until {
                self.membership.change = None;
                self.refuse_change(call, &obstacle);
                return None;
            }
            let chapter = self.cell.chapter().number;
            let stands = |id| self.newcomer_at(id, now) == Some(chapter);
            let long = next.newcomer.is_some_and(stands) && self.chapters.bytes > CHANGE_BYTES_MAX;
            return long.then_some(SealFor::Room);
        }
        Some(SealFor::Members {
            voters: next.voters,
            addresses: next.addresses,
        })
    }

    /// Answers for a change once its chapter has decided an entry (I-MEMBER-3).
    pub(crate) fn change_stands(&mut self) {
        let chapter = self.cell.chapter();
        let begun = self.cell.applied() > chapter.begins_at;
        let stands = |change: &mut Change| change.sealed == Some(chapter.number) && begun;
        let Some(change) = self.membership.change.take_if(stands) else {
            return;
        };
        let done = Administered::Members {
            chapter: chapter.number,
            members: chapter.voters.iter().map(|voter| voter.id).collect(),
        };
        self.tell_done(change.call, done);
    }

    /// Takes back by itself a replica that lost its disk and asks for it.
    pub(crate) fn take_back(&mut self, now: Moment) {
        if self.membership.change.is_some() {
            return;
        }
        let voters = &self.cell.chapter().voters;
        let asks = self.membership.here.iter().find(|(id, here)| {
            let heard = here.take_back && self.newcomer_at(**id, now).is_some();
            heard && voters.iter().any(|voter| voter.id == **id)
        });
        let Some((&replica, _)) = asks else {
            return;
        };
        // What stands in the way is said when somebody asks for it by a call.
        let _ = self.begin_change(now, None, Administration::Replace { replica });
    }

    /// Ends what the reign had under way.
    pub(crate) fn interrupt_change(&mut self) {
        let Some(change) = self.membership.change.take() else {
            return;
        };
        let answer = match change.sealed {
            Some(_) => CallAnswer::Interrupted,
            None => CallAnswer::Unavailable(self.not_master()),
        };
        self.tell_asker(change.call, answer);
    }

    fn refuse_change(&mut self, call: Option<CallId>, obstacle: &Obstacle) {
        let why = obstacle.to_string();
        self.tell_asker(call, CallAnswer::Refused(Refusal::NotAdministered { why }));
    }

    fn tell_done(&mut self, call: Option<CallId>, done: Administered) {
        self.tell_asker(call, CallAnswer::Done(CallResponse::Administered(done)));
    }

    fn tell_asker(&mut self, call: Option<CallId>, answer: CallAnswer) {
        if let Some(call) = call {
            self.hold(Output::CallAnswer { call, answer });
        }
    }

    /// Makes the entry that ends the chapter; a change under way is sealed from here on.
    pub(crate) fn seal_entry(&mut self, wanted: SealFor) -> Option<Entry> {
        let epoch = self.master.as_ref()?.epoch;
        let chapter = self.cell.chapter();
        let next_chapter = chapter.number + 1;
        let (voters, addresses) = match wanted {
            SealFor::Room => (chapter.voters.to_vec(), chapter.addresses.to_vec()),
            SealFor::Members { voters, addresses } => {
                if let Some(change) = &mut self.membership.change {
                    change.sealed = Some(next_chapter);
                }
                let members = voters.iter().map(|voter| voter.id).collect();
                self.log(Happening::MembersChange { members });
                (voters, addresses)
            }
        };
        Some(Entry::Seal {
            epoch,
            next_chapter,
            voters,
            addresses,
        })
    }
}

/// What a chapter is sealed for.
pub(crate) enum SealFor {
    /// So that the log does not grow for ever; the members stay.
    Room,
    /// So that the members change.
    Members {
        voters: Vec<Voter>,
        addresses: Vec<MemberAddress>,
    },
}
