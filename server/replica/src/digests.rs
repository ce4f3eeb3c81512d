//! Compares the state of this replica with that of the others (I-DIGEST-1 to I-DIGEST-3).
//!
//! At every multiple of an interval, and where a chapter begins, each replica notes the digest of its
//! state and says it to its peers, beside consensus. That needs no agreement: after as many entries
//! there is one right digest, so a word about it is as true late, twice or out of order as it is at
//! once; and all that follows from one is that somebody stops, never that somebody goes on.
//!
//! Whoever differs from voters that agree and are a majority stops before anything more leaves it. While
//! voters differ and no majority of them agrees, nobody who knows of it reigns; voting goes on, so that
//! a third can catch up and decide.
//!
//! A state that was fetched from a peer repeats that peer's errors: until a voter of another origin has
//! come to the same digest, the copy and its origin count as one. Checkpoints say so too, so that a
//! restart does not forget it.
//!
//! Nothing here may let a replica serve again that was found to differ: it starts anew, without its
//! state (`ReplicaConfig::rebuild`).

use crate::io::{Fault, Happening, Output, PeerMessage};
use crate::log::ReplicaLog;
use crate::replica::Replica;
use cotter_cell::{Cell, Voter};
use cotter_types::{Moment, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// Entries between two digests, unless the configuration of a replica says otherwise.
pub const DIGEST_INTERVAL: u64 = 10_000;
/// Digests that are remembered of each replica, the newest.
const KEPT_MAX: usize = 8;
/// Digests that are said again and again, the newest.
const REPEATED: usize = 3;
/// Election rounds after which they are said again.
const REPEAT_ROUNDS: u64 = 20;

/// What a replica knows of the digests of its cell.
#[derive(Debug)]
pub(crate) struct Digests {
    interval: u64,
    /// Its own, by how many entries were applied.
    own: BTreeMap<u64, u128>,
    /// From whom the state was fetched, until another voter has confirmed it.
    source: Option<ReplicaId>,
    others: BTreeMap<ReplicaId, Heard>,
    /// Where voters differ and no majority agrees.
    disputed: Option<u64>,
    /// This replica differs from a majority.
    differs: Option<Fault>,
    /// Peers that were said to differ, and where.
    told: BTreeMap<ReplicaId, u64>,
    said: Moment,
}

/// What was heard of one peer.
#[derive(Debug)]
struct Heard {
    incarnation: u64,
    source: Option<ReplicaId>,
    digests: BTreeMap<u64, u128>,
}

/// What the digests come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing speaks against the own state.
    Fine,
    /// After so many entries voters differ, and no majority agrees.
    Disputed(u64),
    /// A majority has another digest after so many entries.
    Differs { applied: u64, theirs: u128 },
}

impl Digests {
    pub(crate) fn new(interval: u64, source: Option<ReplicaId>) -> Self {
        Self {
            interval: interval.max(1),
            own: BTreeMap::new(),
            source,
            others: BTreeMap::new(),
            disputed: None,
            differs: None,
            told: BTreeMap::new(),
            said: Moment::default(),
        }
    }

    /// Returns from whom the state was fetched, until another voter has confirmed it.
    pub(crate) fn source(&self) -> Option<ReplicaId> {
        self.source
    }

    /// Notes the digest of the own state where one is due, and returns it.
    pub(crate) fn note(&mut self, cell: &Cell) -> Option<u128> {
        let applied = cell.applied();
        let due = applied.is_multiple_of(self.interval) || applied == cell.chapter().begins_at;
        if !due || applied == 0 {
            return None;
        }
        let digest = cell.digest();
        self.own.insert(applied, digest);
        keep_newest(&mut self.own);
        Some(digest)
    }

    /// Begins anew with a state that was fetched from a peer.
    pub(crate) fn copied(&mut self, cell: &Cell, from: ReplicaId) {
        self.own.clear();
        self.source = Some(from);
        self.note(cell);
    }

    /// Forgets whoever has no vote from the disk that it spoke from.
    pub(crate) fn begin_chapter(&mut self, voters: &[Voter]) {
        self.others.retain(|id, heard| {
            let voter = Voter {
                id: *id,
                incarnation: heard.incarnation,
            };
            voters.contains(&voter)
        });
        self.told.clear();
    }

