//! The log behind consensus: append-only segments, one record for each atomic write.
//!
//! Writes are staged in memory; [`ChapterLog::sync`] writes them out and makes them durable with
//! one `fdatasync`. When a segment is full, it is synced, and the one that was allocated ahead
//! takes over, beginning with a record of what the log stands at. The next one is allocated at once:
//! when there is no room for it, the log still has about a segment left, and says
//! [`LogRoom::Scarce`] so that only what frees something is admitted.
//!
//! A write or sync that fails poisons the log: everything after it fails with the same fault, since
//! nobody knows what the disk holds. A sync is never tried again.

use super::Files;
use super::entry_index::{EntryIndex, Position};
use super::log_settings::{LogIdentity, LogSettings, OpenError, OpenReport, SEGMENT_BYTES_MIN};
use super::operation::{self, Change, STATE_BYTES};
use super::record::{self, BODY_BYTES_MAX, Kind, Link};
use super::recovery::{Recovered, SEGMENT_FILE_BYTES_MAX, recover};
use super::reserved::{adopt_reserved, begin_segment, discard_reserved, reserve};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number};
use cotter_replica::{ChapterLog, LogFault, LogRoom, Payload};
use crc32c::crc32c;
use omnipaxos::storage::StorageOp;
use std::io;

/// Staged bytes that are written out before the sync.
const STAGED_BYTES_MAX: usize = 1_024 * 1_024;
/// Syncs between two attempts to allocate the next segment while there is no room.
const SYNCS_BETWEEN_RESERVATIONS: u32 = 16;
/// Bytes read at a time when entries are read back.
const READ_BYTES: usize = 256 * 1_024;
/// Bytes that a segment needs besides the record it was begun for: its header, its state, a mark.
const SEGMENT_OVERHEAD_BYTES: usize =
    SEGMENT_HEADER_BYTES + record::HEADER_BYTES + STATE_BYTES + record::HEADER_BYTES;

const _: () = assert!(SEGMENT_OVERHEAD_BYTES < SEGMENT_BYTES_MIN as usize);
const _: () = assert!(
    (SEGMENT_OVERHEAD_BYTES + record::HEADER_BYTES + BODY_BYTES_MAX) as u64
        <= SEGMENT_FILE_BYTES_MAX
);

/// A segmented write-ahead log in one directory.
#[derive(Debug)]
pub struct SegmentedLog<F: Files> {
    files: F,
    identity: LogIdentity,
    settings: LogSettings,
    report: OpenReport,
    pub(super) index: EntryIndex,
    /// The segment that is written to.
    file: F::File,
    segment: u64,
    segment_bytes: u64,
    /// Where in the segment the staged bytes will go.
    written: u64,
    staged: Vec<u8>,
    /// Sequence of the next record.
    sequence: u64,
    /// Checksum of the last record.
    checksum: u32,
    /// All records below this sequence are durable.
    flushed: u64,
    /// Something that promises or accepts is not durable yet.
    owes_sync: bool,
    /// Something is not durable yet.
    unsynced: bool,
    reserved: Option<F::File>,
    syncs_until_reservation: u32,
    fault: Option<LogFault>,
}

impl<F: Files> SegmentedLog<F> {
    /// Makes a new, empty log in a directory, durably.
    ///
    /// # Errors
    /// [`OpenError::Exists`] when there is one, else what the disk says.
    pub fn create(
        files: F,
        identity: LogIdentity,
        settings: LogSettings,
    ) -> Result<Self, OpenError> {
        check_settings(&settings)?;
        if files
            .list()?
            .iter()
            .any(|name| segment_number(name).is_some())
        {
            return Err(OpenError::Exists(files.location()));
        }
        discard_reserved(&files)?;
        let file = reserve(&files, settings.segment_bytes)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        let index = EntryIndex::new(settings.cache_bytes);
        let header = SegmentHeader {
            identity,
            number: 1,
            first_sequence: 0,
            previous_checksum: 0,
        };
        let (end, checksum) = begin_segment(&files, &file, &header, &index)?;
        Self::start(
            files,
            identity,
            settings,
            Recovered {
                index,
                file,
                segment: 1,
                segment_bytes: settings.segment_bytes,
                end,
                sequence: 1,
                checksum,
                report: OpenReport {
                    segments: 1,
                    records: 1,
                    torn: None,
                },
            },
        )
    }

    /// Opens an existing log: reads all of it, and cuts off an unfinished end (see
    /// [`Self::report`]).
    ///
    /// # Errors
    /// [`OpenError`]; the log was not changed then.
    pub fn open(files: F, identity: LogIdentity, settings: LogSettings) -> Result<Self, OpenError> {
        check_settings(&settings)?;
        let recovered = recover(&files, identity, &settings)?;
        Self::start(files, identity, settings, recovered)
    }

