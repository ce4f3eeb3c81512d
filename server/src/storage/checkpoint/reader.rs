//! Reads a checkpoint file chunk by chunk, in the memory of one chunk.
//!
//! A chunk is handed out once its own checksum holds and it stands where it was written. That the
//! file is whole is known only at its end; whoever builds something of the chunks must throw it away
//! when the last one is an error.

use super::damage::Place;
use super::format::{
    End, HEADER_BYTES, HeaderFault, RECORD_BYTES, Record, decode_header_start, decode_meta,
    decode_record, decode_record_start,
};
use super::{CheckpointError, CheckpointMeta, CheckpointSize};
use crate::storage::Files;
use cotter_cell::Chunk;
use std::fmt;
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// A checkpoint that is being read. Ends after the first error.
pub struct CheckpointReader<F: Files> {
    files: F,
    file: F::File,
    place: Place,
    meta: CheckpointMeta,
    length: u64,
    offset: u64,
    /// Checksum of the header or record before.
    previous: u32,
    digest: Box<Xxh3>,
    chunks: u64,
    rows: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Whole(CheckpointSize),
    Failed,
}

impl<F: Files> fmt::Debug for CheckpointReader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointReader")
            .field("place", &self.place)
            .field("offset", &self.offset)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<F: Files> CheckpointReader<F> {
    /// Opens the file `name`, after a sync: the page cache may show what a sync that failed in an
    /// earlier life did not keep.
    pub(super) fn open(files: &F, name: &str) -> Result<Self, CheckpointError> {
        let place = Place {
            location: files.location(),
            file: name.to_owned(),
        };
        let file = match files.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(place.missing()),
            file => file?,
        };
        files.sync_data(&file)?;
        files.forget_cached(&file)?;
        let length = files.length(&file)?;
        let (meta, previous, header) = read_header(files, &file, &place, length)?;
        let mut digest = Box::new(Xxh3::new());
        digest.update(&header);
        Ok(Self {
            files: files.clone(),
            file,
            place,
            meta,
            length,
            offset: header.len() as u64,
            previous,
            digest,
            chunks: 0,
            rows: 0,
            state: State::Reading,
        })
    }

    /// Says what the checkpoint is of.
    #[must_use]
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// Returns the file's size, once it was read to its end and found whole.
    #[must_use]
    pub fn whole(&self) -> Option<CheckpointSize> {
        match self.state {
            State::Whole(size) => Some(size),
            State::Reading | State::Failed => None,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads raw bytes of the file, whatever has been read as chunks.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.files.read_exact_at(&self.file, offset, buffer)
    }

    /// Reads `length` bytes of the record at the present offset, from `skip` bytes into it on.
    fn part(&self, skip: usize, length: usize) -> Result<Vec<u8>, CheckpointError> {
        if self.length - self.offset < (skip + length) as u64 {
            let why = "the file ends within a record";
            return Err(self.place.damaged(self.offset, why));
        }
        let mut bytes = vec![0; length];
        self.read_at(self.offset + skip as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn next_record(&mut self) -> Result<Option<Chunk>, CheckpointError> {
        let begin = self.offset;
        let damaged = |place: &Place, why| place.damaged(begin, why);
        let head = self.part(0, RECORD_BYTES)?;
        let mut fixed = [0; RECORD_BYTES];
        fixed.copy_from_slice(&head);
        let start = decode_record_start(fixed).map_err(|why| damaged(&self.place, why))?;
        let body = self.part(RECORD_BYTES, start.body_bytes)?;
        let (record, checksum) =
            decode_record(start, body, self.previous).map_err(|why| damaged(&self.place, why))?;
        self.offset += (RECORD_BYTES + start.body_bytes) as u64;
        match record {
            Record::End(end) => self.end(begin, end).map(|()| None),
            Record::Chunk(chunk) => {
                self.digest.update(&fixed);
                self.digest.update(&chunk.bytes);
                self.previous = checksum;
                self.chunks += 1;
                self.rows += u64::from(chunk.rows);
                Ok(Some(chunk))
            }
        }
    }

    fn end(&mut self, begin: u64, found: End) -> Result<(), CheckpointError> {
        let expected = End {
            digest: self.digest.digest128(),
            chunks: self.chunks,
            rows: self.rows,
        };
        if found != expected {
            let why = "the end does not fit what stands before it";
            return Err(self.place.damaged(begin, why));
        }
        if self.offset != self.length {
            let why = "something follows the end";
            return Err(self.place.damaged(self.offset, why));
        }
        self.state = State::Whole(CheckpointSize {
            bytes: self.length,
            chunks: self.chunks,
            rows: self.rows,
            file_digest: expected.digest,
        });
        Ok(())
    }
}

impl<F: Files> Iterator for CheckpointReader<F> {
    type Item = Result<Chunk, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state != State::Reading {
            return None;
        }
        match self.next_record() {
            Ok(chunk) => chunk.map(Ok),
            Err(error) => {
                self.state = State::Failed;
                Some(Err(error))
            }
        }
    }
}

/// Reads a file's header; returns what it says, its checksum and its bytes.
fn read_header<F: Files>(
    files: &F,
    file: &F::File,
    place: &Place,
    length: u64,
) -> Result<(CheckpointMeta, u32, Vec<u8>), CheckpointError> {
    let fault = |fault| match fault {
        HeaderFault::Damaged(why) => place.damaged(0, why),
        HeaderFault::Version(found) => place.version(found),
    };
    let short = || place.damaged(0, "it is shorter than its header");
    if length < HEADER_BYTES as u64 {
        return Err(short());
    }
    let mut fixed = [0; HEADER_BYTES];
    files.read_exact_at(file, 0, &mut fixed)?;
    let start = decode_header_start(&fixed).map_err(fault)?;
    let mut header = fixed.to_vec();
    header.resize(HEADER_BYTES + start.meta_bytes, 0);
    if length < header.len() as u64 {
        return Err(short());
    }
    files.read_exact_at(file, HEADER_BYTES as u64, &mut header[HEADER_BYTES..])?;
    let (meta, checksum) = decode_meta(start, &header[HEADER_BYTES..]).map_err(fault)?;
    Ok((meta, checksum, header))
}
