//! The history on the disk: two indexes in sled, and what they cover.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `events` | revision, index | the event |
//! | `paths` | path, a zero byte, revision, index | nothing |
//! | `meta` | `format` | version and cell |
//! | `meta` | `coverage` | the spans that are held |
//!
//! Numbers in keys are big-endian, so that keys stand in the order of events.
//!
//! A flush of sled makes everything since the last one durable as a whole, in all trees. So after a
//! crash the indexes fit together, and the coverage fits the events; what is missing since the last
//! flush the log tells again at the next start.
//!
//! **What sled 1.0.0-alpha.124 must not be asked**, found by trying: `drop_tree`, after which the
//! directory cannot be opened any more, and `pop_first`, which gets slower with everything that was
//! removed since the last flush. Rows are removed one by one, from the oldest that is known.
//!
//! Where `open` finds damage it panics, and hangs while that is unwound. Everything here may block for
//! ever when the disk fails; only the clerk may call it.

use super::coverage;
use cotter_replica::Past;
use cotter_types::limits::{HISTORY_PAGE_DEFAULT, HISTORY_PAGE_MAX, HISTORY_SCANNED_MAX};
use cotter_types::{
    CellId, HistoryCoverage, HistoryPage, HistoryPosition, HistoryQuery, HistorySpan, PastEvent,
    Path, ReplicaId, Revision,
};
use std::io;
use std::ops::Bound;
use std::path::Path as FilePath;

/// Version of the format. A directory of another one is begun anew.
const FORMAT: u32 = 1;
/// Memory for what was read.
const CACHE_BYTES: usize = 8 * 1_024 * 1_024;
/// How hard sled compresses: little, since the processor is others'.
const COMPRESSION: i32 = 1;
/// Rows that are removed between two looks at what is left to do.
const REMOVED_TOGETHER: usize = 1_024;
/// By how much the wall clocks of two masters may differ, in milliseconds, before a question for
/// what happened since a time may miss something.
const WALL_CLOCKS_DIFFER_MS: u64 = 10 * 60 * 1_000;

const EVENTS: &str = "events";
const PATHS: &str = "paths";
const META: &str = "meta";
const FORMAT_KEY: &str = "format";
const COVERAGE_KEY: &str = "coverage";

type Tree = sled::Tree<1024>;

/// An open history.
pub(super) struct Shelf {
    db: sled::Db<1024>,
    events: Tree,
    paths: Tree,
    meta: Tree,
    /// What is held, and perhaps not durable yet.
    pub(super) coverage: HistoryCoverage,
    /// Bytes of all keys and values.
    pub(super) bytes: u64,
    /// How many events there are.
    pub(super) rows: u64,
    /// No event has a smaller key.
    oldest: Vec<u8>,
    /// Events up to this revision must go, since no span covers them any more.
    uncovered: Revision,
    dirty: bool,
}

impl Shelf {
    /// Opens the directory, makes it if there is none, and reads all of it once.
    ///
    /// # Errors
    /// If it cannot be read, or is of another cell or format.
    ///
    /// # Panics
    /// If sled finds what it does not expect.
    pub(super) fn open(
        directory: &FilePath,
        cell: CellId,
        mut progress: impl FnMut(),
    ) -> io::Result<Self> {
        let db: sled::Db<1024> = sled::Config::new()
            .path(directory)
            .cache_capacity_bytes(CACHE_BYTES)
            .zstd_compression_level(COMPRESSION)
            // Errors of a flush must come to whoever asked for it.
            .flush_every_ms(None)
            .open()?;
        let mut shelf = Self {
            events: db.open_tree(EVENTS)?,
            paths: db.open_tree(PATHS)?,
            meta: db.open_tree(META)?,
            db,
            coverage: HistoryCoverage::default(),
            bytes: 0,
            rows: 0,
            oldest: Vec::new(),
            uncovered: Revision(0),
            dirty: false,
        };
        let format = postcard::to_stdvec(&(FORMAT, cell)).map_err(malformed)?;
        match shelf.meta.get(FORMAT_KEY)? {
            Some(found) if found.as_ref() == format.as_slice() => {}
            Some(_) => return Err(malformed("it is of another cell or format")),
            None => {
                shelf.meta.insert(FORMAT_KEY, format)?;
                shelf.db.flush()?;
            }
        }
        if let Some(coverage) = shelf.meta.get(COVERAGE_KEY)? {
            shelf.coverage = postcard::from_bytes(&coverage).map_err(malformed)?;
        }
        shelf.read_all(&mut progress)?;
        Ok(shelf)
    }

