//! Who a replica is: the certificate of its cell and its own part in it.

use cotter_cell::{Genesis, Voter};
use cotter_types::{CellId, FencingToken, ReplicaId};
use serde::{Deserialize, Serialize};

/// A member of a cell, as the cell was born with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedMember {
    /// The replica.
    pub id: ReplicaId,
    /// Its disk: drawn at random when its data directory was made.
    pub incarnation: u64,
    /// Where clients reach it.
    pub client_address: String,
    /// Where the other replicas reach it.
    pub peer_address: String,
}

/// What the log of a restored cell begins with, in place of an empty state.
///
/// Without it a log says nothing: whoever applied it to an empty state would have another cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedBase {
    /// Digest of the file that the cell was restored from, as its end record has it.
    pub source: u128,
    /// Digest of the state that every member made of it: that of the first chapter's checkpoint.
    pub state: u128,
}

/// What all members of a cell agree on when it is born.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The cell, drawn at random.
    pub cell_id: CellId,
    /// What people call it.
    pub cell_name: String,
    /// The first fencing token is above this: the time of birth, in microseconds since 1970.
    pub token_floor: FencingToken,
    /// All members, this replica included.
    pub members: Vec<CertifiedMember>,
    /// What the cell was restored from; nothing if it was born empty.
    pub base: Option<CertifiedBase>,
}

impl Certificate {
    /// Returns what the cell is born with.
    #[must_use]
    pub fn genesis(&self) -> Genesis {
        let voters = self.members.iter().map(|member| Voter {
            id: member.id,
            incarnation: member.incarnation,
        });
        Genesis {
            cell_id: self.cell_id,
            cell: self.cell_name.clone(),
            token_floor: self.token_floor.0,
            voters: voters.collect(),
        }
    }
}

/// How far the birth of the cell has come, as this replica knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellState {
    /// Not every member is known to hold the certificate. Nothing may be voted on.
    Forming,
    /// Every member holds it.
    Born,
    /// This replica joined after the birth: it was not born with the cell, or not on this disk. It
    /// votes on nothing before the log names its disk.
    Joined,
}

/// Who a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cell that it belongs to.
    pub certificate: Certificate,
    /// Which member it is.
    pub replica: ReplicaId,
    /// Its disk, as the certificate names it.
    pub incarnation: u64,
    /// How far the birth of the cell has come.
    pub state: CellState,
}

impl Identity {
    /// Returns the identity of a replica of a cell without members, for tests.
    #[cfg(test)]
    pub(crate) fn of_test(state: CellState, base: Option<CertifiedBase>) -> Self {
        Self {
            certificate: Certificate {
                cell_id: CellId(7),
                cell_name: "west".to_owned(),
                token_floor: FencingToken(5),
                members: Vec::new(),
                base,
            },
            replica: ReplicaId(1),
            incarnation: 77,
            state,
        }
    }

    /// Tells why the identity contradicts itself, if it does.
    pub(super) fn contradiction(&self) -> Option<String> {
        let members = &self.certificate.members;
        for (at, member) in members.iter().enumerate() {
            if members[..at].iter().any(|other| other.id == member.id) {
                return Some(format!("the certificate names replica {} twice", member.id));
            }
        }
        match members.iter().find(|member| member.id == self.replica) {
            Some(member)
                if self.state == CellState::Joined && member.incarnation == self.incarnation =>
            {
                Some(format!(
                    "replica {} joined, but the certificate names its disk",
                    self.replica
                ))
            }
            _ if self.state == CellState::Joined => None,
            None => Some(format!(
                "the certificate does not name replica {}",
                self.replica
            )),
            Some(member) if member.incarnation != self.incarnation => Some(format!(
                "the certificate names replica {} with another incarnation",
                self.replica
            )),
            Some(_) => None,
        }
    }
}