    /// Says what was found when the log was opened.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Makes everything durable, the mark that says so included. A log that is dropped without it
    /// loses nothing that was synced.
    ///
    /// # Errors
    /// [`LogFault`].
    pub fn close(mut self) -> Result<(), LogFault> {
        self.sync()?;
        let synced = self.files.sync_data(&self.file);
        self.hold("syncing the last mark", synced)
    }

    fn start(
        files: F,
        identity: LogIdentity,
        settings: LogSettings,
        recovered: Recovered<F>,
    ) -> Result<Self, OpenError> {
        let reserved = match adopt_reserved(&files, settings.segment_bytes)? {
            Some(file) => Some(file),
            None => reserve(&files, settings.segment_bytes)?,
        };
        let mut log = Self {
            files,
            identity,
            settings,
            report: recovered.report,
            index: recovered.index,
            file: recovered.file,
            segment: recovered.segment,
            segment_bytes: recovered.segment_bytes,
            written: recovered.end,
            staged: Vec::new(),
            sequence: recovered.sequence,
            checksum: recovered.checksum,
            flushed: recovered.sequence,
            owes_sync: false,
            unsynced: false,
            reserved,
            syncs_until_reservation: SYNCS_BETWEEN_RESERVATIONS,
            fault: None,
        };
        log.write_mark()
            .map_err(|fault| io::Error::other(fault.0))?;
        log.files.sync_data(&log.file)?;
        Ok(log)
    }

    /// Where the next record goes.
    fn end(&self) -> u64 {
        self.written + self.staged.len() as u64
    }

    /// Remembers the first failure, for good.
    fn hold<T>(&mut self, doing: &str, result: io::Result<T>) -> Result<T, LogFault> {
        result.map_err(|error| {
            let fault = LogFault(format!("{doing} in {}: {error}", self.files.location()));
            self.fault.get_or_insert(fault).clone()
        })
    }

    fn check_sound(&self) -> Result<(), LogFault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Stages the operations as one record.
    pub(super) fn stage(&mut self, operations: Vec<StorageOp<Payload>>) -> Result<(), LogFault> {
        self.check_sound()?;
        let changes = operation::changes(operations)?;
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(why) = self.index.refusal(&changes) {
            return Err(LogFault(why));
        }
        let body_bytes = operation::encoded_bytes(&changes);
        if body_bytes > BODY_BYTES_MAX {
            return Err(LogFault(format!(
                "a write of {body_bytes} bytes is too large"
            )));
        }
        let record_bytes = record::HEADER_BYTES + body_bytes;
        // Each record leaves room for the mark that follows its sync.
        if self.end() + (record_bytes + record::HEADER_BYTES) as u64 > self.segment_bytes {
            self.rotate(record_bytes)?;
        }
        self.unsynced = true;
        self.owes_sync |= changes.iter().any(Change::owes_sync);
        let mut starts = Vec::new();
        self.append(Kind::Operations, |out| {
            starts = operation::encode(&changes, out)
        });
        let starts: Vec<u32> = starts
            .iter()
            .map(|start| (self.written + *start as u64) as u32)
            .collect();
        self.index.apply(changes, self.segment as u32, &starts);
        if self.staged.len() > STAGED_BYTES_MAX {
            self.write_out()?;
        }
        Ok(())
    }

    fn append(&mut self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        let link = Link {
            previous: self.checksum,
            sequence: self.sequence,
            flushed: self.flushed,
        };
        self.checksum = record::append(&mut self.staged, self.identity.salt(), link, kind, body);
        self.sequence += 1;
    }

