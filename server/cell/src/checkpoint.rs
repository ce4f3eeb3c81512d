//! Walking a cell for a checkpoint.
//!
//! A walk owns a snapshot, which costs nothing to take and does not change, so a checkpoint can be
//! written a chunk at a time while the cell goes on. A chunk belongs to one table, and rows come in
//! order of their keys; indexes are not written but derived again. `rebuild.rs` is the way back.

use crate::cell::Cell;
use crate::table::{Table, Tag};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

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
