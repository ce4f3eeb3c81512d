//! Why the cell cannot be changed in the way that was asked for, or not now.

use cotter_types::ReplicaId;
use cotter_types::limits::REPLICAS_MAX;

/// Why the cell cannot be changed in this way, or not now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("another change of the members is under way; see cotter cell members")]
    Busy,
    #[error("replica {0} is no possible member: ids go from 1 to {REPLICAS_MAX}")]
    BadId(ReplicaId),
    #[error(
        "replica {0} is a member already; to give its vote to another disk use cotter cell replace"
    )]
    IsMember(ReplicaId),
    #[error("replica {0} is not a member; see cotter cell members")]
    NoMember(ReplicaId),
    #[error("replica {0} is the master; transfer mastership first: cotter cell transfer")]
    IsMaster(ReplicaId),
    #[error("the cell has {REPLICAS_MAX} members already, which is the most")]
    Full,
    #[error("replica {0} has not joined: run cotterd join and cotterd run on it first")]
    NotHere(ReplicaId),
    #[error("replica {0} lives on the disk that has its vote; there is nothing to replace")]
    SameDisk(ReplicaId),
    #[error("replica {0} knows feature level {1}, the cell has {2}: it needs a newer cotterd")]
    TooOld(ReplicaId, u32, u32),
    #[error("replica {0} gives no address by which others reach it")]
    NoAddress(ReplicaId),
    #[error("replica {0} has not caught up yet; try again in a moment")]
    NotCaughtUp(ReplicaId),
    #[error(
        "of the {1} members that the cell would have only {0} are heard, and a majority must be; \
         nothing was changed"
    )]
    NoMajority(usize, usize),
    #[error("the start of the present chapter is not on disk yet; try again in a moment")]
    StartNotDurable,
    #[error("replica {0} is not heard, so it cannot take mastership over")]
    NotHeard(ReplicaId),
    #[error("no other member is heard that could take mastership over")]
    NobodyHeard,
}
