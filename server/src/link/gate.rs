//! What a replica believes of what its peers send (rule 1 of the profile in `docs/INVARIANTS.md`).
//!
//! Pure: it is handed hellos and envelopes and says what may pass. A message passes only if it comes
//! from the disk that its sender is linked from, for this cell and incarnation, on the newest link of
//! that peer, and strictly after everything that passed before. OmniPaxos loses data to late
//! duplicates, so nothing may reach it around this gate.
//!
//! Each id has one place, and one disk is in it at a time. The disk that has the vote takes the place
//! whenever it comes; any other of the same cell, which has joined or was replaced, is a guest there
//! while the place is free. A guest has no part in consensus: what votes in a chapter names that
//! chapter and its members, disks included, and a guest is none of them. It is let in so that it can
//! catch up, and learn where it stands.
//!
//! What it remembers lives as long as the process. A replica that is set back while all its peers
//! are down is not noticed; the operator's documentation says so.

use super::identity::Identity;
use cotter_proto::peer::v1::{LinkHello, LinkReply, PeerEnvelope};
use cotter_replica::Peer;
use cotter_types::limits::{ADDRESS_BYTES_MAX, REPLICAS_MAX};
use cotter_types::{CellId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest message that may be put together from pieces, in bytes: 4 GiB.
///
/// A replica that was away gets all that it missed of the standing chapter in one message; what it
/// missed before comes in small pieces. Chapters are sealed long before they have so many bytes, unless
/// no checkpoint can be written. More would not help: the message is in memory twice at the receiver
/// while it is decoded, and everything behind it waits.
pub const MESSAGE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Why something did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is meant for another cell.
    #[error("it belongs to cell {theirs}, this is cell {ours}")]
    OtherCell {
        /// The cell it is meant for.
        theirs: CellId,
        /// This cell.
        ours: CellId,
    },
    /// The sender can be no member.
    #[error("replica {sender} cannot be a peer of replica {ours}")]
    Stranger {
        /// The sender.
        sender: ReplicaId,
        /// This replica.
        ours: ReplicaId,
    },
    /// It is meant for another replica or for another disk of this one.
    #[error(
        "it is meant for replica {receiver} on disk {incarnation:016x}, which this is not: \
         the member tables of the two replicas do not agree"
    )]
    NotForUs {
        /// For whom it is meant.
        receiver: ReplicaId,
        /// On which disk.
        incarnation: u64,
    },
    /// The sender lives on another disk than the one that is linked, or that was dialled.
    #[error(
        "replica {sender} speaks from disk {theirs:016x}, but replica {sender} lives on disk \
         {expected:016x}: two processes run under one id"
    )]
    OtherDisk {
        /// The sender.
        sender: ReplicaId,
        /// Its disk.
        theirs: u64,
        /// The disk that is linked, or was dialled.
        expected: u64,
    },
    /// The sender was set back: its boot number is not above one that was seen.
    #[error(
        "replica {sender} forgot what it had promised: it comes with boot number {theirs}, but \
         {seen} was seen already; its data directory was set back, and it must not take part"
    )]
    Forgot {
        /// The sender.
        sender: ReplicaId,
        /// Its boot number.
        theirs: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// The answer comes from an earlier start of the peer than one that was seen.
    #[error("replica {sender} answered with boot number {theirs}, but {seen} was seen already")]
    Earlier {
        /// The peer.
        sender: ReplicaId,
        /// Its boot number.
        theirs: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// Messages are missing in the middle of a link.
    #[error("replica {sender} left out messages after number {last}: {theirs} came next")]
    Gap {
        /// The sender.
        sender: ReplicaId,
        /// The last that passed.
        last: u64,
        /// The one after it.
        theirs: u64,
    },
    /// A newer link of the same peer stands.
    #[error("a newer link of replica {sender} stands")]
    Superseded {
        /// The sender.
        sender: ReplicaId,
    },
    /// An address is longer than any can be.
    #[error("replica {sender} gives an address of more than {ADDRESS_BYTES_MAX} bytes")]
    BadAddress {
        /// The sender.
        sender: ReplicaId,
    },
    /// A message is larger than any can be.
    #[error("a message of replica {sender} is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge {
        /// The sender.
        sender: ReplicaId,
    },
}

/// Names one link among all that a peer ever opened to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkNumber(u64);

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The disk that must answer; nothing if any may.
    pub incarnation: Option<u64>,
    /// Where.
    pub address: String,
}

/// The gate of one replica.
#[derive(Debug)]
pub struct Gate {
    identity: Arc<Identity>,
    places: BTreeMap<ReplicaId, Place>,
}

/// What is known of one id.
#[derive(Debug, Default)]
struct Place {
    /// The member, as the state or the certificate names it.
    member: Option<Target>,
    /// The disk that is in the place, or was last.
    disk: u64,
    /// Where that disk says that it is dialled.
    address: String,
    /// Whether a link with it stands.
    is_up: bool,
    /// The newest link from it.
    link: u64,
    /// Whether something has passed on that.
    begun: bool,
    /// The pieces so far of a message that takes several envelopes.
    pieces: Vec<u8>,
    /// By disk: of the member's, and of the one in the place.
    seen: BTreeMap<u64, Seen>,
}

