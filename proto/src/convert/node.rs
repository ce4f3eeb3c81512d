//! `node.proto`.

use crate::v1;
use crate::wire::{WireError, required, unknown};
use cotter_types::{Instance, Lifetime, NodeStat};

/// Reads a lifetime that must be given.
pub(super) fn lifetime(value: i32, field: &'static str) -> Result<Lifetime, WireError> {
    optional_lifetime(value, field)?.ok_or_else(|| unknown(field, value))
}

/// Reads a lifetime that may be left out.
pub(super) fn optional_lifetime(
    value: i32,
    field: &'static str,
) -> Result<Option<Lifetime>, WireError> {
    match v1::Lifetime::try_from(value) {
        Ok(v1::Lifetime::Unspecified) => Ok(None),
        Ok(v1::Lifetime::Permanent) => Ok(Some(Lifetime::Permanent)),
        Ok(v1::Lifetime::Ephemeral) => Ok(Some(Lifetime::Ephemeral)),
        Err(_) => Err(unknown(field, value)),
    }
}

/// Reads a stat that must be given.
pub(super) fn stat(
    message: Option<v1::NodeStat>,
    field: &'static str,
) -> Result<NodeStat, WireError> {
    required(message, field)?.try_into()
}

impl From<Lifetime> for v1::Lifetime {
    fn from(lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::Permanent => Self::Permanent,
            Lifetime::Ephemeral => Self::Ephemeral,
        }
    }
}

impl From<NodeStat> for v1::NodeStat {
    fn from(stat: NodeStat) -> Self {
        let NodeStat {
            instance,
            lifetime,
            content_generation,
            lock_generation,
            acl_generation,
            child_generation,
            content_bytes,
            content_checksum,
            children,
            sequence,
            creator,
        } = stat;
        Self {
            instance: instance.0,
            lifetime: v1::Lifetime::from(lifetime).into(),
            content_generation,
            lock_generation,
            acl_generation,
            child_generation,
            content_bytes,
            content_checksum,
            children,
            sequence,
            creator,
        }
    }
}

impl TryFrom<v1::NodeStat> for NodeStat {
    type Error = WireError;

    fn try_from(message: v1::NodeStat) -> Result<Self, WireError> {
        Ok(Self {
            instance: Instance(message.instance),
            lifetime: lifetime(message.lifetime, "NodeStat.lifetime")?,
            content_generation: message.content_generation,
            lock_generation: message.lock_generation,
            acl_generation: message.acl_generation,
            child_generation: message.child_generation,
            content_bytes: message.content_bytes,
            content_checksum: message.content_checksum,
            children: message.children,
            sequence: message.sequence,
            creator: message.creator,
        })
    }
}
