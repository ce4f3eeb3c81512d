//! Changes of the cell itself.

use crate::v1;
use crate::wire::{WireError, missing};
use cotter_types::{Administered, Administration, Epoch, ReplicaId};

impl From<Administration> for v1::AdministerRequest {
    fn from(administration: Administration) -> Self {
        use v1::administer_request as w;
        let change = match administration {
            Administration::Add { replica } => w::Change::Add(w::Add { replica: replica.0 }),
            Administration::Remove { replica } => {
                w::Change::Remove(w::Remove { replica: replica.0 })
            }
            Administration::Replace { replica } => {
                w::Change::Replace(w::Replace { replica: replica.0 })
            }
            Administration::Transfer { to } => w::Change::Transfer(w::Transfer {
                to: to.map(|to| to.0),
            }),
        };
        Self {
            change: Some(change),
        }
    }
}

impl TryFrom<v1::AdministerRequest> for Administration {
    type Error = WireError;

    fn try_from(message: v1::AdministerRequest) -> Result<Self, WireError> {
        use v1::administer_request as w;
        let change = message.change;
        Ok(
            match change.ok_or_else(|| missing("AdministerRequest.change"))? {
                w::Change::Add(w::Add { replica }) => Self::Add {
                    replica: ReplicaId(replica),
                },
                w::Change::Remove(w::Remove { replica }) => Self::Remove {
                    replica: ReplicaId(replica),
                },
                w::Change::Replace(w::Replace { replica }) => Self::Replace {
                    replica: ReplicaId(replica),
                },
                w::Change::Transfer(w::Transfer { to }) => Self::Transfer {
                    to: to.map(ReplicaId),
                },
            },
        )
    }
}

impl From<Administered> for v1::AdministerResponse {
    fn from(administered: Administered) -> Self {
        use v1::administer_response as w;
        let done = match administered {
            Administered::Members { chapter, members } => w::Done::Members(w::Members {
                chapter,
                members: members.into_iter().map(|id| id.0).collect(),
            }),
            Administered::Master { replica, epoch } => w::Done::Master(w::Master {
                replica: replica.0,
                epoch: epoch.0,
            }),
        };
        Self { done: Some(done) }
    }
}

impl TryFrom<v1::AdministerResponse> for Administered {
    type Error = WireError;

    fn try_from(message: v1::AdministerResponse) -> Result<Self, WireError> {
        use v1::administer_response as w;
        let done = message.done;
        Ok(
            match done.ok_or_else(|| missing("AdministerResponse.done"))? {
                w::Done::Members(w::Members { chapter, members }) => Self::Members {
                    chapter,
                    members: members.into_iter().map(ReplicaId).collect(),
                },
                w::Done::Master(w::Master { replica, epoch }) => Self::Master {
                    replica: ReplicaId(replica),
                    epoch: Epoch(epoch),
                },
            },
        )
    }
}
