//! `status.proto`.

use crate::v1;
use crate::wire::{WireError, unknown};
use cotter_types::{CellId, CellStatus, Epoch, MemberStatus, ReplicaId, Revision, Role};

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Master => Self::Master,
            Role::Follower => Self::Follower,
        }
    }
}

/// Reads a role.
fn role(value: i32, field: &'static str) -> Result<Role, WireError> {
    match v1::Role::try_from(value) {
        Ok(v1::Role::Master) => Ok(Role::Master),
        Ok(v1::Role::Follower) => Ok(Role::Follower),
        Ok(v1::Role::Unspecified) | Err(_) => Err(unknown(field, value)),
    }
}

impl From<MemberStatus> for v1::MemberStatus {
    fn from(member: MemberStatus) -> Self {
        let MemberStatus {
            replica,
            client_address,
            peer_address,
            connected,
            heard_ms_ago,
            votes,
            disk,
        } = member;
        Self {
            replica: replica.0,
            client_address,
            peer_address,
            connected,
            heard_ms_ago,
            votes,
            disk,
        }
    }
}

impl From<v1::MemberStatus> for MemberStatus {
    fn from(message: v1::MemberStatus) -> Self {
        Self {
            replica: ReplicaId(message.replica),
            client_address: message.client_address,
            peer_address: message.peer_address,
            connected: message.connected,
            heard_ms_ago: message.heard_ms_ago,
            votes: message.votes,
            disk: message.disk,
        }
    }
}

impl From<CellStatus> for v1::CellStatus {
    fn from(status: CellStatus) -> Self {
        let CellStatus {
            cell,
            cell_id,
            replica,
            role,
            master,
            epoch,
            revision,
            applied,
            decided,
            digest,
            master_lease_left_ms,
            nodes,
            sessions,
            locks_held,
            waiters,
            content_bytes,
            members,
            version,
            feature_level,
            uptime_ms,
        } = status;
        Self {
            cell,
            cell_id: cell_id.0,
            replica: replica.0,
            role: v1::Role::from(role).into(),
            master: master.map(|id| id.0),
            epoch: epoch.0,
            revision: revision.0,
            applied,
            decided,
            digest,
            master_lease_left_ms,
            nodes,
            sessions,
            locks_held,
            waiters,
            content_bytes,
            members: members.into_iter().map(Into::into).collect(),
            version,
            feature_level,
            uptime_ms,
        }
    }
}

impl TryFrom<v1::CellStatus> for CellStatus {
    type Error = WireError;

    fn try_from(message: v1::CellStatus) -> Result<Self, WireError> {
        Ok(Self {
            cell: message.cell,
            cell_id: CellId(message.cell_id),
            replica: ReplicaId(message.replica),
            role: role(message.role, "CellStatus.role")?,
            master: message.master.map(ReplicaId),
            epoch: Epoch(message.epoch),
            revision: Revision(message.revision),
            applied: message.applied,
            decided: message.decided,
            digest: message.digest,
            master_lease_left_ms: message.master_lease_left_ms,
            nodes: message.nodes,
            sessions: message.sessions,
            locks_held: message.locks_held,
            waiters: message.waiters,
            content_bytes: message.content_bytes,
            members: message.members.into_iter().map(Into::into).collect(),
            version: message.version,
            feature_level: message.feature_level,
            uptime_ms: message.uptime_ms,
        })
    }
}