    /// Reads everything: what is damaged shows here, and not when somebody asks.
    fn read_all(&mut self, progress: &mut impl FnMut()) -> io::Result<()> {
        for row in self.events.iter() {
            let (key, value) = row?;
            let event = decode(&value)?;
            if self.rows == 0 {
                self.oldest = key.to_vec();
            }
            self.rows += 1;
            self.bytes += row_bytes(&event.path, &value);
            if self.rows.is_multiple_of(1 << 12) {
                progress();
            }
        }
        let mut paths = 0;
        for row in self.paths.iter() {
            row?;
            paths += 1;
        }
        if paths != self.rows {
            return Err(malformed("its indexes differ"));
        }
        Ok(())
    }

    /// Keeps what happened. Returns whether something is missing before it.
    pub(super) fn keep(&mut self, past: &Past) -> io::Result<bool> {
        for event in &past.events {
            let key = event_key(event.position());
            let value = postcard::to_stdvec(event).map_err(malformed)?;
            let size = row_bytes(&event.path, &value);
            // After a restart the end of the log is told again.
            match self.events.insert(&key, value)? {
                Some(old) => self.bytes -= row_bytes(&decode(&old)?.path, &old),
                None => self.rows += 1,
            }
            self.bytes += size;
            self.paths
                .insert(path_key(&event.path, event.position()), &[][..])?;
            if self.oldest.is_empty() || key < self.oldest {
                self.oldest = key;
            }
        }
        let leaves_gap = coverage::hold(
            &mut self.coverage,
            HistorySpan {
                after: past.after,
                to: past.to,
                since_wall_ms: past.since_wall_ms,
                until_wall_ms: past.until_wall_ms,
            },
        );
        if let Some(revision) = coverage::bound(&mut self.coverage) {
            self.uncovered = self.uncovered.max(revision);
        }
        self.dirty = true;
        Ok(leaves_gap)
    }

    /// Makes everything durable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.dirty {
            let coverage = postcard::to_stdvec(&self.coverage).map_err(malformed)?;
            self.meta.insert(COVERAGE_KEY, coverage)?;
            self.db.flush()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Leaves everything as it is, without the attempt to write once more.
    pub(super) fn abandon(self) {
        std::mem::forget(self);
    }

