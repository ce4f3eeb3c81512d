//! Who a replica is to its peers.

use cotter_types::{CellId, ReplicaId};

/// What a replica says of itself on every link.
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
    /// Where clients reach it, as it advertises.
    pub client_address: String,
    /// Where its peers reach it, as it advertises.
    pub peer_address: String,
}
