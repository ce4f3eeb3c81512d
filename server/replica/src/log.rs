//! The seam between a replica and its disk.
//!
//! What is written through OmniPaxos' [`Storage`] is *staged*; [`ChapterLog::sync`] makes all of it
//! durable. The replica lets no message or answer out before that (rule 4 of the profile in
//! `docs/INVARIANTS.md`).

use omnipaxos::storage::{Entry, NoSnapshot, Storage};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;

/// One log entry as consensus sees it: bytes that are never copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<[u8]>);

impl Payload {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Entry for Payload {
    type Snapshot = NoSnapshot;
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Payload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The log failed and must not be used again; the replica stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed: {0}")]
pub struct LogFault(pub String);

/// How much room the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRoom {
    /// Enough.
    Ample,
    /// The next segment could not be reserved: only what frees something may be appended.
    Scarce,
}

/// The whole log of a replica: a sequence of chapters, each with storage of its own.
pub trait ReplicaLog {
    /// The log of one chapter.
    type Chapter: ChapterLog;

    /// Lists the chapters that have a log, in order.
    fn chapters(&self) -> Vec<u64>;

    /// Makes the empty log of a chapter, durably: a restart finds it.
    ///
    /// # Errors
    /// [`LogFault`].
    fn begin(&mut self, chapter: u64) -> Result<Self::Chapter, LogFault>;

    /// Opens the log of a chapter.
    ///
    /// # Errors
    /// [`LogFault`], also if it is damaged.
    fn open(&mut self, chapter: u64) -> Result<Self::Chapter, LogFault>;
}

/// The log of one chapter, which stages writes and makes them durable together.
pub trait ChapterLog: Storage<Payload> {
    /// Tells whether something that promises or accepts was staged since the last sync. A decided
    /// index alone does not count: it is knowledge, not a promise, and is found again.
    fn needs_sync(&self) -> bool;

    /// Makes everything staged so far durable.
    ///
    /// # Errors
    /// [`LogFault`], after which the log is poisoned. A failed sync is never retried.
    fn sync(&mut self) -> Result<(), LogFault>;

    /// Tells how much room there is.
    fn room(&self) -> LogRoom;

    /// Returns why the log failed, once it has: for whoever looks after a panic, since OmniPaxos has no
    /// other answer to a write that fails.
    fn fault(&self) -> Option<LogFault>;
}