    /// Notes what a voter says; the last word counts.
    fn hear(&mut self, from: Voter, at: (u64, u128), source: Option<ReplicaId>) {
        let heard = self.others.entry(from.id).or_insert_with(|| Heard {
            incarnation: from.incarnation,
            source,
            digests: BTreeMap::new(),
        });
        if heard.incarnation != from.incarnation {
            heard.incarnation = from.incarnation;
            heard.digests.clear();
        }
        heard.source = source;
        heard.digests.insert(at.0, at.1);
        keep_newest(&mut heard.digests);
    }

    /// Returns whom each replica counts as: those of whom one copied the other count as one.
    fn origins(&self, own: ReplicaId, own_source: Option<ReplicaId>) -> Origins {
        let heard = self.others.iter().map(|(id, heard)| (*id, heard.source));
        let links: Vec<(ReplicaId, ReplicaId)> = heard
            .chain([(own, own_source)])
            .filter_map(|(copy, source)| Some((copy, source?)))
            .collect();
        let mut origins = Origins(BTreeMap::new());
        // Each round joins at least one more, if there is one.
        for _ in 0..links.len() {
            for (copy, source) in &links {
                let least = origins.of(*copy).min(origins.of(*source));
                origins.0.insert(*copy, least);
                origins.0.insert(*source, least);
            }
        }
        origins
    }

    /// Stops being a copy once a voter of another origin came to the same digest.
    fn confirm(&mut self, own: ReplicaId) {
        let Some(source) = self.source else {
            return;
        };
        let origins = self.origins(own, None);
        let confirmed = self.others.iter().any(|(id, heard)| {
            let origin = origins.of(*id);
            let another = origin != origins.of(source) && origin != origins.of(own);
            another
                && self
                    .own
                    .iter()
                    .any(|(at, digest)| heard.digests.get(at) == Some(digest))
        });
        if confirmed {
            self.source = None;
        }
    }

    /// Returns what each voter has after so many entries, where that is known.
    fn all_at(&self, applied: u64, voters: &[Voter], own: Voter) -> Vec<(ReplicaId, u128)> {
        let digest = |voter: &Voter| match *voter == own {
            true => self.own.get(&applied).copied(),
            false => {
                let heard = self.others.get(&voter.id)?;
                let same = heard.incarnation == voter.incarnation;
                heard.digests.get(&applied).copied().filter(|_| same)
            }
        };
        let voters = voters.iter();
        voters
            .filter_map(|voter| Some((voter.id, digest(voter)?)))
            .collect()
    }

    /// Returns by whom each digest after so many entries is held, copies not counted.
    fn held_by(&self, applied: u64, voters: &[Voter], own: Voter) -> Groups {
        let origins = self.origins(own.id, self.source);
        let mut groups = Groups::new();
        for (voter, digest) in self.all_at(applied, voters, own) {
            groups.entry(digest).or_default().insert(origins.of(voter));
        }
        groups
    }

    /// Returns the digest on which a majority of the voters agrees.
    fn agreed(&self, applied: u64, voters: &[Voter], own: Voter) -> Option<u128> {
        majority(&self.held_by(applied, voters, own), voters)
    }

    /// Looks at the newest first: where a majority agrees, what came before is settled.
    fn judge(&self, voters: &[Voter], own: Voter) -> Verdict {
        let mut disputed = None;
        for (&applied, &digest) in self.own.iter().rev() {
            let groups = self.held_by(applied, voters, own);
            match majority(&groups, voters) {
                Some(theirs) if theirs != digest => return Verdict::Differs { applied, theirs },
                Some(_) => break,
                None if groups.len() > 1 => disputed = disputed.or(Some(applied)),
                None => {}
            }
        }
        disputed.map_or(Verdict::Fine, Verdict::Disputed)
    }

    /// Tells whether nobody may reign, since voters differ and no majority agrees.
    pub(crate) fn are_disputed(&self) -> bool {
        self.disputed.is_some()
    }

    /// Returns why this replica must stop, if it must.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.differs.clone()
    }
}

/// Who holds which digest.
type Groups = BTreeMap<u128, BTreeSet<ReplicaId>>;

/// Returns the digest that more than half of the voters hold.
fn majority(groups: &Groups, voters: &[Voter]) -> Option<u128> {
    let mut held = groups.iter();
    let (digest, _) = held.find(|(_, held)| held.len() > voters.len() / 2)?;
    Some(*digest)
}

/// Whom a replica counts as.
struct Origins(BTreeMap<ReplicaId, ReplicaId>);

