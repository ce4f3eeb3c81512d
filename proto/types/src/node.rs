//! What is known of a node.

use crate::Instance;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;

/// A node's contents: shared, immutable bytes, at most
/// [`CONTENTS_BYTES_MAX`](crate::limits::CONTENTS_BYTES_MAX).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contents(Arc<[u8]>);

impl Contents {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&[u8]> for Contents {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&str> for Contents {
    fn from(text: &str) -> Self {
        Self(Arc::from(text.as_bytes()))
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Contents;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Contents, E> {
                Ok(Contents::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// How long a node lives.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Permanent,
    /// While at least one live session holds it open, holds its lock or waits for it.
    Ephemeral,
    /// Until so much cell time has passed since it was created or, if that was later, since its
    /// contents were last set. If its lock is in use then (held, waited for or delayed), it goes as
    /// soon as that ends, unless its contents are set before. Like an ephemeral node it can have no
    /// children.
    Ttl {
        /// How long, in milliseconds: [`TTL_MS_MIN`](crate::limits::TTL_MS_MIN) to
        /// [`TTL_MS_MAX`](crate::limits::TTL_MS_MAX).
        ms: u64,
    },
}

/// A node's metadata. Every number only ever rises within one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStat {
    /// Which life of the path this is.
    pub instance: Instance,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Rises with every write of the contents; 1 after creation.
    pub content_generation: u64,
    /// Rises whenever the lock goes from free to held; 0 if it never was.
    pub lock_generation: u64,
    /// Rises with every change of the access control list; 1 after creation.
    pub acl_generation: u64,
    /// Rises whenever a child appears or goes; 0 if there never was one.
    pub child_generation: u64,
    /// Length of the contents, in bytes.
    pub content_bytes: u64,
    /// XXH3 (64 bit) of the contents.
    pub content_checksum: u64,
    /// Number of children.
    pub children: u64,
    /// Next number for sequential children; numbers below it are never given again.
    pub sequence: u64,
    /// Principal and session name of the creator, for people to read.
    pub creator: String,
}
