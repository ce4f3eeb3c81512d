//! `node.proto`.

use crate::v1;
use crate::wire::{WireError, WireProblem, required, unknown, wrong};
use cotter_types::{Instance, Lifetime, NodeStat};

/// Reads a lifetime that must be given, with the time to live beside it.
pub(super) fn lifetime(
    value: i32,
    ttl_ms: u64,
    field: &'static str,
) -> Result<Lifetime, WireError> {
    optional_lifetime(value, ttl_ms, field)?.ok_or_else(|| unknown(field, value))
}

/// Reads a lifetime that may be left out. Whether a time to live is long enough is not the wire's
/// business; that there is one exactly if the lifetime says so, is.
pub(super) fn optional_lifetime(
    value: i32,
    ttl_ms: u64,
    field: &'static str,
) -> Result<Option<Lifetime>, WireError> {
    let lifetime = match v1::Lifetime::try_from(value) {
        Ok(v1::Lifetime::Unspecified) => None,
        Ok(v1::Lifetime::Permanent) => Some(Lifetime::Permanent),
        Ok(v1::Lifetime::Ephemeral) => Some(Lifetime::Ephemeral),
        Ok(v1::Lifetime::Ttl) => Some(Lifetime::Ttl { ms: ttl_ms }),
        Err(_) => return Err(unknown(field, value)),
    };
    if ttl_ms != 0 && !matches!(lifetime, Some(Lifetime::Ttl { .. })) {
        let problem = WireProblem::Malformed("only LIFETIME_TTL has a time to live");
        return Err(wrong(field, problem));
    }
    Ok(lifetime)
}

/// Returns the time to live that is written beside a lifetime.
pub(super) fn ttl_ms(lifetime: Lifetime) -> u64 {
    match lifetime {
        Lifetime::Permanent | Lifetime::Ephemeral => 0,
        Lifetime::Ttl { ms } => ms,
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
            Lifetime::Ttl { .. } => Self::Ttl,
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
            ttl_ms: ttl_ms(lifetime),
        }
    }
}

impl TryFrom<v1::NodeStat> for NodeStat {
    type Error = WireError;

    fn try_from(message: v1::NodeStat) -> Result<Self, WireError> {
        Ok(Self {
            instance: Instance(message.instance),
            lifetime: lifetime(message.lifetime, message.ttl_ms, "NodeStat.lifetime")?,
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
