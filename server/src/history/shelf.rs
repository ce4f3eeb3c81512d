//! The history on the disk: two indexes in sled, and what they cover.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `parts` | revision and index of its first event | a part: up to 512 events that follow each other |
//! | `paths` | path, a zero byte, revision and index of a part's first event | nothing |
//! | `meta` | `format` | version and cell |
//! | `meta` | `coverage` | the spans that are held |
//!
//! Numbers in keys are big-endian, so that keys stand in the order of events. What happens to one path
//! happens often, so a row for each part and path instead of each event saves most of the work; who asks
//! reads whole parts.
//!
//! Parts never overlap: an event is kept only if its revision is not covered yet, and a part ends where
//! one was left out. So parts in order, and the events of each in order, are all events in order. A part
//! comes from one stretch of revisions, so it lies within one span of the coverage.
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
use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::path::Path as FilePath;

/// Version of the format. A directory of another one is begun anew.
const FORMAT: u32 = 2;
/// Most events of a part.
pub(super) const PART_EVENTS_MAX: usize = 512;
/// Memory for what was read.
const CACHE_BYTES: usize = 8 * 1_024 * 1_024;
/// How hard sled compresses: little, since the processor is others'.
const COMPRESSION: i32 = 1;
/// Parts that are removed between two looks at what is left to do.
const REMOVED_TOGETHER: usize = 16;
/// By how much the wall clocks of two masters may differ, in milliseconds, before a question for
/// what happened since a time may miss something.
const WALL_CLOCKS_DIFFER_MS: u64 = 10 * 60 * 1_000;

const PARTS: &str = "parts";
const PATHS: &str = "paths";
const META: &str = "meta";
const FORMAT_KEY: &str = "format";
const COVERAGE_KEY: &str = "coverage";

type Tree = sled::Tree<1024>;

