//! Who a replica is to its peers, and whom it expects at the other end.

use cotter_types::{CellId, ReplicaId};
use std::collections::BTreeMap;

/// A peer as the certificate of birth and the configuration name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Which disk it lives on, from the certificate.
    pub incarnation: u64,
    /// Where it is dialled, from the configuration.
    pub address: String,
}

/// What a replica says of itself on every link, and what it checks of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cell.
    pub cell_id: CellId,
    /// This replica.
    pub replica: ReplicaId,
    /// Which disk it lives on.
    pub incarnation: u64,
    /// How often it was started on that disk: durably raised before this process spoke.
    pub boot: u64,
    /// Drawn at random for this process. Two lives with one boot number mean that the disk was set
    /// back in between.
    pub life: u64,
    /// The other members.
    pub peers: BTreeMap<ReplicaId, PeerIdentity>,
}
