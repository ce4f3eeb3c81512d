//! Rebuilding a cell from the chunks of a walk, and counting the digest of chunks without rebuilding.
//!
//! The reader must compare the digest with the one that was noted when the walk began: only equality
//! says that nothing is missing. [`ChunkDigest`] counts it in the memory of one chunk, to verify what
//! was written or received; [`Cell::rebuild`] counts it on the way, from the bytes that it read, and
//! so never encodes a row again.
//!
//! Rows must come as a walk gives them: tables in order of number, rows in order of key. Everything
//! else is refused.

use crate::cell::Cell;
use crate::checkpoint::Chunk;
use crate::command::Genesis;
use crate::memory::Memory;
use crate::state::{Header, Holder, Ledger, Lock, Node, Outcome, Session, Waiter};
use crate::table::{Table, Tag, item_of_bytes};
use cotter_types::{
    CellTime, ChangeOfHands, Contents, Path, RequestId, RequestNumber, Revision, SessionId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// Says why a cell cannot be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// A chunk names a table that this program does not know.
    #[error("a checkpoint has table {0}, which this program does not know")]
    UnknownTable(u8),
    /// A row cannot be read.
    #[error("a row of table {0} cannot be read")]
    Row(u8),
    /// There was no header, or more than one.
    #[error("a checkpoint has {0} headers instead of one")]
    Headers(u32),
    /// A node's contents are not those that it was written with.
    #[error("the contents of {0} do not fit their checksum")]
    Contents(String),
    /// Rows or tables do not come in order.
    #[error("a row of table {0} comes out of order")]
    Order(u8),
}

impl Cell {
    /// Rebuilds a cell from the chunks of a walk.
    ///
    /// # Errors
    /// A [`RebuildError`] if a chunk cannot be understood. Whether anything is missing only the
    /// digest tells.
    pub fn rebuild(
        genesis: &Genesis,
        chunks: impl IntoIterator<Item = Chunk>,
    ) -> Result<Self, RebuildError> {
        let mut cell = Self::empty(genesis);
        let mut headers = 0;
        let mut table = 0;
        for chunk in chunks {
            if chunk.table < table {
                return Err(RebuildError::Order(chunk.table));
            }
            table = chunk.table;
            headers += cell.add_chunk(&chunk)?;
        }
        if headers != 1 {
            return Err(RebuildError::Headers(headers));
        }
        cell.indexes = cell.derived_indexes();
        Ok(cell)
    }

    /// Adds the rows of a chunk; returns how many headers were among them.
    fn add_chunk(&mut self, chunk: &Chunk) -> Result<u32, RebuildError> {
        let mut rows = Rows::of(chunk)?;
        match rows.tag {
            Tag::Header => {
                while let Some((header, _)) = rows.next()? {
                    self.header = header;
                }
                return Ok(chunk.rows);
            }
            Tag::Nodes => {
                let mut last = self.nodes.last_key().cloned();
                while let Some(((path, mut node), item)) = rows.next::<(Path, Node)>()? {
                    node.contents = rows.contents(&path, &node)?;
                    push(&mut self.nodes, &mut last, (path, node), item)?;
                }
            }
            Tag::Locks => fill(&mut self.locks, rows)?,
            Tag::Holders => fill(&mut self.holders, rows)?,
            Tag::Waiters => fill(&mut self.waiters, rows)?,
            Tag::Hands => fill(&mut self.hands, rows)?,
            Tag::Sessions => fill(&mut self.sessions, rows)?,
            Tag::Ledgers => fill(&mut self.ledgers, rows)?,
            Tag::Outcomes => fill(&mut self.outcomes, rows)?,
            Tag::Opens => fill(&mut self.opens, rows)?,
            Tag::Expiries => fill(&mut self.expiries, rows)?,
            Tag::Calls => fill(&mut self.calls, rows)?,
        }
        Ok(0)
    }
}

/// What the chunks of a walk add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSum {
    /// The digest of the cell that they make.
    pub digest: u128,
    /// Log entries that it had applied.
    pub applied: u64,
    /// Its count of applied commands.
    pub revision: Revision,
    /// Rows of all tables.
    pub rows: u64,
}

/// Counts the digest of a walk's chunks one by one, in the memory of one chunk.
///
/// Equality with the digest noted when the walk began says that the chunks are whole: nothing is
/// missing, doubled or changed.
#[derive(Debug, Default)]
pub struct ChunkDigest {
    digest: u128,
    header: Header,
    headers: u32,
    rows: u64,
}