    /// Removes the oldest events, at most `rows_max`, while there are more than `bytes_max` bytes or
    /// they are of a time before `since_wall_ms`. Returns how many went.
    pub(super) fn trim(
        &mut self,
        bytes_max: u64,
        since_wall_ms: u64,
        rows_max: u64,
    ) -> io::Result<u64> {
        let mut removed = 0;
        if self.bytes <= bytes_max && since_wall_ms == 0 && self.uncovered == Revision(0) {
            return Ok(removed);
        }
        while removed < rows_max {
            let oldest = self.events.range(self.oldest.clone()..);
            let rows: Vec<_> = oldest.take(REMOVED_TOGETHER).collect();
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let (key, value) = row?;
                let event = decode(&value)?;
                self.oldest = key.to_vec();
                let surplus = self.bytes > bytes_max
                    || event.wall_ms < since_wall_ms
                    || event.revision <= self.uncovered;
                if !surplus {
                    self.uncovered = Revision(0);
                    return Ok(removed);
                }
                if removed == rows_max {
                    return Ok(removed);
                }
                self.remove(&key, &value, &event)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn remove(&mut self, key: &[u8], value: &[u8], event: &PastEvent) -> io::Result<()> {
        coverage::let_go(&mut self.coverage, event.revision, event.wall_ms);
        self.events.remove(key)?;
        self.paths.remove(path_key(&event.path, event.position()))?;
        self.rows -= 1;
        self.bytes -= row_bytes(&event.path, value);
        self.dirty = true;
        Ok(())
    }

    /// Answers a question.
    pub(super) fn page(&self, query: &HistoryQuery, replica: ReplicaId) -> io::Result<HistoryPage> {
        let mut page = HistoryPage {
            events: Vec::new(),
            before: None,
            coverage: self.coverage.clone(),
            replica,
        };
        let limit = match query.limit {
            0 => HISTORY_PAGE_DEFAULT,
            limit => limit.min(HISTORY_PAGE_MAX),
        } as usize;
        let too_old = query.since_wall_ms.saturating_sub(WALL_CLOCKS_DIFFER_MS);
        let mut scanned = 0;
        for event in self.backwards(query) {
            let event = event?;
            if event.wall_ms < too_old {
                break;
            }
            let position = event.position();
            scanned += 1;
            let wanted = event.wall_ms >= query.since_wall_ms && event.path.is_within(&query.path);
            if wanted {
                page.events.push(event);
            }
            if page.events.len() == limit || scanned == HISTORY_SCANNED_MAX {
                page.before = Some(position);
                break;
            }
        }
        Ok(page)
    }

    /// Returns events that may answer a question, newest first.
    fn backwards<'a>(
        &'a self,
        query: &HistoryQuery,
    ) -> Box<dyn Iterator<Item = io::Result<PastEvent>> + 'a> {
        let before = query.before;
        if query.recursive {
            let end = before.map_or(Bound::Unbounded, |it| Bound::Excluded(event_key(it)));
            let rows = self.events.range((Bound::Unbounded, end)).rev();
            return Box::new(rows.map(|row| decode(&row?.1)));
        }
        let begin = path_prefix(&query.path);
        let end = match before {
            Some(before) => path_key(&query.path, before),
            // Nothing but this path stands before it.
            None => [query.path.as_str().as_bytes(), &[1]].concat(),
        };
        let rows = self.paths.range(begin..end).rev();
        Box::new(rows.filter_map(|row| self.named(row).transpose()))
    }

    /// Reads the event that a row of the paths names.
    fn named(
        &self,
        row: io::Result<(sled::InlineArray, sled::InlineArray)>,
    ) -> io::Result<Option<PastEvent>> {
        let (key, _) = row?;
        let position = &key[key.len() - KEY_BYTES..];
        let value = self.events.get(position)?;
        value.map(|value| decode(&value)).transpose()
    }
}

/// Bytes of an event's key.
const KEY_BYTES: usize = 12;

fn event_key(position: HistoryPosition) -> Vec<u8> {
    let revision = position.revision.0.to_be_bytes();
    [&revision[..], &position.index.to_be_bytes()].concat()
}

/// Returns what the keys of a path's events begin with. No name has a zero byte in it.
fn path_prefix(path: &Path) -> Vec<u8> {
    [path.as_str().as_bytes(), &[0]].concat()
}

fn path_key(path: &Path, position: HistoryPosition) -> Vec<u8> {
    [path_prefix(path), event_key(position)].concat()
}

/// Returns the bytes of an event in both indexes.
fn row_bytes(path: &Path, value: &[u8]) -> u64 {
    (value.len() + path.as_str().len() + 1 + 2 * KEY_BYTES) as u64
}

fn decode(value: &[u8]) -> io::Result<PastEvent> {
    postcard::from_bytes(value).map_err(malformed)
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