impl Origins {
    fn of(&self, id: ReplicaId) -> ReplicaId {
        self.0.get(&id).copied().unwrap_or(id)
    }
}

fn keep_newest(digests: &mut BTreeMap<u64, u128>) {
    while digests.len() > KEPT_MAX {
        digests.pop_first();
    }
}

impl<L: ReplicaLog> Replica<L> {
    /// Notes and says the digest of the state where one is due, after an entry was applied.
    pub(crate) fn digest_if_due(&mut self) {
        let Some(digest) = self.digests.note(&self.cell) else {
            return;
        };
        let applied = self.cell.applied();
        self.log(Happening::Digest { applied, digest });
        self.say_digests(1);
        self.judge_digests();
    }

    /// Says the newest digests again from time to time: a word may be lost.
    pub(crate) fn repeat_digests(&mut self, now: Moment) {
        let pause = self.config.timing.rounds(REPEAT_ROUNDS);
        if now.since(self.digests.said) >= pause {
            self.digests.said = now;
            self.say_digests(REPEATED);
        }
    }

    fn say_digests(&mut self, newest: usize) {
        let source = self.digests.source;
        let peers: Vec<ReplicaId> = self.watchdog.connected_peers().collect();
        let words: Vec<(u64, u128)> = self
            .digests
            .own
            .iter()
            .rev()
            .take(newest)
            .map(|(at, digest)| (*at, *digest))
            .collect();
        for to in peers {
            for &(applied, digest) in &words {
                let message = PeerMessage::Digest {
                    applied,
                    digest,
                    source,
                };
                self.hold(Output::Peer { to, message });
            }
        }
    }

    /// Notes the word of a peer, if it has a vote from the disk that it speaks from.
    pub(crate) fn digest_arrived(
        &mut self,
        from: ReplicaId,
        at: (u64, u128),
        source: Option<ReplicaId>,
    ) {
        let Some(voter) = self.voting_peer(from) else {
            return;
        };
        self.digests.hear(voter, at, source);
        self.judge_digests();
    }

    /// Tells whether a majority of the voters is known to have another state there than this one.
    pub(crate) fn is_contradicted(&self, cell: &Cell) -> bool {
        let voters = &cell.chapter().voters;
        let agreed = self
            .digests
            .agreed(cell.applied(), voters, self.config.voter());
        agreed.is_some_and(|agreed| agreed != cell.digest())
    }

    /// Compares, and says what has changed. What follows is done where the turn ends (a fault) and where
    /// the clock is looked at (the end of a reign).
    pub(crate) fn judge_digests(&mut self) {
        let own = self.config.voter();
        let voters = self.cell.chapter().voters.clone();
        self.digests.confirm(own.id);
        let verdict = self.digests.judge(&voters, own);
        let disputed = match verdict {
            Verdict::Fine => None,
            Verdict::Disputed(applied) => Some(applied).filter(|_| voters.contains(&own)),
            Verdict::Differs { applied, theirs } => {
                self.digests.differs = Some(Fault::Differs {
                    applied,
                    own: self.digests.own[&applied],
                    theirs,
                });
                return;
            }
        };
        let before = std::mem::replace(&mut self.digests.disputed, disputed);
        match (before, disputed) {
            (None, Some(applied)) => {
                let digests = self.digests.all_at(applied, &voters, own);
                self.log(Happening::DigestsDisputed { applied, digests });
            }
            (Some(applied), None) => self.log(Happening::DigestsSettled { applied }),
            _ => {}
        }
        if disputed.is_none() {
            self.say_who_differs(&voters, own);
        }
    }

    /// Says once who has another digest than this replica and a majority have.
    fn say_who_differs(&mut self, voters: &[Voter], own: Voter) {
        let Some((&applied, &digest)) = self.digests.own.last_key_value() else {
            return;
        };
        if self.digests.agreed(applied, voters, own) != Some(digest) {
            return;
        }
        let mut differing = self.digests.all_at(applied, voters, own);
        differing.retain(|(id, theirs)| {
            *theirs != digest && self.digests.told.get(id) != Some(&applied)
        });
        for (peer, theirs) in differing {
            self.digests.told.insert(peer, applied);
            self.log(Happening::PeerDiffers {
                peer,
                applied,
                own: digest,
                theirs,
            });
        }
    }
}

#[cfg(test)]
#[path = "digests_tests.rs"]
mod tests;
