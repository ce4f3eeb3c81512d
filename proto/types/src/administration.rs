//! What whoever runs a cell asks of it: who makes it up, and who reigns.

use crate::{Epoch, ReplicaId};
use serde::{Deserialize, Serialize};

/// A change of the cell itself. The master makes one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Administration {
    /// Gives a vote to a replica that has joined and has none.
    Add {
        /// The replica.
        replica: ReplicaId,
    },
    /// Takes a member's vote away. Not that of the master, which is transferred first.
    Remove {
        /// The member.
        replica: ReplicaId,
    },
    /// Gives a member's vote to the disk that has joined in its name, because the one that had it is
    /// lost.
    Replace {
        /// The member.
        replica: ReplicaId,
    },
    /// Hands mastership over without waiting for a lease to run out.
    Transfer {
        /// To whom; nothing for whichever member was heard last.
        to: Option<ReplicaId>,
    },
}

impl Administration {
    /// Returns who would lose the vote of the disk that has it.
    #[must_use]
    pub fn leaver(&self) -> Option<ReplicaId> {
        match self {
            Self::Remove { replica } | Self::Replace { replica } => Some(*replica),
            Self::Add { .. } | Self::Transfer { .. } => None,
        }
    }

    /// Returns who would get a vote on the disk from which it has joined.
    #[must_use]
    pub fn newcomer(&self) -> Option<ReplicaId> {
        match self {
            Self::Add { replica } | Self::Replace { replica } => Some(*replica),
            Self::Remove { .. } | Self::Transfer { .. } => None,
        }
    }
}

/// What came of an [`Administration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Administered {
    /// The members are others, and have agreed on something since.
    Members {
        /// The chapter of the log that they began with.
        chapter: u64,
        /// Who has a vote now, in order of id.
        members: Vec<ReplicaId>,
    },
    /// Another replica reigns.
    Master {
        /// Which.
        replica: ReplicaId,
        /// Its epoch.
        epoch: Epoch,
    },
}