impl ChunkDigest {
    /// Begins with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// A [`RebuildError`] if it cannot be understood.
    pub fn add(&mut self, chunk: &Chunk) -> Result<(), RebuildError> {
        let mut rows = Rows::of(chunk)?;
        self.rows += u64::from(chunk.rows);
        match rows.tag {
            Tag::Header => {
                while let Some((header, item)) = rows.next()? {
                    self.headers += 1;
                    self.header = header;
                    self.digest = self.digest.wrapping_add(item);
                }
                Ok(())
            }
            Tag::Nodes => {
                while let Some(((path, node), item)) = rows.next::<(Path, Node)>()? {
                    rows.contents(&path, &node)?;
                    self.digest = self.digest.wrapping_add(item);
                }
                Ok(())
            }
            Tag::Locks => self.count::<(Path, Lock)>(rows),
            Tag::Holders => self.count::<((Path, u64), Holder)>(rows),
            Tag::Waiters => self.count::<((Path, u64), Waiter)>(rows),
            Tag::Hands => self.count::<((Path, u64), ChangeOfHands)>(rows),
            Tag::Sessions => self.count::<(SessionId, Session)>(rows),
            Tag::Ledgers => self.count::<(SessionId, Ledger)>(rows),
            Tag::Outcomes => self.count::<((SessionId, RequestNumber), Outcome)>(rows),
            Tag::Opens => self.count::<((Path, SessionId), ())>(rows),
            Tag::Expiries => self.count::<(Path, CellTime)>(rows),
            Tag::Calls => self.count::<(RequestId, Memory)>(rows),
        }
    }

    /// Returns what all chunks added up to.
    ///
    /// # Errors
    /// [`RebuildError::Headers`] if there was not exactly one header.
    pub fn finish(self) -> Result<ChunkSum, RebuildError> {
        if self.headers != 1 {
            return Err(RebuildError::Headers(self.headers));
        }
        Ok(ChunkSum {
            digest: self.digest,
            applied: self.header.applied,
            revision: self.header.revision,
            rows: self.rows,
        })
    }

    fn count<T: DeserializeOwned>(&mut self, mut rows: Rows<'_>) -> Result<(), RebuildError> {
        while let Some((_, item)) = rows.next::<T>()? {
            self.digest = self.digest.wrapping_add(item);
        }
        Ok(())
    }
}

/// Reads the rows of a chunk, each with what it adds to the digest. Bytes left over are an error too.
struct Rows<'a> {
    tag: Tag,
    left: u32,
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    fn of(chunk: &'a Chunk) -> Result<Self, RebuildError> {
        let tag = Tag::from_number(chunk.table).ok_or(RebuildError::UnknownTable(chunk.table))?;
        Ok(Self {
            tag,
            left: chunk.rows,
            rest: &chunk.bytes,
        })
    }

    fn broken(&self) -> RebuildError {
        RebuildError::Row(self.tag as u8)
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(T, u128)>, RebuildError> {
        if self.left == 0 {
            return match self.rest {
                [] => Ok(None),
                _ => Err(self.broken()),
            };
        }
        self.left -= 1;
        let (row, after) = postcard::take_from_bytes(self.rest).map_err(|_| self.broken())?;
        let own = &self.rest[..self.rest.len() - after.len()];
        self.rest = after;
        Ok(Some((row, item_of_bytes(self.tag, own))))
    }

    /// Reads the contents that stand behind a node's row.
    fn contents(&mut self, path: &Path, node: &Node) -> Result<Contents, RebuildError> {
        let (contents, after) =
            postcard::take_from_bytes::<Contents>(self.rest).map_err(|_| self.broken())?;
        self.rest = after;
        if node.content_checksum != xxh3_64(contents.as_bytes()) {
            return Err(RebuildError::Contents(path.to_string()));
        }
        Ok(contents)
    }
}

fn fill<K, V>(table: &mut Table<K, V>, mut rows: Rows<'_>) -> Result<(), RebuildError>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Clone + Serialize + DeserializeOwned,
{
    let mut last = table.last_key().cloned();
    while let Some((row, item)) = rows.next()? {
        push(table, &mut last, row, item)?;
    }
    Ok(())
}

/// Adds the row behind the last one of its table.
fn push<K, V>(
    table: &mut Table<K, V>,
    last: &mut Option<K>,
    (key, value): (K, V),
    item: u128,
) -> Result<(), RebuildError>
where
    K: Ord + Clone + Serialize,
    V: Clone + Serialize,
{
    if last.as_ref().is_some_and(|last| *last >= key) {
        return Err(RebuildError::Order(table.tag() as u8));
    }
    *last = Some(key.clone());
    table.push(key, value, item);
    Ok(())
}
