//! What a replica believes of what its peers send (rule 1 of the profile in `docs/INVARIANTS.md`).
//!
//! Pure: it is handed hellos and envelopes and says what may pass. A message passes only if it comes
//! from a member, in the incarnation that the certificate names, for this cell and
//! incarnation, on the newest link of that peer, and strictly after everything that passed before.
//! OmniPaxos itself panics for an unknown sender and loses data to late duplicates, so nothing may
//! reach it around this gate.
//!
//! What it remembers lives as long as the process. A replica that is set back while all its peers
//! are down is not noticed; the operator's documentation says so.

use super::identity::Identity;
use cotter_proto::peer::v1::{LinkHello, LinkReply, PeerEnvelope};
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
    /// The sender is no member.
    #[error("replica {sender} is not a peer of replica {ours}")]
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
    /// The sender lives on another disk than the one that was born.
    #[error(
        "replica {sender} speaks from disk {theirs:016x}, but the cell was born with {expected:016x}: \
         its data directory is not the one that it was born with"
    )]
    OtherDisk {
        /// The sender.
        sender: ReplicaId,
        /// Its disk.
        theirs: u64,
        /// The disk in the certificate.
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

/// The gate of one replica.
#[derive(Debug)]
pub struct Gate {
    identity: Arc<Identity>,
    seen: BTreeMap<ReplicaId, Seen>,
}

/// What was seen of one peer.
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
    /// The newest link.
    link: u64,
    /// Whether something has passed on it.
    begun: bool,
    /// The pieces so far of a message that takes several envelopes.
    pieces: Vec<u8>,
}

impl Gate {
    /// Builds the gate of the replica that `identity` describes.
    #[must_use]
    pub fn new(identity: Arc<Identity>) -> Self {
        let seen = identity
            .peers
            .keys()
            .map(|&peer| (peer, Seen::default()))
            .collect();
        Self { identity, seen }
    }

    /// Admits a link that a peer opens. Older links of that peer are void from here on.
    ///
    /// # Errors
    /// [`Rejection`] if the hello does not fit the certificate, or if the peer was set back.
    pub fn admit(&mut self, hello: &LinkHello) -> Result<(ReplicaId, LinkNumber), Rejection> {
        self.same_cell(hello.cell_id)?;
        let sender = self.known(hello.sender, hello.sender_incarnation)?;
        let ours = &self.identity;
        if ReplicaId(hello.receiver) != ours.replica
            || hello.receiver_incarnation != ours.incarnation
        {
            return Err(Rejection::NotForUs {
                receiver: ReplicaId(hello.receiver),
                incarnation: hello.receiver_incarnation,
            });
        }
        let seen = self.seen.entry(sender).or_default();
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
        seen.link += 1;
        seen.begun = false;
        seen.pieces = Vec::new();
        Ok((sender, LinkNumber(seen.link)))
    }

    /// Checks a peer's answer to a link that this replica opened to it.
    ///
    /// # Errors
    /// [`Rejection`] if it lives on another disk, or was set back.
    pub fn answered(&mut self, peer: ReplicaId, reply: &LinkReply) -> Result<(), Rejection> {
        self.known(peer.0, reply.incarnation)?;
        let seen = self.seen.entry(peer).or_default();
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
            seen.pieces = Vec::new();
        }
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
        let ours = &self.identity;
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
        self.known(envelope.sender, envelope.sender_incarnation)?;
        let seen = self.seen.entry(sender).or_default();
        if link.0 != seen.link || envelope.boot != seen.boot {
            return Err(Rejection::Superseded { sender });
        }
        if envelope.sequence <= seen.sequence {
            return Ok(None);
        }
        if seen.begun && envelope.sequence != seen.sequence + 1 {
            return Err(Rejection::Gap {
                sender,
                last: seen.sequence,
                theirs: envelope.sequence,
            });
        }
        seen.begun = true;
        seen.sequence = envelope.sequence;
        if (seen.pieces.len() + envelope.body.len()) as u64 > MESSAGE_BYTES_MAX {
            return Err(Rejection::TooLarge { sender });
        }
        if envelope.continues {
            seen.pieces.extend_from_slice(&envelope.body);
            return Ok(None);
        }
        if seen.pieces.is_empty() {
            return Ok(Some(envelope.body.to_vec()));
        }
        let mut whole = std::mem::take(&mut seen.pieces);
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
        let stands = self
            .seen
            .get(&sender)
            .is_some_and(|seen| seen.link == link.0 && seen.boot == boot);
        stands.then_some(()).ok_or(Rejection::Superseded { sender })
    }

    /// Tells whether `link` is still the newest of that peer.
    #[must_use]
    pub fn is_newest(&self, sender: ReplicaId, link: LinkNumber) -> bool {
        self.seen
            .get(&sender)
            .is_some_and(|seen| seen.link == link.0)
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

    fn known(&self, sender: u64, incarnation: u64) -> Result<ReplicaId, Rejection> {
        let id = ReplicaId(sender);
        let Some(peer) = self.identity.peers.get(&id) else {
            return Err(Rejection::Stranger {
                sender: id,
                ours: self.identity.replica,
            });
        };
        if peer.incarnation != incarnation {
            return Err(Rejection::OtherDisk {
                sender: id,
                theirs: incarnation,
                expected: peer.incarnation,
            });
        }
        Ok(id)
    }
}
