//! Walking a cell for a checkpoint, and rebuilding a cell from one.
//!
//! A walk owns a snapshot, which costs nothing to take and does not change, so a checkpoint can be
//! written a chunk at a time while the cell goes on. A chunk belongs to one table; indexes are not
//! written but derived again. The reader must compare the digest of the rebuilt cell with the one
//! that was noted when the walk began: only equality says that nothing is missing.

use crate::cell::Cell;
use crate::command::Genesis;
use crate::state::Node;
use crate::table::{Table, Tag};
use cotter_types::Contents;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_64;

/// Some rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Which table.
    pub table: u8,
    /// How many rows.
    pub rows: u32,
    /// The rows, one after the other.
    pub bytes: Vec<u8>,
}

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
}

/// A walk over all tables of a snapshot.
#[derive(Debug)]
pub struct Walk {
    cell: Cell,
    /// The table to go on with; nothing at the end.
    table: Option<Tag>,
    /// The last row written of that table.
    last: Last,
    chunk_bytes: usize,
}

/// The last key written, of whichever table the walk is in.
#[derive(Debug)]
enum Last {
    None,
    Path(cotter_types::Path),
    Place((cotter_types::Path, u64)),
    Session(cotter_types::SessionId),
    Number((cotter_types::SessionId, cotter_types::RequestNumber)),
    Open((cotter_types::Path, cotter_types::SessionId)),
    Request(cotter_types::RequestId),
}

/// Makes a key from the last one, and back.
trait Key: Sized + Clone {
    fn from_last(last: &Last) -> Option<Self>;
    fn into_last(self) -> Last;
}

macro_rules! key {
    ($type:ty, $variant:ident) => {
        impl Key for $type {
            fn from_last(last: &Last) -> Option<Self> {
                match last {
                    Last::$variant(key) => Some(key.clone()),
                    _ => None,
                }
            }
            fn into_last(self) -> Last {
                Last::$variant(self)
            }
        }
    };
}

key!(cotter_types::Path, Path);
key!((cotter_types::Path, u64), Place);
key!(cotter_types::SessionId, Session);
key!(
    (cotter_types::SessionId, cotter_types::RequestNumber),
    Number
);
key!((cotter_types::Path, cotter_types::SessionId), Open);
key!(cotter_types::RequestId, Request);

impl Cell {
    /// Begins a walk over the cell as it is now, in chunks of about `chunk_bytes`; a single row may
    /// be larger.
    #[must_use]
    pub fn walk(&self, chunk_bytes: usize) -> Walk {
        Walk {
            cell: self.snapshot(),
            table: Some(Tag::Header),
            last: Last::None,
            chunk_bytes,
        }
    }

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
        for chunk in chunks {
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
        let tag = Tag::from_number(chunk.table).ok_or(RebuildError::UnknownTable(chunk.table))?;
        match tag {
            Tag::Header => {
                for header in rows(chunk) {
                    self.header = header?;
                }
                return Ok(chunk.rows);
            }
            Tag::Nodes => {
                for row in rows(chunk) {
                    let (path, mut node, contents): (cotter_types::Path, Node, Contents) = row?;
                    if node.content_checksum != xxh3_64(contents.as_bytes()) {
                        return Err(RebuildError::Contents(path.to_string()));
                    }
                    node.contents = contents;
                    self.nodes.insert(path, node);
                }
            }
            Tag::Locks => fill(&mut self.locks, chunk)?,
            Tag::Holders => fill(&mut self.holders, chunk)?,
            Tag::Waiters => fill(&mut self.waiters, chunk)?,
            Tag::Hands => fill(&mut self.hands, chunk)?,
            Tag::Sessions => fill(&mut self.sessions, chunk)?,
            Tag::Ledgers => fill(&mut self.ledgers, chunk)?,
            Tag::Outcomes => fill(&mut self.outcomes, chunk)?,
            Tag::Opens => fill(&mut self.opens, chunk)?,
            Tag::Expiries => fill(&mut self.expiries, chunk)?,
            Tag::Calls => fill(&mut self.calls, chunk)?,
        }
        Ok(0)
    }
}

