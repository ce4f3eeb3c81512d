//! Reads a log back from its segments and tells what is unfinished from what is damaged.
//!
//! A crash can leave only the end of the last segment unfinished: a new segment gets its name after
//! the one before, and its own beginning, are durable. So a record that does not fit is an
//! unfinished end only in the last segment, and only if nothing behind it proves that it had been
//! durable (see [`record::find_proof_of_flush`]). That end is cleared, and reported. Everything else
//! is corruption, and the log stays as it was found.
//!
//! What was read but is not proven durable is written once more and synced: after a sync that failed,
//! the page cache shows what the disk does not hold, and a further sync answers that all is well.
//!
//! Caveat: damage that reaches to the very end of the log, the mark behind the last sync included,
//! looks like an unfinished end; it is cut off and reported as one. The mark is written within the
//! call that syncs, so this takes a power cut right after the sync and damage to the same place, or
//! damage to everything the segment holds behind it.

use super::Files;
use super::entry_index::EntryIndex;
use super::log_settings::{LogIdentity, LogSettings, OpenError, OpenReport, TornTail};
use super::operation::{SegmentState, decode, decode_state};
use super::record::{self, BODY_BYTES_MAX, Kind, Record};
use super::scrub::Pace;
use super::segment::{
    FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number,
};
use std::io;

/// Longest file that is taken for a segment, in bytes.
pub(super) const SEGMENT_FILE_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + 4_096;

/// A log that was read back, and where its next record goes.
#[derive(Debug)]
pub(super) struct Recovered<F: Files> {
    pub(super) index: EntryIndex,
    pub(super) file: F::File,
    pub(super) segment: u64,
    pub(super) segment_bytes: u64,
    pub(super) end: u64,
    pub(super) sequence: u64,
    pub(super) checksum: u32,
    pub(super) report: OpenReport,
}

/// Reads the whole log, clears an unfinished end and makes durable what is not proven to be.
pub(super) fn recover<F: Files>(
    files: &F,
    identity: LogIdentity,
    settings: &LogSettings,
) -> Result<Recovered<F>, OpenError> {
    let mut reader = SegmentReader::new(identity, settings.cache_bytes);
    let tail = read_log(files, identity, &mut reader)?;
    let Tail {
        file, bytes, end, ..
    } = tail;
    if let Some(torn) = &tail.torn {
        files.write_at(&file, torn.offset, &vec![0; torn.bytes as usize])?;
    }
    files.write_at(
        &file,
        reader.unproven_from as u64,
        &bytes[reader.unproven_from..end],
    )?;
    files.sync_data(&file)?;
    Ok(Recovered {
        index: reader.index,
        segment: tail.segments,
        segment_bytes: bytes.len() as u64,
        end: end as u64,
        sequence: reader.sequence,
        checksum: reader.checksum,
        report: OpenReport {
            segments: tail.segments,
            records: reader.records,
            torn: tail.torn,
        },
        file,
    })
}

/// What a log is found to hold, by somebody who changes nothing.
#[derive(Debug)]
pub(super) struct Found {
    /// What the records that could be read add up to.
    pub(super) index: EntryIndex,
    /// What was read of each segment, in order.
    pub(super) segments: Vec<SegmentFound>,
    /// The end of the log, or why it could not be read that far.
    pub(super) end: Result<Option<TornTail>, OpenError>,
}

/// What was read of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentFound {
    pub(super) number: u64,
    /// Bytes up to the last record that was read.
    pub(super) used_bytes: u64,
    pub(super) records: u64,
    /// Entries that the log had where the segment begins, and where reading it ended.
    pub(super) entries: (u64, u64),
}

/// Reads as much of the log as can be believed, and changes nothing.
pub(super) fn look<F: Files>(files: &F, identity: LogIdentity) -> Found {
    let mut reader = SegmentReader::new(identity, 0);
    let end = read_log(files, identity, &mut reader).map(|tail| tail.torn);
    Found {
        end,
        segments: reader.found,
        index: reader.index,
    }
}

/// Reads the segments of a log that are not written any more, slowly, to see whether they are whole; all
/// of them unless the log is in use. Changes nothing.
///
/// # Errors
/// [`OpenError`]; `Interrupted` when `pace` says not to go on.
pub(super) fn check_closed<F: Files>(
    files: &F,
    identity: LogIdentity,
    in_use: bool,
    pace: &mut Pace<'_>,
) -> Result<(), OpenError> {
    let count = count_segments(files)?;
    let mut reader = SegmentReader::new(identity, 0);
    let mut number = 1;
    let mut bytes = read_slowly(files, number, pace)?;
    loop {
        let last = number == count;
        reader.begin(&read_header(&bytes, number, identity)?)?;
        if last && in_use {
            return Ok(());
        }
        let mut end = SEGMENT_HEADER_BYTES;
        if last {
            if let Err(why) = reader.read_records(&bytes, &mut end, None)? {
                reader.judge_tail(&bytes, end, why)?;
            }
            return Ok(());
        }
        let next = match number + 1 == count && in_use {
            true => read_part(files, number + 1, SEGMENT_HEADER_BYTES, &mut |_| true)?,
            false => read_slowly(files, number + 1, pace)?,
        };
        let until = read_header(&next, number + 1, identity)?.first_sequence;
        if let Err(why) = reader.read_records(&bytes, &mut end, Some(until))? {
            return Err(reader.corrupt(end, why));
        }
        (number, bytes) = (number + 1, next);
    }
}