/// What was seen of one disk.
#[derive(Debug, Default)]
struct Seen {
    boot: u64,
    /// Which process had that boot number; none if it was only heard of in an answer.
    life: Option<u64>,
    /// The last envelope that passed, in that boot.
    sequence: u64,
    /// Two processes came with one boot number, which is proof that the disk was set back. What comes
    /// after that is not believed either, however high its boot number has risen meanwhile. (A lower
    /// number alone is no such proof: it may be the hello of a dead process that was read late.)
    is_condemned: bool,
}

impl Place {
    /// Tells whether a disk is no member's.
    fn is_guest(&self, disk: u64) -> bool {
        match &self.member {
            None => true,
            Some(member) => member.incarnation.is_some_and(|own| own != disk),
        }
    }

    /// Tells which disk is in the way of this one, if any: a guest waits until the place is free.
    fn taken_from(&self, disk: u64) -> Option<u64> {
        let taken = self.is_up && self.disk != disk && self.is_guest(disk);
        taken.then_some(self.disk)
    }

    /// Puts a disk into the place. Links of another one are void from here on.
    fn put(&mut self, disk: u64, address: &str) {
        if self.disk != disk {
            self.disk = disk;
            self.begin_link();
        }
        address.clone_into(&mut self.address);
        let member = self.member.as_ref().and_then(|member| member.incarnation);
        self.seen
            .retain(|seen, _| *seen == disk || Some(*seen) == member);
    }

    /// Voids the links that there were.
    fn begin_link(&mut self) {
        self.link += 1;
        self.begun = false;
        self.pieces = Vec::new();
    }

    /// Returns whom to dial: the guest that is here, else the member.
    fn target(&self) -> Option<Target> {
        if self.is_up && self.is_guest(self.disk) && !self.address.is_empty() {
            return Some(Target {
                incarnation: Some(self.disk),
                address: self.address.clone(),
            });
        }
        self.member.clone()
    }
}

impl Gate {
    /// Builds the gate of a replica, which knows no member yet.
    #[must_use]
    pub fn new(identity: Arc<Identity>) -> Self {
        let places = possible_peers(identity.replica)
            .map(|peer| (peer, Place::default()))
            .collect();
        Self { identity, places }
    }

    /// Learns who the members are.
    pub fn set_members(&mut self, peers: &[Peer]) {
        for (id, place) in &mut self.places {
            let member = peers.iter().find(|peer| peer.id == *id);
            place.member = member.map(|peer| Target {
                incarnation: peer.incarnation,
                address: peer.address.clone(),
            });
        }
    }