impl Iterator for Walk {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        loop {
            let tag = self.table?;
            let mut writer = Writer::new(tag, self.chunk_bytes);
            let last = std::mem::replace(&mut self.last, Last::None);
            let cell = &self.cell;
            let reached = match tag {
                Tag::Header => {
                    writer.row(&cell.header);
                    None
                }
                Tag::Nodes => writer.rows(&cell.nodes, &last, |path, node| {
                    encode(&(path, node, &node.contents))
                }),
                Tag::Locks => writer.plain(&cell.locks, &last),
                Tag::Holders => writer.plain(&cell.holders, &last),
                Tag::Waiters => writer.plain(&cell.waiters, &last),
                Tag::Hands => writer.plain(&cell.hands, &last),
                Tag::Sessions => writer.plain(&cell.sessions, &last),
                Tag::Ledgers => writer.plain(&cell.ledgers, &last),
                Tag::Outcomes => writer.plain(&cell.outcomes, &last),
                Tag::Opens => writer.plain(&cell.opens, &last),
                Tag::Expiries => writer.plain(&cell.expiries, &last),
                Tag::Calls => writer.plain(&cell.calls, &last),
            };
            match reached {
                Some(last) => self.last = last,
                None => self.table = Tag::from_number(tag as u8 + 1),
            }
            if writer.chunk.rows > 0 {
                return Some(writer.chunk);
            }
        }
    }
}

/// Fills one chunk.
struct Writer {
    chunk: Chunk,
    bytes_max: usize,
}

impl Writer {
    fn new(tag: Tag, bytes_max: usize) -> Self {
        Self {
            chunk: Chunk {
                table: tag as u8,
                rows: 0,
                bytes: Vec::new(),
            },
            bytes_max,
        }
    }

    fn row(&mut self, row: &impl Serialize) {
        self.chunk.bytes.extend(encode(row));
        self.chunk.rows += 1;
    }

    /// Writes rows after `last` until the chunk is full; returns where it stopped, or nothing when
    /// the table is done.
    fn rows<K: Key + Ord + Serialize, V: Clone + Serialize>(
        &mut self,
        table: &Table<K, V>,
        last: &Last,
        encode_row: impl Fn(&K, &V) -> Vec<u8>,
    ) -> Option<Last> {
        let start = K::from_last(last).map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in table.range((start, Bound::Unbounded)) {
            self.chunk.bytes.extend(encode_row(key, value));
            self.chunk.rows += 1;
            if self.chunk.bytes.len() >= self.bytes_max {
                return Some(key.clone().into_last());
            }
        }
        None
    }

    fn plain<K: Key + Ord + Serialize, V: Clone + Serialize>(
        &mut self,
        table: &Table<K, V>,
        last: &Last,
    ) -> Option<Last> {
        self.rows(table, last, |key, value| encode(&(key, value)))
    }
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(row).expect("rows are made of plain data")
}

/// Reads the rows of a chunk. Bytes left over are an error too.
fn rows<T: DeserializeOwned>(chunk: &Chunk) -> impl Iterator<Item = Result<T, RebuildError>> {
    let broken = || RebuildError::Row(chunk.table);
    let mut rest = chunk.bytes.as_slice();
    let mut left = chunk.rows;
    std::iter::from_fn(move || {
        if left == 0 {
            let trailing = !rest.is_empty();
            rest = &[];
            return trailing.then(|| Err(broken()));
        }
        left -= 1;
        Some(match postcard::take_from_bytes(rest) {
            Ok((row, after)) => {
                rest = after;
                Ok(row)
            }
            Err(_) => {
                left = 0;
                rest = &[];
                Err(broken())
            }
        })
    })
}

fn fill<K, V>(table: &mut Table<K, V>, chunk: &Chunk) -> Result<(), RebuildError>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Clone + Serialize + DeserializeOwned,
{
    for row in rows(chunk) {
        let (key, value) = row?;
        table.insert(key, value);
    }
    Ok(())
}