/// An open history.
pub(super) struct Shelf {
    db: sled::Db<1024>,
    parts: Tree,
    paths: Tree,
    meta: Tree,
    /// What is held, and perhaps not durable yet.
    pub(super) coverage: HistoryCoverage,
    /// Bytes of all keys and values.
    pub(super) bytes: u64,
    /// How many events there are.
    pub(super) events: u64,
    /// No part has a smaller key.
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
            parts: db.open_tree(PARTS)?,
            paths: db.open_tree(PATHS)?,
            meta: db.open_tree(META)?,
            db,
            coverage: HistoryCoverage::default(),
            bytes: 0,
            events: 0,
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
        let mut named = 0;
        for (nth, row) in self.parts.iter().enumerate() {
            let (key, value) = row?;
            let events = decode(&value)?;
            if nth == 0 {
                self.oldest = key.to_vec();
            }
            self.events += events.len() as u64;
            self.bytes += part_bytes(&events, &value);
            named += paths_of(&events).len();
            progress();
        }
        let mut paths = 0;
        for row in self.paths.iter() {
            row?;
            paths += 1;
        }
        if paths != named {
            return Err(malformed("its indexes differ"));
        }
        Ok(())
    }

    /// Keeps what happened. Returns whether something is missing before it.
    pub(super) fn keep(&mut self, past: &Past) -> io::Result<bool> {
        // After a restart the end of the log is told again.
        let known = |event: &PastEvent| coverage::holds(&self.coverage, event.revision);
        let parts: Vec<Vec<PastEvent>> = past
            .events
            .split(known)
            .flat_map(|events| events.chunks(PART_EVENTS_MAX))
            .map(<[PastEvent]>::to_vec)
            .collect();
        for events in parts {
            self.insert(&events)?;
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

    fn insert(&mut self, events: &[PastEvent]) -> io::Result<()> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let key = event_key(first.position());
        let value = postcard::to_stdvec(events).map_err(malformed)?;
        for path in paths_of(events) {
            let row = path_key(path, first.position());
            self.paths.insert(row, &[][..])?;
        }
        self.events += events.len() as u64;
        self.bytes += part_bytes(events, &value);
        self.parts.insert(&key, value)?;
        if self.oldest.is_empty() || key < self.oldest {
            self.oldest = key;
        }
        Ok(())
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

    /// Removes the oldest parts, until at least `events_max` events have gone, while there are more than
    /// `bytes_max` bytes or all of a part is of a time before `since_wall_ms`. Returns how many events
    /// went.
    pub(super) fn trim(
        &mut self,
        bytes_max: u64,
        since_wall_ms: u64,
        events_max: u64,
    ) -> io::Result<u64> {
        let mut removed = 0;
        if self.bytes <= bytes_max && since_wall_ms == 0 && self.uncovered == Revision(0) {
            return Ok(removed);
        }
        while removed < events_max {
            let oldest = self.parts.range(self.oldest.clone()..);
            let rows: Vec<_> = oldest.take(REMOVED_TOGETHER).collect();
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let (key, value) = row?;
                let events = decode(&value)?;
                self.oldest = key.to_vec();
                let surplus = events.last().is_none_or(|last| {
                    self.bytes > bytes_max
                        || last.wall_ms < since_wall_ms
                        || last.revision <= self.uncovered
                });
                if !surplus {
                    self.uncovered = Revision(0);
                    return Ok(removed);
                }
                if removed >= events_max {
                    return Ok(removed);
                }
                self.remove(&key, &value, &events)?;
                removed += events.len() as u64;
            }
        }
        Ok(removed)
    }

    fn remove(&mut self, key: &[u8], value: &[u8], events: &[PastEvent]) -> io::Result<()> {
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            coverage::let_go(&mut self.coverage, last.revision, last.wall_ms);
            for path in paths_of(events) {
                self.paths.remove(path_key(path, first.position()))?;
            }
        }
        self.parts.remove(key)?;
        self.events -= events.len() as u64;
        self.bytes -= part_bytes(events, value);
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
        // A part that begins earlier may end later.
        let earlier = move |event: &PastEvent| before.is_none_or(|it| event.position() < it);
        let parts: Box<dyn Iterator<Item = io::Result<Vec<PastEvent>>> + 'a> = if query.recursive {
            let end = before.map_or(Bound::Unbounded, |it| Bound::Excluded(event_key(it)));
            let rows = self.parts.range((Bound::Unbounded, end)).rev();
            Box::new(rows.map(|row| decode(&row?.1)))
        } else {
            let begin = path_prefix(&query.path);
            let end = match before {
                Some(before) => path_key(&query.path, before),
                // Nothing but this path stands before it.
                None => [query.path.as_str().as_bytes(), &[1]].concat(),
            };
            let rows = self.paths.range(begin..end).rev();
            Box::new(rows.filter_map(|row| self.named(row).transpose()))
        };
        let path = (!query.recursive).then(|| query.path.clone());
        Box::new(parts.flat_map(move |part| {
            let (events, error) = match part {
                Ok(events) => (events, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let path = path.clone();
            let wanted = move |event: &PastEvent| {
                earlier(event) && path.as_ref().is_none_or(|path| event.path == *path)
            };
            error
                .into_iter()
                .chain(events.into_iter().rev().filter(wanted).map(Ok))
        }))
    }

    /// Reads the part that a row of the paths names.
    fn named(
        &self,
        row: io::Result<(sled::InlineArray, sled::InlineArray)>,
    ) -> io::Result<Option<Vec<PastEvent>>> {
        let (key, _) = row?;
        let first = &key[key.len() - KEY_BYTES..];
        let value = self.parts.get(first)?;
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

/// Returns the paths to which something happens in a part, each once.
fn paths_of(events: &[PastEvent]) -> BTreeSet<&Path> {
    events.iter().map(|event| &event.path).collect()
}

/// Returns the bytes of a part in both indexes.
fn part_bytes(events: &[PastEvent], value: &[u8]) -> u64 {
    let paths = paths_of(events);
    let named = paths.iter().map(|path| path.as_str().len() + 1 + KEY_BYTES);
    (KEY_BYTES + value.len() + named.sum::<usize>()) as u64
}

fn decode(value: &[u8]) -> io::Result<Vec<PastEvent>> {
    postcard::from_bytes(value).map_err(malformed)
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