    /// Says whom to dial, by id.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<ReplicaId, Option<Target>> {
        let targets = self.places.iter();
        targets.map(|(id, place)| (*id, place.target())).collect()
    }

    /// Notes whether a link with this disk of a peer stands.
    pub fn set_up(&mut self, peer: ReplicaId, disk: u64, is_up: bool) {
        if let Some(place) = self.places.get_mut(&peer).filter(|it| it.disk == disk) {
            place.is_up = is_up;
        }
    }

    /// Admits a link that a peer opens. Older links of that peer are void from here on.
    ///
    /// # Errors
    /// [`Rejection`] if another disk is in its place, or if the peer was set back.
    pub fn admit(&mut self, hello: &LinkHello) -> Result<(ReplicaId, LinkNumber), Rejection> {
        self.same_cell(hello.cell_id)?;
        let ours = Arc::clone(&self.identity);
        let sender = ReplicaId(hello.sender);
        let disk = hello.sender_incarnation;
        let place = self.place(sender)?;
        let theirs = hello.receiver_incarnation;
        if ReplicaId(hello.receiver) != ours.replica || theirs != ours.incarnation && theirs != 0 {
            return Err(Rejection::NotForUs {
                receiver: ReplicaId(hello.receiver),
                incarnation: theirs,
            });
        }
        if hello.client_address.len().max(hello.peer_address.len()) > ADDRESS_BYTES_MAX {
            return Err(Rejection::BadAddress { sender });
        }
        if let Some(expected) = place.taken_from(disk) {
            return Err(Rejection::OtherDisk {
                sender,
                theirs: disk,
                expected,
            });
        }
        let seen = place.seen.entry(disk).or_default();
        let same_life = seen.life.is_none_or(|life| life == hello.life);
        seen.is_condemned |= hello.boot == seen.boot && !same_life;
        if hello.boot < seen.boot || !same_life && (hello.boot == seen.boot || seen.is_condemned) {
            return Err(Rejection::Forgot {
                sender,
                theirs: hello.boot,
                seen: seen.boot,
            });
        }
        if hello.boot > seen.boot {
            seen.sequence = 0;
        }
        seen.boot = hello.boot;
        seen.life = Some(hello.life);
        place.put(disk, &hello.peer_address);
        place.begin_link();
        Ok((sender, LinkNumber(place.link)))
    }

    /// Checks a peer's answer to a link that this replica opened to `target`.
    ///
    /// # Errors
    /// [`Rejection`] if another disk was meant or is in its place, or if it was set back.
    pub fn answered(
        &mut self,
        peer: ReplicaId,
        target: &Target,
        reply: &LinkReply,
    ) -> Result<(), Rejection> {
        let disk = reply.incarnation;
        let place = self.place(peer)?;
        let meant = target.incarnation.filter(|meant| *meant != disk);
        if let Some(expected) = meant.or_else(|| place.taken_from(disk)) {
            return Err(Rejection::OtherDisk {
                sender: peer,
                theirs: disk,
                expected,
            });
        }
        let seen = place.seen.entry(disk).or_default();
        if seen.is_condemned {
            return Err(Rejection::Forgot {
                sender: peer,
                theirs: reply.boot,
                seen: seen.boot,
            });
        }
        if reply.boot < seen.boot {
            return Err(Rejection::Earlier {
                sender: peer,
                theirs: reply.boot,
                seen: seen.boot,
            });
        }
        if reply.boot > seen.boot {
            seen.boot = reply.boot;
            seen.life = None;
            seen.sequence = 0;
            place.pieces = Vec::new();
        }
        place.put(disk, &reply.peer_address);
        Ok(())
    }

    /// Lets an envelope pass that came on `link`, and returns the message if it is whole now.
    ///
    /// An envelope that is not strictly newer is dropped without an error: it is old, not wrong.
    ///
    /// # Errors
    /// [`Rejection`], after which the link must be closed.
    pub fn receive(
        &mut self,
        sender: ReplicaId,
        link: LinkNumber,
        envelope: PeerEnvelope,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        self.same_cell(envelope.cell_id)?;
        let ours = Arc::clone(&self.identity);
        if envelope.receiver_incarnation != ours.incarnation {
            return Err(Rejection::NotForUs {
                receiver: ours.replica,
                incarnation: envelope.receiver_incarnation,
            });
        }
        if ReplicaId(envelope.sender) != sender {
            return Err(Rejection::Stranger {
                sender: ReplicaId(envelope.sender),
                ours: ours.replica,
            });
        }
        let place = self.place(sender)?;
        if link.0 != place.link {
            return Err(Rejection::Superseded { sender });
        }
        if envelope.sender_incarnation != place.disk {
            return Err(Rejection::OtherDisk {
                sender,
                theirs: envelope.sender_incarnation,
                expected: place.disk,
            });
        }
        let seen = place.seen.entry(place.disk).or_default();
        if envelope.boot != seen.boot {
            return Err(Rejection::Superseded { sender });
        }
        if envelope.sequence <= seen.sequence {
            return Ok(None);
        }
        if place.begun && envelope.sequence != seen.sequence + 1 {
            return Err(Rejection::Gap {
                sender,
                last: seen.sequence,
                theirs: envelope.sequence,
            });
        }
        place.begun = true;
        seen.sequence = envelope.sequence;
        if (place.pieces.len() + envelope.body.len()) as u64 > MESSAGE_BYTES_MAX {
            return Err(Rejection::TooLarge { sender });
        }
        if envelope.continues {
            place.pieces.extend_from_slice(&envelope.body);
            return Ok(None);
        }
        if place.pieces.is_empty() {
            return Ok(Some(envelope.body.to_vec()));
        }
        let mut whole = std::mem::take(&mut place.pieces);
        whole.extend_from_slice(&envelope.body);
        Ok(Some(whole))
    }

    /// Checks once more, right before a message goes on, that nothing newer of its sender was heard of
    /// since it passed. The caller holds the gate until the message is where order is kept.
    ///
    /// # Errors
    /// [`Rejection::Superseded`], and then the message must be dropped.
    pub fn still_stands(
        &self,
        sender: ReplicaId,
        link: LinkNumber,
        boot: u64,
    ) -> Result<(), Rejection> {
        let stands = self.places.get(&sender).is_some_and(|place| {
            let seen = place.seen.get(&place.disk);
            place.link == link.0 && seen.is_some_and(|seen| seen.boot == boot)
        });
        stands.then_some(()).ok_or(Rejection::Superseded { sender })
    }

    /// Tells whether `link` is still the newest of that peer.
    #[must_use]
    pub fn is_newest(&self, sender: ReplicaId, link: LinkNumber) -> bool {
        self.places
            .get(&sender)
            .is_some_and(|place| place.link == link.0)
    }

    fn same_cell(&self, theirs: u64) -> Result<(), Rejection> {
        if CellId(theirs) == self.identity.cell_id {
            return Ok(());
        }
        Err(Rejection::OtherCell {
            theirs: CellId(theirs),
            ours: self.identity.cell_id,
        })
    }

    fn place(&mut self, sender: ReplicaId) -> Result<&mut Place, Rejection> {
        let ours = self.identity.replica;
        self.places
            .get_mut(&sender)
            .ok_or(Rejection::Stranger { sender, ours })
    }
}

/// Returns the ids that a peer of this replica can have.
pub(super) fn possible_peers(own: ReplicaId) -> impl Iterator<Item = ReplicaId> {
    (1..=REPLICAS_MAX as u64)
        .map(ReplicaId)
        .filter(move |id| *id != own)
}