    fn write_out(&mut self) -> Result<(), LogFault> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let result = self.files.write_at(&self.file, self.written, &self.staged);
        self.hold("writing", result)?;
        self.written += self.staged.len() as u64;
        self.staged.clear();
        Ok(())
    }

    /// Writes down what is durable, if there is room; the next record says it too.
    fn write_mark(&mut self) -> Result<(), LogFault> {
        if self.end() + record::HEADER_BYTES as u64 > self.segment_bytes {
            return Ok(());
        }
        self.append(Kind::Mark, |_| {});
        self.write_out()
    }

    fn flush(&mut self) -> Result<(), LogFault> {
        self.write_out()?;
        let result = self.files.sync_data(&self.file);
        self.hold("syncing", result)?;
        self.flushed = self.sequence;
        self.unsynced = false;
        self.owes_sync = false;
        Ok(())
    }

    /// Ends the segment and begins the next, which will have room for a record of `record_bytes`.
    /// Everything so far is durable after it.
    fn rotate(&mut self, record_bytes: usize) -> Result<(), LogFault> {
        self.flush()?;
        if self.reserved.is_none() {
            self.try_reserve()?;
        }
        let Some(file) = self.reserved.take() else {
            let full = Err(io::ErrorKind::StorageFull.into());
            return self.hold("beginning a segment", full);
        };
        let needed = (SEGMENT_OVERHEAD_BYTES + record_bytes) as u64;
        let segment_bytes = self.settings.segment_bytes.max(needed);
        if segment_bytes > self.settings.segment_bytes {
            let result = self.files.allocate(&file, segment_bytes);
            self.hold("allocating a large segment", result)?;
        }
        let header = SegmentHeader {
            identity: self.identity,
            number: self.segment + 1,
            first_sequence: self.sequence,
            previous_checksum: self.checksum,
        };
        let result = begin_segment(&self.files, &file, &header, &self.index);
        let (end, checksum) = self.hold("beginning a segment", result)?;
        self.file = file;
        self.segment = header.number;
        self.segment_bytes = segment_bytes;
        self.written = end;
        self.checksum = checksum;
        self.sequence += 1;
        self.flushed = self.sequence;
        self.try_reserve()
    }

    fn try_reserve(&mut self) -> Result<(), LogFault> {
        self.syncs_until_reservation = SYNCS_BETWEEN_RESERVATIONS;
        let result = reserve(&self.files, self.settings.segment_bytes);
        self.reserved = self.hold("allocating a segment", result)?;
        Ok(())
    }

    /// Reads the entries `from..to`, which must exist, from memory or from the disk.
    pub(super) fn read(&self, from: usize, to: usize) -> io::Result<Vec<Payload>> {
        let mut window = Window {
            file: None,
            offset: 0,
            bytes: Vec::new(),
        };
        let mut entries = Vec::with_capacity(to - from);
        for index in from..to {
            entries.push(match self.index.recent(index) {
                Some(payload) => payload.clone(),
                None => self.read_one(index, &mut window)?,
            });
        }
        Ok(entries)
    }

    fn read_one(&self, index: usize, window: &mut Window<F>) -> io::Result<Payload> {
        let Position {
            segment,
            offset,
            bytes: length,
            checksum,
        } = self.index.position(index);
        let (offset, length) = (u64::from(offset), length as usize);
        let bytes = if u64::from(segment) == self.segment && offset >= self.written {
            let start = (offset - self.written) as usize;
            &self.staged[start..start + length]
        } else {
            window.load(&self.files, segment, offset, length)?
        };
        if crc32c(bytes) != checksum {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entry {index} in segment {segment} of the log is damaged"),
            ));
        }
        Ok(Payload::from(bytes))
    }
}

impl<F: Files> ChapterLog for SegmentedLog<F> {
    fn needs_sync(&self) -> bool {
        self.owes_sync
    }

    fn sync(&mut self) -> Result<(), LogFault> {
        self.check_sound()?;
        if self.unsynced {
            self.flush()?;
            self.write_mark()?;
        }
        if self.reserved.is_none() {
            self.syncs_until_reservation -= 1;
            if self.syncs_until_reservation == 0 {
                self.try_reserve()?;
            }
        }
        Ok(())
    }

    fn room(&self) -> LogRoom {
        if self.reserved.is_some() {
            LogRoom::Ample
        } else {
            LogRoom::Scarce
        }
    }

    fn fault(&self) -> Option<LogFault> {
        self.fault.clone()
    }
}

/// A piece of a segment, read at once because neighbours are mostly read together.
struct Window<F: Files> {
    file: Option<(u32, F::File)>,
    offset: u64,
    bytes: Vec<u8>,
}

impl<F: Files> Window<F> {
    fn load(&mut self, files: &F, segment: u32, offset: u64, length: usize) -> io::Result<&[u8]> {
        let same = self.file.as_ref().is_some_and(|(open, _)| *open == segment);
        let end = offset + length as u64;
        if !same || offset < self.offset || end > self.offset + self.bytes.len() as u64 {
            let file = match self.file.take() {
                Some((_, file)) if same => file,
                _ => files.open(&segment_name(u64::from(segment)))?,
            };
            let left = files.length(&file)?.saturating_sub(offset);
            let piece = left.min(READ_BYTES as u64).max(length as u64);
            self.bytes.resize(piece as usize, 0);
            files.read_exact_at(&file, offset, &mut self.bytes)?;
            self.offset = offset;
            self.file = Some((segment, file));
        }
        let start = (offset - self.offset) as usize;
        Ok(&self.bytes[start..start + length])
    }
}

fn check_settings(settings: &LogSettings) -> Result<(), OpenError> {
    if (SEGMENT_BYTES_MIN..=BODY_BYTES_MAX as u64).contains(&settings.segment_bytes) {
        return Ok(());
    }
    Err(OpenError::Settings(settings.segment_bytes))
}