/// Bytes that are read at once by whoever has time.
const PIECE_BYTES: usize = 256 * 1_024;

fn read_slowly<F: Files>(
    files: &F,
    number: u64,
    pace: &mut Pace<'_>,
) -> Result<Vec<u8>, OpenError> {
    read_part(files, number, usize::MAX, pace)
}

/// Reads the beginning of a segment from the disk itself, without a sync: it may be in use.
fn read_part<F: Files>(
    files: &F,
    number: u64,
    most: usize,
    pace: &mut Pace<'_>,
) -> Result<Vec<u8>, OpenError> {
    let file = files.open(&segment_name(number))?;
    files.forget_cached(&file)?;
    let length = segment_length(files, &file, number)?;
    let mut bytes = vec![0; (length as usize).min(most)];
    for (piece, at) in bytes
        .chunks_mut(PIECE_BYTES)
        .zip((0..).step_by(PIECE_BYTES))
    {
        if !pace(piece.len() as u64) {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        files.read_exact_at(&file, at, piece)?;
    }
    Ok(bytes)
}

/// Says whose log it is, by the header of its first segment.
pub(super) fn owner<F: Files>(files: &F) -> Result<LogIdentity, OpenError> {
    let (_, bytes) = read_segment(files, 1)?;
    decode_header(&bytes, 1).map(|header| header.identity)
}

/// The last segment of a log that was read to its end.
struct Tail<F: Files> {
    segments: u64,
    file: F::File,
    bytes: Vec<u8>,
    /// Where the last record ends.
    end: usize,
    torn: Option<TornTail>,
}

/// Reads all segments into `reader`.
fn read_log<F: Files>(
    files: &F,
    identity: LogIdentity,
    reader: &mut SegmentReader,
) -> Result<Tail<F>, OpenError> {
    let count = count_segments(files)?;
    files.sync_directory()?;
    let (mut file, mut bytes) = read_segment(files, 1)?;
    let mut header = read_header(&bytes, 1, identity)?;
    let mut torn = None;
    let mut end;
    loop {
        reader.begin(&header)?;
        end = SEGMENT_HEADER_BYTES;
        if header.number == count {
            if let Err(why) = reader.read_records(&bytes, &mut end, None)? {
                torn = reader.judge_tail(&bytes, end, why)?;
            }
            break;
        }
        let (next_file, next_bytes) = read_segment(files, header.number + 1)?;
        let next_header = read_header(&next_bytes, header.number + 1, identity)?;
        if let Err(why) = reader.read_records(&bytes, &mut end, Some(next_header.first_sequence))? {
            return Err(reader.corrupt(end, why));
        }
        (file, bytes, header) = (next_file, next_bytes, next_header);
    }
    Ok(Tail {
        segments: count,
        file,
        bytes,
        end,
        torn,
    })
}

/// Counts the segments and checks that none is missing.
fn count_segments<F: Files>(files: &F) -> Result<u64, OpenError> {
    let names = match files.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    for (number, expected) in numbers.iter().zip(1..) {
        if *number != expected {
            let why = "the segment is missing".to_owned();
            return Err(OpenError::Corrupt {
                segment: expected,
                offset: 0,
                why,
            });
        }
    }
    match numbers.last() {
        Some(last) => Ok(*last),
        None => Err(OpenError::Missing(files.location())),
    }
}

/// Opens a segment and reads all of it, after a sync: the page cache may show what a sync that
/// failed in an earlier life did not keep.
fn read_segment<F: Files>(files: &F, number: u64) -> Result<(F::File, Vec<u8>), OpenError> {
    let file = files.open(&segment_name(number))?;
    files.sync_data(&file)?;
    let length = segment_length(files, &file, number)?;
    let mut bytes = vec![0; length as usize];
    files.read_exact_at(&file, 0, &mut bytes)?;
    Ok((file, bytes))
}

fn segment_length<F: Files>(files: &F, file: &F::File, number: u64) -> Result<u64, OpenError> {
    let length = files.length(file)?;
    if length > SEGMENT_FILE_BYTES_MAX {
        let why = format!("the segment has {length} bytes, more than any can have");
        return Err(OpenError::Corrupt {
            segment: number,
            offset: 0,
            why,
        });
    }
    Ok(length)
}

fn read_header(
    bytes: &[u8],
    number: u64,
    identity: LogIdentity,
) -> Result<SegmentHeader, OpenError> {
    let header = decode_header(bytes, number)?;
    if header.identity != identity {
        return Err(OpenError::Foreign {
            segment: number,
            found: header.identity,
            expected: identity,
        });
    }
    if header.number != number {
        return Err(OpenError::Corrupt {
            segment: number,
            offset: 0,
            why: "the segment has another number than its name says".to_owned(),
        });
    }
    Ok(header)
}

fn decode_header(bytes: &[u8], number: u64) -> Result<SegmentHeader, OpenError> {
    SegmentHeader::decode(bytes).map_err(|fault| match fault {
        HeaderFault::Damaged(why) => OpenError::Corrupt {
            segment: number,
            offset: 0,
            why: why.to_owned(),
        },
        HeaderFault::Version(found) => OpenError::Version {
            found,
            known: FORMAT_VERSION,
        },
    })
}

/// Walks along the chain of records.
struct SegmentReader {
    salt: u32,
    segment: u64,
    /// Sequence of the next record.
    sequence: u64,
    /// Checksum of the last record.
    checksum: u32,
    index: EntryIndex,
    records: u64,
    /// Where in the segment begins what no record shows to have been durable.
    unproven_from: usize,
    /// What was read of each segment so far.
    found: Vec<SegmentFound>,
}

impl SegmentReader {
    fn new(identity: LogIdentity, cache_bytes: usize) -> Self {
        Self {
            salt: identity.salt(),
            segment: 0,
            sequence: 0,
            checksum: 0,
            index: EntryIndex::new(cache_bytes),
            records: 0,
            unproven_from: 0,
            found: Vec::new(),
        }
    }

    fn corrupt(&self, offset: usize, why: &str) -> OpenError {
        OpenError::Corrupt {
            segment: self.segment,
            offset: offset as u64,
            why: format!("{why} (record {})", self.sequence),
        }
    }

    /// Checks that a segment goes on where the one before ended.
    fn begin(&mut self, header: &SegmentHeader) -> Result<(), OpenError> {
        self.segment = header.number;
        if header.first_sequence != self.sequence || header.previous_checksum != self.checksum {
            return Err(self.corrupt(0, "the segment does not follow the one before"));
        }
        let entries = self.index.length() as u64;
        self.found.push(SegmentFound {
            number: header.number,
            used_bytes: SEGMENT_HEADER_BYTES as u64,
            records: 0,
            entries: (entries, entries),
        });
        Ok(())
    }

    /// Reads records from `at` on, up to the sequence `until` or to the first that does not fit,
    /// for which the inner error says why; `at` is where reading ended then.
    fn read_records(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        until: Option<u64>,
    ) -> Result<Result<(), &'static str>, OpenError> {
        while until != Some(self.sequence) {
            let record = match record::read(&bytes[*at..], self.salt) {
                Ok(record) => record,
                Err(why) => return Ok(Err(why)),
            };
            if record.link.sequence != self.sequence {
                return Ok(Err("a record stands where another belongs"));
            }
            if record.link.previous != self.checksum {
                return Ok(Err("a record does not follow the one before"));
            }
            // From here on nothing can be an unfinished write: the bytes are what was written.
            self.take(&record, *at)
                .map_err(|why| self.corrupt(*at, &why))?;
            *at += record.total_bytes();
            self.sequence += 1;
            self.checksum = record.checksum;
            self.records += 1;
            if let Some(found) = self.found.last_mut() {
                found.used_bytes = *at as u64;
                found.records += 1;
                found.entries.1 = self.index.length() as u64;
            }
        }
        Ok(Ok(()))
    }

    fn take(&mut self, record: &Record<'_>, at: usize) -> Result<(), String> {
        let begins_segment = at == SEGMENT_HEADER_BYTES;
        if (record.kind == Kind::State) != begins_segment {
            return Err("a state record belongs at the beginning of a segment".to_owned());
        }
        match record.kind {
            Kind::State => self.take_state(decode_state(record.body)?),
            Kind::Mark if record.body.is_empty() => Ok(()),
            Kind::Mark => Err("a mark has contents".to_owned()),
            Kind::Operations => {
                let (changes, starts) = decode(record.body)?;
                if let Some(why) = self.index.refusal(&changes) {
                    return Err(why);
                }
                let body = at + record::HEADER_BYTES;
                let starts: Vec<u32> = starts.iter().map(|start| (body + start) as u32).collect();
                self.index.apply(changes, self.segment as u32, &starts);
                Ok(())
            }
        }
    }

    fn take_state(&self, state: SegmentState) -> Result<(), String> {
        if state == self.index.state() {
            return Ok(());
        }
        Err("the state that the segment begins with is not what the records add up to".to_owned())
    }

    /// Judges what is behind the last record that fits: nothing, an unfinished end, or damage.
    fn judge_tail(
        &self,
        bytes: &[u8],
        end: usize,
        why: &str,
    ) -> Result<Option<TornTail>, OpenError> {
        let rest = &bytes[end..];
        if end == SEGMENT_HEADER_BYTES {
            return Err(self.corrupt(end, why));
        }
        let Some(last) = rest.iter().rposition(|byte| *byte != 0) else {
            return Ok(None);
        };
        if let Some((_, proof)) = record::find_proof_of_flush(rest, self.salt, self.sequence) {
            let why = format!("{why}, though record {proof} shows that it had been durable");
            return Err(self.corrupt(end, &why));
        }
        Ok(Some(TornTail {
            segment: self.segment,
            offset: end as u64,
            bytes: last as u64 + 1,
        }))
    }
}
